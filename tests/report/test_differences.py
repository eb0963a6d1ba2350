"""Dots of rows: paired differences against scratch by hand, scores where there is none."""

import numpy as np
import pytest

from bench.protocol import Finetune, Net, Row
from bench.report import drawing
from bench.report.differences import AGAINST, MOST, strips
from bench.report.forest import DETECTABLE, spots
from bench.report.plots import Interval
from bench.report.supplement import Extras
from bench.report.write import context_of

ROWS = {"a": Row("scratch", "net", title="A"), "b": Row("voco", "net", title="B")}
# patient, target: value of scratch in seeds 0 and 1, of b likewise
VALUES = {
    ("p1", "liver"): ((0.50, 0.60), (0.60, 0.80)),
    ("p1", "tumour"): ((0.20, 0.20), (0.20, 0.30)),
    ("p2", "liver"): ((0.70, 0.80), (0.60, 0.80)),
}
FRACTIONS = (Finetune(dataset="organs", split="even", steps=10, fractions=(100, 10)),)


def rows_of(row, which, *, pretrained=0, scale=1.0, seeds=(0, 1)):
    return [
        {
            "row": row,
            "seed": s,
            "pretrain_seed": pretrained,
            "patient": patient,
            "case": patient,
            "target": target,
            "value": scale * pair[which][s],
        }
        for (patient, target), pair in VALUES.items()
        for s in seeds
    ]


def test_a_rows_dots_are_paired_by_patient_and_seed_and_mean_over_targets(protocol, records):
    table = records(*rows_of("a", 0), *rows_of("b", 1))
    (strip,) = strips(context_of(protocol(rows=ROWS), table, Extras()))
    assert (strip.title, strip.axis, strip.lower, strip.against) == (
        "organs",
        "Dice (points)",
        False,
        AGAINST,
    )
    (b,) = strip.rows
    # liver differs by 10, 20 in p1 and -10, 0 in p2; the tumour of p1 by 0, 10
    assert b.title == "B" and b.runs == pytest.approx(((10 - 10) / 4, ((20 + 0) / 2 + 10) / 2))
    assert b.mean == pytest.approx(5) and b.pretrained == (0, 0)
    # p2: liver alone; p1: of liver 15, of the tumour 5
    assert b.patients == pytest.approx((-5, 10))


def test_pretrainings_are_told_apart_and_a_run_without_its_like_from_scratch_is_left_out(
    protocol, records
):
    table = records(
        *rows_of("a", 0, seeds=(0,)),
        *rows_of("b", 1),
        *rows_of("b", 1, pretrained=7, scale=0.5, seeds=(0,)),
    )
    (strip,) = strips(context_of(protocol(rows=ROWS), table, Extras()))
    (b,) = strip.rows
    assert b.pretrained == (0, 1) and b.runs == pytest.approx((0, (-30 - 10) / 2))


def test_controls_stand_against_scratch_itself_and_last_weights_against_its_last(protocol, records):
    table = records(
        *(
            {"row": r, "value": v}
            for r, v in (
                ("a", 0.5),
                ("a (last)", 0.4),
                ("a (long)", 0.7),
                ("b", 0.6),
                ("b (last)", 0.7),
            )
        )
    )
    (strip,) = strips(context_of(protocol(rows=ROWS), table, Extras()))
    result = {spots.title: spots.mean for spots in strip.rows}
    assert result == pytest.approx({"A (long)": 20, "B": 10, "B (last)": 30})


def test_rows_without_one_from_scratch_show_scores_and_each_fraction_has_its_strip(
    protocol, records
):
    networks = {"net": Net("swin_unetr"), "other": Net("swin_unetr")}
    rows = {**ROWS, "c": Row("voco", "other", title="C")}
    built = protocol(rows=rows, networks=networks, finetune=FRACTIONS, baseline="none")
    table = records(
        *(
            {"row": r, "fraction": f, "value": v}
            for f in (10, 100)
            for r, v in (("a", 0.5), ("b", 0.6), ("c", 0.7))
        )
    )
    result = strips(context_of(built, table, Extras()))
    assert [(s.title, s.against, [(r.title, r.mean) for r in s.rows]) for s in result] == [
        (f"organs, {f} % of the labels", *rest)
        for f in (10, 100)
        for rest in ((AGAINST, [("B, net", 10.0)]), ("", [("C, other", 70.0)]))
    ]


def test_rows_from_scratch_show_scores_where_nothing_is_measured_against_them(protocol, records):
    rows = {"a": Row("scratch", "net", title="A"), "c": Row("scratch", "other", title="C")}
    built = protocol(rows=rows, networks={"net": Net("swin_unetr"), "other": Net("swin_unetr")})
    (strip,) = strips(
        context_of(built, records({"row": "a", "value": 0.5}, {"row": "c", "value": 0.7}), Extras())
    )
    assert [(r.title, r.mean) for r in strip.rows] == [("A, net", 50), ("C, other", 70)]
    assert strip.axis == "Dice (%)"


def test_values_over_all_cases_at_once_have_no_dots(protocol, records):
    table = records(*({"row": r, "case": "", "metric": "auc", "value": 0.5} for r in "ab"))
    assert strips(context_of(protocol(rows=ROWS, metrics=("auc",)), table, Extras())) == ()


def test_of_many_patients_the_least_and_the_greatest_are_kept_and_all_dots_are_drawn(
    protocol, records
):
    n = 3 * MOST
    table = records(
        *(
            {"row": r, "case": f"c{i}", "value": 0.5 + 0.1 * (r == "b") * i / n}
            for r in "ab"
            for i in range(n)
        )
    )
    result = strips(context_of(protocol(rows=ROWS), table, Extras()))
    dots = result[0].rows[0].patients
    assert len(dots) == MOST and (dots[0], dots[-1]) == pytest.approx(
        (0, 10 * (n - 1) / n), abs=1e-3
    )
    (ax,) = spots(result).axes
    pale = [line for line in ax.lines if line.get_markersize() < 4 and len(line.get_xdata()) > 0]
    pale = [line for line in pale if line.get_marker() in "o<>"]
    drawn = np.concatenate([np.atleast_1d(line.get_xdata()) for line in pale])
    assert len(drawn) == MOST and "better" in ax.get_xlabel() and "scratch" in ax.get_xlabel()


def test_a_forest_says_interval_and_verdict_in_words_and_shades_what_is_equivalent():
    rows = (
        Interval("A", "5 %", 1.5, 0.5, 2.5, "better", "+1.50  [+0.50, +2.50]", "better", rope=1.0),
        Interval("B", "5 %", -0.2, -0.6, 0.2, "equivalent", "-0.20", "equivalent", 1.25, 1.0),
        Interval(
            "C", "100 %", 0.4, -60, 60, "not separable", "", "not separable (after Holm)", rope=1.0
        ),
    )
    figure = drawing.forest(rows, "HD95 (mm) against scratch", lower=True)
    first, two = figure.axes
    wording = [t.get_text() for t in first.texts]
    assert wording == ["+1.50  [+0.50, +2.50]", "-0.20", "better", "equivalent"]
    assert [t.get_text() for t in two.texts] == ["", "not separable (after Holm)"]
    assert [t.get_text() for t in first.get_yticklabels()] == ["A", "B"]
    assert [ax.get_title("left") for ax in figure.axes] == ["5 %", "100 %"]
    shaded = [
        p.get_extents().transformed(ax.transData.inverted())
        for ax in (first, two)
        for p in ax.patches
    ]
    assert [(round(box.x0, 6), round(box.x1, 6)) for box in shaded] == [(-1, 1), (-1, 1)]
    for ax in (first, two):  # limits are seen where the band is narrow; numbers stand below each
        assert [line.get_xdata()[0] for line in ax.lines if line.is_dashed()] == [-1, 1]
        assert all(tick.label1.get_visible() for tick in ax.xaxis.get_major_ticks())
    hollow = [line for line in first.lines if line.get_marker() == "d"]
    assert [list(line.get_xdata()) for line in hollow] == [[1.25]]
    # a wide interval is cut, and says so
    assert first.get_xlim() == two.get_xlim() and two.get_xlim()[1] < 20
    assert {line.get_marker() for line in two.lines} >= {"<", ">"}
    assert two.get_xlabel() == "HD95 (mm) against scratch, \N{LEFTWARDS ARROW} better"


def test_a_forest_brackets_what_a_study_could_not_have_seen():
    rows = (
        Interval("A", "5 %", 1.5, 0.5, 2.5, "better", "", "better", detectable=0.5),
        Interval("B", "5 %", 0.2, -0.6, 0.6, "not separable", "", "", detectable=40.0),
        Interval("C", "5 %", 0.2, -0.6, 0.6, "not separable", "", ""),
    )
    figure = drawing.forest(rows, "Dice (points) against scratch")
    (ax,) = figure.axes
    dotted = [line for line in ax.lines if line.is_dashed()]
    near, far = dotted  # none where it is not known
    assert list(near.get_xdata()) == [-0.5, 0.5] and near.get_markevery() == [True, True]
    assert list(far.get_xdata()) == [*ax.get_xlim()]  # cut, and without brackets
    assert far.get_markevery() == [False, False]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [DETECTABLE]
    figure = drawing.forest(rows[2:], "Dice (points) against scratch")
    assert not figure.legends
