"""Small scans, and what methods read of them and make of that."""

from functools import partial

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from bench.data.reader import Volume

SHAPE = (64, 64, 32)


def smooth(shape, sigma, seed):
    noise = np.random.default_rng(seed).normal(size=shape)
    field = gaussian_filter(noise, sigma, mode="wrap")
    return field / field.std()


def volumes(count, shape=SHAPE, sigma=3.0, noise=0.5, first=1):
    """Return one-channel volumes of standard deviation about 1: structure that all share, and their own."""
    template = smooth(shape, sigma, 0)
    scans = [template + noise * smooth(shape, sigma, first + i) for i in range(count)]
    return together([Volume(m[None].astype(np.float32), label=labelled(m)) for m in scans])


def together(scans):
    """Let each of several volumes draw another one of them, as those that are read together can."""
    for i, scan in enumerate(scans):
        others = [*scans[:i], *scans[i + 1 :]]
        if others and scan.others is None:
            scan.others = partial(_drawn, others)
    return scans


def _drawn(others, rng):
    return others[int(rng.integers(len(others)))]


def labelled(image):
    """Return a label map of two classes and background: what is bright, and what is dark."""
    return np.select([image > 0.7, image < -0.7], [1, 2], 0).astype(np.uint8)


def sample(method, scan, number, rng):
    """Return what the harness reads of a scan, with the class labels that a mixture may give."""
    values = method.params.read(scan, method.crop_size, rng)
    labels = {"task": 1 + number % 2, "group": 1 + number % 2, "first": 0, "origin": number % 2}
    return {**values, **{k: np.array(v, np.int64) for k, v in labels.items()}}


def read(method, scans, seed=0):
    """Return the batch of one read per scan."""
    rows = [
        sample(method, scan, i, np.random.default_rng((seed, i)))
        for i, scan in enumerate(together(scans))
    ]
    return {k: torch.from_numpy(np.stack([r[k] for r in rows])) for k in rows[0]}


def view(method, batch, seed=0):
    return method.views(batch, torch.Generator().manual_seed(seed))
