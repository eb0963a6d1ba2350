"""The curve of a training run, kept as a small table, and what the run has seen."""

from __future__ import annotations

import pandas as pd

from bench.jobs.context import Context
from bench.train.loop import Curve


def keep_curve(context: Context, curve: Curve) -> None:
    """Write ``curve.csv`` and note steps, samples, voxels and the share of time spent waiting."""
    pd.DataFrame(curve.rows).to_csv(context.made / "curve.csv", index=False, float_format="%.6g")
    context.facts.update(
        steps=int(curve.rows[-1]["step"]) if curve.rows else 0,
        samples=curve.samples, voxels=curve.voxels, waited=round(curve.waited, 3),
    )  # fmt: skip
