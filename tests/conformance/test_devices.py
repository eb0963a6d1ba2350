"""The second device: its numbers are the CPU's, and what a GPU refuses is refused with its line."""

import pytest
import torch
from torch import nn

from bench.conformance import devices
from bench.conformance.devices import WrongDeviceError, second_device
from bench.constants import constant

pytestmark = pytest.mark.skipif(bool(devices.unavailable()), reason=devices.unavailable() or "-")
SECOND = torch.device(devices.NAME, 0)


def numbers(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


REFUSED = {
    "sum with a tensor of the CPU": lambda x: x + torch.zeros(3),
    "product with one": lambda x: x @ torch.zeros(3, 2),
    "joined with one": lambda x: torch.cat([x, torch.zeros(4, 3)]),
    "indexing one": lambda x: torch.zeros(4)[x[0].long()],
    "weights on the CPU": lambda x: nn.functional.linear(x, torch.zeros(2, 3)),
    "a loss against one": lambda x: nn.functional.mse_loss(x, torch.zeros(4, 3)),
    "cuda": lambda x: x.cuda(),
    "cuda of a module": lambda x: nn.Linear(3, 2).cuda(),
    "numpy": lambda x: x.numpy(),
    "NumPy's own": lambda x: __import__("numpy").asarray(x),
}


@pytest.mark.parametrize("act", REFUSED.values(), ids=REFUSED)
def test_what_a_gpu_refuses_is_refused_with_its_line(act):
    with second_device(), pytest.raises(WrongDeviceError) as refused:
        act(numbers(4, 3).to(SECOND))
    line = f"{__file__}:{act.__code__.co_firstlineno}: "
    assert str(refused.value).startswith(line)


def of_cpu_scalar(x):
    return x * torch.tensor(2.0)


def in_place(x):
    y = x.clone()
    y[1:] += 1
    return y.transpose_(0, 1).mul_(2)


def recurrent(x):
    torch.manual_seed(0)
    return nn.GRU(3, 5, batch_first=True).to(x.device)(x[None])[0]


def drawn(x):
    generator = torch.Generator(x.device).manual_seed(3)
    return torch.rand(x.shape, generator=generator, device=x.device)


@pytest.mark.parametrize("act", [of_cpu_scalar, in_place, recurrent, drawn])
def test_numbers_and_gradients_are_those_of_the_cpu(act):
    def both(where):
        x = numbers(4, 3).to(where).requires_grad_()
        (y := act(x) + 0 * x.sum()).square().sum().backward()
        return devices.back({"y": y, "gradient": x.grad})

    expected = both(torch.device("cpu"))
    with second_device():
        other = both(SECOND)
    for key, value in expected.items():
        torch.testing.assert_close(other[key], value)


@pytest.mark.parametrize(
    ("act", "waits"),
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: bool((x > 0).any()), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: (x > 0).nonzero(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: torch.tensor([1.0, 2.0, 3.0], device=x.device) + x, 1),
        (lambda x: x[:, [0, 2]], 1),
        (lambda x: torch.arange(3, device=x.device) + x, 0),
        (lambda x: torch.where(x > 0, x, 0.0) * 2, 0),
        (lambda x: torch.zeros(3).to(x.device, non_blocking=True), 0),
    ],
)
def test_the_host_waits_where_it_asks_for_a_value_or_copies(act, waits):
    with second_device() as counted:
        x = numbers(4, 3).to(SECOND)
        counted.clear()
        act(x)
    assert sum(counted.values()) == waits
    assert set(counted) <= {f"{__file__}:{act.__code__.co_firstlineno}"}


def test_a_constant_is_copied_to_a_device_once():
    values = [[1, 2], [3, 4.5]]
    with second_device() as counted:
        first, again = (constant(values, SECOND) for _ in range(2))
        assert first is again and sum(counted.values()) <= 1
        assert constant(values, SECOND, torch.float64).dtype == torch.float64
        assert devices.back({"x": first})["x"].tolist() == values
    on_cpu = constant(values, torch.device("cpu"))
    assert torch.equal(on_cpu, torch.tensor(values))
    assert on_cpu is not constant(values, torch.device("cpu"))  # who changes it changes his own
