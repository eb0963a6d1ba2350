"""Which figures a report has: those of the layout's views, then those of every report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from bench import registry
from bench.protocol import Protocol, Row, View, row_of
from bench.protocol.comparable import way
from bench.report import charts, differences, learning, pretrainings, scaling, selected
from bench.report.common import apart_in
from bench.report.context import ReportContext
from bench.report.names import metric_title
from bench.report.plots import BANDS, Interval, Ladder, Plot, Series
from bench.report.redraw import Figure, digest, drawing
from bench.report.supplement import Course, Curves, DatasetInfo, Panel

FRACTIONS, LEARNING = "Score against label fraction", "Score as fine-tuning goes"
STEPS, CASES = "Score against pretraining steps", "Score against pretraining cases"
DIFFERENCES, FOREST = "Runs and patients", "Paired differences against scratch"
LOSS = "Fine-tuning loss"
PROBES = "Online probe during pretraining"
PROBE = (
    "At each point a ridge probe on the encoder is fitted to some labelled training patients and scored on "
    "others. The probe selects no weights. At the first point the encoder is random."
)
BAND, RUNS = "Bands are ± one standard deviation over runs.", "Thin lines are single runs."
ERROR_BARS = "Error bars are ± one standard deviation over runs."
PRINTED = "Hollow marks: numbers printed in the paper."
AVERAGED = "Each point is the mean of neighbouring logged steps."
EACH_SEED = "There is one line for each pretraining seed."
TRAINING = (
    "Each line is one run; its colour shows the share of training patients with labels. If a line still "
    "falls steeply at the end, or stays above the other lines of the same colour, the run may be "
    "undertrained: check the scores of the run."
)
TERMS = (
    "Each method has its own loss, so losses can be compared only within a plot. The lower panel "
    "shows the unweighted parts of the loss, and logged quantities that are not optimised."
)
LOSSES = {
    "dice_ce": "Dice loss + cross-entropy",
    "dice": "Dice loss",
    "cross_entropy": "cross-entropy",
}
CHARTS = {"bars": "Scores side by side", "dots": "Scores, better to the right"}
PICKED = {
    "first": "the first cases by name",
    "best": "the best cases",
    "median": "the cases in the middle",
    "worst": "the worst cases",
}
SLICES = {
    "largest": "the slice with the largest labelled area",
    "middle": "the middle one of the labelled slices",
}
ERRORS = (
    "The errors of each prediction are beside it. Missed: labelled only in the reference. Added: labelled only in "
    "the prediction. Confused: labelled in both, differently."
)


def wanted(report: ReportContext) -> list[Figure]:
    """Return the figures this report should have, none of them drawn yet.

    Those of the layout's views stand first, in their order; they take the place of those of their kind
    that a report has by itself.
    """
    views = report.protocol.layout.views
    stated = {view.draw for view in views}
    figures = [f for number, view in enumerate(views) for f in _of_view(report, number, view)]
    if "lines" not in stated:
        view = View(draw="lines", metrics=(report.metrics[0],))
        figures += _plots(
            "fractions", FRACTIONS, charts.lines(report, view), *apart_in(report, view)
        )
    figures += _dots(report)
    if "learning" not in stated:
        figures += _plots("learning", LEARNING, learning.plots(report), *learning.captions(report))
    if "pretraining" not in stated:
        others = apart_in(report, View(metrics=(report.metrics[0],), columns=("fraction",)))
        steps, cases = scaling.by_steps(report), scaling.by_cases(report)
        figures += _plots("pretraining_steps", STEPS, steps, scaling.STEPS, *others)
        figures += _plots("pretraining_cases", CASES, cases, scaling.CASES, *others)
    figures += _curves(_distinct(report))
    if lines := pretrainings.plotted(report):
        seeds = any(len(pretexts) > 1 for _, pretexts in lines)
        captions = (EACH_SEED, AVERAGED) if seeds else (AVERAGED,)
        title = "How each pretraining learned its task"
        figures.append(_figure("pretext", title, "pretexts", (lines,), repr(lines), captions))
    if probes := pretrainings.probed(report):
        captions = (PROBE, EACH_SEED) if any(len(of) > 1 for *_, of in probes) else (PROBE,)
        figures.append(_figure("probe", PROBES, "probes", (probes,), repr(probes), captions))
    if "embeddings" not in stated:
        figures += _clouds(report, "embeddings", View(draw="embeddings"))
    if courses := _training(report):
        drawn, captions = repr(courses), (TRAINING, AVERAGED)
        figures.append(_figure("training", LOSS, "training", (courses,), drawn, captions))
    return figures if "panels" in stated else [*figures, *_panels(report, -1, View(draw="panels"))]


def _of_view(report: ReportContext, number: int, view: View) -> list[Figure]:
    """Return the figures of one view: of panels one for each section, else one, if there is what it shows."""
    name, title = f"view{number + 1}_{view.draw}", view.title
    if view.draw in CHARTS:
        return _charts(report, name, view)
    if view.draw == "embeddings":
        return _clouds(report, name, view)
    if view.draw == "panels":
        return _panels(report, number, view)
    if view.draw == "lines":
        plots = charts.lines(report, view)
        return _plots(name, title or FRACTIONS, plots, *apart_in(report, view))
    if view.draw == "learning":
        plots = learning.plots(report, view)
        return _plots(name, title or LEARNING, plots, *learning.captions(report))
    if view.draw != "pretraining":
        return []
    steps, cases = scaling.by_steps(report, view), scaling.by_cases(report, view)
    captions = [scaling.STEPS] * bool(steps) + [scaling.CASES] * bool(cases)
    captions += apart_in(report, replace(view, metrics=view.metrics or (report.metrics[0],)))
    return _plots(name, title or (STEPS if steps else CASES), (*steps, *cases), *captions)


def _figure(
    name: str,
    title: str,
    kind: str,
    arguments: tuple[Any, ...],
    drawn: str,
    captions: Iterable[str] = (),
) -> Figure:
    """Return the figure that a function of ``bench.report.drawing`` draws."""
    draw = lambda: getattr(drawing(), kind)(*arguments)  # noqa: E731
    return Figure(name, title, digest(name, drawn), True, draw, captions=tuple(captions))


def _data(parts: Sequence[Any]) -> str:
    """Return dataclasses as text, to tell them from others."""
    return json.dumps([asdict(part) for part in parts])


def _plots(name: str, title: str, plots: tuple[Plot, ...], *captions: str) -> list[Figure]:
    if not plots:
        return []
    few = [plot for plot in plots if len(plot.series) <= BANDS]
    lines = [line for plot in plots if plot not in few for line in plot.series if any(line.sds)]
    spread = [BAND] * bool(few)
    spread += [RUNS] * any(line.runs for line in lines)
    spread += [ERROR_BARS] * any(not line.runs for line in lines)
    captions += _captions([line for plot in plots for line in plot.series], *spread)
    return [_figure(name, title, "plots", (plots,), _data(plots), captions)]


def _charts(report: ReportContext, name: str, view: View) -> list[Figure]:
    drawn = charts.charts(report, view)
    captions = _captions([marks for chart in drawn for marks in chart.series], ERROR_BARS)
    captions += tuple(apart_in(report, view))
    title = view.title or CHARTS[view.draw]
    figure = _figure(name, title, view.draw, (drawn,), _data(drawn), captions)
    return [figure] if drawn else []


def _captions(series: list[Series], *spread: str) -> tuple[str, ...]:
    """Return ``spread`` where values have a standard deviation, and what hollow marks are."""
    spread = spread if any(any(line.sds) for line in series) else ()
    return (*spread, PRINTED) if any(line.printed for line in series) else spread


def _distinct(report: ReportContext) -> list[tuple[str, Curves]]:
    """Return the curves that are drawn: not of controls that start from their row's own pretraining.

    A dose starts from its ceiling's. Terms have the words that their methods' files have for them.
    """
    curves = report.extras.curves
    drawn = dict[str, Curves]()
    for row in report.rows_of(curves):
        variant = row_of(report.protocol, row)[1]
        if not variant or curves.get(row.removesuffix(variant)) != curves[row]:
            declared = row_of(report.protocol, row)[0]
            terms = registry.declared("method", declared.method, "terms", {}) if declared else {}
            worded = {terms.get(name, name): values for name, values in curves[row].items()}
            drawn.setdefault(report.named(_undiluted(report.protocol, row)), worded)
    return [*drawn.items()]


def _undiluted(protocol: Protocol, row: str) -> str:
    """Return the ceiling whose weights a dose has, of any other row itself."""
    dose = protocol.rows.get(row)
    if dose is None or dose.dose == 1:
        return row

    def start(r: Row) -> tuple[Any, ...]:
        return r.ceiling, r.method, r.network, r.params, r.pretrain

    ceilings = (n for n, r in protocol.rows.items() if r.dose == 1 and start(r) == start(dose))
    return next(ceilings, row)


def _curves(curves: list[tuple[str, Curves]]) -> list[Figure]:
    title, captions = "Pretraining loss", (TERMS, AVERAGED)
    figure = _figure("curves", title, "curves", (curves,), repr(curves), captions)
    return [figure] if curves else []


def _dots(report: ReportContext) -> list[Figure]:
    """Return the figure of every row's runs and patients, where values are of patients."""
    strips = differences.strips(report)
    many = any(len(row.patients) == differences.MOST for strip in strips for row in strip.rows)
    captions = [differences.HOW] if any(strip.against for strip in strips) else []
    captions += apart_in(report, View(metrics=(report.metrics[0],), columns=("fraction",)))
    captions += [differences.EVERY.format(differences.MOST)] if many else []
    figure = _figure("dots", DIFFERENCES, "spots", (strips,), _data(strips), captions)
    return [figure] if strips else []


def forest(
    rows: tuple[Interval, ...], axis: str, *, lower: bool = False, against: str = ""
) -> Figure:
    """Return the figure of what rows differ from scratch by, or from what is named; see ``drawing.forest``."""
    drawn = json.dumps([[asdict(row) for row in rows], axis, lower])
    if not against:
        return _figure("forest", FOREST, "forest", (rows, axis, lower), drawn)
    title = f"Paired differences against {against}"
    return _figure("forest", title, "forest", (rows, axis, lower, against), drawn + against)


def dose_curves(ladders: tuple[Ladder, ...], title: str, caption: str) -> Figure:
    """Return the figure of what each dose of a pretraining with labels is above scratch."""
    return _figure("doses", title, "doses", (ladders,), _data(ladders), [caption])


def _clouds(report: ReportContext, name: str, view: View) -> list[Figure]:
    """Return the picture of the clouds of a view's rows, and of those of networks beside the rows."""
    clouds = report.extras.clouds
    rows = {*selected.rows(report.protocol, view, [row for cloud in clouds for row in cloud.rows])}
    clouds = tuple(cloud for cloud in clouds if not cloud.rows or rows & {*cloud.rows})
    if not clouds:
        return []
    titles = pretrainings.group_titles(report.extras)
    title = view.title or "Embeddings of the pretraining data"
    captions = (pretrainings.explained(clouds), *report.extras.absent)
    return [_figure(name, title, "clouds", (clouds, titles), repr((titles, clouds)), captions)]


def _training(report: ReportContext) -> list[tuple[str, str, list[tuple[str, tuple[Course, ...]]]]]:
    """Return the fine-tunings' losses by section and loss: who has learnt, is on a plateau, fell off."""
    sections = report.protocol.sections
    courses: dict[tuple[str, str], dict[str, list[Course]]] = {}
    for course in report.extras.courses:
        if course.steps:
            row, _ = row_of(report.protocol, course.row)
            label, name = course.section, ""
            if course.section in sections:
                index = sections.index(course.section)
                if report.protocol.finetune[index].external is not None:
                    continue  # nothing trains there: its runs are those of the section that it tests
                label = report.labels[index]
                name = way(report.protocol, index, row)["loss"] if row else ""
            loss = f" ({LOSSES[name]})" if name in LOSSES else ""
            rows = courses.setdefault((label, f"loss of a batch{loss}, lower is better"), {})
            rows.setdefault(report.named(course.row), []).append(course)
    return [
        (label, loss, [(title, tuple(runs)) for title, runs in rows.items()])
        for (label, loss), rows in courses.items()
    ]


def _panels(report: ReportContext, number: int, view: View) -> list[Figure]:
    """Return the pictures of a view's predictions, by section: each data set has its own licence."""
    names = report.protocol.sections
    panels = {
        i: [p for p in report.extras.panels if p.view == number and p.section == names[i]]
        for i in selected.sections(view, names)
    }
    panels = {i: slices for i, slices in panels.items() if slices}
    return [
        _of_section(report, number, view, i, slices, alone=len(panels) == 1)
        for i, slices in panels.items()
    ]


def _of_section(
    report: ReportContext,
    number: int,
    view: View,
    section: int,
    panels: list[Panel],
    *,
    alone: bool,
) -> Figure:
    info = report.info[report.protocol.finetune[section].dataset]
    labels, label = dict(info.labels), report.labels[section]
    safe = [re.sub(r"[^\w-]", "_", name) for name in report.protocol.sections]
    name = f"panels_{safe[section]}" + (f"_{section}" if safe[section] in safe[:section] else "")
    name = name if number < 0 else f"view{number + 1}_{name}"
    title = view.title if alone else f"{view.title}: {label}"
    picked = f"Shown: {PICKED[view.pick]}"
    if view.pick != "first":
        metric = metric_title(view.metrics[0] if view.metrics else report.metrics[0])
        picked += f" by mean {metric} over these rows"
    shared = info.redistribution is True
    return Figure(
        name=name,
        title=title if view.title else f"Predictions on {label}",
        digest=digest("panels", repr((labels, view.errors)), *map(_bytes, panels)),
        embed=shared,
        draw=lambda: drawing().panels(panels, labels, view.errors),
        reason="" if shared else f"{_withheld(info)} They are in {name}.png beside this page.",
        captions=(f"{picked}, each in {SLICES[view.slices]}.", *[ERRORS] * view.errors),
    )


def _withheld(info: DatasetInfo) -> str:
    """Say why a data set's images are no part of a page that may be passed on."""
    if info.redistribution is False:
        return (
            f"Images of {info.title} are left out: their licence ({info.licence}) does not allow sharing. "
            "Do not pass them on."
        )
    licence = f"licence {info.licence}" if info.licence else "licence not stated here"
    licence += ", by its dataset.json" if info.licence and not info.registered else ""
    how = "'\"redistribution\": true' into its dataset.json"
    if info.registered:
        how = "'redistribution = True' into its data set file"
    return (
        f"Images of {info.title} are left out: it is not stated that they may be shared ({licence}). Read "
        f"the terms of the data set before you share its images. If you may share them, write {how} and run "
        "the protocol again (finished jobs are kept)."
    )


def _bytes(panel: Panel) -> bytes:
    """Return what tells a panel from another."""
    words = (panel.row, panel.case, panel.title, panel.aspect, panel.image.shape)
    arrays = (panel.image, panel.reference, panel.prediction)
    return repr(words).encode() + b"".join(array.tobytes() for array in arrays)
