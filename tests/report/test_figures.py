"""What the figures of a layout's views show, as plain data; which figures a report has, in which order."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from bench import plugins
from bench.protocol import Finetune, Layout, Net, Quoted, Row, View
from bench.record import CURVE
from bench.report import figures
from bench.report.bars import _lines_of, extent
from bench.report.canvas import looks, save
from bench.report.charts import charts, lines
from bench.report.common import OTHERS
from bench.report.figures import wanted
from bench.report.forest import forest
from bench.report.learning import plots as learning_plots
from bench.report.masks import ADDED, CONFUSED, MISSED, wrong
from bench.report.plots import Chart, Group, Interval, Series
from bench.report.scaling import by_steps
from bench.report.supplement import Cloud, DatasetInfo, Extras, Panel, Pretraining
from bench.report.write import context_of
from bench.stats.comparison import WEIGHTS

SECTIONS = (
    Finetune(dataset="organs", split="even", steps=10, fractions=(100, 10)),
    Finetune(dataset="others", split="even", steps=10),
)
ROWS = {
    "a": Row("scratch", "net", title="A", published="Random"),
    "b": Row("voco", "net", title="B", published="VoCo"),
}
DATASETS = tuple(
    DatasetInfo(
        name, name.title(), targets, tuple(enumerate(targets, 1)), targets, redistribution=True
    )
    for name, targets in (("organs", ("liver", "tumour")), ("others", ("spleen",)))
)


@pytest.fixture
def context(protocol, records, printed):
    """Return a function from views to a context of two rows on two sections; b is better by 0.1, 5 mm."""
    rows = []
    for row, better in (("a", 0.0), ("b", 0.1)):
        for dataset, fraction, target, base in (
            ("organs", 10, "liver", 0.4),
            ("organs", 10, "tumour", 0.2),
            ("organs", 100, "liver", 0.6),
            ("organs", 100, "tumour", 0.4),
            ("others", 100, "spleen", 0.8),
        ):
            coordinates = {"row": row, "dataset": dataset, "fraction": fraction, "target": target}
            rows += [{**coordinates, "seed": s, "value": base + better + 0.02 * s} for s in (0, 1)]
            rows.append(
                {**coordinates, "metric": "hd", "unit": "mm", "value": 20 - 50 * better - 10 * base}
            )
    frame = printed(
        {"method": "VoCo", "value": "81"},
        {"method": "VoCo", "value": "42", "fraction": "10"},
        {"method": "Random", "target": "mean", "value": "55"},
        {"method": "Old", "value": "33"},
    )
    built = protocol(
        rows=ROWS,
        finetune=SECTIONS,
        metrics=("dice", "hd"),
        published_only={"old": Quoted("Old", title="Entrant")},
    )

    def build(*views, table=None, **extras):
        return context_of(
            replace(built, layout=Layout(views=views)),
            records(*rows) if table is None else table,
            Extras(published=frame, datasets=DATASETS, **extras),
        )

    return build


def groups(chart):
    return [g.labels for g in chart.groups]


def values(chart):
    """Return each row's title, its value by group, and what the paper printed there."""
    return {s.title: (dict(zip(s.xs, s.means, strict=True)), dict(s.printed)) for s in chart.series}


def test_bars_are_of_targets_and_their_mean_a_chart_for_each_section_fraction_and_metric(context):
    result = charts(context(), View(draw="bars", metrics=("dice",)))
    assert [c.title for c in result] == [
        "Organs, 10 % of the labels",
        "Organs, 100 % of the labels",
        "Others",
    ]
    assert [groups(c) for c in result] == [[("liver",), ("tumour",), ("Mean",)]] * 2 + [
        [("spleen",)]
    ]
    assert {g.axis for c in result for g in c.groups} == {"Dice (%)"}
    assert values(result[1]) == {
        "A": ({0: 61, 1: 41, 2: 51}, {2: 55}),
        "B": ({0: 71, 1: 51, 2: 61}, {0: 81}),
        "Entrant (published)": ({}, {0: 33}),
    }
    a, b, entrant = result[1].series
    assert (a.baseline, b.baseline, entrant.quoted) == (True, False, True)
    assert a.sds == pytest.approx((1.414214,) * 3, abs=1e-6)  # of 60 and 62, n - 1


def test_a_view_narrows_its_figure_and_nests_its_columns(context):
    view = View(
        draw="bars",
        rows=("b",),
        sections=("organs",),
        fractions=(100, 10),
        metrics=("hd",),
        targets=("mean", "liver"),
        columns=("target", "fraction"),
    )
    (result,) = charts(context(), view)
    assert groups(result) == [
        ("Mean", "10 %"),
        ("Mean", "100 %"),
        ("liver", "10 %"),
        ("liver", "100 %"),
    ]
    assert values(result) == {"B": ({0: 12, 1: 10, 2: 11, 3: 9}, {})} and result.groups[0].lower
    assert result.title == "Organs"


def test_dots_are_of_sections_and_metrics_each_in_its_unit(context):
    (result,) = charts(context(), View(draw="dots", fractions=(100,), published=False))
    assert result.groups == (
        Group(("Organs", "Dice (%)"), "Dice (%)", False),
        Group(("Organs", "HD (mm)"), "HD (mm)", True),
        Group(("Others", "Dice (%)"), "Dice (%)", False),
        Group(("Others", "HD (mm)"), "HD (mm)", True),
    )
    assert values(result) == {
        "A": ({0: 51, 1: 15, 2: 81, 3: 12}, {}),
        "B": ({0: 61, 1: 10, 2: 91, 3: 7}, {}),
    }


def test_lines_go_over_fractions_for_the_targets_that_are_chosen_with_what_the_paper_printed(
    context,
):
    liver, mean = lines(context(), View(draw="lines", metrics=("dice",), targets=("liver", "mean")))
    assert [(p.title, p.ticks) for p in (liver, mean)] == [
        ("Organs, liver", (10, 100)),
        ("Organs, Mean", (10, 100)),
    ]
    assert values(liver) == {
        "A": ({10: 41, 100: 61}, {}),
        "B": ({10: 51, 100: 71}, {10: 42, 100: 81}),
        "Entrant (published)": ({}, {100: 33}),
    }
    assert values(mean)["A"] == ({10: 31, 100: 51}, {100: 55})
    # one fraction is no line
    assert lines(context(), View(draw="lines", sections=("others",))) == ()


def test_where_scratch_alone_has_several_fractions_there_is_no_line(context, records):
    cells = [
        {"row": r, "dataset": "organs", "fraction": f, "target": "liver", "value": 0.5}
        for r, f in (("a", 10), ("a", 100), ("b", 10), ("b", 100))
    ]
    view = View(draw="lines", targets=("liver",), published=False)
    assert [len(lines(context(table=records(*cells[:n])), view)) for n in (2, 3, 4)] == [1, 0, 1]


def test_what_nobody_ran_is_not_drawn(context, records):
    nothing = context(View(draw="bars"), View(draw="dots"), View(draw="lines"), table=records())
    assert wanted(nothing) == []


def test_controls_stand_beside_the_row_that_is_named_and_no_row_of_a_like_name(protocol, records):
    rows = {**ROWS, "b (mine)": Row("voco", "net", title="Mine")}
    table = records(
        *({"row": r, "value": 0.5} for r in ("b", "b (mine)", "b (random)", "b (shuffled)"))
    )
    (result,) = charts(
        context_of(protocol(rows=rows), table, Extras()), View(draw="bars", rows=("b",))
    )
    assert [s.title for s in result.series] == ["B", "B (random)", "B (shuffled)"]


TRACKED = [  # row, section, fraction, target, metric, step, value
    ("a", "organs", 100, "liver", "dice", 1, 0.2),
    ("a", "organs", 100, "tumour", "dice", 1, 0.4),
    ("b", "organs", 100, "tumour", "dice", 1, 0.6),
    ("b", "organs", 10, "tumour", "dice", 1, 0.3),
    ("b", "others", 100, "spleen", "dice", 1, 0.9),
]


@pytest.mark.parametrize(
    ("view", "drawn"),
    [
        (
            {},
            [
                ("Organs, 10 % of the labels", {"B": 30}),
                ("Organs, 100 % of the labels", {"A": 30, "B": 60}),
                ("Others", {"B": 90}),
            ],
        ),
        (
            {"sections": ("organs",), "fractions": (100,), "targets": ("tumour",)},
            [("Organs, tumour", {"A": 40, "B": 60})],
        ),
        (
            {"rows": ("b",), "sections": ("others", "organs"), "fractions": (100,)},
            [("Others", {"B": 90}), ("Organs", {"B": 60})],
        ),
    ],
)
def test_learning_curves_are_narrowed(context, records, view, drawn):
    names = ("row", "dataset", "fraction", "target", "metric", "step", "value")
    rows = [dict(zip(names, row, strict=True)) for row in TRACKED]
    table = records(*({k: v for k, v in r.items() if k != "step"} for r in rows))
    table = table.assign(part="val", step=[r["step"] for r in rows], epoch=float("nan"))
    result = learning_plots(context(tracked=table[list(CURVE)]), View(draw="learning", **view))
    assert [(p.title, {s.title: s.means[0] for s in p.series}) for p in result] == drawn


@pytest.mark.parametrize(
    ("view", "drawn"),
    [
        ({}, [("Organs", {"A": [50, 50], "B": [20, 80]})]),
        ({"rows": ("b2", "b"), "targets": ("liver",)}, [("Organs, liver", {"B": [10, 70]})]),
        ({"rows": ("a", "b")}, []),
    ],
)
def test_lines_over_pretraining_are_narrowed(protocol, records, view, drawn):
    rows = {
        "a": ROWS["a"],
        "b2": Row("voco", "net", at=2, title="B @ 2"),
        "b": Row("voco", "net", title="B @ last"),
    }
    start = {"a": "random", "b2": "job:1@2", "b": "job:1"}
    table = records(
        *(
            {"row": r, "init": start[r], "target": t, "value": v + d}
            for r, v in (("a", 0.5), ("b2", 0.2), ("b", 0.8))
            for t, d in (("liver", -0.1), ("tumour", 0.1))
        )
    )
    done = Pretraining(("b2", "b"), ("organs",), (1, 1), (8, 8), 1, "adam", 0.1, "cosine", "fp32")
    result = by_steps(
        context_of(protocol(rows=rows), table, Extras(pretrainings=(done,), datasets=DATASETS)),
        View(draw="pretraining", **view),
    )
    assert [(p.title, {s.title: list(s.means) for s in p.series}) for p in result] == drawn


def cloud(title, *rows):
    return Cloud(title, ((0.0, 0.0),), (0,), ("organs",), rows=rows)


def panel(row, section, view=-1, **masks):
    mask = np.zeros((4, 4), np.uint8)
    return Panel(
        row, section, "c", row.upper(), *(masks.get(k, mask) for k in ("i", "r", "p")), view=view
    )


def test_views_stand_first_in_their_order_and_take_the_place_of_figures_of_their_kind(context):
    extras = {
        "clouds": (cloud("A", "a"), cloud("B", "b"), cloud("VGG-19")),
        "curves": {"b": {"step": (1, 2), "loss": (2.0, 1.0)}},
        "panels": tuple(panel("a", s, v) for v in (-1, 1) for s in ("organs", "others")),
    }
    defaults = ["fractions", "dots", "curves", "embeddings", "panels_organs", "panels_others"]
    assert [f.name for f in wanted(context(**extras))] == defaults
    views = (View(draw="bars"), View(draw="panels", title="Fig. 8"), View(), View(draw="lines"))
    result = wanted(context(*views, **extras))
    names = [
        "view1_bars",
        "view2_panels_organs",
        "view2_panels_others",
        "view4_lines",
        "dots",
        "curves",
        "embeddings",
    ]
    assert [f.name for f in result] == names
    assert [f.title for f in result[1:3]] == ["Fig. 8: Organs", "Fig. 8: Others"]


def test_a_control_that_stands_on_its_rows_own_pretraining_has_no_curve_again(context, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_curves", lambda curves: drawn.extend(curves) or [])
    item, other = {"step": (1, 2), "loss": (2.0, 1.0)}, {"step": (1, 2), "loss": (3.0, 1.0)}
    figures.wanted(
        context(curves={"a": item, "b": item, "b (shuffled)": item, "b (random)": other})
    )
    assert [title for title, _ in drawn] == ["A", "B", "b (random)"]


def test_a_curve_of_a_dose_is_that_of_its_ceiling(protocol, records):
    tops = {
        n: Row("supervised", "net", ceiling=True, dose=d) for n, d in (("half", 0.5), ("top", 1))
    }
    curves = {"half": {"step": (1, 2), "loss": (2.0, 1.0)}}
    study = protocol(rows={"a": Row("scratch", "net"), **tops})
    drawn = figures._distinct(context_of(study, records({"row": "a"}), Extras(curves=curves)))
    assert drawn == [("supervised (top)", curves["half"])]


@pytest.mark.usefixtures("no_plugins")
def test_a_term_has_the_words_that_its_method_declares(protocol, records, tmp_path):
    """Also one from outside, whose file is not run; other terms keep their names."""
    mine = 'class Mine(Method):\n    terms = {"alive": "live pairs"}\nraise OSError'
    (tmp_path / "mine.py").write_text(f"from bench.method import Method\n{mine}")
    plugins.use([tmp_path / "mine.py"])
    curve = {"step": (1,), "loss": (2.0,), "alive": (0.5,), "inter": (1.0,)}
    study = protocol(rows={"a": Row("mine", "net"), "b": Row("voco", "net")})
    read = context_of(study, records({"row": "a"}), Extras(curves={"a": curve, "b": curve}))
    drawn = [list(curve)[2:] for _, curve in figures._distinct(read)]
    assert drawn == [["live pairs", "inter"], ["pairs with a cosine above 0", "inter"]]


def test_a_digest_is_of_the_input_and_of_nothing_else(context, records):
    extras = {"panels": (panel("a", "organs", 1),), "clouds": (cloud("A", "a"), cloud("B", "b"))}

    def digests(errors=False, table=None, rows=()):
        views = (
            View(draw="bars"),
            View(draw="panels", errors=errors),
            View(draw="embeddings", rows=rows),
            View(draw="lines", rows=("b",), fractions=(10,)),
        )
        result = wanted(context(*views, **extras, **({} if table is None else {"table": table})))
        return {f.name: f.digest for f in result}

    before = digests()
    assert before == digests()
    for change, other in (
        ({"errors": True}, {"view2_panels_organs"}),
        ({"rows": ("b",)}, {"view3_embeddings"}),
        ({"table": records({"row": "a"})}, {"view1_bars", "dots"}),
    ):
        assert {n for n, d in digests(**change).items() if before[n] != d} == other


def test_a_picture_is_withheld_section_by_section(context):
    result = context(
        View(draw="panels"), panels=tuple(panel("a", s, 0) for s in ("organs", "others"))
    )
    result.info["others"] = replace(result.info["others"], redistribution=None)
    item, other = wanted(result)[:2]
    assert (item.embed, other.embed) == (
        True,
        False,
    ) and "They are in view1_panels_others.png" in other.reason


def test_clouds_are_of_the_rows_that_are_named_and_of_networks_beside_them(context):
    every = (cloud("A; C", "a", "c"), cloud("B", "b"), cloud("VGG-19"))
    (figure,) = wanted(
        context(View(draw="embeddings", rows=("c", "a")), View(draw="lines"), clouds=every)
    )[:1]
    assert [ax.get_title("left") for ax in figure.draw().axes] == ["A; C", "VGG-19"]


def test_captions_say_how_cases_were_picked_and_what_marks_are(context):
    views = (View(draw="panels", pick="worst", errors=True, slices="middle"), View(draw="bars"))
    pictures, bars = wanted(context(*views, panels=(panel("a", "organs", 0),)))[:2]
    wording = "Shown: the worst cases by mean Dice over these rows, each in the middle one of the labelled slices."
    assert pictures.captions[0] == wording and "Missed" in pictures.captions[1]
    assert (
        "standard deviation over runs" in bars.captions[0]
        and "printed in the paper" in bars.captions[1]
    )


@pytest.mark.parametrize("draw", ["bars", "dots", "lines"])
def test_a_figure_names_the_rows_whose_numbers_are_of_other_patients(protocol, records, draw):
    """Row c lacks a patient at 10 %; its variant lacks another."""
    rows = {**ROWS, "c": Row("mae3d", "net", title="C")}
    table = records(
        *(
            {"row": r, "fraction": f, "case": c, "value": 0.5}
            for r in ("a", "b", "c", "c (random)")
            for f in (10, 100)
            for c in "xy"
            if (r, f, c) not in (("c", 10, "y"), ("c (random)", 100, "x"))
        )
    )
    built = protocol(rows=rows, finetune=SECTIONS[:1], layout=Layout(views=(View(draw=draw),)))
    first = wanted(context_of(built, table, Extras()))[0]
    assert f"{OTHERS} C (organs, 10 %); C (random) (organs, 100 %)." in " ".join(
        first.captions
    ).replace(", liver", "")
    complete = table[table["case"] == "x"]
    assert OTHERS not in " ".join(
        wanted(context_of(built, complete[complete["fraction"] == 10], Extras()))[0].captions
    )


def test_errors_are_missed_added_or_confused():
    reference = np.array([[0, 0, 1], [1, 2, 2]], np.uint8)
    prediction = np.array([[0, 2, 0], [1, 1, 2]], np.uint8)
    assert wrong(reference, prediction).tolist() == [[0, ADDED, MISSED], [0, CONFUSED, 0]]


@pytest.mark.parametrize("rows", [2, 5])
def test_errors_stand_beside_few_predictions_and_below_many(context, rows):
    reference, prediction = np.eye(4, dtype=np.uint8), np.zeros((4, 4), np.uint8)
    prediction[0, 0] = prediction[0, 1] = 1
    names = "abcdefg"[:rows]
    result = tuple(panel(r, "organs", 0, r=reference, p=prediction) for r in names)
    figure = wanted(context(View(draw="panels", errors=True), panels=result))[0].draw()
    titles = [ax.get_title() for ax in figure.axes]
    few = ["Image", "Reference", "A", "Errors", "B", "Errors"]
    assert titles == (few if rows == 2 else ["Image", "Reference", *names.upper(), *[""] * 7])
    shown = figure.axes[3 if rows == 2 else 9].images[1].get_array()
    assert shown.tolist() == [
        [0, ADDED, 0, 0],
        [0, MISSED, 0, 0],
        [0, 0, MISSED, 0],
        [0, 0, 0, MISSED],
    ]
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["liver", "error: missed", "error: added", "error: confused"]


@pytest.mark.parametrize(
    ("means", "sds", "printed", "axis"),
    [
        ((80, 90), (0, 0), (), (78, 90.6)),
        ((80, 90), (0, 0), (60,), (50, 92)),
        ((20, 90), (0, 0), (), (0, 94.5)),  # one bar is short: all from 0
        ((60, 90), (30, 0), (), (0, 94.5)),
        ((-20, 60), (5, 5), (), (-40, 70.25)),  # kappa
        ((50,), (0,), (), (49, 50.05)),
    ],
)
def test_the_axis_of_bars_begins_at_zero_or_below_them_all(means, sds, printed, axis):
    series = Series("A", False, tuple(range(len(means))), means, sds, tuple(enumerate(printed)))
    start, end = extent(Chart("", (), (series,)))
    assert start <= min([m - s for m, s in zip(means, sds, strict=True)] + [*printed]) or start == 0
    assert (start, end) == pytest.approx(axis)


@pytest.mark.parametrize(
    ("labels", "most", "parts"),
    [
        ([("x",)] * 5, 9, [[0, 1, 2, 3, 4]]),
        ([("x",)] * 5, 3, [[0, 1, 2], [3, 4]]),
        (
            [(o, i) for o in "AB" for i in "123"],
            4,
            [[0, 1, 2], [3, 4, 5]],
        ),  # never within an outer group
        ([(o, i) for o in "ABC" for i in "12"], 4, [[0, 1, 2, 3], [4, 5]]),
    ],
)
def test_a_wide_chart_goes_on_below(labels, most, parts):
    built = Chart("", tuple(Group(names, "Dice (%)", False) for names in labels), ())
    assert _lines_of(built, most) == parts


def test_the_axis_says_where_it_begins_and_a_legend_what_is_printed(context):
    figure = wanted(
        context(View(draw="bars", metrics=("dice",), sections=("others",)), View(draw="lines"))
    )[0].draw()
    (ax,) = figure.axes
    start = ax.get_ylim()[0]
    assert start > 0 and ax.get_ylabel() == f"Dice (%)\naxis begins at {start:g}"
    # a bar's length would say nothing
    marks = [container.lines[0].get_ydata().tolist() for container in ax.containers]
    assert not ax.patches and marks == [[81], [91]]
    (organs,) = wanted(
        context(
            View(draw="bars", fractions=(100,), sections=("organs",), metrics=("dice",)),
            View(draw="lines"),
        )
    )[:1]
    drawn = organs.draw()
    wording = [t.get_text() for t in drawn.legends[0].get_texts()]
    assert wording == ["A", "B", "Entrant (published)", "printed in the paper"]
    assert all(ax.get_legend() is None for ax in drawn.axes)


@pytest.mark.parametrize(("number", "drawn"), [(3, (1, 3, 0)), (4, (1, 0, 8)), (7, (7, 0, 14))])
def test_few_rows_have_bands_more_have_their_runs_and_many_a_plot_each(
    protocol, records, number, drawn
):
    rows = {f"r{i}": Row("voco", "net", title=f"R{i}") for i in range(number)}
    both = (replace(SECTIONS[0], dataset="organs"),)
    table = records(
        *(
            {"row": r, "fraction": f, "seed": s, "value": 0.5 + s / 10}
            for r in rows
            for f in (10, 100)
            for s in (0, 1)
        )
    )
    figure, _ = wanted(context_of(protocol(rows=rows, finetune=both), table, Extras()))
    axes = figure.draw().axes
    bands = sum(
        type(c).__name__ == "FillBetweenPolyCollection" for ax in axes for c in ax.collections
    )
    runs = [
        line
        for ax in axes
        for line in ax.lines
        if line.get_alpha() == 0.6 and line.get_linewidth() > 0.6
    ]
    assert (len(axes), bands, len(runs)) == drawn
    assert all(
        list(line.get_xdata()) == [10, 100] and {*line.get_ydata()} < {50.0, 60.0} for line in runs
    )


def test_rows_from_scratch_of_two_networks_differ_in_line_and_name(protocol, records):
    rows = {
        f"{method}_{net}": Row(method, net)
        for net in ("net", "other")
        for method in ("scratch", "voco")
    }
    built = protocol(
        rows=rows,
        networks={n: Net("swin_unetr") for n in ("net", "other")},
        finetune=(replace(SECTIONS[0], dataset="organs"),),
    )
    table = records(*({"row": r, "fraction": f} for r in rows for f in (10, 100)))
    (plot,) = lines(context_of(built, table, Extras()), View(draw="lines"))
    result = {s.title: (s.baseline, s.scratch) for s in plot.series}
    bases = [title for title, (baseline, _) in result.items() if baseline]
    assert len(bases) == 2 and [result[t][1] for t in result if t not in bases] == bases
    item, two = (looks(plot.series)[title] for title in bases)
    assert all(item[key] != two[key] for key in ("color", "linestyle", "marker"))


def test_a_forest_of_many_rows_is_not_cut_at_its_edges(tmp_path):
    """A large figure has fewer dots an inch, at which its letters have other widths."""
    titles = ("Ceiling: pretrained with labels", *["Random ResNet-34 (intensity)"] * 7)
    told = WEIGHTS, "+37.57  [+32.56, +42.59]", WEIGHTS
    rows = [
        Interval(titles[n % 8], f"ACDC, {n // 8} %", 5.0, -3.0, 7.0, *told, rope=1.0)
        for n in range(75)
    ]
    files = tuple(tmp_path / f"forest.{kind}" for kind in ("png", "pdf", "svg"))
    save(forest(rows, "Dice (points)"), files, "forest")
    picture = imread(files[0])[..., :3].mean(axis=2)
    assert picture[:, [0, 1, 2, -3, -2, -1]].min() > 0.9
