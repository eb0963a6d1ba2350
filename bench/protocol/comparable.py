"""Which rows may be compared: those of one network, one section and one resolved fine-tuning."""

from __future__ import annotations

from typing import Any

from bench import registry
from bench.protocol.model import Protocol, Row, finetune_of, learns, once, tuned_net
from bench.typed import plain

LOSSES = {  # by task, the default first
    "segmentation": ("dice_ce", "dice", "cross_entropy"),
    "classification": ("cross_entropy",),
    "regression": ("mse",),
}
# what names or picks jobs, is memory, looks on, or says which weights come along: no part of how a row trains
ASIDE = (
    "name",
    "dataset",
    "split",
    "settings",
    "fractions",
    "seeds",
    "draws",
    "accumulate",
    "hold",
    "crop",
    "anchor",
    "pretrain",
    "submit",
    "track",
    "output",
    "test_on",
    "external",
)


def way(protocol: Protocol, index: int, row: Row) -> dict[str, Any]:
    """Return how a row is fine-tuned in one section, its network among it.

    Dotted key -> plain value, with overrides, scale and defaults worked in; two rows are comparable where
    these are equal.
    """
    return once(protocol, "way", index, row, lambda: _way(protocol, index, row))


def _way(protocol: Protocol, index: int, row: Row) -> dict[str, Any]:
    tuned = finetune_of(protocol, index, row)
    task = registry.declared("dataset", tuned.dataset, "task", "segmentation")
    chosen = tuple(tuned.tune.grid[0]) if tuned.tune else ()  # each row chooses these for itself
    stated = {k: v for k, v in plain(tuned).items() if k not in ASIDE}
    resolved = {"loss": tuned.loss or LOSSES[task][0], "hold": tuned.held}
    net = {"net": plain(tuned_net(protocol, row, tuned))}
    settings = dict(_flat({**stated, **resolved, **net}, ""))
    return {
        k: v
        for k, v in settings.items()
        if not any(k == key or k.startswith(f"{key}.") for key in chosen)
    }


def _flat(value: Any, key: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        return [(key, value)]
    return [pair for k, v in value.items() for pair in _flat(v, f"{key}.{k}" if key else k)]


def differing(
    protocol: Protocol, index: int, row: Row, baseline: Row
) -> dict[str, tuple[Any, Any]]:
    """Return in what a row's fine-tuning differs from its baseline's: key -> the row's value, the other's.

    Label fractions and seeds differ where the baseline lacks one of the row's.
    """
    ours, other = way(protocol, index, row), way(protocol, index, baseline)
    differences = {
        k: (ours.get(k), other.get(k)) for k in {**ours, **other} if ours.get(k) != other.get(k)
    }
    tuned = [finetune_of(protocol, index, r) for r in (row, baseline)]
    for key in ("fractions", "seeds"):
        mine, its = (getattr(section, key) for section in tuned)
        differences |= {} if {*mine} <= {*its} else {key: (list(mine), list(its))}
    return differences


def baseline_of(
    protocol: Protocol, index: int, row: Row
) -> tuple[str, dict[str, tuple[Any, Any]]] | None:
    """Return the row from scratch that is nearest to a row in one section, and in what they differ.

    None where no row on its network starts from scratch there.
    """
    on_it = {name: r for name, r in protocol.rows_in(index).items() if r.network == row.network}
    bases = {name: r for name, r in on_it.items() if not learns(protocol, r)}
    candidates = [(name, differing(protocol, index, row, base)) for name, base in bases.items()]
    return min(candidates, key=lambda pair: len(pair[1]), default=None)


def unequal(protocol: Protocol) -> list[str]:
    """Return, in words, every row whose baseline is of another fine-tuning, and in what."""
    texts: dict[str, list[str]] = {}
    for index, section in enumerate(protocol.sections):
        for name, row in protocol.rows_in(index).items():
            near = baseline_of(protocol, index, row)
            if near is not None and near[1]:
                keys = ", ".join(
                    f"{k} {_shown(a)}, there {_shown(b)}" for k, (a, b) in sorted(near[1].items())
                )
                text = (
                    f"Row {name} and its baseline, row {near[0]}, are not fine-tuned alike: {keys}."
                )
                texts.setdefault(text, []).append(section)
    several = len(protocol.finetune) > 1
    return [
        text + (f" (on {', '.join(where)})" if several else "") for text, where in texts.items()
    ]


def _shown(value: Any) -> str:
    return "unstated" if value is None else str(value)
