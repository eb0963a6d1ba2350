"""Networks by name and size; encoder and decoder apart. Names cost nothing: torch loads when one is built."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench import blame, plugins, registry, submodule
from bench.errors import BenchError
from bench.nets.catalog import check_crop, names, network_facts

if TYPE_CHECKING:
    from bench.nets import base
    from bench.nets.base import Classifier, Decoder, Encoder, Model, Network, TokenEncoder
    from bench.nets.sizes import Entry
    from bench.ranges import Triple

__all__ = [
    "Classifier",
    "Decoder",
    "Encoder",
    "Model",
    "Network",
    "TokenEncoder",
    "classifier",
    "network",
    "network_names",
    "presets",
]


def __getattr__(name: str) -> Any:
    # the classes need torch, which whoever only lists names should not wait for
    if name in __all__:
        from bench.nets import base

        return getattr(base, name)
    return submodule(__name__, name)


def network_names() -> list[str]:
    """List the networks by name."""
    return names()


def presets(name: str) -> list[str]:
    """List the sizes of one network, smallest first."""
    return list(network_facts(name).presets)


def network(
    name: str, preset: str, in_channels: int, out_channels: int, crop: Triple | None = None
) -> Network:
    """Return a freshly initialised network (from torch's global generator: seed it before).

    Args:
        name: one of ``network_names()``.
        preset: one of ``presets(name)``.
        in_channels: image channels.
        out_channels: classes, background included.
        crop: input size in voxels; by default the preset's own.

    Raises:
        BenchError: unknown name or preset, or channels or a crop the network cannot read.
    """
    from bench.nets import base

    crop, facts = check_crop(name, preset, crop), network_facts(name)
    for key, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if value < 1:
            raise BenchError(f"network {name!r}: {key} = {value}; give 1 or more")
    size = facts.presets[preset].size
    wanted = base.Wanted(size, facts.dims, crop, in_channels, out_channels)
    encoder, decoder = _parts(builder(facts).build, wanted)
    built = base.Network(name, preset, crop, (in_channels, out_channels), encoder, decoder)
    built.version = facts.version
    return built


def _parts(build: Callable[..., Any], wanted: base.Wanted) -> tuple[base.Encoder, base.Decoder]:
    """Return encoder and decoder; a plugin's ``build`` may take or return something else."""
    try:
        inspect.signature(build).bind(wanted)
    except TypeError:
        raise BenchError(f"{blame.defined(build)}: build must take (wanted)") from None
    parts = build(wanted)
    if not isinstance(parts, tuple) or len(parts) != 2:
        raise BenchError(
            f"{blame.defined(build)}: build(wanted) must return (encoder, decoder), got a {type(parts).__name__}"
        )
    return parts


def builder(facts: Entry) -> Any:
    """Return the module that builds a network."""
    plugin = plugins.by_name("network").get(facts.name)
    if plugin is None:
        return importlib.import_module(facts.module)
    try:
        module = plugins.module(plugin)
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        raise registry.raised(plugin.file, error) from error
    if not hasattr(module, "build"):
        raise BenchError(
            f"{plugin.file}: has no build(wanted) that returns encoder and decoder; write it"
        )
    return module


def classifier(
    name: str,
    preset: str,
    in_channels: int,
    classes: int,
    crop: Triple | None = None,
    hidden: int = 0,
) -> Classifier:
    """Return ``network``'s encoder, initialised alike, with one linear layer on its averaged bottleneck.

    Args:
        name: as of ``network``, and so the rest.
        preset: its size.
        in_channels: image channels.
        classes: how many; 1 of a regression.
        crop: input size in voxels.
        hidden: units of a layer before the last one, 0 for none.

    Raises:
        BenchError: as ``network`` does, or no class.
    """
    from bench.nets import base

    if classes < 1:
        raise BenchError(f"network {name!r}: {classes} classes; a classifier needs 1 or more")
    return base.Classifier(network(name, preset, in_channels, classes, crop), classes, hidden)
