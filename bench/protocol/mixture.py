"""Pretraining mixtures by name: ``datasets/mixtures/<name>.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from bench import registry
from bench.document import parse
from bench.errors import BenchError, unknown
from bench.protocol.sections import Mix, Pretrain


@dataclass(frozen=True)
class Mixture:
    """Data sets of one pretraining, as a paper lists them."""

    title: str  # printed title
    source: str  # where in the paper or its code this is stated
    datasets: tuple[Mix, ...]  # the data sets, each with a recipe
    note: str = ""  # what is assumed, and what does not add up
    groups: dict[str, str] = field(default_factory=dict)  # number of a group class: name
    expected_cases: int | None = None  # number printed in the paper

    def __post_init__(self) -> None:
        if not self.datasets:
            raise ValueError("datasets is empty")


def names() -> list[str]:
    """List the mixtures by name."""
    return sorted(p.stem for p in (registry.folder("dataset") / "mixtures").glob("*.yaml"))


@lru_cache(maxsize=64)
def mixture(name: str) -> Mixture:
    """Return a mixture.

    Raises:
        BenchError: no such mixture (names the nearest one), or its file is wrong (file, line, key).
    """
    if name not in names():
        raise BenchError(unknown("mixture", name, names()))
    return parse(registry.folder("dataset") / "mixtures" / f"{name}.yaml").build(Mixture)


def parts(section: Pretrain) -> tuple[Mix, ...]:
    """Return what a pretraining section reads, its mixture spelled out and each entry with its recipe.

    The section's recipe is for entries that state none, but wins over those of a mixture's file: there
    the protocol is the one that knows what this comparison needs.
    """
    if section.datasets:
        return tuple(
            replace(m, recipe=m.recipe or section.recipe or "default") for m in section.datasets
        )
    listed = mixture(section.mixture).datasets
    return tuple(replace(m, recipe=section.recipe or m.recipe or "default") for m in listed)


def ranking(section: Pretrain) -> str:
    """Return what ranks the patients of a mixture: its own name, or its data sets'."""
    return section.mixture or "+".join(m.dataset for m in section.datasets)


def expected_cases(section: Pretrain) -> int | None:
    """Return the number of cases that a mixture's paper prints, where the whole mixture is read."""
    return mixture(section.mixture).expected_cases if section.mixture and not section.take else None


def title(section: Pretrain) -> str:
    """Return the name of what is pretrained on, as records have it."""
    return section.name or ranking(section) + (f" ({section.take})" if section.take else "")
