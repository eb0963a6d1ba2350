"""Draw how cost grows, log-log: a panel for each thing that grows, a line and its slope for each stage.

The paper is white in a dark page too, as that of docs/layers.svg is.
"""

from collections.abc import Iterable, Sequence
from math import log
from pathlib import Path
from typing import Any

INK, SOFT = "#1a2230", "#5b6776"
COLOURS = {
    "plan": "#0072b2",
    "plan again": "#56b4e9",
    "prepare": "#b8860b",
    "guard": "#d55e00",
    "pretrain": "#7b3294",
    "finetune": "#a6338c",
    "evaluate": "#00795a",
    "score": "#4d4d4d",
    "submit": "#b8860b",
    "likeliest": "#d55e00",
    "gather": "#00795a",
    "status": "#4d4d4d",
    "tables": "#d55e00",
    "report": "#7b3294",
}
FIGURES = {
    "growth_time.svg": ("cpu_s", "processor time (s)", 0.01),
    "growth_memory.svg": ("mb", "memory beyond the imports (MB)", 1.0),
}
GAP = 0.105  # of a panel's height, between two labels
Points = list[tuple[float, float]]


def lines(
    rows: Iterable[dict[str, Any]], axis: str, what: str, least: float = 0.0
) -> dict[str, Points]:
    """Return (value, cost) by stage of one axis; what is below ``least`` is that."""
    result: dict[str, Points] = {}
    for row in rows:
        if row["axis"] == axis:
            result.setdefault(row["stage"], []).append((row["value"], max(row[what], least)))
    return result


def slope(points: Points) -> float:
    """Return the power of the value with which the cost grows between the two largest sizes."""
    (x, y), (xx, yy) = sorted(points)[-2:]
    return log(yy / y) / log(xx / x)


def beyond(points: Points, value: float) -> float:
    """Return the cost at a larger value: what the last step added goes on, as a power of at least one.

    A power below one is a fixed cost that hides a part in proportion, so that going on with it would promise
    too much.
    """
    (x, y), (xx, yy) = sorted(points)[-2:]
    power = max(1.0, slope(points)) if yy > y > 0 else 1.0
    return yy + max(0.0, yy - y) * (value**power - xx**power) / (xx**power - x**power)


def draw(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write the figures of time and of memory."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    axes = list(dict.fromkeys(row["axis"] for row in rows))
    style = {
        "svg.hashsalt": "growth",
        "svg.fonttype": "path",
        "font.size": 8.5,
        "text.color": INK,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
    }
    for name, (what, label, least) in FIGURES.items():
        with mpl.rc_context(style):
            figure, panels = plt.subplots(
                -(-len(axes) // 3), 3, figsize=(10.4, 2.5 * -(-len(axes) // 3))
            )
            for axis, panel in zip(axes, panels.flat, strict=False):
                _panel(panel, axis, lines(rows, axis, what, least))
            for panel in panels[:, 0]:
                panel.set_ylabel(label)
            for panel in panels.flat[len(axes) :]:
                panel.set_axis_off()
            figure.tight_layout(w_pad=1.2, h_pad=1.4)
            figure.savefig(
                folder / name, metadata={"Date": None, "Title": f"{label} as a study grows"}
            )
            plt.close(figure)


def _panel(panel: Any, axis: str, lines_by_stage: dict[str, Points]) -> None:
    from matplotlib.ticker import LogLocator

    panel.set(xscale="log", yscale="log", title=axis)
    panel.grid(alpha=0.25, linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)
    for stage, points in lines_by_stage.items():
        panel.plot(
            *zip(*points, strict=True), "o-", color=COLOURS[stage], linewidth=1.4, markersize=3
        )
    values = sorted({x for points in lines_by_stage.values() for x, _ in points})
    panel.set_xticks(values, [_short(v) for v in values])
    panel.minorticks_off()
    low, high = panel.get_ylim()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
    panel.yaxis.set_major_formatter("{x:g}")
    low, high = values[0], values[-1]
    # room for what stands beside
    panel.set_xlim(low / (high / low) ** 0.06, high * (high / low) ** 0.62)
    _label_ends(panel, lines_by_stage)


def _label_ends(panel: Any, lines_by_stage: dict[str, Points]) -> None:
    """Write each line's stage and slope beside its end, none over another."""
    panel.margins(y=0.1)
    low, high = (log(v) for v in panel.get_ylim())
    ends = {
        stage: (log(points[-1][1]) - low) / (high - low) for stage, points in lines_by_stage.items()
    }
    rising = sorted(ends, key=lambda stage: ends[stage])
    for stage, location in zip(rising, _apart([ends[stage] for stage in rising]), strict=True):
        thin = {"arrowstyle": "-", "color": COLOURS[stage], "linewidth": 0.5, "alpha": 0.6}
        message = f"{stage}  {_slope_text(slope(lines_by_stage[stage]))}"
        panel.annotate(
            message,
            lines_by_stage[stage][-1],
            (0.66, location),
            "data",
            "axes fraction",
            color=COLOURS[stage],
            va="center",
            fontsize=8,
            arrowprops=thin,
        )


def _apart(places: Sequence[float]) -> list[float]:
    """Move places, in rising order, until all are ``GAP`` apart, about where they were."""
    result: list[float] = []
    for location in places:
        result.append(max(location, result[-1] + GAP) if result else max(location, 0.02))
    over = result[-1] - 1.0
    if over > 0:
        result = [location - over for location in result]
    return result


def _short(value: float) -> str:
    """Return 4 k, 2 M."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def _slope_text(power: float) -> str:
    """Return a slope with the sign that print has; 0.00 has none."""
    return f"{round(power, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
