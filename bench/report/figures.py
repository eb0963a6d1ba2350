"""Which figures a report has, and drawing only those whose input changed.

matplotlib takes half a second to import, so the drawing itself lives in ``drawing.py`` and is
imported only when something must be drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.report import learning, pretrainings, scaling
from bench.report.cells import MEAN, Key
from bench.report.names import metric_axis
from bench.report.plots import Plot, Series
from bench.report.scene import Scene
from bench.report.supplement import Course, DatasetInfo, Panel
from bench.store import write_atomic

DRAWING = 6  # raised by hand when drawing.py draws the same input differently
MEMORY = "figures.json"
SHARE = "Share of labelled training patients (log scale)"
TRAINING = (
    "One line for each run, by share of training patients with labels. Of a run whose line still falls "
    "steeply at its end, or lies flat above others of its colour, look at the scores: it may not be trained."
)


@dataclass(frozen=True)
class Figure:
    """One figure: a file name without suffix, what it shows, its input, who draws it."""

    name: str
    title: str
    digest: str
    embed: bool
    draw: Callable[[], Any]
    reason: str = ""  # why it is not embedded
    captions: tuple[str, ...] = ()


def wanted(scene: Scene) -> list[Figure]:
    """Return the figures this report should have, none of them drawn yet."""
    extras, made = scene.extras, list[Figure]()

    def add(
        name: str, title: str, draw: Callable[[], Any], *parts: str, captions: tuple[str, ...] = ()
    ) -> None:
        made.append(Figure(name, title, _digest(name, *parts), True, draw, captions=captions))

    def overlaid(name: str, title: str, plots: tuple[Plot, ...], *captions: str) -> None:
        if plots:
            drawn = json.dumps([astuple(p) for p in plots])
            add(name, title, lambda: _draw().plots(plots), drawn, captions=captions)

    overlaid("fractions", "Score against label fraction", fraction_plots(scene))
    overlaid("learning", "Score as fine-tuning goes", learning.plots(scene), *learning.captions(scene))
    overlaid("pretraining_steps", "Score against pretraining steps", scaling.by_steps(scene), scaling.STEPS)
    overlaid("pretraining_cases", "Score against pretraining cases", scaling.by_cases(scene), scaling.CASES)
    if curves := extras.curves:
        add("curves", "Pretraining loss", lambda: _draw().curves(curves), repr(sorted(curves.items())))
    if lines := [(pretrainings.title_of(scene, p), p) for p in extras.pretexts if p.steps]:
        add("pretext", "What pretraining tracked", lambda: _draw().pretexts(lines), repr(lines))
    if clouds := extras.clouds:
        titles = pretrainings.group_titles(extras)
        add("embeddings", "Embeddings of the pretraining's data", lambda: _draw().clouds(clouds, titles),
            repr(titles), *map(repr, clouds),
            captions=(pretrainings.explained(clouds), *extras.absent))  # fmt: skip
    if courses := _training(scene):
        add("training", "Fine-tuning loss", lambda: _draw().training(courses), repr(courses),
            captions=(TRAINING,))  # fmt: skip
    shown = {p.section for p in extras.panels}
    return made + [_panels(scene, i) for i, name in enumerate(scene.protocol.sections) if name in shown]


def _training(scene: Scene) -> dict[str, list[Course]]:
    """Return the fine-tunings' losses by plot: who has learnt, who is on a plateau, who fell off."""
    labels = dict(zip(scene.protocol.sections, scene.labels, strict=True))
    plots: dict[str, list[Course]] = {}
    for course in scene.extras.courses:
        if course.steps:
            more = f", {labels.get(course.section, course.section)}" if len(labels) > 1 else ""
            plots.setdefault(scene.named(course.row) + more, []).append(course)
    return plots


def _draw() -> Any:
    from bench.report import drawing

    return drawing


def _panels(scene: Scene, section: int) -> Figure:
    """Return the figure of one fine-tuning section's predictions."""
    named = scene.protocol.sections
    panels = [p for p in scene.extras.panels if p.section == named[section]]
    info = scene.info[scene.protocol.finetune[section].dataset]
    labels = dict(info.labels)
    shared = info.redistribution is True
    safe = ["".join(c if c.isalnum() or c in "-_" else "_" for c in name) for name in named]
    name = f"panels_{safe[section]}" + (f"_{section}" if safe[section] in safe[:section] else "")
    return Figure(
        name=name,
        title=f"Predictions on {scene.labels[section]}",
        digest=_digest("panels", repr(labels), *(_bytes(p) for p in panels)),
        embed=shared,
        draw=lambda: _draw().panels(panels, labels),
        reason="" if shared else f"{_withheld(info)} They lie beside it as {name}.png.",
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


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256(f"{DRAWING} {version('matplotlib')}".encode())
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def fraction_plots(scene: Scene) -> tuple[Plot, ...]:
    """Return one plot per section with several label fractions, of the table's own metric."""
    y, lower = metric_axis(scene.metrics[0], scene.unit(scene.metrics[0]))
    made = []
    for section, label in enumerate(scene.labels):
        ticks = tuple(sorted(scene.fractions(section)))
        lines = [line for row in scene.rows if (line := _series(scene, row, section, ticks)).xs]
        if len(ticks) > 1 and lines:
            made.append(Plot(label, SHARE, y, lower, tuple(lines), ticks))
    return tuple(made)


def _series(scene: Scene, row: str, section: int, ticks: tuple[int, ...]) -> Series:
    metric = scene.metrics[0]
    factor = 100 if scene.unit(metric) == "1" else 1
    found = [(f, scene.cells.at(Key(row, section, f, MEAN, metric))) for f in ticks]
    kept = [(f, c.mean, c.sd or 0.0) for f, c in found if c is not None and c.mean is not None]
    return Series(
        title=scene.named(row),
        baseline=scene.from_scratch(row),
        xs=tuple(f for f, _, _ in kept),
        means=tuple(round(factor * m, 6) for _, m, _ in kept),
        sds=tuple(round(factor * s, 6) for _, _, s in kept),
    )


def refresh(figures: list[Figure], folder: Path) -> tuple[Path, ...]:
    """Draw what is missing or out of date, remove what is no longer wanted; return the files."""
    known = _remembered(folder)
    for name in set(known) - {f.name for f in figures}:
        for path in _files(folder, name):
            path.unlink(missing_ok=True)
    for figure in figures:
        files = _files(folder, figure.name)
        if known.get(figure.name) != figure.digest or not all(map(_own, files)):
            _draw().save(figure.draw(), files)
    digests = {f.name: f.digest for f in figures}
    if figures or known:
        text = json.dumps(digests, indent=1, sort_keys=True) + "\n"
        write_atomic(folder / MEMORY, text, flush=False)
    return tuple(path for f in figures for path in _files(folder, f.name))


def _remembered(folder: Path) -> dict[str, str]:
    try:
        known = json.loads((folder / MEMORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    # Files of these names are removed: they must not lie anywhere else.
    return {k: v for k, v in known.items() if Path(k).name == k} if isinstance(known, dict) else {}


def current(figure: Figure, folder: Path) -> Path | None:
    """Return the figure's PNG if it was drawn from this very input."""
    png = _files(folder, figure.name)[0]
    drawn = _remembered(folder).get(figure.name) == figure.digest and _own(png)
    return png if drawn else None


def _own(path: Path) -> bool:
    """Is a file here that was drawn here, and no link to somebody's picture?"""
    return path.is_file() and not path.is_symlink()


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.png", folder / f"{name}.pdf"
