"""What a study can see: against studies that are drawn and judged by the verdicts themselves."""

import numpy as np
import pytest

from bench import stats
from bench.stats.power import (
    Noise,
    detectable,
    fewest_patients,
    needed_patients,
    needed_runs,
    noise_of,
)

CASES = [  # noise in points / 100, patients, runs, comparisons: as tracked studies have them
    (Noise(0.02, 0.005, 0.02), 42, 3, 10),
    (Noise(0.02, 0.01, 0.02), 42, 8, 4),
    (Noise(0.03, 0.002, 0.03), 16, 5, 3),
    (Noise(0.01, 0.01, 0.01), 20, 12, 1),
]


def share_found(noise, patients, runs, comparisons, difference, rng):
    """Draw one study, of whose comparisons one has a difference; tell whether that is called better."""
    family = []
    for k in range(comparisons):
        values = (
            (difference if k == 0 else 0.0)
            + noise.patient * rng.standard_normal((patients, 1))
            + noise.run * rng.standard_normal((1, runs))
            + noise.residual * rng.standard_normal((patients, runs))
        )
        family.append(stats.compared(values, list(range(runs)), None, seeds=list(range(runs))))
    return stats.judged(family)[0].verdict == "better"


@pytest.mark.parametrize(("noise", "patients", "runs", "comparisons"), CASES)
def test_four_of_five_studies_see_what_is_called_detectable(noise, patients, runs, comparisons):
    rng = np.random.Generator(np.random.Philox(7))
    difference = detectable(noise, patients, runs, comparisons)
    seen = np.mean(
        [share_found(noise, patients, runs, comparisons, difference, rng) for _ in range(200)]
    )
    assert 0.72 <= seen <= 0.88, seen  # of 200 studies: 0.8 by three standard errors
    half = np.mean(
        [share_found(noise, patients, runs, comparisons, difference / 2, rng) for _ in range(100)]
    )
    assert half < 0.5 < seen


@pytest.mark.parametrize(("noise", "patients", "runs", "comparisons"), CASES)
def test_a_study_sized_for_a_difference_sees_it_and_one_less_would_not(
    noise, patients, runs, comparisons
):
    goal = detectable(noise, patients, runs, comparisons)
    assert needed_runs(goal, noise, patients, comparisons) == runs
    assert needed_patients(goal, noise, runs, comparisons) <= patients
    n = needed_runs(goal / 2, noise, patients, comparisons)
    if n is not None:
        assert detectable(noise, patients, n, comparisons) <= goal / 2
        assert detectable(noise, patients, n - 1, comparisons) > goal / 2


def test_more_of_anything_sees_less_and_more_comparisons_more():
    noise = Noise(0.02, 0.01, 0.02)
    assert detectable(noise, 40, 8) < detectable(noise, 40, 4) < detectable(noise, 40, 4, 5)
    assert detectable(noise, 80, 4) < detectable(noise, 40, 4)
    assert detectable(noise, 40, 1) == np.inf  # one run: these weights only
    # runs' luck stays
    assert needed_runs(1e-6, noise, 40) is None and needed_patients(1e-3, noise, 3) is None


def test_no_exact_test_of_fewer_patients_could_say_better():
    assert [fewest_patients(m) for m in (1, 2, 10)] == [6, 7, 9]  # 2 ** (1 - n) m <= .05
    noise = Noise(1e-6, 1e-6, 1e-6)
    assert detectable(noise, 5, 9) == np.inf and detectable(noise, 6, 9) < 1e-4


def test_noise_is_the_median_of_those_with_several_runs():
    rng = np.random.Generator(np.random.Philox(1))
    built = [
        stats.compared(size * rng.standard_normal((30, 6)), list(range(6)), seeds=list(range(6)))
        for size in (0.01, 0.02, 0.05)
    ]
    alone = stats.compared(rng.standard_normal((30, 1)))
    assert noise_of([alone]) is None
    assert noise_of([*built, alone]).residual == pytest.approx(0.02, rel=0.15)
