"""What a data set declares: where its files lie, what its labels mean, how papers read it.

An adapter is a declaration. It never copies, resamples, splits or downloads.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.errors import BenchError, shown
from bench.registry import callable_module
from bench.source import Source
from bench.typed import sparse

MANY = 50  # files asked for in a folder from which it is listed instead
NOTHING = frozenset[str]()
# in prepared label maps: voxels that nobody labelled, where a data set declares ``ignore``
VOID = 255
LITTER = re.compile(r"^(\._.*|\.DS_Store|\.bench_phantom|__MACOSX|.*\.json\.bak)$")


class ListingError(BenchError):
    """A table or list of a data set (a CSV file, an ``Info.cfg``) that is damaged or gone.

    ``kind`` is ``unreadable`` or ``missing``; ``detail`` leaves the path out.
    """

    def __init__(
        self, file: Path, detail: str, kind: Literal["unreadable", "missing"] = "unreadable"
    ) -> None:
        self.file, self.detail, self.kind = file, detail, kind
        super().__init__(f"{file}: {detail}")

    def __reduce__(self) -> tuple[type, tuple[Path, str, str]]:
        return type(self), (self.file, self.detail, self.kind)  # handed over between processes


@dataclass(frozen=True)
class Case:
    """One scan. ``patient`` keeps a person's scans on one side of a split.

    A path is a volume, a picture, a folder of slices, or leads into a zip (``a.zip/T1/T1.nii.gz``).
    """

    id: str
    patient: str
    images: tuple[Path, ...]  # one file per channel, or one file of all channels
    label: Path | int | None = None  # a mask, a class, or unlabelled
    meta: dict[str, str] = field(default_factory=dict)
    frame: int | None = None  # the time point, from 0, where the files are (x, y, z, t)


def _wrong(cases: object) -> str:
    """Return what of the cases of a data set bench cannot read; empty where all is well."""
    if not isinstance(cases, list | tuple):
        return f"must return a list of Case, got {shown(cases)}"
    ids = dict[str, Case]()
    for case in cases:
        if not isinstance(case, Case):
            return f"must return a list of Case, one of them is {shown(case)}"
        if not (isinstance(case.id, str) and isinstance(case.patient, str)):
            return (
                f"gives id {shown(case.id)} and patient {shown(case.patient)}; write both as texts"
            )
        if not case.id or Path(case.id).is_absolute() or ".." in Path(case.id).parts:
            return f"gives the id {case.id!r}, which cannot be the name of a file; write another"
        images = case.images
        if not isinstance(images, tuple) or not all(isinstance(path, Path) for path in images):
            return f"gives case {case.id!r} the images {shown(images)}; write a tuple of Path"
        if not isinstance(case.label, Path | int | None):
            return f"gives case {case.id!r} the label {shown(case.label)}; write a Path, a class or None"
        if case.id in ids:
            files = ", ".join(str(path) for of in (ids[case.id], case) for path in of.images[:1])
            return f"gives two cases the id {case.id!r} ({files}); each needs one of its own"
        ids[case.id] = case
    return ""


@dataclass(frozen=True)
class Recipe:
    """How a scan is prepared: geometry first, then intensities.

    Order: channels, RAS+, clip to ``window``, crop to foreground or centre, resample to ``spacing`` *or*
    ``resize`` to a fixed shape, scale intensities. All sizes are (x, y, z).

    With ``nonzero`` the statistics of ``scale`` are computed over the voxels that are not 0, and voxels
    of 0 stay 0 (for skull-stripped MR; MONAI's NormalizeIntensity does the same).
    """

    channels: tuple[int, ...] | None = None  # channels of the image, counted from 0; all by default
    spacing: tuple[float, float, float] | None = None  # size of a voxel in mm
    # voxels, 0 keeps an axis; the spacing is then discarded
    resize: tuple[int, int, int] | None = None
    # average over the volume of a larger voxel (antialiasing), instead of picking a value
    smooth: bool = False
    window: tuple[float, float] | None = None  # source units (HU), mapped to [0, 1]
    scale: str = "window"  # window | zscore | percentile (0.5-99.5 to [0, 1]) | minmax | fixed
    # with scale fixed: [mean, spread]; the mean becomes 0, mean + spread becomes 1; nnU-Net's for CT
    standard: tuple[float, float] | None = sparse()
    nonzero: bool = False  # statistics of voxels that are not 0, see above
    # keep the box of voxels above this value *after* scaling; nonzero: of voxels not 0 before it
    foreground: float | Literal["nonzero"] | None = None
    # keep the central box of this many voxels of the file; 0, or more than there are, keeps an axis whole
    centre: tuple[int, int, int] | None = sparse()


class Dataset(ABC):
    """One data set in its official layout. File name under ``datasets/`` = its id."""

    version: ClassVar[int] = 1  # raised by hand when cases, labels or recipes change on purpose
    source: ClassVar[Source]
    title: ClassVar[str]
    licence: ClassVar[str]
    # may a page meant for sharing show its images? Who does not state it does not know: none are shown
    redistribution: ClassVar[bool] = False
    invented: ClassVar[bool] = False  # are phantoms all there is of it?
    # cases with and without a label that its makers hand out; None: not known, or it grows
    published: ClassVar[tuple[int, int] | None] = None
    modality: ClassVar[str]  # CT | MR | fundus; a case of several has its own in meta["modality"]
    channels: ClassVar[tuple[str, ...]]
    # cases of `--phantoms`: few, as guards compare pairs; enough for rules and short registered splits
    phantoms: ClassVar[int] = 12
    flat: ClassVar[bool] = False  # pictures: one voxel along z
    task: ClassVar[Literal["segmentation", "classification"]] = "segmentation"
    # contiguous value -> name; background (0) left out of a segmentation, classes count from 0
    labels: ClassVar[dict[int, str]]
    # value in the files -> contiguous value, if differing
    raw_labels: ClassVar[dict[int, int]] = {}
    # value in the files of voxels that nobody labelled: they give no loss and no score, nobody predicts them
    ignore: ClassVar[int | None] = None
    # is a label with its image's grid stored like it, although headers of some say other directions?
    labels_as_stored: ClassVar[bool] = False
    regions: ClassVar[dict[str, tuple[int, ...]]] = {}  # overlapping targets, e.g. WT = 1, 2, 4
    # the convention of empty masks
    empty: ClassVar[Literal["default", "brats", "skip"]] = "default"
    recipes: ClassVar[dict[str, Recipe]]
    splits: ClassVar[dict[str, str]] = {}  # registered split name -> file under datasets/splits/
    # for pretraining alone: name -> file under datasets/splits/
    lists: ClassVar[dict[str, str]] = {}
    # case -> what is known against it; ``exclude: [doubtful]``
    doubtful: ClassVar[dict[str, str]] = {}
    # data set that holds the same scans or patients -> which
    overlaps: ClassVar[dict[str, str]] = {}
    # sentences on whose scans these are that plans and reports repeat, where a split can divide a person
    caution: ClassVar[str] = ""
    # files of the layout, "name" or "folder/name", of no case
    unread: ClassVar[tuple[str, ...]] = ()
    # name of the file with one case's label map that the challenge's server takes, "{case}" its id
    submission: ClassVar[str] = ""
    unpack: ClassVar[str] = ""  # where to get it and what to unpack where

    def __init_subclass__(cls, **options: Any) -> None:
        """Let ``cases`` take its folder as text, too."""
        super().__init_subclass__(**options)
        if (cases := vars(cls).get("cases")) is not None:
            cls.cases = wraps(cases)(lambda self, root: cases(self, Path(root)))  # type: ignore[method-assign]

    @property
    def void(self) -> int | None:
        """The value that ``ignore`` has in prepared label maps; None where nothing is ignored."""
        return None if self.ignore is None else VOID

    @abstractmethod
    def cases(self, root: Path) -> list[Case]:
        """Return every scan under ``root`` in natural order of id, labelled or not; bench reads it by ``listed``.

        Raises:
            BenchError: nothing that looks like this data set under ``root``, or an ambiguous
                pairing; the line names the folder, the pattern and what to unpack where.
        """

    def listed(self, root: Path) -> list[Case]:
        """Return ``cases(root)`` if they are what bench reads.

        Raises:
            BenchError: as ``cases``; or names the file of the data set, and what is wrong.
        """
        cases = self.cases(root)
        if wrong := _wrong(cases):
            from bench import blame

            raise BenchError(f"{blame.defined(type(self).cases)}: cases(root) {wrong}")
        return list(cases)

    def readable(self, root: Path) -> tuple[list[Case], list[ListingError]]:
        """Return the cases as far as the data set's lists can be read, and what is wrong with these.

        Raises:
            BenchError: as ``cases``, of anything but a list.
        """
        try:
            return self.listed(root), []
        except ListingError as error:
            return [], [error]

    def missing(self, root: Path, cases: Sequence[Case] | None = None) -> list[tuple[str, str]]:
        """Return (case id, file) of labels or images that should be there and are not.

        Args:
            root: the data set's folder.
            cases: what ``cases(root)`` returned, where that was asked already.
        """
        listed = self.listed(root) if cases is None else cases
        gone = absent(f for c in listed for f in files_of(c))
        return [(c.id, str(f)) for c in listed for f in files_of(c) if f in gone] if gone else []

    def skipped(self, root: Path) -> list[tuple[str, str]]:
        """Return (case id, why) of what the layout holds and ``cases`` leaves out on purpose."""
        return []

    def unclaimed(self, path: Path) -> str:
        """Return why a file of the folder belongs to no case."""
        return "belongs to no case"

    def person(self, case: Case) -> str:
        """Return who was scanned, by a name on which the data sets that share people agree.

        Where numbers correspond by a known rule, both data sets return ``<data set>:<patient>`` of
        one of them; otherwise nobody here is known to be anybody there (``overlaps`` says it in words).
        """
        return f"{type(self).__module__.rpartition('.')[2]}:{case.patient}"

    def scan(self, case: Case) -> str:
        """Return the scan that a case is cut from; by default each patient has one of his own.

        ``split: by_scan`` keeps cases of one scan together. Give ``Case.patient`` instead where it is known
        who was scanned: this is for data sets whose published divisions count the parts as patients.
        """
        return case.patient

    @classmethod
    def mistake(cls) -> str:
        """Return what does not fit together in what is declared; empty where everything does."""
        first = 0 if cls.task == "classification" else 1
        wanted = [*range(first, first + len(cls.labels))]
        if sorted(cls.labels) != wanted:
            return (
                f"labels: a {cls.task}'s values are {first}, {first + 1}, ... without a gap, got "
                f"{shown(sorted(cls.labels))}; map those of the files to these by raw_labels"
            )
        names = [*cls.labels.values()]
        if twice := {n for n in names if names.count(n) > 1} | ({*names} & {"", "mean"}):
            return (
                f"labels: {shown(min(twice))} cannot be the name of one label; each needs a name of its own, "
                "and 'mean' is that of their mean"
            )
        if cls.task == "classification" and len(cls.labels) < 2:
            return "labels: a classification has at least two classes; name them all"
        if cls.ignore is not None and cls.ignore in {0, *(cls.raw_labels or cls.labels)}:
            return f"ignore: {cls.ignore} is the value of a label; take another for voxels that nobody labelled"
        if cls.ignore is not None and VOID in cls.labels:
            return f"labels: with 'ignore' there are at most {VOID - 1}"
        values_allowed = {0, *cls.labels}
        for name, values in {"raw_labels": cls.raw_labels.values(), **cls.regions}.items():
            if lost := sorted({*values} - values_allowed):
                where = name if name == "raw_labels" else f"regions.{name}"
                return f"{where}: {lost[0]} is no value of labels"
        return ""

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write ``cases`` synthetic scans under ``root`` in this very layout."""
        raise BenchError(
            f"{cls.__module__.rpartition('.')[2]}: defines no phantom (synthetic cases); use real data, or define one"
        )


def files_of(case: Case) -> tuple[Path, ...]:
    """Return every file a case consists of."""
    return (*case.images, case.label) if isinstance(case.label, Path) else case.images


def present(path: Path) -> bool:
    """Tell whether a file of a case is there; a path that leads into a zip is if the zip is."""
    return path.exists() or zip_of(path) is not None


def absent(paths: Iterable[Path]) -> set[Path]:
    """Return which of these files of cases are not there; a folder of which many are asked is listed once."""
    gone, requested, names = set[Path](), Counter[str](), dict[str, frozenset[str]]()
    for path in paths:
        folder, _, name = str(path).rpartition(os.sep)
        if folder not in names:
            requested[folder] += 1
            if requested[folder] == MANY:
                names[folder] = _entries(folder)
        # not among the names may be a link, or a name that this system takes for another's
        if name not in names.get(folder, NOTHING) and not present(path):
            gone.add(path)
    return gone


def _entries(folder: str) -> frozenset[str]:
    """Return the names in a folder that are no links; none where it cannot be listed."""
    try:
        return frozenset(item.name for item in os.scandir(folder) if not item.is_symlink())
    except OSError:
        return frozenset()


def zip_of(path: Path) -> Path | None:
    """Return the zip file that a path leads into, None for a path of the file system."""
    for parent in path.parents:
        if parent.suffix.lower() == ".zip" and parent.is_file():
            return parent
    return None


def clean(paths: Iterable[Path]) -> list[Path]:
    """Drop ``._*``, ``.DS_Store`` and other litter; sort by the numbers in the names."""
    paths_kept = [p for p in paths if not any(LITTER.match(part) for part in p.parts[-3:])]
    return sorted(paths_kept, key=natural)


def natural(path: Path | str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``volume-10`` after ``volume-9``."""
    parts = re.split(r"([0-9]+)", str(path))
    key = [_number(p) if p[0] in "0123456789" else (1, 0, p) for p in parts if p]
    # 3 and 003 are the same number; their order is one all the same
    return [*key, (-1, 0, str(path))]


def _number(digits: str) -> tuple[int, int, str]:
    # Compared by length, then by digit: Python converts no more than 4300 digits to an int.
    plain = digits.lstrip("0")
    return 0, len(plain), plain


callable_module(__name__, "dataset")  # bench.dataset("btcv") is an adapter of datasets/btcv.py
