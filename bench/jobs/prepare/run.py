"""Prepare: every volume of one data set, oriented, resampled, scaled and packed once.

Cases go to processes that append what they make to shards of their own in the folder that survives
an attempt, each with a journal (``bench.data.shards``). A case is made of the very bytes that were
hashed, and of none but those that the job's id promises. One whose files cannot be used is recorded with
the reason and has no arrays: whoever selects it is refused. The next attempt goes on with what lacks,
and frames of unchanged cases come from an earlier job of the same recipe where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import index
from bench.data.cache import Place, compress
from bench.data.contents import content_of
from bench.data.index import Index
from bench.data.recipe import prepare
from bench.data.roots import Contents, Roots, adapter
from bench.data.shards import Gathered, Made, Writer, join
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError, Stopped
from bench.job import identify
from bench.jobs.context import Context
from bench.jobs.prepare.spec import PrepareSpec
from bench.metrics.grid import blanked
from bench.random import numpy_rng
from bench.volumes import once
from bench.volumes.header import TooLargeError, VolumeError
from bench.volumes.reading import join_channels, read_label, read_volume
from bench.volumes.resampling import Geometry
from bench.workers import work

FOREGROUND = 4096  # labelled voxels remembered per case, for sampling crops
EACH = 256  # and of each class, for sampling classes alike
LOGGED = 1000  # cases that cannot be used


def run(context: Context[PrepareSpec]) -> None:
    """Write shards of frames (``bench.data.index.FRAMES``) and the index over them."""
    name = context.spec.dataset
    root = Path(context.run.roots[name])
    cases = adapter(name, Roots(None, {name: root})).listed(root)
    cache = Contents(context.store.root / "contents.json")
    contents = _promised(context, cache, cases)
    folder = context.store.within(context.scratch / "shards")
    folder.mkdir(exist_ok=True)
    done = Gathered(folder, contents).done
    states = zip(contents.items(), done, strict=True)
    lacking = {case: content for (case, content), is_done in states if not is_done}
    earlier = _earlier(context, lacking)
    maker = Maker(name, root, context.spec.recipe, folder)
    left = (case for case in cases if case.id in lacking)
    tasks = (Task(c, contents[c.id], _from_earlier(earlier.get(c.id), c.id)) for c in left)
    working = closing(work(tasks, maker, context.run.loaders))
    try:
        copied = _all(context, working, int(done.sum()), len(cases))
    except ReplacedError as error:
        cache.forget(next(case for case in cases if case.id == error.case))
        cache.save()
        raise
    gathered = Gathered(folder, contents)
    _tell_unread(context, name, gathered.faults, len(cases))
    join(gathered, context.folder, cases)
    context.facts.update(cases=len(cases), copied=copied, unread=len(gathered.faults))


class ReplacedError(BenchError):
    """A case's files are not what the job was planned for."""

    def __init__(self, case: str) -> None:
        self.case = case
        super().__init__(f"case {case} changed while it was prepared; run again")


def _tell_unread(
    context: Context[PrepareSpec], name: str, faults: Mapping[str, str], cases: int
) -> None:
    """Log what could not be read, of which whoever selects it is refused; BenchError: nothing could."""
    for case, fault in list(faults.items())[:LOGGED]:
        context.log(f"case {case} cannot be used: {fault}")
    if faults and len(faults) == cases:
        case, fault = next(iter(faults.items()))
        raise BenchError(f"{name}: none of its {cases} cases can be used, first {case}: {fault}")
    if faults:
        text = f"{len(faults)} of {cases} cases cannot be used and have no arrays"
        context.log(f"{text}; leave them out by 'exclude'")


def _all(context: Context[PrepareSpec], working: closing[Any], done: int, total: int) -> int:
    """See to it that every task is done; return how many were copied."""
    if done:
        context.log(f"{done} of {total} cases were prepared by an earlier attempt")
    copied = 0
    with working as results:
        for case, was_copied in results:
            if was_copied is None:
                raise ReplacedError(case)
            done, copied = done + 1, copied + was_copied
            context.progress(done, total)
            if done < total and context.stopping():
                raise Stopped(f"stopped after case {done} of {total}")
    if copied:
        context.log(f"{copied} of {total} cases were copied from an earlier job of this recipe")
    return copied


def _promised(context: Context[PrepareSpec], cache: Contents, cases: list[Case]) -> dict[str, str]:
    """Return each case's content as the job's id promises it, in order; BenchError where it is another."""
    name = context.spec.dataset
    digest, contents = cache.promised(cases)
    if context.spec.contents not in (None, digest):
        raise BenchError(f"{name}: its files changed since the plan; run the protocol again")
    return contents


@dataclass(frozen=True)
class EarlierCase:
    """A case as an earlier job prepared it."""

    geometry: Geometry
    step: float
    offset: float
    places: dict[str, Place]


@dataclass(frozen=True)
class Task:
    """One case to be made."""

    case: Case
    content: str
    earlier: EarlierCase | None = None

    def __str__(self) -> str:
        return f"case {self.case.id}"


@dataclass(frozen=True)
class Maker:
    """How a process takes part in the work."""

    name: str
    root: Path
    recipe: Recipe
    folder: Path

    @contextmanager
    def __call__(self) -> Iterator[Callable[[Task], tuple[str, bool | None]]]:
        """Give the function that makes one case, and tells whether it was copied; None: it was replaced."""
        dataset = adapter(self.name, Roots(None, {self.name: self.root}))
        with Writer(self.folder) as writer:

            def do(task: Task) -> tuple[str, bool | None]:
                copied = _copied(task)
                try:
                    writer.add(copied or _prepared(dataset, task, self.recipe))
                except once.ChangedError:
                    return task.case.id, None
                except VolumeError as error:
                    if content_of(task.case) != task.content:
                        return task.case.id, None
                    fault = str(error).replace(f"{self.root}/", "")
                    writer.add(Made.unread(task.case.id, task.content, fault))
                except BenchError as error:
                    raise BenchError(f"{task}: {error}") from None
                return task.case.id, copied is not None

            yield do


def _earlier(context: Context[PrepareSpec], wanted: Mapping[str, str]) -> dict[str, Index]:
    """Return, by case id, an earlier job that prepared the same content by the same recipe."""
    indexes: dict[str, Index] = {}
    wanted_spec = {**context.job.plain()["spec"], "contents": None}
    for folder in sorted(context.store.jobs.iterdir()):
        if len(indexes) == len(wanted):
            break
        if not (folder / index.NAME).is_file():
            continue
        try:
            manifest = context.store.manifest(folder.name)
            spec = manifest["spec"]
            # by its id its version is today's; what other source files made, today's would be recorded for
            same = identify(PrepareSpec.kind, PrepareSpec.version, spec, ()) == folder.name
            if not same or {**spec, "contents": None} != wanted_spec or not context.fresh(manifest):
                continue
            earlier = Index(folder)
        except (BenchError, KeyError, TypeError) as error:
            context.log(f"no cases are copied from {folder.name}: {error}")
            continue
        for case in wanted.keys() & set(earlier.cases) - set(earlier.faults):
            if earlier.row(case)["content"].tobytes().hex() == wanted[case]:
                indexes.setdefault(case, earlier)
    return indexes


def _from_earlier(earlier: Index | None, case: str) -> EarlierCase | None:
    if earlier is None:
        return None
    row = earlier.row(case)
    places = {name: earlier.place(case, name) for name in index.FRAMES if earlier.has(case, name)}
    return EarlierCase(earlier.geometry(case), float(row["step"]), float(row["offset"]), places)


def _copied(task: Task) -> Made | None:
    """Return a case as the earlier job left it; None where there is none or it is damaged."""
    earlier = task.earlier
    if earlier is None:
        return None
    try:
        frames = {name: frame.read() for name, frame in earlier.places.items()}
    except BenchError:
        return None
    return Made(task.case.id, task.content, earlier.geometry, earlier.step, earlier.offset, frames)


def _prepared(dataset: Dataset, task: Task, recipe: Recipe) -> Made:
    """Read, prepare and compress one case: the only place where a volume is decoded.

    ChangedError: the bytes are others than the job was planned for. VolumeError: these very bytes cannot be used.
    """
    from bench.leaks.fingerprint import fingerprint

    case = task.case
    with once.reading() as read:
        if content_of(case) != task.content:
            raise once.ChangedError(str(task))
        read.sealed = True
        try:
            volume = join_channels([read_volume(path, case.frame) for path in case.images])
            file = case.label if isinstance(case.label, Path) else None
            way = dataset.labels_as_stored
            label = None if file is None else read_label(file, volume, case.frame, way)
        except TooLargeError:
            raise MemoryError from None
    if volume.array.shape[0] != len(dataset.channels):
        channels, declared = volume.array.shape[0], ", ".join(dataset.channels)
        detail = f"the data set declares {len(dataset.channels)} ({declared})"
        raise VolumeError(case.images[0], "shape", f"{channels} channel(s), {detail}")
    prepared = prepare(volume, label, recipe, dataset)
    step, offset, stored = quantise(prepared.image, prepared.step)
    arrays = {"image": stored, "fingerprint": fingerprint(volume.array)}
    if prepared.label is not None and prepared.native_label is not None:
        arrays |= {"label": prepared.label, "native": prepared.native_label}
        # nobody centres a crop on void
        drawn, _ = blanked(prepared.label, prepared.label, dataset.void)
        arrays |= {"foreground": _some_foreground(drawn, case.id)}
        arrays |= {"classes": _some_of_each(drawn, case.id)}
    frames = {name: compress(array) for name, array in arrays.items() if array.size}
    return Made(case.id, task.content, prepared.geometry, step, offset, frames)


def quantise(image: np.ndarray, step: float | None) -> tuple[float, float, np.ndarray]:
    """Return (step, offset, 16-bit array) with ``q * step + offset`` nearest to ``image``.

    The minimum is stored as 0, so ``offset`` is also what lies outside the volume.

    Where the source has whole units (HU) ``step`` is one unit, so nothing is lost but what
    resampling interpolated below it; otherwise 4096 levels span the image, as scanners store.
    """
    low, high = float(image.min()), float(image.max())
    if step is None or (high - low) / step > 65_000:
        step = (high - low) / 4095
        step = step if np.float32(step) else 1.0  # nothing to tell apart in float32
    scaled = np.rint((image - np.float32(low)) / np.float32(step))
    return step, low, scaled.astype(np.int16 if (high - low) / step <= 32_767 else np.uint16)


def _some_foreground(label: np.ndarray, case: str) -> np.ndarray:
    voxels = np.argwhere(label > 0).astype(np.int16 if max(label.shape) <= 1 << 15 else np.int32)
    if len(voxels) > FOREGROUND:
        voxels = voxels[numpy_rng(0, f"foreground:{case}").choice(len(voxels), FOREGROUND, False)]
    return voxels


def _some_of_each(label: np.ndarray, case: str) -> np.ndarray:
    """Return voxels of every class, (N, 4): x, y, z and the class."""
    places = np.argwhere(label > 0)
    values = label[tuple(places.T)]
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.diff(values[order])) + 1
    groups = [
        numpy_rng(0, f"classes:{case}", number).permutation(group)[:EACH]
        for number, group in enumerate(np.split(order, ends))
    ]
    chosen = np.concatenate(groups)
    voxels = np.column_stack([places[chosen], values[chosen]])
    return voxels.astype(np.int16 if max(label.shape) <= 1 << 15 else np.int32)
