"""Prepare: every volume of one data set, oriented, resampled, scaled and packed once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.cache import PackWriter
from bench.data.recipe import Prepared, prepare
from bench.data.volume import join_channels, read_label, read_volume
from bench.data.where import Roots, adapter
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError, Stopped
from bench.jobs.context import Context
from bench.random import numpy_rng

FOREGROUND = 4096  # labelled voxels remembered per case, for sampling crops


def run(context: Context) -> None:
    """Write the packs ``image``, ``label`` (prepared grid) and ``native`` (original grid)."""
    spec = context.spec
    root = Path(context.run["roots"][spec["dataset"]])
    dataset = adapter(spec["dataset"], Roots(None, {spec["dataset"]: root}))
    recipe = recipe_of(spec["recipe"])
    cases = dataset.cases(root)
    made = context.made
    foreground: dict[str, np.ndarray] = {}
    with (
        PackWriter(made, "image") as images,
        PackWriter(made, "label") as labels,
        PackWriter(made, "native") as natives,
    ):
        for number, case in enumerate(cases, 1):
            prepared = _one(dataset, case, recipe)
            _store_image(images, case, prepared)
            if prepared.label is not None and prepared.native_label is not None:
                labels.add(case.id, prepared.label)
                natives.add(case.id, prepared.native_label, spacing=prepared.geometry.native_spacing)
                foreground[case.id] = _some_foreground(prepared.label, case.id)
            context.progress(number, len(cases))
            if context.stopping():
                raise Stopped(f"stopped after case {number} of {len(cases)}")
    np.savez(made / "foreground.npz", allow_pickle=False, **foreground)
    context.facts["cases"] = len(cases)


def recipe_of(spec: dict[str, Any]) -> Recipe:
    """Return the recipe a spec describes."""
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items()}
    return Recipe(**given)


def _one(dataset: Dataset, case: Case, recipe: Recipe) -> Prepared:
    volume = join_channels([read_volume(path, case.frame) for path in case.images])
    if volume.array.shape[0] != len(dataset.channels):
        raise BenchError(
            f"{case.images[0]}: {volume.array.shape[0]} channel(s), the data set declares "
            f"{len(dataset.channels)} ({', '.join(dataset.channels)})"
        )
    label = read_label(case.label, volume, case.frame) if isinstance(case.label, Path) else None
    return prepare(volume, label, recipe, dataset)


def _store_image(images: PackWriter, case: Case, prepared: Prepared) -> None:
    step, offset, stored = quantise(prepared.image, prepared.step)
    known = {"class": case.label} if isinstance(case.label, int) else {}
    images.add(
        case.id, stored, patient=case.patient, step=step, offset=offset,
        geometry=asdict(prepared.geometry), **known,
    )  # fmt: skip


def quantise(image: np.ndarray, step: float | None) -> tuple[float, float, np.ndarray]:
    """Return (step, offset, 16-bit array) with ``q * step + offset`` nearest to ``image``.

    The minimum is stored as 0, so ``offset`` is also what lies outside the volume.

    Where the source has whole units (HU) ``step`` is one unit, so nothing is lost but what
    resampling interpolated below it; otherwise 4096 levels span the image, as scanners store.
    """
    low, high = float(image.min()), float(image.max())
    if step is None or (high - low) / step > 65_000:
        step = (high - low) / 4095 or 1.0
    scaled = np.rint((image - np.float32(low)) / np.float32(step))
    return step, low, scaled.astype(np.int16 if (high - low) / step <= 32_767 else np.uint16)


def _some_foreground(label: np.ndarray, case: str) -> np.ndarray:
    voxels = np.argwhere(label > 0).astype(np.int16)
    if len(voxels) > FOREGROUND:
        voxels = voxels[numpy_rng(0, f"foreground:{case}").choice(len(voxels), FOREGROUND, False)]
    return voxels
