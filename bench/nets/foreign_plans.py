"""What nnU-Net and nnssl leave beside the tensors of a file: their plans and labels, read as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.errors import BenchError, shown
from bench.nets.foreign_layouts import PLAN, Layout
from bench.ranges import Triple

TRAINED = ("init_args", "plans")  # where nnU-Net's trainer leaves its plans
DEPTH = 4  # configurations that are built on others


def dig(content: Any, *keys: str) -> Any:
    """Return what lies under keys within keys; None where nothing does."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def axes(content: dict[str, Any]) -> Triple:
    """Return which of a kernel's axes is x, which y, which z.

    nnU-Net and nnssl read images as (z, y, x) and may then put the axis of thick slices first.
    """
    order = dig(content, PLAN, "pretrain_plan", "transpose_forward")
    order = order or dig(content, *TRAINED, "transpose_forward") or [0, 1, 2]
    if not isinstance(order, list | tuple) or sorted(map(str, order)) != ["0", "1", "2"]:
        order = [0, 1, 2]
    ours = [2 - int(axis) for axis in order]
    return ours.index(0), ours.index(1), ours.index(2)


def configuration(content: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that the weights were trained with: nnssl's plan has one, nnU-Net names it."""
    configurations = dig(content, PLAN, "pretrain_plan", "configurations")
    if isinstance(configurations, dict):
        first = next(iter(configurations.values()), None)
        return first if isinstance(first, dict) else {}
    configurations = dig(content, *TRAINED, "configurations")
    name, entries = dig(content, "init_args", "configuration"), dict[str, Any]()
    for _ in range(DEPTH):  # one may be built on another
        stated = dig(configurations, name) if isinstance(name, str) else None
        if not isinstance(stated, dict):
            break
        entries, name = {**stated, **entries}, stated.get("inherits_from")
    return entries


def check_strides(path: Path, layout: Layout, content: dict[str, Any]) -> None:
    """Refuse weights of nnU-Net whose plan halves other axes than the network here: the shapes do not tell.

    Raises:
        BenchError: names the first such stage.
    """
    stated = configuration(content)
    strides = dig(stated, "architecture", "arch_kwargs", "strides")
    strides = strides or stated.get("pool_op_kernel_sizes")
    if not isinstance(strides, list | tuple) or "seg_layers" not in layout.head:
        return
    for stage, stride in enumerate(strides):
        sides = list(stride) if isinstance(stride, list | tuple) else [stride]
        if {*map(str, sides)} != {"1" if stage == 0 else "2"}:
            raise BenchError(
                f"{path}: {layout.name}: its plan divides the sides by {shown(sides)} at stage {stage} and "
                f"network {layout.network!r} by {1 if stage == 0 else 2}; these weights would "
                "not give the pretrained network"
            )


def recipe(content: dict[str, Any], axes: Triple) -> dict[str, Any]:
    """Return how the plan of nnU-Net or nnssl prepared images, by the entries of a recipe here."""
    stated = configuration(content)
    spacing = three(stated.get("spacing"), axes)
    entries: dict[str, Any] = {"spacing": spacing} if spacing else {}
    schemes = stated.get("normalization_schemes")
    scheme = schemes[0] if isinstance(schemes, list | tuple) and schemes else ""
    if scheme == "ZScoreNormalization":
        entries["scale"] = "zscore"
    measured = dig(content, *TRAINED, "foreground_intensity_properties_per_channel", "0")
    names = ("percentile_00_5", "percentile_99_5", "mean", "std")
    values = [dig(measured, name) for name in names]
    if scheme == "CTNormalization" and all(type(v) in (int, float) for v in values):
        entries |= {"scale": "fixed", "window": values[:2], "standard": values[2:]}
    return entries


def labels(content: dict[str, Any], classes: int) -> tuple[str, ...]:
    """Return the names of the output layer's classes in their order, where nnU-Net's file tells all of them."""
    stated = dig(content, "init_args", "dataset_json", "labels")
    if not isinstance(stated, dict) or not all(type(value) is int for value in stated.values()):
        return ()
    names = {value: name for name, value in stated.items() if isinstance(name, str)}
    complete = sorted(names) == list(range(classes)) and len(stated) == classes
    return tuple(names[value] for value in range(classes)) if complete else ()


def three(values: Any, axes: Triple) -> list[float] | None:
    """Return three positive numbers in the order of (x, y, z), None where they are no such."""
    numbers = isinstance(values, list | tuple) and all(
        type(v) in (int, float) and v > 0 for v in values
    )
    return [values[axis] for axis in axes] if numbers and len(values) == 3 else None
