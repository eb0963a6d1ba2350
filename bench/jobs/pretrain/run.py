"""Pretrain: one method on one network and one mixture; snapshots by step."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench import blame, distributed, nets
from bench.data.parts import Entry
from bench.data.prepared import opened
from bench.data.reader import Volume
from bench.dataset import Case
from bench.errors import BenchError
from bench.jobs import initial_weights, training
from bench.jobs.context import Context
from bench.jobs.guard import spec as guard
from bench.jobs.inputs import mixed, probed
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.global_draws import warned_of
from bench.jobs.pretrain.online_probe import OnlineProbe, Patients
from bench.jobs.pretrain.spec import PretrainSpec
from bench.jobs.watch import SAMPLES, Watch
from bench.method import Method, Owned, terms
from bench.nets import transfer
from bench.nets.public_weights import Stated
from bench.random import numpy_rng, torch_seed
from bench.train.loop import Batch, Objective
from bench.train.samples import Sample
from bench.typed import plain


@contextmanager
def unchanged(views: Batch, loss: Callable[..., Any]) -> Iterator[None]:
    """Refuse a loss that changes its batch in place: what it compares with may be changed too.

    Raises:
        BenchError: names the loss and the tensors.
    """
    before = {name: tensor._version for name, tensor in views.items()}
    yield
    if changed := [name for name, version in before.items() if views[name]._version != version]:
        raise BenchError(
            f"{blame.defined(loss)}: loss changes {', '.join(map(repr, changed))} of its batch in place; change "
            "a copy (clone)"
        )


class Pretext(Objective):
    """A method as something to train; keeps its snapshots."""

    def __init__(
        self,
        method: Method,
        snapshots: dict[int, Path],
        manifest: transfer.Manifest,
        watch: Watch,
        probe: OnlineProbe | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__()
        self.method = method
        self._warn: Callable[[str], None] | None = warn  # for the first batch of this process
        self._snapshots, self._manifest, self._watch = snapshots, manifest, watch
        self._probe = probe

    def begin(self, step: int) -> bool:
        """Look at the encoder before the first step."""
        if step == 0 and distributed.rank() == 0:
            self._look(0)
        return False

    def _look(self, step: int) -> None:
        self._watch.at(step)
        if self._probe is not None:
            self._probe.at(step)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the method's named terms; ``origin`` stays with the samples whatever ``views`` keeps.

        The batch is used up: views may be made in its memory.
        """
        warn, self._warn = self._warn, None
        with nullcontext() if warn is None else warned_of(warn, type(self.method).loss):
            origin = {"origin": batch["origin"]} if "origin" in batch else {}
            views = self.method.views(Owned(batch), generator)
            views = dict(blame.named(views, type(self.method).views, "tensors"))
            with nullcontext() if warn is None else unchanged(views, type(self.method).loss):
                return terms(self.method, {**views, **origin})

    def check_gradients(self) -> None:
        """Refuse a loss that no weight of the encoder gets a gradient of.

        Raises:
            BenchError: names the method's file.
        """
        trained = [p for p in self.method.encoder.parameters() if p.requires_grad]
        if trained and all(p.grad is None for p in trained):
            raise BenchError(
                f"{inspect.getfile(type(self.method))}: the loss gives the encoder no gradient, so nothing "
                "would be pretrained; is the encoder's output detached, or computed by a copy of the "
                "encoder?"
            )

    def after_step(self, progress: float) -> None:
        """Let momentum teachers follow."""
        self.method.after_step(progress)

    def at(self, step: int) -> None:
        """Look at the encoder; keep the weights where a fine-tuning may want them."""
        self._look(step)
        if step in self._snapshots:
            transfer.save(self._snapshots[step], self.method.transfer(), self._manifest)

    def extra_state(self) -> dict[str, Any]:
        """Return what was seen of the encoder so far."""
        looks = {"probe": self._probe.rows} if self._probe is not None else {}
        return {**self._watch.state(), **looks}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what was seen of the encoder."""
        self._watch.load(state)
        if self._probe is not None:
            self._probe.rows = list(state.get("probe", ()))


def run(context: Context[PretrainSpec]) -> None:
    """Train from the last checkpoint and write ``weights.safetensors`` and the snapshots.

    Several processes that ``bench.distributed`` joined call it alike; all but the first only train.
    """
    spec = context.spec
    network, method = built(spec)
    # A load that would fail after days of pretraining fails here, before the first step.
    handed = handed_on(method, network)
    manifest = _manifest(context, network, handed, method)
    snapshots = _snapshots(context)
    read = _Reader(context, method)
    watch = Watch(method.encoder, read.probe, spec.pretrain.steps or 0)
    probe = _probe(context, method)
    objective = Pretext(method, snapshots, manifest, watch, probe, context.warn)
    count, recipe = len(read.cases), spec.pretrain
    dropped = f" ({read.dropped} left out: they are in a test part)" if read.dropped else ""
    context.log(f"{count} cases{dropped}, {recipe.steps} steps of {recipe.batch}")
    context.facts.update(cases=count, unlabelled=read.unlabelled, figure=asdict(method.figure))
    curve = training.fit(context, objective, recipe, read, count)
    if distributed.rank() > 0:
        return
    transfer.save(context.folder / "weights.safetensors", method.transfer(), manifest)
    for step, path in snapshots.items():
        shutil.copyfile(path, context.folder / f"weights-{step}.safetensors")
    training.keep_curve(context, curve)
    seen = pd.DataFrame(watch.rows)
    seen.to_csv(context.folder / "embeddings.csv", index=False, float_format="%.6g")
    context.log(watch.verdict())
    if probe is not None and spec.probe is not None:
        probe.save(context.folder)
        context.facts["online_probe"] = {
            "dataset": spec.probe.dataset,
            "metric": probe.metric,
            "patients": spec.probe.patients,
        }
        context.log(probe.verdict())


def _probe(context: Context[PretrainSpec], method: Method) -> OnlineProbe | None:
    """Return what looks at the encoder with labels, where the job is told to."""
    spec, probing = context.spec, context.spec.probe
    if probing is None:
        return None

    def patients() -> Patients:
        prepared = opened(context.input(-1))
        root = context.run.roots.get(probing.dataset)
        return Patients(prepared, *probed(prepared, probing.data, probing.patients, root))

    steps = spec.pretrain.steps or 0
    return OnlineProbe(probing, patients, method.encoder, spec.network.crop, steps, context.log)


def built(spec: PretrainSpec) -> tuple[nets.Network, Method]:
    """Return a spec's network, freshly initialised, and the method around it.

    Raises:
        BenchError: the method cannot train this network at this size.
    """
    net, params = spec.network, spec.method.typed_params
    initial_weights.seeded(spec.seed)
    out = params.out_channels(net.in_channels, 1 + spec.classes[1])
    network = nets.network(net.network, net.preset, net.in_channels, out, net.crop)
    return network, spec.method.method.build(network, params, torch_seed(spec.seed, "heads"))


def handed_on(method: Method, network: nets.Network) -> dict[str, Tensor]:
    """Return what fine-tuning will load of a method; the network is that which the method trains.

    Raises:
        BenchError: the network could not load it; names the file and the line of ``transfer``.
    """
    written = type(method).transfer
    tensors = blame.named(method.transfer(), written, "tensors")
    try:
        transfer.rehearse(tensors, network)
    except BenchError as error:
        raise BenchError(
            f"{blame.defined(written)}: fine-tuning could not load what transfer returns: {error.why}",
            # not the error's advice: that is about a file that somebody chose
            "return the network's own names and shapes, as self.handed('encoder') does",
        ) from None
    return dict(tensors)


def rehearse(spec: PretrainSpec, weights: None = None, stated: Sequence[Stated] = ()) -> str:
    """Build what a spec trains, without memory for its weights; return nothing: it starts from no file.

    Raises:
        BenchError: it cannot be built.
    """
    # MONAI's Swin UNETR reads tensors while it is built
    with torch.device("meta"), suppress(RuntimeError):
        _, method = built(spec)
        training.check_micro_batches(method, spec.pretrain, spec.kind)
    return ""


def _snapshots(context: Context[PretrainSpec]) -> dict[int, Path]:
    recipe = context.spec.pretrain
    wanted = [s for s in recipe.snapshots if s <= (recipe.steps or 0)]
    return {s: context.scratch / f"snapshot-{s}.safetensors" for s in wanted}


def _manifest(
    context: Context[PretrainSpec], network: nets.Network, handed: Collection[str], method: Method
) -> transfer.Manifest:
    trained = any(name.startswith(network.output) for name in handed)
    return transfer.Manifest(
        network=network.name,
        preset=network.preset,
        in_channels=network.in_channels,
        out_channels=network.out_channels if trained else 0,
        crop=network.crop,
        recipe=plain(context.done(0, PrepareSpec).recipe),
        method=method.name(),
        key=context.id,
    )


class _Reader:
    """Reads sample ``(case, step, sample)``; travels to loader workers."""

    def __init__(self, context: Context[PretrainSpec], method: Method) -> None:
        spec, data = context.spec, context.spec.data
        self._params, self._crop, self._seed = method.params, spec.network.crop, spec.seed
        folders = [context.input(index) for index in range(len(data))]
        gone = guard.seen(context.input(len(data))) if spec.leaks == "drop" else set()
        chosen = mixed([opened(f) for f in folders], data, spec.take, spec.seed, context.run.roots)
        remaining = [(i, c) for i, c in chosen if (data[i].dataset, c.id) not in gone]
        if not remaining:
            why = f"{len(chosen)} are in a downstream test part"
            raise BenchError(f"no case is left to pretrain on: {why}")
        self.dropped = len(chosen) - len(remaining)
        self.unlabelled = sum(case.label is None for _, case in remaining)
        classes = [labels_of(item, spec.classes[0]) for item in data]
        scales = [context.done(index, PrepareSpec).recipe.scale for index in range(len(data))]
        self.cases: list[tuple[Path, str, Sample]] = []
        for (i, case), origin in zip(remaining, origins(data, remaining), strict=True):
            extra = {
                **classes[i],
                "origin": origin,
                "zscored": np.array(scales[i] in ("zscore", "fixed")),
            }
            extra["case"] = np.array(len(self.cases))
            self.cases.append((folders[i], case.id, extra))

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The method's own ``read``: an error of a sample names its line."""
        return type(self._params).read

    def probe(self) -> Tensor:
        """Return some crops, the same at every look: from all over the cases."""
        rng = numpy_rng(self._seed, "probe")
        places = np.linspace(0, len(self.cases) - 1, SAMPLES).round().astype(int)
        chosen = [self.cases[index] for index in places]
        volumes = [opened(folder).volume(name) for folder, name, _ in chosen]
        crops = [volume.random_crop(self._crop, rng) for volume in volumes]
        return torch.from_numpy(np.stack(crops))

    def __call__(self, case: int, step: int, sample: int) -> Sample:
        rng = numpy_rng(self._seed, "read", step, sample)
        volume = self._volume(case)
        if len(self.cases) > 1:
            volume.others = partial(self._another, case)
        sample = self._params.read(volume, self._crop, rng)
        arrays = blame.named(sample, type(self._params).read, "arrays")
        return {**arrays, **self.cases[case][2]}

    def _volume(self, case: int) -> Volume:
        folder, name, extra = self.cases[case]
        volume = opened(folder).volume(name)
        volume.origin = int(extra["origin"])
        return volume

    def _another(self, case: int, rng: np.random.Generator) -> Volume:
        step = 1 + int(rng.integers(len(self.cases) - 1))
        return self._volume((case + step) % len(self.cases))


def origins(mixture: Sequence[Entry], cases: Sequence[tuple[int, Case]]) -> list[np.ndarray]:
    """Return a number for each case, alike where data set and modality are: what a chance may know of it.

    Each case comes with the index of its entry in the mixture, in which a data set may be listed twice.
    """
    kinds = [(mixture[i].dataset, case.meta.get("modality", "")) for i, case in cases]
    number = {kind: n for n, kind in enumerate(sorted(set(kinds)))}
    return [np.array(number[kind], np.int64) for kind in kinds]


def labels_of(item: Entry, before: dict[str, int]) -> dict[str, np.ndarray]:
    """Return the class labels that a mixture gives to all cases of a data set.

    ``first`` stands where label maps are read: its classes come after those of the data sets before it.
    """
    first = before[item.dataset] if item.classes else None
    labels = {"task": item.task, "group": item.group, "first": first}
    return {key: np.array(value, np.int64) for key, value in labels.items() if value is not None}
