"""Cells and scores of random records against the plain computation: one pandas grouping for each step."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.report.cells import MEAN, Key, aggregate
from bench.report.grouping import Coded, combined, ordered, pairs

RUN = ["pretrain_seed", "seed"]
ONE = ["row", "fraction", "target", "metric"]
WHOLE = ["row", "fraction", "metric"]
NAMED, POOLED = ("dice", "volume_error", "dice_monai"), ("dice_pooled",)
STATES = {"ok": 0.5, "both_empty": np.nan, "empty_prediction": 0.0, "failed": np.nan}

place = {
    "row": st.sampled_from("ab"), "fraction": st.sampled_from([10, 100]), "target": st.sampled_from("xy"),
    "pretrain_seed": st.integers(0, 1), "seed": st.integers(0, 2), "fold": st.integers(0, 1),
    "status": st.sampled_from(list(STATES)), "share": st.floats(0, 1),
}  # fmt: skip
tested = st.fixed_dictionaries(
    {**place, "metric": st.sampled_from(NAMED), "patient": st.integers(0, 3), "case": st.integers(0, 2)}
)
pooled = st.fixed_dictionaries({**place, "metric": st.sampled_from(POOLED)})


def rows_of(drawn):
    """Return drawn rows as rows of records, of each place and case the last."""
    found = {}
    for one in drawn:
        row = {key: value for key, value in one.items() if key != "share"}
        row["value"] = one["share"] + STATES[one["status"]]
        row["patient"] = f"p{one['patient']}" if "patient" in one else ""
        row["case"] = f"{row['patient']}c{one['case']}" if "case" in one else ""
        if row["status"] == "failed":
            row |= {"case": "", "patient": ""}
        where = [row[name] for name in (*ONE, *RUN, "fold", "case")]
        found[*where, row["status"] == "failed"] = row
    return list(found.values())


def plainly(good, by):
    """Return the cells of places, by the definition: cases, patients (or folds), targets, runs."""
    unit = good["patient"].where(good["case"] != "", good["fold"].astype(str))
    of_patients = good.assign(unit=unit).groupby([*ONE, *RUN, "unit"])["value"].mean()
    of_runs = of_patients.groupby([*ONE, *RUN]).mean()
    if by == WHOLE:
        looped = good[good["metric"] == "dice_monai"]
        cases = looped.groupby([*WHOLE, *RUN, "case"])["value"].mean().groupby([*WHOLE, *RUN]).mean()
        of_runs = of_runs.groupby([*WHOLE, *RUN]).mean()
        of_runs.update(cases)
    over = of_runs.groupby(by)
    rows, named = good.groupby(by), good[good["case"] != ""].groupby(by)
    penalised = good["status"].eq("empty_prediction") & good["metric"].ne("volume_error")
    made = pd.DataFrame(
        {
            "mean": over.mean(), "sd": over.std(ddof=1), "runs": over.count(),
            "values": rows.size(), "undefined": rows.size() - rows["value"].count(),
            "penalised": penalised.groupby([good[name] for name in by]).sum(),
        }
    )  # fmt: skip
    counts = named[["patient", "case"]].nunique().reindex(made.index, fill_value=0)
    return made.assign(patients=counts["patient"], cases=counts["case"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(tested, tested, tested, pooled), min_size=1, max_size=60))
def test_cells_and_scores_are_those_of_the_plain_computation(protocol, records, drawn):
    table = records(*rows_of(drawn))
    cells, good = aggregate(protocol(), table), table[table["status"] != "failed"]
    expected = {}
    for by, n in ((ONE, 0), (WHOLE, 0)) if len(good) else ():
        for at, line in plainly(good, by).iterrows():
            named = dict(zip(by, at, strict=True))
            target = named.get("target", MEAN)
            expected[Key(named["row"], n, named["fraction"], target, named["metric"])] = line
    assert cells.cells.keys() == expected.keys()
    for key, line in expected.items():
        cell = cells.cells[key]
        for name, value in line.items():
            own = getattr(cell, name)
            assert (np.nan if own is None else own) == pytest.approx(value, nan_ok=True), (key, name)
        _scores(cells.scores(key), key, good)


def _scores(found, key, good):
    own = good[good["row"].eq(key.row) & good["fraction"].eq(key.fraction) & good["metric"].eq(key.metric)]
    own = own[own["case"].ne("") & (own["target"].eq(key.target) | (key.target == MEAN))]
    assert (found is None) == own.empty
    if found is not None:
        values = own.groupby(["patient", *RUN, "target"])["value"].mean()
        at = [(p, *run, t) for p in found.patients for run in found.runs for t in found.targets]
        expected = [values.get(where, np.nan) for where in at]
        np.testing.assert_allclose(found.values.ravel(), expected, rtol=1e-12)
        assert found.patients == tuple(sorted(own["patient"].unique()))
        assert set(found.runs) == set(own[RUN].itertuples(index=False, name=None))


def test_keys_too_large_for_an_integer_still_order_lines():
    rng = np.random.default_rng(0)
    columns = [Coded(rng.integers(0, n, 500), range(n)) for n in (3, 2**31, 2**31, 2, 2**31)]
    key, size = combined(columns)
    order, in_order = ordered(key, size)
    assert order.tolist() == np.lexsort([column.codes for column in columns[::-1]]).tolist()
    assert in_order.tolist() == key[order].tolist() and key.max() < size < 2**62


@pytest.mark.parametrize("n", [5, 2**40])
def test_each_pair_of_group_and_name_is_found_once(n):
    group, codes = np.array([1, 0, 1, 1, 0]), np.array([4, 2, 4, 0, 2])
    found = pairs(group, 2, Coded(codes, range(n)))
    assert [of.tolist() for of in found] == [[0, 1, 1], [2, 0, 4]]
