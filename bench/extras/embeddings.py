"""``bench embed``: features of every case of a data set by one frozen encoder, as files for elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import __version__, nets, run
from bench.data.prepared import Prepared, opened
from bench.data.reader import Volume
from bench.data.roots import Contents, Roots
from bench.digest import sha256
from bench.errors import BenchError
from bench.export import weights_of
from bench.job import Job
from bench.jobs import initial_weights, window
from bench.jobs.predict import check_finite, corners
from bench.nets import catalog, foreign_weights, transfer
from bench.plan import Plan
from bench.plan.cohorts import Cohorts
from bench.probes.features import VoxelFeatures
from bench.probes.model import CaseFeatures, frozen
from bench.protocol.sections import Windows
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
    weights = None if request.init == RANDOM else _weights(request.init, store)
    name, preset = _network(request, weights)
    crop = catalog.check_crop(name, preset, request.crop)
    _levels(request, name)
    prepared = _prepared(request, roots, store, workers, tell)
    cases = [case.id for case in prepared.cases() if case.id not in prepared.faults]
    volume = prepared.volume(cases[0])
    network, stated = _loaded(request, weights, (name, preset, volume.channels, crop), tell)
    encoder = frozen(network.encoder)
    features: VoxelFeatures | CaseFeatures = (
        VoxelFeatures(encoder, request.levels, (), volume.channels)
        if request.voxels
        else CaseFeatures(encoder, request.levels)
    )
    device = fabric("fp32").device
    channels_last(features).to(device)
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
            _write(path, _of(prepared.volume(case), features, crop, device, case))
        tell(f"{number}/{len(cases)} {path.name}")
    return written


def _loaded(
    request: Embedding,
    weights: Path | None,
    size: tuple[str, str, int, Triple],
    tell: Callable[[str], None],
) -> tuple[nets.Network, dict[str, Any]]:
    """Return the network of a name, preset, channels and crop with its weights, and what they are."""
    name, preset, channels, crop = size
    initial_weights.seeded(request.seed)
    network = nets.network(name, preset, channels, 2, crop)
    if weights is None:
        return network, {"init": RANDOM, "seed": request.seed}
    tensors, manifest = foreign_weights.read_weights(weights, preset)
    receipt = transfer.load(network, tensors, manifest)
    tell(receipt.line())
    facts = {"method": manifest.method, "receipt": receipt.facts()}
    return network, {"init": sha256(weights), **facts}


def _weights(init: str, store: Store) -> Path:
    path = Path(init)
    if path.suffix and not path.is_file():
        raise BenchError(
            f"--init {init}: no such file; name a file, a job of {store.root}, or random"
        )
    return path if path.suffix else weights_of(store, init)


def _network(request: Embedding, weights: Path | None) -> tuple[str, str]:
    """Return the network's name and preset: what is stated, else what the weights say."""
    name, _, preset = request.network.partition("/")
    facts = catalog.network_facts(name)
    if not preset and weights is not None:
        manifest = foreign_weights.read_weights(weights)[1]
        preset = manifest.preset if manifest.network == name else ""
    preset = preset or next(iter(facts.presets))
    catalog.preset(name, preset)
    return name, preset


def _levels(request: Embedding, name: str) -> None:
    count = len(catalog.network_facts(name).pyramid)
    off = [level for level in request.levels or () if not -count <= level < count]
    if off or request.levels == ():
        raise BenchError(
            f"--levels: network {name!r} has {count} levels, 0 to {count - 1}"
            + (f", and no level {off[0]}" if off else "; name one")
        )


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
        raise BenchError(f"{to}: is there and holds no {MANIFEST}; name an empty folder")
    try:
        to.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(stated, indent=1))
    except OSError as error:
        raise BenchError(f"{to}: cannot be written ({error.strerror}); name another") from None


@torch.no_grad()
def _of(
    volume: Volume,
    features: VoxelFeatures | CaseFeatures,
    crop: Triple,
    device: torch.device,
    case: str,
) -> np.ndarray:
    """Return a case's vector (d,), or its map (d, X, Y, Z)."""
    windows = Windows(overlap=0.0, blend="constant", crop=crop)
    if isinstance(features, VoxelFeatures):
        parts = [slab.cpu().clone() for slab in window.slabs(features, volume, windows, device)]
        values = torch.cat(parts, dim=-1)
    else:
        starts = corners(volume.shape, crop, 0.0)
        images = (torch.from_numpy(volume.crop(start, crop))[None] for start in starts)
        values = torch.cat([features(image.to(device)) for image in images]).mean(0).cpu()
    check_finite(values, f"features of {case}")
    return values.numpy().astype(np.float32)


def _write(path: Path, values: np.ndarray) -> None:
    import blosc2

    path.parent.mkdir(exist_ok=True, parents=True)
    if path.suffix == ".npy":
        part = path.with_suffix(".part.npy")
        np.save(part, values)
    else:
        part = path.with_suffix(".part.b2nd")
        part.unlink(missing_ok=True)
        blosc2.asarray(values, urlpath=str(part), mode="w")
    part.replace(path)
