"""What docs/statistics.md promises of ``paired``, simulated anew with fewer studies."""

import pytest
from simulate import LAYOUTS, SEED_COUNTS, TROUBLED
from studies import SEEDS, Design, differences, paired, ranked, sign_flipped

from bench import stats

pytestmark = pytest.mark.slow
STUDIES = 1000
ERROR = 3 * (0.05 * 0.95 / STUDIES) ** 0.5
STATED = {name: d for name, d in LAYOUTS.items() if "said" not in name and "for all" not in name}
PLAIN = [Design(patients=n, seeds=r) for n in (6, 42) for r in SEED_COUNTS]


@pytest.mark.parametrize("design", [*PLAIN, *TROUBLED, *STATED.values()], ids=str)
def test_a_difference_is_claimed_where_there_is_none_in_at_most_6_percent(design):
    result = paired(design, STUDIES)
    assert result.rejected <= 0.06 + ERROR
    assert result.falsely_equivalent <= 0.03 + ERROR  # one side of two


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_coverage_is_neither_too_small_nor_too_large_where_enough_is_known(seeds):
    assert 0.03 - ERROR <= paired(Design(seeds=seeds), STUDIES).rejected <= 0.07 + ERROR


def test_the_habit_takes_luck_for_evidence_and_more_so_with_more_patients():
    few, many = (sign_flipped(Design(patients=n, seeds=1), STUDIES) for n in (24, 100))
    assert 0.2 < few < many
    # nor is a pretraining many runs
    assert paired(LAYOUTS["3 x 3, nothing said"], STUDIES).rejected > 0.1


def test_runs_tell_more_than_patients():
    def power(patients, seeds):
        return paired(Design(patients=patients, seeds=seeds), STUDIES).power(2)

    assert power(42, 5) > power(100, 3) + 0.2


@pytest.mark.parametrize(
    "design", [Design(seeds=1), Design(pretrainings=3, seeds=1, told=SEEDS)], ids=str
)
def test_one_seed_has_no_verdict_whatever_the_data(design):
    for study in differences(design, 20) + 0.5:
        assert stats.compared(study, **design.lists()).verdict == "these weights only"


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.85), (10, 0.93)])
def test_rank_intervals_hold_the_true_rank(seeds, least):
    held, width = ranked(Design(seeds=seeds), 100, methods=8, step=0.2)
    assert held > least and 2 < width < 6
