"""Rows of a view that are scores of cells planned here, whatever it calls them: found by the cells' jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.jobs.scoring import targets_of
from bench.metrics.request import LATENCY
from bench.record import CELL, COLUMNS, CURVE, SCORES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from bench.jobs.scoring import Scoring
    from bench.plan import Cell

OWN = {*SCORES, "part", "step", "epoch"}  # columns that a row has from its scores, not from its cell
TEXT = ("metric", "convention", "target", "status")  # columns that are looked at
OF_ALL = {"", "all"}  # targets of what is no label's


class Rows:
    """A table of records, or of learning curves, by job."""

    def __init__(self, table: pd.DataFrame) -> None:
        import numpy as np

        self.table = table
        codes = table["job"].cat.codes.to_numpy()
        self._order = np.argsort(codes, kind="stable")
        jobs = table["job"].cat.categories
        self._starts = np.searchsorted(codes[self._order], np.arange(len(jobs) + 1))
        self._number = {job: i for i, job in enumerate(jobs)}
        self._text = {name: table[name].cat.codes.to_numpy() for name in TEXT}
        self._named = {name: {v: i for i, v in enumerate(table[name].cat.categories)} for name in self._text}

    @cached_property
    def _cell(self) -> np.ndarray:
        """Return a number for each line that is the same within a cell."""
        import numpy as np

        made = np.zeros(len(self.table), np.int64)
        for name in CELL:
            codes = np.unique(self.table[name].to_numpy(), return_inverse=True)[1]
            made = np.unique(made * (codes.max(initial=0) + 1) + codes, return_inverse=True)[1]
        return made

    def of_job(self, job: str) -> np.ndarray:
        """Return the lines of a job, of one cell where several share it."""
        import numpy as np

        number = self._number.get(job)
        if number is None:
            return np.zeros(0, np.int64)
        lines = self._order[self._starts[number] : self._starts[number + 1]]
        return lines[self._cell[lines] == self._cell[lines[0]]] if len(lines) else lines

    def asked(self, cell: Cell, scoring: Scoring) -> np.ndarray:
        """Return the lines that a cell asks for: of its job, its metrics and its convention."""
        import numpy as np

        lines = self.of_job(cell.evaluate)
        metrics = [*scoring.metrics, *([LATENCY] if cell.latency else [])]
        wanted = [self._named["metric"][name] for name in metrics if name in self._named["metric"]]
        alike = self._named["convention"].get(cell.columns["convention"], -1)
        kept = np.isin(self._text["metric"][lines], wanted) & (self._text["convention"][lines] == alike)
        found: np.ndarray = lines[kept]
        return found

    def whole(self, lines: np.ndarray, cell: Cell, scoring: Scoring) -> bool:
        """Tell whether lines are all that a cell asks for: each metric, the targets, none failed."""
        metrics = {*scoring.metrics} | ({LATENCY} if cell.latency else set())
        stated = targets_of(scoring)
        return (
            "failed" not in self._told("status", lines)
            and metrics == self._told("metric", lines)
            and (not stated or {*stated} == self._told("target", lines) - OF_ALL)
        )

    def _told(self, name: str, lines: np.ndarray) -> set[str]:
        """Return what some lines have in a column of text."""
        import numpy as np

        names = self.table[name].cat.categories
        return {names[code] for code in np.unique(self._text[name][lines])}

    def of_cells(self, found: Iterable[tuple[Cell, str, Any]], curve: bool = False) -> pd.DataFrame:
        """Return lines as rows of cells here.

        Args:
            found: cells, the job that their rows name, and lines of this table.
            curve: of learning curves, not of scores.
        """
        import numpy as np
        import pandas as pd

        cells = [one for one in found if len(one[2])]
        lines = np.concatenate([np.zeros(0, np.int64), *(own for *_, own in cells)])
        number = np.repeat(np.arange(len(cells)), [len(own) for *_, own in cells])
        made: dict[str, Any] = {}
        for name, kind in (CURVE if curve else COLUMNS).items():
            values = [job if name == "job" else cell.columns.get(name) for cell, job, _ in cells]
            if name in OWN:
                made[name] = self.table[name].array.take(lines)
            elif kind == "str":
                codes, names = pd.factorize(np.array(values, object))
                made[name] = pd.Categorical.from_codes(codes[number], pd.Index(names, dtype="str"))
            else:
                made[name] = np.array(values, kind)[number]
        return pd.DataFrame(made, copy=False)


def of_plan(rows: Rows, cells: Sequence[tuple[Cell, Scoring]], own: set[str]) -> pd.DataFrame:
    """Return the rows of cells whose jobs are not among our ``own``."""
    return rows.of_cells(
        (c, c.evaluate, rows.asked(c, scoring)) for c, scoring in cells if c.evaluate not in own
    )
