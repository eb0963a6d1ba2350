"""Evaluate: predict every test case; keep its label map on the original grid, or its class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench.data.cache import PackWriter, compress, unpacked
from bench.data.prepared import Prepared, opened
from bench.data.slabs import Paint, restore_slabs
from bench.errors import Stopped
from bench.jobs import submission
from bench.jobs.class_scores import CLASSIFICATION, save
from bench.jobs.context import Context
from bench.jobs.evaluate import EvaluateSpec
from bench.jobs.finetune import FinetuneSpec
from bench.jobs.initial_weights import network_of
from bench.jobs.inputs import declaration, part
from bench.jobs.ordinal import ORDINAL
from bench.jobs.predict import class_scores, decided, slabs
from bench.nets import transfer
from bench.partial import Kept
from bench.protocol.sections import Windows
from bench.train.loop import channels_last, fabric

Found = dict[str, np.ndarray]
FRAME, SCORES = "frame", "scores"


def run(context: Context[EvaluateSpec]) -> None:
    """Write what is predicted of every test case.

    Of a segmentation that is the pack ``prediction`` (uint8, original grid), of a classification the scores
    of every class. Cases that a challenge's server scores have ``submission.zip`` in place of the pack.
    """
    spec = context.spec
    tensors, manifest = transfer.read(context.input(0) / f"{spec.weights}.safetensors")
    tuned = context.done(0, FinetuneSpec)
    network: torch.nn.Module = network_of(tuned.network, spec.data.task)
    network.load_state_dict(tensors)
    device = fabric(tuned.finetune.precision)
    network = channels_last(network.to(device.device)).eval()
    prepared = opened(context.input(1))
    root = context.run.roots.get(spec.data.dataset)
    cases = part(prepared, spec.data, root)
    classes, head = spec.data.task == CLASSIFICATION, tuned.finetune.head
    predict: Callable[[str], Found] = (
        partial(_scores, network, prepared, spec.inference, head)
        if classes
        else partial(_predicted, network, prepared, spec.inference, spec.data.paint or None)
    )
    with device.autocast():
        results = _each(context, cases, predict)
        if classes:
            decide = partial(decided, head=head) if head == ORDINAL else None
            save(context.made, {case: found[SCORES] for case, found in results}, decide)
        elif spec.submission:
            declared = declaration(spec.data.dataset, root)
            with submission.archive(context.made, declared, declared.cases(Path(root or ""))) as add:
                for case, found in results:
                    add(case, unpacked(found[FRAME].tobytes(), context.made)[...])
        else:
            with PackWriter(context.made, "prediction") as pack:
                for case, found in results:
                    pack.add_frame(case, found[FRAME].tobytes())
    context.facts.update(cases=len(cases), method=manifest.method)


def _each(
    context: Context[EvaluateSpec], cases: list[str], predict: Callable[[str], Found]
) -> Iterator[tuple[str, Found]]:
    """Yield every case with what is predicted of it, which the next attempt takes over."""
    kept = Kept(context.scratch)
    for number, case in enumerate(cases, 1):
        found = kept.get(number)
        new = found is None
        if found is None:
            found = predict(case)
            kept.put(number, found)
        yield case, found
        context.progress(number, len(cases))
        if new and number < len(cases) and context.stopping():  # each attempt gets one further
            raise Stopped(f"stopped after case {number} of {len(cases)}")


def _scores(
    network: torch.nn.Module, prepared: Prepared, windows: Windows, head: str, case: str
) -> Found:  # fmt: skip
    """Return one case's probability of each class."""
    return {SCORES: class_scores(network, prepared.volume(case), windows, head)}


def _predicted(
    network: torch.nn.Module, prepared: Prepared, windows: Windows, paint: Paint | None, case: str
) -> Found:  # fmt: skip
    """Return one case's label map on the original grid as a Blosc2 frame."""
    scores = slabs(network, prepared.volume(case), windows)
    found = restore_slabs(scores, prepared.geometry(case), paint)
    return {FRAME: np.frombuffer(compress(found), np.uint8)}
