"""Embed: what one encoder makes of the same samples of every data set, laid out in two dimensions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench import nets
from bench.data.prepared import opened
from bench.errors import Stopped
from bench.jobs import initial_weights
from bench.jobs.context import Context
from bench.jobs.embed.spec import FILE, NAMES, Embedded, EmbedSpec
from bench.jobs.inputs import mixed
from bench.jobs.kind import NetSpec
from bench.jobs.watch import embedded
from bench.nets.public_weights import Stated
from bench.pretext.collapse import directions, effective_rank
from bench.random import numpy_rng
from bench.store import write_atomic
from bench.train.loop import channels_last, fabric
from bench.typed import plain

BATCH = 16
FEWEST = 4  # samples that t-SNE can lay out
PERPLEXITY = 30.0  # van der Maaten & Hinton 2008: 5 to 50


def run(context: Context[EmbedSpec]) -> None:
    """Write the samples' places by t-SNE and by PCA, their data sets and cases, and how they spread."""
    spec = context.spec
    initial_weights.seeded(spec.seed)
    network = network_of(spec.network)
    source = context.input(-1) if spec.init.startswith("job:") else None
    weights = initial_weights.weights_of(context, source, lambda: network)
    initial_weights.start(context, network, weights)
    channels_last(network).to(fabric("fp32").device)
    groups = [data.dataset for data in spec.data]
    places = list(_places(context))
    parts = []
    for first in range(0, len(places), BATCH):
        images = _images(context, places[first : first + BATCH])
        parts.append(embedded(network.encoder, images))
        context.progress(min(first + BATCH, len(places)), len(places))
        if context.stopping():
            done = first + len(parts[-1])
            raise Stopped(
                f"stopped after sample {done}; the next attempt starts from the beginning"
            )
    z = torch.cat(parts)
    flat = z.double().numpy()
    group = np.array([group for group, _, _ in places], np.int64)
    np.savez(context.folder / FILE, tsne=tsne(flat, spec.seed), pca=pca(flat), group=group)
    spread = [float(directions(z)), float(effective_rank(z))]
    std, rank = (value if math.isfinite(value) else None for value in spread)  # one sample has none
    named = Embedded(tuple(groups), tuple(case for _, case, _ in places), std, rank)
    write_atomic(context.folder / NAMES, json.dumps(plain(named)))
    finite = {k: v for k, v in {"std": std, "rank": rank}.items() if v is not None}
    context.facts.update(samples=len(places), **finite)


def rehearse(spec: EmbedSpec, path: Path, stated: Sequence[Stated] = ()) -> str:
    """Load a file of weights into the network; return a line on what it leaves open, else nothing."""
    network, lacks = network_of(spec.network), spec.given.lacks
    weights = initial_weights.Weights.of_file(path, spec.given, lambda: network)
    return initial_weights.rehearse(network, weights, path, lacks, stated=stated)


def network_of(net: NetSpec) -> nets.Network:
    """Return a network, freshly initialised; its decoder is not looked at."""
    return nets.network(net.network, net.preset, net.in_channels, 2, net.crop)


def _places(context: Context[EmbedSpec]) -> Iterator[tuple[int, str, int]]:
    """Yield each sample: the index of its data set, its case, its number. Cases take turns."""
    spec = context.spec
    prepared = [opened(context.input(index)) for index in range(len(spec.data))]
    chosen = mixed(prepared, spec.data, spec.take, spec.seed, context.run.roots)
    for index in range(len(prepared)):
        cases = [case.id for group, case in chosen if group == index]
        for number in range(spec.samples if cases else 0):
            yield index, cases[number * len(cases) // spec.samples], number


def _images(context: Context[EmbedSpec], places: list[tuple[int, str, int]]) -> Tensor:
    def image(group: int, case: str, number: int) -> np.ndarray:
        rng = numpy_rng(context.spec.seed, f"embed {group}", sample=number)
        return opened(context.input(group)).volume(case).random_crop(context.spec.network.crop, rng)

    return torch.from_numpy(np.stack([image(*sample) for sample in places]))


def pca(z: np.ndarray) -> np.ndarray:
    """Return the first two principal components of rows (N, C), (N, 2) float32; signs made unique."""
    centred = z - z.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    components = np.zeros((len(z), 2))
    count = min(2, len(scale))
    components[:, :count] = left[:, :count] * scale[:count]
    heaviest = np.abs(components).argmax(axis=0)
    signs = np.sign(components[heaviest, [0, 1]])
    return (components * np.where(signs == 0, 1, signs)).astype(np.float32)


def tsne(z: np.ndarray, seed: int) -> np.ndarray:
    """Return the rows (N, C) laid out by t-SNE, (N, 2) float32; by PCA where they are few or all alike."""
    from sklearn.manifold import TSNE

    if len(z) < FEWEST or not z.std(axis=0).any():
        return pca(z)
    perplexity = min(PERPLEXITY, (len(z) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(z)
    return layout.astype(np.float32)
