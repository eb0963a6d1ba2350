"""What is tried: a method around a tiny network, so that it trains in a second or two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench import nets, plugins, registry
from bench.method import Method

CLASSES = 3  # of the labels of the scans, background included
NETWORK = {
    ("features", 3): ("unet3d", (16, 16, 16)),
    ("decoder", 3): ("unet3d", (16, 16, 16)),
    ("tokens", 3): ("unetr", (32, 32, 32)),
    ("patches", 3): ("unetr", (32, 32, 32)),
    ("features", 2): ("unet2d", (32, 32, 1)),
    ("decoder", 2): ("unet2d", (32, 32, 1)),
}


def tiny(
    needs: str = "features",
    seed: int = 0,
    crop: Any = None,
    channels: int = 1,
    dims: int = 3,
    out: int = 2,
) -> nets.Network:
    """Return the smallest network of a kind."""
    name, default = NETWORK[needs, dims]
    torch.manual_seed(seed)
    return nets.network(name, "tiny", channels, out, crop or default)


@dataclass(frozen=True)
class Trial:
    """A method as it is tried.

    Args:
        what: its name, or its file.
        params: at which it is small; its other parameters stay the defaults.
        crop: what it reads, where it needs more than the smallest (16, 16, 16), or (32, 32, 1) in 2D.
    """

    what: str | Path
    params: dict[str, Any] = field(default_factory=dict)
    crop: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """Return the method's name; its file is made known."""
        return named(self.what)

    @property
    def cls(self) -> type[Method]:
        """Return its class."""
        method: type[Method] = registry.load("method", self.name)
        return method

    def network(
        self,
        params: dict[str, Any] | None = None,
        channels: int = 1,
        seed: int = 0,
        dims: int | None = None,
    ) -> nets.Network:
        """Return the smallest network that it can train, with the outputs that it asks for."""
        cls = self.cls
        out = cls.make_params({**self.params, **(params or {})}).out_channels(channels, CLASSES)
        return tiny(cls.needs, seed, self.crop, channels, dims or cls.dims, out)

    def build(
        self,
        params: dict[str, Any] | None = None,
        seed: int = 0,
        network: nets.Network | None = None,
    ) -> Any:
        """Return the method around a tiny network, with ``crop_size`` and ``network_keys`` as notes."""
        chosen = {**self.params, **(params or {})}
        network = network or self.network(params)
        method: Any = self.cls.build(network, chosen, seed)
        method.crop_size, method.network_keys = network.crop, set(network.state_dict())
        return method


def named(what: str | Path) -> str:
    """Return the name of a plugin; one that is given by its file is made known."""
    path = Path(what)
    if path.suffix != ".py":
        return str(what)
    plugins.use([path], str(path))
    return path.stem


def only(wanted: Callable[[Any], bool]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test as one of those methods alone, or facts of networks, that are ``wanted``."""

    def marked(test: Callable[..., None]) -> Callable[..., None]:
        test.only = wanted  # type: ignore[attr-defined]
        return test

    return marked


def concerns(metafunc: Any, what: Any) -> bool:
    """Return whether a test is one of this method or of these facts."""
    wanted = getattr(metafunc.function, "only", None)
    return wanted is None or wanted(what)


def try_methods(metafunc: Any) -> None:
    """Give ``trial`` to the tests of a module that ask for it: a hook of pytest."""
    from bench.conformance.options import requested

    if "trial" not in metafunc.fixturenames:
        return
    option, methods = metafunc.config.getoption, requested(metafunc, "method")
    small = [option("bench_params", {}), option("bench_crop", None)]
    trials = [t if isinstance(t, Trial) else Trial(t, *small) for t in methods]
    chosen = [trial for trial in trials if concerns(metafunc, trial.cls)]
    metafunc.parametrize("trial", chosen, ids=[trial.name for trial in chosen], indirect=True)
