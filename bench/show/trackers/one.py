"""One tracker of a run: tells it what is new, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from bench.digest import short
from bench.jobs.scoring import key
from bench.show.at_work import AtWork
from bench.show.labels import Label
from bench.show.trackers import content
from bench.show.trackers.noted import Noted, Told
from bench.show.trackers.tracker import Logged, Point, opener
from bench.store import Store

if TYPE_CHECKING:
    from bench.plan import Plan


class One:
    """A tracker, with what it was told before.

    Args:
        name: of the tracker.
        plan: the run's.
        store: the output folder.
        called: what each job is called.
    """

    def __init__(self, name: str, plan: Plan, store: Store, called: Mapping[str, Label]) -> None:
        folder = store.within(store.root / "trackers" / name)
        folder.mkdir(parents=True, exist_ok=True)
        self.tracker = opener(name)(folder)
        self._plan, self._store, self._called = plan, store, called
        self._file = folder.with_suffix(".json")
        self._noted = Noted.read(self._file)
        self._of = {
            job: name for name, cells in plan.cells.items() for cell in cells
            for job in (cell.pretrain, cell.finetune, cell.evaluate) if job is not None
        }  # fmt: skip

    def live(self, found: Iterable[AtWork]) -> None:
        """Tell how far jobs in work are: the loss and the speed, as the screen shows them."""
        new = []
        for at in found:
            told = self._noted.of(at.job)
            if at.job not in self._of or at.loss is None:
                continue
            if told.ended:
                told.begin()
            if at.step > told.live:
                told.live = at.step
                new.append(at)
        if new:
            self._noted.save(self._file)  # before: a point that is lost is better than one that comes twice
        for at in new:
            values = {"live/loss": at.loss, "live/steps_per_second": at.speed}
            point = Point(at.step, {k: v for k, v in values.items() if v is not None})
            self.tracker.points(self._run(at.job), [point])

    def ended(self, job: str) -> None:
        """Tell of a job that is published: all of its curves, and its final numbers."""
        if job not in self._of or not self._store.done(job):
            return
        told, result = self._noted.of(job), self._result(job)
        if told.ended == result:
            return
        if told.ended:
            told.begin()
        self._begin(told)
        run, points = self._run(job), content.curves(self._plan, self._store, job)
        scores = content.scores(self._plan, self._store, job)
        if points:
            self.tracker.points(run, points)
        self.tracker.ended(run, scores, points[-1].step if points else int(scores.get("cost/steps", 0)))
        told.ended = result
        self._noted.save(self._file)

    def failed(self, job: str) -> None:
        """Tell that a job failed which it knows of."""
        told = self._noted.told.get(job, Told())
        if told.live and not told.ended:
            self.tracker.ended(self._run(job), {}, told.live, failed=True)
            told.ended = "failed"
            self._noted.save(self._file)

    def table(self, protocol: str) -> None:
        """Tell a protocol's table as its report has it, where it is another than before."""
        folder = self._store.root / "reports" / protocol
        text = (folder / "table.md").read_text()
        told, result = self._noted.of(f"table-{protocol}"), short(text.encode())
        if told.ended == result:
            return
        if told.ended:
            told.begin()
        self._begin(told)
        run = Logged(f"table-{protocol}-{told.number}", f"table {protocol}", "table", protocol)
        self.tracker.table(run, pd.read_csv(folder / "table.csv"), text, told.number)
        told.ended = result
        self._noted.save(self._file)

    def _begin(self, told: Told) -> None:
        """Note that a result is being told: one that is cut off is told whole again, as another run."""
        told.ended = "begun"
        self._noted.save(self._file)

    def _result(self, job: str) -> str:
        made = self._store.manifest(job).get("digest", "")
        return " ".join([made or "unsigned", *map(key, self._plan.scoring.get(job, []))])

    def _run(self, job: str) -> Logged:
        number, kind = self._noted.of(job).number, self._plan.jobs[job].kind
        again = f" ({number})" if number > 1 else ""
        return Logged(
            job + (f"-{number}" if number > 1 else ""), f"{kind} {self._called[job]}{again}", kind,
            self._of[job], content.config(self._plan, job, self._called[job]),
        )  # fmt: skip
