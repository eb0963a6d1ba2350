"""What is running, done and failed in an output folder; one manifest read per job."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import Any

from bench import digest
from bench.errors import BenchError, Damaged, printable
from bench.jobs.made_by import source_hash
from bench.schema import SPEC
from bench.store import Store, read_json


def status(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Return jobs by state: ``running``, ``failed``, ``waiting`` and ``done``."""
    found: dict[str, list[dict[str, Any]]] = {"running": [], "failed": [], "waiting": [], "done": []}
    for folder in sorted(store.jobs.glob("*/manifest.json")):
        try:
            manifest = digest.manifest(folder.parent) or {}
        except Damaged as error:
            why = {"reason": str(error), "log": str(folder.with_name("log.txt"))}
            found["failed"].append({"job": folder.parent.name, "kind": "job", "cause": "damaged", **why})
            continue
        found["done"].append(
            {"job": folder.parent.name, "kind": manifest.get("kind"),
             "seconds": manifest.get("seconds"), "attempts": manifest.get("attempts"),
             "other_source": _other_source(manifest)}
        )  # fmt: skip
    for folder in sorted(store.work.glob("*/job.json")):
        job, described = folder.parent.name, read_json(folder, SPEC)
        if described is not None and not store.done(job):  # it may be published at this moment
            state, entry = _unfinished(store, job, described["job"]["kind"])
            found[state].append(entry)
    if found["waiting"]:
        _ask_slurm(store, found["waiting"])
    return found


def _ask_slurm(store: Store, waiting: list[dict[str, Any]]) -> None:
    """Add what SLURM says of waiting jobs, where it can be asked: ``task``, ``slurm``, ``pending``."""
    from bench.executors import squeue
    from bench.executors.submission import earlier

    tasks = earlier(store.root.resolve() / "slurm")
    if not tasks or shutil.which("squeue") is None:
        return
    try:
        listed = squeue.listed({task.name for task in tasks}, tries=1)
    except BenchError:
        return
    lines = {job: listed[task.key] for task in tasks if task.key in listed for job in task.pack}
    for entry in waiting:
        line = lines.get(entry["job"])
        if line is not None:
            entry |= {"task": line.id, "slurm": line.state, "pending": line.reason}


def _other_source(manifest: dict[str, Any]) -> bool:
    """Was this made by other source files than today's? Its id would be the same all the same."""
    made = manifest.get("provenance", {}).get("source")
    return bool(made) and "spec" in manifest and made != source_hash(manifest)


def _unfinished(store: Store, job: str, kind: str) -> tuple[str, dict[str, Any]]:
    entry: dict[str, Any] = {"job": job, "kind": kind}
    # The next attempt removes the reason: where there is one, a claim only looks alive, by its last beat.
    failure = store.failure(job)
    if failure is not None:
        return "failed", {**failure, **entry, "cause": failure["kind"]}
    owner = store.owner(job)
    if owner is not None:
        place = {"host": owner["host"], "pid": owner["pid"]}
        return "running", {**entry, **place, **store.progress(job)}
    return "waiting", entry


def as_text(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return a summary, with a line for each running and each failed job."""
    lines = [", ".join(f"{len(jobs)} {state}" for state, jobs in found.items())]
    for job in found["running"]:
        steps = f" step {job['step']}/{job['steps']}" if "step" in job else ""
        lines.append(f"running: {job['kind']} {job['job']}{steps} on {job['host']}, process {job['pid']}")
    queued = [job for job in found["waiting"] if "slurm" in job]
    for (state, why), count in Counter((job["slurm"], job["pending"]) for job in queued).items():
        why = "" if why == "None" else f" ({why})"
        lines.append(f"waiting: {count} jobs in SLURM, {state}{why}")
    for job in found["failed"]:
        lines.append(f"failed: {job['kind']} {job['job']}: {job['reason']} (log {job['log']})")
    other = [job["job"] for job in found["done"] if job["other_source"]]
    if other:
        lines.append(
            f"warning: {len(other)} finished jobs were made by other source files at the same version "
            f"({', '.join(other[:3])}{' ...' if len(other) > 3 else ''}); where that changes numbers, "
            "raise the version of the method, data set or network, or delete their folders"
        )
    return "\n".join(map(printable, lines))
