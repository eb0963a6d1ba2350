"""The kinds of job there are, and the way back from what is stored of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import typed
from bench.errors import BenchError, unknown
from bench.job import Job
from bench.jobs.embed.spec import EmbedSpec
from bench.jobs.evaluate.spec import EvaluateSpec
from bench.jobs.finetune.spec import FinetuneSpec
from bench.jobs.guard.spec import GuardSpec
from bench.jobs.kind import Kind
from bench.jobs.latency.spec import LatencySpec
from bench.jobs.prepare.spec import PrepareSpec
from bench.jobs.pretrain.spec import PretrainSpec

SPECS: list[type[Kind]] = [
    PrepareSpec,
    GuardSpec,
    PretrainSpec,
    FinetuneSpec,
    EvaluateSpec,
    LatencySpec,
    EmbedSpec,
]
KINDS = {spec.kind: spec for spec in SPECS}  # in the order in which a run does them


def read(described: Mapping[str, Any], where: str) -> Job:
    """Return the job that ``Job.plain`` described.

    Raises:
        BenchError: no such kind, or a spec that this version does not write.
    """
    kind, stated = described["kind"], described["spec"]
    if kind not in KINDS:
        raise BenchError(f"{where}: {unknown('kind of job', str(kind), KINDS)}")
    spec = typed.build(KINDS[kind], stated, lambda keys: ".".join((where, "spec", *keys)))
    return Job(spec, tuple(described["needs"]))
