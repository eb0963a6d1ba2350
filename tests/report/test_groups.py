"""Scores by groups of patients: means and gaps by hand, and who is left out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t, ttest_ind

from bench.protocol import Finetune, Row
from bench.protocol.sections import Grouping
from bench.report import groups
from bench.report.numbers import MINUS, TIMES
from bench.report.sections import Text
from bench.report.supplement import Extras
from bench.report.write import context_of, plain_text, write

ROWS = {"a": Row("scratch", "net", title="A"), "b": Row("voco", "net", title="B")}
SEX = {"F": (0.60, 0.70, 0.80), "M": (0.90, 0.80, 0.85, 0.85)}  # of scratch
GAIN = {"F": (0.08, 0.10, 0.12), "M": (-0.01, 0.01, 0.0, 0.0)}  # of B on it


def parts_of(protocol, records, people, rows, **changes):
    """Return the parts of the section for one column, `sex` by default."""
    by = changes.pop("by", ("sex",))
    drawn = protocol(rows=ROWS, groups={"organs": Grouping(by=by)}, **changes)
    report = context_of(drawn, records(*rows), Extras(groups={"organs": people}))
    return [part for section in groups.sections(report) for part in section.parts]


def scored(values, row="a", seed=0, **more):
    return [
        {"row": row, "seed": seed, "case": who, "patient": who, "value": value, **more}
        for who, value in values.items()
    ]


def patients(of):
    return {f"{group}{n}": v for group, values in of.items() for n, v in enumerate(values)}


def words(line):
    return [line.labels[0], *(cell.mean for cell in line.entries)]


def compared(first, second):
    """Return gap, interval and p in points, as print has them: by SciPy, degrees of freedom of the smaller."""
    distance = ttest_ind(first, second, equal_var=False).statistic
    df = min(len(first), len(second)) - 1
    gap = 100 * (np.mean(first) - np.mean(second))
    half, p = t.ppf(0.975, df) * gap / distance, 2 * t.sf(abs(distance), df)
    low, high = sorted((gap - half, gap + half))
    signed = [f"{v:+.2f}".replace("-", MINUS) for v in (gap, low, high)]
    return [signed[0], f"{signed[1]} to {signed[2]}", f"{p:.3f}" if p < 0.1 else f"{p:.2f}"]


def test_means_gap_and_gap_less_scratchs_by_hand(protocol, records):
    base = patients(SEX)
    people = {who: {"sex": who[0]} for who in base}
    gained = {who: base[who] + gain for who, gain in patients(GAIN).items()}
    means, pairs = parts_of(protocol, records, people, [*scored(base), *scored(gained, "b")])
    a, b = (words(line) for line in means.lines)
    # 70 and 85 points, then 80 and 85
    assert a == ["A", "70.00 (3)", "85.00 (4)", *compared(SEX["M"], SEX["F"]), f"1 {TIMES} 7"]
    of_b = {sex: np.add(SEX[sex], GAIN[sex]) for sex in SEX}
    assert b == ["B", "80.00 (3)", "85.00 (4)", *compared(of_b["M"], of_b["F"]), f"1 {TIMES} 7"]
    assert a[3] == "+15.00" and b[3] == "+5.00"
    a, b = (words(line) for line in pairs.lines)
    assert a[:2] == ["A", f"M {MINUS} F"] and a[5:] == ["", "", ""]
    # paired: 0 gained by M less 10 gained by F, whatever the patients' own spread
    assert b[5:] == compared(GAIN["M"], GAIN["F"]) and b[5] == f"{MINUS}10.00"
    assert means.caption.endswith("for these weights, not for the method: A; B.") and pairs.folded
    assert "picked" not in means.caption and "oo few" not in means.caption


def test_three_groups_have_the_widest_gap_first_and_an_interval_for_its_being_picked(
    protocol, records
):
    values = {"x": (0.5, 0.6, 0.5, 0.6, 0.55)}
    values |= {"y": (0.8, 0.9, 0.8, 0.9, 0.85), "z": (0.7, 0.6, 0.7, 0.6, 0.65)}
    people = {who: {"sex": who[0]} for who in patients(values)}
    means, pairs = parts_of(protocol, records, people, scored(patients(values)))
    assert [line.entries[0].mean for line in pairs.lines] == [
        f"y {MINUS} x",
        f"y {MINUS} z",
        f"z {MINUS} x",
    ]
    y, x = values["y"], values["x"]
    half = t.ppf(1 - 0.05 / 6, 4) * 30 / ttest_ind(y, x, equal_var=False).statistic
    assert words(means.lines[0])[5] == f"+{30 - half:.2f} to +{30 + half:.2f}"
    assert "98.3 % for each pair" in means.caption
    p = 2 * t.sf(ttest_ind(y, x, equal_var=False).statistic, 4)
    assert words(pairs.lines[0])[4] == f"{3 * p:.3f}"


def test_runs_are_shared_by_the_groups(protocol, records):
    """Each run scores both groups alike, so its luck is in no gap."""
    base = patients(SEX)
    people = {who: {"sex": who[0]} for who in base}
    lucky = [
        row
        for seed, luck in enumerate((0, 0.1, -0.1))
        for row in scored({who: v + luck for who, v in base.items()}, seed=seed)
    ]
    means, _ = parts_of(protocol, records, people, lucky)
    assert words(means.lines[0])[3:] == [*compared(SEX["M"], SEX["F"]), f"3 {TIMES} 7"]
    assert "these weights" not in means.caption
    # of a row with one pretraining it is of these weights, however many seeds fine-tune them
    pretrained = [row | {"row": "b"} for row in lucky]
    means, _ = parts_of(protocol, records, people, lucky + pretrained)
    assert means.caption.endswith("not for the method: B.")


def test_who_is_left_out_is_said_and_counted(protocol, records):
    values = patients({**SEX, "X": (0.5,), "N": (0.4, 0.3)})
    people = {who: {"sex": who[0]} for who in values if who[0] != "N"}
    means, _ = parts_of(protocol, records, people, scored(values))
    assert [column.label for column in means.columns][:2] == ["F", "M"]
    assert "Left out: 2 of 10 patients without an entry in sex (the first is N0)." in means.caption
    assert "Left out: 1 group of fewer than 2 patients (X)." in means.caption
    assert words(means.lines[0])[-1] == f"1 {TIMES} 7"


@pytest.mark.parametrize(
    ("group_of", "says"),
    [
        (lambda n: str(n), "0 groups of 2 patients or more; a comparison needs 2 to 12"),
        (lambda n: "one", "1 group of 2 patients or more"),
        (lambda n: str(n // 2), "13 groups of 2 patients or more"),
    ],
)
def test_too_few_and_too_many_groups_are_a_line(protocol, records, group_of, says):
    values = {f"p{n:02}": 0.5 + n / 100 for n in range(26)}
    people = {who: {"sex": group_of(n)} for n, who in enumerate(values)}
    (line,) = parts_of(protocol, records, people, scored(values))
    assert isinstance(line, Text) and line.kind == "warning" and says in line.text
    assert line.text.startswith("Dice by sex, organs, 100 % of the labels: ")


def test_few_patients_have_no_p(protocol, records):
    """Three and three can be dealt in 20 ways: no exact p of them is below 0.1."""
    values = patients({"F": (0.1, 0.11, 0.12), "M": (0.9, 0.91, 0.92)})
    people = {who: {"sex": who[0]} for who in values}
    means, pairs = parts_of(protocol, records, people, scored(values))
    assert words(means.lines[0])[5] == words(pairs.lines[0])[4] == "too few"
    assert "with so few patients no exact test" in means.caption


def test_a_row_without_a_group_and_a_run_that_failed(protocol, records):
    base = patients(SEX)
    people = {who: {"sex": who[0]} for who in base}
    none_of_f = {who: v for who, v in base.items() if who[0] == "M" or who == "F0"}
    rows = [*scored(base), *scored(base, seed=1), *scored(none_of_f, "b"), *scored(base, "b", 1)]
    means, _ = parts_of(protocol, records, people, rows)
    assert [words(line)[-1] for line in means.lines] == [f"2 {TIMES} 7", f"2 {TIMES} 7"]
    alone = [*scored(base), *scored(none_of_f, "b")]
    means, _ = parts_of(protocol, records, people, alone)
    assert [line.labels[0] for line in means.lines] == ["A"]


def test_distances_are_in_their_own_unit(protocol, records):
    values = {who: 10 * v for who, v in patients(SEX).items()}
    people = {who: {"sex": who[0]} for who in values}
    rows = scored(values, metric="hd95", unit="mm")
    means, _ = parts_of(protocol, records, people, rows)
    assert words(means.lines[0])[:4] == ["A", "7.00 (3)", "8.50 (4)", "+1.50"]


def test_every_form_of_a_report_shows_groups_and_a_plain_one_does_not(protocol, records, tmp_path):
    base = patients(SEX)
    people = {who: {"sex": who[0], "site": "a"} for who in base}
    drawn = protocol(
        rows=ROWS,
        groups={"organs": Grouping(by=("sex", "site"))},
        finetune=(Finetune(dataset="organs", split="even", steps=10),),
    )
    rows, extras = records(*scored(base)), Extras(groups={"organs": people})
    paths = write(drawn, rows, tmp_path, extras, figures=False)
    texts = [p.read_text() for p in (paths.markdown, paths.tex, paths.page)] + [paths.text]
    texts.append(plain_text(drawn, rows, extras))
    for words in (groups.HEADING, "Dice by site, organs"):
        assert [words in text for text in texts] == [True] * 4 + [False]
