"""Weights that others trained: read without running their code, recognised by their keys, renamed to ours."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.errors import BenchError, shown
from bench.nets import foreign_plans
from bench.nets.base import Model, triple
from bench.nets.catalog import network_facts
from bench.nets.foreign_layouts import ALSO, COLOURS, EMBEDDING, LAYOUTS, Layout, Tensors
from bench.nets.manifest import KEY, Manifest, finite, read
from bench.ranges import Triple

# Anywhere in a name, around the model or a part of it: distributed training, compilation, sharding,
# activations that are computed again.
ENCLOSING = (
    "module",
    "_orig_mod",
    "_forward_module",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
)
# In front of it, one inside another: a part of the objective; where a file has a student and its slow mean,
# the student, as the authors' newer loaders take it.
PARTS = (
    "student.",
    "backbone.",
    "model.",
    "network.",
    "net.",
    "base_encoder.",
    "encoder.",
    "teacher.",
)
WRAPPERS = (
    "state_dict",
    "network_weights",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "weights",
    "student",
    "teacher",
)
# Around or in front of a moving average of the weights, which is loaded where a file has no others.
AVERAGE = re.compile(r"(\w+_)?ema(_\w+)?|shadow", re.IGNORECASE)
DEPTH = 4  # wrappers inside wrappers, parts inside parts
MOST, LONGEST = 20, 60  # names of what was left out, and letters of one, that a manifest keeps
RGB = 3
PATCH = 16  # voxels a side of UNETR's patches
BENCH = "bench's own names"  # a layout: of the network that the weights are for
ENCODER = "encoder."
OPEN = "left_open"  # in a manifest's params: what a file's tensors do not tell
NNUNET = "network_weights"  # holds the tensors of nnU-Net's files and nnssl's, where a decoder's names are ours
OURS = "bench_manifest"  # beside the tensors, where ``exported`` wrote the file


class Inert:
    """Stands where a file names a class: takes its arguments and its state, does nothing with them."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def __setstate__(self, state: Any) -> None: ...


def _no_dict(*_: Any) -> dict[Any, Any]:
    return {}


# What training scripts leave beside the weights (arguments, best scores, whole optimisers, plans). The
# names are read as ``Inert``: none of this code runs, so nothing has to be believed of it. Any other
# name is refused, as torch refuses it.
NAMES = {
    "argparse": ["Namespace"],
    "builtins": ["dict", "list"],
    "pathlib": ["PosixPath", "WindowsPath"],
    "numpy": ["ndarray", "dtype"],
    "numpy.core.multiarray": ["scalar", "_reconstruct"],
    "numpy._core.multiarray": ["scalar", "_reconstruct"],
    "torch.optim": ["adamw.AdamW", "adam.Adam", "sgd.SGD"],
    "nnssl.experiment_planning.experiment_planners.plan": ["Plan", "ConfigurationPlan"],
}
STANDINS: list[Any] = [(Inert, f"{module}.{name}") for module in NAMES for name in NAMES[module]]
STANDINS += [(_no_dict, "collections.defaultdict")]


def read_weights(
    path: Path | str,
    preset: str = "",
    output: bool = False,
    receiver: Callable[[], Model] | None = None,
) -> tuple[Tensors, Manifest]:
    """Return tensors under our keys (``encoder.*``, ``decoder.*``; on the CPU) and what they are for.

    Args:
        path: a file of ours, of one of ``LAYOUTS``, or with the receiver's names: ``.safetensors``, or what
            ``torch.save`` wrote.
        preset: for a foreign file whose keys leave it open (patch merging of Swin UNETR); by default
            the one that public files have. The tensors must fit it.
        output: keep the output layer of a foreign file, whose classes are the source's.
        receiver: builds the network that is to start from them; it is asked for where the names fit no layout.

    Returns:
        Tensors and manifest. Of a foreign file the manifest's ``params`` tell the layout and how many
        tensors were left out, by the first part of their names, and ``COLOURS`` where the channels are
        those of pictures; ``recipe`` and ``labels`` have what nnU-Net's plan beside the tensors tells.

    Raises:
        BenchError: one line that names the file: not readable, with code inside, damaged, of no known
            layout, of a size that no preset has, or with values that are not finite.
    """
    path = Path(path)
    content = _content(path)
    if content is None:
        tensors, manifest = read(path)
        if preset not in ("", manifest.preset):
            raise BenchError(
                f"{path}: was made with preset {manifest.preset!r}, but 'preset' is {preset!r}; leave 'preset' out"
            )
        return tensors, manifest
    tensors, average = _unwrapped(content)
    if not tensors:
        keys = ", ".join(map(shown, list(content)[:4])) or "none"
        raise BenchError(
            f"{path}: holds no weights under a known key (its keys: {keys}); save the state_dict alone"
        )
    bare = _bare(path, tensors)
    recognised = _recognise(bare, content)
    is_ours = receiver is not None and NNUNET not in content and _is_whole(bare, receiver)
    if recognised is None or is_ours:
        return _under_own_names(path, bare, receiver and receiver(), preset, average)
    layout, view, left_out = recognised
    named = _renamed(path, layout, view)
    unwanted = layout.drop if output else f"{layout.drop}|{layout.output}"
    ours = {name: value for name, value in named.items() if not re.fullmatch(unwanted, name)}
    left_out.update(name.partition(".")[0] for name in named.keys() - ours.keys())
    if layout.reads not in ours or ours[layout.reads].ndim < 2:
        raise BenchError(
            f"{path}: {layout.name}: no usable {layout.reads!r}; it is damaged: fetch it again"
        )
    _check(path, ours)
    foreign_plans.check_strides(path, layout, content)
    axes = foreign_plans.axes(content) if layout.zyx else (0, 1, 2)
    crop = _crop(content, layout, ours, axes)
    ours = {name: _turned(name, value, axes) for name, value in ours.items()}
    if layout.zyx and crop is not None and layout.positions in ours:
        ours[layout.positions] = _moved(path, layout, ours[layout.positions], crop, axes)
    channels = ours[layout.reads].shape[1] // (PATCH**3 if layout.reads == EMBEDDING else 1)
    chosen = _preset(path, layout, ours, preset)
    left_open = "" if preset else _left_open(layout, ours, chosen)
    params = _noted(layout.name, left_out, average, left_open)
    if layout.also:
        params[ALSO] = [*layout.also]
    if layout.colours and channels == RGB:
        params[COLOURS] = RGB
    head = named.get(layout.head)
    classes = len(head) if head is not None and head.ndim else 0
    manifest = Manifest(
        layout.network,
        chosen,
        channels,
        out_channels=classes,
        crop=crop or network_facts(layout.network).presets[chosen].crop,
        recipe=foreign_plans.recipe(content, axes),
        params=params,
        labels=foreign_plans.labels(content, classes),
    )
    return ours, _exported_manifest(content, manifest)


# The file


def _content(path: Path) -> dict[str, Any] | None:
    """Return what a foreign file holds; None where it has a manifest of ours."""
    if not path.is_file():
        raise BenchError(f"{path}: no such file; name a file of weights")
    if path.suffix != ".safetensors":
        return _pickled(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            if KEY in (file.metadata() or {}):
                return None
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError):
        return None  # ``read`` says what is wrong


def _pickled(path: Path) -> dict[str, Any]:
    unread = f"{path}: cannot be read as weights; it is damaged or not a checkpoint: fetch it again"
    try:
        _check_zip(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(STANDINS):
            warnings.simplefilter("ignore")  # of old formats, forged ones among them
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a stranger's bytes make the reader raise
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise BenchError(
                f"{path}: refers to {shown(code[1])}, which may run code, so it is not read; if you trust "
                "it, load it and save only its state_dict"
            ) from None
        raise BenchError(unread) from None
    if not isinstance(content, dict):
        raise BenchError(
            f"{path}: holds a {type(content).__name__} without named tensors; save a state_dict"
        )
    return content


def _check_zip(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is: torch stores its tensors as they are."""
    if not is_zipfile(path):
        return
    with ZipFile(path) as file:
        members = file.infolist()
    packed = any(member.compress_type != ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > path.stat().st_size:
        raise BadZipFile


def _check(path: Path, tensors: Tensors) -> None:
    size = path.stat().st_size
    for name, value in tensors.items():
        usable = (
            value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        )
        # a few bytes can claim, by strides of 0, to be a tensor that fills the memory
        if not usable or value.numel() * value.element_size() > size:
            raise BenchError(
                f"{path}: tensor {shown(name)} is damaged, or bench does not read its type; fetch it again"
            )
        if not finite(value):
            raise BenchError(
                f"{path}: tensor {shown(name)} holds values that are not finite; do not train from it"
            )


# The layout


def _recognise(
    tensors: Tensors, content: dict[str, Any]
) -> tuple[Layout, Tensors, Counter[str]] | None:
    """Return the layout, the tensors without their prefix, and how many others lie beside them."""
    for prefix in _prefixes(tensors):
        view = _view(tensors, prefix)
        for layout in LAYOUTS:
            fits = not layout.requires or layout.requires in content
            marks = filter(None, (layout.mark, layout.head_mark))
            if fits and all(any(re.fullmatch(mark, name) for name in view) for mark in marks):
                return layout, view, _others(tensors, prefix)
    return None


def _view(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors whose names have a prefix, without it."""
    return {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}


def _others(tensors: Tensors, prefix: str) -> Counter[str]:
    """Return how many tensors have other names, by the first part of these."""
    return Counter(name.partition(".")[0] for name in tensors if not name.startswith(prefix))


def _noted(
    layout: str, left_out: Counter[str], average: str, left_open: str = ""
) -> dict[str, object]:
    """Return what a manifest's ``params`` say of every foreign file; ``average``: the key of its tensors."""
    most = {name[:LONGEST]: n for name, n in left_out.most_common(MOST)}
    notes = [f"only the moving average {shown(average)} of the weights is in it, and is loaded"]
    open_fields = "; ".join((*notes * bool(average), *[left_open] * bool(left_open)))
    return {"layout": layout, "left_out": most, **({OPEN: open_fields} if open_fields else {})}


def _under_own_names(
    path: Path, tensors: Tensors, network: Model | None, preset: str, average: str
) -> tuple[Tensors, Manifest]:
    """Return tensors that have the names of the network they are for, or of its encoder, and its manifest.

    Raises:
        BenchError: no name is one of its encoder's; says how they have to be.
    """
    ours, left_out = ({}, Counter[str]()) if network is None else _named_as(network, tensors)
    if network is None or not ours:
        raise BenchError(_unknown_names(path, tensors, network))
    _check(path, ours)
    manifest = Manifest(
        network.name,
        preset or network.preset,
        _channels(network, ours),
        out_channels=_classes(network, ours),
        crop=network.crop,
        params=_noted(BENCH, left_out, average),
    )
    return ours, manifest


def _is_whole(tensors: Tensors, receiver: Callable[[], Model]) -> bool:
    """Tell whether these are all of a network of ours: its encoder and what follows, by names and shapes.

    An encoder's names and shapes can be its authors', whose kernels may have other axes; a decoder's are not.
    """
    outside = [name for name in tensors if not name.startswith(ENCODER)]
    if not outside or len(outside) == len(tensors):
        return False
    network = receiver()
    state = network.state_dict()
    return tensors.keys() == state.keys() and all(
        value.shape == state[name].shape or name.startswith(network.output)
        for name, value in tensors.items()
    )


def _named_as(network: Model, tensors: Tensors) -> tuple[Tensors, Counter[str]]:
    """Return tensors under a network's names and what was left out; none where no encoder's name is met."""
    expected = {name for name in network.state_dict() if name.startswith(ENCODER)}
    most, fitting, left_out = 0, Tensors(), Counter[str]()
    for prefix in _prefixes(tensors):
        for front in ("", ENCODER):  # an encoder alone may lack it
            named = {front + name: value for name, value in _view(tensors, prefix).items()}
            if (met := len(expected & named.keys())) > most:
                most, fitting, left_out = met, named, _others(tensors, prefix)
    return fitting, left_out


def _unknown_names(path: Path, tensors: Tensors, network: Model | None) -> str:
    first = ", ".join(shown(name) for name in list(tensors)[:4])
    layouts = "; ".join(layout.name for layout in LAYOUTS)
    ways = "write the file with bench.nets.manifest.save"
    if network is not None:
        name = next(iter(network.state_dict()))
        ways = (
            f"give them the names that network {network.name!r} ({network.preset}) has here, as {name!r}, of an "
            f"encoder alone also without {ENCODER!r}, or {ways}"
        )
    return (
        f"{path}: the names of its tensors fit no known layout ({first}); {ways}; known: {layouts}"
    )


def _channels(network: Model, ours: Tensors) -> int:
    """Return how many channels an encoder reads; the network's where no tensor tells."""
    encoder = network.encoder
    weight = ours.get(f"{ENCODER}{encoder.input_weight}")
    if weight is None or weight.ndim < 2:
        return network.in_channels
    return weight.shape[1] // (prod(encoder.patch) if weight.ndim == 2 else 1)


def _classes(network: Model, ours: Tensors) -> int:
    """Return how many classes the output layer among a network's tensors has; 0 where there is none."""
    lengths = [
        len(ours[name])
        for name, value in network.state_dict().items()
        if name.startswith(network.output) and name in ours and value.ndim and ours[name].ndim
        if len(value) == network.out_channels
    ]
    return lengths[-1] if lengths else 0


def _unwrapped(content: dict[Any, Any], depth: int = DEPTH) -> tuple[Tensors, str]:
    """Return a file's tensors, and the key of the moving average that they are where it has no others."""
    own = {
        k: v.detach() for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)
    }
    bare = {name.removeprefix("module."): value for name, value in own.items()}
    fronts = {name.partition(".")[0] for name, value in bare.items() if value.ndim > 1}
    keys = [key for key in WRAPPERS if key in content]
    if not fronts:
        keys += [key for key in content if isinstance(key, str) and AVERAGE.fullmatch(key)]
    for key in keys if depth else ():
        if isinstance(content[key], dict) and (inner := _unwrapped(content[key], depth - 1))[0]:
            return inner[0], inner[1] if key in WRAPPERS else key
    if len(fronts) == 1 and AVERAGE.fullmatch(front := fronts.pop()):
        return _view(bare, f"{front}."), front
    return own, ""


def _bare(path: Path, tensors: Tensors) -> Tensors:
    """Return tensors under their names without what lies around a model or a part of it."""
    bare_names: Tensors = {}
    for name, value in tensors.items():
        bare = ".".join(part for part in name.split(".") if part not in ENCLOSING)
        if bare in bare_names:
            raise BenchError(f"{path}: two tensors have the name {shown(bare)}; remove one of them")
        bare_names[bare] = value
    return bare_names


def _prefixes(tensors: Tensors, prefix: str = "", depth: int = DEPTH) -> Iterator[str]:
    """Yield what may stand in front of a model's names: nothing, a part of the objective, parts inside it."""
    yield prefix
    for part in PARTS if depth else ():
        if any(name.startswith(prefix + part) for name in tensors):
            yield from _prefixes(tensors, prefix + part, depth - 1)


def _renamed(path: Path, layout: Layout, view: Tensors) -> Tensors:
    named: Tensors = {}
    for name, value in view.items():
        ours = name
        for pattern, replacement in layout.rename:
            ours = re.sub(pattern, replacement, ours)
        if ours in named:
            raise BenchError(
                f"{path}: {layout.name}: two tensors are the parameter {shown(ours)}; remove one of them"
            )
        named[ours] = value
    for pattern, first in layout.twins:
        for name in filter(re.compile(pattern).search, list(named)):
            if (ours := re.sub(pattern, first, name)) in named:
                named[ours] = named[name]
    return named


def _sizes(
    layout: Layout, tensors: Tensors, ignored: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Return the size that tensors tell, without the ``ignored`` fields, and the presets of that size."""
    size = {key: value for key, value in layout.size(tensors).items() if key not in ignored}
    presets = network_facts(layout.network).presets.items()
    return size, [n for n, p in presets if all(getattr(p.size, k) == v for k, v in size.items())]


def _left_open(layout: Layout, tensors: Tensors, chosen: str) -> str:
    """Return what the tensors do not tell of a preset, in words, where others fit as well; else nothing."""
    _, fits = _sizes(layout, tensors, layout.untold)
    if len(fits) < 2:
        return ""
    size = layout.size(tensors)
    assumed = ", ".join(f"{key} {size[key]}" for key in layout.untold)
    return (
        f"its tensors fit presets {' and '.join(fits)}; {chosen} ({assumed}) is used{layout.why}; "
        "to choose, write init: {file: FILE, preset: " + chosen + "}"
    )


def _preset(path: Path, layout: Layout, tensors: Tensors, requested: str) -> str:
    size, fits = _sizes(layout, tensors, layout.untold if requested else ())
    if requested in fits or (fits and not requested):
        return requested or fits[0]
    shape = ", ".join(f"{key} {value}" for key, value in size.items())
    presets = ", ".join(network_facts(layout.network).presets)
    wanted = f"preset {requested!r}" if requested else f"any preset ({presets})"
    raise BenchError(
        f"{path}: {layout.name}: {shape} is not the size of {wanted} of network {layout.network!r}; "
        "weights of a network of bench: write the file with bench.nets.manifest.save"
    )


# What lies beside the tensors


def _turned(name: str, value: Tensor, axes: Triple) -> Tensor:
    if name == EMBEDDING and value.ndim == 5:  # a convolution: channels move behind the voxels
        return value.permute(0, 2, 3, 4, 1).flatten(1)
    if value.ndim == 4 and axes[0] > axes[1]:  # of a picture: (y, x)
        return value.transpose(2, 3)
    return value.permute(0, 1, *(2 + axis for axis in axes)) if value.ndim == 5 else value


def _crop(content: dict[str, Any], layout: Layout, tensors: Tensors, axes: Triple) -> Triple | None:
    sides = foreign_plans.three(
        foreign_plans.dig(foreign_plans.configuration(content), "patch_size"), axes
    )
    crop = triple(list(map(int, sides))) if sides else None
    positions = tensors.get(layout.positions)
    if positions is None or positions.ndim != 3:
        return crop
    count = positions.shape[1]
    if crop is not None and prod(side // layout.patch for side in crop) == count:
        return crop
    # their count tells the crop where it was a cube
    side = layout.patch * round(count ** (1 / 3))
    return side, side, side


def _moved(path: Path, layout: Layout, positions: Tensor, crop: Triple, axes: Triple) -> Tensor:
    """Return positions (1, N, dim) of patches in the order of (x, y, z), which were in that of a file's arrays."""
    grid = [0, 0, 0]
    for axis, side in zip(axes, crop, strict=True):
        grid[axis] = side // layout.patch
    if positions.ndim != 3 or prod(grid) != positions.shape[1]:
        raise BenchError(
            f"{path}: {layout.name}: positions of shape {tuple(positions.shape)} do not fit a cube of "
            "patches; the network was trained on another crop, which its plan does not state"
        )
    laid = positions.unflatten(1, grid).permute(0, *(1 + axis for axis in axes), 4)
    return laid.flatten(1, 3)


def _exported_manifest(content: Mapping[str, Any], manifest: Manifest) -> Manifest:
    """Return the manifest that ``exported`` left beside the tensors, where it is about the same network."""
    try:
        exported = Manifest.from_dict(json.loads(json.dumps(content[OURS])))
    except (KeyError, TypeError, ValueError, RecursionError, BenchError):
        return manifest
    facts = ("network", "preset", "crop", "in_channels")
    same = all(getattr(exported, name) == getattr(manifest, name) for name in facts)
    return exported if same else manifest
