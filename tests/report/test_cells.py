"""Means, spreads and counts, against values worked out by hand."""

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


def test_a_run_is_a_fine_tuning_seed_of_a_pretraining_seed(protocol, records):
    values = {(0, 0): 0.2, (0, 1): 0.3, (1, 0): 0.6, (1, 1): 0.7}
    table = records(*({"pretrain_seed": p, "seed": s, "value": v} for (p, s), v in values.items()))
    cells = aggregate(protocol(), table)
    cell = cells.at(key())
    assert (cell.runs, cell.mean) == (4, pytest.approx(0.45))
    assert cell.sd == pytest.approx(statistics.stdev(values.values()))
    assert (
        "of one pretraining seed" in cells.how
        and "± is the standard deviation over runs" in cells.how
    )
    alone = aggregate(protocol(), records({}, {"case": "c2"})).how
    assert "pretraining" not in alone and "±" not in alone


def test_sections_that_share_data_split_and_evaluation_are_never_pooled(protocol, records):
    twice = tuple(Finetune(dataset="organs", split="even", steps=n) for n in (1, 60))
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


@pytest.mark.parametrize(
    ("scale", "rows", "says"),
    [
        ("pilot", [{}, {"scale": "paper"}], "mix the scales paper, pilot"),
        ("smoke", [{}], r"scale 'pilot'.*read at 'smoke'"),
        ("pilot", [{"dataset": "elsewhere"}], "data set 'elsewhere'"),
    ],
)
def test_rows_of_another_scale_or_data_set_are_refused(protocol, records, scale, rows, says):
    with pytest.raises(BenchError, match=says):
        aggregate(protocol(scale=scale), records(*rows))


def test_a_row_that_is_evaluated_in_its_own_way_stands_beside_the_others(protocol, records):
    cells = aggregate(
        protocol(), records({"value": 0.8}, {"row": "b", "value": 0.3, "evaluation": "decoder"})
    )
    assert [cells.at(key(row=r)).mean for r in "ab"] == [0.8, 0.3]


def test_how_long_a_network_takes_is_no_score_of_a_target(protocol, records):
    timed = {
        "metric": "latency",
        "target": "all",
        "case": "",
        "patient": "",
        "value": 0.03,
        "unit": "s",
    }
    cells = aggregate(protocol(), records({"value": 0.8}, timed))
    assert {k.metric for k in cells.cells} == {"dice"} and "all" not in cells.targets[0]


value = st.floats(0, 1, allow_nan=False)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(value, min_size=1, max_size=6), st.randoms())
def test_the_order_of_rows_changes_no_bit(protocol, records, values, random):
    rows = [{"case": f"c{i}", "seed": i % 2, "value": v} for i, v in enumerate(values)]
    mixed = random.sample(rows, len(rows))
    first, other = (aggregate(protocol(), records(*r)).cells for r in (rows, mixed))
    assert first == other
    assert min(values) - 1e-12 <= first[key()].mean <= max(values) + 1e-12
