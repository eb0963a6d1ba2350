"""The table of scores that is judged: a row per method, case, run, target and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bench.errors import BenchError
from bench.extras.judge.columns import Measure
from bench.extras.judge.tables import RawTable

if TYPE_CHECKING:
    import pandas as pd

RECORDS = frozenset(
    {"job", "protocol", "row", "section", "pretrain_seed", "seed", "init", "status"}
)


@dataclass(frozen=True)
class Options:
    """What a person states of a table; empty where it is guessed.

    Attributes:
        columns: role -> column, ``-`` for none.
        wide: what the columns of scores are: methods, targets, metrics or cases.
        higher: whether a higher score is better, where no name says so.
        patients: a regular expression whose group is the patient, or case -> patient.
        only: ``COLUMN=VALUE``; several of one column add up.
        without: columns that count as not there.
        unit: ``1`` or ``%``: of all scores, unchecked.
        infinite: what an infinite score counts as: a number, or ``missing``.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    wide: str = ""
    higher: bool | None = None
    patients: str | Mapping[str, str] = ""
    only: Sequence[str] = ()
    without: Sequence[str] = ()
    unit: str = ""
    infinite: str = ""

    @property
    def filters(self) -> dict[str, list[str]]:
        """The values of each name of ``only``.

        Raises:
            BenchError: one is no COLUMN=VALUE.
        """
        wanted = dict[str, list[str]]()
        for text in self.only:
            name, equal, value = text.partition("=")
            if not (equal and name and value):
                raise BenchError(f"--only {text}: write COLUMN=VALUE")
            wanted.setdefault(name, []).append(value)
        return wanted


class Role(NamedTuple):
    """One line of what was read: what it is, from where it was taken, and what it holds."""

    what: str
    taken_from: str
    holds: str


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores in the columns of ``bench.record`` that means and comparisons need.

    Attributes:
        frame: row, section, fraction, metric, target, pretrain_seed, seed, case, patient, fold, value.
        measures: by metric, in the order of the table.
        roles: what was taken for what.
        notes: what was left out, changed or assumed.
        warnings: what may make the numbers mean something else.
        starts: of each row ``none``, ``here`` or ``file``: how its pretraining seeds count.
        datasets: of each section that is called otherwise its data set.
        bases: the row that each row is compared with, where the table itself says so.
        controls: rows that are a family of their own.
        percent: metrics that are in percent in the files; here all are shares of one.
        columns: what each column was taken for; those left out are not there.
        noun: what is drawn anew: patients, or data sets that stand for one number each.
    """

    frame: pd.DataFrame
    measures: Mapping[str, Measure]
    roles: tuple[Role, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    starts: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[tuple[str, str], str] = field(default_factory=dict)
    controls: frozenset[str] = frozenset()
    noun: str = "patient"
    columns: Mapping[str, str] = field(default_factory=dict)
    percent: frozenset[str] = frozenset()


def score_table(tables: Sequence[RawTable], options: Options) -> ScoreTable:
    """Return the scores of some files.

    Raises:
        BenchError: a column is not known, a method is listed twice for a case, units are mixed, and so on.
    """
    from bench.extras.judge.checks import checked
    from bench.extras.judge.own_records import of_records
    from bench.extras.judge.parts import parts_of

    if not tables:
        raise BenchError("no table: name at least one file of scores")
    records = [{*table.columns} >= RECORDS for table in tables]
    if any(records) and not all(records):
        other = tables[records.index(False)].name
        raise BenchError(
            f"{other}: is not a bench record, but the other tables are; judge this table separately"
        )
    return (
        of_records(tables, options) if all(records) else checked(parts_of(tables, options), options)
    )
