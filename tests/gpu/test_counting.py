"""What is counted without being done: bytes that live, operations, and the values that decide."""

import pytest
import torch
from torch import nn

from bench.gpu.counting import counting
from bench.gpu.device import device, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "-")
MANY = 1 << 20  # numbers of a tensor that is too large to be real


def test_bytes_are_those_of_a_hand_count():
    batch, width, out = 4096, 256, 64
    with counting() as counted:
        first, last = nn.Linear(width, width, bias=False), nn.Linear(width, out, bias=False)
        net = nn.Sequential(first, nn.ReLU(), last).to(device())
        weights = 4 * (width * width + width * out)
        assert counted.memory.held == weights
        x = torch.zeros(batch, width, device=device())
        y = net(x)
        # a linear layer needs what it read, ReLU what it gave: one tensor
        activations = 4 * batch * (width + width + out)
        assert counted.memory.held == weights + activations
        y.sum().backward()
        del x, y
        assert counted.memory.held == 2 * weights
        optimiser = torch.optim.AdamW(net.parameters())
        optimiser.step()
        assert (
            counted.memory.held == 4 * weights
        )  # and two moments; its count of steps is on the CPU
        optimiser.zero_grad()
        assert counted.memory.held == 3 * weights
    assert counted.memory.most >= weights + activations


def test_views_share_their_storage_and_a_copy_does_not():
    with counting() as counted:
        x = torch.zeros(1024, 1024, device=device())
        views = [x.view(-1), x[1:], x.T, x.expand(3, 1024, 1024)]
        assert counted.memory.held == 4 * MANY
        copy = x[1:].clone()
        assert counted.memory.held == 4 * (MANY + copy.numel())
        del x, views
        assert counted.memory.held == 4 * copy.numel()


@pytest.mark.parametrize(("dtype", "kind"), [(None, "product"), (torch.bfloat16, "half")])
def test_operations_and_bytes_of_a_product(dtype, kind):
    with counting() as counted:
        x = torch.zeros(2000, 300, device=device())
        layer = nn.Linear(300, 500, bias=False).to(device())
        with torch.autocast(device().type, dtype=dtype or torch.bfloat16, enabled=bool(dtype)):
            y = layer(x)
    (row,) = [row for row in counted.work.rows() if row[0] != "memory"]
    size = 2 if dtype else 4
    assert row[0] == kind and y.itemsize == size
    assert row[2] == 2 * 2000 * 300 * 500
    assert row[3] == size * (2000 * 300 + 300 * 500 + 2000 * 500)


def test_autocast_rounds_products_keeps_norms_and_copies_a_weight_once():
    with counting() as counted:
        conv, norm = nn.Conv3d(1, 4, 3).to(device()), nn.LayerNorm(4).to(device())
        x = torch.zeros(2, 1, 8, 8, 8, device=device())
        with torch.autocast(device().type, dtype=torch.bfloat16):
            before = counted.memory.held
            y = conv(x)
            once = counted.memory.held - before
            again = conv(x)
            assert y.dtype == again.dtype == torch.bfloat16
            # the weight and the bias in 16 bits; the image's copy is the graph's
            assert counted.memory.held - before == 2 * once - 2 * (4 * 27 + 4)
            assert norm(y.flatten(2).mT).dtype == torch.float32
        assert conv(x).dtype == torch.float32
        y.float().sum().backward()
        assert conv.weight.grad.dtype == torch.float32


def test_small_tensors_decide_as_they_would_and_large_ones_at_their_most():
    with counting():
        small = torch.arange(6, device=device())
        assert small.sum().item() == 15
        assert (small > 3).nonzero().flatten().tolist() == [4, 5]
        large = torch.zeros(MANY, device=device())
        assert (large > 0).nonzero().shape == (MANY, 1)
        assert large[large > 0].shape == (MANY,)
        mask = torch.tensor([[True, False], [True, True]], device=device())
        tokens = torch.zeros(2, 2, MANY, device=device())
        assert tokens[mask].shape == (3, MANY)  # the mask is small, so its count is real
        assert large.sum().item() == 1.0
        assert large.cpu().shape == (MANY,)


def test_a_loss_scale_of_fp16_lets_the_optimiser_move():
    with counting() as counted:
        net = nn.Linear(3, 4).to(device())
        optimiser, scaler = torch.optim.AdamW(net.parameters()), torch.amp.GradScaler(device().type)
        scaler.scale(net(torch.ones(2, 3, device=device())).sum()).backward()
        before = counted.memory.held
        scaler.step(optimiser)
        scaler.update()
        assert counted.memory.held - before == 2 * 4 * (3 * 4 + 4)


def test_attention_keeps_no_weights():
    tokens = 3000
    with counting() as counted:
        q = torch.zeros(1, 2, tokens, 16, device=device(), requires_grad=True)
        out = nn.functional.scaled_dot_product_attention(q, q, q)
        assert counted.memory.most == 4 * (2 * 2 * tokens * 16 + 2 * tokens)
        out.sum().backward()
        assert q.grad.shape == q.shape
    products = 2.0 * 2 * tokens * tokens * 16
    assert sum(flops for _, _, flops, _ in counted.work.rows()) == (2 + 5) * products


def test_nothing_is_left_behind():
    with counting():
        nn.Conv3d(1, 4, 3).to(device())
    x = nn.Linear(3, 2)(torch.ones(4, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nn.Linear(3, 2)(torch.ones(4, 3)).dtype == torch.bfloat16
    assert x.sum().isfinite() and x.device.type == "cpu"
