"""bench plan --detect: what a study could see as written, and what a difference needs."""

import json
import re
from statistics import median

import pytest
from invented import row_of
from small_protocol import BASE

from bench import record
from bench.cli import main
from bench.show import detect
from bench.show.detect import FEW, PRIOR, RESULTS, tracked
from bench.stats.power import detectable, needed_runs

PARTS = ("patient", "run", "residual")
SIX = [{**BASE["finetune"][0], "seeds": [0, 1, 2, 3, 4, 5]}]


def detected(capsys, *arguments):
    assert main(["plan", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["detect"]


def test_a_study_is_told_by_its_own_records_what_it_could_see(capsys):
    found = detected(capsys, "studies_hippocampus", "--detect", "2")
    assert [
        (one["fraction"], one["comparisons"], one["runs"], one["patients"]) for one in found
    ] == [(5, 13, 3, 42), (100, 13, 3, 42)]
    for one in found:
        known = next(
            known
            for known in tracked(RESULTS)
            if (known.protocol, known.network, known.fraction)
            == ("studies_hippocampus", "genesis_unet3d/tiny", one["fraction"])
        )
        assert [one["noise"][part] for part in PARTS] == pytest.approx(
            [100 * getattr(known.noise, part) for part in PARTS]
        )
        assert one["source"].startswith("studies_hippocampus (genesis_unet3d/tiny")
        assert one["sees"] == pytest.approx(100 * detectable(known.noise, 42, 3, 13))
        assert one["needs_runs"] == needed_runs(0.02, known.noise, 42, 13) and one["pilot"]


def test_probes_are_told_by_tracked_probes(capsys):
    for one in detected(capsys, "studies_probes_hippocampus", "--detect", "1"):
        share = f"{one['fraction']} % of the labels"
        assert one["source"] == (
            f"studies_probes_hippocampus (genesis_unet3d/tiny_leaky, {share}, probes)"
        )
    # random encoders alone differ by more than fine-tunings do
    assert one["noise"]["run"] > 1 and one["pilot"]


def test_the_noise_of_a_record_is_that_of_the_verdicts_it_was_judged_by():
    """The components that ``bench.stats`` finds in a row's differences, taken apart here by hand."""
    import pandas as pd

    from bench.stats import compared

    table = pd.read_parquet(RESULTS / "studies" / "records" / "studies_hippocampus_small.parquet")
    table = table[table["metric"].eq("dice") & table["value"].notna() & table["fraction"].eq(5)]
    means = table.groupby(["row", "seed", "patient"], observed=True)["value"].mean().unstack("seed")
    rows = [row for row in table["row"].unique() if row != "scratch" and "(" not in row]
    made = [
        compared((means.loc[row] - means.loc["scratch"]).to_numpy(), [0, 1, 2], None)
        for row in rows
    ]
    (known,) = [
        known for known in tracked(RESULTS) if known.protocol == "studies_hippocampus_small"
    ]
    for part in PARTS:
        expected = median(getattr(one, f"sd_{part}") for one in made)
        assert getattr(known.noise, part) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("scratch", "known"), [(0.5, 1), (0.004, 0)])
def test_what_differs_from_a_scratch_that_has_not_learned_the_task_is_no_noise(scratch, known):
    rows = [
        row_of(row=row, init=init, pretrain_seed=seed, seed=seed, patient=f"p{n}", value=value)
        for row, init, value in (("scratch", "random", scratch), ("voco", "job:1", 0.7))
        for seed in (0, 1)
        for n in range(4)
    ]
    assert len([*detect._comparisons(record.frame(rows))]) == known


def test_the_prior_is_the_median_of_what_is_tracked():
    for name, prior in PRIOR.items():
        tuned = [known for known in tracked(RESULTS) if not known.probe]
        of = [known.noise for known in tuned if (known.fraction <= FEW) == (name == "few")]
        for part in PARTS:
            assert getattr(prior, part) == pytest.approx(
                median(getattr(n, part) for n in of), abs=6e-4
            ), part


def test_without_records_of_the_data_set_a_prior_stands_in_and_says_so(capsys, protocol_file):
    section = {
        "dataset": "btcv",
        "split": "even",
        "fractions": [100],
        "seeds": [0, 1, 2],
        "steps": 6,
    }
    path = protocol_file({"finetune": [section], "pretrain": {"seeds": "paired"}})
    (found,) = detected(capsys, path, "--detect", "1")
    assert "no tracked record" in found["source"] and found["noise"]["residual"] == pytest.approx(
        1.2
    )


def test_one_pretraining_sees_nothing_and_controls_are_no_comparisons(capsys, protocol_file):
    path = protocol_file({"controls": ["ceiling", "doses", "shuffled"]})
    found = detected(capsys, path, "--detect", "1")
    assert {(one["comparisons"], one["runs"], one["sees"]) for one in found} == {(1, 1, None)}
    paired = protocol_file({"pretrain": {"seeds": "paired"}}, "paired.yaml")
    assert all(one["runs"] == 2 for one in detected(capsys, paired, "--detect", "1"))
    crossed = protocol_file({"pretrain": {"seeds": [0, 1]}, "finetune": SIX}, "crossed.yaml")
    assert all(one["runs"] == 2 for one in detected(capsys, crossed, "--detect", "1"))  # not 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": ["hd95"]}, "it is judged by hd95; the noise of dice and accuracy alone"),
        ({}, "how many patients it tests; give --data"),
    ],
)
def test_where_the_noise_or_the_patients_are_not_known_nothing_is_claimed(
    capsys, protocol_file, changes, words
):
    """The records of a data set tell how many are tested by a split only if they were tested by it."""
    section = {
        "dataset": "msd04_hippocampus",
        "split": "by_scan_5fold",
        "fractions": [100],
        "steps": 6,
    }
    changes = {**changes, "finetune": [section], "pretrain": {"seeds": [0, 1]}}
    path = protocol_file(changes)
    (one,) = detected(capsys, path, "--detect", "1")
    assert words in one["unknown"] and not one["pilot"]
    assert one["sees"] is one["needs_runs"] is one["needs_patients"] is None
    assert main(["plan", str(path), "--detect", "1"]) == 0
    assert f"not known: {words}" in capsys.readouterr().out


def test_folds_are_no_pretrainings(capsys, protocol_file):
    section = {
        "dataset": "msd04_hippocampus",
        "split": "rule_5fold",
        "fractions": [100],
        "steps": 6,
    }
    path = protocol_file({"finetune": [section], "pretrain": {"seeds": [0]}})
    (one,) = detected(capsys, path, "--detect", "1")
    assert one["runs"] == 1 and one["sees"] is None


def test_it_is_said_in_words_what_is_a_pilot(capsys):
    assert main(["plan", "studies_slices_acdc", "--detect", "1"]) == 0
    text = capsys.readouterr().out
    assert (
        "studies_slices_acdc: a pilot: for 3 of 3 pairs of data set and label fraction it cannot detect 1 point\n"
        in text
    )
    assert "as written: detects no difference (6 comparisons, 5 test patients, 3 runs" in text
    assert "not possible with 5 test patients and 6 comparisons\n" in text
    assert main(["plan", "studies_hippocampus", "--detect", "2"]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        r"  for 7 runs: --set finetune.seeds=\[0,1,2,3,4,5,6\] --set pretrain.seeds=paired", told
    )
    assert main(["plan", "studies_hippocampus", "--detect", "50"]) == 0
    assert (
        "detects 50 points on each data set and at each label fraction" in capsys.readouterr().out
    )


@pytest.mark.parametrize("points", ["0", "-1", "101", "nan"])
def test_a_difference_that_cannot_be_is_refused(capsys, points):
    assert main(["plan", "studies_hippocampus", f"--detect={points}"]) == 2
    assert "give a difference in percentage points" in capsys.readouterr().err
