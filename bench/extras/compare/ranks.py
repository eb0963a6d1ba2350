"""Rows that were scored by a frozen probe and by fine-tuning: which pair, and whether they rank alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.extras.compare.comparison import Side
from bench.protocol.ceilings import CEILING
from bench.report.means import CELL, RUN, means
from bench.report.names import ALONE, dataset_info, lower_is_better
from bench.report.supplement import DatasetInfo, Extras
from bench.stats.agreement import LEAST, Agreement, Rankings, agreement
from bench.stats.ranks import Numbers
from bench.stats.ranks import ranked as ranks_of

EVALUATIONS = {"probe": "a probe", "end_to_end": "a fine-tuning"}
FARTHEST = 2  # label fractions of a pair differ at most by so many times
NONE = np.empty((0, 0))  # runs of a row that was not scored so


class Setting(NamedTuple):
    """What two sources that pair have in common."""

    dataset: str
    network: str
    metric: str
    unit: str
    scale: str


class Scored(NamedTuple):
    """One row of one source."""

    method: str
    variant: str  # what follows the name of the row that it is a control of
    weights: frozenset[str]  # jobs or files that it starts from
    jobs: frozenset[str]
    runs: Numbers  # (pretrainings, seeds), means over patients, NaN where there is no run
    title: str


@dataclass(frozen=True, eq=False)
class Source:
    """All rows of one network in one section at one label fraction."""

    protocol: str
    section: str
    fraction: int
    setting: Setting
    split_hash: str
    dataset: DatasetInfo
    rows: dict[str, Scored]

    @property
    def name(self) -> str:
        """What the printed pairing calls it."""
        return f"{self.protocol}, {self.section}, {self.fraction} %, {self.setting.network}"


class Row(NamedTuple):
    """One line of a panel; the runs of a side where it was not scored are empty."""

    name: str
    title: str
    control: bool
    same_weights: bool
    jobs: frozenset[str]  # that fine-tuned it
    runs: tuple[Numbers, Numbers]  # by probe, fine-tuned

    def mean(self, side: int) -> float:
        """The mean over runs; NaN where there is none."""
        return float(np.nanmean(self.runs[side])) if self.runs[side].size else float("nan")

    def sd(self, side: int) -> float:
        """The standard deviation over runs; NaN of fewer than two."""
        values = self.runs[side][~np.isnan(self.runs[side])]
        return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


@dataclass(frozen=True, eq=False)
class Panel:
    """The rows of one network at one setting, by probe and by fine-tuning."""

    probe: Source
    finetuned: Source
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """What the printed pairing calls it."""
        return f"{self.probe.name} with {self.finetuned.name}"

    @property
    def fine_tunings(self) -> frozenset[tuple[str, frozenset[str]]]:
        """The jobs that fine-tuned the rows that are ranked, by row."""
        return frozenset((row.name, row.jobs) for row in self.ranked)

    @property
    def lower(self) -> bool:
        """Is less better?"""
        return lower_is_better(self.probe.setting.metric, self.probe.setting.unit)

    @property
    def ranked(self) -> list[Row]:
        """The rows that have both scores and are no controls."""
        return [row for row in self.rows if not row.control and all(r.size for r in row.runs)]

    def ranks(self) -> dict[str, tuple[float, float]]:
        """Return the ranks by probe and by fine-tuning of each row that is ranked."""
        rows = self.ranked
        both = [ranks_of([row.mean(side) for row in rows], not self.lower) for side in (0, 1)]
        return {row.name: (float(a), float(b)) for row, a, b in zip(rows, *both, strict=True)}

    def rankings(self) -> Rankings:
        """Return the scores of the rows that are ranked, more is better."""
        sign = -1.0 if self.lower else 1.0
        first, second = (
            np.array([sign * row.mean(side) for row in self.ranked]) for side in (0, 1)
        )
        names = tuple(row.name for row in self.ranked)
        return Rankings(names, first, second, self.probe.setting.network)


@dataclass(frozen=True, eq=False)
class Ranked:
    """All panels, how far the two rankings agree in each and in the mean, and what has no partner."""

    panels: tuple[tuple[Panel, Agreement], ...]
    pooled: Agreement
    alone: tuple[str, ...]


def ranked(sides: Sequence[Side]) -> Ranked:
    """Pair what was scored by probe with what was fine-tuned.

    Sources pair by data set, network, metric, scale and nearest label fraction (at most twice as many
    labels), rows by method, and by name where several have one method.

    Raises:
        BenchError: no probe, no fine-tuning, or no method that has both.
    """
    where = " and ".join(dict.fromkeys(str(side.path) for side in sides))
    probes, finetuned = (_scored(sides, evaluation, where) for evaluation in EVALUATIONS)
    every = [
        Panel(probe, tuned, tuple(_rows(probe, tuned)))
        for tuned in finetuned
        for probe in _nearest(tuned, probes)
    ]
    left_out = dict(_left_out(every))
    named = (f"{panel.name}: {why}" for panel, why in left_out.items())
    alone = (*named, *_alone(every, probes, finetuned))
    panels = [panel for panel in every if panel not in left_out]
    if not panels:
        why = "; ".join(alone[:2])
        raise BenchError(f"{where}: no method is scored by a probe and by fine-tuning ({why})")
    agreements, pooled = agreement([panel.rankings() for panel in panels])
    return Ranked(tuple(zip(panels, agreements, strict=True)), pooled, alone)


def _scored(sides: Sequence[Side], evaluation: str, where: str) -> list[Source]:
    sources = [source for side in sides for source in _sources(side, evaluation)]
    if not sources:
        what = EVALUATIONS[evaluation]
        raise BenchError(
            f"{where}: there are no records of {what}; give records of probing and of fine-tuning"
        )
    return sources


def _left_out(panels: Sequence[Panel]) -> Iterator[tuple[Panel, str]]:
    """Yield the panels that do not count, and why; small ones count where all are small."""
    most = max((len(panel.ranked) for panel in panels), default=0)
    for panel in panels:
        if not panel.ranked:
            yield panel, "no method has both"
        elif len(panel.ranked) < LEAST <= most:
            yield panel, f"fewer than {LEAST} methods have both scores ({len(panel.ranked)})"
        elif panel.fine_tunings < max(o.fine_tunings for o in panels if o.probe is panel.probe):
            yield panel, "the same fine-tunings are in another comparison"


def _alone(
    panels: Sequence[Panel], probes: Sequence[Source], finetuned: Sequence[Source]
) -> Iterator[str]:
    """Yield which sources have no partner, and why."""
    paired = {source for panel in panels for source in (panel.probe, panel.finetuned)}
    like = "of this data set, network, metric and scale"
    whys = (
        f"there is no fine-tuning {like}, or another probe has a closer label fraction",
        f"there is no probe {like} at a similar label fraction",
    )
    for group, why in zip((probes, finetuned), whys, strict=True):
        yield from (f"{source.name}: {why}" for source in group if source not in paired)


def _sources(side: Side, evaluation: str) -> Iterator[Source]:
    table = side.table[side.table["evaluation"].eq(evaluation) & side.table["status"].ne("failed")]
    if table.empty:
        return
    table = table[table["metric"].eq(str(table["metric"].iloc[0]))]
    values = means(table, CELL).runs["value"].groupby(level=[*CELL[:3], *RUN], observed=True).mean()
    runs = values.unstack("seed")
    every = sorted(set(runs.index.get_level_values("pretrain_seed")))
    parts = table.groupby(["section", "fraction", "network"], observed=True)
    for (section, fraction, _), part in parts:
        first, rows = part.iloc[0], dict[str, Scored]()
        names = [str(name) for name in part["row"].unique()]
        for name, of in part.groupby("row", observed=True):
            base, bracket, rest = str(name).rpartition(" (")
            variant, method = bracket + rest if base in names else "", str(of["method"].iloc[0])
            scores = runs.loc[(name, section, fraction)].reindex(every).to_numpy(float)
            title = side.beside.titles.get(method, method) + variant
            origin = frozenset(of["init"]), frozenset(of["job"])
            rows[str(name)] = Scored(method, variant, *origin, scores, title)
        setting = Setting(*(str(first[column]) for column in Setting._fields))
        info = dataset_info(setting.dataset, Extras(**vars(side.beside)))
        split = str(first["split_hash"])
        yield Source(side.name, str(section), int(fraction), setting, split, info, rows)


def _nearest(tuned: Source, probes: Sequence[Source]) -> list[Source]:
    """Return of each section that was probed at this setting the source of the nearest label fraction."""

    def far(probe: Source) -> tuple[float, int]:
        low, high = sorted((probe.fraction, tuned.fraction))
        return high / low, probe.fraction  # of two that are as near the smaller

    near = [p for p in probes if p.setting == tuned.setting and far(p)[0] <= FARTHEST]
    first: dict[tuple[str, str], Source] = {}
    for probe in sorted(near, key=far):
        first.setdefault((probe.protocol, probe.section), probe)
    return list(first.values())


def _rows(probe: Source, tuned: Source) -> Iterator[Row]:
    left = dict(tuned.rows)
    for name, probed in probe.rows.items():
        partner = _partner(name, probe, tuned)
        other = left.pop(partner, None)
        same = other is not None and bool(probed.weights & other.weights)
        runs = (probed.runs, NONE if other is None else other.runs)
        jobs = frozenset[str]() if other is None else other.jobs
        yield Row(name, _title(name, probe), _is_control(name, probed), same, jobs, runs)
    for name, other in left.items():
        facts = _title(name, tuned), _is_control(name, other), False, other.jobs
        yield Row(name, *facts, (NONE, other.runs))


def _alike(row: Scored, source: Source) -> list[str]:
    """Return the rows that have the same method and variant."""
    return [name for name, other in source.rows.items() if other[:2] == row[:2]]


def _partner(name: str, probe: Source, tuned: Source) -> str:
    """Return the fine-tuned row of the same method; of several that of the same name; "" for none."""
    mine, theirs = (_alike(probe.rows[name], source) for source in (probe, tuned))
    if len(mine) == len(theirs) == 1:
        return theirs[0]
    return name if name in theirs else ""


def _title(name: str, source: Source) -> str:
    row = source.rows[name]
    if row.variant == " (intensity)":
        return ALONE
    if name.startswith("ceiling"):
        several = sum(other.startswith("ceiling") for other in source.rows) > 1
        return CEILING + (f" ({name})" if several else "")
    return row.title if len(_alike(row, source)) == 1 else name


def _is_control(name: str, row: Scored) -> bool:
    """Tell whether a row was not pretrained, is a variant of another, or the ceiling."""
    return row.weights == {"random"} or bool(row.variant) or name.startswith(("ceiling", "dose "))
