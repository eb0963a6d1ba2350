"""Learning curves: how rows score as their fine-tuning goes, out of ``records/curves/<name>.parquet``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.protocol import Finetune, Protocol, View, finetune_of, row_of
from bench.report import selected
from bench.report.cells import MEAN, sections_of
from bench.report.common import OTHERS
from bench.report.context import ReportContext
from bench.report.differences import scratch_of
from bench.report.means import CELL, RUN, means
from bench.report.names import metric_axis
from bench.report.plots import Plot, Series, in_print

if TYPE_CHECKING:
    import pandas as pd

PARTS = {"val": "validation patients", "test": "test patients", "train": "training patients"}
HOW = (
    "Each point is a mean over targets, cases, patients and runs, as in the table. Only points that all "
    "runs of a row have are drawn. Predictions are scored on the prepared grid, so the last point is not "
    "the number in the table."
)
MIXED = (
    "The budget of {} is in epochs and that of the other rows in steps, so the axis counts steps"
)
HALF = 0.5 + 1e-6  # steps: an epoch that is no whole number of them is rounded
PEEKED = "A learning curve shows scores on the test patients"
ALL = View(draw="learning")
POINT = [*(p for p in CELL if p != "target"), "look"]


def plots(report: ReportContext, view: View = ALL) -> tuple[Plot, ...]:
    """Return one plot per part, section, label fraction, target and metric that is tracked.

    Of metrics the view's, else the protocol's own; all where none of those is tracked.
    """
    table = report.extras.tracked
    if table is None or not len(table):
        return ()
    table = table.assign(section=sections_of(report.protocol, table))
    drawn = list[Plot]()
    for part, points in table.groupby("part"):
        for section in selected.sections(view, report.protocol.sections):
            of_section = points[points["section"] == section]
            for target in selected.targets(report, view, section):
                mean = target == MEAN
                rows = of_section if mean else of_section[of_section["target"] == target]
                drawn += _of_part(report, view, rows, str(part), target) if len(rows) else []
    return tuple(drawn)


def _of_part(
    report: ReportContext, view: View, table: pd.DataFrame, part: str, target: str
) -> Iterator[Plot]:
    points = _points(report.protocol, table)
    tracked = {*points["metric"]}
    metrics = {*(view.metrics or report.protocol.metrics)} & tracked or tracked
    shares = {*(view.fractions or points["fraction"])}
    groups = points.groupby(["section", "fraction", "metric"], sort=True)
    for (section, fraction, metric), group in groups:
        rows = selected.rows(report.protocol, view, report.rows_of({*group["row"]}))
        if metric not in metrics or fraction not in shares or not rows:
            continue
        in_epochs = group["epoch"].notna().all() and not _by_steps(report.protocol, section, rows)
        lines = [_line(report, section, row, group[group["row"] == row], in_epochs) for row in rows]
        several = len({*points["fraction"]} & shares) > 1
        title = report.labels[section] + (f", {fraction} % of the labels" if several else "")
        title += "" if target == MEAN else f", {target}"
        y, lower = metric_axis(metric, report.unit(metric))
        x = "Epoch" if in_epochs else "Step"
        yield Plot(title, x, f"{y}, {PARTS.get(part, part)}", lower, tuple(lines))


def captions(report: ReportContext) -> tuple[str, ...]:
    """Return what is said below the figure."""
    table = report.extras.tracked
    if table is None or not len(table):
        return (HOW,)
    tested = [peeked(report.protocol)] if "test" in {*table["part"]} else []
    return HOW, *_apart(report, table), *_mixed(report, table), *tested


def _apart(report: ReportContext, table: pd.DataFrame) -> tuple[str, ...]:
    """Name the rows whose curves are of other patients or runs than most beside them."""
    table = table.assign(section=sections_of(report.protocol, table))
    names = dict[str, None]()
    defined = table[table["value"].notna()]
    for _, group in defined.groupby(["part", "section", "fraction"]):
        sets = {
            row: frozenset(zip(values["seed"], values["fold"], values["case"], strict=True))
            for row, values in group.groupby("row", observed=True)
        }
        often = Counter(sets.values())
        usual = max(sets.values(), key=lambda cases: (often[cases], len(cases)))
        others = [row for row in report.rows_of(sets) if sets[row] != usual]
        names |= dict.fromkeys(map(report.named, others))
    return (f"{OTHERS} {'; '.join(names)}.",) if names else ()


def _mixed(report: ReportContext, table: pd.DataFrame) -> Iterator[str]:
    """Yield which rows of a section are in epochs where others are in steps."""
    table = table.assign(section=sections_of(report.protocol, table))
    for section, points in table.groupby("section"):
        rows = report.rows_of({*points["row"]})
        by_steps = _by_steps(report.protocol, section, rows)
        if by_steps and len(by_steps) < len(rows):
            others = ", ".join(report.named(row) for row in rows if row not in by_steps)
            yield f"{report.labels[section]}: {MIXED.format(others)}."


def _by_steps(protocol: Protocol, section: int, rows: Sequence[str]) -> list[str]:
    """Return the rows whose budget is in steps."""
    return [row for row in rows if _tuned(protocol, section, row).epochs is None]


def _tuned(protocol: Protocol, section: int, row: str) -> Finetune:
    """Return how a row is fine-tuned; one that the protocol no longer has, as its section says."""
    stated, _ = row_of(protocol, row)
    return protocol.finetune[section] if stated is None else finetune_of(protocol, section, stated)


def _points(protocol: Protocol, table: pd.DataFrame) -> pd.DataFrame:
    """Return mean, standard deviation and runs of each point, by ``POINT``, and where it lies.

    A point is a look that every run of its row has.
    """
    import pandas as pd

    groups = table.groupby(["section", "row"], sort=False)
    looks = [_looks(_tuned(protocol, section, row), points) for (section, row), points in groups]
    table = table.assign(look=pd.concat(looks))
    of_targets = means(table, [*CELL, "look"]).runs["value"]
    runs = of_targets.groupby([*POINT, *RUN], observed=True).mean()  # over targets
    line = ["row", "section", "fraction"]
    jobs = table.groupby(line)["job"].nunique().rename("jobs")
    seen = table.groupby([*line, "look"])["job"].nunique().rename("seen")
    unique = table.drop_duplicates(["job", "row", "step", "metric"])
    where = unique.groupby(POINT)[["step", "epoch"]].mean()
    over = runs.groupby(POINT, observed=True)
    points = (
        over.mean().rename("mean").to_frame().assign(sd=over.std(ddof=1).fillna(0.0)).join(where)
    )
    single = runs.unstack(RUN).reindex(points.index)
    points = points.assign(runs=list(single.to_numpy(float)))
    points = points.reset_index().merge(jobs.reset_index(), on=line)
    points = points.merge(seen.reset_index(), on=[*line, "look"])
    return points[(points["seen"] == points["jobs"]) & points["mean"].notna()]


def _looks(tuned: Finetune, table: pd.DataFrame) -> pd.Series:
    """Return what the looks of a row's runs have in common: the step, or the epoch where they go by epochs.

    Folds have epochs of different length, and each look is at the nearest whole step.
    """
    every = tuned.track.every_epochs if tuned.track else None
    step, epoch = table["step"].astype(float), table["epoch"]
    if every is None or epoch.isna().any():
        return step
    looks = epoch
    for planned in (every * (epoch / every).round(), tuned.epochs):
        if planned is not None:
            looks = looks.mask((epoch - planned).abs() * step / epoch <= HALF, planned)
    return looks


def _line(
    report: ReportContext, section: int, row: str, points: pd.DataFrame, in_epochs: bool
) -> Series:
    points = points.sort_values("look")
    unit = report.unit(points["metric"].iloc[0])
    runs = [run for run in np.stack(list(points["runs"]), axis=1) if np.isfinite(run).any()]

    def printed(value: float) -> float | None:
        return in_print(float(value), unit) if value == value else None

    scratch = scratch_of(report, row, section)
    return Series(
        title=report.named(row),
        baseline=report.pretrains_nothing(row),
        xs=tuple(round(float(x), 6) for x in points["epoch" if in_epochs else "step"]),
        means=tuple(in_print(float(m), unit) for m in points["mean"]),
        sds=tuple(in_print(float(s), unit) for s in points["sd"]),
        runs=tuple(tuple(map(printed, run)) for run in runs) if len(runs) > 1 else (),
        scratch=report.named(scratch) if scratch else "",
    )


def peeked(protocol: Protocol) -> str:
    """Return what to say of a curve of test patients: weights may be chosen by them all the same."""
    chosen = any(target.select == "best_test" for target in protocol.finetune)
    return f"{PEEKED}{'' if chosen else '; it selects neither weights nor settings'}."
