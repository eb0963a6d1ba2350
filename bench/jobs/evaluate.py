"""Evaluate: predict every test case; keep its label map on the original grid, or its class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import nets
from bench.data.cache import PackWriter, compress
from bench.data.prepared import Prepared, opened
from bench.data.recipe import Geometry, restore_scores
from bench.errors import Stopped
from bench.jobs.classes import is_classification, save
from bench.jobs.context import Context
from bench.jobs.inputs import part
from bench.jobs.kept import Kept
from bench.jobs.predict import class_scores, logits
from bench.nets import transfer
from bench.train.loop import channels_last, fabric

Found = dict[str, np.ndarray]
FRAME, SCORES = "frame", "scores"  # no case's panel: those have a slash
PANELS = 3  # cases whose middle slice is kept for the report


def run(context: Context) -> None:
    """Write what is predicted of every test case.

    Of a segmentation that is the pack ``prediction`` (uint8, original grid) and ``panels.npz``, of a
    classification the scores of every class.
    """
    spec = context.spec
    tensors, manifest = transfer.read(context.input(0) / f"{spec['weights']}.safetensors")
    classes = is_classification(spec["data"])
    make = nets.classifier if classes else nets.network
    network: torch.nn.Module = make(
        manifest.network, manifest.preset, manifest.in_channels, manifest.out_channels,
        manifest.crop,
    )  # fmt: skip
    network.load_state_dict(tensors)
    tuned = context.store.manifest(context.needs[0])["spec"]["finetune"]
    device = fabric(tuned["precision"])
    network = channels_last(network.to(device.device)).eval()
    prepared = opened(context.input(1))
    cases = part(prepared, spec["data"], context.run["roots"].get(spec["data"]["dataset"]))
    predict = partial(_scores if classes else _predicted, network, prepared, spec["inference"])
    with device.autocast():
        (_write_scores if classes else _write_maps)(context.made, _each(context, cases, predict))
    context.facts.update(cases=len(cases), method=manifest.method)


def _each(
    context: Context, cases: list[str], predict: Callable[[str, bool], Found]
) -> Iterator[tuple[str, Found]]:
    """Yield every case with what is predicted of it, which the next attempt takes over."""
    kept = Kept(context.scratch)
    for number, case in enumerate(cases, 1):
        found = kept.get(number)
        new = found is None
        if found is None:
            found = predict(case, number <= PANELS)
            kept.put(number, found)
        yield case, found
        context.progress(number, len(cases))
        if new and number < len(cases) and context.stopping():  # each attempt gets one further
            raise Stopped(f"stopped after case {number} of {len(cases)}")


def _write_maps(folder: Path, results: Iterable[tuple[str, Found]]) -> None:
    panels: Found = {}
    with PackWriter(folder, "prediction") as pack:
        for case, found in results:
            pack.add_frame(case, found.pop(FRAME).tobytes())
            panels |= found
    np.savez_compressed(folder / "panels.npz", **panels)  # type: ignore[arg-type]


def _write_scores(folder: Path, results: Iterable[tuple[str, Found]]) -> None:
    save(folder, {case: found[SCORES] for case, found in results})


def _scores(
    network: torch.nn.Module, prepared: Prepared, inference: dict[str, Any], case: str, panel: bool
) -> Found:  # fmt: skip
    """Return one case's probability of each class."""
    return {SCORES: class_scores(network, prepared.volume(case), inference)}


def _predicted(
    network: torch.nn.Module, prepared: Prepared, inference: dict[str, Any], case: str, panel: bool
) -> Found:  # fmt: skip
    """Return one case's label map on the original grid as a Blosc2 frame, and its panel if wanted."""
    scores = logits(network, prepared.volume(case).whole(), inference)
    geometry = prepared.geometry(case)
    frame = compress(restore_scores(scores.numpy(), geometry))
    shown = _panel(prepared, case, scores, geometry) if panel else {}
    return {FRAME: np.frombuffer(frame, np.uint8), **shown}


def _panel(prepared: Prepared, case: str, scores: torch.Tensor, geometry: Geometry) -> dict[str, np.ndarray]:
    """Return the slice with most reference: image (uint8), reference, prediction, aspect."""
    reference = prepared.label(case)
    z = int((reference > 0).sum(axis=(0, 1)).argmax())
    predicted = scores.max(0).indices.to(torch.uint8).numpy()
    image = prepared.volume(case).whole()[0, :, :, z]
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    spacing = geometry.prepared_spacing
    return {
        f"{case}/image": grey, f"{case}/reference": reference[:, :, z],
        f"{case}/prediction": predicted[:, :, z], f"{case}/aspect": np.array(spacing[1] / spacing[0]),
    }  # fmt: skip
