"""Everything a report is made of, and the questions that tables, notes and figures ask of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench import stats
from bench.metrics.request import REGRESSION, declared
from bench.metrics.request import task as task_of
from bench.protocol import Protocol, is_control, method_pretrains, row_of
from bench.protocol.comparable import baseline_of, way
from bench.report.cells import MEAN, Cells, Key
from bench.report.names import (
    is_chance,
    metric_title,
    quoted_title,
    row_titles,
    section_labels,
    unit_of,
    with_network,
)
from bench.report.numbers import number
from bench.report.published import Published, Value
from bench.report.supplement import DatasetInfo, Extras, Failure


@dataclass(frozen=True, eq=False)
class ReportContext:
    """Protocol, cells and extras of one report."""

    protocol: Protocol
    cells: Cells
    extras: Extras
    info: dict[str, DatasetInfo]
    published: Published

    @cached_property
    def rows(self) -> list[str]:
        """Return the protocol's rows in its order, each with its variants, then what only records know."""
        recorded, rows = sorted({k.row for k in self.cells.cells}), dict[str, None]()
        for row in self.protocol.rows:
            rows |= dict.fromkeys([row, *(m for m in recorded if m.startswith(f"{row} ("))])
        return [*rows, *(m for m in recorded if m not in rows)]

    @cached_property
    def not_run(self) -> list[str]:
        """Return the rows of which nothing ran, not even in vain."""
        tried = {k.row for k in self.cells.cells} | {f.row for f in self.extras.failures}
        return [row for row in self.rows if row not in tried]

    def failures_of(self, key: Key) -> list[Failure]:
        """Return the failed jobs that explain why a cell lacks numbers."""
        section = self.protocol.sections[key.section]
        of_row = [
            f for f in self.extras.failures if f.row == key.row and f.section in ("", section)
        ]
        return [f for f in of_row if f.fraction in (None, key.fraction)]

    @cached_property
    def shares_not_run(self) -> list[tuple[int, int]]:
        """Return the sections and label fractions of which nothing ran, of sections of which some did."""
        names = self.protocol.sections
        tried: set[tuple[str, int | None]] = {
            (names[k.section], k.fraction) for k in self.cells.cells
        }
        failed = {(f.section, f.fraction) for f in self.extras.failures}
        if any("" in at or None in at for at in failed):  # it would have been of any of them
            return []
        tried |= failed
        begun = {name for name, _ in tried}
        return [
            (section, fraction)
            for section, name in enumerate(names)
            for fraction in self.fractions(section)
            if name in begun and (name, fraction) not in tried
        ]

    def rows_of(self, rows: Collection[str]) -> list[str]:
        """Return some rows in the order of print, those at the end that no result is known of."""
        return [*(row for row in self.rows if row in rows), *sorted({*rows} - {*self.rows})]

    def pretrains_nothing(self, row: str) -> bool:
        """Tell whether a row's method pretrains nothing, even if a file is loaded: then it has one level for all."""
        declared_row, _ = row_of(self.protocol, row)
        return declared_row is not None and not method_pretrains(declared_row)

    def is_control(self, row: str) -> bool:
        """Tell whether a row is a control: it wins no mark and no rank, and is no comparison of the study."""
        return is_control(self.protocol, row)

    @cached_property
    def titles(self) -> dict[str, str]:
        """Return the printed name of every row that has results or is spoken of beside them."""
        without_results = (
            *self.extras.receipts,
            *(pretext.row for pretext in self.extras.pretexts),
        )
        titles = row_titles(
            self.protocol, list(dict.fromkeys([*self.rows, *without_results])), self.extras
        )
        return titles | {
            name: quoted_title(quoted) for name, quoted in self.protocol.published_only.items()
        }

    def named(self, row: str) -> str:
        """Return a row's printed name where no column says its network."""
        return with_network(self.protocol, row, self.titles.get(row, row))

    def quoted(self, row: str) -> str:
        """Return a row's printed name within a sentence: it may have commas and colons."""
        return f"“{self.named(row)}”"

    @cached_property
    def labels(self) -> list[str]:
        """Return one label per fine-tuning section, no two alike."""
        return section_labels(self.protocol, self.info)

    def unit(self, metric: str) -> str:
        """Return a metric's unit as the rows have it, else its own."""
        return self.cells.units.get(metric, unit_of(metric))

    @property
    def synthetic(self) -> str:
        """Return ``synthetic data`` where all scores are of it, ``partly synthetic data``, or nothing."""
        synthetic = [info.synthetic for info in self.info.values()]
        if not any(synthetic):
            return ""
        if all(synthetic):
            return "synthetic data"
        return "partly synthetic data"

    @property
    def metrics(self) -> list[str]:
        """Return the table's own metric, then the others in the protocol's order."""
        met = sorted({k.metric for k in self.cells.cells})
        metrics = (self.protocol.layout.metric, *self.protocol.metrics, *met)
        return list(dict.fromkeys(m for m in metrics if m)) or ["dice"]

    @cached_property
    def alike(self) -> dict[tuple[str, int], str]:
        """Return, by row and section, what comparable rows share; controls have no entry."""
        return {key: way for key, way in self.ways.items() if not self.is_control(key[0])}

    @cached_property
    def ways(self) -> dict[tuple[str, int], str]:
        """Return, by row and section, how each row of the protocol is fine-tuned, controls among them."""
        sections = range(len(self.protocol.finetune))
        return {
            (name, section): repr(way(self.protocol, section, row))
            for name, row in self.protocol.rows.items()
            for section in sections
        }

    def targets(self, section: int) -> tuple[str, ...]:
        """Return the targets of a section that have rows, in the order of its regions or the declaration."""
        tuned = self.protocol.finetune[section]
        info, met = self.info[tuned.dataset], self.cells.targets.get(section)
        if not met:
            return ("all",) if tuned.value else (*tuned.regions,) or info.targets
        declared = [t for t in dict.fromkeys([*tuned.regions, *info.known]) if t in met]
        return (*declared, *(t for t in met if t not in declared))

    def judges(self, metric: str, section: int) -> bool:
        """Tell whether a metric is one of a section's task."""
        return task_of(metric) == self.task(section)

    def task(self, section: int) -> str:
        """Return what a section predicts: ``segmentation``, ``classification`` or ``regression``."""
        tuned = self.protocol.finetune[section]
        return self.info[tuned.dataset].task if tuned.value is None else REGRESSION

    def fractions(self, section: int) -> list[int]:
        """Return the label fractions of a section, the declared ones first."""
        met = {k.fraction for k in self.cells.cells if k.section == section}
        return list(dict.fromkeys([*self.protocol.finetune[section].fractions, *sorted(met)]))

    def has(self, row: str, section: int) -> bool:
        """Tell whether a row has cells in a section."""
        declared_row, _ = row_of(self.protocol, row)
        return declared_row is None or section in self.protocol.sections_of(declared_row)

    def location(self, key: Key) -> str:
        """Return where a cell's rows stand in the records, in words."""
        target = "all targets" if key.target == MEAN else f"target {key.target}"
        section = self.protocol.sections[key.section]
        return f"row {key.row}, section {section}, fraction {key.fraction}, {target}, metric {key.metric}"

    @cached_property
    def nearest(self) -> dict[tuple[str, int], tuple[str, dict[str, Any]] | None]:
        """Return, by row and section, the row from scratch that is nearest, and in what the two differ."""
        sections = range(len(self.protocol.finetune))
        rows = {row: row_of(self.protocol, row)[0] for row in self.rows}
        return {
            (name, section): baseline_of(self.protocol, section, row)
            for name, row in rows.items()
            if row is not None
            for section in sections
        }

    @cached_property
    def unlearned(self) -> dict[tuple[str, int, int], str]:
        """Return, by row, section and label fraction, which rows have not learned the task, and what shows it.

        Every prediction is empty, or the mean over targets is what predicting nothing gets, or the same for every
        case. The first metric decides of which that is known.
        """
        places = dict.fromkeys(key[:3] for key in self.cells.cells)
        return {place: why for place in places if (why := self._unlearned(*place))}

    def _unlearned(self, row: str, section: int, fraction: int) -> str:
        keys = [
            Key(row, section, fraction, MEAN, m) for m in self.metrics if self.judges(m, section)
        ]
        cells = {key: cell for key in keys if (cell := self.cells.cells.get(key)) is not None}
        empty = [cell.blank == cell.values > cell.absent for cell in cells.values()]
        if empty and all(empty):
            return "every prediction is empty"
        known = self.extras.chance.get(self.protocol.sections[section], {})
        brats = self.info[self.protocol.finetune[section].dataset].empty == "brats"
        for key, cell in cells.items():
            declaration = declared(key.metric)
            level = known.get(key.metric, declaration.chance if declaration else None)
            if level is None or cell.mean is None:
                continue
            if brats and declaration and declaration.chance == 0:  # 1 where both are empty
                both = (cell.absent - cell.undefined) / (cell.values - cell.undefined)
                level = max(level, both)
            same = "one label in every voxel" if level == known.get(key.metric) else "nothing"
            same = same if self.task(section) == "segmentation" else "the same for every case"
            unit = self.unit(key.metric)
            got = f"{metric_title(key.metric)} {number(cell.mean, unit)}; predicting {same}"
            got += f" gets {number(level, unit)}"
            return got if is_chance(key.metric, cell.mean, level) else ""
        return ""

    @cached_property
    def regions(self) -> dict[Key, stats.Region]:
        """Return the regions of equivalence that are known so far, by the cell of scratch they come from."""
        return {}

    def printed(self, key: Key, network: str = "") -> Value | None:
        """Return what the paper printed for a cell, on one ``network`` alone where it is given."""
        row = self.protocol.rows.get(key.row) or self.protocol.published_only.get(key.row)
        return self.published.find(row, *self.printed_as(key), on=network)

    def printed_as(self, key: Key) -> tuple[tuple[str, ...], tuple[str, ...], int, str]:
        """Return names of a cell's data set and target in print, best first, its fraction and its metric."""
        only = self._only_target(key.section)
        targets = (
            ("mean", *only) if key.target == MEAN else (key.target, *(("mean",) if only else ()))
        )
        return self._printed_as(key.section), targets, key.fraction, key.metric

    def _printed_as(self, section: int) -> tuple[str, ...]:
        """Return the names under which a paper may print a section; of twins one alone is the data set."""
        info = self.info[self.protocol.finetune[section].dataset]
        name = self.protocol.sections[section]
        twins = sum(t.dataset == info.name for t in self.protocol.finetune)
        return (info.name, info.title) if twins == 1 or name == info.name else (name,)

    def _only_target(self, section: int) -> tuple[str, ...]:
        targets = self.targets(section)
        return targets if len(targets) == 1 else ()
