"""``bench export``: the weights of a finished job as a file for others, and for ``init: FILE``.

Or what was predicted for a challenge's server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from bench import digest, row_weights, typed
from bench.data.roots import Roots, adapter
from bench.errors import BenchError, unknown
from bench.jobs import submission
from bench.jobs.finetune.spec import FinetuneSpec
from bench.nets import exported, transfer
from bench.nets.catalog import ARCHITECTURES
from bench.store import Store, write_atomic

JOB = re.compile(r"[0-9a-f]{1,16}")
KINDS = ("pretrain", "finetune")
SUBMISSION, LAST = "submission", "last"
SUFFIXES = {**exported.FORMATS, SUBMISSION: (".zip",)}


def export(
    store: Store,
    job: str,
    to: Path,
    format: str,
    only: Mapping[str, Sequence[str]] | None = None,
    theirs: Path | None = None,
) -> str:
    """Write what a pretraining or a fine-tuning made, or what was predicted; return what is said of it.

    Args:
        store: the output folder.
        job: id, or the beginning of one, or a row's name. Of a fine-tuning the weights that its table scored
            are taken; ``@last`` after it names the last ones, ``@step`` a snapshot of a pretraining. Of a row
            that has several, those that the format can hold.
        to: the file, which is not there yet; its suffix is one of the format's. Folders that it lacks are
            made. Beside a file for nnU-Net or MONAI its network is written: the same name with ``.json``.
        format: a key of ``SUFFIXES``.
        only: of a row that has several: as ``bench.row_weights.find`` takes it.
        theirs: for nnU-Net: its plans of a data set; beside them a copy with this network is written.

    Raises:
        BenchError: no such job or snapshot, a job without weights, a format that does not know the network,
            a file that exists, has another format's suffix, or cannot be written.
    """
    if format == SUBMISSION:
        name, _, step = job.partition("@")
        folder = store.jobs / _job_of(store, name)
        if step:
            raise BenchError(
                f"{job}: --format submission takes no step; name the job as {folder.name}"
            )
        return _submission(folder, to)
    for_nnunet = format in exported.FOR_NNUNET
    if theirs is not None and not for_nnunet:
        raise BenchError("--plans: works only with --format nnunet; leave it out")
    job, row = _named(store, job, only, partial(is_nnunets, store) if for_nnunet else None)
    path = weights_of(store, job)
    plans = to.with_suffix(".json") if for_nnunet else None
    _check_target(to, format)
    if format in exported.DESCRIBED:
        _check_free(to.with_suffix(".json"))
    merged = None if theirs is None else exported.Plans.read(theirs)
    if merged is not None:
        _check_free(merged.copy)
    tensors, manifest = transfer.read(path)
    manifest = described(store, path, manifest)
    _make_folder(to)
    loads = exported.write(to, tensors, manifest, format)
    if plans is not None:
        write_atomic(plans, json.dumps(exported.configuration(manifest), indent=1) + "\n")
    values = sum(t.numel() for t in tensors.values())
    what = f"{manifest.network}/{manifest.preset}, {len(tensors)} tensors, {values:,} values"
    job, chosen = path.parent.name, path.stem
    kind = store.manifest(job)["kind"]
    if kind == "pretrain":
        step = chosen.removeprefix("weights").removeprefix("-")
        at = f" at step {step}" if step else ""
    else:
        scored = _selected(store, job)
        which = "which its table scores" if chosen == scored else f"its table scores {scored!r}"
        at = f", weights {chosen!r}: {which}"
    line = f"{to}: {what}, of {kind} {job}{at}{f' ({row})' if row else ''}"
    if plans is None:
        return f"{line}\n{loads}".rstrip()
    if merged is not None:
        merged.write(manifest)
    return f"{line}\n{exported.usage(tensors, to, plans, merged)}"


def weights_of(store: Store, job: str, only: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Return the file of a finished job's weights.

    Raises:
        BenchError: no such job, row or snapshot, a row that has several, or a job without weights.
    """
    job, _ = _named(store, job, only)
    name, _, step = job.partition("@")
    folder = store.jobs / _job_of(store, name)
    kind = store.manifest(folder.name).get("kind", "unknown")
    if kind not in KINDS:
        way = (
            "take --format submission"
            if (folder / submission.FILE).is_file()
            else "name a pretrain job"
        )
        raise BenchError(f"job {folder.name} is one of kind {kind}, which has no weights; {way}")
    scored = LAST if kind == "pretrain" else _selected(store, folder.name)
    chosen = step or scored
    weights = "weights" if chosen == LAST else f"weights-{chosen}"
    path = folder / f"{weights if kind == 'pretrain' else chosen}.safetensors"
    if path.parent != folder or not path.is_file():
        files_present = ", ".join(sorted(p.name for p in folder.glob("*.safetensors")))
        raise BenchError(f"{path}: no such weights; the job has {files_present}")
    return path


def described(store: Store, weights: Path, manifest: transfer.Manifest) -> transfer.Manifest:
    """Return the manifest of a job's weights with what the job's record tells besides.

    That is the method's parameters as they ran, the step and the labels. What a record of an older version does
    not tell stays as it is: the step of the selected weights, the labels of a data set that is not found here.

    Args:
        store: the output folder.
        weights: a file that ``weights_of`` returned.
        manifest: that the file has.
    """
    record = store.manifest(weights.parent.name)
    spec, chosen = record["spec"], weights.stem.removeprefix("weights-")
    if record["kind"] == row_weights.PRETRAIN:
        step = int(chosen) if chosen.isdecimal() else record.get("steps", 0)
        return replace(manifest, params=spec["method"]["params"], step=step)
    before = str(spec["init"]).removeprefix("job:").partition("@")[0]
    params = manifest.params
    if spec["init"].startswith("job:") and store.done(before):
        params = store.manifest(before)["spec"]["method"]["params"]
    step = record.get("steps" if chosen == LAST else "selected_step", 0)
    return replace(manifest, params=params, step=step, labels=_labels(record))


def _labels(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the output channels of a fine-tuning by name; one of an older version did not note them."""
    if "labels" in record:
        return tuple(record["labels"])
    with suppress(BenchError):  # another version's spec, or a data set that is not found
        spec = typed.build(FinetuneSpec, record["spec"], ".".join)
        return tuple(spec.channels(adapter(spec.data.dataset, Roots.here(None))))
    return ()


def _named(
    store: Store,
    job: str,
    only: Mapping[str, Sequence[str]] | None,
    fits: row_weights.Fits | None = None,
) -> tuple[str, str]:
    """Return a job as ``export`` takes it, looked up where it is a row's name, and then which it is."""
    if len(_ids(store, job.partition("@")[0])) != 1:
        return row_weights.find(store, job, only or {}, fits) or (job, "")
    if only:
        raise BenchError(
            f"--only: picks among the jobs of a row, and {job} is one job; leave it out"
        )
    return job, ""


def is_nnunets(store: Store, job: str) -> bool:
    """Tell whether nnU-Net reads the network of a finished job."""
    network = store.manifest(job).get("spec", {}).get("network", {})
    return (network.get("network"), network.get("preset")) in ARCHITECTURES


def _selected(store: Store, job: str) -> str:
    """Return which weights of a fine-tuning are scored: the last, or the best on held-out cases."""
    stated = store.manifest(job).get("spec", {}).get("finetune", {})
    return str(stated.get("select", LAST))


def _submission(folder: Path, to: Path) -> str:
    """Write what a job predicted for a challenge's server."""
    file = folder / submission.FILE
    if not file.is_file():
        raise BenchError(
            f"job {folder.name} predicted nothing for a server; choose a job that the page of a "
            "protocol with 'submit' lists"
        )
    _check_target(to, SUBMISSION)
    raw = digest.read(file)
    _make_folder(to)
    try:
        write_atomic(to, raw)
    except OSError as error:
        raise BenchError(f"{to}: cannot be written ({error.strerror}); name another file") from None
    with ZipFile(to) as archive:
        return f"{to}: {len(archive.namelist())} label maps, predicted by job {folder.name}"


def _check_target(to: Path, format: str) -> None:
    """Refuse to replace a file, and a suffix that says another format: readers choose by it."""
    if format not in SUFFIXES:
        raise BenchError(unknown("format", format, SUFFIXES))
    suffixes = SUFFIXES[format]
    if to.is_dir():
        raise BenchError(f"{to}: is a folder; name a file in it")
    _check_free(to)
    if to.suffix not in suffixes:
        fitting = [name for name, endings in SUFFIXES.items() if to.suffix in endings]
        ways = [f"name it {to.stem}{suffixes[0]}"]
        if fitting:
            ways.append(f"--format {' or '.join(fitting)} for {to.suffix}")
        raise BenchError(
            f"{to}: format {format!r} is written to a {' or '.join(suffixes)} file; {', or '.join(ways)}"
        )


def _make_folder(to: Path) -> None:
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"{to}: cannot be written ({error.strerror}); name another file") from None


def _check_free(to: Path) -> None:
    if to.exists() or to.is_symlink():
        raise BenchError(f"{to}: exists already; name another file, or remove this one first")


def _ids(store: Store, start: str) -> list[str]:
    return [p.name for p in store.jobs.glob(f"{start}*")] if JOB.fullmatch(start) else []


def _job_of(store: Store, start: str) -> str:
    """Return the finished job whose id begins like this."""
    ids = _ids(store, start)
    if len(ids) != 1:
        what = f"{len(ids)} jobs have" if ids else "no finished job has"
        raise BenchError(
            f"{start[:40]}: {what} an id that begins with this; 'bench plan PROTOCOL --json' lists the ids"
        )
    return ids[0]
