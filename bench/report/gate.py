"""Is scratch trained at all? Its score with all labels against the anchor that the protocol states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.protocol import finetune_of, method_pretrains
from bench.protocol.sections import Anchor
from bench.report.cells import MEAN, Key
from bench.report.names import metric_title, row_titles, section_labels, with_network
from bench.report.scene import Scene

ALL = 100  # percent of the labels
UNDERTRAINED = "Undertrained"
SO = "Differences between its rows and theirs say nothing about pretraining."


@dataclass(frozen=True)
class Judged:
    """One row from scratch beside the anchor of one section."""

    passed: bool
    text: str


def judged(scene: Scene) -> list[Judged]:
    """Return every row from scratch that has an anchor and a score with all labels, in the order of print.

    At smoke scale and on synthetic scans nothing is judged: no anchor is meant for them.
    """
    return list(_judged(scene)) if _meant(scene) else []


def said(scene: Scene) -> list[str]:
    """Return the notes on the anchor: each row's, and what could not be judged."""
    found = [one.text for one in judged(scene)]
    if not _meant(scene) or (scene.protocol.scale == "paper" and not _anchored(scene)):
        return found  # a paper's own numbers stand beside the rows
    if not _anchored(scene):
        return ["No anchor is stated, so nothing here says whether training was long enough."]
    return found or ["Nothing was judged: no row from scratch has a score with all labels."]


def warning(scene: Scene) -> str:
    """Return one line that names the rows from scratch below their anchor; empty where none is."""
    below = [one.text for one in judged(scene) if not one.passed]
    return f"{UNDERTRAINED}. {' '.join(below)} {SO}" if below else ""


def _meant(scene: Scene) -> bool:
    return scene.protocol.scale != "smoke" and not scene.synthetic


def _anchored(scene: Scene) -> bool:
    protocol = scene.protocol
    return any(
        finetune_of(protocol, section, row).anchor
        for section in range(len(protocol.finetune)) for row in protocol.rows.values()
    )  # fmt: skip


def _judged(scene: Scene) -> Iterator[Judged]:
    protocol = scene.protocol
    titles = row_titles(protocol, scene.rows, scene.extras)
    labels = section_labels(protocol, scene.info)
    for section, label in enumerate(labels):
        for name, row in protocol.rows.items():
            anchor = finetune_of(protocol, section, row).anchor
            if anchor is None or row.init or method_pretrains(row):
                continue
            found = _reached(scene, name, section, anchor)
            if found is not None:
                passed, text = found
                who = with_network(protocol, name, titles[name])
                yield Judged(
                    passed, f"{who}, {label} with all labels: {text}{_field(scene, section, anchor)}."
                )


def _reached(scene: Scene, row: str, section: int, anchor: Anchor) -> tuple[bool, str] | None:
    """Return whether a row reaches its anchor and how that is said; None where it has no score."""

    def at(target: str) -> float | None:
        cell = scene.cells.at(Key(row, section, ALL, target, anchor.metric))
        return None if cell is None or cell.failed else cell.mean

    scores = {t: v for t in scene.targets(section) if (v := at(t)) is not None}
    mean = at(MEAN) if len(scores) > 1 else next(iter(scores.values()), None)
    if mean is None:
        return None
    worst = min(scores, key=lambda t: scores[t])
    passed = mean >= anchor.mean and scores[worst] >= anchor.each
    text = f"{metric_title(anchor.metric)} {_percent(mean)}"
    asked = _percent(anchor.mean)
    if len(scores) > 1:
        text += f", worst target ({worst}) {_percent(scores[worst])}"
        asked += f" and {_percent(anchor.each)} for each" if anchor.each else ""
    return passed, f"{text}; the anchor of {asked} is {'reached' if passed else 'missed'}"


def _field(scene: Scene, section: int, anchor: Anchor) -> str:
    """Return what the field reaches with all labels, and where it is printed."""
    frame = scene.extras.reference
    if frame is None:
        return ""
    dataset = scene.protocol.finetune[section].dataset
    same = frame[
        (frame["dataset"] == dataset) & (frame["metric"] == anchor.metric)
        & (frame["fraction"].astype(int) == ALL) & (frame["target"] == "mean")
    ]  # fmt: skip
    if anchor.family:
        same = same[same["family"] == anchor.family]
    rows = sorted(same[["value", "source"]].astype({"value": float}).itertuples(index=False, name=None))
    if not rows:
        return ""
    return "; the field reaches " + ", ".join(f"{_percent(value)} ({source})" for value, source in rows)


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
