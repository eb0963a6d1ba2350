"""The sliding window gives MONAI's scores, slab by slab, in memory that a deeper volume does not raise."""

from itertools import product

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data.cache import BLOCK
from bench.data.reader import Volume
from bench.jobs import window
from bench.protocol.sections import Windows

CPU = torch.device("cpu")


class Net(nn.Module):
    """Looks at neighbours, so that it matters what stands outside; remembers the batches it saw."""

    def __init__(self, channels=1, classes=3, kernel=(3, 3, 3)):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(channels, classes, kernel, padding=[n // 2 for n in kernel])
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        return self.conv(x)


def random_image(*shape, channels=1):
    return np.random.default_rng(sum(shape)).normal(size=(channels, *shape)).astype(np.float32)


def lowest(image):
    """A volume that knows its lowest value, as prepared ones do."""
    low = image.min()
    return Volume(image - low, offset=float(low))


def asked(crop=(8, 8, 8), **given):
    return Windows(**{"crop": crop, "batch": 2, **given})


def whole(net, volume, inference):
    return torch.cat([s.clone() for s in window.slabs(net, volume, inference, CPU)], -1)


def monai(net, image, inference):
    given = torch.from_numpy(image)[None], inference.crop, inference.batch, net
    how = {"overlap": inference.overlap, "mode": inference.blend, "cval": float(image.min())}
    with torch.no_grad():
        return sliding_window_inference(*given, **how)[0]


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
@pytest.mark.parametrize(
    ("shape", "crop", "batch"),
    [
        ((8, 8, 8), (8, 8, 8), 1),
        ((14, 9, 22), (8, 8, 8), 4),
        ((13, 12, 13), (8, 6, 4), 3),  # uneven; batches reach over several layers of windows
        ((5, 20, 3), (8, 8, 8), 2),  # smaller than the window, by odd and even numbers
        ((5, 6, 40), (8, 8, 8), 16),  # one window a layer: a batch spans the depth
        ((9, 8, 70), (8, 8, 8), 5),  # more planes than are decoded together
        *product(((20, 9, 11), (8, 8, 1), (5, 30, 6)), [(8, 8, 1)], (1, 100)),
    ],
)
def test_scores_are_monais(shape, crop, batch, overlap, blend):
    image = random_image(*shape, channels=2)
    inference = asked(crop, batch=batch, overlap=overlap, blend=blend)
    net = Net(channels=2, kernel=(3, 3, min(3, crop[2])))
    found, expected = whole(net, lowest(image), inference), monai(net, image, inference)
    assert found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(found.argmax(0), expected.argmax(0)) and {s[2:] for s in net.seen} == {crop}


def test_batches_are_full_across_layers_of_windows():
    net = Net()
    list(window.slabs(net, Volume(random_image(12, 8, 20)), asked(batch=3), CPU))
    assert [s[0] for s in net.seen] == [3, 3, 2]  # two windows by four layers


def test_half_precision_is_summed_in_full():
    class Halves(Net):
        def forward(self, x):
            return super().forward(x).bfloat16()

    image = random_image(12, 9, 20)
    found, exact = whole(Halves(), Volume(image), asked()), whole(Net(), Volume(image), asked())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.01, atol=0.01)
    # a sum in half precision has none of these
    assert (found - found.bfloat16().float()).abs().max() > 0


class Largest(TorchDispatchMode):
    """Remembers the most voxels that any tensor had."""

    def __init__(self):
        super().__init__()
        self.voxels = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                voxels = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.voxels = max(self.voxels, voxels)
        return out


class Watched:
    """An array that counts what is read of it."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape
        self.total = self.most = 0

    def __getitem__(self, key):
        found = self.array[key]
        self.total += found.size
        self.most = max(self.most, found.size)
        return found


def peak(net, depth, inference):
    """Return the voxels of the largest tensor and of the largest read."""
    image = Watched(random_image(8, 12, depth))
    with Largest() as seen:
        planes = [slab.shape for slab in window.slabs(net, Volume(image), inference, CPU)]
    assert all(s[:3] == (4, 8, 12) and 1 <= s[3] <= window.PLANES for s in planes)
    assert sum(s[3] for s in planes) == depth
    assert image.total == image.array.size  # each plane is decoded once
    return seen.voxels, image.most


@pytest.mark.parametrize(
    ("crop", "batch", "deep"), [((8, 8, 8), 3, 12), ((8, 8, 8), 6, 16), ((8, 8, 1), 9, 5)]
)
def test_a_deeper_volume_takes_no_more_memory(crop, batch, deep):
    net = Net(classes=4, kernel=(3, 3, min(3, crop[2])))
    peaks = [peak(net, BLOCK * n, asked(crop, batch=batch)) for n in (2, 3, 5)]
    assert len(set(peaks)) == 1, peaks
    tensor, read = peaks[0]
    ring, windows = 4 * 8 * 12 * deep, 4 * batch * np.prod(crop)
    image = 8 * 12 * (BLOCK + crop[2])
    assert tensor <= max(ring, windows, image) and read <= image


def test_slabs_leave_before_later_windows_are_run():
    net = Net()
    passing = window.slabs(net, Volume(random_image(8, 8, 64)), asked(batch=1), CPU)
    next(passing)
    assert len(net.seen) == 1
    assert len(list(passing)) == 14 and len(net.seen) == 15
