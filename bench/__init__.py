"""Compare self-supervised pretraining methods for medical images, and believe the answer.

bench.method("voco")        the class of a method: ``Params``, ``build``, ``loss``
bench.dataset("btcv")       an adapter: ``.cases(root)``
bench.network("unetr", "base", in_channels=1, out_channels=14)
bench.metrics.score(prediction, reference, spacing, metrics, convention)
bench.stats.paired(scores, baseline, clusters)    patients x runs: difference, interval, verdict
bench.judge(frame, baseline="theirs")    anybody's scores: pairs, ranks, ties, a page
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import Any

__version__ = "0.2.0"


def _one_number() -> None:
    """Leave numexpr, which comes with pandas and Blosc2, a number of threads that it can read.

    It stumbles, as it is imported, over what OpenMP takes: a list, ``OMP_NUM_THREADS=4,2``.
    """
    name = "NUMEXPR_NUM_THREADS"
    stated = os.environ.get(name) or os.environ.get("OMP_NUM_THREADS", "")
    if stated and not re.fullmatch(r"\s*0*[1-9][0-9]*\s*", stated):
        first = re.match(r"\s*0*([1-9][0-9]*)", stated)
        os.environ[name] = first[1] if first else "1"


_one_number()


def __getattr__(name: str) -> Any:
    # Imported when first asked for, so that `import bench` needs neither torch nor NumPy.
    if name == "network":
        return import_module("bench.nets").network
    if name == "judge":
        return import_module("bench.extras.judge").judge
    return submodule(__name__, name)


def submodule(package: str, name: str) -> Any:
    """Import a package's module when it is first asked for.

    Raises:
        AttributeError: the package has none of that name.
    """
    full = f"{package}.{name}"
    try:
        return import_module(full)
    except ModuleNotFoundError as error:
        if error.name != full:
            raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
