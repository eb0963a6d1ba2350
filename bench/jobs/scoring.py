"""Score kept predictions: a step over files, so that a new metric needs no network and no GPU."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.parts import Value
from bench.digest import short
from bench.store import Store, write_atomic
from bench.typed import canonical, sparse

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from bench.data.prepared import Prepared
    from bench.metrics import Score

VERSION = 1  # raised by hand when scores change on purpose
SEEN = "prediction_prepared"  # pack of label maps on the grid that the network sees
LOOPED = "dice_monai"


@dataclass(frozen=True)
class Scoring:
    """One way of scoring; no part of an evaluation's identity."""

    task: str
    metrics: tuple[str, ...]
    convention: str  # of distances
    empty: str  # of empty masks
    labels: dict[str, str]  # value: name
    regions: dict[str, tuple[int, ...]]  # name: values; in place of the labels where there are some
    ignore: int | None = sparse()  # value of voxels that nobody labelled, which count nowhere
    value: Value | None = sparse()  # of a regression


def targets_of(scoring: Scoring) -> dict[str, tuple[int, ...]]:
    """Return the label values of every target by its name, as they are scored; none of a classification."""
    if scoring.task != "segmentation":
        return {}
    return dict(scoring.regions) or {name: (int(value),) for value, name in scoring.labels.items()}


def key(scoring: Scoring) -> str:
    """Name one way of scoring."""
    from bench.metrics.request import versions

    newer = versions(scoring.metrics)
    stated = [VERSION, scoring, newer] if newer else [VERSION, scoring]
    return hashlib.sha256(canonical(stated).encode()).hexdigest()[:16]


def path(store: Store, job: str, scoring: Scoring) -> Path:
    """Return where the scores of one evaluate job lie; a file that is not there yet where none is whole.

    A job is published before it is scored, so the manifest cannot list the file: its digest is part of
    its name. Versions before wrote none, under the name that is returned where nothing is whole.
    """
    stem = f"scores-{key(scoring)}"
    for file in sorted((store.jobs / job).glob(f"{stem}-*.parquet")):
        if intact(file):
            return file
    return store.jobs / job / f"{stem}.parquet"


def intact(scores: Path) -> bool:
    """Tell whether a file of scores holds what its name says."""
    try:
        return short(scores.read_bytes()) == scores.stem.rpartition("-")[2]
    except OSError:
        return False


def damaged(store: Store, job: str, scoring: Scoring) -> list[Path]:
    """Return the files of one scoring that do not hold what their names say; they are scored again."""
    return [p for p in (store.jobs / job).glob(f"scores-{key(scoring)}-*.parquet") if not intact(p)]


def score_missing(store: Store, job: str, scorings: Sequence[Scoring]) -> None:
    """Score a finished evaluate job in every way that is asked for and lacking.

    Raises:
        Damaged: a prediction or a reference is not what was published.
    """
    for scoring in scorings:
        if path(store, job, scoring).exists():
            continue
        buffer = io.BytesIO()
        _scores(store, job, scoring).to_parquet(buffer, index=False)
        data = buffer.getvalue()
        target = store.jobs / job / f"scores-{key(scoring)}-{short(data)}.parquet"
        write_atomic(target, data, aside=store.work)
        for old in damaged(store, job, scoring):
            old.unlink(missing_ok=True)


def _scores(store: Store, job: str, scoring: Scoring) -> pd.DataFrame:
    import pandas as pd

    from bench.data.prepared import Prepared
    from bench.jobs.class_scores import CLASSIFICATION
    from bench.metrics.request import REGRESSION

    prepared = Prepared(store.jobs / store.manifest(job)["needs"][1])
    rows = {CLASSIFICATION: _of_classes, REGRESSION: _of_values}.get(scoring.task, _of_maps)
    return pd.DataFrame(rows(store.jobs / job, prepared, scoring))


def _of_maps(folder: Path, prepared: Prepared, scoring: Scoring) -> list[dict[str, Any]]:
    """Return a row per case and target; of a metric over all cases one per target, case and patient empty."""
    import numpy as np

    from bench.data.cache import Pack
    from bench.metrics import score
    from bench.metrics.grid import blanked
    from bench.metrics.pooled import DICE, Pooled
    from bench.metrics.request import looped, of_each

    predictions, each = Pack(folder, "prediction"), of_each(scoring.metrics)
    names = {**scoring.labels, **{r: r for r in scoring.regions}}
    values = None if scoring.regions else [int(name) for name in scoring.labels]
    labels = {name: (int(name),) for name in scoring.labels}
    pooled = Pooled(scoring.regions or labels, scoring.empty) if DICE in scoring.metrics else None
    seen = Pack(folder, SEEN) if any(map(looped, scoring.metrics)) else None
    rows = []
    for case in predictions:
        predicted, reference = blanked(predictions[case][:], prepared.native(case), scoring.ignore)
        if pooled is not None:
            pooled.add(predicted, reference)
        grid = prepared.geometry(case)
        scored: list[Score] = []
        if each:
            affine = None if grid.native_edges is None else np.transpose(grid.native_edges)
            scored = score(
                predicted,
                reference,
                grid.native_spacing,
                each,
                scoring.convention,
                affine=affine,
                labels=values,
                regions=scoring.regions or None,
                empty=scoring.empty,
            )
        if seen is not None:
            scored = [*scored, *_as_validated(seen[case][:], prepared.label(case), scoring)]
        rows += [row(case, prepared.patient(case), names[s.target], s) for s in scored]
    rows += [row("", "", names[s.target], s) for s in pooled.scores()] if pooled is not None else []
    return rows


def _as_validated(predicted: np.ndarray, reference: np.ndarray, scoring: Scoring) -> list[Score]:
    """Return the Dice of every target that the reference has; of the others there is none.

    MONAI's ``DiceMetric`` leaves them out (``ignore_empty``), and validation loops from UNETR's on call it
    on the grid that the network sees (Luffy03/VoCo, Finetune/BTCV/trainer.py, ``val_epoch``).
    """
    from bench.metrics import score

    values = None if scoring.regions else [int(v) for v in scoring.labels]
    regions, ignore, unit = scoring.regions or None, scoring.ignore, (1.0, 1.0, 1.0)
    scored = score(
        predicted, reference, unit, ("dice",), labels=values, regions=regions, ignore=ignore
    )
    empty = ("empty_reference", "both_empty")
    return [replace(s, metric=LOOPED, value=None if s.status in empty else s.value) for s in scored]


def _of_classes(folder: Path, prepared: Prepared, scoring: Scoring) -> list[dict[str, Any]]:
    from bench.jobs.class_scores import read

    return of_classes(prepared, *read(folder), scoring.metrics)


def of_classes(
    prepared: Prepared,
    cases: Sequence[str],
    scores: np.ndarray,
    predicted: np.ndarray,
    metrics: Sequence[str],
) -> list[dict[str, Any]]:
    """Return a row per case where a metric has a number for each; else one, its case and patient empty.

    Args:
        prepared: knows the true classes.
        cases: N of them.
        scores: (N, K), of each class.
        predicted: (N,) the classes they are taken to say.
        metrics: of classes.
    """
    import numpy as np

    from bench.jobs.class_scores import true_classes
    from bench.metrics.classes import score_classes

    true = np.array(true_classes(prepared, cases, scores.shape[1]))
    scored = score_classes(scores, true, metrics, predicted)
    rows = []
    for number, s in scored:
        case = "" if number is None else cases[number]
        rows.append(row(case, prepared.patient(case) if case else "", s.target, s))
    return rows


def _of_values(folder: Path, prepared: Prepared, scoring: Scoring) -> list[dict[str, Any]]:
    """Return a row per case where a metric has a number for each; else one, its case and patient empty."""
    from bench.data.values import true_values
    from bench.jobs.class_scores import read
    from bench.metrics.values import score_values

    assert scoring.value is not None
    cases, predicted, _ = read(folder)
    true, numbers = true_values(prepared, cases, scoring.value), predicted[:, 0]
    if not scoring.value.volume:
        cases, numbers, true = by_patient(prepared, cases, numbers, true)
    unit = scoring.value.measured_in
    return [
        row(
            "" if number is None else cases[number],
            "" if number is None else prepared.patient(cases[number]),
            s.target,
            s,
        )
        for number, s in score_values(numbers, true, scoring.metrics, unit)
    ]


def by_patient(
    prepared: Prepared, cases: list[str], predicted: np.ndarray, true: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return one number of each patient, under the first case: predictions are averaged over the cases.

    Cases stay as they are where those of a patient have different values.

    Args:
        prepared: knows the patients.
        cases: N of them.
        predicted: (N,).
        true: (N,) values.
    """
    import numpy as np

    of = dict[str, list[int]]()
    for number, case in enumerate(cases):
        of.setdefault(prepared.patient(case), []).append(number)
    if any(len({*true[numbers]}) > 1 for numbers in of.values()):
        return cases, predicted, true
    first = [numbers[0] for numbers in of.values()]
    means = np.array([predicted[numbers].mean() for numbers in of.values()])
    return [cases[number] for number in first], means, true[first]


def row(case: str, patient: str, target: str, score: Score) -> dict[str, Any]:
    """Return one score as the columns of ``record.SCORES``."""
    location = {"case": case, "patient": patient, "target": target, "metric": score.metric}
    return {**location, "value": score.value, "unit": score.unit, "status": score.status}
