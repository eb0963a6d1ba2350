"""Steps that were counted, remembered in a file by what a step depends on."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.atomic import write_atomic
from bench.gpu.work import Step
from bench.imports import meaning
from bench.job import Job
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.pretrain.spec import PretrainSpec
from bench.protocol.sections import Optimiser, Schedule, Windows
from bench.runtime.sources import sources
from bench.typed import canonical, plain, stored

NAME = "steps.json"  # in an output folder, beside contents.json
FOLDER = Path(__file__).parent
# of a fine-tuning's recipe: when it looks, when it stops, which weights it takes
UNCOUNTED = {"steps", "schedule", "select", "val_every", "patience", "track", "inference"}
UNCOUNTED |= {"validated", "prior", "val", "scans", "foreground", "balanced", "exact", "negatives"}


class StepMemory:
    """Steps by what they depend on; opened once per command."""

    def __init__(self, path: Path) -> None:
        self._path, self._rows = path, dict[str, Any]()
        with suppress(OSError, ValueError, RecursionError):  # a memory only: it is made again
            read = json.loads(path.read_bytes())
            self._rows = read if isinstance(read, dict) else {}

    def get(self, key: str, count: Callable[[], Step]) -> Step:
        """Return the step of a key, counted where nobody did before."""
        with suppress(ValueError, KeyError):
            return stored(Step, self._rows[key])
        step = count()
        self._rows[key] = plain(step)
        with suppress(OSError):  # `plan` may look where it cannot write
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(self._rows))
        return step


def of_pretraining(job: Job, spec: PretrainSpec, shape: Any, processes: int) -> str:
    """Return the key of a pretraining's step."""
    training = replace(_even(spec.pretrain), snapshots=())
    classes = [[part.task, part.group, part.classes] for part in spec.data]
    return _key(job, [spec.method, spec.network, training, classes, shape, processes])


def of_finetuning(job: Job, spec: FinetuneSpec) -> str:
    """Return the key of a fine-tuning's step."""
    settings = {k: v for k, v in plain(_even(spec.finetune)).items() if k not in UNCOUNTED}
    data = [spec.data.task, spec.data.regions, spec.data.ignore]
    return _key(job, [spec.network, settings, data, spec.init == "random"])


def of_windows(job: Job, spec: FinetuneSpec, windows: Windows) -> str:
    """Return the key of a batch of windows."""
    return _key(job, [spec.network, spec.finetune.precision, spec.data.task, windows])


def _even(training: Any) -> Any:
    """Return a recipe without what changes numbers alone."""
    optimiser, usual = training.optimiser, Optimiser()
    rates = {"lr": usual.lr, "weight_decay": usual.weight_decay, "betas": usual.betas}
    even = replace(optimiser, **rates, eps=usual.eps)
    return replace(training, steps=1, schedule=Schedule(), optimiser=even)


def _key(job: Job, parts: Sequence[Any]) -> str:
    behind = [recorded.partition(" ")[2] for recorded in sources(job.plain()).values()]
    behind += _counting()
    text = canonical([job.kind, *parts, behind, version("torch")])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@lru_cache(maxsize=1)
def _counting() -> list[str]:
    """Return what the files that count mean, layout and comments apart."""
    names = ("counting", "device", "steps", "work")
    raw = [(FOLDER / f"{name}.py").read_bytes() for name in names]
    return [meaning(text, ast.parse(text), lambda name: None) for text in raw]
