"""The same numbers as MedPy, MONAI and DeepMind's surface-distance, on random masks."""

from __future__ import annotations

import numpy as np
import pytest
from originals import assert_scored_alike

from bench.metrics import score
from bench.metrics.grid import Grid
from bench.metrics.mask import PAD, Pair, mask
from bench.metrics.surface import directed, distances, surface

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (2.5, 1.0, 0.4)]
NEAR = {"medpy": 1e-9, "monai": 1e-5, "deepmind": 1e-6}  # MONAI's percentiles are float32


def noise(shape: tuple[int, ...], seed: int, share: float = 0.4) -> np.ndarray:
    """Two labels as unconnected as can be; they touch every border."""
    random = np.random.default_rng(seed)
    return ((random.random(shape) < share) * random.integers(1, 3, shape)).astype(np.uint8)


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Two box organs, far from their copies under another seed, with a lone island each."""
    random = np.random.default_rng(seed)
    volume = np.zeros(shape, np.uint8)
    for label in (1, 2):
        low = random.integers(0, np.array(shape) // 2)
        volume[tuple(slice(a, a + n // 3) for a, n in zip(low, shape, strict=True))] = label
        volume[tuple(random.integers(0, shape))] = label
    return volume


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("shape", [(9, 8, 7), (12,), (2, 30, 3), (20, 20)])
def test_noise_of_any_shape_scores_as_medpy(shape, spacing):
    drawn = [(noise(shape, k) == v, noise(shape, k + 50) == v) for k in range(4) for v in (1, 2)]
    pairs = [(p, r) for p, r in drawn if p.any() and r.any()]
    assert len(pairs) >= 4
    for p, r in pairs:
        assert_scored_alike(p, r, spacing[: len(shape)], "medpy", NEAR["medpy"])


@pytest.mark.parametrize("make", [noise, blobs])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("convention", NEAR)
def test_a_convention_is_its_origin(convention, spacing, make):
    for seed in range(3):
        p, r = make((40, 36, 20), seed) == 1, make((40, 36, 20), seed + 9) == 1
        assert_scored_alike(p, r, spacing, convention, NEAR[convention])


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("convention", NEAR)
def test_a_slice_scores_as_the_picture_that_it_is(convention, spacing):
    for seed in range(3):
        flat = [blobs((40, 36), k) for k in (seed, seed + 9)]
        for axis in range(3):
            assert_scored_alike(
                *(part == 1 for part in flat), spacing[:2], convention, NEAR[convention]
            )
            thick = tuple(np.insert(spacing[:2], axis, 999.0))
            metrics = ("hd", "hd95", "assd", "asd", "nsd@1mm")
            sliced = score(
                *(np.expand_dims(part, axis) for part in flat), thick, metrics, convention
            )
            assert sliced == score(*flat, spacing[:2], metrics, convention)


def test_memory_order_and_type_change_nothing():
    a, b = blobs((30, 24, 18), 1), blobs((30, 24, 18), 2)
    plain = score(a, b, SPACINGS[1])
    for first, two in [
        (np.asfortranarray(a), b),
        (np.asfortranarray(a), np.asfortranarray(b)),
        (a[::-1].copy()[::-1], b),
        (a.astype(np.int64), b.astype(np.float32)),
        (a.astype(">i2"), b.astype(np.uint16)),
    ]:
        again = score(first, two, SPACINGS[1])
        assert [s.value for s in again] == pytest.approx([s.value for s in plain], abs=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_tree_and_distance_transform_agree_with_a_full_distance_map(spacing):
    from scipy.ndimage import binary_erosion, distance_transform_edt

    a, b = (np.pad(blobs((30, 24, 18), seed) == 1, PAD) for seed in (3, 4))
    edges = [mask ^ binary_erosion(mask) for mask in (a, b)]
    assert np.array_equal(surface(a), edges[0]) and np.array_equal(surface(b), edges[1])
    expected = distance_transform_edt(~edges[1], sampling=spacing)[edges[0]]
    assert expected.max() > (PAD + 1) * min(spacing)  # else the far paths were never taken
    grid = Grid.of((30, 24, 18), spacing)
    for far in ("tree", "edt", None):
        assert np.array_equal(directed(*edges, grid, far), expected), far


def test_a_surface_larger_than_one_chunk_is_scored_whole(monkeypatch):
    from bench.metrics import surface as room

    a, b = noise((14, 13, 12), 1), blobs((14, 13, 12), 2)
    pair = Pair(mask(a, (1,)), mask(b, (1,)), Grid.of(a.shape, (1.0, 1.0, 2.0)))
    complete = distances(pair)
    monkeypatch.setattr(room, "CHUNK", 97)
    assert np.array_equal(distances(pair).forward, complete.forward)
    assert np.array_equal(distances(pair).backward, complete.backward)
