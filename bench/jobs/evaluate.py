"""Evaluate: predict every test case and keep its label map on the original grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bench import nets
from bench.data.cache import PackWriter, compress
from bench.data.prepared import Prepared, opened
from bench.data.recipe import Geometry, restore_scores
from bench.errors import Stopped
from bench.jobs.context import Context
from bench.jobs.inputs import part
from bench.jobs.kept import Kept
from bench.jobs.predict import logits
from bench.nets import transfer
from bench.train.loop import channels_last, fabric

FRAME = "frame"  # no case's panel: those have a slash
PANELS = 3  # cases whose middle slice is kept for the report


def run(context: Context) -> None:
    """Write the pack ``prediction`` (uint8, original grid) and ``panels.npz``."""
    spec = context.spec
    tensors, manifest = transfer.read(context.input(0) / f"{spec['weights']}.safetensors")
    network = nets.network(
        manifest.network, manifest.preset, manifest.in_channels, manifest.out_channels,
        manifest.crop,
    )  # fmt: skip
    network.load_state_dict(tensors)
    tuned = context.store.manifest(context.needs[0])["spec"]["finetune"]
    device = fabric(tuned["precision"])
    network = channels_last(network.to(device.device)).eval()
    prepared = opened(context.input(1))
    root = context.run["roots"].get(spec["data"]["dataset"])
    cases = part(prepared, spec["data"], root)
    panels: dict[str, np.ndarray] = {}
    kept, inference = Kept(context.scratch), spec["inference"]
    with PackWriter(context.made, "prediction") as pack, device.autocast():
        for number, case in enumerate(cases, 1):
            found = kept.get(number)
            new = found is None
            if found is None:
                found = _predicted(network, prepared, case, inference, panel=number <= PANELS)
                kept.put(number, found)
            pack.add_frame(case, found.pop(FRAME).tobytes())
            panels |= found
            context.progress(number, len(cases))
            if new and number < len(cases) and context.stopping():  # each attempt gets one further
                raise Stopped(f"stopped after case {number} of {len(cases)}")
    np.savez_compressed(context.made / "panels.npz", **panels)  # type: ignore[arg-type]
    context.facts.update(cases=len(cases), method=manifest.method)


def _predicted(
    network: torch.nn.Module, prepared: Prepared, case: str, inference: dict[str, Any], panel: bool
) -> dict[str, np.ndarray]:  # fmt: skip
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
