"""Rows that were scored by a frozen probe and by fine-tuning: which pair, and whether they rank alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError
from bench.extras.compare.comparison import Side
from bench.report.means import CELL, RUN, means
from bench.report.names import dataset_info, lower_is_better
from bench.report.supplement import Extras
from bench.stats.agreement import Agreement, Rankings, agreement

if TYPE_CHECKING:
    import pandas as pd

PROBE, FINETUNED = "probe", "end_to_end"  # evaluations
FARTHEST = 2  # label fractions differ at most by so many times
COLUMNS = ["row", "method", "network", "init"]


@dataclass(frozen=True, eq=False)
class Source:
    """The cells of one section at one label fraction."""

    protocol: str
    section: str
    dataset: str
    fraction: int
    scale: str
    split_hash: str
    scores: dict[str, np.ndarray]  # by row: (pretrainings, seeds), more may be worse
    rows: dict[str, tuple[str, str, frozenset[str]]]  # method, network and initial weights
    metric: str
    unit: str

    @property
    def name(self) -> str:
        """What the printed pairing calls it."""
        return f"{self.protocol}, {self.section}, {self.fraction} %"


@dataclass(frozen=True, eq=False)
class Pair:
    """One row of either source; a row without a partner has None there."""

    name: str  # in the records
    title: str
    control: bool
    probe: np.ndarray | None
    finetuned: np.ndarray | None
    same_weights: bool


@dataclass(frozen=True, eq=False)
class Panel:
    """All rows of one network, by probe and by fine-tuning, at one place."""

    dataset: str  # its title
    network: str
    probe: Source
    finetuned: Source
    pairs: tuple[Pair, ...]
    alone: tuple[str, ...]  # which rows have no partner, and why

    @property
    def ranked(self) -> tuple[Pair, ...]:
        """The rows that have both scores and are no controls."""
        both = (p for p in self.pairs if p.probe is not None and p.finetuned is not None)
        return tuple(pair for pair in both if not pair.control)

    @property
    def lower(self) -> bool:
        """Is less better?"""
        return lower_is_better(self.probe.metric, self.probe.unit)


@dataclass(frozen=True, eq=False)
class Ranked:
    """All panels, how far the two rankings agree in each and in the mean, and what has no partner."""

    panels: tuple[Panel, ...]
    agreements: tuple[Agreement, ...]
    pooled: Agreement
    alone: tuple[str, ...]
    synthetic: bool


def ranked(sides: Sequence[Side]) -> Ranked:
    """Pair what was scored by probe with what was fine-tuned.

    Sections pair by data set, metric, scale and nearest label fraction (at most twice as many labels), rows
    by method and network, and by name where several have both in common.

    Raises:
        BenchError: no probe, no fine-tuning, or no method that has both.
    """
    probes, finetuned = (
        [s for side in sides for s in _sources(side, e)] for e in (PROBE, FINETUNED)
    )
    where = " and ".join(dict.fromkeys(str(side.path) for side in sides))
    for sources, what in ((probes, "a probe"), (finetuned, "a fine-tuning")):
        if not sources:
            raise BenchError(f"{where}: no record is of {what}; give records of both")
    extras = {s.name: Extras(**vars(s.beside)) for s in sides}
    panels, alone = list[Panel](), list[str]()
    for tuned in finetuned:
        near = [p for p in _nearest(tuned, probes) if _comparable(p, tuned)]
        if not near:
            alone.append(
                f"{tuned.name}: no probe of this data set, metric, scale and about this label fraction"
            )
        for probe in near:
            title = dataset_info(tuned.dataset, extras[tuned.protocol]).title
            titles = extras[probe.protocol].titles | extras[tuned.protocol].titles
            panels += _panels(probe, tuned, title, titles)
    used = {panel.probe.name for panel in panels}
    alone += [f"{p.name}: {_why_unused(p, finetuned)}" for p in probes if p.name not in used]
    panels = [panel for panel in panels if panel.ranked]
    if not panels:
        why = "; ".join(alone[:3]) or "their methods and networks are others"
        raise BenchError(
            f"{where}: no method is scored by a probe and by fine-tuning alike ({why})"
        )
    each, pooled = agreement([_rankings(panel) for panel in panels])
    synthetic = any(info.synthetic for side in sides for info in side.beside.datasets)
    return Ranked(tuple(panels), tuple(each), pooled, tuple(alone), synthetic)


def _sources(side: Side, evaluation: str) -> Iterator[Source]:
    table = side.table[side.table["evaluation"].eq(evaluation) & side.table["status"].ne("failed")]
    if table.empty:
        return
    table = table[table["metric"].eq(str(table["metric"].iloc[0]))]
    runs = means(table, CELL).runs["value"].groupby(level=[*CELL[:-1], *RUN], observed=True).mean()
    for (section, fraction), part in table.groupby(["section", "fraction"], observed=True):
        facts = part.iloc[0]
        rows = part[COLUMNS].astype(str).groupby("row")
        yield Source(
            *(side.name, str(section), str(facts["dataset"]), int(fraction), str(facts["scale"])),
            str(facts["split_hash"]),
            _arrays(runs.xs((section, fraction), level=("section", "fraction"))),
            {
                str(row): (of["method"].iloc[0], of["network"].iloc[0], frozenset(of["init"]))
                for row, of in rows
            },
            *(str(facts["metric"]), str(facts["unit"])),
        )


def _arrays(runs: pd.Series) -> dict[str, np.ndarray]:
    """Return each row's runs as (pretrainings, seeds), NaN where there is none; alike for all rows."""
    table = runs.unstack("seed").droplevel("metric")
    pretrainings = sorted(set(table.index.get_level_values("pretrain_seed")))
    names = dict.fromkeys(table.index.get_level_values("row"))
    return {str(n): table.xs(n, level="row").reindex(pretrainings).to_numpy(float) for n in names}


def _comparable(probe: Source, tuned: Source) -> bool:
    return (probe.metric, probe.scale) == (tuned.metric, tuned.scale)


def _why_unused(probe: Source, finetuned: Sequence[Source]) -> str:
    if any(t.dataset == probe.dataset and _comparable(probe, t) for t in finetuned):
        return "no fine-tuning has about this label fraction, or another probe is as near to it"
    return "no fine-tuning of this data set, metric and scale"


def _nearest(tuned: Source, probes: Iterable[Source]) -> list[Source]:
    """Return the probe of each section on the same data set whose label fraction is nearest, by ratio."""
    sections: dict[tuple[str, str], list[Source]] = {}
    for probe in probes:
        if probe.dataset == tuned.dataset:
            sections.setdefault((probe.protocol, probe.section), []).append(probe)

    def far(probe: Source) -> tuple[float, int]:
        low, high = sorted((probe.fraction, tuned.fraction))
        return high / low, probe.fraction  # of two that are as near the smaller

    nearest = (min(of, key=far) for of in sections.values())
    return [probe for probe in nearest if far(probe)[0] <= FARTHEST]


def _panels(probe: Source, tuned: Source, dataset: str, titles: dict[str, str]) -> Iterator[Panel]:
    networks = {network for s in (probe, tuned) for _, network, _ in s.rows.values()}
    for network in sorted(networks):
        here = [{r for r, of in s.rows.items() if of[1] == network} for s in (probe, tuned)]
        partner = {row: _partner(probe, row, tuned, here) for row in sorted(here[0])}
        pairs = [_pair(probe, row, tuned, other, titles) for row, other in partner.items()]
        left = sorted(here[1] - set(partner.values()))
        pairs += [_pair(probe, None, tuned, row, titles) for row in left]
        alone = [f"{row}: by probe only" for row, other in partner.items() if other is None]
        alone += [f"{row}: fine-tuned only" for row in left]
        yield Panel(dataset, network, probe, tuned, tuple(pairs), tuple(alone))


def _partner(probe: Source, row: str, tuned: Source, here: list[set[str]]) -> str | None:
    """Return the fine-tuned row of the same method and the same variant; of several that of the same name."""
    key = (probe.rows[row][0], _variant(row, here[0]))
    mine = [r for r in here[0] if (probe.rows[r][0], _variant(r, here[0])) == key]
    theirs = [r for r in here[1] if (tuned.rows[r][0], _variant(r, here[1])) == key]
    if len(mine) == len(theirs) == 1:
        return theirs[0]
    return row if row in theirs else None


def _pair(
    probe: Source, row: str | None, tuned: Source, other: str | None, titles: dict[str, str]
) -> Pair:
    source, name = (tuned, other) if row is None else (probe, row)
    assert name is not None
    method, network, weights = source.rows[name]
    variant = _variant(name, source.rows)
    alike = [
        r
        for r, of in source.rows.items()
        if of[:2] == (method, network) and _variant(r, source.rows) == variant
    ]
    both = row is not None and other is not None
    return Pair(
        name,
        titles.get(method, method) + variant if len(alike) == 1 else name,
        _is_control(source, name),
        None if row is None else probe.scores[row],
        None if other is None else tuned.scores[other],
        both and bool(weights & tuned.rows[str(other)][2]),
    )


def _variant(name: str, names: Iterable[str]) -> str:
    """Return what follows the name of a row that is there, too: " (shuffled)"."""
    base, bracket, variant = name.rpartition(" (")
    return bracket + variant if base in names else ""


def _is_control(source: Source, name: str) -> bool:
    """Tell whether nothing was pretrained, or a row is a variant of another, or the ceiling."""
    random = source.rows[name][2] == {"random"}
    return random or bool(_variant(name, source.rows)) or name == "ceiling"


def _rankings(panel: Panel) -> Rankings:
    sign, rows = -1.0 if panel.lower else 1.0, panel.ranked
    one = np.stack([sign * row.probe for row in rows if row.probe is not None])
    other = np.stack([sign * row.finetuned for row in rows if row.finetuned is not None])
    return Rankings(tuple(row.name for row in rows), one, other, panel.network)
