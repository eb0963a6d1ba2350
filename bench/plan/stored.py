"""A plan as a file, so that whoever looks at an output folder knows what its run wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import jobs, typed
from bench.errors import BenchError
from bench.plan.dag import Plan
from bench.typed import plain

# jobs are stored as workers read them; weight files are read by jobs alone
LEFT_OUT = ("jobs", "files")
SHAPE: Any = {"jobs": {"*": {"kind": str, "spec": dict, "needs": [str]}}}


def as_text(plan: Plan) -> str:
    """Return a plan as JSON; ``read`` gives it back, without the weight files that it looked at."""
    rest = {name: plain(value) for name, value in vars(plan).items() if name not in LEFT_OUT}
    return json.dumps({"jobs": {job.id: job.plain() for job in plan.jobs.values()}, **rest})


def read(file: Path) -> Plan:
    """Return the plan in a file.

    Raises:
        BenchError: it is damaged, or another version of bench wrote it.
    """
    try:
        stored: dict[str, Any] = typed.read(SHAPE, file.read_bytes())
        jobs_by_id = {
            name: jobs.read(described, str(file)) for name, described in stored["jobs"].items()
        }
        plan = typed.stored(Plan, {**stored, "jobs": jobs_by_id})
    except (OSError, ValueError, LookupError, BenchError) as error:
        raise BenchError(f"{file}: cannot be read ({error}); run the protocol again") from None
    if any(name != job.id for name, job in jobs_by_id.items()):
        raise BenchError(f"{file}: another version of bench wrote it; run the protocol again")
    return plan
