"""Scores of files for a person: a table of one prediction with its means, or the ranking of several."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import Any

from bench.metrics.ranking import Standing, changes, standings

LEGEND = (
    "Mean over the cases of each target, then over targets; rank in brackets. n: pairs of case and target"
    " that\nhave a value for every prediction; only they count."
)
Row = dict[str, Any]


def as_text(rows: list[Row]) -> str:
    """Return a table, one line per case and target, one column per metric, and means; undefined is ``-``.

    The rows are of one prediction. Below stands what the means are over. Files say nothing of patients: cases
    count alike.
    """
    from tabulate import tabulate

    table: dict[tuple[str, str], Row] = {}
    each = [row for row in rows if row["case"]]
    pooled = [row | {"case": "all cases"} for row in rows if not row["case"]]
    for row in [*each, *sorted(_means(each), key=lambda row: row["case"] == "mean"), *pooled]:
        line = table.setdefault((row["case"], row["target"]), {})
        value = "-" if row["value"] is None else f"{row['value']:.4f}"
        line[_heading(row["metric"], row["unit"])] = value
    lines = [{"case": case, "target": target} | line for (case, target), line in table.items()]
    return "\n".join([tabulate(lines, headers="keys", disable_numparse=True), *_counted(each)])


def _means(rows: list[Row]) -> list[Row]:
    """Return the mean over the cases of each target, then over the targets, where there are several."""
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        of_target = values.setdefault((row["metric"], row["unit"]), {}).setdefault(
            row["target"], []
        )
        of_target += [] if row["value"] is None else [row["value"]]
    cases, means = len({row["case"] for row in rows}), list[Row]()
    for (metric, unit), by_target in values.items():
        mean_of = {target: fmean(scores) for target, scores in by_target.items() if scores}
        named = {"metric": metric, "unit": unit, "case": f"mean of {cases}"}
        if cases > 1:
            means += [
                named | {"target": target, "value": mean_of.get(target)} for target in by_target
            ]
        if len(by_target) > 1:
            overall = fmean(mean_of.values()) if mean_of else None
            means.append(named | {"case": "mean", "target": "of targets", "value": overall})
    return means


def _counted(rows: list[Row]) -> list[str]:
    """Return a line of what means leave out, and one of the distances that are an empty mask's penalty."""
    of = Counter(row["metric"] for row in rows)
    undefined = Counter(row["metric"] for row in rows if row["value"] is None)
    paid = (
        row
        for row in rows
        if row["unit"] == "mm" and row["value"] is not None and row["status"] != "ok"
    )
    penalised = Counter(row["metric"] for row in paid)
    kinds = [(undefined, "undefined, in no mean"), (penalised, "the penalty of an empty mask")]
    return [
        f"{words}: " + ", ".join(f"{metric} {n} of {of[metric]}" for metric, n in cases.items())
        for cases, words in kinds
        if cases
    ]


def as_ranking(rows: list[Row]) -> str:
    """Return a table, one line per metric and prediction, and what changes with the convention."""
    from tabulate import tabulate

    ranked = standings(rows)
    lines: dict[tuple[str, str], Row] = {}
    for standing in ranked:
        called = _heading(
            f"|{standing.metric}|" if standing.by_size else standing.metric, standing.unit
        )
        for name, mean in standing.means.items():
            line = lines.setdefault((standing.metric, name), {"metric": called, "prediction": name})
            line[standing.convention] = _ranked(mean, standing.ranks[name])
    counts = {standing.metric: f"{standing.n} of {standing.of}" for standing in ranked}
    table = [line | {"n": counts[metric]} for (metric, _), line in lines.items()]
    drawn = tabulate(table, headers="keys", disable_numparse=True)
    return "\n".join([drawn, "", LEGEND, *_verdict(ranked)])


def _ranked(mean: float | None, rank: int | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.4f}" if rank is None else f"{mean:.4f} ({rank})"


def _heading(metric: str, unit: str) -> str:
    return metric if unit == "1" else f"{metric} ({unit})"


def _verdict(ranked: list[Standing]) -> list[str]:
    if len({standing.convention for standing in ranked}) < 2:
        return []
    changed = [f"the ranking changes, {line}" for line in changes(ranked)]
    return changed or ["no ranking changes with the convention"]
