"""What a pretraining method must define, in two halves. Everything else belongs to the harness.

``MethodParams`` is the half that knows data: the paper's constants, what to cut out of a volume, how views
are made, what is refused, what it costs. ``Method`` is the half that learns: heads, loss, what follows
slowly, what is handed on. Optimiser, schedule, precision, checkpoints, seeds and files stay outside, so that
two methods differ only in what their files say.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench import blame, typed
from bench.data.parts import Entry as Entry
from bench.data.reader import Volume
from bench.dataset import Recipe as Recipe  # methods know bench.method, not bench.dataset
from bench.errors import BenchError
from bench.nets import Network, catalog
from bench.nets.base import NoDecoder
from bench.ranges import Triple as Triple
from bench.registry import callable_module
from bench.source import Source

if TYPE_CHECKING:
    from bench.nets.sizes import Entry as NetworkEntry
    from bench.nets.sizes import Preset

Batch = dict[str, Tensor]
Arrays = dict[str, np.ndarray]
TORCHS_OWN = frozenset(vars(nn.Module()))  # attributes that torch gives every module


class Owned(dict[str, Tensor]):
    """A batch that its caller lets go of: views may be made in its memory instead of a copy of it."""


@dataclass(frozen=True)
class Figure:
    """The number by which a run shows that it learns its task, beside what guessing gets."""

    term: str  # of ``loss``
    says: str  # what it is, in words
    chance: str = ""  # the term that says what guessing gets; none where there is no such number
    rises: bool = True  # is more better?
    # the parameter that is 0 where the loss leaves this task out; none where none does
    weight: str = ""


@dataclass(frozen=True)
class EncoderMaps:
    """What an encoder gives: the channels of its maps, and by what each is coarser than the image.

    A network from outside that does not state its ``widths`` has 0 of each.
    """

    widths: tuple[int, ...]
    strides: tuple[Triple, ...]

    @property
    def width(self) -> int:
        """Channels of the last map."""
        return self.widths[-1]

    @property
    def stride(self) -> Triple:
        """By what the last map is coarser."""
        return self.strides[-1]


class Named:
    """A part of a method, known by its file's name."""

    def refusal(self, why: str) -> BenchError:
        """Return the error that refuses these settings, with the method's name in front."""
        return BenchError(f"method {type(self).__module__.rpartition('.')[2]!r}: {why}")


@dataclass(frozen=True)
class MethodParams(Named):
    """The half of a method that knows data; its fields are every printed constant and every ablation.

    A method's own ``Params`` inherits this, or a family of views from ``bench.pretext``, with the paper's
    values as defaults and each one's source on its line. Types of ``bench.ranges`` bound numbers; a
    ``__post_init__`` refuses what does not fit together.
    """

    transfer = "all"  # a field of that name may say "encoder": a trained decoder is then left out

    @property
    def crops_per_sample(self) -> float:
        """Crops that the encoder sees per sample and step, for the cost forecast; a constant does as well.

        One that is seen without a way back, as by a slow copy, counts a third.
        """
        return 1

    @property
    def decoded_per_sample(self) -> float:
        """Crops that the decoder, where it is trained, gives maps of; by default all that the encoder sees."""
        return self.crops_per_sample

    def voxels_per_sample(self, crop: Triple) -> float:
        """Return the voxels that the encoder sees per sample and step; of views smaller than crops, theirs.

        Args:
            crop: size of a view in voxels.
        """
        return self.crops_per_sample * prod(crop)

    @property
    def across_batch(self) -> bool:
        """Do these settings compare samples, where the method's loss does not by itself?"""
        return False

    @property
    def reads_labels(self) -> bool:
        """Does ``read`` ask volumes for their label maps? Then only labelled cases are read."""
        return False

    def out_channels(self, in_channels: int, classes: int) -> int:
        """Return the channels that the network's decoder gives while it is pretrained.

        Args:
            in_channels: of the image.
            classes: of all labels that are read, background included; 1 where none are.
        """
        return 2  # no method that trains an encoder alone looks at them

    def head_flops(self, crop: Triple, maps: EncoderMaps) -> float:
        """Return forward operations per sample of large heads, for the cost forecast.

        Args:
            crop: size of a view in voxels.
            maps: what the encoder gives; most heads read its last one.
        """
        return 0.0

    def check(self, crop: Triple, recipe: Recipe) -> None:
        """Refuse settings that cannot work together; the plan asks before anything runs.

        Args:
            crop: size of a view in voxels.
            recipe: how the volumes are prepared; with ``resize`` their size is known.

        Raises:
            BenchError: says what does not fit.
        """

    def check_volume(self, crop: Triple, shape: Triple) -> None:
        """Refuse volumes that ``read`` cannot read; the plan asks where headers state their size.

        Args:
            crop: size of a view in voxels.
            shape: of a prepared volume, in voxels.

        Raises:
            BenchError: says what does not fit.
        """

    def check_data(self, data: Sequence[Entry]) -> None:
        """Refuse a mixture that lacks what the loss reads, such as class labels of its data sets.

        Args:
            data: its entries: ``dataset``, and ``task`` and ``group`` where the mixture states them.

        Raises:
            BenchError: says what is missing.
        """

    def check_batch(self, network: str, crop: Triple, rows: int, processes: int) -> None:
        """Refuse a batch that the loss cannot divide as it has to.

        Args:
            network: what is trained, as ``NETWORK/PRESET``; ``bench.nets.catalog`` takes it so.
            crop: size of a view in voxels.
            rows: samples of a step, of all processes.
            processes: how many share them.

        Raises:
            BenchError: says what to take.
        """

    def read(self, volume: Volume, crop: Triple, rng: np.random.Generator) -> Arrays:
        """Cut what one training sample needs out of one volume, in a loader worker.

        Args:
            volume: lazily read (C, X, Y, Z); ``volume.crop(start, size)`` gives float32.
            crop: size of a view in voxels.
            rng: the only source of randomness.

        Returns:
            Arrays whose shapes do not vary between volumes, so that a batch stacks.
        """
        return {"crop": volume.random_crop(crop, rng)}

    def views(self, batch: Batch, crop: Triple, generator: torch.Generator) -> Batch:
        """Augment, mask or pair a batch on the device.

        Args:
            batch: what ``read`` gave, stacked, and what the harness puts beside it (docs/add_a_method.md). It
                stays as it is, unless it is ``Owned``.
            crop: size of a view in voxels.
            generator: the only source of randomness.
        """
        return batch


class Restores(MethodParams):
    """Of a method whose decoder restores the image."""

    def out_channels(self, in_channels: int, classes: int) -> int:
        """As many as the image's."""
        return in_channels


class Method(nn.Module, Named, ABC):
    """The half of a method that learns, around a network's encoder. File name under ``methods/`` = its id."""

    version: ClassVar[int] = 1  # raised by hand when the method's numbers change on purpose
    source: ClassVar[Source]
    title: ClassVar[str]
    paper: ClassVar[str] = ""  # pgl | hssl | voco | taleb | glmae, where it is that paper's own
    dims: ClassVar[Literal[2, 3]] = 3
    any_dims: ClassVar[bool] = False  # does it train networks of the other dimensions as well?
    # a pyramid; tokens: reads subsets of patches; patches: replaces some of them; decoder: trains one, too
    needs: ClassVar[Literal["features", "tokens", "patches", "decoder"]] = "features"
    figure: ClassVar[Figure]  # of a method that pretrains
    terms: ClassVar[dict[str, str]] = {}  # of ``loss``, in words, where a name is not enough
    fidelity: ClassVar[str]  # official code compared | paper only | assumed parts
    pretrains: ClassVar[bool] = True  # False only for training from scratch
    min_batch: ClassVar[int] = 1  # smallest batch for which the loss is defined
    # of a positive control: parameters with which it hands over the encoder alone, and the decoder as well
    ceiling: ClassVar[dict[str, dict[str, Any]]] = {}
    # does the loss compare samples, or take statistics of them?
    across_batch: ClassVar[bool] = True

    Params: ClassVar[type[MethodParams]] = MethodParams  # the other half

    params: Any  # ``Params``; each method narrows it to its own
    decoder: nn.Module  # the network's, where ``needs`` says so

    def __init__(self, network: Network, params: Any) -> None:
        super().__init__()
        self.encoder = network.encoder
        if self.needs == "decoder":
            self.decoder = network.decoder
        self.params, self.crop = params, network.crop

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
        why = ""
        if cls.needs in ("tokens", "patches") and network.name not in cls.networks():
            verb = "leave patches out" if cls.needs == "tokens" else "replace patches"
            why = f"masks patches, and network {network.name!r} cannot {verb}"
        if cls.needs == "decoder" and isinstance(network.decoder, NoDecoder):
            why = f"trains a decoder, and network {network.name!r} has none"
        if why:
            raise BenchError(f"method {cls.name()!r} {why}; use one of {', '.join(cls.networks())}")
        if not isinstance(params, cls.Params):
            params = cls.make_params(params or {})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            method = cls(network, params)
        check_registered(method)
        return method

    @classmethod
    def name(cls) -> str:
        """Return the id: the file's name."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def make_params(cls, given: dict[str, Any]) -> Any:
        """Return ``Params`` with ``given`` over the defaults, types checked.

        Raises:
            BenchError: an unknown key (names the nearest one), a value of another type or out of bounds;
                or a default that is no plain value.
        """
        check_defaults(cls.Params)
        blame.check_signatures(cls.Params, MethodParams)  # type: ignore[arg-type]
        prefix = f"method {cls.name()!r}: "
        return typed.build(cls.Params, given, lambda keys: (prefix + ".".join(keys)).rstrip(": "))

    @classmethod
    def networks(cls) -> list[str]:
        """Return the names of the networks whose encoder this method can train."""
        fits = [e for e in catalog.entries().values() if cls.any_dims or e.dims == cls.dims]
        if cls.needs == "decoder":
            return [e.name for e in fits if "segmentation" in e.tasks]
        return [e.name for e in fits if cls.needs == "features" or getattr(e, cls.needs)]

    def views(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Make a batch's views on the device, as its ``Params`` say; ``generator`` is the only randomness."""
        views = self.params.views(batch, self.crop, generator)
        return dict(blame.named(views, type(self.params).views, "tensors"))

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

        The encoder, and the decoder where it was trained, unless ``params.transfer`` says "encoder"; its
        output layer is left out at the load.
        """
        decoder = self.needs == "decoder" and self.params.transfer == "all"
        return self.handed("encoder", *["decoder"] * decoder)

    def handed(self, *parts: str, of: nn.Module | None = None) -> dict[str, Tensor]:
        """Return the tensors of ``encoder``, or of it and ``decoder``, under the network's key names.

        Args:
            parts: ``encoder``, ``decoder``.
            of: whose; the method's own by default, else such as a slow copy's.
        """
        side = self if of is None else of
        return {f"{p}.{k}": v for p in parts for k, v in getattr(side, p).state_dict().items()}


def check_defaults(params: type[MethodParams]) -> None:
    """Refuse a default that a job's id cannot hold: only numbers, texts and lists of them tell it apart.

    Raises:
        BenchError: a default is something else, such as a function; names its file and line.
    """
    for field in fields(params):
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        other = None if default is MISSING else typed.not_plain(default)
        if other is not None:
            raise BenchError(
                f"{blame.field_line(params, field.name)}: the default of parameter {field.name!r} is {other}; use "
                "a number, a text, true or false, or a tuple of these, and make the object from this value in "
                "the code"
            )


def check_registered(method: Method) -> None:
    """Refuse layers and parameters in a plain list or dict: torch neither trains nor saves them.

    Raises:
        BenchError: names the method's file and the attribute.
    """
    registered = {id(part) for part in (*method.modules(), *method.parameters())}
    for module in method.modules():
        for name, value in vars(module).items():
            if name in TORCHS_OWN or not isinstance(value, list | tuple | dict):
                continue
            parts = value.values() if isinstance(value, dict) else value
            if any(
                isinstance(p, nn.Module | nn.Parameter) and id(p) not in registered for p in parts
            ):
                kind = type(value).__name__
                use = (
                    "nn.ModuleDict or nn.ParameterDict"
                    if kind == "dict"
                    else "nn.ModuleList or nn.ParameterList"
                )
                raise BenchError(
                    f"{inspect.getfile(type(module))}: {name!r} is a {kind} of layers, which torch neither trains nor "
                    f"saves; use {use}"
                )


def forward_flops(
    method: type[Method], params: MethodParams, network: NetworkEntry, size: Preset, crop: Triple
) -> float:
    """Return the operations of a sample's way forward through the network and the method's own heads.

    A way forward without one back counts a third, so that three times this is a step's.
    """
    maps = EncoderMaps(size.widths or (0,) * len(network.pyramid), network.pyramid)
    encoder = params.voxels_per_sample(crop) * size.encoder_flops_per_voxel
    decoder = 0.0
    if method.needs == "decoder":  # few train one
        of_decoder = size.flops_per_voxel - size.encoder_flops_per_voxel
        decoder = params.decoded_per_sample * prod(crop) * of_decoder
    return float(encoder + decoder + params.head_flops(crop, maps))


def terms(method: Method, batch: Batch) -> dict[str, Tensor]:
    """Return the terms of a method's loss, if they are what the harness can train by.

    Raises:
        BenchError: they are not; names the file and the line of ``loss``.
    """
    content = "scalar tensors, 'total' among them,"
    losses = dict(blame.named(method.loss(batch), type(method).loss, content))
    wrong = next(filter(None, (_wrong(name, value) for name, value in losses.items())), "")
    if "total" not in losses:
        names = ", ".join(map(str, losses)) or "no term"
        wrong = f"returns {names} but no 'total', the value to minimise"
    elif not wrong and not losses["total"].requires_grad:
        wrong = "returns a 'total' without gradient, so nothing can be learned from it"
    wrong = wrong or _without_figure(method.figure, losses)
    if wrong:
        raise BenchError(f"{blame.defined(type(method).loss)}: loss {wrong}")
    return losses


def _without_figure(figure: Figure, losses: dict[str, Tensor]) -> str:
    """Return what is wrong where a term that a figure names is none of a loss's; else nothing."""
    lacking = [name for name in (figure.term, figure.chance) if name and name not in losses]
    if not lacking:
        return ""
    return (
        f"returns {', '.join(losses)} but no {lacking[0]!r}, which figure names; return this term, or name "
        "another one in figure"
    )


def _wrong(name: str, value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"returns a {type(value).__name__} as {name!r}; make it a scalar tensor"
    if value.numel() != 1:
        shape = tuple(value.shape)
        return f"returns {name!r} of shape {shape}; reduce it to a scalar, for example its mean"
    if name in ("step", "lr"):
        return f"returns a term {name!r}; use another name, the curve has a column of this name"
    return ""


callable_module(__name__, "method")  # bench.method("voco") is the class in methods/voco.py
