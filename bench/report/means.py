"""Hierarchical means of scores in pandas: case, patient, run, cell; and what stands behind each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.metrics.request import VOLUMES, looped

if TYPE_CHECKING:
    import pandas as pd

# target last: all but it name a mean over targets
CELL = ("row", "section", "fraction", "metric", "target")
RUN = ("pretrain_seed", "seed")  # a run is a fine-tuning seed of a pretraining seed
TESTED = ("case", "patient", "fold")


@dataclass(frozen=True, eq=False)
class Means:
    """Scores and the means of them, each in a fixed order.

    ``mark`` (uint64) names the cases, folds and targets that a value is the mean of; 0 where it is undefined.
    """

    cell: list[str]  # the columns that name a cell
    # as given; ``unit`` is the patient, or the fold of a value over all test cases
    scores: pd.DataFrame
    # value, mark and ``named`` by cell, run and unit; ``named``: is it a patient?
    patients: pd.DataFrame
    runs: pd.DataFrame  # value and mark by cell and run, over the patients of all folds


def means(table: pd.DataFrame, cell: Sequence[str]) -> Means:
    """Return the means of scores.

    Args:
        table: rows of records that did not fail; a value without a case is over all test cases of its fold.
        cell: the columns that name a cell, outermost first.
    """
    import pandas as pd

    names = [*cell, *RUN]
    scores = pd.DataFrame(
        {name: _sorted(table[name]) for name in dict.fromkeys((*names, *TESTED, "target"))}
    )
    value, named = table["value"].astype(float), table["case"].ne("")
    patient = table["patient"].astype(object)
    scores["unit"] = (
        patient if named.all() else patient.where(named, "\0" + table["fold"].astype(str))
    )
    hashes = pd.util.hash_pandas_object(scores[["case", "fold", "target"]], index=False)
    scores = scores.assign(value=value, named=named, mark=hashes.where(value.notna(), 0))
    if "status" in table:
        scores["status"] = table["status"]
    # sums hang on the order
    scores = scores.sort_values([*names, "unit", "case", "fold"], kind="stable")
    by_patient = scores.groupby([*names, "unit"], observed=True)
    patients = by_patient.agg(
        value=("value", "mean"), mark=("mark", "sum"), named=("named", "first")
    )
    by_run = patients.groupby(level=names, observed=True)
    return Means(
        [*cell], scores, patients, by_run.agg(value=("value", "mean"), mark=("mark", "sum"))
    )


def _sorted(column: pd.Series) -> pd.Series:
    """Return names as sorted categories, numbers as they are."""
    if column.dtype.kind in "iu":
        return column
    column = column.astype("category")
    return column.cat.set_categories(sorted(column.cat.categories))


def summary(averaged: Means, over_targets: bool) -> pd.DataFrame:
    """Return a line for each cell, or for all targets of one together.

    Returns:
        mean, sd (over runs), runs, patients, cases, values, undefined, penalised, values of an empty
        reference, of an empty prediction and, of the mean over targets, the least number of targets
        behind a run's mean; indexed by what names a cell.
    """
    import pandas as pd

    scores, runs = averaged.scores, averaged.runs["value"]
    keys = averaged.cell[:-1] if over_targets else averaged.cell
    targets = 1
    if over_targets:
        by_run = runs.groupby(level=[*keys, *RUN], observed=True)
        targets = by_run.count().groupby(level=keys, observed=True).min()
        runs = by_run.mean()
        runs.update(_cases_first(scores, keys))
    blank, absent = scores["status"].eq("empty_prediction"), scores["status"].eq("empty_reference")
    cases = scores[["patient", "case"]].where(scores["named"])
    counted = cases.assign(
        **{key: scores[key] for key in keys},
        undefined=scores["value"].isna(),
        absent=absent | scores["status"].eq("both_empty"),
        blank=blank | scores["status"].eq("both_empty"),
        penalised=(blank | absent)
        & scores["value"].notna()
        # what volumes and counts of lesions are by an empty mask is no penalty
        & ~(scores["metric"].isin(VOLUMES) | scores["unit"].eq("count")),
    ).groupby(keys, observed=True)
    over = runs.groupby(level=keys, observed=True)
    return pd.DataFrame(
        {
            "mean": over.mean(),
            "sd": over.std(ddof=1),
            "runs": over.count(),
            **{name: counted[name].nunique() for name in ("patient", "case")},
            "values": counted.size(),
            **{name: counted[name].sum() for name in ("undefined", "penalised", "absent", "blank")},
            "targets": targets,
        }
    )


def _cases_first(scores: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Return the means over targets as validation loops take them: of each case, then over cases."""
    names = [*keys, *RUN]
    metrics = [metric for metric in scores["metric"].unique() if looped(metric)]
    wanted = scores[scores["metric"].isin(metrics)]
    of_cases = wanted.groupby([*names, "case"], observed=True)["value"].mean()
    return of_cases.groupby(level=names, observed=True).mean()
