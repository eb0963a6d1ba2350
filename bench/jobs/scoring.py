"""Score kept label maps: a step over files, so that a new metric needs no network and no GPU."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.job import canonical
from bench.store import Store, write_atomic

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1  # raised by hand when scores change on purpose


def key(scoring: dict[str, Any]) -> str:
    """Name one way of scoring: metrics, convention, empty masks, targets."""
    return hashlib.sha256(canonical([VERSION, scoring]).encode()).hexdigest()[:16]


def path(store: Store, job: str, scoring: dict[str, Any]) -> Path:
    """Return where the scores of one evaluate job lie."""
    return store.jobs / job / f"scores-{key(scoring)}.parquet"


def score_missing(store: Store, job: str, scorings: list[dict[str, Any]]) -> None:
    """Score a finished evaluate job in every way that is asked for and lacking."""
    for scoring in scorings:
        target = path(store, job, scoring)
        if not target.exists():
            buffer = io.BytesIO()
            _scores(store, job, scoring).to_parquet(buffer, index=False)
            write_atomic(target, buffer.getvalue(), aside=store.work)


def _scores(store: Store, job: str, scoring: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    from bench.data.cache import Pack
    from bench.data.prepared import Prepared
    from bench.metrics import score

    prepare = store.manifest(job)["needs"][1]
    predictions = Pack(store.jobs / job, "prediction")
    prepared = Prepared(store.jobs / prepare)
    names = {**{k: v for k, v in scoring["labels"].items()}, **{r: r for r in scoring["regions"]}}
    rows = []
    for case in predictions:
        found = score(
            predictions[case][:], prepared.native(case), prepared.geometry(case).native_spacing,
            tuple(scoring["metrics"]), scoring["convention"],
            labels=[int(v) for v in scoring["labels"]] if not scoring["regions"] else None,
            regions={k: tuple(v) for k, v in scoring["regions"].items()} or None,
            empty=scoring["empty"],
        )  # fmt: skip
        rows += [
            {"case": case, "patient": prepared.patient(case), "target": names[s.target],
             "metric": s.metric, "value": s.value, "unit": s.unit, "status": s.status}
            for s in found
        ]  # fmt: skip
    return pd.DataFrame(rows)
