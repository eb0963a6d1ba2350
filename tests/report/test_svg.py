"""Figures in a page: theme, ids, size and bytes of the SVG; what is read beside what."""

import re
from itertools import combinations
from xml.etree import ElementTree as Tree

import numpy as np
import pytest
from matplotlib.text import Text

from bench.protocol import Finetune, Row
from bench.report.canvas import COLOURS, GRID, INK, MARKERS, PAPER, SOFT, looks, new, style, themed
from bench.report.figures import forest, wanted
from bench.report.forest import spots
from bench.report.numbers import MINUS
from bench.report.plots import Interval, Series, Spots, Strip
from bench.report.redraw import current_svg, refresh
from bench.report.supplement import Cloud, Course, DatasetInfo, Extras, Panel, Pretext
from bench.report.write import context_of, write

LONG = "A network whose name goes on for longer than any legend of any paper has ever had the room to print"
ATTACK = "\"/><script>alert(1)</script>]]>&lt; ' onload='x"
ALLOWED = {
    "svg",
    "title",
    "g",
    "path",
    "use",
    "text",
    "defs",
    "clipPath",
    "rect",
    "image",
    "pattern",
}
ROWS = {
    "a": Row("scratch", "net", title="Scratch"),
    "b": Row("voco", "net", title=LONG),
    **{f"c{i}": Row("voco", "net", title=f"{ATTACK} {i}") for i in range(6)},
}


@pytest.fixture(scope="module")
def mask():
    result = np.zeros((12, 10), np.uint8)
    result[3:8, 2:6] = 1
    return result


@pytest.fixture(scope="module")
def full(protocol, records, mask):
    """A context in which every kind of figure has something to show, under long and hostile names."""
    built = protocol(
        rows=ROWS,
        finetune=(Finetune(dataset="organs", split="even", steps=10, fractions=(10, 100)),),
    )
    table = records(
        *(
            {"row": r, "fraction": f, "seed": s, "case": f"c{c}", "value": 0.5 + c / 10 + s / 9}
            for r in ROWS
            for f in (10, 100)
            for s in (0, 1)
            for c in (1, 2)
        )
    )
    steps, values = (1.0, 2.0, 3.0), (3.0, 2.0, 1.0)
    extras = Extras(
        curves={
            r: {"step": steps, "loss": values, "std": values, ATTACK: values} for r in ("b", "c0")
        },
        courses=tuple(Course(r, "organs", f, 0, steps, values) for r in ROWS for f in (10, 100)),
        pretexts=(Pretext("b", ATTACK, steps=steps, values=values, chances=values),),
        clouds=(Cloud(LONG, ((0.0, 0.0), (1.0, 1.0)), (0, 1), ("organs", ATTACK)),),
        panels=(
            Panel(
                "b", "organs", "case", LONG, mask * 100, mask, mask.T[:10, :].repeat(2, 0)[:12, :10]
            ),
        ),
        datasets=(DatasetInfo("organs", LONG, redistribution=True),),
    )
    return context_of(built, table, extras)


@pytest.fixture(scope="module")
def plans(full):
    """Every kind of figure."""
    row = Interval(LONG, ATTACK, 1.0, -1, 3, "not separable", ATTACK, LONG, 2.0, 1.0)
    return [*wanted(full), forest((row,), "Dice")]


@pytest.fixture(scope="module")
def drawn(plans, tmp_path_factory):
    """Return the SVG of every figure by name."""
    folder = tmp_path_factory.mktemp("drawn")
    refresh(plans, folder)
    result = {plan.name: current_svg(plan, folder) for plan in plans}
    kinds = {
        "fractions",
        "dots",
        "curves",
        "pretext",
        "embeddings",
        "training",
        "panels_organs",
        "forest",
    }
    assert result.keys() == kinds
    return result


def tags(svg):
    return [(e.tag.rpartition("}")[2], e) for e in Tree.fromstring(svg).iter()]


def test_a_figure_takes_the_pages_colours_and_has_neither_background_nor_style_nor_script(drawn):
    for name, svg in drawn.items():
        assert {tag for tag, _ in tags(svg)} <= ALLOWED, name
        assert "var(--ink," in svg and "var(--soft," in svg, name
        fixed = re.sub(r"var\([^)]*\)", "", svg)
        assert not any(colour in fixed for colour in (INK, SOFT, GRID, PAPER, "#000000")), name
        root = Tree.fromstring(svg)
        left, _, width, height = (float(v) for v in root.get("viewBox").split())
        width += 2 * left  # that of the figure, without the room beside it
        assert left < 0 < width, name
        for tag, element in tags(svg):
            complete = re.match(rf"M0 {height:g}L{width:g} {height:g}L", element.get("d", ""))
            assert tag != "path" or not complete, f"{name} has a background"
        assert root.get("role") == "img" and root[0].tag.endswith("title") and root[0].text
        assert root.get("aria-labelledby") == root[0].get("id") == f"{name}-title"
    assert "var(--card," in drawn["forest"]  # hollow marks let nothing through


def test_ids_are_unique_over_figures_of_one_page_and_nothing_is_loaded(drawn):
    page = "".join(drawn.values())
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len({*ids}) and len(ids) > len(drawn)
    # matplotlib's would change with the last digit of a place
    assert all(re.fullmatch(rf"({'|'.join(drawn)})-(title|\d+)", id) for id in ids)
    used = re.findall(r'(?:href="|url\()#([^)"]+)', page)
    assert used and {*used} <= {*ids}
    assert all(
        link.startswith(("#", "data:image/png;base64,"))
        for link in re.findall(r'href="([^"]+)', page)
    )
    assert not re.findall(rf"<(?!/?(?:{'|'.join(ALLOWED)})\b)", page)


def test_names_are_whole_and_words_are_words(drawn):
    for name, svg in drawn.items():
        assert "…" not in svg, name
    for name in (
        "fractions",
        "dots",
        "curves",
        "training",
        "embeddings",
        "panels_organs",
        "forest",
    ):
        wording = "".join(
            "".join(e.text or "" for tag, e in tags(drawn[name]) if tag == "text").split()
        )
        assert LONG.replace(" ", "") in wording, name


def test_no_words_lie_on_one_another_or_beyond_the_edge(plans):
    for plan in plans:
        figure = plan.draw()
        with style():
            figure.draw_without_rendering()
            hidden = [
                text for ax in figure.axes for a in (ax.xaxis, ax.yaxis) for text in beyond(a)
            ]
            shown = [t for t in figure.findobj(Text) if t.get_visible() and t not in hidden]
            boxes = [text.get_window_extent() for text in shown]
        boxes = [box.padded(-1) for box in boxes if box.width and box.height]
        assert len(boxes) > 3, plan.name
        assert not any(first.overlaps(other) for first, other in combinations(boxes, 2)), plan.name
        for box in boxes:
            assert min(box.x0, box.y0) > -1, plan.name
            assert box.x1 < figure.bbox.x1 + 1 and box.y1 < figure.bbox.y1 + 1, plan.name


@pytest.mark.parametrize(("against", "written"), [("scratch", "+16.2"), ("", "16.2")])
def test_patients_beyond_an_axis_are_written_with_the_sign_that_differences_have(against, written):
    spread = np.linspace(-1, 1, 400).tolist()
    row = Spots("a", 0.0, "0.00", (0.0,), (0,), (-12.64, -9.0, *spread, 16.24))
    texts = [t.get_text() for t in spots([Strip("", "Dice", False, against, (row,))]).findobj(Text)]
    assert written in texts and f"{MINUS}12.6 to {MINUS}9.0" in texts


def beyond(axis):
    """Return the numbers of an axis that are not drawn, beyond its ends."""
    low, high = sorted(axis.get_view_interval())
    outside = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
    return [label for tick in outside for label in (tick.label1, tick.label2)]


def test_equal_figures_are_equal_bytes_and_numbers_have_two_decimals(full, drawn, tmp_path):
    plans = wanted(full)
    refresh(plans, tmp_path)
    for plan in plans:
        assert current_svg(plan, tmp_path) == drawn[plan.name]
        assert not re.findall(
            r'(?<=[" ML])-?\d+\.\d{3,}', re.sub(r'href="data[^"]*"', "", drawn[plan.name])
        )


def test_an_svg_that_is_out_of_date_or_not_ours_is_not_shown(full, records, tmp_path):
    plans = {plan.name: plan for plan in wanted(full)}
    assert current_svg(plans["dots"], tmp_path) == ""
    refresh([plans["dots"]], tmp_path)
    assert current_svg(plans["dots"], tmp_path).startswith("<svg ")
    changed = records(*({"row": r, "fraction": f, "value": 0.1} for r in "ab" for f in (10, 100)))
    other = wanted(context_of(full.protocol, changed, full.extras))
    assert current_svg({plan.name: plan for plan in other}["dots"], tmp_path) == ""
    (tmp_path / "mine.svg").write_text("<svg/>")
    (tmp_path / "dots.svg").unlink()
    (tmp_path / "dots.svg").symlink_to(tmp_path / "mine.svg")
    assert current_svg(plans["dots"], tmp_path) == ""
    refresh([], tmp_path)
    assert not (tmp_path / "dots.svg").exists() and (tmp_path / "mine.svg").exists()


def test_a_page_of_many_pretrainings_stays_small(protocol, records, tmp_path):
    rng = np.random.default_rng(0)
    rows = {f"r{i}": Row("voco", "net", title=f"Method {i}") for i in range(11)}
    rows["s"] = Row("scratch", "net", title="Scratch")
    steps = tuple(float(s) for s in range(400))
    noise = {r: tuple(float(v) for v in rng.random(400)) for r in rows}
    extras = Extras(
        curves={
            r: {"step": steps, "loss": v, "a": v, "b": v, "c": v, "std": v}
            for r, v in noise.items()
        },
        courses=tuple(
            Course(r, "organs", 100, s, steps[:80], v[:80])
            for r, v in noise.items()
            for s in range(3)
        ),
        pretexts=tuple(
            Pretext(r, "figure", steps=steps, values=v, chances=v) for r, v in noise.items()
        ),
        clouds=tuple(
            Cloud(r, tuple(map(tuple, rng.random((120, 2)))), (0, 1) * 60, ("organs", "others"))
            for r in rows
        ),
    )
    table = records(
        *(
            {"row": r, "seed": s, "case": f"c{c}", "value": float(rng.random())}
            for r in rows
            for s in range(3)
            for c in range(40)
        )
    )
    page = write(protocol(rows=rows), table, tmp_path, extras).page
    assert page.stat().st_size < 550_000


def light(colour):
    """WCAG 2 relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("background", ["#ffffff", "#1a2028"])
def test_colours_of_rows_are_seen_on_both_backgrounds(background):
    for colour in COLOURS:
        low, high = sorted((light(colour), light(background)))
        assert (high + 0.05) / (low + 0.05) >= 3, colour


def test_rows_differ_by_more_than_colour():
    result = looks([Series(f"r{i}", i < 3, (), (), ()) for i in range(24)])
    reported = [(repr(look["linestyle"]), look["marker"]) for look in result.values()]
    assert (
        len(
            {(look["color"], *first) for look, first in zip(result.values(), reported, strict=True)}
        )
        == 24
    )
    assert len({*reported[3 : 3 + len(MARKERS)]}) == len(MARKERS)
    assert all(first != other for first, other in combinations(reported[:3], 2))


@pytest.mark.parametrize("turned", [0, 90])
@pytest.mark.parametrize(
    ("aligned", "anchor"), [("left", "start"), ("center", "middle"), ("right", "end")]
)
def test_lines_of_one_text_keep_their_alignment_in_another_font(aligned, anchor, turned):
    with style():
        figure = new(3, 2)  # 216 x 144 points
        figure.text(
            0.5,
            0.5,
            "a much longer line\nshort",
            ha=aligned,
            rotation=turned,
            rotation_mode="anchor",
        )
        svg = themed(figure, "x", "X")
    result = re.findall(r"<text[^>]*translate\(([\d.]+) ([\d.]+)\)", svg)
    along = [float(coordinates[1 if turned else 0]) for coordinates in result]
    assert along == pytest.approx([72 if turned else 108] * 2, abs=0.6)
    assert (f"text-anchor:{anchor}" in svg) == (anchor != "start")  # which is SVG's own
