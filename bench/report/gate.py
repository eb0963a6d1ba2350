"""Is scratch trained at all? Its score with all labels against the anchor that the protocol states."""

from __future__ import annotations

from dataclasses import dataclass

from bench.protocol import finetune_of, method_pretrains
from bench.protocol.sections import Anchor
from bench.report.cells import MEAN, Key
from bench.report.names import metric_title, row_titles, section_labels, with_network
from bench.report.scene import Scene

ALL = 100  # percent of the labels
UNDERTRAINED = "Undertrained"
SO = "What stands beside them says nothing about pretraining."


@dataclass(frozen=True)
class Judged:
    """One row from scratch beside the anchor of one section; scores are shares of 1."""

    row: str  # as printed
    section: int
    anchor: Anchor
    mean: float
    worst: float
    target: str  # whose score ``worst`` is; empty where there is but one

    @property
    def passed(self) -> bool:
        """Are mean and worst target as high as the anchor asks?"""
        return self.mean >= self.anchor.mean and self.worst >= self.anchor.each

    def __str__(self) -> str:
        worst = f", worst target ({self.target}) {_percent(self.worst)}" if self.target else ""
        score = f"{metric_title(self.anchor.metric)} {_percent(self.mean)}{worst}"
        return f"{self.row}: {score}: {'reached' if self.passed else 'missed'}."


def judged(scene: Scene) -> list[Judged]:
    """Return every row from scratch that has an anchor and a score with all labels, in the order of print.

    At smoke scale and on synthetic scans nothing is judged: no anchor is meant for them.
    """
    protocol = scene.protocol
    titles = row_titles(protocol, scene.rows, scene.extras)
    found = []
    for section in range(len(protocol.finetune)) if _meant(scene) else ():
        for name, row in protocol.rows.items():
            anchor = finetune_of(protocol, section, row).anchor
            if anchor is None or row.init or method_pretrains(row):
                continue
            scores = _scores(scene, name, section, anchor)
            mean = scores.pop(MEAN, None) if len(scores) > 1 else next(iter(scores.values()), None)
            if mean is None:
                continue
            worst = min(scores, key=lambda target: scores[target])
            shown = worst if len(scores) > 1 else ""
            who = with_network(protocol, name, titles[name])
            found.append(Judged(who, section, anchor, mean, scores[worst], shown))
    return found


def said(scene: Scene) -> list[str]:
    """Return the notes on the anchor: what it asks, what the field reaches, each row's score."""
    if not _meant(scene):
        return []
    if not _anchored(scene):  # beside the rows of a paper's own scale stand the paper's numbers
        return (
            []
            if scene.protocol.scale == "paper"
            else ["No anchor is stated, so nothing here says whether training was long enough."]
        )
    found = judged(scene)
    asked = dict.fromkeys(_asked(scene, one) for one in found)
    return [*asked, *map(str, found)] or [
        "Nothing was judged: no row from scratch has a score with all labels."
    ]


def warning(scene: Scene) -> str:
    """Return one line that names the rows from scratch below their anchor; empty where none is."""
    below = [one for one in judged(scene) if not one.passed]
    labels = section_labels(scene.protocol, scene.info)
    parts: dict[str, list[str]] = {}
    for one in below:
        asked = _percent(one.anchor.mean) + (
            f" (each {_percent(one.anchor.each)})" if one.anchor.each else ""
        )
        where = f"{labels[one.section]}, scratch with all labels below {asked}"
        worst = f" ({one.target} {_percent(one.worst)})" if one.target else ""
        parts.setdefault(where, []).append(f"{one.row} {_percent(one.mean)}{worst}")
    listed = " ".join(f"{where}: {'; '.join(rows)}." for where, rows in parts.items())
    return f"{UNDERTRAINED}. {listed} {SO}" if below else ""


def _meant(scene: Scene) -> bool:
    return scene.protocol.scale != "smoke" and not scene.synthetic


def _anchored(scene: Scene) -> bool:
    protocol = scene.protocol
    return any(
        finetune_of(protocol, section, row).anchor
        for section in range(len(protocol.finetune)) for row in protocol.rows.values()
    )  # fmt: skip


def _scores(scene: Scene, row: str, section: int, anchor: Anchor) -> dict[str, float]:
    """Return a row's score of each target, and of their mean where there are several, but for failed ones."""
    targets = scene.targets(section)
    cells = {
        target: scene.cells.at(Key(row, section, ALL, target, anchor.metric))
        for target in (*targets, *([MEAN] if len(targets) > 1 else []))
    }
    return {
        target: cell.mean
        for target, cell in cells.items()
        if cell and not cell.failed and cell.mean is not None
    }


def _asked(scene: Scene, one: Judged) -> str:
    """Return what an anchor asks for, what the field reaches with all labels, and where that is printed."""
    protocol, anchor = scene.protocol, one.anchor
    label = section_labels(protocol, scene.info)[one.section]
    each = f" and {_percent(anchor.each)} for each target" if anchor.each else ""
    metric = metric_title(anchor.metric)
    text = f"{label}: from scratch with all labels {metric} must reach {_percent(anchor.mean)}{each}"
    field = _field(scene, protocol.finetune[one.section].dataset, anchor)
    return f"{text}; the field reaches {field}." if field else f"{text}."


def _field(scene: Scene, dataset: str, anchor: Anchor) -> str:
    frame = scene.extras.reference
    if frame is None:
        return ""
    same = frame[
        (frame["dataset"] == dataset) & (frame["metric"] == anchor.metric)
        & (frame["fraction"].astype(int) == ALL) & (frame["target"] == "mean")
    ]  # fmt: skip
    if anchor.family:
        same = same[same["family"] == anchor.family]
    rows = sorted(same[["value", "source"]].astype({"value": float}).itertuples(index=False, name=None))
    return ", ".join(f"{_percent(value)} ({source})" for value, source in rows)


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
