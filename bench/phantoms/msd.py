"""Phantoms in the layout of the Medical Segmentation Decathlon, the unlabelled test scans too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.data.layout_msd import MSDLayout, write_listing
from bench.data.split import listed
from bench.dataset import natural
from bench.phantoms.order import first, interleaved
from bench.phantoms.organs import write_nifti

Drawn = tuple[np.ndarray, np.ndarray]
Draw = Callable[[int], Drawn]


def stems_of(dataset: type[MSDLayout], split: str, tests: int) -> tuple[list[str], list[str]]:
    """Return names of the training cases, as a registered split lists them, and of test cases.

    Args:
        dataset: the declaration.
        split: one that lists every labelled case.
        tests: how many; they have the numbers from 1 that no training case has, which is close to
            the real ones and more than a phantom needs.
    """
    fold = listed(dataset(), split)[0]
    training = sorted((*fold.train, *fold.val, *fold.test), key=natural)
    digits = [stem.removeprefix(dataset.stems) for stem in training]
    taken = {int(d) for d in digits}
    free = [n for n in range(1, len(taken) + tests + 1) if n not in taken]
    width = min(len(d) for d in digits)
    return training, [f"{dataset.stems}{n:0{width}d}" for n in free[:tests]]


def write_task(
    root: Path,
    dataset: type[MSDLayout],
    stems: tuple[Sequence[str], Sequence[str]],
    cases: int,
    spacing: Sequence[float],
    draw: Draw,
) -> None:
    """Write ``cases`` phantoms and their ``dataset.json`` under ``root``.

    Args:
        root: the folder that will hold ``imagesTr``.
        dataset: the declaration.
        stems: names of the training and of the test cases.
        cases: training and test scans together.
        spacing: mm.
        draw: index of a patient to image (X, Y, Z) or (X, Y, Z, C) and label (X, Y, Z).

    Raises:
        BenchError: more cases than the task has.
    """
    order, tests = first(dataset, interleaved(*stems), cases), set(stems[1])
    for index, stem in enumerate(order):
        image, label = draw(index)
        part = "Ts" if stem in tests else "Tr"
        write_nifti(root / f"images{part}" / f"{stem}.nii.gz", image, spacing, "int16")
        if stem not in tests:
            write_nifti(root / "labelsTr" / f"{stem}.nii.gz", label, spacing, "uint8")
    title = dataset.title.rpartition(" ")[2]
    written = [s for s in order if s not in tests]
    write_listing(root, dataset, title, written, [s for s in order if s in tests])
