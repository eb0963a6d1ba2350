"""The table of pretrainings: how each method's figure went, and whether its encoder collapsed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import median

from bench.report.context import ReportContext
from bench.report.footnotes import counted
from bench.report.names import dataset_info, metric_title
from bench.report.sections import FILES, Section
from bench.report.supplement import Cloud, Extras, Pretext, ProbeCurve
from bench.report.tabular import Table, TableCell, grid, with_lines

HEADING = "Pretraining"
NUMBERS = ("At the start", "At the end", "Chance", "Embedding std", "Effective rank")
PROBE = "Online probe"
COLLAPSED = "collapsed"
GUESSES, CONSTANT = "no better than guessing", "no better than a constant"  # shares, errors
UNTRAINED = "not trained for this task"
ARROW = " \N{RIGHTWARDS ARROW} "
NOTE = (
    "Of several pretrainings the table has the median; of the end, in brackets, also the lowest and the highest"
    " number. Start and end are means over the first 1 % and the last 10 % of the logged steps. If guessing "
    "solves the first steps, they are skipped. Chance: the mean score of guessing over the last 10 % of the "
    "steps; in retrieval tasks the guess knows only data set, modality and intensity; of an error, chance is "
    "the error of a constant, for a hidden block that of its true mean. No better than guessing, or than a "
    "constant: the end is not better than chance. Embedding std: spread of the directions of the embeddings (1:"
    " over the whole sphere, 0: one point). Effective rank: number of directions along which the embeddings "
    "vary; directions of little variance count, too. Std and rank are measured on the same samples before the "
    "first step \N{RIGHTWARDS ARROW} after the last step. An encoder is called collapsed in three cases. (1) "
    "The std is below 0.001. (2) More than 90 % of the variance is in one direction (for example, only two data"
    " sets are separated). (3) The std falls below a tenth of the std at the start (or below 0.02 and below "
    "half of it), and the rank is above half of the highest possible rank (noise around a point). In a network "
    "with skip connections, a collapse may only mean that the bottleneck was not used."
)
PROBED = (
    " Online probe: score of a ridge probe on the encoder before the first step \N{RIGHTWARDS ARROW} after the "
    "last step, on training patients to which the probe was not fitted."
)


def shown(report: ReportContext) -> list[Pretext]:
    """Return the pretrainings that are judged: those of controls are not, whose task is no pretext."""
    return [p for p in report.extras.pretexts if not report.is_control(p.row)]


def sections(report: ReportContext) -> list[Section]:
    """Return the table of pretrainings, in the protocol's order."""
    order = {row: i for i, row in enumerate(report.rows)}
    pretexts = sorted(shown(report), key=lambda p: (order.get(p.row, len(order)), p.seed or 0))
    probes = any(p.probe for p in pretexts)
    alike: dict[tuple[str, str, bool], list[Pretext]] = {}
    for p in pretexts:
        alike.setdefault((_rows_title(report, p), p.says, p.rises), []).append(p)
    lines = [_line(report, runs, probes=probes) for runs in alike.values()]
    head = ["Row", "Remark", "Figure", *NUMBERS, *[PROBE] * probes]
    table = _without_empty_remarks(grid(head, lines, "", NOTE + PROBED * probes, words=(1, 2)))
    section = Section(HEADING, (table,), "pretraining", "What pretraining did", forms=FILES)
    return [section] if lines else []


def _without_empty_remarks(table: Table) -> Table:
    """Return a table without its first column if that is empty."""
    if any(line.entries[0].mean for line in table.lines):
        return table
    lines = [replace(line, entries=line.entries[1:]) for line in table.lines]
    return with_lines(replace(table, columns=table.columns[1:]), ("", lines))


def _line(
    report: ReportContext, runs: Sequence[Pretext], *, probes: bool
) -> tuple[str | TableCell, ...]:
    """Return the line of a row: the medians of its pretrainings."""
    several = f"{_rows_title(report, runs[0])} ({len(runs)} pretrainings)"
    remark = "; ".join(_remarks(runs))
    return (
        several if len(runs) > 1 else title_of(report, runs[0]),
        TableCell(remark, hole="" if remark == UNTRAINED else "failed"),
        f"{runs[0].says} ({'higher' if runs[0].rises else 'lower'} is better)",
        _middle(p.first for p in runs),
        _spread(p.last for p in runs),
        _middle(p.chance for p in runs),
        _course([p.std for p in runs]),
        _course([p.rank for p in runs]),
        *([_probe([p.probe for p in runs if p.probe])] if probes else []),
    )


def _remarks(runs: Sequence[Pretext]) -> Iterator[str]:
    """Yield what is wrong, of several pretrainings with the seeds of which it is."""
    if runs[0].untrained:
        yield UNTRAINED
    lacks = f"its curve has no column {next((p.lacks for p in runs if p.lacks), '')!r}"
    for what, faulty in (
        (lacks, [p for p in runs if p.lacks]),
        (COLLAPSED, [p for p in runs if p.collapsed]),
        (_guess(runs[0]), [p for p in runs if p.guesses]),
    ):
        if faulty and len(runs) == 1:
            yield what
        elif faulty:
            yield f"{what}: seed{'s' * (len(faulty) > 1)} {', '.join(str(p.seed) for p in faulty)}"


def title_of(report: ReportContext, pretext: Pretext) -> str:
    """Return the title of a pretraining's rows, and its seed among several."""
    return _rows_title(report, pretext) + ("" if pretext.seed is None else f", seed {pretext.seed}")


def _rows_title(report: ReportContext, pretext: Pretext) -> str:
    """Return the title of a pretraining's row, and of those that share it."""
    return "; ".join(
        [report.named(pretext.row), *(report.titles.get(row, row) for row in pretext.shared)]
    )


def plotted(report: ReportContext) -> list[tuple[str, tuple[Pretext, ...]]]:
    """Return what one plot each shows: the pretrainings of a row, of all its seeds."""
    by_title: dict[str, list[Pretext]] = {}
    for pretext in shown(report):
        if pretext.steps:
            by_title.setdefault(_rows_title(report, pretext), []).append(pretext)
    return [(title, tuple(pretexts)) for title, pretexts in by_title.items()]


def short(value: float | None) -> str:
    """Return three significant digits, a dash where there is no number."""
    if value is None:
        return "\N{EM DASH}"
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}".replace("-", "\N{MINUS SIGN}")
    return f"{value:#.3g}".removesuffix(".").replace("-", "\N{MINUS SIGN}").replace("e+", "e")


def _middle(values: Iterable[float | None]) -> str:
    """Return the median of what has a number."""
    numbers = [value for value in values if value is not None]
    return short(median(numbers) if numbers else None)


def _spread(values: Iterable[float | None]) -> str:
    """Return the median of what has a number, and the lowest and the highest if they are not printed alike."""
    numbers = sorted(value for value in values if value is not None)
    ends = dict.fromkeys(map(short, numbers[:: max(1, len(numbers) - 1)]))
    return _middle(numbers) + (f" ({' to '.join(ends)})" if len(ends) > 1 else "")


def _course(pairs: Iterable[tuple[float, float] | None]) -> str:
    ends = [*zip(*filter(None, pairs), strict=True)]
    return ARROW.join(map(_middle, ends)) if ends else short(None)


def probed(report: ReportContext) -> list[tuple[str, str, tuple[ProbeCurve, ...]]]:
    """Return what one plot each shows of online probes: a row's title, what is scored, and a curve per seed."""
    by_title: dict[str, list[ProbeCurve]] = {}
    for pretext in shown(report):
        if pretext.probe is not None and pretext.probe.steps:
            by_title.setdefault(_rows_title(report, pretext), []).append(pretext.probe)
    return [
        (title, _scored(report, curves[0]), tuple(curves)) for title, curves in by_title.items()
    ]


def _scored(report: ReportContext, curve: ProbeCurve) -> str:
    where = dataset_info(curve.dataset, report.extras).title
    return f"{metric_title(curve.metric)} on {counted(curve.scored, 'patient')} of {where}"


def _probe(curves: Sequence[ProbeCurve]) -> str:
    drawn = [curve for curve in curves if curve.values]
    course = _course([(curve.values[0], curve.values[-1]) for curve in drawn])
    return f"{metric_title(drawn[0].metric)} {course}" if drawn else course


def _guess(pretext: Pretext) -> str:
    """Return what a pretraining is no better than: an error has no guess, but a constant's error."""
    return GUESSES if pretext.rises else CONSTANT


def faults(report: ReportContext) -> list[str]:
    """Return lines that name the pretrainings whose encoder collapsed, and those that learned no task."""
    titles = {
        "collapsed in pretraining (embeddings nearly equal, or along one direction)": [
            title_of(report, p) for p in shown(report) if p.collapsed
        ]
    }
    for p in shown(report):
        if p.guesses:
            what = f"{_guess(p)} at the end of pretraining"
            titles.setdefault(what, []).append(title_of(report, p))
    return [f"{what}: {'; '.join(names)}" for what, names in titles.items() if names]


def explained(clouds: tuple[Cloud, ...]) -> str:
    """Return what the picture of embeddings shows."""
    ways = " or ".join(dict.fromkeys(cloud.how for cloud in clouds))
    return (
        f"Each point is one sample of a data set, placed by {ways} of the encoder's averaged bottleneck. "
        "Positions can be compared only within a panel. In brackets: std and effective rank of the "
        "embeddings, not of the points."
    )


def group_titles(extras: Extras) -> dict[str, str]:
    """Return the printed name of every data set in the clouds."""
    return {
        name: dataset_info(name, extras).title for cloud in extras.clouds for name in cloud.groups
    }
