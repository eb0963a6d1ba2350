"""Means, spreads and counts, against values worked out by hand."""

import math

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
    assert (cell.seeds, cell.cases, cell.values) == (2, 3, 5)


def test_one_seed_has_no_spread(protocol, records):
    cell = aggregate(protocol(), records({"value": 0.4})).at(key())
    assert (cell.mean, cell.sd, cell.seeds) == (0.4, None, 1)


def test_folds_are_averaged_within_their_seed(protocol, records):
    table = records(
        {"fold": 0, "case": "c1", "value": 0.2},
        {"fold": 0, "case": "c2", "value": 0.4},
        {"fold": 1, "case": "c3", "value": 0.9},
        {"fold": 0, "seed": 1, "case": "c1", "value": 0.5},
    )
    cell = aggregate(protocol(), table).at(key())
    assert cell.mean == pytest.approx(((0.3 + 0.9) / 2 + 0.5) / 2)
    assert cell.seeds == 2


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
    assert (cell.mean, cell.seeds, cell.failed) == (0.8, 1, 1)


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
        Finetune("organs", "even", steps=1),
        Finetune("organs", "even", steps=1, evaluation="linear"),
    )
    table = records({"value": 0.8}, {"value": 0.3, "evaluation": "linear"})
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
