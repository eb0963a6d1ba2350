"""Open and judge every case of a data set; nothing stops at the first fault."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.data import split as splits
from bench.data.leftover import DEPTH, leftovers
from bench.data.recipe import contiguous
from bench.dataset import Case, Dataset
from bench.errors import printable
from bench.volumes import picture, zipped
from bench.volumes.files import is_picture, within
from bench.volumes.reading import (
    TOLERANCE,
    LabelVolume,
    Stored,
    Volume3D,
    VolumeError,
    check_finite,
    is_volume,
    join_channels,
    read_label,
    read_volume,
    same_place,
)

LEAN = 1.0  # degrees; headers round their numbers
A = TypeVar("A")
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One fault. ``kind`` is one of ``bench.volumes.header.KINDS``; ``case`` may be empty."""

    case: str
    file: str
    kind: str
    detail: str


def check(
    dataset: Dataset, root: Path, workers: int = 1, on_progress: Callable[[int, int], None] | None = None
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
    strange = leftovers(dataset, root, cases, [Path(file) for file in gone])
    findings += [Finding("", str(path), kind, detail) for path, kind, detail in strange]
    digests: dict[str, str] = {}
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        judged = pool.map(lambda case: _judged(dataset, case, gone), cases)
        for done, (case, (faults, digest)) in enumerate(zip(cases, judged, strict=True), 1):
            findings += faults
            if digest is not None:
                digests[case.id] = digest
            if on_progress is not None:
                on_progress(done, len(cases))
    twins = list(_twins(cases, digests))
    findings += [Finding(c.id, str(c.images[0]), "duplicate", _same(dataset, first, c)) for first, c in twins]
    return findings + list(_overlaps(dataset, twins))


def _alone(root: Path, workers: int, on_progress: Callable[[int, int], None] | None) -> list[Finding]:
    """Judge every image file below a folder by itself."""
    files = [path for path in within(root, DEPTH) if (is_volume(path) or is_picture(path)) and path.is_file()]
    findings: list[Finding] = []
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for done, faults in enumerate(pool.map(_file_faults, files), 1):
            findings += faults
            if on_progress is not None:
                on_progress(done, len(files))
    return findings


def _file_faults(path: Path) -> list[Finding]:
    try:
        volume = read_volume(path)
        check_finite(volume)
    except VolumeError as error:
        return [Finding("", str(error.path), error.kind, error.detail)]
    return _grid_faults("", volume)


def _absent(path: Path) -> str:
    return f"a link that leads to {path.readlink()}" if path.is_symlink() else "no such file"


def _judged(dataset: Dataset, case: Case, gone: set[str]) -> tuple[list[Finding], str | None]:
    """Return a case's faults and the digest of its image's voxels."""
    faults: list[Finding] = []

    def attempt(work: Callable[[A], T], given: A) -> T | None:
        try:
            return work(given)
        except VolumeError as error:
            faults.append(Finding(case.id, str(error.path), error.kind, error.detail))
            return None

    here = [p for p in case.images if str(p) not in gone]
    channels = [
        v for path in here if (v := attempt(partial(read_volume, frame=case.frame), path)) is not None
    ]
    for volume in channels:
        faults += _grid_faults(case.id, volume)
        attempt(check_finite, volume)
    faults += _copies(case, channels)
    image = None
    if channels and len(channels) == len(case.images):
        image = attempt(join_channels, channels)
    if image is not None and image.array.shape[0] != len(dataset.channels):
        several = [v for v in channels if len(channels) > 1 and v.array.shape[0] > 1] or [image]
        detail = (
            f"{several[0].array.shape[0]} channels in this file, {len(dataset.channels)} are declared in all"
        )
        faults.append(Finding(case.id, str(several[0].path), "shape", detail))
    for path in filter(picture.is_slices, here):
        doubts = attempt(picture.doubts, path) if channels else None
        faults += [Finding(case.id, str(d.path), d.kind, d.detail) for d in doubts or ()]
    if isinstance(case.label, int) and case.label not in dataset.labels:
        detail = f"class {case.label} is not declared ({', '.join(map(str, dataset.labels))})"
        faults.append(Finding(case.id, str(case.images[0]), "label_value", detail))
    if isinstance(case.label, Path) and str(case.label) not in gone:
        label = attempt(partial(read_label, frame=case.frame), case.label)
        if label is not None:
            faults += _label_faults(dataset, case, label)
            faults += [] if image is None else _pair_faults(case, image, label)
    return faults, None if image is None else _digest(image)


def _copies(case: Case, channels: Sequence[Volume3D]) -> list[Finding]:
    """Return channels that are another channel of their case."""
    first: dict[str, Volume3D] = {}
    twins = [(first.setdefault(_digest(volume), volume), volume) for volume in channels if len(channels) > 1]
    return [
        Finding(case.id, str(volume.path), "duplicate", f"the same voxels as {before.path.name}")
        for before, volume in twins
        if before is not volume
    ]


def _grid_faults(case: str, volume: Volume3D) -> list[Finding]:
    """Return what a header leaves open or says twice in two ways."""
    file, found = str(volume.path), []
    if not volume.stored.oriented:
        detail = "the header states no orientation; left and right are a guess"
        found.append(Finding(case, file, "orientation", detail))
    if not volume.stored.spaced:
        found.append(Finding(case, file, "spacing", "the header states no spacing; 1 mm is a guess"))
    lean = _lean(volume.affine)
    if lean > LEAN:
        detail = f"two axes are {90 - lean:.1f} degrees apart, not 90; distances will be wrong"
        found.append(Finding(case, file, "affine", detail))
    surplus = 0 if volume.stored.gzipped else _surplus(volume.stored)
    if surplus:
        detail = f"the file holds {surplus} bytes more than its header declares"
        found.append(Finding(case, file, "shape", detail))
    by_affine = np.linalg.norm(volume.stored.affine[:3, :3], axis=0)
    if np.abs(by_affine - volume.stored.spacing).max() > TOLERANCE:
        stated = ", ".join(f"{s:g}" for s in volume.stored.spacing)
        detail = f"pixdim says {stated} mm, the affine {', '.join(f'{s:g}' for s in by_affine)} mm"
        found.append(Finding(case, file, "spacing", detail))
    return found


def _lean(affine: np.ndarray) -> float:
    """Return by how many degrees two axes miss a right angle, at most."""
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arcsin(np.clip(np.abs(unit.T @ unit - np.eye(3)).max(), 0, 1))))


def _surplus(stored: Stored) -> int:
    """Return the bytes after the voxels of a file that is not compressed."""
    if not is_volume(stored.path):
        return 0
    return zipped.size(stored.source) - stored.offset - stored.nbytes


def _label_faults(dataset: Dataset, case: Case, label: LabelVolume) -> list[Finding]:
    try:
        classes = contiguous(label, dataset.labels, dataset.raw_labels)
    except VolumeError as error:
        return [Finding(case.id, str(label.path), error.kind, error.detail)]
    if not classes.any():
        return [Finding(case.id, str(label.path), "empty_label", "no voxel is labelled")]
    return []


def _pair_faults(case: Case, image: Volume3D, label: LabelVolume) -> list[Finding]:
    """Return where a label does not lie on its image."""
    file = str(label.path)
    if label.array.shape != image.array.shape[1:]:
        detail = f"{label.array.shape} is not {image.array.shape[1:]}, the shape of its image"
        return [Finding(case.id, file, "shape", detail)]
    if same_place(label.affine, image.affine):
        return []
    off = np.abs(label.affine - image.affine).max()
    found = [Finding(case.id, file, "affine", f"up to {off:.4g} mm from its image's affine")]
    if np.abs(np.subtract(label.spacing, image.spacing)).max() > TOLERANCE:
        detail = f"{_mm(label.spacing)} is not {_mm(image.spacing)}, the spacing of its image"
        found.append(Finding(case.id, file, "spacing", detail))
    if label.original_axes != image.original_axes:
        detail = f"stored {label.original_axes}, its image {image.original_axes}"
        found.append(Finding(case.id, file, "orientation", detail))
    return found


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{s:g}" for s in spacing) + " mm"


def _digest(image: Volume3D) -> str:
    """Return a digest of shape and values; the same scan in another dtype or file is equal."""
    made = hashlib.sha256(str(image.array.shape).encode())
    with np.errstate(over="ignore"):  # check_finite names what no 32 bits hold
        for channel in image.array:
            made.update(channel.astype(np.float32).data)
    return made.hexdigest()


def _twins(cases: Sequence[Case], digests: dict[str, str]) -> Iterator[tuple[Case, Case]]:
    first: dict[str, Case] = {}
    for case in cases:
        digest = digests.get(case.id)
        if digest is None:
            continue
        if digest in first:
            yield first[digest], case
        first.setdefault(digest, case)


def _same(dataset: Dataset, first: Case, second: Case) -> str:
    """Return a line on two cases with equal voxels; of two classes, at most one is right."""
    said = f"the same voxels as case {printable(first.id)}"
    if not isinstance(first.label, int) or not isinstance(second.label, int) or first.label == second.label:
        return said
    there, here = (f"{c} ({dataset.labels.get(c, '?')})" for c in (first.label, second.label))
    return f"{said}, whose class is {there}, here {here}"


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
            for patient, found in sides.items():
                if len(found) > 1:
                    detail = f"patient {patient} is in {' and '.join(found)} {where}"
                    yield Finding("", file, "patient_overlap", detail)
            for a, b in twins:
                both = {*sides.get(a.patient, ()), *sides.get(b.patient, ())}
                if a.patient != b.patient and len(both) > 1:
                    detail = f"the voxels of {a.patient} and {b.patient}, in two parts {where}"
                    yield Finding(b.id, str(b.images[0]), "patient_overlap", detail)


def as_text(name: str, cases: int, findings: Sequence[Finding], skipped: Sequence[tuple[str, str]]) -> str:
    """Return a table of the findings and a closing line with their number, and what was left out."""
    from tabulate import tabulate

    out = f"{len(skipped)} left out (first {skipped[0][0]}: {skipped[0][1]}), " if skipped else ""
    found = f"{len(findings)} findings" if findings else "nothing wrong"
    closing = f"{name}: {cases} cases, " + printable(out) + found
    if not findings:
        return closing
    rows = [tuple(map(printable, (f.case, f.kind, f.detail, f.file))) for f in findings]
    return tabulate(rows, headers=("case", "kind", "detail", "file"), tablefmt="plain") + "\n" + closing
