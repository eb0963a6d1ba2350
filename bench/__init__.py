"""Compare self-supervised pretraining methods for medical images, and believe the answer.

bench.method("voco")        the class of a method: ``Params``, ``build``, ``loss``
bench.dataset("btcv")       an adapter: ``.cases(root)``
bench.network("unetr", "base", in_channels=1, out_channels=14)
bench.metrics.score(prediction, reference, spacing, metrics, convention)
bench.stats.paired(scores, baseline, clusters)    patients x runs: difference, interval, verdict
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported when first asked for, so that `import bench` needs neither torch nor NumPy.
    if name == "network":
        return import_module("bench.nets").network
    if name in ("method", "dataset", "metrics", "stats"):
        return import_module(f"bench.{name}")
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
