"""What later jobs read of a prepared data set: parts, fractions, and the check of the division."""

from pathlib import Path

import numpy as np
import pytest
from small_prepared import write_prepared
from small_protocol import NAME, PATIENTS, TEST, TRAIN, VAL

from bench.data import split
from bench.data.parts import Labelled, Part
from bench.data.prepared import opened
from bench.errors import BenchError
from bench.jobs.inputs import fold_of, labelled, part


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Twenty labelled cases and one without a label, two voxels each."""
    label, image = np.ones((2, 1, 1), np.uint8), np.zeros((1, 2, 1, 1), np.int16)
    cases = {name: {"image": image, "label": label, "native": label} for name in PATIENTS}
    return write_prepared(
        tmp_path_factory.mktemp("prepared"), {**cases, "unlabelled": {"image": image}}
    )


def data(**given):
    return Part(**{"dataset": NAME, "split": "even", "fold": 0, "part": "train", **given})


def tuned(percent):
    return Labelled(
        dataset=NAME, split="even", fold=0, task="segmentation", fraction=percent, n_train=None
    )


def test_parts_are_the_splits_that_were_planned(prepared):
    assert part(prepared, data(part="train"), None) == TRAIN
    assert part(prepared, data(part="val"), None) == VAL
    assert part(prepared, data(part="test"), None) == TEST
    assert part(prepared, Part(dataset=NAME, part="all"), None) == [*PATIENTS, "unlabelled"]
    digest = split.Fold("even", 0, tuple(TRAIN), tuple(VAL), tuple(TEST)).digest
    assert fold_of(prepared, data(split_hash=digest), None).digest == digest
    with pytest.raises(BenchError, match=f"split 'even' has changed .*{digest} now, 0123 then"):
        part(prepared, data(split_hash="0123", part="train"), None)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("percent", [5, 25, 50, 100])
def test_a_fraction_is_the_prefix_that_the_plan_counted(prepared, percent, seed):
    planned = split.fraction(TRAIN, percent, "even", seed, NAME)
    assert set(labelled(prepared, tuned(percent), "train", None, seed)) == set(planned)


def test_validation_is_thinned_with_the_row_and_never_below_one(prepared):
    assert len(VAL) == 2
    for percent, count in ((1, 1), (25, 1), (50, 1), (100, 2)):
        assert len(labelled(prepared, tuned(percent), "val", None, 0)) == count
    assert labelled(prepared, tuned(1), "val", None, 0, full=True) == VAL
    assert labelled(prepared, tuned(50), "test", None, 0) == TEST


def test_a_relative_path_is_another_data_set_in_another_place(tmp_path, monkeypatch):
    for place, value in (("one", 1), ("two", 2)):
        (tmp_path / place / "jobs").mkdir(parents=True)
        image = np.full((1, 2, 1, 1), value, np.int16)
        write_prepared(tmp_path / place / "jobs", {"c": {"image": image}})
        monkeypatch.chdir(tmp_path / place)
        assert opened(Path("jobs")).volume("c").whole().max() == value
