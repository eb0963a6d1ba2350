"""Rankings of several predictions, from rows alone."""

from __future__ import annotations

import pytest

from bench.metrics import CONVENTIONS
from bench.metrics.ranking import changes, standings

UNITS = {"hd95": "mm", "assd": "mm", "volume_error": "ml"}


def rows(metric: str, values: dict[str, dict[str, list]], target: str = "1") -> list[dict]:
    """Return rows from values[convention][prediction], one per case."""
    return [
        {
            "case": f"case_{k}",
            "target": target,
            "metric": metric,
            "value": value,
            "unit": UNITS.get(metric, "1"),
            "prediction": name,
            "convention": convention,
        }
        for convention, by_name in values.items()
        for name, result in by_name.items()
        for k, value in enumerate(result)
    ]


def test_means_and_ranks_go_the_way_of_the_metric():
    given = {"medpy": {"a": [1, 2], "b": [3, 1], "c": [1, 1]}}
    (lower,) = standings(rows("hd95", given))
    assert (lower.metric, lower.unit, lower.convention, lower.n, lower.of) == (
        "hd95",
        "mm",
        "medpy",
        2,
        2,
    )
    assert lower.means == {"a": 1.5, "b": 2, "c": 1} and lower.ranks == {"a": 2, "b": 3, "c": 1}
    assert lower.order == "c < a < b"
    for metric in ("dice", "nsd@2.5mm"):
        (higher,) = standings(rows(metric, given))
        assert higher.ranks == {"a": 2, "b": 1, "c": 3} and higher.order == "b > a > c"


def test_equals_share_a_rank_and_rounding_makes_no_difference():
    (result,) = standings(
        rows("assd", {"medpy": {"a": [0.3], "b": [0.1 + 0.2], "c": [0.1], "d": [0.4]}})
    )
    assert result.ranks == {"a": 2, "b": 2, "c": 1, "d": 4}
    assert result.order == "c < a = b < d"


def test_only_what_every_prediction_has_counts():
    given = {
        "medpy": {"a": [1, None, 9], "b": [2, 5, None]},
        "monai": {"a": [1, None, 9], "b": [2, 5, None]},
    }
    for result in standings(rows("hd95", given)):
        assert (result.means, result.n, result.of) == ({"a": 1, "b": 2}, 1, 3)
    one_only = {"medpy": {"a": [1, 2], "b": [2, 2]}, "deepmind": {"a": [1, None], "b": [2, 2]}}
    assert [result.n for result in standings(rows("hd95", one_only))] == [1, 1]


def test_nothing_in_common_is_no_ranking():
    given = {c: {"a": [None, 1], "b": [1, None]} for c in CONVENTIONS}
    result = standings(rows("hd95", given))
    assert all(
        s.means == s.ranks == {"a": None, "b": None} and s.n == 0 and not s.order for s in result
    )
    assert changes(result) == []


def test_targets_count_alike_however_many_cases_they_have():
    given = rows("dice", {"medpy": {"a": [1, 1, 1], "b": [0, 0, 0]}})
    given += rows("dice", {"medpy": {"a": [0, None, None], "b": [1, None, None]}}, target="2")
    (result,) = standings(given)
    assert (
        result.means == {"a": 0.5, "b": 0.5}
        and result.order == "a = b"
        and (result.n, result.of) == (4, 6)
    )


def test_a_signed_error_is_ranked_by_its_size():
    given = {"medpy": {"swings": [-0.5, 0.5], "small": [0.1, 0.1]}}
    (result,) = standings(rows("relative_volume_error", given))
    assert result.by_size and result.means == {"swings": 0.5, "small": pytest.approx(0.1)}
    assert result.order == "small < swings"
    assert not standings(rows("volume_error", given))[0].by_size


def test_a_change_of_ranking_is_one_line_per_metric():
    first = {"a": [1.0], "b": [2.0]}
    other = {"a": [2.0], "b": [1.0]}
    tied = {"a": [2.0], "b": [2.0]}
    result = standings(
        rows("hd95", {"medpy": first, "monai": first, "deepmind": other})
        + rows("assd", {"medpy": first, "monai": tied, "deepmind": first})
        + rows("dice", dict.fromkeys(CONVENTIONS, first))
    )
    assert changes(result) == [
        "hd95: medpy, monai a < b; deepmind b < a",
        "assd: medpy, deepmind a < b; monai a = b",
    ]
