"""The table of pretrainings, the pictures of their encoders, and what is said where a panel lacks."""

import re
from dataclasses import replace

import numpy as np
import pytest

from bench.protocol import Mix, Pretrain, Row
from bench.protocol.sections import OnlineProbe
from bench.report import drawing
from bench.report.figures import wanted
from bench.report.pretrainings import plotted, sections, short
from bench.report.supplement import Cloud, Extras, Pretext, ProbeCurve
from bench.report.write import context_of, write

CURVE = {"steps": (1.0, 2.0), "values": (0.2, 0.8), "chances": (0.25, 0.25)}


def pretext(**given):
    base = {
        "row": "b",
        "says": "rotations told",
        "first": 0.2,
        "last": 0.8,
        "chance": 0.25,
        "std": (0.5, 0.25),
        "rank": (4.0, 12.34),
        **CURVE,
    }
    return Pretext(**{**base, **given})


def cloud(title="B", groups=("organs", "others"), n=5):
    group = np.arange(2 * n) % len(groups)
    points = np.random.default_rng(0).uniform(-1, 1, (2 * n, 2)).astype(np.float32)
    return Cloud(
        title, tuple(map(tuple, points.tolist())), tuple(group.tolist()), groups, "t-SNE", 0.25, 3.0
    )


def lines_of(context):
    """Return the lines of the table of pretrainings."""
    return [line.words for section in sections(context) for line in section.parts[0].lines]


def test_a_line_says_rows_figure_course_and_chance_in_the_protocols_order(protocol, records):
    rows = {r: Row("voco", "net", title=r.upper()) for r in "abc"}
    other = pretext(row="a", shared=("c",), rises=False, chance=None, std=None, rank=None)
    shown = context_of(protocol(rows=rows), records({}), Extras(pretexts=(pretext(), other)))
    assert lines_of(shown) == [
        ("A; C", "rotations told (lower is better)", "0.200", "0.800", "—", "—", "—"),
        (
            "B",
            "rotations told (higher is better)",
            "0.200",
            "0.800",
            "0.250",
            "0.500 → 0.250",
            "4.00 → 12.3",
        ),
    ]


def test_a_remark_stands_beside_the_row_where_no_screen_cuts_it_off(protocol, records, tmp_path):
    """A row that is not trained for the figure's task is no pretraining that learned nothing."""
    low = (pretext(last=0.1, untrained=True), pretext(row="a", collapsed=True))
    extras = Extras(pretexts=low)
    lines = lines_of(context_of(protocol(), records({}), extras))
    assert [line[:2] for line in lines] == [("A", "collapsed"), ("B", "not trained for this task")]
    text = write(protocol(), records({}), tmp_path, extras, figures=False).page.read_text()
    assert "no better than" not in text.partition("<main")[2].partition("<h1>")[0]


@pytest.mark.parametrize(
    ("value", "wording"),
    [
        (0.0453, "0.0453"),
        (-1.5, "\N{MINUS SIGN}1.50"),
        (12345.6, "12,346"),
        (123.4, "123"),
        (0, "0.00"),
        (1234567, "1.23e06"),
        (None, "—"),
    ],
)
def test_numbers_have_three_digits(value, wording):
    assert short(value) == wording


def test_the_table_is_in_every_form_and_a_collapse_is_shouted(protocol, records, tmp_path):
    fallen = Extras(pretexts=(pretext(collapsed=True),))
    paths = write(protocol(), records({}), tmp_path, fallen, figures=False)
    for path in (paths.markdown, paths.tex, paths.page):
        text = path.read_text()
        assert "Pretraining" in text and "The std falls below a tenth" in text
        assert "rotations told (higher is better)" in text and re.search(r"\bcollapsed\b", text)
    assert '<span class="m hole failed">collapsed</span>' in paths.page.read_text()
    assert "1 collapsed encoder<" in paths.page.read_text()
    assert (
        "collapsed in pretraining (embeddings nearly equal, or along one direction): B"
        in paths.text
    )
    well = Extras(pretexts=(pretext(),))
    assert "collapsed" not in write(protocol(), records({}), tmp_path, well, figures=False).text
    nothing = write(protocol(), records({}), tmp_path, figures=False)
    for path in (nothing.markdown, nothing.tex, nothing.page):
        assert not re.search(r"Embedding std|\bcollapsed\b", path.read_text())


def test_a_control_that_is_pretrained_with_labels_is_not_judged_by_its_figure(
    protocol, records, tmp_path
):
    rows = {"a": Row("scratch", "net"), "top": Row("supervised", "net", ceiling=True)}
    low = Extras(pretexts=(pretext(row="top", collapsed=True, last=0.1),))
    paths = write(protocol(rows=rows), records({}), tmp_path, low, figures=False)
    for text in (*(p.read_text() for p in (paths.markdown, paths.tex, paths.page)), paths.text):
        assert not re.search(r"collapsed|guessing|rotations told", text)


def test_a_pretraining_without_points_has_a_line_and_no_panel(protocol, records):
    nothing = pretext(first=None, last=None, steps=(), values=(), chances=())
    context = context_of(protocol(), records({}), Extras(pretexts=(nothing,)))
    assert len(lines_of(context)) == 1 and "pretext" not in [f.name for f in wanted(context)]


def test_an_online_probe_has_a_column_a_figure_of_its_own_and_a_note(protocol, records, tmp_path):
    curve = ProbeCurve("btcv", "dice", 8, (0.0, 5.0, 8.0), (0.1, 0.25, 0.5))
    section = Pretrain(
        datasets=(Mix("btcv"),), steps=8, probe=OnlineProbe(dataset="btcv", patients=7, every=5)
    )
    rows = {r: Row("voco", "net", title=r.upper()) for r in "ab"}
    probed = Extras(pretexts=(pretext(probe=curve), pretext(row="a")))
    context = context_of(protocol(rows=rows, pretrain=section), records({}), probed)
    assert [line[-1] for line in lines_of(context)] == ["—", "Dice 0.100 → 0.500"]
    figures = {f.name: f for f in wanted(context)}
    (ax,) = figures["probe"].draw().axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.1, 0.25, 0.5]]
    assert "Dice on 4 patients of" in ax.texts[0].get_text().replace("\n", " ")
    bare = context_of(
        protocol(rows=rows), records({}), Extras(pretexts=(pretext(), pretext(row="a")))
    )
    assert {f.name: f.digest for f in wanted(bare)}["pretext"] == figures["pretext"].digest
    assert "probe" not in {f.name for f in wanted(bare)}
    paths = write(
        protocol(rows=rows, pretrain=section), records({}), tmp_path, probed, figures=False
    )
    for path in (paths.markdown, paths.tex, paths.page):
        text = path.read_text()
        assert (
            "the labels of 7 training patients of" in text
            and "4 to fit the probe, 3 to score it" in text
        )
        assert "Online probe" in text and "selects nothing" in text


def test_absent_panels_are_named_under_the_picture_or_in_the_notes(protocol, records, tmp_path):
    line = "The panel of VGG-19 is left out: there is no file vgg19.pth."
    for result in ((), (cloud(),)):
        extras = Extras(clouds=result, absent=(line,))
        paths = write(protocol(), records({}), tmp_path, extras, figures=False)
        page = paths.page.read_text()
        assert page.count(line) == 1 and (f'<p class="caption">{line}' in page) is bool(result)
        assert line in paths.markdown.read_text() and line in paths.tex.read_text()
        assert ("by t-SNE of the encoder" in page) is bool(result)


def test_each_panel_shows_its_course_and_chance():
    figure = drawing.pretexts([("B", (pretext(),)), ("C", (pretext(chances=()),))])
    item, two = figure.axes
    assert [list(line.get_ydata()) for line in item.lines] == [[0.2, 0.8], [0.25, 0.25]]
    assert (
        item.lines[1].get_linestyle() == "--" and len(two.lines) == 1 and two.get_legend() is None
    )
    assert item.get_title("left") == "B"
    assert [t.get_text() for t in item.texts] == ["rotations told, higher is better"]


def test_a_data_set_has_one_colour_in_all_panels_and_every_point_is_drawn():
    result = (cloud("B"), cloud("C", ("others", "third")))
    titles = {"organs": "Organs", "others": "Others", "third": "Third"}
    figure = drawing.clouds(result, titles)
    colours = [
        {n: line.get_color() for n, line in zip(c.groups, ax.lines, strict=True)}
        for c, ax in zip(result, figure.axes, strict=True)
    ]
    assert colours[0]["others"] == colours[1]["others"] != colours[0]["organs"]
    drawn = np.concatenate([line.get_xydata() for line in figure.axes[0].lines])
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, result[0].points))
    assert [t.get_text() for t in figure.legends[0].get_texts()] == list(titles.values())
    assert "t-SNE, std 0.250, rank 3.00" in {t.get_text() for t in figure.axes[0].texts}


def test_many_data_sets_differ_by_marker_once_the_colours_are_used_up():
    groups = tuple(f"d{i}" for i in range(20))
    (ax,) = drawing.clouds((cloud(groups=groups, n=10),), {g: g for g in groups}).axes
    looks = {(line.get_color(), line.get_marker()) for line in ax.lines}
    assert len(looks) == 20


def test_a_picture_is_drawn_again_when_a_point_moves(protocol, records):
    def digest(result):
        context = context_of(
            protocol(), records({}), Extras(clouds=(result,), pretexts=(pretext(),))
        )
        return {f.name: f.digest for f in wanted(context)}

    before, shifted = cloud(), cloud()
    (x, y), *others = shifted.points
    shifted = replace(shifted, points=((x + 0.1, y), *others))
    assert digest(before)["embeddings"] != digest(shifted)["embeddings"]
    assert digest(before)["pretext"] == digest(shifted)["pretext"]


def test_a_row_has_the_medians_of_its_pretrainings_and_a_seed_that_learned_nothing_is_shouted(
    protocol, records, tmp_path
):
    fallen = pretext(seed=1, last=0.25, std=(0.4, 0.3), rank=None, collapsed=True)
    several = (fallen, pretext(seed=0), pretext(row="a", rises=False, last=0.3))
    extras = Extras(pretexts=several)
    rows = {r: Row("voco", "net", title=r.upper()) for r in "ab"}
    context = context_of(protocol(rows=rows), records({}), extras)
    first, second = lines_of(context)
    assert first[:2] == ("A", "no better than a constant")
    assert (*second[:2], *second[3:]) == (
        "B (2 pretrainings)",
        "collapsed: seed 1; no better than guessing: seed 1",
        "0.200",
        "0.525 (0.250 to 0.800)",
        "0.250",
        "0.450 → 0.275",
        "4.00 → 12.3",
    )
    assert [(title, len(of)) for title, of in plotted(context)] == [("B", 2), ("A", 1)]
    paths = write(protocol(rows=rows), records({}), tmp_path, extras, figures=False)
    assert "2 pretrainings no better than chance<" in paths.page.read_text()
    assert "no better than guessing at the end of pretraining: B, seed 1" in paths.text
    assert "no better than a constant at the end of pretraining: A" in paths.text
    assert not pretext(chance=None, last=0.0).guesses and pretext(rises=False, last=0.25).guesses
