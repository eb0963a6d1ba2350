"""What is running, done and failed in an output folder, and what nobody wants any more."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench import claims
from bench.errors import BenchError, printable
from bench.job import SPEC
from bench.runtime.stale import Stale, finished, lines, stale
from bench.show.labels import Label, labels_wanted
from bench.store import Store, read_json

if TYPE_CHECKING:
    from bench.executors.slurm.squeue import Line

PRETRAINED = 20  # pretrainings that are listed
SHORT = 8  # characters of an id in a command
UNWANTED = "no longer wanted by any protocol"


def status(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Return jobs by state: ``running``, ``failed``, ``waiting`` and ``done``.

    Each entry has ``job``, ``kind``, ``row``, ``dataset``, ``fraction``, ``seed`` and ``wanted``: does the
    last run of some protocol want it (also where none has left that)? One that is done has the ``files``
    whose source is another today.
    """
    states = ("running", "failed", "waiting", "done")
    by_state: dict[str, list[dict[str, Any]]] = {state: [] for state in states}
    called, manifests = labels_wanted(store), finished(store)
    other = stale(manifests)
    for folder in sorted(path.parent for path in store.jobs.glob("*/manifest.json")):
        if folder.name not in manifests:
            why = f"{folder}/manifest.json: damaged; run the protocol again to make it anew"
            damaged = {"job": folder.name, "kind": "job", "cause": "damaged", "reason": why}
            damaged |= _called(called, folder.name) | {"log": f"{folder}/log.txt"}
            by_state["failed"].append(damaged)
    for job, manifest in manifests.items():
        row = {"job": job, "kind": manifest.get("kind"), **_called(called, job)}
        row |= {key: manifest.get(key) for key in ("seconds", "attempts")}
        files = list(other[job].files) if job in other else []
        row |= {"other_source": job in other, "files": files}
        by_state["done"].append(row | {"own": job in other and other[job].direct})
    for folder in sorted(store.work.glob("[!.]*/job.json")):
        job, described = folder.parent.name, read_json(folder, SPEC)
        if described is not None and not store.done(job):  # it may be published at this moment
            state, job_row = _unfinished(store, job, described["job"]["kind"])
            by_state[state].append({**job_row, **_called(called, job)})
    in_queue = queued(store) if by_state["waiting"] else {}
    for waiting in by_state["waiting"]:
        if line := in_queue.get(waiting["job"]):
            waiting |= {"task": line.id, "slurm": line.state, "pending": line.reason}
    return by_state


def queued(store: Store) -> dict[str, Line]:
    """Return what SLURM lists of this folder's jobs; nothing where it has none, or does not answer."""
    from bench.executors.slurm import squeue
    from bench.executors.slurm.sbatch import earlier

    tasks = earlier(store.root.resolve() / "slurm")
    if not tasks or shutil.which("squeue") is None:
        return {}
    try:
        listed = squeue.listed({task.name for task in tasks}, tries=1)
    except BenchError:
        return {}
    return {job: listed[task.key] for task in tasks if task.key in listed for job in task.pack}


def _called(called: dict[str, Label] | None, job: str) -> dict[str, Any]:
    """Return what a job's row and so on are, and whether some protocol wants it."""
    label = asdict((called or {}).get(job, Label()))
    return {**label, "wanted": called is None or job in called}


def prune(store: Store) -> list[str]:
    """Remove the work folders of jobs that no protocol wants any more; return a line for each.

    What is published, what a living process holds and what waits in SLURM's queue stays.

    Raises:
        BenchError: no run has left what its protocol wants.
    """
    if labels_wanted(store) is None:
        text = "no run has recorded which jobs it wants; run the protocols once more"
        raise BenchError(f"{store.root / 'records'}: {text}")
    by_state, removed = status(store), []
    queued = {e["job"] for e in by_state["waiting"] if "slurm" in e}
    if shutil.which("squeue") is None:  # SLURM cannot be asked: whatever was submitted may wait
        from bench.executors.slurm.sbatch import earlier

        queued = {job for task in earlier(store.root.resolve() / "slurm") for job in task.pack}
    for candidate in (*by_state["failed"], *by_state["waiting"]):
        if candidate["wanted"] or candidate.get("cause") == "damaged" or candidate["job"] in queued:
            continue  # what is damaged is set aside by the run that wants it
        if store.discard(candidate["job"]):
            removed.append(f"removed: {_title(candidate)}")
    store.tidy()
    return removed


def _title(job: dict[str, Any]) -> str:
    """Return a job's kind and label; its id, which its folders are called by, too."""
    label = Label(**{key: job[key] for key in asdict(Label())})
    return f"{job['kind']} {label} ({job['job']})" if str(label) else f"{job['kind']} {job['job']}"


def _unfinished(store: Store, job: str, kind: str) -> tuple[str, dict[str, Any]]:
    job_row: dict[str, Any] = {"job": job, "kind": kind}
    # The next attempt removes the reason: where there is one, a claim only looks alive, by its last beat.
    failure = store.failure(job)
    if failure is not None:
        return "failed", {**failure, **job_row, "cause": failure["kind"]}
    owner = store.owner(job)
    if owner is not None:
        process = {"host": owner["host"], "pid": owner["pid"]}
        suspended = {"suspended": True} if claims.is_suspended(owner) else {}
        return "running", {**job_row, **process, **suspended, **store.progress(job)}
    return "waiting", job_row


def as_text(by_state: dict[str, list[dict[str, Any]]], out: str = "runs") -> str:
    """Return a summary, with a line for each running and each failed job, and for each pretraining.

    ``out`` is the folder, as a command names it.
    """
    texts = [", ".join(f"{len(jobs)} {state}" for state, jobs in by_state.items())]
    for job in by_state["running"]:
        steps = f" step {job['step']}/{job['steps']}" if "step" in job else ""
        who = f"process {job['pid']}" + (claims.advice(job["pid"]) if job.get("suspended") else "")
        texts.append(f"running: {_title(job)}{steps} on {job['host']}, {who}{_mark(job)}")
    queued = [job for job in by_state["waiting"] if "slurm" in job]
    for (state, why), count in Counter((job["slurm"], job["pending"]) for job in queued).items():
        why = "" if why == "None" else f" ({why})"
        texts.append(f"waiting: {count} jobs in SLURM, {state}{why}")
    texts += _pretrained(by_state["done"], out)
    for job in by_state["failed"]:
        texts.append(f"failed: {_title(job)}: {job['reason']} (log {job['log']}){_mark(job)}")
    idle = Counter(
        state for state in ("failed", "waiting") for job in by_state[state] if not job["wanted"]
    )
    if idle:
        counts = ", ".join(f"{count} {state}" for state, count in idle.items())
        texts.append(f"{UNWANTED}: {counts}; 'bench status --prune' removes their folders")
    other = [job for job in by_state["done"] if job["other_source"]]
    texts += lines(Stale(job["job"], job["kind"], tuple(job["files"]), job["own"]) for job in other)
    return "\n".join(map(printable, texts))


def _pretrained(done: list[dict[str, Any]], out: str) -> list[str]:
    """Return the finished pretrainings, and the command that writes their weights to a file."""
    jobs = [job for job in done if job["kind"] == "pretrain" and job["wanted"]]
    texts = [f"pretrained: {_title(job)}" for job in jobs[:PRETRAINED]]
    if len(jobs) > PRETRAINED:
        texts.append(f"pretrained: {len(jobs) - PRETRAINED} more; 'bench status --json' lists all")
    if jobs:
        where = "" if out == "runs" else f" --out {shlex.quote(out)}"
        what = f"bench export {jobs[0]['job'][:SHORT]} --to FILE.safetensors{where}"
        texts.append(f"their weights: {what} (a row's name works as well as a job's id)")
    return texts


def _mark(job: dict[str, Any]) -> str:
    return "" if job["wanted"] else f"; {UNWANTED}"
