"""Follows a run for its trackers, beside it: no job is waited for, slowed or endangered by one."""

from __future__ import annotations

import json
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import typed
from bench.claims import Fenced, beating
from bench.digest import short
from bench.errors import BenchError
from bench.extras.trackers.tracker import Config, Logged, Point, opener
from bench.jobs.finetune.spec import TRACKED, FinetuneSpec
from bench.jobs.pretrain.spec import FILE
from bench.jobs.scoring import key, path
from bench.record import SCORES, read_rows
from bench.records import named
from bench.show.labels import Label, labels
from bench.show.state import AtWork, Monitor
from bench.store import Store, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Plan
    from bench.runtime.execute import Outcome

TICK = 5.0  # seconds between looks at jobs in work
# seconds for what is left to log at the end of a run, or where it was stopped
LAST, STOPPED = (300.0, 10.0)
SOON = 3.0  # of them, that nobody is told of


class Follow:
    """Logs a run to its trackers, if any, as a context manager; ``tell`` takes warnings, ``news`` other lines."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        names: Sequence[str],
        tell: Callable[[str], None],
        news: Callable[[str], None],
    ) -> None:
        self._plan, self._store, self._names = plan, store, names
        self._tell, self._news = tell, news
        self._done = set[str]()
        self._events = deque[tuple[str, str]]()  # what happened, to which job or protocol
        self._over, self._stack = threading.Event(), ExitStack()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Follow:
        if self._names:
            self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._over.set()
        if not self._names:
            return
        limit = LAST if error is None else STOPPED
        self._thread.join(SOON)
        if self._thread.is_alive():
            self._news("--log: telling what is left")
        self._thread.join(limit)
        if self._thread.is_alive():
            self._tell(f"--log: not all was told in {limit:.0f} s; the same command tells the rest")

    def outcome(self, outcome: Outcome) -> None:
        """Note that an attempt ended."""
        self._events.append((outcome.state, outcome.job))

    def drawn(self, protocol: str) -> None:
        """Note that a protocol's report is drawn."""
        self._events.append(("drawn", protocol))

    def _follow(self) -> None:
        with self._stack:
            logs = [log for name in self._names if (log := self._open(name)) is not None]
            wanted = [job for job in self._plan.wanted() if self._plan.jobs[job].kind in KINDS]
            monitor = Monitor(self._store)
            for job in self._store.present(wanted):  # of earlier runs
                self._hear(logs, "done", job)
            over = False
            while logs and not over:
                over = self._over.wait(TICK)
                working = (
                    [] if over else monitor.at_work(job for job in wanted if job not in self._done)
                )
                self._each(logs, partial(Log.live, working=working))
                while self._events:
                    self._hear(logs, *self._events.popleft())
            self._each(logs, lambda log: log.tracker.close())

    def _open(self, name: str) -> Log | None:
        """Open a tracker; None where it cannot be opened, or another command logs this folder to it."""
        claimed = f".log-{name}"
        try:
            claim = self._store.claim(claimed)
            if claim is None:
                self._tell(
                    f"--log {name}: another command on this folder does it; this one leaves it alone"
                )
                return None
            self._stack.callback(shutil.rmtree, self._store.work / claimed, ignore_errors=True)
            self._stack.enter_context(beating(claim))
            log = Log(name, self._plan, self._store, labels(self._plan))
        except (
            Exception
        ) as error:  # it is no part of bench: whatever is wrong with it, the run goes on
            self._tell(f"--log {name}: {_reason(error)}")
            return None
        self._news(f"--log {name}: {log.tracker.place}")
        return log

    def _hear(self, logs: list[Log], event: str, name: str) -> None:
        if event == "done":
            self._done.add(name)
            self._each(logs, lambda log: log.ended(name))
        elif event == "failed":
            self._each(logs, lambda log: log.failed(name))
        elif event == "drawn":
            self._each(logs, lambda log: log.table(name))

    def _each(self, logs: list[Log], action: Callable[[Log], None]) -> None:
        """Do something with every tracker; one that fails is left alone from then on."""
        for log in list(logs):
            try:
                action(log)
            except Exception as error:
                logs.remove(log)
                self._tell(
                    f"--log {log.tracker.folder.name}: {_reason(error)}; the run goes on without it"
                )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    plain = isinstance(error, (BenchError, OSError, Fenced))
    return text if plain else f"{type(error).__name__}: {text}"


@dataclass
class Logs:
    """What a tracker has of one job, or of one table."""

    # of its making: a job that is done again is another run; of a table its version
    number: int = 1
    live: int = 0  # the last step that was logged while it was in work
    ended: str = ""  # which result was logged, by its digest; empty while there is none

    def begin(self) -> None:
        """Note that it is made again."""
        self.number, self.live, self.ended = self.number + 1, 0, ""


@dataclass
class Memory:
    """What a tracker has, by job or table, so that nothing comes twice: ``OUT/trackers/<name>.json``."""

    told: dict[str, Logs] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Memory:
        """Return what an earlier command left; nothing where the file is absent or damaged."""
        try:
            return typed.read(cls, file.read_bytes())
        except (OSError, ValueError, BenchError):
            return cls()


class Log:
    """One tracker of a run, and what it has: it gets what is new, once."""

    def __init__(self, name: str, plan: Plan, store: Store, called: Mapping[str, Label]) -> None:
        folder = store.within(store.root / "trackers" / name)
        folder.mkdir(parents=True, exist_ok=True)
        self.tracker = opener(name)(folder)
        self._plan, self._store, self._called = plan, store, called
        self._file = folder.with_suffix(".json")
        self._memory = Memory.read(self._file)
        self._protocol = {
            job: name
            for name, cells in plan.cells.items()
            for cell in cells
            for job in (cell.pretrain, cell.finetune, cell.evaluate)
            if job is not None
        }

    def live(self, working: Iterable[AtWork]) -> None:
        """Log how far jobs in work are: the loss and the speed, as the screen shows them."""
        new = []
        for at in working:
            logs = self._logs(at.job)
            if at.job not in self._protocol or at.loss is None:
                continue
            if logs.ended:
                logs.begin()
            if at.step > logs.live:
                logs.live = at.step
                new.append(at)
        if new:
            self._save()  # before: a point that is lost is better than one that comes twice
        for at in new:
            values = {"live/loss": at.loss, "live/steps_per_second": at.speed}
            point = Point(at.step, {k: v for k, v in values.items() if v is not None})
            self.tracker.points(self._run(at.job), [point])

    def ended(self, job: str) -> None:
        """Log a job that is published: all of its curves, and its final numbers."""
        if job not in self._protocol or not self._store.done(job):
            return
        digest = self._store.manifest(job).get("digest", "") or "unsigned"
        result = " ".join([digest, *map(key, self._plan.scoring.get(job, []))])
        if not self._begin(self._logs(job), result):
            return
        run, points = self._run(job), curves(self._plan, self._store, job)
        numbers = scores(self._plan, self._store, job)
        if points:
            self.tracker.points(run, points)
        self.tracker.ended(
            run, numbers, points[-1].step if points else int(numbers.get("cost/steps", 0))
        )
        self._end(job, result)

    def failed(self, job: str) -> None:
        """Log that a job failed of which the tracker has something."""
        logs = self._memory.told.get(job, Logs())
        if logs.live and not logs.ended:
            self.tracker.ended(self._run(job), {}, logs.live, failed=True)
            self._end(job, "failed")

    def table(self, protocol: str) -> None:
        """Log a protocol's table as its report has it, where it is another than before."""
        folder, name = self._store.root / "reports" / protocol, f"table-{protocol}"
        text = (folder / "table.md").read_text()
        logs, result = self._logs(name), short(text.encode())
        if self._begin(logs, result):
            import pandas as pd

            run = Logged(f"{name}-{logs.number}", f"table {protocol}", "table", protocol)
            self.tracker.table(run, pd.read_csv(folder / "table.csv"), text, logs.number)
            self._end(name, result)

    def _logs(self, name: str) -> Logs:
        return self._memory.told.setdefault(name, Logs())

    def _begin(self, logs: Logs, result: str) -> bool:
        """Note that a result is being logged; False where the tracker has it.

        One that is cut off is logged whole again, as another run.
        """
        if logs.ended == result:
            return False
        if logs.ended:
            logs.begin()
        logs.ended = "begun"
        self._save()
        return True

    def _end(self, name: str, result: str) -> None:
        self._logs(name).ended = result
        self._save()

    def _save(self) -> None:
        write_atomic(self._file, json.dumps(typed.plain(self._memory)), flush=False)

    def _run(self, job: str) -> Logged:
        number, kind = self._logs(job).number, self._plan.jobs[job].kind
        id_, again = (f"{job}-{number}", f" ({number})") if number > 1 else (job, "")
        settings = config(self._plan, job, self._called[job])
        return Logged(
            id_, f"{kind} {self._called[job]}{again}", kind, self._protocol[job], settings
        )


# What is logged of a finished job: its settings, its curves, its final numbers.
KINDS = ("pretrain", "finetune", "evaluate")  # of jobs that leave numbers
# of a manifest
COSTS = ("seconds", "peak_memory_mb", "peak_device_mb", "steps", "samples", "voxels")


def config(plan: Plan, job: str, label: Label) -> Config:
    """Return the settings of a job: what its cells have in common, and its spec by dotted keys."""
    spec = plan.jobs[job].plain()
    columns = [
        c.columns for cells in plan.cells.values() for c in cells if job in (c.finetune, c.evaluate)
    ]
    common = {
        k: v for k, v in (columns or [{}])[0].items() if all(cell.get(k) == v for cell in columns)
    }
    called = {k: v for k, v in vars(label).items() if v not in (None, "")}
    head = {"job": job, "kind": spec["kind"], "needs": " ".join(spec["needs"]), **called}
    plain = {k: v for k, v in common.items() if isinstance(v, str | int | float | bool)}
    return {**head, **plain, **dict(_flat("", spec["spec"]))}


def _flat(head: str, value: Any) -> Iterator[tuple[str, str | int | float | bool]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{head}.{key}" if head else str(key), inner)
    elif isinstance(value, str | int | float | bool):
        yield head, value
    elif value is not None and value != []:
        yield head, ", ".join(map(str, value))


def curves(plan: Plan, store: Store, job: str) -> list[Point]:
    """Return the curves of a finished job: training, validation, embeddings, a probe; steps rising."""
    import pandas as pd

    folder, points = store.jobs / job, dict[int, dict[str, float]]()

    def add(step: float, name: str, value: float) -> None:
        if isfinite(value):
            points.setdefault(int(step), {})[name] = float(value)

    logged = (("curve.csv", "train"), ("embeddings.csv", "embedding"), (FILE, "probe"))
    for file, head in logged:
        if not (folder / file).exists():
            continue
        for row in pd.read_csv(folder / file).to_dict("records"):
            for name, value in row.items():
                if name != "step":
                    add(row["step"], f"{head}/{name}", value)
    if (folder / TRACKED).exists():
        track = plan.spec(job, FinetuneSpec).finetune.track
        part = track.part if track else "val"
        means = _means(_tracked(plan, store, job), ["step", "metric", "target"])
        for (step, metric, target), value in means.items():
            add(step, f"{part}/{metric}/{target}", value)
    return [Point(step, points[step]) for step in sorted(points)]


def _tracked(plan: Plan, store: Store, job: str) -> pd.DataFrame:
    """Return the rows of a learning curve, by the names that the first section that has it gives targets."""
    table = read_rows(store.jobs / job / TRACKED, {"step": "int64", **SCORES})
    sections = (
        (name, cell) for name, cells in plan.cells.items() for cell in cells if cell.finetune == job
    )
    name, cell = next(sections)
    return named(table, plan.scoring_of[name][cell.columns["section"]])


def _means(table: pd.DataFrame, keys: list[str]) -> dict[Any, float]:
    """Return means over patients, of the means over each one's cases; NaN where nothing is defined."""
    patients = table.groupby([*keys, "patient"])["value"].mean()
    means: dict[Any, float] = patients.groupby(level=keys).mean().to_dict()
    return means


def scores(plan: Plan, store: Store, job: str) -> dict[str, float]:
    """Return the final numbers of a finished job: means of each metric and target, and what it cost."""
    numbers: dict[str, float] = {}
    for scoring in plan.scoring.get(job, []):
        table = read_rows(path(store, job, scoring), SCORES)
        means = _means(table, ["metric", "target"])
        numbers |= {
            f"test/{metric}/{target}": v for (metric, target), v in means.items() if isfinite(v)
        }
    manifest = store.manifest(job)
    return numbers | {f"cost/{k}": float(manifest[k]) for k in COSTS if manifest.get(k) is not None}
