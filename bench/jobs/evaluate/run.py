"""Evaluate: predict every test case; keep its label map on the original grid, or its class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench.data.cache import PackWriter, compress, unpacked
from bench.data.prepared import Prepared, opened
from bench.data.slabs import Paint, restore_slabs, unchanged
from bench.errors import Stopped
from bench.jobs import scoring, submission
from bench.jobs.class_scores import save
from bench.jobs.context import Context
from bench.jobs.evaluate.spec import EvaluateSpec
from bench.jobs.finetune import probe
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.initial_weights import network_of
from bench.jobs.inputs import declaration, part
from bench.jobs.kind import MAPS
from bench.jobs.ordinal import ORDINAL
from bench.jobs.predict import class_scores, decided, slabs
from bench.jobs.probing import case_scores, scores
from bench.nets import transfer
from bench.probes.model import Probed
from bench.protocol.sections import Windows
from bench.store import FinishedParts
from bench.train.loop import channels_last, fabric

Predicted = dict[str, np.ndarray]
FRAME, SEEN, SCORES = "frame", "seen", "scores"


def run(context: Context[EvaluateSpec]) -> None:
    """Write what is predicted of every test case.

    Of a segmentation that is the pack ``prediction`` (uint8, original grid), where asked for the same on the
    prepared grid, too; of a classification the scores of every class. Cases that a challenge's server scores
    have ``submission.zip`` in place of the pack.
    """
    spec = context.spec
    tensors, manifest = transfer.read(context.input(0) / f"{spec.weights}.safetensors")
    tuned = context.done(0, FinetuneSpec)
    device, prepared = fabric(tuned.finetune.precision), opened(context.input(1))
    root = context.run.roots.get(spec.data.dataset)
    cases = part(prepared, spec.data, root)
    of_cases, head = spec.data.task != MAPS, tuned.finetune.head
    if tuned.probes:
        predict = _probe(context, tuned, tensors, prepared)
    else:
        classes = manifest.out_channels if tuned.given.own_head else 0
        network = network_of(tuned.network, spec.data.task, classes)
        network.load_state_dict(tensors)
        channels_last(network.to(device.device)).eval()
        predict = partial(_scores, network, prepared, spec.inference, head)
        if not of_cases:
            predict = partial(_predicted, partial(_slabs, network, prepared, spec), prepared, spec)
    with device.autocast():
        results = _each(context, cases, predict)
        if of_cases:
            decide = partial(decided, head=head) if head == ORDINAL else None
            save(context.folder, {case: predicted[SCORES] for case, predicted in results}, decide)
        elif spec.submission:
            declared = declaration(spec.data.dataset, root)
            with submission.archive(
                context.folder, declared, declared.cases(Path(root or ""))
            ) as add:
                for case, predicted in results:
                    add(case, unpacked(predicted[FRAME].tobytes(), context.folder)[...])
        else:
            with ExitStack() as packs:
                pack = packs.enter_context(PackWriter(context.folder, "prediction"))
                also = (
                    packs.enter_context(PackWriter(context.folder, scoring.SEEN))
                    if spec.seen
                    else None
                )
                for case, predicted in results:
                    pack.add_frame(case, predicted[FRAME].tobytes())
                    if also is not None:
                        also.add_frame(case, predicted[SEEN].tobytes())
    context.facts.update(cases=len(cases), method=manifest.method)


def _each(
    context: Context[EvaluateSpec], cases: list[str], predict: Callable[[str], Predicted]
) -> Iterator[tuple[str, Predicted]]:
    """Yield every case with what is predicted of it, which the next attempt takes over."""
    finished = FinishedParts(context.scratch)
    for number, case in enumerate(cases, 1):
        predicted = finished.get(number)
        new = predicted is None
        if predicted is None:
            predicted = predict(case)
            finished.put(number, predicted)
        yield case, predicted
        context.progress(number, len(cases))
        if new and number < len(cases) and context.stopping():  # each attempt gets one further
            raise Stopped(f"stopped after case {number} of {len(cases)}")


def _scores(
    network: torch.nn.Module, prepared: Prepared, windows: Windows, head: str, case: str
) -> Predicted:
    """Return one case's probability of each class."""
    return {SCORES: class_scores(network, prepared.volume(case), windows, head)}


def _slabs(
    network: torch.nn.Module, prepared: Prepared, spec: EvaluateSpec, case: str
) -> Iterator[np.ndarray]:
    return slabs(network, prepared.volume(case), spec.inference)


def _probe(
    context: Context[EvaluateSpec],
    tuned: FinetuneSpec,
    tensors: dict[str, torch.Tensor],
    prepared: Prepared,
) -> Callable[[str], Predicted]:
    """Return what predicts a case by a probe."""
    spec, device = context.spec, fabric(tuned.finetune.precision).device
    reader = {name: value for name, value in tensors.items() if not name.startswith(probe.ENCODER)}
    size = reader["mean" if tuned.finetune.probe.kind == "knn" else "weight"].shape[-1]
    assert tuned.network.out_channels is not None
    probed = Probed(size, tuned.network.out_channels, tuned.finetune.probe)
    probed.load_state_dict(reader)
    probed.to(device)
    network = None
    if not tuned.has_features:
        network = network_of(tuned.network, spec.data.task)
        encoder = {name: value for name, value in tensors.items() if name not in reader}
        network.encoder.load_state_dict(
            {name.removeprefix(probe.ENCODER): value for name, value in encoder.items()}
        )
    features = probe.source_of(tuned, network, context.input(1), context.run.files).features

    @torch.no_grad()
    def predict(case: str) -> Predicted:
        if spec.data.task == MAPS:
            return _predicted(partial(scores, features, probed), prepared, spec, case)
        return {SCORES: case_scores(features, probed, case, spec.data.value is None)}

    return predict


def _predicted(
    scores_of: Callable[[str], Iterable[np.ndarray]],
    prepared: Prepared,
    spec: EvaluateSpec,
    case: str,
) -> Predicted:
    """Return one case's label map on the original grid as a Blosc2 frame; on the prepared one if wanted."""
    paint = spec.data.paint or None
    scores = scores_of(case)
    maps = list[np.ndarray]()
    if spec.seen:
        scores = _decided(scores, paint, maps)
    label_map = _relabelled(restore_slabs(scores, prepared.geometry(case), paint), spec)
    also = (
        {SEEN: np.frombuffer(compress(_relabelled(np.concatenate(maps, axis=2), spec)), np.uint8)}
        if spec.seen
        else {}
    )
    return {FRAME: np.frombuffer(compress(label_map), np.uint8), **also}


def _relabelled(label_map: np.ndarray, spec: EvaluateSpec) -> np.ndarray:
    """Return predicted labels as those of the data set that is tested."""
    if not spec.data.relabel:
        return label_map
    labels = np.zeros(256, np.uint8)
    for predicted, tested in spec.data.relabel:
        labels[predicted] = tested
    return labels[label_map]


def _decided(
    passing: Iterable[np.ndarray], paint: Paint | None, maps: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Pass slabs (K, x, y, dz) on and keep the label map of each, (x, y, dz)."""
    for slab in passing:
        x, y, z = slab.shape[1:]
        maps.append(restore_slabs([slab], unchanged((x, y, z)), paint))
        yield slab
