"""What a pretraining method must define. Everything else belongs to the harness.

A method turns one volume into views and one batch of views into a loss. Optimiser, schedule,
precision, checkpoints, seeds and files stay outside, so that two methods differ only in what
their file says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from bench import ranges
from bench.data.reader import Volume
from bench.dataset import Recipe as Recipe  # methods know bench.method, not bench.dataset
from bench.errors import BenchError, unknown
from bench.nets import Network
from bench.nets.base import NoDecoder
from bench.registry import callable_module
from bench.source import Source

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Figure:
    """The number by which a run shows that it learns its task, beside what guessing gets."""

    term: str  # of ``loss``
    says: str  # what it is, in words
    chance: str = ""  # the term that says what guessing gets; none where there is no such number
    rises: bool = True  # is more better?


class Method(nn.Module, ABC):
    """A pretraining objective around a network's encoder. File name under ``methods/`` = its id."""

    version: ClassVar[int] = 1  # raised by hand when the method's numbers change on purpose
    source: ClassVar[Source]
    title: ClassVar[str]
    paper: ClassVar[str] = ""  # pgl | hssl | voco | taleb | glmae, where the method is that paper's own
    dims: ClassVar[int] = 3
    any_dims: ClassVar[bool] = False  # does it train networks of the other dimensions as well?
    needs: ClassVar[str] = "features"  # a pyramid; tokens: reads patch subsets; decoder: trains one, too
    figure: ClassVar[Figure]  # of a method that pretrains
    fidelity: ClassVar[str]  # official code compared | paper only | assumed parts
    pretrains: ClassVar[bool] = True  # False only for training from scratch
    min_batch: ClassVar[int] = 1  # smallest batch for which the loss is defined
    across_batch: ClassVar[bool] = True  # does the loss compare samples, or take statistics over them?

    @dataclass(frozen=True)
    class Params:
        """Every printed constant and ablation, the paper's values as defaults."""

    params: Any
    decoder: nn.Module  # the network's, where ``needs`` says so

    def __init__(self, network: Network, params: Any) -> None:
        super().__init__()
        self.encoder = network.encoder
        if self.needs == "decoder":
            self.decoder = network.decoder
        self.params = params

    @classmethod
    def build(cls, network: Network, params: dict[str, Any] | Any = None, seed: int = 0) -> Method:
        """Return the method around ``network``, heads initialised from ``seed`` alone.

        Args:
            network: from ``bench.network``; its encoder is trained in place.
            params: a ``Params``, or a mapping of what differs from the defaults.
            seed: of the heads' initial weights; the network keeps its own.

        Raises:
            BenchError: unknown or mistyped parameter, or a network this method cannot use.
        """
        if cls.needs == "tokens" and not network.encoder.is_tokens:
            raise BenchError(
                f"method {cls.name()!r} masks patches and needs a ViT encoder; "
                f"network {network.name!r} is convolutional, take 'unetr'"
            )
        if cls.needs == "decoder" and isinstance(network.decoder, NoDecoder):
            raise BenchError(
                f"method {cls.name()!r} trains a decoder, and network {network.name!r} has none; take one of "
                f"{', '.join(cls.networks())}"
            )
        if not isinstance(params, cls.Params):
            params = cls.make_params(params or {})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(network, params)

    @classmethod
    def name(cls) -> str:
        """Return the id: the file's name."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def make_params(cls, given: dict[str, Any]) -> Any:
        """Return ``Params`` with ``given`` over the defaults, types checked.

        Raises:
            BenchError: an unknown key (names the nearest one) or a value of another type.
        """
        known = {f.name: getattr(cls.Params(), f.name) for f in fields(cls.Params)}
        hints = get_type_hints(cls.Params)
        for key, value in given.items():
            if key not in known:
                raise BenchError(unknown(f"parameter of method {cls.name()!r}", key, known))
            if not (_fits(value, known[key]) and _hinted(value, known[key], hints[key])):
                wanted = f"look like {known[key]!r}" if known[key] is not None else f"be {_words(hints[key])}"
                raise BenchError(f"method {cls.name()!r}: {key} should {wanted}, got {value!r}")
            choices = _choices(hints[key])
            if choices and value is not None and value not in choices:
                raise BenchError(
                    f"method {cls.name()!r}: {unknown(f'value of {key!r}', str(value), choices)}"
                )
        made = replace(cls.Params(), **{k: _like(v, known[k]) for k, v in given.items()})
        if wrong := ranges.problems(made):
            raise BenchError(f"method {cls.name()!r}: {'; '.join(wrong)}")
        return made

    @classmethod
    def networks(cls) -> list[str]:
        """Return the names of the networks whose encoder this method can train."""
        from bench.nets import catalog

        every = catalog.CATALOG.values()
        fits = (e for e in every if cls.any_dims or e.dims == cls.dims)
        has = {
            "features": lambda e: True,
            "tokens": lambda e: e.tokens,
            "decoder": lambda e: "segmentation" in e.tasks,
        }
        return [e.name for e in fits if has[cls.needs](e)]

    @classmethod
    def out_channels(cls, params: Any, in_channels: int, classes: int) -> int:
        """Return the channels that the network's decoder gives while it is pretrained.

        Args:
            params: this method's ``Params``.
            in_channels: image channels.
            classes: of all labels that are read, background included; 1 where none are.
        """
        return 2  # no method that trains an encoder alone looks at them

    @classmethod
    def reads_labels(cls, params: Any) -> bool:
        """Tell whether ``read`` asks volumes for their label maps: then only labelled cases are read."""
        return False

    @classmethod
    def head_flops(cls, params: Any, crop: tuple[int, int, int]) -> float:
        """Return forward operations per sample of large heads, for the cost forecast."""
        return 0.0

    @classmethod
    def check(cls, params: Any, crop: tuple[int, int, int], recipe: Recipe) -> None:
        """Refuse settings that cannot work together; the plan asks before anything runs.

        Args:
            params: this method's ``Params``.
            crop: size of a view in voxels.
            recipe: how the volumes are prepared; with ``resize`` their size is known.

        Raises:
            BenchError: says what does not fit.
        """

    @classmethod
    def check_data(cls, params: Any, data: Sequence[Mapping[str, Any]]) -> None:
        """Refuse a mixture that lacks what the loss reads, such as class labels of its data sets.

        Args:
            params: this method's ``Params``.
            data: one entry per data set: ``dataset``, and where the mixture states them ``task``, ``group``.

        Raises:
            BenchError: says what is missing.
        """

    @classmethod
    def check_batch(
        cls, params: Any, network: str, crop: tuple[int, int, int], rows: int, processes: int
    ) -> None:
        """Refuse a batch that the loss cannot divide as it has to.

        Args:
            params: this method's ``Params``.
            network: the name of what is trained.
            crop: size of a view in voxels.
            rows: samples of a step, of all processes.
            processes: how many share them.

        Raises:
            BenchError: says what to take.
        """

    @classmethod
    def crops_per_sample(cls, params: Any) -> int:
        """Return how many crops the network sees per sample and step, for the cost forecast."""
        return 1

    @classmethod
    def read(
        cls, volume: Volume, crop: tuple[int, int, int], params: Any, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Cut what one training sample needs out of one volume, in a loader worker.

        Args:
            volume: lazily read (C, X, Y, Z); ``volume.crop(start, size)`` gives float32.
            crop: size of a view in voxels.
            params: this method's ``Params``.
            rng: the only source of randomness.

        Returns:
            Arrays whose shapes do not vary between volumes, so that a batch stacks.
        """
        return {"crop": volume.random_crop(crop, rng)}

    def views(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Augment, mask or pair a batch on the device; ``generator`` is the only randomness."""
        return batch

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar terms of what ``views`` made; the harness minimises ``total``.

        The harness puts ``origin`` (B,) beside what ``views`` made: whole numbers, alike where data set and
        modality are. It is for the chance beside a figure (``bench.pretext.nuisance``), not to learn from.
        """

    def after_step(self, progress: float) -> None:
        """Update slow state such as a momentum teacher, after each step; ``progress`` is k / K, k from 0."""

    def transfer(self) -> dict[str, Tensor]:
        """Return what fine-tuning receives: tensors under the network's own key names.

        The encoder, and the decoder where it was trained, too; its output layer is left out at the load.
        """
        parts = ("encoder", "decoder") if self.needs == "decoder" else ("encoder",)
        return self.handed(*parts)

    def handed(self, *parts: str) -> dict[str, Tensor]:
        """Return the tensors of ``encoder``, or of it and ``decoder``, under the network's key names."""
        return {f"{p}.{k}": v for p in parts for k, v in getattr(self, p).state_dict().items()}


def _choices(hint: Any) -> tuple[str, ...]:
    """Return what a ``Literal`` (or ``Literal | None``) allows; empty for other types."""
    found = [h for h in (hint, *get_args(hint)) if get_origin(h) is Literal]
    return get_args(found[0]) if found else ()


def _fits(value: Any, default: Any) -> bool:
    if default is None or value is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, tuple):
        pairs = isinstance(value, (list, tuple)) and len(value) == len(default)
        return pairs and all(_fits(v, d) for v, d in zip(value, default, strict=True))
    return isinstance(value, type(default))


def _hinted(value: Any, default: Any, hint: Any) -> bool:
    """Tell whether a value is what a parameter's annotation says where its default, None, shows nothing."""
    if default is not None or value is None:
        return True
    kinds = [h for h in get_args(hint) if h is not type(None) and get_origin(h) is not Literal]
    samples = [tuple(k() for k in get_args(h)) if get_origin(h) is tuple else h() for h in kinds]
    return not samples or any(_fits(value, sample) for sample in samples)


def _words(hint: Any) -> str:
    """Return what a parameter without a default may be, in words."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    parts = [h for h in get_args(hint) if h is not type(None)]
    return " or ".join([*(names.get(h, f"{len(get_args(h))} numbers") for h in parts), "null"])


def _like(value: Any, default: Any) -> Any:
    if isinstance(default, float) and value is not None:
        return float(value)
    return tuple(value) if isinstance(value, list) else value


callable_module(__name__, "method")  # bench.method("voco") is the class in methods/voco.py
