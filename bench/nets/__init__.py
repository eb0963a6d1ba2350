"""Networks by name and size; encoder and decoder apart."""

from typing import TYPE_CHECKING, Any

from bench.nets.network import classifier, network, network_names, presets

if TYPE_CHECKING:
    from bench.nets.base import Classifier, Decoder, Encoder, Model, Network, TokenEncoder

__all__ = [
    "Classifier", "Decoder", "Encoder", "Model", "Network", "TokenEncoder",
    "classifier", "network", "network_names", "presets",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # the classes need torch, which whoever only lists names should not wait for
    if name in __all__:
        from bench.nets import base

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
