"""Dice over the voxels of all cases at once: by hand, against one long volume, and its rows."""

import json
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from bench.cli import main
from bench.errors import BenchError
from bench.metrics import METRICS, score
from bench.metrics.pooled import Pooled

REGIONS = {"organ": (1, 2), "tumour": (2,), "cyst": (3,)}


def line(*values):
    return np.array(values, np.uint8)[:, None, None]


def test_two_cases_by_hand():
    result = Pooled(REGIONS)
    result.add(line(1, 1, 2, 0), line(1, 0, 2, 2))
    result.add(line(2, 0, 0, 0), line(0, 0, 0, 0))  # of this case alone the Dice is 0
    printed = {s.target: (s.metric, s.value, s.status) for s in result.scores()}
    assert printed == {
        "organ": ("dice_pooled", 2 * 2 / (4 + 3), "ok"),
        "tumour": ("dice_pooled", 2 * 1 / (2 + 2), "ok"),
        "cyst": ("dice_pooled", None, "both_empty"),
    }


@pytest.mark.parametrize(
    ("empty", "values"), [("default", (None, 0.0)), ("brats", (1, 0)), ("skip", (None, None))]
)
def test_what_no_case_has_follows_the_convention_of_empty_masks(empty, values):
    result = Pooled(REGIONS, empty)
    result.add(line(2, 2), line(1, 1))
    organ, tumour, cyst = result.scores()
    assert organ.value == 1.0 and (cyst.value, tumour.value) == values
    assert (tumour.status, cyst.status) == ("empty_reference", "both_empty")


def test_it_is_the_dice_of_all_cases_laid_one_behind_the_other():
    rng = np.random.default_rng(0)
    cases = [rng.integers(0, 4, (2, 5, 4, n)).astype(np.uint8) for n in (3, 1, 6)]
    result = Pooled(REGIONS)
    for first, two in cases:
        result.add(first, two)
    first, two = np.concatenate(cases, axis=-1)
    complete = score(first, two, (1.0, 1.0, 1.0), ("dice",), regions=REGIONS, labels=())
    assert [s.value for s in result.scores()] == [s.value for s in complete]


def test_memory_is_that_of_the_labels_that_there_are():
    first, two = line(1, 1, 0).astype(np.uint16), line(1, 0, 0).astype(np.uint16)
    first[first == 1], two[two == 1] = 65535, 65535
    tracemalloc.start()
    result = Pooled({"far": (65535,)})
    result.add(first, two)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [s.value for s in result.scores()] == [2 / 3] and peak < 1 << 22


def test_the_command_gives_it_one_row_without_a_case_and_one_pair_has_none(tmp_path, capsys):
    for case, values in {"a": ((1, 1), (1, 0)), "b": ((0, 1), (1, 1))}.items():
        for folder, value in zip(("p", "r"), values, strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(line(*value), np.eye(4)), tmp_path / folder / f"{case}.nii.gz")
    flags = ["--prediction", str(tmp_path / "p"), "--reference", str(tmp_path / "r"), "--metrics"]
    assert main(["score", *flags, "dice,dice_pooled", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r["case"], r["metric"], r["value"]) for r in rows] == [
        ("a", "dice", pytest.approx(2 / 3)),
        ("b", "dice", pytest.approx(2 / 3)),
        ("", "dice_pooled", pytest.approx(2 * 2 / (3 + 3))),
    ]
    assert (
        main(["score", *flags, "dice_monai"]) == 2
        and "grid that the network read" in capsys.readouterr().err
    )
    assert main(["score", *flags, "dice_pooled"]) == 0 and "all cases" in capsys.readouterr().out
    with pytest.raises(BenchError, match="has no value for one volume, use dice"):
        score(line(1), line(1), (1, 1, 1), ("dice_pooled",))
    assert [name for name, metric in METRICS.items() if metric.pooled] == ["dice_pooled"]
