"""Features of whole cases for a probe: what a frozen encoder gives, or files that came from outside."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import reduce
from itertools import count
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.data.prepared import Prepared
from bench.data.reader import Volume
from bench.data.slabs import restore_slabs, unchanged
from bench.errors import BenchError
from bench.jobs import window
from bench.jobs.kind import embedding
from bench.jobs.predict import check_finite, corners
from bench.nets.base import Encoder
from bench.probes.features import CaseFeatures, VoxelFeatures, neighbourhoods
from bench.probes.model import Probed
from bench.probes.ridge import products
from bench.protocol.sections import Probe, Windows
from bench.ranges import Triple

Samples = tuple[Tensor, Tensor]  # features (n, d) and classes (n,), on one device


class Features(Protocol):
    """Where the features of cases come from."""

    size: int  # of a voxel, or of a case

    def slabs(self, case: str) -> Iterator[Tensor]:
        """Yield the features of all voxels in order of z, (size, X, Y, dz); each holds until the next."""

    def vector(self, case: str) -> Tensor:
        """Return the features of a whole case, (size,)."""


Arrays = TypeVar("Arrays", np.ndarray, Tensor, list[Tensor])


class CaseCache(Generic[Arrays]):
    """What was computed of cases, as much as there is room for.

    Args:
        room: bytes.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._values: dict[Hashable, Arrays] = {}

    def get(self, key: Hashable, compute: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of a case, or of a part of it; compute what is not in the cache."""
        if key in self._values:
            return self._values[key]
        value = compute()
        size = sum(array.nbytes for array in (value if isinstance(value, list) else [value]))
        if size <= self._room:
            self._room -= size
            self._values[key] = value
        return value


class Encoded:
    """Features that a frozen encoder gives, on the prepared grid.

    Args:
        encoder: on its device, in ``eval`` mode.
        probe: which levels, and which intensities beside them.
        voxels: are features of voxels wanted, or of whole cases?
        prepared: the cases.
        crop: size of the windows.
        room: bytes for maps and vectors of cases that are asked for again; only for an encoder that no
            longer changes.
    """

    def __init__(
        self,
        encoder: Encoder,
        probe: Probe,
        voxels: bool,
        prepared: Prepared,
        crop: Triple,
        room: int = 0,
    ) -> None:
        self._pyramids = CaseCache[list[Tensor]](room)
        self._vectors = CaseCache[Tensor](room)
        self._prepared, self._crop, self._cubes = prepared, crop, probe.intensity
        self.voxels = VoxelFeatures(encoder, probe.levels)
        self.cases = CaseFeatures(encoder, probe.levels)
        self._device = next(encoder.parameters()).device
        case = next(c.id for c in prepared.cases() if c.id not in prepared.faults)
        statistics = sum(1 if side == 1 else 2 for side in self._cubes)
        more = prepared.volume(case).channels * statistics
        self.size = self.voxels.size + more if voxels else self.cases.size

    def slabs(self, case: str) -> Iterator[Tensor]:
        """Yield the features of all voxels, levels first, then intensities."""
        volume, z = self._prepared.volume(case), 0
        for part in self._parts(volume, self.voxels, batch=1):
            parts = [part, *self._intensities(volume, z, part.shape[-1])]
            z += part.shape[-1]
            features = torch.cat(parts) if self._cubes else part
            check_finite(features, f"features of {volume.name or case}")
            yield features

    def scores(self, case: str, weight: Tensor) -> Iterator[Tensor]:
        """Yield a linear map of the features, (K, X, Y, dz): of each level before it is interpolated.

        Args:
            case: id.
            weight: (K, size).
        """
        volume, z = self._prepared.volume(case), 0
        levels, intensities = weight.split(
            [self.voxels.size, weight.shape[1] - self.voxels.size], 1
        )
        batches = count()  # of windows

        def mapped(image: Tensor) -> Tensor:
            key = case, next(batches)
            pyramid = self._pyramids.get(key, lambda: self.voxels.pyramid(image))
            return self.voxels.mapped(pyramid, levels, image.shape[2:])

        for part in self._parts(volume, mapped, 4, len(weight)):
            depth = part.shape[-1]
            if self._cubes:
                statistics = torch.cat(self._intensities(volume, z, depth))
                part = part + torch.einsum("kc,cxyz->kxyz", intensities, statistics)
            z += depth
            yield part

    def _parts(
        self, volume: Volume, network: Callable[[Tensor], Tensor], batch: int, empty: int = 0
    ) -> Iterator[Tensor]:
        if self.voxels.levels:
            yield from window.slabs(
                network, volume, Windows.side_by_side(self._crop, batch), self._device
            )
            return
        x, y, depth = volume.shape
        for z in range(0, depth, window.PLANES):
            shape = (empty, x, y, min(window.PLANES, depth - z))
            yield torch.zeros(shape, device=self._device)

    def _intensities(self, volume: Volume, z: int, depth: int) -> list[Tensor]:
        """Return statistics of the cubes round each voxel of some planes, (channels, X, Y, depth) each."""
        if not self._cubes:
            return []
        x, y, planes = volume.shape
        reach = max(self._cubes) // 2
        first, last = max(0, z - reach), min(planes, z + depth + reach)
        image = torch.from_numpy(volume.crop((0, 0, first), (x, y, last - first)))
        maps = neighbourhoods(image.to(self._device)[None], self._cubes)
        return [m[0, ..., z - first : z - first + depth] for m in maps]

    def vector(self, case: str) -> Tensor:
        """Return mean and maximum of each level, their mean over the windows."""
        return self._vectors.get(case, lambda: self._vector(case))

    @torch.no_grad()
    def _vector(self, case: str) -> Tensor:
        volume = self._prepared.volume(case)
        starts = corners(volume.shape, self._crop, 0.0)
        images = (torch.from_numpy(volume.crop(start, self._crop))[None] for start in starts)
        values = torch.cat([self.cases(image.to(self._device)) for image in images]).mean(0)
        check_finite(values, f"features of {volume.name or case}")
        return values


class Embedded:
    """Features that came from outside, a file for each case: ``<case>.npy``, or ``.b2nd`` of a map.

    Args:
        folder: of the files.
        voxels: are they maps of the prepared grid, (size, X, Y, Z), or vectors, (size,)?
        prepared: the cases.
        device: where the features go.
    """

    def __init__(
        self, folder: Path, voxels: bool, prepared: Prepared, device: torch.device
    ) -> None:
        self._folder, self._voxels, self._prepared, self._device = folder, voxels, prepared, device
        case = next(c.id for c in prepared.cases() if embedding(folder, c.id, voxels) is not None)
        self.size = 0  # not known yet
        self.size = len(self._read(case))

    def slabs(self, case: str) -> Iterator[Tensor]:
        """Yield a map's planes in the order of z."""
        features = self._read(case)
        for z in range(0, features.shape[-1], window.PLANES):
            yield torch.from_numpy(features[..., z : z + window.PLANES]).to(self._device)

    def vector(self, case: str) -> Tensor:
        """Return what the case's file holds."""
        return torch.from_numpy(self._read(case)).to(self._device)

    def _read(self, case: str) -> np.ndarray:
        """Return what a file holds, float32."""
        path = embedding(self._folder, case, self._voxels)
        if path is None:
            raise BenchError(f"{self._folder}: no features of case {case!r}; add its file")
        features = _loaded(path)
        size = self.size or (len(features) if features.ndim else 0)
        grid = self._prepared.volume(case).shape if self._voxels else ()
        expected = (size, *grid)
        if features.shape != expected or not size:
            kind = "a map of the prepared grid" if self._voxels else "a vector"
            raise BenchError(
                f"{path}: has shape {features.shape}, not {expected}, {kind}; write it again"
            )
        if features.dtype.kind not in "fiu" or not np.isfinite(features).all():
            raise BenchError(f"{path}: holds NaN or infinite values; write it again")
        return np.ascontiguousarray(features, np.float32)


def _loaded(path: Path) -> np.ndarray:
    import blosc2

    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return np.asarray(blosc2.open(str(path), mode="r")[...])
    except (OSError, ValueError, RuntimeError) as error:
        raise BenchError(f"{path}: cannot be read ({error}); write it again") from None


def scores(features: Features, probed: Probed, case: str) -> Iterator[np.ndarray]:
    """Yield the scores of all voxels of a case in order of z, (K, X, Y, dz), on the CPU."""
    if isinstance(features, Encoded) and probed.is_linear:
        bias = probed.bias.view(-1, 1, 1, 1)
        for part in features.scores(case, probed.weight):
            check_finite(part, f"the probe's scores of {case}")
            yield (part + bias).cpu().numpy()
        return
    for slab in features.slabs(case):
        read = probed.read(slab.flatten(1).T).T
        yield read.reshape(-1, *slab.shape[1:]).cpu().numpy()


def case_scores(features: Features, probed: Probed, case: str, classes: bool) -> np.ndarray:
    """Return a case's probability of each class, float64 (K,); where it has no classes, its number, (1,)."""
    read = probed.read(features.vector(case)[None])[0].double()
    check_finite(read, f"the probe's scores of {case}")
    return (read.softmax(0) if classes else read).cpu().numpy()


class Labels:
    """Label maps of cases, with K classes, beside the features of their voxels."""

    def __init__(
        self, prepared: Prepared, features: Features, classes: int, ignore: int | None
    ) -> None:
        self._prepared, self._features = prepared, features
        self.classes, self._ignore = classes, ignore

    def counts(self, cases: Sequence[str]) -> np.ndarray:
        """Return how many voxels of each class some cases have, (K,)."""
        total = np.zeros(self.classes, np.int64)
        for case in cases:
            label = np.asarray(self._prepared.label(case))
            labelled = label.ravel() if self._ignore is None else label[label != self._ignore]
            total += np.bincount(labelled, minlength=self.classes)
        return total

    def products(self, case: str) -> np.ndarray:
        """Return what ``ridge.products`` sums up of a case."""
        parts = (products(x.T, labels, self.classes) for x, labels in self.voxels(case))
        return reduce(np.add, parts)

    def voxels(self, case: str) -> Iterator[Samples]:
        """Yield the labelled voxels of a case, slab by slab in order of z."""
        label, z = np.asarray(self._prepared.label(case)), 0
        for slab in self._features.slabs(case):
            part = label[..., z : z + slab.shape[-1]]
            z += slab.shape[-1]
            labels = torch.from_numpy(part.astype(np.int64).ravel()).to(slab.device)
            if self._ignore is None:
                yield slab.flatten(1).T, labels
            else:
                index = (labels != self._ignore).nonzero()[:, 0]
                yield slab.flatten(1)[:, index].T, labels[index]


def mean_dice(
    features: Features, probed: Probed, prepared: Prepared, cases: Sequence[str], ignore: int | None
) -> float:
    """Return the mean Dice over cases and their labels on the prepared grid, of a curve; none is a score."""
    from bench.metrics import score

    values = list[float]()
    for case in cases:
        label = prepared.label(case)
        x, y, z = label.shape
        predicted = restore_slabs(scores(features, probed, case), unchanged((x, y, z)), None)
        dice = score(predicted, label, (1.0, 1.0, 1.0), ("dice",), ignore=ignore)
        values += [s.value for s in dice if s.value is not None]
    return float(np.mean(values)) if values else 0.0
