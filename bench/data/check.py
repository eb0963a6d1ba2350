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
from bench.data.recipe import contiguous
from bench.data.volume import (
    TOLERANCE,
    LabelVolume,
    Volume3D,
    VolumeError,
    check_finite,
    is_volume,
    join_channels,
    read_label,
    read_volume,
    same_place,
    within,
)
from bench.dataset import Case, Dataset, files_of
from bench.errors import printable

DEPTH = 6  # levels below a data set's folder that are searched for files of no case
A = TypeVar("A")
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One fault. ``kind`` is one of ``bench.data.stored.KINDS``; ``case`` may be empty."""

    case: str
    file: str
    kind: str
    detail: str


def check(
    dataset: Dataset,
    root: Path,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Decode every file of every case and return what is wrong, in the order of the cases.

    Threads suffice: inflating, hashing and array work release the interpreter's lock.

    Args:
        dataset: the declaration.
        root: its folder.
        workers: cases in work at once; each holds one image and its label in memory.
        on_progress: called with (cases done, cases in all).

    Raises:
        BenchError: nothing under ``root`` looks like this data set.
    """
    cases = dataset.cases(root)
    absent = dataset.missing(root)
    findings = [Finding(case, file, "missing", "no such file") for case, file in absent]
    findings += _extra(dataset, root, cases)
    digests: dict[str, str] = {}
    gone = {file for _, file in absent}
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        judged = pool.map(lambda case: _judged(dataset, case, gone), cases)
        for done, (case, (faults, digest)) in enumerate(zip(cases, judged, strict=True), 1):
            findings += faults
            if digest is not None:
                digests[case.id] = digest
            if on_progress is not None:
                on_progress(done, len(cases))
    twins = list(_twins(cases, digests))
    findings += [
        Finding(c.id, str(c.images[0]), "duplicate", f"the same voxels as case {first.id}")
        for first, c in twins
    ]
    return findings + list(_overlaps(dataset, twins))


def _extra(dataset: Dataset, root: Path, cases: Sequence[Case]) -> list[Finding]:
    """Return volumes that belong to no case and that the layout does not know."""
    read = {path for case in cases for path in files_of(case)}
    return [
        Finding("", str(path), "extra", "belongs to no case")
        for path in within(root, DEPTH)
        if is_volume(path)
        and not {path, path.parent} & read  # some unzippers make a folder img.nii.gz/
        and not any(path.match(pattern) for pattern in dataset.unread)
    ]


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
        faults += _grid_faults(case, volume)
        attempt(check_finite, volume)
    image = None
    if channels and len(channels) == len(case.images):
        image = attempt(join_channels, channels)
    if image is not None and image.array.shape[0] != len(dataset.channels):
        detail = f"{image.array.shape[0]} channels, {len(dataset.channels)} are declared"
        faults.append(Finding(case.id, str(image.path), "shape", detail))
    if isinstance(case.label, Path) and str(case.label) not in gone:
        label = attempt(partial(read_label, frame=case.frame), case.label)
        if label is not None:
            faults += _label_faults(dataset, case, label)
            faults += [] if image is None else _pair_faults(case, image, label)
    return faults, None if image is None else _digest(image)


def _grid_faults(case: Case, volume: Volume3D) -> list[Finding]:
    """Return what a header leaves open or says twice in two ways."""
    file, found = str(volume.path), []
    if not volume.stored.oriented:
        detail = "the header states no orientation; left and right are a guess"
        found.append(Finding(case.id, file, "orientation", detail))
    by_affine = np.linalg.norm(volume.stored.affine[:3, :3], axis=0)
    if np.abs(by_affine - volume.stored.spacing).max() > TOLERANCE:
        stated = ", ".join(f"{s:g}" for s in volume.stored.spacing)
        detail = f"pixdim says {stated} mm, the affine {', '.join(f'{s:g}' for s in by_affine)} mm"
        found.append(Finding(case.id, file, "spacing", detail))
    return found


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
        detail = f"{label.spacing} mm is not {image.spacing} mm, the spacing of its image"
        found.append(Finding(case.id, file, "spacing", detail))
    if label.original_axes != image.original_axes:
        detail = f"stored {label.original_axes}, its image {image.original_axes}"
        found.append(Finding(case.id, file, "orientation", detail))
    return found


def _digest(image: Volume3D) -> str:
    """Return a digest of shape and values; the same scan in another dtype or file is equal."""
    made = hashlib.sha256(str(image.array.shape).encode())
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


def as_text(name: str, cases: int, findings: Sequence[Finding]) -> str:
    """Return a table of the findings and a closing line with their number."""
    from tabulate import tabulate

    closing = f"{name}: {cases} cases, " + (f"{len(findings)} findings" if findings else "nothing wrong")
    if not findings:
        return closing
    rows = [tuple(map(printable, (f.case, f.kind, f.detail, f.file))) for f in findings]
    return tabulate(rows, headers=("case", "kind", "detail", "file"), tablefmt="plain") + "\n" + closing
