"""Which figures a report has: those of the layout's views, then those of every report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from bench.protocol import View, row_of
from bench.protocol.comparable import way
from bench.report import charts, differences, learning, pretrainings, scaling, selected
from bench.report.common import apart_in
from bench.report.names import metric_title
from bench.report.plots import BANDS, Interval, Ladder, Plot, Series
from bench.report.redraw import Figure, digest, drawing
from bench.report.scene import Scene
from bench.report.supplement import Course, Curves, DatasetInfo, Panel

FRACTIONS, LEARNING = "Score against label fraction", "Score as fine-tuning goes"
STEPS, CASES = "Score against pretraining steps", "Score against pretraining cases"
DIFFERENCES, FOREST = "Runs and patients", "Paired differences against scratch"
BAND, RUNS = "Bands are ± one standard deviation over runs.", "Thin lines are single runs."
ERROR_BARS = "Error bars are ± one standard deviation over runs."
PRINTED = "Hollow marks are the numbers that the paper printed."
AVERAGED = "Points are means of neighbouring logged steps."
EACH_SEED = "One line for each pretraining seed."
TRAINING = (
    "One line for each run, by share of training patients with labels. Of a run whose line still falls "
    "steeply at its end, or lies flat above others of its colour, look at the scores: it may not be trained."
)
TERMS = (
    "Losses are each method's own and compare within a plot alone. Below each, on an axis of their own, what "
    "was logged beside it: parts of the loss before their weights, and figures that are only watched."
)
LOSSES = {
    "dice_ce": "Dice loss + cross-entropy",
    "dice": "Dice loss",
    "cross_entropy": "cross-entropy",
}
CHARTS = {"bars": "Scores side by side", "dots": "Scores, better to the right"}
PICKED = {
    "first": "the first by name",
    "best": "the best",
    "median": "those in the middle",
    "worst": "the worst",
}
SLICES = {"largest": "where most is labelled", "middle": "half-way through what is labelled"}
ERRORS = (
    "Beside each prediction, what is wrong with it: missed is labelled in the reference alone, added in the "
    "prediction alone, confused in both and differently."
)


def wanted(scene: Scene) -> list[Figure]:
    """Return the figures this report should have, none of them drawn yet.

    Those of the layout's views stand first, in their order; they take the place of those of their kind
    that a report has by itself.
    """
    extras, stated = scene.extras, {view.draw for view in scene.protocol.layout.views}
    made = [
        f
        for number, view in enumerate(scene.protocol.layout.views)
        for f in _of_view(scene, number, view)
    ]
    if "lines" not in stated:
        own = View(draw="lines", metrics=(scene.metrics[0],))
        made += _plots("fractions", FRACTIONS, charts.lines(scene, own), *apart_in(scene, own))
    made += _dots(scene)
    if "learning" not in stated:
        made += _plots("learning", LEARNING, learning.plots(scene), *learning.captions(scene))
    if "pretraining" not in stated:
        said = apart_in(scene, View(metrics=(scene.metrics[0],), columns=("fraction",)))
        made += _plots("pretraining_steps", STEPS, scaling.by_steps(scene), scaling.STEPS, *said)
        made += _plots("pretraining_cases", CASES, scaling.by_cases(scene), scaling.CASES, *said)
    if curves := [
        (scene.named(row), extras.curves[row]) for row in _distinct(scene, extras.curves)
    ]:
        made.append(_curves(curves))
    if lines := pretrainings.plotted(scene):
        title, several = "What pretraining tracked", any(len(some) > 1 for _, some in lines)
        told = (EACH_SEED, AVERAGED) if several else (AVERAGED,)
        made.append(
            _figure("pretext", title, lambda: drawing().pretexts(lines), repr(lines), captions=told)
        )
    if "embeddings" not in stated:
        made += _clouds(scene, "embeddings", View(draw="embeddings"))
    if courses := _training(scene):
        drawn = repr(courses)
        made.append(
            _figure(
                "training",
                "Fine-tuning loss",
                lambda: drawing().training(courses),
                drawn,
                captions=(TRAINING, AVERAGED),
            )
        )
    return made if "panels" in stated else [*made, *_panels(scene, -1, View(draw="panels"))]


def _of_view(scene: Scene, number: int, view: View) -> list[Figure]:
    """Return the figures of one view: of panels one for each section, else one, if there is what it shows."""
    name = f"view{number + 1}_{view.draw}"
    if view.draw in CHARTS:
        return _charts(scene, name, view)
    if view.draw == "lines":
        return _plots(
            name, view.title or FRACTIONS, charts.lines(scene, view), *apart_in(scene, view)
        )
    if view.draw == "learning":
        return _plots(
            name, view.title or LEARNING, learning.plots(scene, view), *learning.captions(scene)
        )
    if view.draw == "pretraining":
        steps, cases = scaling.by_steps(scene, view), scaling.by_cases(scene, view)
        said = [*([scaling.STEPS] if steps else []), *([scaling.CASES] if cases else [])]
        said += apart_in(scene, replace(view, metrics=view.metrics or (scene.metrics[0],)))
        return _plots(name, view.title or (STEPS if steps else CASES), (*steps, *cases), *said)
    if view.draw == "embeddings":
        return _clouds(scene, name, view)
    return _panels(scene, number, view) if view.draw == "panels" else []


def _figure(
    name: str,
    title: str,
    draw: Callable[[], Any],
    *parts: str | bytes,
    captions: tuple[str, ...] = (),
) -> Figure:
    return Figure(name, title, digest(name, *parts), True, draw, captions=captions)


def _plots(name: str, title: str, plots: tuple[Plot, ...], *captions: str) -> list[Figure]:
    if not plots:
        return []
    few = any(len(plot.series) <= BANDS for plot in plots)
    many = [
        line for plot in plots if len(plot.series) > BANDS for line in plot.series if any(line.sds)
    ]
    runs, rest = any(line.runs for line in many), any(not line.runs for line in many)
    spread = [said for said, there in ((BAND, few), (RUNS, runs), (ERROR_BARS, rest)) if there]
    said = (*captions, *_captions([line for plot in plots for line in plot.series], *spread))
    drawn = json.dumps([asdict(plot) for plot in plots])
    return [_figure(name, title, lambda: drawing().plots(plots), drawn, captions=said)]


def _charts(scene: Scene, name: str, view: View) -> list[Figure]:
    found = charts.charts(scene, view)
    if not found:
        return []
    said = _captions([marks for chart in found for marks in chart.series], ERROR_BARS)
    said = (*said, *apart_in(scene, view))
    drawn = json.dumps([asdict(chart) for chart in found])
    title = view.title or CHARTS[view.draw]
    return [
        _figure(name, title, lambda: getattr(drawing(), view.draw)(found), drawn, captions=said)
    ]


def _captions(series: list[Series], *spread: str) -> tuple[str, ...]:
    spreads, printed = any(any(one.sds) for one in series), any(one.printed for one in series)
    return (*(spread if spreads else ()), *([PRINTED] if printed else []))


def _distinct(scene: Scene, curves: Mapping[str, Curves]) -> list[str]:
    """Return the rows whose curves are drawn: not controls that stand on their own row's pretraining."""
    variants = {row: row_of(scene.protocol, row)[1] for row in curves}
    return [
        row
        for row in scene.rows_of(curves)
        if not (more := variants[row]) or curves.get(row.removesuffix(more)) != curves[row]
    ]


def _curves(curves: list[tuple[str, Curves]]) -> Figure:
    return _figure(
        "curves",
        "Pretraining loss",
        lambda: drawing().curves(curves),
        repr(curves),
        captions=(TERMS, AVERAGED),
    )


def _dots(scene: Scene) -> list[Figure]:
    """Return the figure of every row's runs and patients, where values are of patients."""
    found = differences.strips(scene)
    if not found:
        return []
    paired = [differences.HOW] if any(strip.against for strip in found) else []
    many = any(len(row.patients) == differences.MOST for strip in found for row in strip.rows)
    paired += apart_in(scene, View(metrics=(scene.metrics[0],), columns=("fraction",)))
    said = (*paired, *([differences.EVERY.format(differences.MOST)] if many else []))
    drawn = json.dumps([asdict(strip) for strip in found])
    return [_figure("dots", DIFFERENCES, lambda: drawing().spots(found), drawn, captions=said)]


def forest(rows: tuple[Interval, ...], axis: str, *, lower: bool = False) -> Figure:
    """Return the figure of what rows differ from scratch by; see ``bench.report.forest.forest``."""
    drawn = json.dumps([[asdict(row) for row in rows], axis, lower])
    return _figure("forest", FOREST, lambda: drawing().forest(rows, axis, lower=lower), drawn)


def dose_curves(ladders: tuple[Ladder, ...], title: str, caption: str) -> Figure:
    """Return the figure of what each dose of a pretraining with labels is above scratch."""
    drawn = json.dumps([asdict(ladder) for ladder in ladders])
    return _figure("doses", title, lambda: drawing().doses(ladders), drawn, captions=(caption,))


def _clouds(scene: Scene, name: str, view: View) -> list[Figure]:
    """Return the picture of the clouds of a view's rows, and of those of networks beside the rows."""
    every = scene.extras.clouds
    rows = {*selected.rows(scene.protocol, view, [row for cloud in every for row in cloud.rows])}
    clouds = tuple(cloud for cloud in every if not cloud.rows or rows & {*cloud.rows})
    if not clouds:
        return []
    titles = pretrainings.group_titles(scene.extras)
    title = view.title or "Embeddings of the pretraining's data"
    said = (pretrainings.explained(clouds), *scene.extras.absent)
    drawn = (repr(titles), *map(repr, clouds))
    return [_figure(name, title, lambda: drawing().clouds(clouds, titles), *drawn, captions=said)]


def _training(scene: Scene) -> list[tuple[str, str, list[tuple[str, tuple[Course, ...]]]]]:
    """Return the fine-tunings' losses by section and loss: who has learnt, is on a plateau, fell off."""
    sections, found = scene.protocol.sections, dict[tuple[str, str], dict[str, list[Course]]]()
    for course in scene.extras.courses:
        if course.steps:
            index = sections.index(course.section) if course.section in sections else -1
            known, _ = row_of(scene.protocol, course.row)
            name = way(scene.protocol, index, known)["loss"] if known and index >= 0 else ""
            loss = f"loss of a batch ({LOSSES[name]})" if name in LOSSES else "loss of a batch"
            place = (
                scene.labels[index] if index >= 0 else course.section,
                f"{loss}, lower is better",
            )
            found.setdefault(place, {}).setdefault(scene.named(course.row), []).append(course)
    return [
        (*place, [(title, tuple(courses)) for title, courses in rows.items()])
        for place, rows in found.items()
    ]


def _panels(scene: Scene, number: int, view: View) -> list[Figure]:
    """Return the pictures of a view's predictions, by section: each data set has its own licence."""
    named = scene.protocol.sections
    found = {
        i: [p for p in scene.extras.panels if p.view == number and p.section == named[i]]
        for i in selected.sections(view, named)
    }
    shown = [i for i, panels in found.items() if panels]
    return [_of_section(scene, number, view, i, found[i], alone=len(shown) == 1) for i in shown]


def _of_section(
    scene: Scene, number: int, view: View, section: int, panels: list[Panel], *, alone: bool
) -> Figure:
    info = scene.info[scene.protocol.finetune[section].dataset]
    labels, shared, label = dict(info.labels), info.redistribution is True, scene.labels[section]
    safe = [re.sub(r"[^\w-]", "_", name) for name in scene.protocol.sections]
    name = f"panels_{safe[section]}" + (f"_{section}" if safe[section] in safe[:section] else "")
    name = name if number < 0 else f"view{number + 1}_{name}"
    said = f"Cases: {PICKED[view.pick]}"
    if view.pick != "first":
        metric = metric_title(view.metrics[0] if view.metrics else scene.metrics[0])
        said += f" by the mean of {metric} over the rows shown"
    return Figure(
        name=name,
        title=(view.title if alone else f"{view.title}: {label}")
        if view.title
        else f"Predictions on {label}",
        digest=digest("panels", repr((labels, view.errors)), *(_bytes(p) for p in panels)),
        embed=shared,
        draw=lambda: drawing().panels(panels, labels, view.errors),
        reason="" if shared else f"{_withheld(info)} They lie beside it as {name}.png.",
        captions=(f"{said}; slice: {SLICES[view.slices]}.", *([ERRORS] if view.errors else [])),
    )


def _withheld(info: DatasetInfo) -> str:
    """Say why a data set's images are no part of a page that may be passed on."""
    if info.redistribution is False:
        return (
            f"The licence of {info.title} ({info.licence}) does not allow its images to be passed on: they "
            "are not part of this page, do not share them."
        )
    said = f"licence {info.licence}" if info.licence else "licence not stated here"
    said += ", by its dataset.json" if info.licence and not info.registered else ""
    return (
        f"Nobody has said here that the images of {info.title} may be passed on ({said}): they are not part "
        "of this page, read its terms before you share them."
    )


def _bytes(panel: Panel) -> bytes:
    words = (panel.row, panel.case, panel.title, panel.aspect, panel.image.shape)
    arrays = (panel.image, panel.reference, panel.prediction)
    return repr(words).encode() + b"".join(a.tobytes() for a in arrays)
