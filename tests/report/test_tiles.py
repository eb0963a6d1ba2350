"""Where names stand beside lines, and what has room above a plot."""

import pytest
from matplotlib.lines import Line2D

from bench.report.canvas import style
from bench.report.tiles import Block, End, Size, Tile, name_ends, spread, tiled

BLOCK = Block((Tile("one"), Tile("two\nlines\nof title", "and a note")), "Heading", "what it is")


@pytest.mark.parametrize(
    ("wanted", "sizes", "places"),
    [
        ([1, 5], [1, 1], [1, 5]),  # there is room
        ([3, 3], [2, 2], [2, 4]),  # they part alike
        ([0, 0, 9], [2, 2, 2], [-1, 1, 9]),
        ([1, 1, 1], [1, 2, 1], [-0.5, 1, 2.5]),
        ([0, 3, 3.5], [1, 1, 1], [0, 2.75, 3.75]),
        ([0, 0.5, 1, 1.5], [1] * 4, [-0.75, 0.25, 1.25, 2.25]),  # a pool takes in its neighbours
        ([], [], []),
    ],
)
def test_names_stand_as_near_to_their_lines_as_there_is_room(wanted, sizes, places):
    assert spread(wanted, sizes) == pytest.approx(places)


def test_names_do_not_lie_on_one_another_nor_on_the_plot():
    with style():
        figure, ((ax,),) = tiled([Block((Tile("title"),))], Size(1, 3, 2, right=2))
        ax.plot([0, 1], [0, 1])
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        name_ends(
            ax,
            [End(1, y, f"name {y}\nof two", {"color": "#0072b2"}) for y in (0.5, 0.51, 0.52, 0.99)],
        )
        renderer = figure.canvas.get_renderer()
        boxes = [t.get_window_extent(renderer) for t in ax.texts if t.get_text().startswith("name")]
    assert all(box.x0 > ax.get_window_extent().x1 for box in boxes)
    assert all(box.x1 < figure.bbox.x1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_titles_notes_headings_and_the_legend_have_the_room_they_need():
    with style():
        handles = [Line2D([], [], label=f"a row of a long name {i}") for i in range(9)]
        figure, axes = tiled([BLOCK, BLOCK], Size(1, 2.5, 1.0), handles)
        renderer = figure.canvas.get_renderer()
        every = [ax for own in axes for ax in own]
        texts = [t.get_window_extent(renderer) for ax in every for t in ax.texts]
        texts += [t.get_window_extent(renderer) for t in figure.texts if t.get_text()]
        plots = [ax.get_window_extent() for ax in every]
        (legend,) = (box.get_window_extent(renderer) for box in figure.legends)
    assert len(texts) == 2 * 5 and len(plots) == 4
    boxes = [*texts, *plots, legend]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1
