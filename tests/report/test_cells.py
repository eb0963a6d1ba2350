"""Means, spreads and counts, against values worked out by hand."""

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.protocol import Finetune
from bench.report.cells import MEAN, Key, aggregate

NAN = float("nan")


def key(row="a", target="liver", metric="dice", fraction=100, section=0):
    return Key(row, section, fraction, target, metric)


def test_a_cell_is_the_mean_over_cases_then_over_seeds(protocol, records):
    table = records(
        {"seed": 0, "case": "c1", "value": 0.6},
        {"seed": 0, "case": "c2", "value": 0.8},
        {"seed": 1, "case": "c1", "value": 0.9},
        {"seed": 1, "case": "c2", "value": 0.7},
        {"seed": 1, "case": "c3", "value": 0.8},
    )
    cell = aggregate(protocol(), table).at(key())
    assert cell.mean == pytest.approx(0.75)  # seeds 0.7 and 0.8; pooled over cases it were 0.76
    assert cell.sd == pytest.approx(math.sqrt(2 * 0.05**2))
    assert (cell.runs, cell.cases, cell.values) == (2, 3, 5)


def test_one_seed_has_no_spread(protocol, records):
    cell = aggregate(protocol(), records({"value": 0.4})).at(key())
    assert (cell.mean, cell.sd, cell.runs) == (0.4, None, 1)


def test_patients_count_alike_whatever_their_fold_and_however_many_cases_they_have(protocol, records):
    table = records(
        {"fold": 0, "patient": "p1", "case": "c1", "value": 0.2},
        {"fold": 0, "patient": "p1", "case": "c2", "value": 0.4},
        {"fold": 0, "patient": "p2", "case": "c3", "value": 0.6},
        {"fold": 1, "patient": "p3", "case": "c4", "value": 0.9},
        {"fold": 0, "seed": 1, "patient": "p1", "case": "c1", "value": 0.5},
    )
    cell = aggregate(protocol(), table).at(key())
    assert cell.mean == pytest.approx(((0.3 + 0.6 + 0.9) / 3 + 0.5) / 2)
    assert (cell.runs, cell.patients, cell.cases, cell.values) == (2, 3, 4, 5)


def test_values_over_all_cases_at_once_are_averaged_over_folds(protocol, records):
    whole = {"metric": "auc", "target": "all", "case": "", "patient": ""}
    table = records({**whole, "value": 0.8}, {**whole, "fold": 1, "value": 0.6})
    cell = aggregate(protocol(), table).at(key(target="all", metric="auc"))
    assert (cell.mean, cell.runs, cell.patients, cell.cases) == (pytest.approx(0.7), 1, 0, 0)


def test_a_run_is_a_fine_tuning_seed_of_a_pretraining_seed(protocol, records):
    values = {(0, 0): 0.2, (0, 1): 0.3, (1, 0): 0.6, (1, 1): 0.7}
    table = records(*({"pretrain_seed": p, "seed": s, "value": v} for (p, s), v in values.items()))
    cells = aggregate(protocol(), table)
    cell = cells.at(key())
    assert (cell.runs, cell.mean) == (4, pytest.approx(0.45))
    assert cell.sd == pytest.approx(statistics.stdev(values.values()))
    assert "of one pretraining seed" in cells.how
    assert "pretraining" not in aggregate(protocol(), records({})).how


def test_spread_is_spoken_of_only_where_there_is_one(protocol, records):
    assert "±" not in aggregate(protocol(), records({}, {"case": "c2"})).how
    assert "± is the standard deviation over runs" in aggregate(protocol(), records({}, {"seed": 1})).how


def test_sections_that_share_data_split_and_evaluation_are_never_pooled(protocol, records):
    twice = (
        Finetune(dataset="organs", split="even", steps=1),
        Finetune(dataset="organs", split="even", steps=60),
    )
    table = records({"value": 0.1}, {"value": 0.9, "section": "organs#2"})
    cells = aggregate(protocol(finetune=twice), table)
    assert [cells.at(key(section=s)).mean for s in (0, 1)] == [0.1, 0.9]
    named = (twice[0], replace(twice[1], name="long"))
    cells = aggregate(protocol(finetune=named), records({"value": 0.9, "section": "long"}))
    assert (cells.at(key()), cells.at(key(section=1)).mean) == (None, 0.9)
    with pytest.raises(BenchError, match=r"hold the section 'organs#2' .* does not have"):
        aggregate(protocol(finetune=named), table)


@pytest.mark.parametrize(
    ("sizes", "alike"),
    [
        ({(5, 0): 1, (10, 0): 1, (50, 0): 4}, [((5, 10), "1")]),
        ({(5, 0): 1, (10, 0): 2}, []),
        ({(5, 0): 1, (10, 0): 1, (5, 1): 1, (10, 1): 2}, []),
        ({(5, 0): 1, (10, 0): 1, (5, 1): 2, (10, 1): 2}, [((5, 10), "1 to 2")]),
        ({(5, 0): 0, (10, 0): 0}, []),  # unknown
    ],
)
def test_fractions_that_mean_the_same_patients_are_told(protocol, records, sizes, alike):
    rows = ({"fraction": f, "fold": k, "n_train": n} for (f, k), n in sizes.items())
    assert aggregate(protocol(), records(*rows)).alike(0) == alike


def test_undefined_values_are_left_out_and_counted_and_penalties_are_kept(protocol, records):
    table = records(
        {"case": "c1", "value": 0.8},
        {"case": "c2", "value": NAN, "status": "both_empty"},
        {"case": "c3", "value": 0.0, "status": "empty_prediction"},
        {"case": "c4", "value": NAN, "status": "empty_reference"},
    )
    cell = aggregate(protocol(), table).at(key())
    assert cell.mean == pytest.approx(0.4)
    assert (cell.cases, cell.undefined, cell.penalised) == (4, 2, 1)


def test_the_mean_over_targets_is_taken_within_each_seed(protocol, records):
    table = records(
        {"seed": 0, "target": "liver", "value": 0.8},
        {"seed": 0, "target": "spleen", "value": 0.6},
        {"seed": 1, "target": "liver", "value": 0.9},
        {"seed": 1, "target": "spleen", "value": NAN, "status": "both_empty"},
    )
    cell = aggregate(protocol(), table).at(key(target=MEAN))
    assert cell.mean == pytest.approx(0.8)  # seeds 0.7 and 0.9
    assert cell.sd == pytest.approx(math.sqrt(0.02))
    assert (cell.targets, cell.undefined) == (1, 1)


def test_a_failed_run_without_target_fails_every_target_of_its_place_only(protocol, records):
    table = records(
        {"value": 0.8},
        {"target": "spleen", "value": 0.7},
        {"row": "b", "job": "bad", "status": "failed", "value": NAN, "target": "", "metric": ""},
    )
    cells = aggregate(protocol(), table)
    for target in ("liver", "spleen", MEAN):
        cell = cells.at(key("b", target))
        assert (cell.mean, cell.failed, cell.jobs) == (None, 1, ("bad",))
    assert cells.at(key("a")).failed == 0
    assert cells.at(key("b", fraction=10)) is None


def test_a_failed_seed_leaves_the_mean_of_the_others(protocol, records):
    table = records({"value": 0.8}, {"seed": 1, "job": "bad", "status": "failed", "value": NAN})
    cell = aggregate(protocol(), table).at(key())
    assert (cell.mean, cell.runs, cell.failed) == (0.8, 1, 1)


def test_scales_never_share_a_table(protocol, records):
    with pytest.raises(BenchError, match="mix the scales paper, pilot"):
        aggregate(protocol(), records({}, {"scale": "paper"}))
    with pytest.raises(BenchError, match=r"scale 'pilot'.*read at 'smoke'"):
        aggregate(protocol(scale="smoke"), records({}))


def test_rows_of_a_data_set_outside_the_protocol_are_refused(protocol, records):
    with pytest.raises(BenchError, match="data set 'elsewhere'"):
        aggregate(protocol(), records({"dataset": "elsewhere"}))


def test_two_evaluations_of_one_data_set_stay_apart(protocol, records):
    twice = (
        Finetune(dataset="organs", split="even", steps=1),
        Finetune(dataset="organs", split="even", steps=1, evaluation="linear"),
    )
    table = records({"value": 0.8}, {"value": 0.3, "evaluation": "linear", "section": "organs#2"})
    cells = aggregate(protocol(finetune=twice), table)
    assert [cells.at(key(section=s)).mean for s in (0, 1)] == [0.8, 0.3]


def test_a_row_that_is_evaluated_in_its_own_way_stands_beside_the_others(protocol, records):
    cells = aggregate(protocol(), records({"value": 0.8}, {"row": "b", "value": 0.3, "evaluation": "linear"}))
    assert [cells.at(key(row=r)).mean for r in "ab"] == [0.8, 0.3]


def test_how_long_a_network_takes_is_no_score_of_a_target(protocol, records):
    timed = {"metric": "latency", "target": "all", "case": "", "patient": "", "value": 0.03, "unit": "s"}
    cells = aggregate(protocol(), records({"value": 0.8}, timed))
    assert {k.metric for k in cells.cells} == {"dice"} and "all" not in cells.targets[0]


value = st.floats(0, 1, allow_nan=False)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(value, min_size=1, max_size=6), st.randoms())
def test_the_order_of_rows_changes_no_bit(protocol, records, values, random):
    rows = [{"case": f"c{i}", "seed": i % 2, "value": v} for i, v in enumerate(values)]
    mixed = random.sample(rows, len(rows))
    one, other = (aggregate(protocol(), records(*r)).cells for r in (rows, mixed))
    assert one == other
    assert min(values) - 1e-12 <= one[key()].mean <= max(values) + 1e-12
