"""What a regression predicts, from label maps and from what a data set states."""

import numpy as np
import pytest

from bench.data.layout_msd import with_participants
from bench.data.parts import Value
from bench.data.values import labelled, true_values
from bench.dataset import Case
from bench.errors import BenchError
from bench.jobs.scoring import by_patient
from bench.metrics.values import score_values

VOXELS = {"a_ed": 100, "a_es": 40, "b_ed": 0}


class Opened:
    """Two patients' label maps of 20 mm3 a voxel, tilted, as a prepared data set gives them."""

    native_edges = ((2.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 1.0, 5.0))
    native_spacing = (2.0, 2.0, 26**0.5)

    def cases(self):
        ages = {"a_ed": {"age": "61.5"}, "a_es": {"age": "old"}}
        return [Case(i, i[0], (), 0, ages.get(i, {})) for i in VOXELS]

    def patient(self, case):
        return case[0]

    def geometry(self, case):
        return self

    def native(self, case):
        label = np.ones((5, 5, 5), np.uint8)  # another structure
        label.flat[: VOXELS[case]] = 3
        return label


@pytest.mark.parametrize(
    ("value", "cases", "expected"),
    [
        (Value(volume=(3,)), ["a_es", "a_ed", "b_ed"], [0.8, 2.0, 0.0]),  # 20 mm3 a voxel
        (Value(volume=(1, 3)), ["b_ed"], [2.5]),
        (Value(ejection_fraction=(3,)), ["a_ed", "a_es"], [0.6, 0.6]),
        (Value(meta="age", unit="years"), ["a_ed"], [61.5]),
    ],
)
def test_a_value_is_that_of_the_label_map_or_the_data_set(value, cases, expected):
    np.testing.assert_allclose(true_values(Opened(), cases, value), expected)


@pytest.mark.parametrize(
    ("value", "case", "problem"),
    [
        (Value(ejection_fraction=(3,)), "b_ed", "patient 'b' has 1 labelled case"),
        (
            Value(meta="age", unit="years"),
            "a_es",
            "case 'a_es': 'age' is 'old', which is not a number",
        ),
        (Value(meta="age", unit="years"), "b_ed", "'age' is None"),
    ],
)
def test_a_case_without_a_number_is_named(value, case, problem):
    with pytest.raises(BenchError, match=problem):
        true_values(Opened(), [case], value)


def test_cases_that_state_a_number_are_labelled_without_a_label_map():
    cases = [Case("a", "a", (), None, {"age": "3"}), Case("b", "b", (), 0, {})]
    assert [c.label for c in labelled(cases, Value(meta="age", unit="years"))] == [0, None]
    assert labelled(cases, Value(volume=(1,))) == cases == labelled(cases, None)


def test_errors_are_of_each_case_and_correlations_of_all():
    predicted, true = np.array([1.0, 2, 3, 10]), np.array([1.0, 3, 2, 4])
    scores = score_values(predicted, true, ("mae", "r2", "spearman"), "ml")
    assert [(case, s.value) for case, s in scores[:4]] == [(0, 0), (1, 1), (2, 1), (3, 6)]
    assert {s.unit for _, s in scores[:4]} == {"ml"}
    by_hand = {"r2": 1 - 38 / 5, "spearman": 1 - 6 * 2 / (4 * 15)}
    assert {s.metric: s.value for _, s in scores[4:]} == pytest.approx(by_hand)
    still = score_values(predicted, np.ones(4), ("r2", "spearman"))
    assert [(s.value, s.status) for _, s in still] == [(None, "both_empty")] * 2
    with pytest.raises(BenchError, match="judges a segmentation"):
        score_values(predicted, true, ("dice",))


def test_a_table_of_participants_gives_cases_their_ages(tmp_path):
    cases = [Case("sub-1", "sub-1", ()), Case("2_a", "2", (), 0, {"part": "training"})]
    path = tmp_path / "participants.tsv"
    assert with_participants(path, cases) == cases
    path.write_text("participant_id\tage\tsex\nsub-1\t63\tF\nsub-2\tn/a\tM\nsub-3\t70\tM\n")
    metas = [case.meta for case in with_participants(path, cases)]
    assert metas == [{"age": "63", "sex": "F"}, {"sex": "M", "part": "training"}]
    path.write_text("participant_id\tage\nsub-1 63\n")
    with pytest.raises(BenchError, match=r"participants.tsv:2: 1 entries, the first line has 2"):
        with_participants(path, cases)


def test_a_number_of_a_patient_is_predicted_once_and_one_of_a_case_each_time():
    cases, predicted = ["b_ed", "a_ed", "a_es"], np.array([0.1, 0.5, 0.9])
    ids, means, true = by_patient(Opened(), cases, predicted, np.array([0.3, 0.6, 0.6]))
    assert list(ids) == ["b_ed", "a_ed"]
    np.testing.assert_allclose([means, true], [[0.1, 0.7], [0.3, 0.6]])
    each = by_patient(Opened(), cases, predicted, np.array([0.3, 0.6, 0.2]))
    assert each[0] == cases and each[1] is predicted
