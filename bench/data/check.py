"""Open and judge every case of a data set; nothing stops at the first fault."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.data import split as splits
from bench.data.contents import voxel_file
from bench.data.recipe import contiguous
from bench.dataset import VOID, Case, Dataset, clean, files_of
from bench.errors import printable
from bench.volumes import picture, zipped
from bench.volumes.files import dicom_inside, is_picture, is_volume, within
from bench.volumes.header import MIN_STEP, TOLERANCE, VolumeError
from bench.volumes.reading import (
    LabelVolume,
    Volume3D,
    check_finite,
    drift,
    join_channels,
    lay,
    misplaced,
    read_label,
    read_volume,
)

LEAN = 1.0  # degrees; headers round their numbers
DEPTH = 6  # levels below a data set's folder that are searched
A = TypeVar("A")
T = TypeVar("T")
Look = Callable[[Case, Volume3D, LabelVolume | None], None]


@dataclass(frozen=True)
class Finding:
    """One fault. ``kind`` is one of ``bench.volumes.header.KINDS``; ``case`` may be empty."""

    case: str
    file: str
    kind: str
    detail: str


def check(
    dataset: Dataset,
    root: Path,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    look: Look | None = None,
) -> list[Finding]:
    """Decode every file of every case and return what is wrong, in the order of the cases.

    Where a list of the data set is damaged and no case is known without it, every image file is a case of
    its own, judged by itself.

    Threads suffice: inflating, hashing and array work release the interpreter's lock.

    Args:
        dataset: the declaration.
        root: its folder.
        workers: cases in work at once; each holds one image and its label in memory.
        on_progress: called with (cases done, cases in all).
        look: called in a worker thread with every case whose image can be read and is finite, this image and,
            where that can be read and is of its size, the label map as stored.

    Raises:
        BenchError: nothing under ``root`` looks like this data set.
    """
    cases, unlisted = dataset.readable(root)
    findings = [Finding("", str(error.file), error.kind, error.detail) for error in unlisted]
    if unlisted and not cases:
        return findings + _alone(root, workers, on_progress)
    absent = dataset.missing(root, cases)
    findings += [Finding(case, file, "missing", _absent(Path(file))) for case, file in absent]
    gone = {file for _, file in absent}
    findings += _leftovers(dataset, root, cases, {Path(file) for file in gone})
    digests: dict[str, str] = {}
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        judged = pool.map(lambda case: _judged(dataset, case, gone, look), cases)
        for done, (case, (faults, digest)) in enumerate(zip(cases, judged, strict=True), 1):
            findings += faults
            if digest is not None:
                digests[case.id] = digest
            if on_progress is not None:
                on_progress(done, len(cases))
    twins = list(_twins(cases, digests))
    findings += [
        Finding(c.id, str(c.images[0]), "duplicate", _same(dataset, first, c)) for first, c in twins
    ]
    return findings + list(_overlaps(dataset, twins))


def _alone(
    root: Path, workers: int, on_progress: Callable[[int, int], None] | None
) -> list[Finding]:
    """Judge every image file below a folder by itself."""
    files = [
        path
        for path in within(root, DEPTH)
        if (is_volume(path) or is_picture(path)) and path.is_file()
    ]
    findings: list[Finding] = []
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for done, faults in enumerate(pool.map(_file_faults, files), 1):
            findings += [_finding("", fault) for fault in faults]
            if on_progress is not None:
                on_progress(done, len(files))
    return findings


def _file_faults(path: Path) -> list[VolumeError]:
    try:
        volume = read_volume(path)
        check_finite(volume)
    except VolumeError as error:
        return [error]
    return [*_grid_faults(volume), *_remarks(volume)]


def _finding(case: str, fault: VolumeError) -> Finding:
    link = f" (a link to {fault.path.readlink()})" if fault.path.is_symlink() else ""
    return Finding(case, str(fault.path), fault.kind, fault.detail + link)


def _absent(path: Path) -> str:
    if path.is_symlink():
        return f"a link that leads to {path.readlink()}"
    return f"no such file{dicom_inside(path.parent, depth=1)}"


def _judged(
    dataset: Dataset, case: Case, gone: set[str], look: Look | None
) -> tuple[list[Finding], str | None]:
    """Return a case's faults and the digest of its image's voxels; ``look`` sees what was read of it."""
    faults: list[VolumeError] = []

    def attempt(work: Callable[[A], T], given: A) -> T | None:
        try:
            return work(given)
        except VolumeError as error:
            faults.append(error)
            return None

    present = [p for p in case.images if str(p) not in gone]
    read = [attempt(partial(read_volume, frame=case.frame), path) for path in present]
    channels = [volume for volume in read if volume is not None]
    for volume in channels:
        faults += _grid_faults(volume)
        attempt(check_finite, volume)
    faults += _copies(channels)
    image = attempt(join_channels, channels) if 0 < len(channels) == len(case.images) else None
    if image is not None:
        faults += _count_faults(dataset, channels, image)
    for path in filter(picture.is_slices, present):
        faults += (attempt(picture.doubts, path) if channels else None) or ()
    faults += _class_faults(dataset, case)
    label = None
    if isinstance(case.label, Path) and str(case.label) not in gone:
        label = attempt(partial(read_label, frame=case.frame), case.label)
    lies = None
    if label is not None:
        faults += _value_faults(dataset, label)
        lies = (
            None
            if image is None
            else attempt(partial(lay, label, as_stored=dataset.labels_as_stored), image)
        )
    placed = (
        label is None or lies is not None or all(fault.kind != "orientation" for fault in faults)
    )
    digest = None
    if image is not None:
        faults += _pair_faults(image, label if lies else None)
        if look is not None and placed and all(fault.kind != "nonfinite" for fault in faults):
            look(case, image, lies)
        digest = None if _is_constant(image) else _digest(image)
    faults += _remarks(*channels, *([] if label is None else [label]))
    return [_finding(case.id, fault) for fault in faults], digest


def _class_faults(dataset: Dataset, case: Case) -> list[VolumeError]:
    """Return a class that is not declared."""
    if not isinstance(case.label, int) or case.label in dataset.labels:
        return []
    detail = f"class {case.label} is not declared ({', '.join(map(str, dataset.labels))})"
    return [VolumeError(case.images[0], "label_value", detail)]


def _count_faults(
    dataset: Dataset, channels: Sequence[Volume3D], image: Volume3D
) -> list[VolumeError]:
    """Return a number of channels that is not the declared one."""
    if image.array.shape[0] == len(dataset.channels):
        return []
    several = [v for v in channels if len(channels) > 1 and v.array.shape[0] > 1] or [image]
    present, declared = several[0].array.shape[0], len(dataset.channels)
    detail = f"{present} channels in this file, but the data set declares {declared}"
    return [VolumeError(several[0].path, "shape", detail)]


def _value_faults(dataset: Dataset, label: LabelVolume) -> list[VolumeError]:
    """Return what is wrong with a label map's values."""
    faults = list[VolumeError]()
    try:
        classes = contiguous(label, dataset)
        if not (classes[classes != VOID] if dataset.void else classes).any():
            faults.append(VolumeError(label.path, "empty_label", "no voxel is labelled"))
    except VolumeError as error:
        faults.append(error)
    return faults


def _copies(channels: Sequence[Volume3D]) -> list[VolumeError]:
    """Return channels that are another channel of their case; a constant one is no copy of another."""
    first: dict[str, Volume3D] = {}
    filled = [volume for volume in channels if not _is_constant(volume)]
    twins = [(first.setdefault(_digest(volume), volume), volume) for volume in filled]
    return [
        VolumeError(volume.path, "duplicate", f"the same voxels as {before.path.name}")
        for before, volume in twins
        if before is not volume
    ]


def _grid_faults(volume: Volume3D) -> list[VolumeError]:
    """Return what a header leaves open or says twice in two ways."""
    faults, stored = list[tuple[str, str]](), volume.stored
    stated = stored.stated
    if stated.doubt:
        faults.append(("affine", stated.doubt))
    if not stated.axes and is_volume(stored.path):
        faults.append(
            ("orientation", "the header states no orientation; left and right are a guess")
        )
    if not stated.spacing and is_volume(stored.path):
        faults.append(("spacing", "the header states no spacing; 1 mm is a guess"))
    if min(volume.spacing) < MIN_STEP:
        faults.append(("spacing", f"voxels of {_mm(volume.spacing)} mm; is the header in metres?"))
    unit = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    lean = float(np.degrees(np.arcsin(np.clip(np.abs(unit.T @ unit - np.eye(3)).max(), 0, 1))))
    if lean > LEAN:
        faults.append(
            (
                "affine",
                f"two axes are {90 - lean:.1f} degrees apart, not 90; distances will be wrong",
            )
        )
    if is_volume(stored.path) and not stored.gzipped:
        surplus = zipped.size(stored.source) - stored.offset - stored.nbytes
        if surplus:
            faults.append(
                ("shape", f"the file holds {surplus} bytes more than its header declares")
            )
    by_affine = np.linalg.norm(stored.affine[:3, :3], axis=0)
    if drift(by_affine, stored.spacing, stored.grid) > TOLERANCE:
        declared, meant = (
            ", ".join(f"{s:g}" for s in spacing) for spacing in (stored.spacing, by_affine)
        )
        faults.append(("spacing", f"pixdim says {declared} mm, the affine {meant} mm"))
    return [VolumeError(volume.path, kind, detail) for kind, detail in faults]


def _remarks(*volumes: Volume3D) -> list[VolumeError]:
    """Return what headers hold that was passed over; the voxels can be used without it."""
    return [VolumeError(v.path, *remark) for v in volumes for remark in v.stored.stated.remarks]


def _pair_faults(image: Volume3D, label: LabelVolume | None) -> list[VolumeError]:
    """Return where a label's header, as it was read alone, places it off its image."""
    off = 0.0 if label is None else misplaced(label, image)
    if label is None or not off:
        return []
    faults = [("affine", f"its header places it up to {off:.4g} voxels from its image")]
    if drift(label.spacing, image.spacing, label.array.shape) > TOLERANCE:
        detail = f"{_mm(label.spacing)} mm is not {_mm(image.spacing)} mm, the spacing of its image"
        faults.append(("spacing", detail))
    return [VolumeError(label.path, kind, detail) for kind, detail in faults]


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{s:g}" for s in spacing)


def _is_constant(image: Volume3D) -> bool:
    """Tell whether all voxels are equal, as where a scan that a patient lacks is filled with zeros."""
    return bool(image.array.min() == image.array.max())


def _digest(image: Volume3D) -> str:
    """Return a digest of shape and values; the same scan in another dtype or file is equal."""
    digest = hashlib.sha256(str(image.array.shape).encode())
    with np.errstate(over="ignore"):  # check_finite names what no 32 bits hold
        for channel in image.array:
            digest.update(channel.astype(np.float32).data)
    return digest.hexdigest()


def _twins(cases: Sequence[Case], digests: dict[str, str]) -> Iterator[tuple[Case, Case]]:
    first: dict[str, Case] = {}
    for case in cases:
        if case.id in digests:
            before = first.setdefault(digests[case.id], case)
            if before is not case:
                yield before, case


def _same(dataset: Dataset, first: Case, second: Case) -> str:
    """Return a line on two cases with equal voxels; of two classes, at most one is right."""
    message = f"the same voxels as case {printable(first.id)}"
    if (
        not isinstance(first.label, int)
        or not isinstance(second.label, int)
        or first.label == second.label
    ):
        return message
    first_class, second_class = (
        f"{c} ({dataset.labels.get(c, '?')})" for c in (first.label, second.label)
    )
    return f"{message}, whose class is {first_class}, here {second_class}"


def _overlaps(dataset: Dataset, twins: Sequence[tuple[Case, Case]]) -> Iterator[Finding]:
    """Yield patients that a registered split has on two sides, by name or by their voxels."""
    for name, file in dataset.splits.items():
        for fold in splits.listed(dataset, name):
            parts = {"train": fold.train, "val": fold.val, "test": fold.test}
            sides: dict[str, list[str]] = {}
            for part, patients in parts.items():
                for patient in patients:
                    sides.setdefault(patient, []).append(part)
            where = f"of split {name!r}, fold {fold.index}"
            for patient, memberships in sides.items():
                if len(memberships) > 1:
                    detail = f"patient {patient} is in {' and '.join(memberships)} {where}"
                    yield Finding("", file, "patient_overlap", detail)
            for a, b in twins:
                both = {*sides.get(a.patient, ()), *sides.get(b.patient, ())}
                if a.patient != b.patient and len(both) > 1:
                    detail = f"the voxels of {a.patient} and {b.patient}, in two parts {where}"
                    yield Finding(b.id, str(b.images[0]), "patient_overlap", detail)


def _leftovers(
    dataset: Dataset, root: Path, cases: Sequence[Case], absent: set[Path]
) -> Iterator[Finding]:
    """Yield volumes of no case that the layout does not know, voxels of no header, empty folders.

    Pictures count where the cases consist of them; elsewhere they are previews or a project's logo.
    A folder of nothing but such pictures is one finding; one from which ``absent`` files are missing is none.
    """
    read = {path for case in cases for path in files_of(case)}
    pictures = not all(is_volume(path) for path in read)
    paths = within(root, DEPTH)
    claimed = read | {data for path in paths if (data := voxel_file(str(path))) is not None}
    strange = [
        path
        for path in paths
        if (is_volume(path) or _is_voxels(path) or (pictures and is_picture(path)))
        and not {path, path.parent} & claimed  # some unzippers make a folder img.nii.gz/
        and not any(path.match(pattern) for pattern in dataset.unread)
    ]
    homes = {path.parent for path in read}
    counts = Counter(
        path.parent for path in strange if is_picture(path) and path.parent not in homes
    )
    many = {folder: n for folder, n in counts.items() if n > 1}
    for path in strange:
        if path.parent not in many:
            detail = "voxels of no header" if _is_voxels(path) else dataset.unclaimed(path)
            yield Finding("", str(path), "extra", detail)
    for folder, n in many.items():
        yield Finding("", str(folder), "extra", f"its {n} pictures belong to no case")
    needed = {path.parent for path in (*paths, *claimed, *absent)} | claimed | absent
    for path in paths:  # what was unpacked into an empty folder is gone, or never came
        volume = is_volume(path) or is_picture(path)
        if path not in needed and not volume and path.is_dir() and not clean(path.iterdir()):
            yield Finding("", str(path), "missing", "an empty folder")


def _is_voxels(path: Path) -> bool:
    return path.name.lower().endswith((".raw", ".zraw", ".raw.gz"))
