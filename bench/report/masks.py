"""Predictions over slices: image, reference, every row's label map, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.report import canvas
from bench.report.canvas import SOFT, words
from bench.report.supplement import Panel

# for labels over grey images; neighbours in the list differ in hue and lightness
LABELS = (
    *("#56B4E9", "#E69F00", "#00C08B", "#F0E442", "#FF6FB5", "#D55E00", "#B18CFF"),
    *("#9BE564", "#2E86FF", "#FFC9A3", "#00B5C4", "#C74B7B", "#C9B458", "#8FA3FF"),
)
MISSED, ADDED, CONFUSED = 1, 2, 3
ERRORS = {
    MISSED: ("missed", "#FF2D9B"),
    ADDED: ("added", "#7DF9FF"),
    CONFUSED: ("confused", "#FFF26B"),
}
SIDE = 1.75  # of a picture, inches
LETTER = 0.075  # of a case's name, inches
FEW = 4  # predictions at most with their errors beside them; of more they stand below
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


def panels(slices: list[Panel], labels: dict[int, str], errors: bool = False) -> Figure:
    """Draw cases downwards; image, reference and every row's prediction across.

    Args:
        slices: of one section.
        labels: printed name of every label.
        errors: draw beside each prediction what is wrong with it; below where there are many.
    """
    titles = list(dict.fromkeys(panel.title for panel in slices))
    lines = [
        (case, line)
        for case in dict.fromkeys(panel.case for panel in slices)
        for line in _lines([panel for panel in slices if panel.case == case], titles, errors)
    ]
    columns = len(lines[0][1])
    heads = [words(title) for title, _, _ in lines[0][1]]
    tall = SIDE * slices[0].image.shape[0] / slices[0].image.shape[1] * slices[0].aspect
    letters = max(10, int(tall / LETTER))
    aside = max(canvas.height(words(case, letters)) for case, _ in lines)
    above = 0.15 * max(map(canvas.height, heads)) + 0.1
    with canvas.style():
        figure = canvas.new(SIDE * columns + 0.1 + 0.15 * aside, (tall + 0.03) * len(lines) + above)
        axes = figure.subplots(len(lines), columns, squeeze=False)
        figure.set_layout_engine("compressed", w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)
        for row, (case, line) in zip(axes, lines, strict=True):
            for ax, (_, panel, over) in zip(row, line, strict=True):
                _cell(ax, panel, over)
            if line[0][1] is not None:
                row[0].set_ylabel(words(case, letters))
        for ax, head in zip(axes[0], heads, strict=True):
            ax.set_title(head, loc="center", fontsize=8.5)
        masks = [mask for panel in slices for mask in (panel.reference, panel.prediction)]
        present = np.unique(np.concatenate([mask.ravel() for mask in masks]))
        keys = {labels.get(int(v), f"label {v}"): _colour(v) for v in present if v}
        keys |= {f"error: {name}": colour for name, colour in ERRORS.values() if errors}
        patches = [Patch(facecolor=colour, label=words(name)) for name, colour in keys.items()]
        canvas.legend(figure, patches)
        return figure


def _lines(slices: list[Panel], titles: list[str], errors: bool) -> list[list[Cell]]:
    """Return the cells of one case, line by line."""
    by_title = {panel.title: panel for panel in slices}
    first: list[Cell] = [("Image", slices[0], ""), ("Reference", slices[0], "reference")]
    shown: list[Cell] = [(title, by_title.get(title), "prediction") for title in titles]
    if not errors:
        return [[*first, *shown]]
    wrongs: list[Cell] = [("Errors", by_title.get(title), "errors") for title in titles]
    if len(titles) > FEW:
        return [[*first, *shown], [("", None, ""), ("", None, ""), *wrongs]]
    return [[*first, *(cell for pair in zip(shown, wrongs, strict=True) for cell in pair)]]


def _cell(ax: Axes, panel: Panel | None, over: str) -> None:
    """Draw a slice under ``over``: the reference, the prediction or its errors."""
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if panel is None:
        text = "no prediction" if over == "prediction" else ""
        at: Any = {"transform": ax.transAxes, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, text, fontsize=7.5, color=SOFT, **at)
        return
    ax.imshow(panel.image, cmap="gray", vmin=0, vmax=255, aspect=panel.aspect)
    if over == "errors":
        colours = {kind: colour for kind, (_, colour) in ERRORS.items()}
        _tint(ax, wrong(panel.reference, panel.prediction), colours, panel.aspect, 0.75)
    elif over:
        mask = panel.reference if over == "reference" else panel.prediction
        colours = {int(v): _colour(v) for v in np.unique(mask) if v}
        _tint(ax, mask, colours, panel.aspect, 0.38)
        for value, colour in colours.items():
            if not (mask == value).all():
                ax.contour(mask == value, levels=[0.5], colors=[colour], linewidths=1.1)


def _tint(ax: Axes, mask: np.ndarray, colours: dict[int, str], aspect: float, alpha: float) -> None:
    tint = np.zeros((256, 4))
    for value, colour in colours.items():
        tint[value] = (*to_rgb(colour), alpha)
    colour_map = ListedColormap(tint)
    ax.imshow(mask, colour_map, vmin=0, vmax=255, aspect=aspect, interpolation="nearest")


def _colour(label: int) -> str:
    return LABELS[(label - 1) % len(LABELS)]
