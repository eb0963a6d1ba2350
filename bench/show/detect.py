"""``bench plan --detect POINTS``: what a protocol could see as written, and what it would take to see more.

The noise of a paired difference is read from tracked records of an alike section: same data set and network
at the nearest label fraction, else the same data set, else a stated prior.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from math import inf, isfinite, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import stats
from bench.metrics.request import fitting
from bench.plan import Plan
from bench.plan.cost import forecast
from bench.protocol import Protocol, is_control, row_of
from bench.report.footnotes import counted
from bench.report.names import is_chance, is_ranked
from bench.show.reports import RESULTS
from bench.show.words import duration
from bench.stats.power import Noise, detectable, needed_patients, needed_runs, noise_of
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Cell

# the metrics by which sections are judged, the first that a record has
JUDGED = ("dice", "accuracy")
# Medians over the tracked studies of this project (a test recomputes them): small networks, Dice.
PRIOR = {"few": Noise(0.009, 0.006, 0.026), "all": Noise(0.0035, 0.002, 0.012)}
LISTED = 30  # seeds that are written out
FEW = 50  # percent of the labels up to which they count as few


@dataclass(frozen=True)
class Pilot:
    """The noise of one section of tracked records."""

    protocol: str  # whose records they are
    dataset: str
    network: str
    fraction: int
    probe: bool  # of frozen encoders
    noise: Noise
    patients: int
    split: tuple[str, int] = ("", 0)  # by which these were tested, and in how many folds

    @property
    def source(self) -> str:
        """Return whence it is, in words."""
        probe = ", probes" if self.probe else ""
        return f"{self.protocol} ({self.network}, {self.fraction} % of the labels{probe})"


@dataclass(frozen=True)
class Sight:
    """What one section of a protocol sees at one label fraction; differences in points (1 of 100)."""

    protocol: str
    section: str
    fraction: int
    comparisons: int  # rows that are compared with scratch
    patients: int  # that are tested, as far as known
    runs: int  # pairs of a pretraining and its fine-tuning
    # the least difference with p below 0.05 in four of five such studies; None: none
    sees: float | None
    goal: float
    needs_runs: int | None  # with these patients; None: out of reach
    needs_patients: int | None  # with these runs
    hours: float | None  # as written, of this processor or of the card that is named
    noise: Noise  # in points
    source: str  # of the noise
    processor: str = "of this processor"  # whose hours
    unknown: str = ""  # why nothing can be said of it

    @property
    def pilot(self) -> bool:
        """Tell whether it cannot see what it is asked to see."""
        return not self.unknown and (self.sees is None or self.sees > self.goal)

    def lines(self) -> Iterator[str]:
        """Yield it in words."""
        yield f"  {self.section}, {self.fraction} % of the labels"
        if self.unknown:
            yield f"    not known: {self.unknown}"
            return
        counts = f"{counted(self.comparisons, 'comparison')}, {self.patients} test patients"
        counts += f", {counted(self.runs, 'run')}"
        hours = "" if self.hours is None else f", {duration(3600 * self.hours)} {self.processor}"
        seen = "no difference"
        if self.sees is not None:
            seen = f"differences of {self.sees:.1f} points or more"
        yield f"    as written: detects {seen} ({counts}{hours})"
        too_few = f"{self.patients} test patients and {counted(self.comparisons, 'comparison')}"
        ways = " or ".join(self._ways()) or f"not possible with {too_few}"
        yield f"    to detect {_points(self.goal)}: {ways}"
        parts = f"patient {self.noise.patient:.1f}, run {self.noise.run:.1f}, residual {self.noise.residual:.1f}"
        yield f"    noise of a difference: {parts} points, from {self.source}"

    def _ways(self) -> Iterator[str]:
        if not self.pilot:
            yield "the protocol as written is enough"
            return
        if self.needs_runs is not None:
            hours = None if self.hours is None else self.hours / self.runs * self.needs_runs
            took = "" if hours is None else f", about {duration(3600 * hours)} {self.processor}"
            yield f"{counted(self.needs_runs, 'run')}{took}"
        if self.needs_patients is not None:
            yield f"{self.needs_patients} test patients"


def sights(
    plan: Plan,
    protocols: Sequence[Protocol],
    store: Store,
    goal: float,
    card: tuple[str, Mapping[str, float | None]] | None = None,
) -> list[Sight]:
    """Return what each section with a comparison sees at each label fraction.

    Args:
        plan: of the protocols.
        protocols: their order is that of the answer.
        store: what ran there tells how long jobs take.
        goal: the difference that is asked for, in points.
        card: its name, and the seconds of each training on it; None: hours are of this processor.
    """
    costs = card[1] if card else forecast(plan, store, plan.wanted())
    processor = f"of training on {card[0]}" if card else "of this processor"
    return [
        replace(sight, processor=processor)
        for protocol in protocols
        for (section, fraction), cells in _places(plan, protocol).items()
        for sight in _sight(plan, protocol, section, fraction, cells, costs, goal)
    ]


def _places(plan: Plan, protocol: Protocol) -> dict[tuple[str, int], list[Cell]]:
    cells_of: dict[tuple[str, int], list[Cell]] = {}
    for cell in plan.cells[protocol.name]:
        if cell.wanted:
            cells_of.setdefault(
                (str(cell.columns["section"]), int(cell.columns["fraction"])), []
            ).append(cell)
    return dict(
        sorted(cells_of.items(), key=lambda pair: (protocol.sections.index(pair[0][0]), pair[0][1]))
    )


def _sight(
    plan: Plan,
    protocol: Protocol,
    section: str,
    fraction: int,
    cells: list[Cell],
    costs: Mapping[str, float | None],
    goal: float,
) -> Iterator[Sight]:
    compared = [cell for cell in cells if _is_compared(protocol, cell)]
    if not compared:
        return
    rows = {cell.row for cell in compared}
    columns = compared[0].columns
    of_row = [c.columns for c in compared if c.row == compared[0].row]
    pretrainings = {c["pretrain_seed"] for c in of_row}  # those of folds are one
    # crossed: which of the two brings the luck of a run is not known, so it counts as the scarcer's
    runs = min(len({c[key] for c in of_row}) for key in ("pretrain_seed", "seed"))
    probe = columns["evaluation"] == "probe"
    dataset, network = str(columns["dataset"]), str(columns["network"])
    pilots = [p for p in tracked(RESULTS) if (p.dataset, p.probe) == (dataset, probe)]
    pilot = _nearest(pilots, protocol.name, network, fraction)
    split = str(columns["split"]), len({c.columns["fold"] for c in cells})
    alike = [p.patients for p in pilots if p.split == split]
    patients = _tested(compared, compared[0].row) or max(alike, default=0)
    noise = pilot.noise if pilot else PRIOR["few" if fraction <= FEW else "all"]
    least = goal / 100
    one_pretraining = len(pretrainings) < 2
    unknown = _unknown(protocol, str(columns["task"]), patients)
    blind = bool(unknown) or one_pretraining
    sees = inf if blind else detectable(noise, patients, runs, len(rows))
    jobs = {job for cell in cells for job in (cell.pretrain, cell.finetune, cell.evaluate) if job}
    seconds = [
        costs.get(job) for job in jobs | {need for job in jobs for need in plan.jobs[job].needs}
    ]
    yield Sight(
        protocol=protocol.name,
        section=section,
        fraction=fraction,
        comparisons=len(rows),
        patients=patients,
        runs=1 if one_pretraining else runs,
        sees=100 * sees if isfinite(sees) else None,
        goal=goal,
        needs_runs=None if unknown else needed_runs(least, noise, patients, len(rows)),
        needs_patients=None if blind else needed_patients(least, noise, runs, len(rows)),
        hours=None if None in seconds else sum(s or 0.0 for s in seconds) / 3600,
        noise=Noise(*(100 * part for part in (noise.patient, noise.run, noise.residual))),
        source=pilot.source
        if pilot
        else f"the median of all fine-tunings, because there is no tracked record of "
        f"{'probes of ' if probe else ''}this data set",
        unknown=unknown,
    )


def _unknown(protocol: Protocol, task: str, patients: int) -> str:
    """Return why nothing can be said of a section: by what it is judged, or whom it tests; "" where it can."""
    metrics = tuple(filter(None, dict.fromkeys((protocol.layout.metric, *protocol.metrics))))
    metric = next((name for name in fitting(metrics, task) if is_ranked(name)), "no metric")
    if metric not in JUDGED:
        return f"it is judged by {metric}; the noise of {' and '.join(JUDGED)} alone is tracked"
    return "" if patients else "how many patients it tests; give --data"


def _is_compared(protocol: Protocol, cell: Cell) -> bool:
    """Tell whether a cell's row is compared with scratch, and is no control."""
    row, _ = row_of(protocol, cell.row)
    return (
        row is not None and not is_control(protocol, cell.row) and cell.columns["init"] != "random"
    )


def _tested(cells: Sequence[Cell], row: str) -> int:
    """Return the test patients of a row over all folds; 0 where nobody knows."""
    by_fold = {
        c.columns["fold"]: c.patients[2] for c in cells if c.row == row and len(c.patients) > 2
    }
    return sum(by_fold.values())


def _nearest(pilots: Sequence[Pilot], protocol: str, network: str, fraction: int) -> Pilot | None:
    """Return the tracked noise that is most alike, a protocol's own first; None: there is none."""

    def distance(candidate: Pilot) -> tuple[bool, float, bool]:
        distance = abs(log(candidate.fraction / fraction))
        return candidate.network != network, distance, candidate.protocol != protocol

    return min(pilots, key=distance, default=None)


@lru_cache(maxsize=4)
def tracked(results: Path) -> tuple[Pilot, ...]:
    """Return the noise of every section, network and label fraction of tracked fine-tunings and of tracked probes."""
    from bench.record import COLUMNS, read_rows

    pilots = list[Pilot]()
    for file in sorted(results.glob("*/records/*.parquet")):
        table = read_rows(file, COLUMNS)
        table = table.assign(probe=table["evaluation"].eq("probe"))
        places = _judged(table).groupby(
            ["section", "dataset", "network", "fraction", "probe", "split"], observed=True
        )
        for (_, dataset, network, fraction, probe, split), rows in places:
            where = str(dataset), str(network), int(fraction), bool(probe)
            comparisons = list(_comparisons(rows))
            noise = noise_of(comparisons)
            if noise is not None:
                patients = max(comparison.patients for comparison in comparisons)
                divided = str(split), rows["fold"].nunique()
                pilots.append(Pilot(file.stem, *where, noise, patients, divided))
    return tuple(pilots)


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores by which a record's sections are judged, without what is undefined."""
    metrics = set(table["metric"])
    metric = next((name for name in JUDGED if name in metrics), "")
    return table[table["metric"].eq(metric) & table["value"].notna()]


def _comparisons(rows: pd.DataFrame) -> Iterator[stats.Comparison]:
    """Yield each pretrained row beside the scratch row of its network, patients x runs."""
    plain = rows[~rows["row"].str.endswith(")")]
    by_run = plain.groupby(["row", "init", "pretrain_seed", "seed", "patient"], observed=True)[
        "value"
    ].mean()
    scores = by_run.reset_index()
    scratch = scores[scores["init"].eq("random")]
    for _, base in scratch.groupby("row", observed=True):
        if is_chance(str(rows["metric"].iloc[0]), float(base["value"].mean())):
            continue  # noise of a difference from what has not learned the task
        ours = base.pivot(index="patient", columns="seed", values="value")
        for _, row in scores[~scores["init"].eq("random")].groupby("row", observed=True):
            wide = row.pivot(index="patient", columns=["pretrain_seed", "seed"], values="value")
            runs = [run for run in wide.columns if run[1] in ours.columns]
            if len({before for before, _ in runs}) < 2:
                continue
            difference = (
                wide[runs].to_numpy()
                - ours.loc[:, [seed for _, seed in runs]].reindex(wide.index).to_numpy()
            )
            clusters, seeds = zip(*runs, strict=True)
            yield stats.compared(difference, clusters, None, seeds=seeds)
        return  # a second scratch row of the network is trained otherwise


def as_json(sights: Sequence[Sight]) -> list[dict[str, Any]]:
    """Return every sight as plain values."""
    return [{**asdict(sight), "pilot": sight.pilot} for sight in sights]


def as_lines(sights: Sequence[Sight], protocols: Sequence[Protocol], goal: float) -> list[str]:
    """Return every sight in words, protocol by protocol."""
    if not sights:
        return ["no row that is to run is compared with scratch, so nothing can be detected"]
    has_hours = any(sight.hours is not None for sight in sights)
    hours = "hours include the pretrainings, which label fractions share"
    unknown = "hours are not known (without the data, --gpu CARD gives those of training)"
    lines = [
        "80 % power, alpha 0.05 after Holm; a run is a pretraining and its fine-tuning; "
        + (hours if has_hours else unknown)
    ]
    for protocol in protocols:
        if not (sights_here := [sight for sight in sights if sight.protocol == protocol.name]):
            continue
        known = [sight for sight in sights_here if not sight.unknown]
        short = sum(sight.pilot for sight in known)
        called = _called(short, len(known), goal)
        if open_ := len(sights_here) - len(known):
            called = (
                f"{called}; not known for {open_} of {len(sights_here)}" if known else "not known"
            )
        lines.append(f"{protocol.name}: {called}")
        lines += [line for sight in sights_here for line in sight.lines()]
        most = max((sight.needs_runs or 0 for sight in sights_here if sight.pilot), default=0)
        lines += [f"  for {most} runs: {_more(protocol, most)}"] if most else []
    return lines


def _more(protocol: Protocol, runs: int) -> str:
    """Return the flags that give each row so many runs."""
    seeds = f"[{','.join(map(str, range(runs)))}]" if runs <= LISTED else f"[0,1,...,{runs - 1}]"
    if all(section.draws for section in protocol.finetune):
        return f"--set pretrain.seeds={seeds}"
    return f"--set finetune.seeds={seeds} --set pretrain.seeds=paired"


def _called(short: int, places: int, goal: float) -> str:
    if not short:
        return f"detects {_points(goal)} on each data set and at each label fraction"
    return f"a pilot: for {short} of {places} pairs of data set and label fraction it cannot detect {_points(goal)}"


def _points(goal: float) -> str:
    return f"{goal:g} point" + ("" if goal == 1 else "s")
