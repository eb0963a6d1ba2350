"""Predictions over slices: image, reference, every row's label map, and what is wrong with it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.report.canvas import SOFT, height, new, style, words
from bench.report.supplement import Panel

LABELS = (  # for labels over grey images; neighbours in the list differ in hue and lightness
    "#56B4E9",
    "#E69F00",
    "#00C08B",
    "#F0E442",
    "#FF6FB5",
    "#D55E00",
    "#B18CFF",
    "#9BE564",
    "#2E86FF",
    "#FFC9A3",
    "#00B5C4",
    "#C74B7B",
    "#C9B458",
    "#8FA3FF",
)
MISSED, ADDED, CONFUSED = 1, 2, 3
ERRORS = {
    MISSED: ("missed", "#FF2D9B"),
    ADDED: ("added", "#7DF9FF"),
    CONFUSED: ("confused", "#FFF26B"),
}
KEY = 1.8  # inches that an entry of the legend takes at most
SIDE = 1.75  # of a picture, inches
LETTER = 0.075  # of a case's name, inches
BESIDE = 4  # predictions at most with their errors beside them; of more they stand below
Cell = tuple[str, Panel | None, str]  # title, a slice if there is one, what lies over it


def wrong(reference: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return uint8 of the same shape: 0 where a label map is right, else ``MISSED``, ``ADDED``, ``CONFUSED``.

    Args:
        reference: labels, 0 for none.
        prediction: likewise.
    """
    kinds = np.full(reference.shape, CONFUSED, np.uint8)
    kinds[prediction == 0] = MISSED
    kinds[reference == 0] = ADDED
    kinds[reference == prediction] = 0
    return kinds


def panels(found: list[Panel], labels: dict[int, str], errors: bool = False) -> Figure:
    """Draw cases downwards; image, reference and every row's prediction across.

    Args:
        found: of one section.
        labels: printed name of every label.
        errors: draw beside each prediction what is wrong with it; below where there are many.
    """
    cases = {
        case: [p for p in found if p.case == case] for case in dict.fromkeys(p.case for p in found)
    }
    titles = list(dict.fromkeys(p.title for p in found))
    lines = [(case, line) for case, own in cases.items() for line in _lines(own, titles, errors)]
    with style():
        tall = found[0].image.shape[0] / found[0].image.shape[1] * found[0].aspect
        wide = len(lines[0][1])
        heads, names = (
            [words(title) for title, _, _ in lines[0][1]],
            max(10, int(SIDE * tall / LETTER)),
        )
        aside = max(height(words(case, names)) for case in cases)
        handles = _handles(found, labels, errors)
        across = max(1, min(7, len(handles), int((SIDE * wide + 0.3) / KEY)))
        keys = max((height(str(key.get_label())) for key in handles), default=0) * -(
            -len(handles) // across
        )
        above = 0.15 * max(map(height, heads))
        figure = new(
            SIDE * wide + 0.1 + 0.15 * aside,
            (SIDE * tall + 0.03) * len(lines) + above + 0.17 * keys + 0.3,
        )
        axes = figure.subplots(len(lines), wide, squeeze=False)
        figure.set_layout_engine("compressed", w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)
        for row, (case, line) in zip(axes, lines, strict=True):
            for ax, cell in zip(row, line, strict=True):
                _cell(ax, cell)
            if line[0][1] is not None:
                row[0].set_ylabel(words(case, names), fontsize=8)
        for ax, head in zip(axes[0], heads, strict=True):
            ax.set_title(head, fontsize=8.5, loc="center")
        if handles:
            figure.legend(
                handles=handles, loc="outside lower center", ncols=across, frameon=False, fontsize=8
            )
        return figure


def _lines(found: list[Panel], titles: list[str], errors: bool) -> list[list[Cell]]:
    """Return the cells of one case, line by line."""
    by_title = {p.title: p for p in found}
    first: list[Cell] = [("Image", found[0], ""), ("Reference", found[0], "reference")]
    shown: list[Cell] = [(title, by_title.get(title), "prediction") for title in titles]
    if not errors:
        return [[*first, *shown]]
    wrongs: list[Cell] = [("Errors", by_title.get(title), "errors") for title in titles]
    if len(titles) > BESIDE:
        return [[*first, *shown], [("", None, ""), ("", None, ""), *wrongs]]
    return [[*first, *(cell for pair in zip(shown, wrongs, strict=True) for cell in pair)]]


def _cell(ax: Axes, cell: Cell) -> None:
    _, panel, over = cell
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if panel is None:
        said = "no prediction" if over == "prediction" else ""
        ax.text(
            0.5,
            0.5,
            said,
            ha="center",
            va="center",
            fontsize=7.5,
            color=SOFT,
            transform=ax.transAxes,
        )
        return
    ax.imshow(
        panel.image, cmap="gray", vmin=0, vmax=255, aspect=panel.aspect, interpolation="antialiased"
    )
    if over == "errors":
        colours = {kind: colour for kind, (_, colour) in ERRORS.items()}
        _tint(ax, wrong(panel.reference, panel.prediction), colours, panel.aspect, 0.75)
    elif over:
        mask = panel.reference if over == "reference" else panel.prediction
        colours = {int(v): _label_colour(int(v)) for v in np.unique(mask) if v}
        _tint(ax, mask, colours, panel.aspect, 0.38)
        for value, colour in colours.items():
            if not (mask == value).all():
                ax.contour(mask == value, levels=[0.5], colors=[colour], linewidths=1.1)


def _tint(ax: Axes, mask: np.ndarray, colours: dict[int, str], aspect: float, alpha: float) -> None:
    tint = np.zeros((256, 4))
    for value, colour in colours.items():
        tint[value] = (*to_rgb(colour), alpha)
    ax.imshow(
        mask, cmap=ListedColormap(tint), vmin=0, vmax=255, aspect=aspect, interpolation="nearest"
    )


def _handles(found: list[Panel], labels: dict[int, str], errors: bool) -> list[Patch]:
    present = sorted(
        {int(v) for p in found for m in (p.reference, p.prediction) for v in np.unique(m) if v}
    )
    made = [
        Patch(facecolor=_label_colour(v), label=words(labels.get(v, f"label {v}"))) for v in present
    ]
    return made + [
        Patch(facecolor=c, label=f"error: {word}") for word, c in ERRORS.values() if errors
    ]


def _label_colour(value: int) -> str:
    return LABELS[(value - 1) % len(LABELS)]
