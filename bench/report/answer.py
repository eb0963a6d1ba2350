"""The answer at the top of a page: every row's difference from scratch as words and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from bench import stats
from bench.report.cells import Key
from bench.report.figures import dose_curves, forest
from bench.report.footnotes import TIMES, counted
from bench.report.names import lower_is_better, metric_title
from bench.report.numbers import MINUS, difference, number
from bench.report.plots import Interval
from bench.report.redraw import Figure
from bench.report.scene import Scene
from bench.report.sensitivity import CURVE, SHOWN, Sensitivity, ladders, sensitivity
from bench.report.survival import Survival, survivals
from bench.report.verdicts import BLIND, Against, Place, over_targets, run_seeds
from bench.stats.comparison import BETTER, EQUIVALENT, FEW, ROPE, UNCLEAR, WEIGHTS, WORSE
from bench.stats.equivalence import ENOUGH

NO_CONTROLS = Sensitivity()
SIGNS = {BETTER: "▲", WORSE: "▼", EQUIVALENT: "≈", UNCLEAR: "?", WEIGHTS: "·"}
HOW = (
    "A dot is the mean over patients and runs of the paired difference from the row from scratch of the same "
    "network, section and fine-tuning; the line is its 95 % interval, patients being random, and seeds where "
    "there are several (two-way random effects, Satterthwaite). With few labels the seed also decides which "
    "patients are labelled. Arrow: the line continues beyond the axis. Better is to the right. Runs: "
    "pretrainings, times the fine-tunings of each where there are several. "
)
SHADED = "Shaded is the region of practical equivalence. "
HOLLOW = "A hollow diamond is the difference that the paper printed. "
FAMILY = (
    "Family: the {of}. Holm (1979) adjusts p, of "
    "differences (printed) and of equivalences each; intervals are not adjusted. Better and worse: p below "
    "0.05; equivalent: so is p of a difference beyond the region. "
)
NONE = "No p-values: they need at least two pretraining and two fine-tuning seeds. "
ALONE = (
    "Nothing is claimed: no row here shares patients and seeds with one from scratch of its own network and "
    "fine-tuning."
)
OF_THESE = "of these: "
WHERE = "docs/statistics.md has how often these verdicts err."


@dataclass(frozen=True)
class Dot:
    """One row of a forest plot; places in percent of its width."""

    row: str
    against: str
    difference: str
    interval: str
    low: float
    mid: float
    high: float
    beyond: tuple[bool, bool]  # does the line go on to the left, to the right?
    published: float | None
    printed: str  # the published difference
    verdict: str
    sign: str
    kind: str  # of its look
    p: str
    n: str
    why: str  # of a verdict that the interval alone does not explain
    more: str  # on hover and on focus
    band: tuple[float, float] | None  # of equivalence

    @property
    def said(self) -> str:
        """The verdict, and its reason where there is one."""
        told = self.why and not self.why.startswith(OF_THESE)
        return f"{self.verdict} ({self.why})" if told else self.verdict


@dataclass(frozen=True)
class Forest:
    """One section and label fraction."""

    title: str
    summary: str
    unit: str
    dots: tuple[Dot, ...]
    controls: tuple[Dot, ...]
    region: tuple[str, ...]  # of equivalence, and whence: sentences
    ticks: tuple[tuple[float, str], ...]
    why: tuple[str, ...]  # verdicts that are of no number: sentences
    aside: tuple[str, ...]

    @property
    def caption(self) -> str:
        """Return what stands below it: the unit, what verdicts are of, and which rows are left out."""
        left_out = [f"Left out: {'; '.join(self.aside)}."] if self.aside else []
        return " ".join([f"{self.unit}.", *self.region, *self.why, *left_out])


@dataclass(frozen=True)
class Answer:
    """What a page says first."""

    sentence: str
    forests: tuple[Forest, ...]
    notes: str
    sensitivity: Sensitivity = NO_CONTROLS
    survivals: tuple[Survival, ...] = ()

    @property
    def any(self) -> bool:
        """Is there anything to show?"""
        return bool(self.forests)

    @property
    def adjusted(self) -> bool:
        """Has any comparison a p that was adjusted?"""
        return any(dot.p for one in self.forests for dot in (*one.dots, *one.controls))


def answer(scene: Scene, places: Sequence[Place]) -> Answer:
    """Return the answer of a report; without comparisons an empty one."""
    if not places:
        ran = any(cell.mean is not None for cell in scene.cells.cells.values())
        return Answer(ALONE if ran else "", (), "")
    forests = tuple(_forest(scene, place, _limit(scene, places, place)) for place in places)
    seen = sensitivity(scene, places)
    said = _sentence(places)
    if said and seen.blind:
        said += f" {' '.join(text[0].upper() + text[1:] for text in seen.blind)}"
    return Answer(said, forests, _notes(scene, places), seen, survivals(scene, places))


def _sentence(places: Sequence[Place]) -> str:
    every = [one for place in places for one in place.rows]
    alone = "" if every else "Only controls are compared with scratch. "
    every = every or [one for place in places for one in place.controls]
    found = [(v, sum(one.judged.verdict == v for one in every)) for v in stats.VERDICTS]
    if all(one.judged.verdict == WEIGHTS for one in every):
        return (
            f"{alone}None of {counted(len(every), 'comparison')} with scratch says anything about a method: "
            f"each rests on {_rests(every)}. What is shown is of these weights only."
        )
    words = {BETTER: "better than scratch", WORSE: "worse", EQUIVALENT: "equivalent to it", WEIGHTS: WEIGHTS}
    said = ", ".join(f"{n} {words.get(v, v)}" for v, n in found if n or v in (BETTER, WORSE))
    return f"{alone}Of {counted(len(every), 'comparison')}: {said}."


def _rests(some: Sequence[Against]) -> str:
    """Return what comparisons of weights rest on: ``one pretraining`` or ``one run``."""
    return " or ".join(sorted({one.judged.why.partition(":")[0].removesuffix(" each") for one in some}))


def _notes(scene: Scene, places: Sequence[Place]) -> str:
    every = [one for place in places for one in (*place.rows, *place.controls)]
    judged = [one for one in every if one.judged.verdict != WEIGHTS]
    sizes = sorted({sum(one.judged.verdict != WEIGHTS for one in place.rows) for place in places} - {0})
    many = " or ".join(map(str, sizes)) + f" comparison{'s' if sizes != [1] else ''}"
    place = "of one data set and label fraction"
    family = f"rows {place} ({many}), controls apart" if sizes else f"controls {place}"
    shares = any(scene.unit(place.metric) == "1" for place in places)
    return (
        HOW
        + (SHADED if shares else "")
        + (HOLLOW if any(one.published is not None for one in every) else "")
        + (FAMILY.format(of=family) if judged else NONE)
        + WHERE
    )


def _limit(scene: Scene, places: Sequence[Place], place: Place) -> float:
    """Return how far the axis goes to each side, alike for all places of one unit."""
    unit = scene.unit(place.metric)
    alike = [p for p in places if scene.unit(p.metric) == unit]
    every = [one for p in alike for one in (*p.rows, *p.controls)]
    least = 1.5 * ROPE if unit == "1" else 0.0
    dots = max((abs(v) for one in every for v in (one.difference, one.published or 0.0)), default=0.0)
    ends = sorted(max(abs(one.judged.comparison.low), abs(one.judged.comparison.high)) for one in every)
    usual = ends[ceil(0.75 * (len(ends) - 1))] if ends else 0.0  # a few seeds give lines beyond all measure
    return max(least, 1.15 * dots, min(1.05 * usual, 4 * dots)) or 1.0


def _forest(scene: Scene, place: Place, limit: float) -> Forest:
    unit = scene.unit(place.metric)
    lower = lower_is_better(place.metric, unit)
    title = f"{scene.labels[place.section]}, {place.fraction} % of the labels{_trained(scene, place)}"
    said = ", ".join(f"{n} {verdict}" for verdict, n in place.counted().items())
    what = f"{metric_title(place.metric)}, {'percent points' if unit == '1' else unit}"
    what += "; less is better, so to the right is less" if lower else ""
    return Forest(
        title, said, what,
        tuple(_dot(scene, one, limit, unit) for one in place.rows),
        tuple(_dot(scene, one, limit, unit) for one in place.controls),
        _regions(scene, place), _ticks(limit, unit), _reasons(scene, place.rows), place.aside,
    )  # fmt: skip


def _regions(scene: Scene, place: Place) -> tuple[str, ...]:
    """Return how wide the region of equivalence is and why, a sentence each."""
    found: dict[str, dict[str, None]] = {}
    for one in (*place.rows, *place.controls):
        if one.region is not None:
            found.setdefault(_region(one.region), {})[scene.named(one.baseline)] = None
    beside = {text: f" Beside {'; '.join(of)}." if len(found) > 1 else "" for text, of in found.items()}
    return tuple(f"Region of equivalence: {text}.{more}" for text, more in beside.items())


def _region(region: stats.Region) -> str:
    points = f"±{100 * region.rope:.2g} point{'' if region.rope == ROPE else 's'}"
    if region.itself != region.itself:
        has = counted(region.seeds, "seed")
        return f"{points}, assumed: scratch has {has}; from {ENOUGH} on it is how far scratch is from itself"
    itself = f"95 % of the ways to halve the {region.seeds} seeds of scratch differ by at most"
    if region.itself > ROPE:
        return f"{points}, assumed: {itself} {100 * region.itself:.2g} points, too wide for a region"
    return f"{points}: {itself} that"


def _reasons(scene: Scene, rows: Sequence[Against]) -> tuple[str, ...]:
    """Return why verdicts are of no number, a sentence each, with the rows' names where others have one."""
    found: dict[str, list[str]] = {}
    for one in rows:
        if one.judged.why and one.judged.verdict == WEIGHTS:  # others stand on their line
            found.setdefault(one.judged.why, []).append(scene.named(one.key.row))
    said = [why if len(of) == len(rows) else f"of {'; '.join(of)} {why}" for why, of in found.items()]
    return tuple(f"{text[0].upper()}{text[1:]}." for text in said)


def _trained(scene: Scene, place: Place) -> str:
    """Return how many patients that is, in words; nothing where it is not known."""
    sizes = sorted({*scene.cells.trained.get(place.section, {}).get(place.fraction, {}).values()})
    if not sizes:
        return ""
    many = f"{sizes[0]} to {sizes[-1]} patients" if len(sizes) > 1 else counted(sizes[0], "patient")
    return f" ({many})"


def _ticks(limit: float, unit: str) -> tuple[tuple[float, str], ...]:
    """Return places and numbers on an axis, of the largest round step that stands clear of its edge."""
    factor = 100 if unit == "1" else 1
    clear = 0.9 * limit  # beyond it a number would run into the next column's head
    some = (digit * 10.0**power / factor for power in range(5, -4, -1) for digit in (5, 2, 1))
    step = next((one for one in some if one < clear), limit)
    return tuple(
        (_at(k * step, limit), _tick(k * step, unit)) for k in (-2, -1, 0, 1, 2) if abs(k * step) < clear
    )


def _tick(value: float, unit: str) -> str:
    shown = f"{100 * value if unit == '1' else value:+g}".replace("-", MINUS)
    return "0" if shown in ("+0", f"{MINUS}0") else shown


def _at(value: float, limit: float) -> float:
    return round(50 + 50 * max(-1.0, min(1.0, value / limit)), 2)


def _dot(scene: Scene, one: Against, limit: float, unit: str) -> Dot:
    c, judged = one.judged.comparison, one.judged
    verdict = judged.verdict
    kind = verdict.replace(" ", "-")
    return Dot(
        row=scene.named(one.key.row),
        against=scene.named(one.baseline),
        difference=difference(c.difference, unit),
        interval=f"{difference(c.low, unit)} to {difference(c.high, unit)}" if c.low == c.low else "",
        low=_at(c.low, limit) if c.low == c.low else _at(c.difference, limit),
        mid=_at(c.difference, limit),
        high=_at(c.high, limit) if c.high == c.high else _at(c.difference, limit),
        beyond=(c.low < -limit, c.high > limit),
        published=None if one.published is None else _at(one.published, limit),
        printed="" if one.published is None else difference(one.published, unit),
        verdict=verdict,
        sign=SIGNS[verdict],
        kind=kind,
        p="" if judged.p != judged.p else p_value(judged.p),
        n=_n(c),
        why=OF_THESE + _of_weights(c) if verdict == WEIGHTS else reason(judged),
        more=_more(one, unit),
        band=(_at(-one.region.rope, limit), _at(one.region.rope, limit)) if one.region else None,
    )


def forest_figures(scene: Scene, places: Sequence[Place]) -> list[Figure]:
    """Return the forest plot as a figure for print: of the places that have the first one's metric."""
    here = [place for place in places if place.metric == places[0].metric]
    if not here:
        return []
    metric, unit = here[0].metric, scene.unit(here[0].metric)
    factor = 100 if unit == "1" else 1
    rows = tuple(
        Interval(
            title=scene.named(one.key.row),
            group=f"{scene.labels[place.section]}, {place.fraction} %",
            difference=round(factor * one.difference, 6),
            low=round(factor * c.low, 6),
            high=round(factor * c.high, 6),
            verdict=one.judged.verdict,
            text=f"{difference(c.difference, unit)}  [{difference(c.low, unit)}, {difference(c.high, unit)}]",
            said=one.judged.verdict + _briefly(one.judged),
            published=None if one.published is None else round(factor * one.published, 6),
            rope=round(factor * one.region.rope, 6) if one.region else 0.0,
        )
        for place in here
        for one in place.rows
        if (c := one.judged.comparison).low == c.low
    )
    axis = f"{metric_title(metric)} ({'points' if unit == '1' else unit}) against scratch"
    return [forest(rows, axis)] if rows else []


def dose_figures(scene: Scene, places: Sequence[Place]) -> list[Figure]:
    """Return the dose curves as a figure, where a place has positive controls."""
    found = ladders(scene, places)
    return [dose_curves(found, CURVE, SHOWN)] if found else []


def _of_weights(c: stats.Comparison) -> str:
    """Return what these weights alone would be called, and why it is another than the interval suggests."""
    if c.of_weights != UNCLEAR or c.low <= 0 <= c.high or c.low != c.low:
        return c.of_weights
    few = FEW.format(n=c.patients, p=c.smallest_p)
    return f"{c.of_weights} ({few if c.smallest_p > c.alpha else f'p {p_value(c.p)}'})"


def _briefly(judged: stats.Judged) -> str:
    """Return ``reason`` in a word or two, for a figure."""
    if BLIND in judged.why:
        return " (blind)"
    return "" if not reason(judged) else " (too few patients)" if judged.why else " (after Holm)"


def interval(scene: Scene, key: Key) -> str:
    """Return the 95 % interval of a cell's own mean in words, patients and runs being random; "" for none."""
    scores = scene.cells.scores(key)
    if scores is None:
        return ""
    values, (clusters, seeds) = over_targets(scores.values), run_seeds(scene, key.row, key.row, scores.runs)
    c = stats.compared(values, clusters, None, seeds=seeds, flips=False) if (values == values).any() else None
    if c is None or c.low != c.low:
        return ""
    unit = scene.unit(key.metric)
    of = "" if c.verdict != WEIGHTS else " of these weights"
    return f"95 % interval{of} {number(c.low, unit)} to {number(c.high, unit)}"


def p_value(p: float) -> str:
    """Return a p as print has it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _n(c: stats.Comparison) -> str:
    of = f"{c.pretrainings} {TIMES} " if c.seeds > 1 else ""
    return f"{of}{c.seeds if of else c.pretrainings} {TIMES} {c.patients}"


def reason(judged: stats.Judged) -> str:
    """Return why a verdict is another than its interval suggests; "" where it is not."""
    c = judged.comparison
    if judged.verdict != UNCLEAR:
        return ""
    if judged.why:
        return judged.why
    return f"p after Holm is {p_value(judged.p)}" if c.low > 0 or c.high < 0 else ""


def _more(one: Against, unit: str) -> str:
    """Return all that is known of a comparison, and what would settle it."""
    c = one.judged.comparison
    noun = "run" if c.seeds == 1 else "pretraining"
    of = f" of {counted(c.seeds, 'fine-tuning')}" if c.seeds > 1 else ""
    said = [f"{counted(c.patients, 'patient')}, {counted(c.pretrainings, noun)}{of}"]
    if c.sd_run == c.sd_run:
        sds = [number(v, unit) for v in (c.sd_patient, c.sd_run, c.sd_residual)]
        said.append(f"standard deviations: patients {sds[0]}, runs {sds[1]}, rest {sds[2]}")
    said.append(f"crossed bootstrap {difference(one.check[0], unit)} to {difference(one.check[1], unit)}")
    if one.judged.verdict == WEIGHTS:
        said.append(f"of these weights: {c.of_weights}; do they differ? sign-flip p {p_value(one.flips)}")
    if c.detectable == c.detectable:
        least = number(c.detectable, unit)
        said.append(f"a difference of {least} would be seen in four of five such studies if asked alone")
    said += [settles(one)] if settles(one) else []
    return "; ".join(said) + "."


def settles(one: Against) -> str:
    """Say what would tell such a difference from none: seeds first, then patients."""
    c = one.judged.comparison
    if one.judged.verdict == WEIGHTS:
        what = (
            "another fine-tuning seed" if c.pretrainings > 1 and c.seeds == 1 else "another pretraining seed"
        )
        return f"what would say more: {what}"
    if {one.judged.verdict, c.verdict} != {UNCLEAR} or c.sd_run != c.sd_run:
        return ""  # told already, or would be if asked alone: more seeds are not what lacks
    noun = "pretraining" if c.seeds > 1 else "run"
    units, patients = c.needed("units", 50), c.needed("patients", 2000)
    said = [f"{counted(units, noun)}" if units else f"no number of {noun}s up to 50"]
    said += [f"or {counted(patients, 'patient')}"] if patients and patients > c.patients else []
    tail = "" if patients else "; more patients alone would not"
    return f"what may tell, asked alone: {' '.join(said)}{tail}"
