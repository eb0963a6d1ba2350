"""Guard: which cases of a pretraining also stand in a downstream test part, by patient or content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.data.parts import Entry, Part, Take
from bench.digest import read_json
from bench.job import Job
from bench.jobs.kind import START, Kind, PlanContext
from bench.typed import plain, sparse

FILE = "leaks.json"
# Seconds of one core in real scans, see docs/leaks.md.
PREPARED = 0.0015  # of a channel
SCREENED = 9e-8  # of two channels and a box
# seconds of two channels that are compared: 2 to 10 ms in real scans, see docs/leaks.md
PAIR = 0.005
GROUP = 256  # scans that a process looks at together: what is made of each test case serves all
REFINED = 1.5e-4  # of two scans that pass the screen
BOXES = 0.003  # of a channel, whose boxes move
CONFIRMED = 0.15  # of what the search for a test case compares in the end


@dataclass(frozen=True)
class GuardSpec(Kind):
    """A pretraining's data against test parts; or, with a policy, a judgement of what such a guard found.

    What is compared depends on no policy, so that another policy compares nothing again.
    """

    kind = "guard"
    gpu = False
    by_cases = True

    data: tuple[Entry, ...] = sparse(())
    tests: tuple[Part, ...] = sparse(())
    seed: int | None = sparse()  # of the ranking by which a share of the data is taken
    take: Take = Take()
    # the policy; external: what is read trains a fine-tuning that another data set tests
    leaks: Literal["", "fail", "external"] = sparse("")

    @property
    def judges(self) -> bool:
        """Tell whether it only reads what another guard found."""
        return bool(self.leaks)

    def units(self, job: Job, plan: PlanContext) -> float | None:
        """Two that compare are no measure of each other: their work grows as scans do with scans."""
        return 1.0 if self.judges else None

    def seconds(self, job: Job, plan: PlanContext) -> float | None:
        """By what is screened, what passes the screen, and what is compared."""
        from bench.leaks.screen import level
        from bench.leaks.search import exact, parts, passing

        if self.judges:
            return 0.1
        sides = plan.sides.get(job.id)
        if sides is None or not sides.read * sides.tests:
            return None
        prepared = PREPARED * (sides.channels + sides.test_channels)
        if exact(sides.read, sides.tests):
            return START + prepared + PAIR * sides.channels * sides.test_channels
        boxes = len(level(sides.read, sides.tests).screen[3].ends) ** 3
        times = len(parts(sides.read, sides.tests))  # that all scans are prepared
        screened = SCREENED * boxes * sides.channels * sides.test_channels
        shifted = BOXES * (times * sides.channels + sides.test_channels * -(-sides.read // GROUP))
        confirmed = (REFINED * passing(sides.read) + CONFIRMED) * sides.tests
        return START + times * prepared + screened + shifted + confirmed


@dataclass(frozen=True)
class Leak:
    """A case that is pretrained on, and the test case that it is, or whose patient it shows."""

    dataset: str
    case: str
    test_dataset: str
    test_case: str
    why: str  # patient | content
    score: float | None = sparse()  # of the two fingerprints

    def __str__(self) -> str:
        return f"{self.dataset} {self.case} = {self.test_dataset} {self.test_case} ({self.why})"


@dataclass(frozen=True)
class GuardResult:
    """One guard's result."""

    read: int  # cases of the pretraining
    tests: dict[str, int]  # test cases by data set
    leaks: tuple[Leak, ...]


def write(folder: Path, result: GuardResult) -> None:
    """Write a guard's result."""
    (folder / FILE).write_text(json.dumps(plain(result)))


def read(folder: Path) -> GuardResult:
    """Return what a finished guard found.

    Raises:
        Damaged: the file is lost or not what was published.
    """
    return read_json(folder / FILE, GuardResult)


def seen(folder: Path) -> set[tuple[str, str]]:
    """Return data set and id of every case of a pretraining that stands in a test part."""
    return {(leak.dataset, leak.case) for leak in read(folder).leaks}
