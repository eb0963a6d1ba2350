"""Let a convolutional network see the visible cells of its maps alone, as sparse convolutions do.

A dense convolution spreads what it sees into hidden cells, layer by layer, until no mask is left. Here every
convolution and pooling gives 0 there, and every norm takes its statistics over the visible cells alone. The
operations stay dense, as in SparK (Tian et al., ICLR 2023): nothing is saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm)
SPREADING = (_ConvNd, _MaxPoolNd, _AvgPoolNd)  # a cell of theirs sees its neighbours


class Visible:
    """Which cells of each map are visible.

    Args:
        blocks: (B, 1, x, y, z) booleans of the blocks of a crop.
        count: how many are visible in every sample; it is told, so that a GPU is not waited for.
    """

    def __init__(self, blocks: Tensor, count: int) -> None:
        self.blocks, self.count = blocks, count
        self._maps: dict[tuple[int, ...], Tensor] = {}
        self._orders: dict[tuple[int, ...], Tensor] = {}

    def of(self, shape: Sequence[int]) -> Tensor:
        """Return the mask (B, 1, x, y, z) of a map of these sides; a cell larger than a block is visible."""
        sides = tuple(shape)
        if sides not in self._maps:
            mask = functional.interpolate(self.blocks.float(), size=sides, mode="nearest").bool()
            self._maps[sides] = torch.ones_like(mask) if self._coarse(sides) else mask
        return self._maps[sides]

    def select(self, x: Tensor) -> Tensor:
        """Return the visible cells of a map (B, C, x, y, z) alone, (B, C, n, 1, 1)."""
        return x.flatten(2).gather(2, self._places(x))[..., None, None]

    def put_back(self, cells: Tensor, x: Tensor) -> Tensor:
        """Return a map like ``x`` with these visible cells, and 0 where hidden."""
        empty = torch.zeros(x.shape, dtype=cells.dtype, device=x.device).flatten(2)
        return empty.scatter(2, self._places(x), cells.flatten(2)).reshape(x.shape)

    def _places(self, x: Tensor) -> Tensor:
        """Return which cells of a map are visible, in order, (B, C, n)."""
        sides = tuple(x.shape[2:])
        if sides not in self._orders:
            cells = prod(sides)
            count = cells if self._coarse(sides) else cells // self.blocks[0].numel() * self.count
            mask = self.of(sides).flatten(2)
            order = mask.to(torch.uint8).argsort(dim=2, descending=True, stable=True)
            self._orders[sides] = order[..., :count]
        return self._orders[sides].expand(-1, x.shape[1], -1)

    def _coarse(self, sides: Sequence[int]) -> bool:
        return any(n < m for n, m in zip(sides, self.blocks.shape[2:], strict=True))


def dense_layers(network: nn.Module) -> list[str]:
    """Return the kinds of a network's layers that cannot be masked: attention, linear layers, their norms."""
    maskable = (*NORMS, *SPREADING)
    layers = (m for m in network.modules() if next(m.parameters(recurse=False), None) is not None)
    return sorted({type(m).__name__ for m in layers if not isinstance(m, maskable)})


@contextmanager
def seen_alone(network: nn.Module, visible: Visible) -> Iterator[None]:
    """Mask every layer of ``network`` while this lasts; its weights and keys stay as they are."""
    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, NORMS):
                _mask_norm(module, visible, hooks)
            elif isinstance(module, SPREADING):
                hook = module.register_forward_hook(
                    lambda module, given, y: y * visible.of(y.shape[2:]).to(y.dtype)
                )
                hooks.callback(hook.remove)
        yield


def _mask_norm(norm: nn.Module, visible: Visible, hooks: ExitStack) -> None:
    """Give a norm the visible cells, and put what it makes of them back to their places."""
    maps: list[Tensor] = []

    def before(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        maps.append(given[0])
        return (visible.select(given[0]),)

    def after(module: nn.Module, given: tuple[Any, ...], cells: Tensor) -> Tensor:
        return visible.put_back(cells, maps.pop())

    hooks.callback(norm.register_forward_pre_hook(before).remove)
    hooks.callback(norm.register_forward_hook(after).remove)
