"""Small plots of one size in rows: titles above them, names at the ends of lines, a legend below all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.canvas import INK, SOFT, height, new

# points: of a block's heading, a title, what is below it, names
HEAD, TITLE, NOTE, SIDE = (11.0, 8.5, 7.5, 7.5)
PITCH = 1.25 / 72  # inches of a line of text, for each point of its size
LETTER = 0.6 / 72  # inches of a letter, likewise; DejaVu Sans is wider than what a page shows


@dataclass(frozen=True)
class Tile:
    """What stands above one plot, broken into lines already."""

    title: str
    note: str = ""  # what its axis is, and which way is better


@dataclass(frozen=True)
class Block:
    """Plots that belong together."""

    tiles: tuple[Tile, ...]
    heading: str = ""
    note: str = ""


@dataclass(frozen=True)
class Size:
    """Of every plot, in inches."""

    columns: int
    wide: float
    tall: float
    left: float = (
        0.5  # for the numbers of the axis; between columns of a shared one there is ``gap``
    )
    right: float = 0.15  # for names
    below: float = 0.42
    gap: float | None = None

    @property
    def width(self) -> float:
        """Return the inches of a whole figure."""
        between = self.left + self.right if self.gap is None else self.gap
        return self.left + self.columns * self.wide + (self.columns - 1) * between + self.right


def tiled(
    blocks: Sequence[Block], size: Size, handles: Sequence[Artist] = ()
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and the axes of each block, in order; a legend of ``handles`` stands at its foot."""
    across, foot = legend_of(size.width, handles)
    tops, below = _tops(blocks, size)
    tall = below + foot + 0.05
    figure = new(size.width, tall, constrained=False)
    step = size.wide + (size.left + size.right if size.gap is None else size.gap)
    made = list[list[Axes]]()
    for block, (top, rows) in zip(blocks, tops, strict=True):
        _said(figure, block, top, size.left)
        made.append([])
        for number, tile in enumerate(block.tiles):
            row, column = divmod(number, size.columns)
            box = (size.left + column * step, tall - rows[row] - size.tall, size.wide, size.tall)
            ax = figure.add_axes(
                (box[0] / size.width, box[1] / tall, box[2] / size.width, box[3] / tall)
            )
            _title(ax, tile)
            ax.tick_params(labelsize=7.5, pad=2)
            made[-1].append(ax)
    if handles:
        corner = (0.5 * size.left / size.width, 0.0)
        figure.legend(
            handles=list(handles),
            loc="lower left",
            bbox_to_anchor=corner,
            ncols=across,
            frameon=False,
            borderaxespad=0.2,
            fontsize=8.5,
        )
    return figure, made


def _tops(blocks: Sequence[Block], size: Size) -> tuple[list[tuple[float, list[float]]], float]:
    """Return, in inches from above, where each block and each row of its plots begins, and where all end."""
    found, at = list[tuple[float, list[float]]](), 0.05
    for block in blocks:
        top, rows = at, list[float]()
        at += height(block.heading) * HEAD * PITCH + height(block.note) * 8.5 * PITCH
        at += 0.06 if block.heading else 0.0
        for first in range(0, len(block.tiles), size.columns):
            row = block.tiles[first : first + size.columns]
            at += (
                max(height(t.title) * TITLE * PITCH + height(t.note) * NOTE * PITCH for t in row)
                + 0.1
            )
            rows.append(at)
            at += size.tall + size.below
        found.append((top, rows))
    return found, at


def _said(figure: Figure, block: Block, top: float, left: float) -> None:
    width, tall = figure.get_size_inches()
    x, y = 0.3 * left / width, 1 - top / tall
    figure.text(x, y, block.heading, fontsize=HEAD, fontweight="bold", va="top")
    y -= height(block.heading) * HEAD * PITCH / tall
    figure.text(x, y, block.note, fontsize=8.5, color=SOFT, va="top")


def _title(ax: Axes, tile: Tile) -> None:
    """Put title and note above a plot, lines of each below one another."""
    at = 4.0
    looks: list[tuple[str, float, dict[str, Any]]] = [
        (tile.note, NOTE, {"color": SOFT}),
        (tile.title, TITLE, {"fontweight": "bold"}),
    ]
    for text, points, look in looks:
        if text:
            ax.annotate(
                text,
                (0, 1),
                (0, at),
                "axes fraction",
                "offset points",
                fontsize=points,
                va="bottom",
                linespacing=1.1,
                **look,
            )
            at += height(text) * points * 1.25
    ax.set_label(tile.title)


def legend_of(width: float, handles: Sequence[Artist]) -> tuple[int, float]:
    """Return the columns of a legend below a figure of so many inches, and the inches that it takes up."""
    names = [str(handle.get_label()) for handle in handles]
    if not names:
        return 1, 0.0
    longest = max(len(line) for name in names for line in name.split("\n"))
    across = max(1, min(len(names), int(width / (0.6 + longest * 8.5 * LETTER))))
    each = -(-len(names) // across)
    lines = max(sum(map(height, names[i : i + each])) for i in range(0, len(names), each))
    return across, lines * 8.5 * 1.45 / 72 + 0.15


def split(ax: Axes, share: float, gap: float) -> tuple[Axes, Axes]:
    """Divide a plot in two with one x axis: ``share`` of it above, ``gap`` inches below that the rest."""
    figure, box = ax.get_figure(), ax.get_position()
    assert isinstance(figure, Figure)
    between = gap / figure.get_size_inches()[1]
    above = box.height * share
    ax.set_position((box.x0, box.y1 - above, box.width, above))
    other = figure.add_axes((box.x0, box.y0, box.width, box.height - above - between), sharex=ax)
    ax.tick_params(labelbottom=False)
    other.tick_params(labelsize=7.5, pad=2)
    return ax, other


@dataclass(frozen=True)
class End:
    """Where a line ends, in data units, and what it is called."""

    x: float
    y: float
    name: str
    look: dict[str, Any]


def name_ends(ax: Axes, ends: Sequence[End], points: float = SIDE) -> None:
    """Write names to the right of a plot, as near to the ends of their lines as there is room.

    The limits of the axes must stand before.
    """
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    tall = ax.get_position().height * figure.get_size_inches()[1]
    wide = ax.get_position().width * figure.get_size_inches()[0]
    inside = ax.transData + ax.transAxes.inverted()
    placed = sorted(
        ((*inside.transform((end.x, end.y)), end) for end in ends), key=lambda one: one[1]
    )
    sizes = [height(end.name) * points * PITCH for *_, end in placed]
    centres = spread([min(max(y, 0.0), 1.0) * tall for _, y, _ in placed], sizes)
    for (x, y, end), centre in zip(placed, centres, strict=True):
        y, level = min(max(y, 0.0), 1.0), centre / tall
        x = min(x, 1.0)
        leader: dict[str, Any] = {
            "transform": ax.transAxes,
            "color": end.look["color"],
            "clip_on": False,
        }
        ax.plot(
            [x, 1 + 0.03 / wide, 1 + 0.12 / wide], [y, y, level], linewidth=0.6, alpha=0.7, **leader
        )
        sample = [1 + 0.12 / wide, 1 + 0.19 / wide, 1 + 0.26 / wide]
        ax.plot(
            sample,
            [level] * 3,
            markersize=4,
            linewidth=1.6,
            markevery=[1],
            **{**end.look, **leader},
        )
        ax.text(
            1 + 0.31 / wide,
            level,
            end.name,
            transform=ax.transAxes,
            fontsize=points,
            color=INK,
            va="center_baseline" if height(end.name) == 1 else "center",
            linespacing=1.1,
        )


def spread(wanted: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Return places in order, as near as can be to those wanted, with room for each.

    The least squares of the shifts: neighbours that are too close move as one (pool adjacent violators).

    Args:
        wanted: ascending centres.
        sizes: what each takes up around its centre, in the same unit.
    """
    offsets, at = list[float](), 0.0
    for i, size in enumerate(sizes):
        at += (sizes[i - 1] + size) / 2 if i else 0.0
        offsets.append(at)
    pools = list[tuple[float, int]]()  # mean of wanted - offset, how many
    for place, offset in zip(wanted, offsets, strict=True):
        mean, n = place - offset, 1
        while pools and pools[-1][0] > mean:
            other, m = pools.pop()
            mean, n = (mean * n + other * m) / (n + m), n + m
        pools.append((mean, n))
    means = [mean for mean, n in pools for _ in range(n)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
