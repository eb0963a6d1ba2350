"""Cells and scores of random records against the plain computation: one pandas grouping for each step."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from bench.report.cells import MEAN, Key, aggregate

RUN = ["pretrain_seed", "seed"]
TARGET = ["row", "fraction", "target", "metric"]
ALL_TARGETS = ["row", "fraction", "metric"]
NAMED, POOLED = ("dice", "volume_error", "dice_monai"), ("dice_pooled",)
STATES = {"ok": 0.5, "both_empty": np.nan, "empty_prediction": 0.0, "failed": np.nan}

AXES = {
    "row": "ab",
    "fraction": (10, 100),
    "target": "xy",
    "pretrain_seed": (0, 1),
    "seed": (0, 1, 2),
}


def rows_of(seed):
    """Return rows of a random part of all places, runs, patients and cases; folds and states at random."""
    rng = np.random.default_rng(seed)
    share, rows = rng.uniform(0.1, 1), []
    cases = [
        (f"p{patient}", f"p{patient}c{n}") for patient in range(4) for n in range(1 + patient % 3)
    ]
    tested = product(*AXES.values(), NAMED, cases, (0,))
    pooled = product(*AXES.values(), POOLED, [("", "")], (0, 1))
    for *at, metric, (patient, case), fold in (*tested, *pooled):
        if rng.random() < share:
            status = str(rng.choice(list(STATES), p=[0.7, 0.1, 0.1, 0.1]))
            row = {
                **dict(zip(AXES, at, strict=True)),
                "metric": metric,
                "patient": patient,
                "case": case,
            }
            fold = int(rng.integers(2)) if case else fold
            row |= {"fold": fold, "status": status, "value": rng.random() + STATES[status]}
            rows.append(row | ({"case": "", "patient": ""} if status == "failed" else {}))
    return [rows[i] for i in rng.permutation(len(rows))]


def plainly(good, by):
    """Return the cells of places, by the definition: cases, patients (or folds), targets, runs."""
    unit = good["patient"].where(good["case"] != "", good["fold"].astype(str))
    of_patients = good.assign(unit=unit).groupby([*TARGET, *RUN, "unit"])["value"].mean()
    of_runs = of_patients.groupby([*TARGET, *RUN]).mean()
    if by == ALL_TARGETS:
        looped = good[good["metric"] == "dice_monai"]
        cases = (
            looped.groupby([*ALL_TARGETS, *RUN, "case"])["value"]
            .mean()
            .groupby([*ALL_TARGETS, *RUN])
            .mean()
        )
        of_runs = of_runs.groupby([*ALL_TARGETS, *RUN]).mean()
        of_runs.update(cases)
    over = of_runs.groupby(by)
    rows, named = good.groupby(by), good[good["case"] != ""].groupby(by)
    penalised = good["status"].eq("empty_prediction") & good["metric"].ne("volume_error")
    cells = pd.DataFrame(
        {
            "mean": over.mean(),
            "sd": over.std(ddof=1),
            "runs": over.count(),
            "values": rows.size(),
            "undefined": rows.size() - rows["value"].count(),
            "penalised": penalised.groupby([good[name] for name in by]).sum(),
        }
    )
    counts = named[["patient", "case"]].nunique().reindex(cells.index, fill_value=0)
    return cells.assign(patients=counts["patient"], cases=counts["case"])


@pytest.mark.parametrize("seed", range(8))
def test_cells_and_scores_are_those_of_the_plain_computation(protocol, records, seed):
    table = records(*rows_of(seed))
    cells, good = aggregate(protocol(), table), table[table["status"] != "failed"]
    expected = {}
    for by, n in ((TARGET, 0), (ALL_TARGETS, 0)) if len(good) else ():
        for at, line in plainly(good, by).iterrows():
            named = dict(zip(by, at, strict=True))
            target = named.get("target", MEAN)
            expected[Key(named["row"], n, named["fraction"], target, named["metric"])] = line
    assert cells.cells.keys() == expected.keys()
    for key, line in expected.items():
        cell = cells.cells[key]
        for name, value in line.items():
            actual = getattr(cell, name)
            assert (np.nan if actual is None else actual) == pytest.approx(value, nan_ok=True), (
                key,
                name,
            )
        _scores(cells.scores(key), key, good)


def _scores(actual, key, good):
    scores = good[
        good["row"].eq(key.row) & good["fraction"].eq(key.fraction) & good["metric"].eq(key.metric)
    ]
    scores = scores[
        scores["case"].ne("") & (scores["target"].eq(key.target) | (key.target == MEAN))
    ]
    assert (actual is None) == scores.empty
    if actual is not None:
        values = scores.groupby(["patient", *RUN, "target"])["value"].mean()
        at = [(p, *run, t) for p in actual.patients for run in actual.runs for t in actual.targets]
        expected = [values.get(where, np.nan) for where in at]
        np.testing.assert_allclose(actual.values.ravel(), expected, rtol=1e-12)
        assert actual.patients == tuple(sorted(scores["patient"].unique()))
        assert set(actual.runs) == set(scores[RUN].itertuples(index=False, name=None))
