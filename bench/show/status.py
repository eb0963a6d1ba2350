"""What is running, done and failed in an output folder; one manifest read per job."""

from __future__ import annotations

from typing import Any

from bench.jobs.made_by import source_hash
from bench.store import Store, read_json


def status(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Return jobs by state: ``running``, ``failed``, ``waiting`` and ``done``."""
    found: dict[str, list[dict[str, Any]]] = {"running": [], "failed": [], "waiting": [], "done": []}
    for folder in sorted(store.jobs.glob("*/manifest.json")):
        manifest = read_json(folder) or {}
        found["done"].append(
            {"job": folder.parent.name, "kind": manifest.get("kind"),
             "seconds": manifest.get("seconds"), "attempts": manifest.get("attempts"),
             "other_source": _other_source(manifest)}
        )  # fmt: skip
    for folder in sorted(store.work.glob("*/job.json")):
        job, described = folder.parent.name, read_json(folder)
        if described is not None and not store.done(job):  # it may be published at this moment
            state, entry = _unfinished(store, job, described["job"]["kind"])
            found[state].append(entry)
    return found


def _other_source(manifest: dict[str, Any]) -> bool:
    """Was this made by other source files than today's? Its id would be the same all the same."""
    made = manifest.get("provenance", {}).get("source")
    return bool(made) and "spec" in manifest and made != source_hash(manifest)


def _unfinished(store: Store, job: str, kind: str) -> tuple[str, dict[str, Any]]:
    entry: dict[str, Any] = {"job": job, "kind": kind}
    owner = store.owner(job)
    if owner is not None:
        place = {"host": owner["host"], "pid": owner["pid"]}
        return "running", {**entry, **place, **store.progress(job)}
    failure = store.failure(job)
    if failure is not None:
        return "failed", {**failure, **entry, "cause": failure["kind"]}
    return "waiting", entry


def as_text(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return a summary, with a line for each running and each failed job."""
    lines = [", ".join(f"{len(jobs)} {state}" for state, jobs in found.items())]
    for job in found["running"]:
        steps = f" step {job['step']}/{job['steps']}" if "step" in job else ""
        lines.append(f"running: {job['kind']} {job['job']}{steps} on {job['host']}, process {job['pid']}")
    for job in found["failed"]:
        lines.append(f"failed: {job['kind']} {job['job']}: {job['reason']} (log {job['log']})")
    other = [job["job"] for job in found["done"] if job["other_source"]]
    if other:
        lines.append(
            f"warning: {len(other)} finished jobs were made by other source files at the same version "
            f"({', '.join(other[:3])}{' ...' if len(other) > 3 else ''}); where that changes numbers, "
            "raise the version of the method, data set or network, or delete their folders"
        )
    return "\n".join(lines)
