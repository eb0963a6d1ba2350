"""``bench embed``: features of every case of a data set by one frozen encoder, as files for elsewhere."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bench import __version__, nets, run
from bench.data.prepared import Prepared, opened
from bench.data.roots import Contents, Roots
from bench.digest import sha256
from bench.errors import BenchError
from bench.export import weights_of
from bench.job import Job
from bench.jobs import initial_weights
from bench.jobs.probing import Encoded
from bench.nets import catalog, foreign_weights, transfer
from bench.plan import Plan
from bench.plan.cohorts import Cohorts
from bench.probes.model import frozen
from bench.protocol.sections import Probe
from bench.ranges import Triple
from bench.store import Store, write_atomic
from bench.train.loop import channels_last, fabric

MANIFEST = "manifest.json"
RANDOM = "random"  # in place of weights


@dataclass(frozen=True)
class Embedding:
    """What is embedded, and by what."""

    dataset: str
    init: str  # a file, a job of the output folder, or ``random``
    network: str  # a name, or name/preset; by default the preset of the weights
    voxels: bool = False  # a map per case in place of a vector
    levels: tuple[int, ...] | None = None  # maps of the encoder, 0 is the finest; all by default
    recipe: str = "default"  # of the data set
    crop: Triple | None = None  # of the windows; the preset's by default
    seed: int = 0  # of random weights


class Weights(NamedTuple):
    """A file of weights: its tensors by name, and what they are for."""

    path: Path
    tensors: initial_weights.Tensors
    manifest: transfer.Manifest


def embed(
    request: Embedding,
    roots: Roots,
    store: Store,
    to: Path,
    workers: int,
    tell: Callable[[str], None],
) -> int:
    """Write a file for each case, and what they are to ``manifest.json``; return how many were written.

    A folder that was stopped goes on: a case that is there stays. Of a case without ``voxels`` the file is
    ``<case>.npy``, float32 (d,): each level's mean over space and its maximum, mean over windows that lie
    side by side. With ``voxels`` it is ``<case>.b2nd`` (Blosc2), float32 (d, X, Y, Z) on the prepared grid.

    Args:
        request: data set, weights, network.
        roots: where data sets lie.
        store: its preparations are used, and one that is lacking is made there.
        to: the folder.
        workers: processes that prepare.
        tell: takes lines of text.

    Raises:
        BenchError: the weights do not fit the network, the data set is not here or could not be prepared,
            or the folder holds other embeddings.
    """
    name, preset, weights = _network(request, store)
    crop = catalog.check_crop(name, preset, request.crop)
    catalog.check_levels(f"{name}/{preset}", request.levels or (), "--levels")
    prepared = _prepared(request, roots, store, workers, tell)
    cases = [case.id for case in prepared.cases() if case.id not in prepared.faults]
    size = (name, preset, prepared.volume(cases[0]).channels, crop)
    device = fabric("fp32").device
    network, stated = _encoder(request, size, weights, tell)
    encoder = channels_last(frozen(network.encoder).to(device))
    features = Encoded(encoder, Probe(levels=request.levels), request.voxels, prepared, crop)
    stated |= {
        "bench": __version__,
        "dataset": request.dataset,
        "recipe": request.recipe,
        "network": f"{name}/{preset}",
        "crop": list(crop),
        "levels": list(request.levels) if request.levels is not None else "all",
        "features": "voxels" if request.voxels else "cases",
        "size": features.size,
        "cases": cases,
    }
    _same(to, stated)
    written = 0
    for number, case in enumerate(cases, 1):
        path = to / f"{case}{'.b2nd' if request.voxels else '.npy'}"
        if not path.is_file():
            written += 1
            path.parent.mkdir(exist_ok=True, parents=True)
            values = _of(features, case, request.voxels)
            write_atomic(path, _as_file(values))
        tell(f"{number}/{len(cases)} {path.name}")
    return written


def _network(request: Embedding, store: Store) -> tuple[str, str, Weights | None]:
    """Return the network's name and preset (stated, else as the weights say), and the weights."""
    name, _, preset = request.network.partition("/")
    facts, weights = catalog.network_facts(name), None
    if preset:
        catalog.preset(name, preset)
    if request.init != RANDOM:
        path = Path(request.init)
        if path.suffix and not path.is_file():
            other = f"name a file, a job of {store.root}, or random"
            raise BenchError(f"--init {path}: no such file; {other}")
        path = path if path.suffix else weights_of(store, request.init)
        size = preset or next(iter(facts.presets))
        receiver = partial(nets.network, name, size, 1, 2, facts.presets[size].crop)
        weights = Weights(path, *foreign_weights.read_weights(path, preset, receiver=receiver))
        if not preset and weights.manifest.network == name:
            preset = weights.manifest.preset
    return name, preset or next(iter(facts.presets)), weights


def _encoder(
    request: Embedding,
    size: tuple[str, str, int, Triple],
    weights: Weights | None,
    tell: Callable[[str], None],
) -> tuple[nets.Model, dict[str, Any]]:
    """Return the network of a name, preset, channels and crop, and its weights' origin."""
    name, preset, channels, crop = size
    initial_weights.seeded(request.seed)
    network = nets.network(name, preset, channels, 2, crop)
    if weights is None:
        return network, {"init": RANDOM, "seed": request.seed}
    receipt = transfer.load(network, weights.tensors, weights.manifest)
    tell(receipt.line())
    stated = {"init": sha256(weights.path), "method": weights.manifest.method}
    return network, stated | {"receipt": receipt.facts()}


def _prepared(
    request: Embedding, roots: Roots, store: Store, workers: int, tell: Callable[[str], None]
) -> Prepared:
    """Return the prepared data set; the job that prepares it is run where it is lacking."""
    contents = Contents(store.root / "contents.json")
    cohorts, plan = Cohorts(roots, contents, need_data=True), Plan()
    job = plan.add(Job(cohorts.prepare(request.dataset, request.recipe, {})))
    plan.sizes[job] = len(cohorts.cases(request.dataset) or ())
    plan.roots = dict(cohorts.used)
    contents.save()
    failures = list[str]()

    def outcome(outcome: Any) -> None:
        if outcome.state != "done":
            failures.append(outcome.reason or outcome.state)

    if not store.done(job):
        tell(f"preparing {request.dataset}: {plan.sizes[job]} cases")
        run.run_local(plan, store, [job], workers, outcome)
    if failures:
        raise BenchError(f"{request.dataset}: could not be prepared: {failures[0]}")
    return opened(store.jobs / job)


def _same(to: Path, stated: Mapping[str, Any]) -> None:
    """Write the manifest; refuse a folder that holds anything else than the same embeddings."""
    path = to / MANIFEST
    if path.is_file():
        if json.loads(path.read_bytes()) != json.loads(json.dumps(stated)):
            raise BenchError(f"{to}: holds other embeddings (see {path}); name another folder")
        return
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise BenchError(f"{to}: exists and holds no {MANIFEST}; name an empty folder")
    try:
        to.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(stated, indent=1))
    except OSError as error:
        raise BenchError(
            f"{to}: cannot be written ({error.strerror}); name another folder"
        ) from None


@torch.no_grad()
def _of(features: Encoded, case: str, voxels: bool) -> np.ndarray:
    """Return a case's vector (d,), or its map (d, X, Y, Z)."""
    if not voxels:
        return features.vector(case).cpu().numpy().astype(np.float32)
    return torch.cat([slab.cpu().clone() for slab in features.slabs(case)], -1).numpy()


def _as_file(values: np.ndarray) -> bytes:
    """Return a vector as NumPy keeps it, a map as a frame of Blosc2."""
    if values.ndim > 1:
        import blosc2

        return bytes(blosc2.asarray(values).to_cframe())
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()
