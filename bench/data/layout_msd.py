"""Folders in the layout of the Medical Segmentation Decathlon.

``imagesTr/<stem>.nii.gz`` with ``labelsTr/<stem>.nii.gz``, unlabelled ``imagesTs``, and a
``dataset.json``. nnU-Net's variant (one file per channel, ``<stem>_0000.nii.gz``) is read too, also
with the key ``dataset``, which states the files of each case.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import filterfalse
from os.path import commonprefix  # of texts, on purpose
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

from bench.data import participants
from bench.dataset import VOID, Case, Dataset, Recipe, natural
from bench.errors import BenchError, shown
from bench.source import Source
from bench.volumes.files import (
    SUFFIXES,
    dicom_inside,
    inside,
    is_picture,
    is_volume,
    nameable,
    stem,
)

CHANNEL = re.compile(r"_\d{4}$")
PICTURES = "; it holds pictures: 'bench new dataset' begins a data set of pictures"
LISTS = ("training", "validation", "test")  # of dataset.json; cases are of the part of this name
ORDER = ("training", "validation", "unlabelled", "test")
MOST_CHANNELS = 100
MOST_VISITS = 10  # of a patient, on average: more are numbers of cases of a centre
VISITS = (  # names of cases that look like a patient and his visit
    "^(.+?)[_.-]*(?:ses|sess|session|visit|frame|phase|time|tp|scan|week|month|year|day|[vtmwy])[_.-]?[0-9]+$",
    "^(.+?)[_.-](?:pre|post|baseline|bl|fu|followup|follow-up|ED|ES|ed|es)[_.-]?[0-9]*$",
    "^(.+[0-9])[_.-]?[a-dA-D]$",
    "^(.+[0-9])[_.-][0-9]{1,2}$",
    "^(.+?)[_.-](?:19|20)[0-9]{2}[_.-]?[0-9]{2}[_.-]?[0-9]{2}$",
)
VOLUMES = (  # what dcm2niix adds where it writes several volumes of a series
    "^(.+?)(?:_(?:(?:Tilt|Eq|Crop)(?:_[0-9]+)?|ROI[0-9]+|[eit][0-9]+|c[A-Z]*[0-9]+|ph|phMag|real|imaginary"
    "|MoCo|ADC|Raw|PS|fieldmaphz))+[a-z]?$",
    "^(.*[0-9].*)[a-z]$",
)
PARTS = re.compile(  # in the names of folders that hold scans of several patients
    "(?<![a-z])(train|val|test|fold|image|label|(sub|data)?set|batch|site|cent(er|re)|group|class)",
    re.IGNORECASE,
)
LARGEST = 65535  # raw label values; masks are stored as 8 or 16 bits
PARTICIPANTS = "participants.tsv"  # of BIDS
IGNORE = "ignore"  # the name of nnU-Net's label of voxels that nobody labelled
EXAMPLE = '{"labels": {"0": "background", "1": "liver"}, "modality": {"0": "CT"}}'
STATED = (
    '{"case_1": {"images": ["imagesTr/case_1_0000.nii.gz"], "label": "labelsTr/case_1.nii.gz"}}'
)
VARIABLE = re.compile(
    r"\$\w|\$\{"
)  # nnU-Net looks it up; of a listing from elsewhere it could tell a secret
ABDOMEN = (-175.0, 250.0)  # HU; Swin-UNETR's window, the usual one for soft tissue


class MSDLayout(Dataset):
    """Any data set in this layout; a registered one declares its labels itself."""

    stems: ClassVar[str] = ""  # how its cases' names begin; the folder of another task is refused

    def cases(self, root: Path) -> list[Case]:
        """Return training cases (a file may be missing), then unlabelled and held-back scans.

        The pairs that ``dataset.json`` states are what is read; without a list, files of one name are a pair.
        With nnU-Net's key ``dataset`` its cases and ``imagesTs`` are all there is.
        """
        home = _home(root)
        if home is None:
            raise BenchError(
                f"{root}: no folder imagesTr with .nii.gz files{dicom_inside(root)}{_hint(self.unpack)}"
            )
        listing, folders = read_listing(home), Folders(home)
        stated = "dataset" in listing
        pairs = [] if stated else [p for key in LISTS for p in stated_pairs(home, listing, key)]
        labels, files = (
            folders[f"{kind}{'Ts' if stated else 'Tr'}"] for kind in ("labels", "images")
        )
        suffixed = _suffixed(files, {*labels, *(pair.key for pair in pairs)}, listing)
        numbers = _channel_numbers(self, listing, files)
        if stated:
            cases = _stated_cases(home, listing["dataset"])
        else:
            cases = _listed_cases(home, folders, pairs, numbers)
            images = _grouped(home / "imagesTr", files, suffixed, numbers)
            _add_unlisted(home, labels, pairs, images, cases)
        read = {path for case in cases.values() for path in case.images}
        if not cases:
            folder = home / "imagesTr"
            contents = dicom_inside(folder) or (
                PICTURES if any(map(is_picture, folder.iterdir())) else ""
            )
            raise BenchError(f"{folder}: no .nii.gz files{contents}{_hint(self.unpack)}")
        labelled = folders["labelsTs"]  # nnU-Net keeps some; the Decathlon published none
        held_back = _grouped(home / "imagesTs", folders["imagesTs"], suffixed, numbers)
        tests = [
            Case(key, key, paths, labelled.get(key), {"part": "test"})
            for key, paths in held_back.items()
            if not read & {*paths}
        ]
        both = sorted(cases.keys() & {c.id for c in tests}, key=natural)
        if both:
            first = "dataset.json" if stated else "imagesTr"
            raise BenchError(f"{home}: {both[0]} is in {first} and in imagesTs; remove one")
        order = {part: rank for rank, part in enumerate(ORDER)}
        every = sorted(
            [*cases.values(), *tests], key=lambda case: (order[case.meta["part"]], natural(case.id))
        )
        strange = next((c for c in every if not c.id.startswith(self.stems)), None)
        if strange is not None:
            raise BenchError(
                f"{strange.images[0]}: cases of {self.title} are named {self.stems}<number>; "
                f"is this another task's folder?{_hint(self.unpack)}"
            )
        return with_participants(
            home / PARTICIPANTS,
            with_patients(home / "dataset.json", every, listing.get("patients")),
        )

    def skipped(self, root: Path) -> list[tuple[str, str]]:
        """Return the images of imagesTr that the key ``dataset`` leaves out."""
        home = _home(Path(root))
        if home is None or "dataset" not in read_listing(home):
            return []
        cases = self.cases(root)
        read = {path for case in cases for path in case.images}
        names = {CHANNEL.sub("", n): p in read for n, p in Folders(home)["imagesTr"].items()}
        others = [n for n, used in names.items() if not used and n not in {c.id for c in cases}]
        return [(name, "not under 'dataset' in dataset.json") for name in others]

    def unclaimed(self, path: Path) -> str:
        """Return why a file of the folder belongs to no case."""
        suffix = CHANNEL.search(stem(path))
        if suffix is not None and path.parent.name in ("imagesTr", "imagesTs"):
            return f"belongs to no case: channel {int(suffix[0][1:])} is not declared for it"
        return super().unclaimed(path)


class Decathlon(MSDLayout):
    """A task of the Medical Segmentation Decathlon itself: only what tells it from the others is stated."""

    source = Source(
        "Antonelli et al. 2022, The Medical Segmentation Decathlon, Nat. Commun. 13:4128",
        "http://medicaldecathlon.com",
    )
    licence = "CC BY-SA 4.0"
    redistribution = True
    archive: ClassVar[str]  # its name without suffix, such as Task06_Lung

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.title = f"MSD {cls.archive.replace('_', ' ')}"
        if "stems" not in vars(cls):
            cls.stems = f"{cls.archive.partition('_')[2].lower()}_"
        cls.unpack = (
            f"get {cls.archive}.tar from medicaldecathlon.com and unpack it so that "
            f"{cls.__module__.rpartition('.')[2]}/ holds imagesTr, labelsTr, imagesTs and dataset.json"
        )


def msd_folder(root: Path) -> Dataset:
    """Return the declaration that a folder's own ``dataset.json`` makes.

    Its default recipe keeps the spacing: window [-175, 250] HU for CT, z-score over non-zero
    voxels for anything else. Labels with gaps become contiguous in their order. Where a label of nnU-Net's is
    a list of values, all are regions, as nnU-Net's region-based training takes them. Its label ``ignore``
    is the value of voxels that nobody labelled.

    Raises:
        BenchError: no ``dataset.json``, or one without usable ``labels`` and ``modality``.
    """
    home = _home(root) or root
    path = home / "dataset.json"
    listing = read_listing(home)
    if not path.is_file():
        scans = home.joinpath("imagesTr").is_dir()
        lacks = ("" if scans else ", nor a folder imagesTr") + dicom_inside(root)
        how = " ('bench init' writes it)" if scans else ""
        raise BenchError(
            f"{path}: no such file{lacks}; a folder in MSD layout has imagesTr, labelsTr and a "
            f"dataset.json{how} like this: {EXAMPLE}"
        )
    if not listing:
        raise BenchError(
            f"{path}: is empty; a folder in MSD layout needs its keys 'labels' (value to name) and "
            "'modality' (channel number to name): unpack the data set again, or write these keys"
        )
    raw, regions, ignore = _labels(path, listing)
    names = listing.get("modality", listing.get("channel_names"))
    if not isinstance(names, dict) or not names:
        raise BenchError(
            f'{path}: key \'modality\' {_lacks(names)}; it maps channels to names, {{"0": "CT"}}'
        )
    channels = tuple(str(names[key]) for key in sorted(names, key=natural))
    is_ct = all(name.upper() == "CT" for name in channels)
    recipe = Recipe(window=ABDOMEN) if is_ct else Recipe(scale="zscore", nonzero=True)
    ordered = sorted(raw)
    number = {value: i for i, value in enumerate(ordered, 1)}
    declared = {
        "source": Source(str(listing.get("reference") or listing.get("name") or root.name), ""),
        "title": str(listing.get("name") or root.name),
        "licence": str(listing.get("licence") or listing.get("license") or "not stated"),
        "modality": "CT" if is_ct else "MR",
        "channels": channels,
        "labels": {i: raw[value] for value, i in number.items()},
        "raw_labels": number if any(value != i for value, i in number.items()) else {},
        "regions": {name: tuple(number[v] for v in values) for name, values in regions.items()},
        "ignore": ignore,
        "recipes": {"default": recipe},
        "version": 2,  # nonzero scaling keeps zeros
        "person": lambda _, case: f"{root.name}:{case.patient}",
        # nnU-Net leaves out on purpose what its key does not state
        "unread": ("*",) if "dataset" in listing else (),
        "__module__": __name__,
        "__doc__": f"The folder {root.name}, as its dataset.json describes it.",
    }
    if "redistribution" in listing:
        declared["redistribution"] = _shared(path, listing["redistribution"])
    return type("MSDFolder", (MSDLayout,), declared)()


def _shared(path: Path, stated: Any) -> bool:
    """Return whether the owner of the scans lets pages show them."""
    if not isinstance(stated, bool):
        raise BenchError(
            f"{path}: key 'redistribution' {_lacks(stated)}; write true if reports may show the images, else false"
        )
    return stated


def write_listing(
    root: Path, dataset: type[Dataset], name: str, stems: Sequence[str], tests: Sequence[str] = ()
) -> None:
    """Write the ``dataset.json`` of a phantom with these training and test cases."""
    listing = {
        "name": name,
        "description": "synthetic",
        "reference": dataset.source.cite,
        "licence": dataset.licence,
        "release": "phantom",
        "tensorImageSize": "4D" if len(dataset.channels) > 1 else "3D",
        "modality": {str(i): channel for i, channel in enumerate(dataset.channels)},
        "labels": {"0": "background", **{str(k): v for k, v in dataset.labels.items()}},
        "numTraining": len(stems),
        "numTest": len(tests),
        "training": [
            {"image": f"./imagesTr/{s}.nii.gz", "label": f"./labelsTr/{s}.nii.gz"} for s in stems
        ],
        "test": [f"./imagesTs/{s}.nii.gz" for s in tests],
    }
    (root / "dataset.json").write_text(json.dumps(listing, indent=1) + "\n")


def read_listing(home: Path) -> dict[str, Any]:
    """Return ``dataset.json``, or nothing where there is none.

    Raises:
        BenchError: it is no JSON object.
    """
    path = home / "dataset.json"
    if not path.is_file():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BenchError(
            f"{path}: cannot be read ({error.strerror}); correct its permissions"
        ) from None
    except (ValueError, RecursionError) as error:
        raise BenchError(
            f"{path}: not JSON ({error}); if it is the data set's own, unpack this again; else remove the file"
        ) from None
    if not isinstance(read, dict):
        raise BenchError(
            f"{path}: expected a JSON object, got {type(read).__name__}; "
            "if it is the data set's own, unpack this again; else remove the file"
        )
    if isinstance(read.get("dataset"), str):  # a name that other tools write, not nnU-Net's key
        del read["dataset"]
    return read


def is_laid_out(root: Path) -> bool:
    """Tell whether a folder holds ``imagesTr``, or a ``dataset.json`` that states where the cases lie."""
    return (root / "imagesTr").is_dir() or "dataset" in read_listing(root)


def _home(root: Path) -> Path | None:
    """Return the folder that is laid out: this one, or the archive's own inside it."""
    if is_laid_out(root):
        return root
    inside = [p.parent for p in root.glob("*/imagesTr") if p.is_dir()] if root.is_dir() else []
    return inside[0] if len(inside) == 1 else None


def _stated_cases(home: Path, stated: object) -> dict[str, Case]:
    """Return the cases of nnU-Net's key ``dataset``; the paths may lead to any folder, as in nnU-Net.

    Raises:
        BenchError: no map of cases to images and label, or a path that names no volume.
    """
    where = f"{home / 'dataset.json'}: dataset"
    if not isinstance(stated, dict) or not stated:
        raise BenchError(f"{where} must map each case to its files, {STATED}; got {shown(stated)}")

    def file(case: str, name: object) -> Path:
        path = name.replace("\\", "/") if isinstance(name, str) else ""
        if not is_volume(path) or not nameable(path):
            raise BenchError(
                f"{where}: case {shown(case)}: {shown(name)} is no file that can be read "
                f"({', '.join(SUFFIXES)}); correct it"
            )
        if VARIABLE.search(path):
            raise BenchError(
                f"{where}: case {shown(case)}: {shown(name)} holds a variable of the environment, "
                "which is not looked up; write the path itself"
            )
        return Path(os.path.normpath(home / path))

    cases = {}
    for name, files in stated.items():
        images = files.get("images") if isinstance(files, dict) else None
        is_plain = nameable(name) and "/" not in name and stem(name).strip(".")
        if not is_plain or not isinstance(images, list) or not images:
            raise BenchError(
                f"{where}: a case needs a plain name and its files, {STATED}; got {shown({name: files})}"
            )
        label = None if files.get("label") is None else file(name, files["label"])
        part = "unlabelled" if label is None else "training"
        id = unicodedata.normalize("NFC", name)
        cases[id] = Case(id, id, tuple(file(name, each) for each in images), label, {"part": part})
    return cases


class Folders(dict[str, dict[str, Path]]):
    """The volumes of each folder by stem in Unicode's NFC; a folder is listed at its first use."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home

    def __missing__(self, folder: str) -> dict[str, Path]:
        volumes: dict[str, Path] = {}
        files = inside(self._home / folder)
        for name in sorted(filter(is_volume, files)):
            key = unicodedata.normalize("NFC", stem(name))
            if key in volumes:
                raise BenchError(f"{files[name]}: {volumes[key].name} is the same case; remove one")
            volumes[key] = files[name]
        self[folder] = volumes
        return volumes


@dataclass(frozen=True)
class Pair:
    """An image and its label as ``dataset.json`` states them, by paths within the data set's folder."""

    part: str
    key: str  # the case
    images: tuple[Path, ...]  # one of all channels, or one per channel
    label: Path | None


def stated_pairs(home: Path, listing: Mapping[str, Any], key: str) -> list[Pair]:
    """Return the pairs of one list of ``dataset.json``: training, validation or test.

    Raises:
        BenchError: a row is no name and no pair of names, or a path leads out of the folder.
    """
    rows = listing.get(key) or []
    if not isinstance(rows, list):
        rows = [None]
    image_folder, label_folder = (
        ("imagesTs", "labelsTs") if key == "test" else ("imagesTr", "labelsTr")
    )
    pairs = []
    for row in rows:
        name, label = (row.get("image"), row.get("label")) if isinstance(row, dict) else (row, None)
        names = name if isinstance(name, list) and name else [name]
        images = tuple(_stated(home, key, each, image_folder) for each in names)
        label_path = None if label is None else _stated(home, key, label, label_folder)
        if key == "training" and label_path is None and not isinstance(row, dict):
            # a bare name: of one name with its label
            label_path = Path(label_folder) / images[0].name
        case = stem(images[0]) if len(images) == 1 else _shared_beginning(images)
        if not case:
            raise BenchError(
                f"{home / 'dataset.json'}: {key}: {shown(names)} must begin with the same case name; rename these files"
            )
        pairs.append(Pair(key, case, images, label_path))
    return pairs


def _shared_beginning(images: Sequence[Path]) -> str:
    return commonprefix([stem(path) for path in images]).rstrip("_-. ")  # noqa: RUF071


def _stated(home: Path, key: str, name: object, folder: str) -> Path:
    """Return a path as ``dataset.json`` states it, within the data set's folder."""
    listing = home / "dataset.json"
    plain = unicodedata.normalize("NFC", name.replace("\\", "/")) if isinstance(name, str) else ""
    if not plain.isprintable() or not nameable(plain) or stem(plain) in ("", ".", ".."):
        raise BenchError(f"{listing}: {key} must list {{image, label}} names, got {shown(name)}")
    path = PurePosixPath(plain)
    if path.is_absolute() or PureWindowsPath(plain).drive or ".." in path.parts:
        raise BenchError(
            f"{listing}: {key}: {shown(name)} points outside the folder; write it as in {folder}/{path.name}"
        )
    parts = path.parts if len(path.parts) > 1 else (folder, path.name)
    while len(parts) > 2 and not home.joinpath(*parts[:-1]).is_dir():
        parts = parts[1:]  # the list was written for a folder further up
    return Path(*parts)


def _listed_cases(
    home: Path, folders: Folders, pairs: Sequence[Pair], numbers: Sequence[int]
) -> dict[str, Case]:
    """Return the cases of stated pairs by id; a file that is not there is named where it should lie."""
    cases: dict[str, Case] = {}
    for pair in pairs:
        images = _found_images(home, folders, pair, numbers)
        if pair.part == "test" and not any(path.exists() for path in images):
            continue  # published test scans need not be downloaded
        label = None
        if pair.label is not None:
            at = folders[str(pair.label.parent)]
            label = at.get(unicodedata.normalize("NFC", stem(pair.label)), home / pair.label)
        part = "unlabelled" if pair.part == "training" and label is None else pair.part
        case = Case(pair.key, pair.key, images, label, {"part": part})
        before = cases.setdefault(pair.key, case)
        if before != case:
            raise BenchError(
                f"{home / 'dataset.json'}: case {shown(pair.key)} is listed twice, with "
                "different files or in two lists; keep one entry"
            )
    return cases


def _add_unlisted(
    home: Path,
    labels: Mapping[str, Path],
    pairs: Sequence[Pair],
    images: Mapping[str, tuple[Path, ...]],
    cases: dict[str, Case],
) -> None:
    """Add what lies in imagesTr and, without a training list, in labelsTr and is of no stated pair."""
    read = {path for case in cases.values() for path in case.images}
    listed = any(pair.part == "training" for pair in pairs)
    other = {pair.label.parent for pair in pairs if pair.label} - {Path("labelsTr")}
    for key in {*images} if listed else {*images, *labels}:
        paths = images.get(key) or (home / "imagesTr" / f"{key}.nii.gz",)
        if key in cases or read & {*paths}:
            continue
        label = None if other else labels.get(key)
        if listed and label is None:
            cases[key] = Case(key, key, paths, None, {"part": "unlabelled"})
        else:
            label = label or home / "labelsTr" / f"{key}.nii.gz"
            cases[key] = Case(key, key, paths, label, {"part": "training"})


def _found_images(
    home: Path, folders: Folders, pair: Pair, numbers: Sequence[int]
) -> tuple[Path, ...]:
    """Return a pair's image files: as stated, or nnU-Net's one file per channel of that name."""
    paths = []
    for path in pair.images:
        files = folders[str(path.parent)]
        key = unicodedata.normalize("NFC", stem(path))
        channels = {
            n: files[f"{key}_{n:04d}"] for n in range(MOST_CHANNELS) if f"{key}_{n:04d}" in files
        }
        if key in files or not channels:
            paths.append(files.get(key, home / path))
        else:
            paths += [
                channels.get(n, home / path.parent / f"{key}_{n:04d}.nii.gz") for n in numbers
            ]
    return tuple(paths)


def _grouped(
    folder: Path, files: Mapping[str, Path], suffixed: bool, numbers: Sequence[int]
) -> dict[str, tuple[Path, ...]]:
    """Return the image files of each case, cases in order of their numbers, files in that of channels.

    A channel is matched by its number; a file of no declared channel, or without one, is of no case.
    """
    if not suffixed:
        return {key: (files[key],) for key in sorted(files, key=natural)}
    ids = {CHANNEL.sub("", key) for key in files if CHANNEL.search(key)}
    return {
        case: tuple(
            files.get(f"{case}_{n:04d}", folder / f"{case}_{n:04d}.nii.gz") for n in numbers
        )
        for case in sorted(ids, key=natural)
    }


def _channel_numbers(
    dataset: Dataset, listing: Mapping[str, Any], files: Mapping[str, Path]
) -> list[int]:
    """Return the numbers of the declared channels; where none are declared, of those that most cases have."""
    counts = Counter(int(m[0][1:]) for key in files if (m := CHANNEL.search(key)))
    names = listing.get("modality", listing.get("channel_names"))
    if isinstance(names, dict) and names:
        keys = sorted(map(str, names), key=natural)
        declared = (
            [int(k) for k in keys] if all(_is_value(k) for k in keys) else [*range(len(keys))]
        )
    elif getattr(dataset, "channels", ()):
        declared = [*range(len(dataset.channels))]
    else:
        most = max(counts.values(), default=0)
        return sorted(n for n, count in counts.items() if 2 * count > most) or [0]
    return [0] if [*counts] == [0] else declared  # one file of all channels


def _suffixed(files: Mapping[str, Path], keys: set[str], listing: Mapping[str, Any]) -> bool:
    """Tell nnU-Net's channel suffix from a case number of four digits; a stray file does not decide."""
    exact = len(keys & files.keys())
    stripped = len(keys & {CHANNEL.sub("", key) for key in files if CHANNEL.search(key)})
    if exact or stripped:
        return stripped > exact
    is_nnunets = bool({"channel_names", "dataset"} & listing.keys())
    return is_nnunets and any(CHANNEL.search(key) for key in files)


def with_patients(path: Path, cases: Sequence[Case], stated: object) -> list[Case]:
    """Return cases with their patients as a pattern or a map states them; without one each is his own.

    Args:
        path: of the file that states it, for messages.
        cases: by name.
        stated: a regular expression that matches from the beginning of a case's name, whose group
            ``patient`` or only group is the patient; or case -> patient.

    Raises:
        BenchError: a case has no patient by it.
    """
    if stated is None:
        return list(cases)
    if (
        isinstance(stated, dict)
        and stated
        and all(isinstance(v, str) and v for v in stated.values())
    ):
        names = {
            unicodedata.normalize("NFC", str(case)): patient for case, patient in stated.items()
        }
        lacking = next((case.id for case in cases if case.id not in names), None)
        if lacking is not None:
            raise BenchError(f"{path}: patients: case {shown(lacking)} has no patient; add it")
        return [replace(case, patient=names[case.id]) for case in cases]
    pattern = _pattern(path, stated)
    matched = []
    for case in cases:
        match = pattern.match(case.id)
        patient = (
            (match["patient"] if "patient" in pattern.groupindex else match[1]) if match else None
        )
        if not patient:
            raise BenchError(
                f"{path}: patients: {shown(stated)} gives case {shown(case.id)} no patient; correct it"
            )
        matched.append(replace(case, patient=patient))
    return matched


def with_participants(path: Path, cases: Sequence[Case]) -> list[Case]:
    """Return cases with what a table of BIDS says of their patients, such as age and sex, in their meta.

    Args:
        path: of a ``participants.tsv``, whose first column names a patient or a case, with ``sub-`` before
            it or without; where there is none, cases stay as they are.
        cases: with their patients.

    Raises:
        BenchError: a row has more or fewer entries than the first; names it.
    """
    if not path.is_file():
        return list(cases)
    table = participants.read(path)
    return [replace(case, meta={**table.of(case.id, case.patient), **case.meta}) for case in cases]


def plain_name(text: str) -> str:
    """Return a text for the name of a case: letters without marks, digits, dots, hyphens; else ``_``."""
    letters = filterfalse(unicodedata.combining, unicodedata.normalize("NFKD", text))
    return re.sub("[^A-Za-z0-9.-]+", "_", "".join(letters)).strip("_.")


def likely_visits(cases: Sequence[Case]) -> str:
    """Return a line where names of cases look like several scans of a patient; empty where they do not.

    Only where each case counts as a patient of his own: else somebody stated who is who.
    """
    names = {case.id: None for case in cases}
    if len({case.patient for case in cases}) < len(names):
        return ""
    folders = _folder_pattern(cases)
    for pattern in (*folders, *VISITS, *VOLUMES):
        scans: dict[str, list[str]] = {}
        for name in names:
            if match := re.match(pattern, name):
                scans.setdefault(match[1], []).append(name)
        matched, bare = sum(map(len, scans.values())), names.keys() & scans.keys()
        for who in bare:
            scans[who].insert(0, who)
        if pattern in VOLUMES:  # other names may end in a letter as well
            scans = {who: group for who, group in scans.items() if len(group) > 1}
        several = [group for group in scans.values() if len(group) > 1]
        n = sum(map(len, several))
        # one is enough in a folder of several, or beside the series that dcm2niix named it after
        sure = len(scans) > 1 if pattern in folders else pattern in VOLUMES and bare
        if matched <= MOST_VISITS * len(scans) and (
            several if sure else len(several) >= 2 and 2 * n >= len(names)
        ):
            patients = dict(zip(names, names, strict=True))
            patients |= {name: who for who, group in scans.items() for name in group}
            short = _shortest(pattern, patients)
            return (
                f"names look like {n} {'visits' if pattern in VISITS else 'scans'} of {len(several)} "
                f"patient{'s' * (len(several) > 1)} ({' and '.join(several[0][:2])}), but each case counts as a "
                f'patient; if they are, write "patients": {json.dumps(short)} into dataset.json'
            )
    return ""


def _folder_pattern(cases: Sequence[Case]) -> list[str]:
    """Return the pattern of names that begin with the folder of their image, or of what it is a link to."""
    folders = {c.id: Path(os.path.realpath(c.images[0])).parent for c in cases if c.images}
    while len({f.name for f in folders.values()}) < len({*folders.values()}):
        folders = {id: folder.parent for id, folder in folders.items()}  # P1/first, P2/first
    known = {folder: re.escape(plain_name(folder.name)) for folder in folders.values()}
    matches = [
        match
        for id, folder in folders.items()
        if not PARTS.search(folder.name) and (match := re.match(f"((?:.*?_)?{known[folder]})_", id))
    ]
    if 2 * len(matches) < len(cases) or not matches:
        return []
    parts = {match[1].count("_") for match in matches}
    who = "_".join(["[^_]+"] * (1 + min(parts)))
    if len(parts) > 1:
        who = "|".join(sorted({re.escape(match[1]) for match in matches}, key=len, reverse=True))
    return [f"^({who})_"]


def _shortest(pattern: str, patients: Mapping[str, str]) -> str:
    """Return a pattern, or a shorter one of the names' ends that gives the same patients and fits all names.

    Args:
        pattern: that gave the patients; a name that it does not fit is a patient of his own.
        patients: by name.
    """
    ends = {
        name.removeprefix(who).replace(".", "[.]") for name, who in patients.items() if name != who
    }
    ends = {re.sub("[0-9]+", "[0-9]+", end) for end in ends}
    end = ends.pop() if len(ends) == 1 else f"(?:{'|'.join(sorted(ends))})"
    single = any(name == who for name, who in patients.items())
    short = f"^(.+?)(?:{end})?$" if single else f"^(.+){end}$"
    alike = all(
        (match := re.match(short, name)) and match[1] == who for name, who in patients.items()
    )
    return short if alike and (single or len(short) < len(pattern)) else pattern


def _pattern(path: Path, stated: object) -> re.Pattern[str]:
    fault = "is neither a pattern with a group nor a map"
    try:
        pattern = re.compile(stated) if isinstance(stated, str) else None
    except re.error as error:
        pattern, fault = None, f"is no pattern ({error})"
    if pattern is not None and ("patient" in pattern.groupindex or pattern.groups == 1):
        return pattern
    if pattern is not None:
        fault = "needs one group, which is the patient"
    example = '"^(.+)_[a-z]$", or {"p01_a": "p01", "p01_b": "p01"}'
    raise BenchError(f"{path}: patients: {shown(stated)} {fault}; e.g. {example}")


def _labels(
    path: Path, listing: Mapping[str, Any]
) -> tuple[dict[int, str], dict[str, tuple[int, ...]], int | None]:
    """Return value -> name without background, regions, and the value of voxels that nobody labelled.

    MSD writes ``{"1": "liver"}``, nnU-Net ``{"liver": 1}``.
    """
    labels = listing.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise BenchError(
            f'{path}: key \'labels\' {_lacks(labels)}; it maps values to names, {{"1": "liver"}}'
        )
    swapped = not all(str(key).lstrip("-").isdecimal() for key in labels)
    ignored = (
        labels.get(IGNORE) if swapped else next((k for k, v in labels.items() if v == IGNORE), None)
    )
    labels = {k: v for k, v in labels.items() if IGNORE not in ((k,) if swapped else (v,))}
    if ignored is not None and not _is_value(ignored):
        raise BenchError(
            f"{path}: labels: {IGNORE!r} needs one whole number up to {LARGEST}, got {shown(ignored)}"
        )
    several = swapped and any(isinstance(value, list) for value in labels.values())
    regions = _regions(path, labels) if several else {}
    if several:  # a value that no region has to itself has no name
        alone = {values[0]: name for name, values in regions.items() if len(values) == 1}
        every = sorted({value for values in regions.values() for value in values})
        labels = {alone.get(value, f"label {value}"): value for value in every}
    pairs = [(v, k) if swapped else (k, v) for k, v in labels.items()]
    classes: dict[int, str] = {}
    for value, name in pairs:
        if not _is_value(value):
            raise BenchError(
                f"{path}: labels: {shown(value)} is no whole number from 0 to {LARGEST}"
            )
        if not isinstance(name, str):
            raise BenchError(f"{path}: labels: the name of {value} must be text, got {shown(name)}")
        if int(value) in classes:
            raise BenchError(f"{path}: labels: {value} is declared twice")
        classes[int(value)] = name
    ignore = None if ignored is None else int(ignored)
    if ignore is not None and ignore in {0, *classes}:
        raise BenchError(
            f"{path}: labels: {ignore} is {IGNORE!r} and also a label; give it a value of its "
            "own, the highest one, as nnU-Net does"
        )
    classes.pop(0, None)
    most = VOID if ignore is None else VOID - 1
    if not 1 <= len(classes) <= most or len(set(classes.values())) != len(classes):
        raise BenchError(f"{path}: labels: 1 to {most} classes with different names are needed")
    return classes, regions, ignore


def _regions(path: Path, labels: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return name -> values of nnU-Net's labels, ``{"whole": [1, 2], "core": 2}``, without background."""
    regions = {}
    for name, stated in labels.items():
        values = stated if isinstance(stated, list) else [stated]
        if (
            not values
            or not all(map(_is_value, values))
            or (0 in map(int, values) and len(values) > 1)
        ):
            raise BenchError(
                f"{path}: labels: {shown(name)} needs values from 1 to {LARGEST}, got {shown(stated)}"
            )
        regions[name] = tuple(sorted({*map(int, values)}))
    return {name: values for name, values in regions.items() if values != (0,)}


def _is_value(value: Any) -> bool:
    text = str(value)  # its length first: Python converts no more than 4300 digits to an int
    number = text.isdecimal() and len(text) <= 20 and not isinstance(value, bool)
    return number and int(text) <= LARGEST


def _lacks(value: Any) -> str:
    return "is missing" if value is None else f"holds {shown(value)}"


def _hint(unpack: str) -> str:
    return f"; {unpack}" if unpack else ""
