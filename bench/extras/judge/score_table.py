"""Tables as they stand to one table of scores: a row per method, case, run, target and metric."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.errors import BenchError, shown, unknown
from bench.extras.judge.columns import (
    NAMES,
    SHARES,
    Measure,
    guessed,
    measure,
    metric_in,
    plain,
    summaries,
)
from bench.extras.judge.tables import RawTable

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("method", "dataset", "metric", "target", "pretraining", "run", "case", "patient", "fold")
ALWAYS = {
    "dataset": "",
    "target": "",
    "pretraining": "0",
    "run": "0",
    "fold": "0",
}  # where no column says
RECORDS = frozenset(
    {"job", "protocol", "row", "section", "pretrain_seed", "seed", "init", "status"}
)
TORCHGEO = frozenset({"dataset", "method", "metric_name", "metric_value", "name", "normalization"})
FILES_OF_COLUMNS = ("CSV", "JSON", "JSON lines", "Parquet", "table", "torchgeo-bench")
WIDE_ROLE = {"methods": "method", "targets": "target", "metrics": "metric", "cases": "case"}
TITLES = {"dataset": "Data set"}  # of roles in print
LISTED = 5  # names in a line
MOST_CODES = 1 << 40  # beyond, codes of several columns would not fit a whole number
VISIT = re.compile(r"(.*[A-Za-z0-9])[_\-.](?:[a-z]{0,6}\d{1,3})$", re.IGNORECASE)
PERCENT, SHARE = "percent", "share"
MOST_PERCENT = 100.5
# shares that go from 0 to 1, whoever computes them
BOUNDED = SHARES - {"score", "mainscore", "map", "ap", "kappa", "qwk", "mcc", "ssim"}


@dataclass(frozen=True)
class Options:
    """What a person states of a table; empty where it is guessed.

    Attributes:
        columns: role -> column, ``-`` for none.
        wide: what the columns of scores are: methods, targets, metrics or cases.
        higher: whether a higher score is better, where no name says so.
        patients: a regular expression whose group is the patient, or case -> patient.
        only: ``COLUMN=VALUE``; several of one column add up.
        unit: ``1`` or ``%``: of all scores, unchecked.
        infinite: what an infinite score counts as: a number, or ``missing``.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    wide: str = ""
    higher: bool | None = None
    patients: str | Mapping[str, str] = ""
    only: Sequence[str] = ()
    unit: str = ""
    infinite: str = ""


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
        bases: the row that each row is compared with, where the table itself says so.
        controls: rows that are a family of their own.
        columns: what each column was taken for; those left out are not there.
        noun: what is drawn anew: patients, or data sets that stand for one number each.
    """

    frame: pd.DataFrame
    measures: Mapping[str, Measure]
    roles: tuple[Role, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    starts: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[tuple[str, str], str] = field(default_factory=dict)
    controls: frozenset[str] = frozenset()
    noun: str = "patient"
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class _Part:
    """One file's scores, a row each."""

    raw: RawTable
    keys: dict[str, pd.Categorical]
    value: np.ndarray
    line: np.ndarray
    taken: dict[str, str]
    notes: list[str]
    scores: Sequence[str] = ()  # the columns of scores
    columns: Mapping[str, str] = field(default_factory=dict)  # role of each


def score_table(tables: Sequence[RawTable], options: Options) -> ScoreTable:
    """Return the scores of some files.

    Raises:
        BenchError: a column is not known, a method is listed twice for a case, units are mixed, and so on.
    """
    if not tables:
        raise BenchError("no table: name at least one file of scores")
    records = [{*table.columns} >= RECORDS for table in tables]
    if any(records) and not all(records):
        other = tables[records.index(False)].name
        raise BenchError(f"{other}: is no record of bench as the others are; judge them apart")
    if all(records):
        from bench.extras.judge.own_records import of_records

        return of_records(tables, options)
    tables = [_filtered(_known(table), options.only) for table in tables]
    parts = [_part(table, tables, options) for table in tables]
    return _joined(parts, options)


def _known(table: RawTable) -> RawTable:
    """Return a table with the roles of a layout that its columns give away."""
    if not {*table.columns} >= TORCHGEO:
        return table
    metrics = {metric_in(name) for name in table.texts("metric_name").categories}
    roles = {"method": "name", "case": "dataset", "target": "method", "run": "seed"}
    roles |= {"score": "metric_value"}
    if metrics <= SHARES:  # one of its own for each data set
        return replace(table, roles=roles, fixed={"metric": "main score"}, layout="torchgeo-bench")
    return replace(table, roles=roles | {"metric": "metric_name"}, layout="torchgeo-bench")


def _filtered(table: RawTable, only: Sequence[str]) -> RawTable:
    """Return the rows that ``--only`` names; a column that a table lacks is another table's or a role's."""
    import pyarrow as pa

    wanted: dict[str, list[str]] = {}
    for text in only:
        name, equal, value = text.partition("=")
        if not (equal and name and value):
            raise BenchError(f"--only {text}: is no COLUMN=VALUE")
        wanted.setdefault(name, []).append(value)
    keep = np.ones(len(table), bool)
    for name, values in wanted.items():
        column = name if name in table.columns else table.roles.get(name, "")
        if column:
            keep &= table.holds(column, values)
    if keep.all():
        return table
    if not keep.any():
        raise BenchError(f"{table.name}: --only {' '.join(only)}: leaves no row")
    mask = pa.array(keep)
    data = {name: values.filter(mask) for name, values in table.data.items()}
    return replace(table, data=data)


def _part(raw: RawTable, tables: Sequence[RawTable], options: Options) -> _Part:
    roles = dict(raw.roles)
    if not roles or options.columns:
        stated = {**raw.roles, **options.columns}
        fixed = {role: "-" for role in raw.fixed if role not in stated}
        if raw.roles:
            fixed |= {role: "-" for role in (*KEYS, "score") if role not in stated}
        roles = guessed(raw.columns, stated | fixed, raw.name)
    inside = raw.layout not in FILES_OF_COLUMNS and raw.roles
    taken = {
        role: f"the files of {raw.layout}" if inside else f"column {column!r}"
        for role, column in roles.items()
    }
    notes = [*raw.notes]
    wide, columns = _form(raw, roles, tables, options, notes)
    if wide:
        taken[wide] = f"the headings of {len(columns)} columns"
        roles.pop(wide, None)
    fixed = _fixed(raw, roles, wide, columns, tables, taken)
    roles = _with_case(raw, roles, wide, fixed, tables, taken)
    return _melted(raw, roles, fixed, (wide, columns), taken, notes)


def _form(
    raw: RawTable,
    roles: dict[str, str],
    tables: Sequence[RawTable],
    options: Options,
    notes: list[str],
) -> tuple[str, list[str]]:
    """Return what the columns of scores are, "" for one column of scores; and these columns."""
    generic = roles.get("score", "")
    left = [c for c in raw.columns if c not in roles.values()]
    if generic and not options.wide:
        return "", [generic]
    summed = {*summaries(left)}
    numeric = [c for c in left if c not in summed and raw.numeric(c)]
    if generic and options.wide:
        numeric.append(roles.pop("score"))
    if not numeric:
        what = ", ".join(map(repr, raw.columns[:LISTED]))
        raise BenchError(
            f"{raw.name}: no column holds numbers (columns {what}); name one with --score"
        )
    wide, chosen = _meaning(raw, roles, numeric, tables)
    if options.wide:
        wide, chosen = WIDE_ROLE[options.wide], numeric
    leftover = [c for c in left if c not in chosen and c]
    if leftover:
        many = f" and {len(leftover) - LISTED} more" if len(leftover) > LISTED else ""
        notes.append(f"columns left out: {', '.join(leftover[:LISTED])}{many}")
    if wide == "metric" and len(chosen) == 1:
        roles["score"] = chosen[0]
        return "", chosen
    return wide, chosen


def _meaning(
    raw: RawTable, roles: Mapping[str, str], numeric: list[str], tables: Sequence[RawTable]
) -> tuple[str, list[str]]:
    """Return what columns of numbers are, and which of them."""
    named = [column for column in numeric if metric_in(column)]
    metrics = 2 * len(named) >= len(numeric)
    has_case = bool({"case", "patient", "dataset"} & roles.keys())
    if "method" in roles or "method" in raw.fixed:
        if has_case and (len(numeric) == 1 or (named and (metrics or "case" in roles))):
            return "metric", named or numeric
        if not has_case and metrics:
            raise BenchError(
                f"{raw.name}: one number a method ({', '.join(named[:LISTED])}): nothing can be drawn anew; "
                "give the score of each case"
            )
        return ("target" if has_case else "case"), numeric
    if len(tables) > 1:
        return ("metric", named) if metrics else ("target", numeric)
    if metrics and len(named) == len(numeric):
        raise BenchError(
            f"{raw.name}: no column names the method ({', '.join(named[:LISTED])} are metrics); "
            "say which with --method, or give a file for each method"
        )
    return "method", numeric


def _fixed(
    raw: RawTable,
    roles: Mapping[str, str],
    wide: str,
    columns: Sequence[str],
    tables: Sequence[RawTable],
    taken: dict[str, str],
) -> dict[str, str]:
    """Return what all rows of a file share: the method that it is of, the metric."""
    fixed = dict(raw.fixed)
    stem = Path(raw.name).stem
    for role in fixed:
        taken.setdefault(role, f"the folders and files of {raw.layout}")
    if "method" not in {*roles, *fixed, wide}:
        if len(tables) == 1:
            raise BenchError(
                f"{raw.name}: no column names the method; say which with --method "
                f"(columns {', '.join(map(repr, raw.columns[:LISTED]))})"
            )
        by_folder = bool(metric_in(stem)) or len({Path(t.name).stem for t in tables}) == 1
        fixed["method"] = Path(raw.name).absolute().parent.name if by_folder else stem
        taken["method"] = f"the {'folder' if by_folder else 'name'} of each file"
    if "metric" not in {*roles, *fixed, wide}:
        column = columns[0] if not wide else ""
        in_column = metric_in(column) and plain(column) not in NAMES["score"]
        if in_column or metric_in(stem) in ("", "score"):
            fixed["metric"] = column or stem
            taken["metric"] = f"the heading {column!r}" if column else "the name of the file"
        else:
            fixed["metric"] = metric_in(stem)
            taken["metric"] = "the name of the file"
    return fixed


def _with_case(
    raw: RawTable,
    roles: dict[str, str],
    wide: str,
    fixed: Mapping[str, str],
    tables: Sequence[RawTable],
    taken: dict[str, str],
) -> dict[str, str]:
    """Return roles among which the case is: the patient or the data set where nothing is finer."""
    if "case" in {*roles, *fixed, wide}:
        return roles
    if "patient" in roles:
        taken["case"] = taken["patient"]
        return roles | {"case": roles["patient"]}
    if "dataset" in roles:
        taken["case"] = f"{taken.pop('dataset')}: each data set is one case"
        return {r: c for r, c in roles.items() if r != "dataset"} | {"case": roles["dataset"]}
    unnamed = next((c for c in raw.columns if not c or c.startswith("Unnamed: 0")), None)
    if unnamed is not None:
        taken["case"] = "the column without a heading"
        return roles | {"case": unnamed}
    if wide == "method" and len(tables) == 1:
        taken["case"] = "the lines of the file"
        return roles
    raise BenchError(
        f"{raw.name}: no column names the case; say which with --case "
        f"(columns {', '.join(map(repr, raw.columns[:LISTED]))})"
    )


def _melted(
    raw: RawTable,
    roles: Mapping[str, str],
    fixed: Mapping[str, str],
    form: tuple[str, Sequence[str]],
    taken: dict[str, str],
    notes: list[str],
) -> _Part:
    import pandas as pd

    wide, columns = form
    size, times = len(raw), len(columns)
    keys = dict[str, pd.Categorical]()
    for role, column in roles.items():
        if role != "score":
            names = raw.texts(column)
            keys[role] = pd.Categorical.from_codes(
                np.tile(names.codes, times), categories=names.categories
            )
    if "case" not in {*keys, wide}:
        lines = [f"line {raw.first + i}" for i in range(size)]
        keys["case"] = pd.Categorical.from_codes(np.tile(np.arange(size), times), categories=lines)
    if wide:
        keys[wide] = pd.Categorical.from_codes(
            np.repeat(np.arange(times), size), categories=[*columns]
        )
    for role, name in fixed.items():
        keys[role] = pd.Categorical.from_codes(np.zeros(size * times, np.int8), categories=[name])
    value = np.concatenate([raw.numbers(column) for column in columns])
    line = np.tile(np.arange(size, dtype=np.int64) + raw.first, times)
    columns_taken = {column: role for role, column in roles.items()}
    columns_taken |= dict.fromkeys(columns, wide or "score")
    return _Part(raw, keys, value, line, taken, notes, columns, columns_taken)


def _joined(parts: Sequence[_Part], options: Options) -> ScoreTable:
    """Return the parts as one table, with every check."""
    import pandas as pd
    from pandas.api.types import union_categoricals

    columns = dict[str, pd.Categorical]()
    for key in KEYS:
        if key == "patient" and not any("patient" in part.keys for part in parts):
            continue
        pieces = [_key(part, key) for part in parts]
        columns[key] = pieces[0] if len(pieces) == 1 else union_categoricals(pieces)
    frame = pd.DataFrame(columns, copy=False)
    frame["value"] = np.concatenate([part.value for part in parts])
    table = _Checked(frame, parts, options)
    return table.finished()


def _key(part: _Part, key: str) -> pd.Categorical:
    import pandas as pd

    if key in part.keys:
        return part.keys[key]
    if key not in ALWAYS:
        raise BenchError(f"{part.raw.name}: no column names the {key}; say which with --{key}")
    codes = np.zeros(len(part.value), np.int8)
    return pd.Categorical.from_codes(codes, categories=[ALWAYS[key]])


class _Checked:
    """A joined table on its way through the checks: each changes it, notes something, or refuses it."""

    def __init__(self, frame: pd.DataFrame, parts: Sequence[_Part], options: Options) -> None:
        self.frame, self.parts, self.options = frame, parts, options
        self.notes = list(dict.fromkeys(note for part in parts for note in part.notes))
        self.warnings = list[str]()
        self.taken = {role: text for part in parts for role, text in part.taken.items()}
        self.ends = np.cumsum([len(part.value) for part in parts])

    def finished(self) -> ScoreTable:
        self._only()
        measures = self._measures()
        self._infinite()
        self._units(measures)
        self._refuse_twice()
        self._patients()
        self._methods()
        starts = dict.fromkeys(
            self.frame["method"].cat.categories, "here" if "pretraining" in self.taken else "none"
        )
        roles = tuple(self._roles(measures))
        noun = "data set" if "each data set" in self.taken.get("case", "") else "patient"
        if self.parts[0].raw.layout in ("mteb", "kaiko eva", "torchgeo-bench") or (
            self.taken.get("case", "").startswith("the headings")
        ):
            noun = "data set"
        columns = {c: role for part in self.parts for c, role in part.columns.items()}
        frame, notes, warnings = self._as_records(), tuple(self.notes), tuple(self.warnings)
        return ScoreTable(
            frame, measures, roles, notes, warnings, starts, noun=noun, columns=columns
        )

    def where(self, at: int) -> str:
        """Return the file and the line of a row."""
        row = int(self.frame.index[at])
        part = self.parts[int(np.searchsorted(self.ends, row, side="right"))]
        offset = row - int(self.ends[self.parts.index(part)] - len(part.value))
        line = int(part.line[offset])
        if part.raw.layout in ("table", "Parquet", "JSON"):
            return f"{part.raw.name}: row {line}"
        return f"{part.raw.name}: line {line}" if _has_lines(part.raw) else part.raw.name

    def _only(self) -> None:
        """Keep what ``--only`` names by role: method, dataset, target, metric, run."""
        known = {c for part in self.parts for c in part.raw.columns}
        for name in dict.fromkeys(text.partition("=")[0] for text in self.options.only):
            if name in known:
                continue  # done, table by table
            if name not in self.frame:
                raise BenchError(f"--only {name}: {unknown('column', name, {*known, *KEYS})}")
            values = [t.partition("=")[2] for t in self.options.only if t.startswith(f"{name}=")]
            lacking = [v for v in values if v not in self.frame[name].cat.categories]
            if lacking:
                raise BenchError(
                    f"--only {name}={lacking[0]}: {unknown(name, lacking[0], self.frame[name].cat.categories)}"
                )
            self.frame = self.frame[self.frame[name].isin(values)]
        if self.frame.empty:
            raise BenchError(f"--only {' '.join(self.options.only)}: leaves no row")
        for key in self.frame.columns.drop("value"):
            self.frame[key] = self.frame[key].cat.remove_unused_categories()

    def _measures(self) -> dict[str, Measure]:
        present = list(self.frame["metric"].cat.categories)
        measures = dict[str, Measure]()
        for name in present:
            known = measure(name, self.options.higher, alone=len(present) == 1)
            if known is None:
                raise BenchError(
                    f"{self.parts[0].raw.name}: whether a higher {name!r} is better is not known; say --higher "
                    "or --lower"
                )
            measures[name] = known
        return measures

    def _infinite(self) -> None:
        values = self.frame["value"].to_numpy()
        infinite = np.isinf(values)
        if not infinite.any():
            return
        wanted = self.options.infinite
        if not wanted:
            at = int(np.flatnonzero(infinite)[0])
            row = self.frame.iloc[at]
            raise BenchError(
                f"{self.where(at)}: {row['metric']} of method {row['method']!r}, case {row['case']!r}, is "
                f"infinite ({int(infinite.sum())} are); say what that counts as: --infinite NUMBER, or "
                "--infinite missing"
            )
        try:
            number = np.nan if wanted == "missing" else float(wanted)
        except ValueError:
            raise BenchError(f"--infinite {wanted}: is neither a number nor 'missing'") from None
        self.frame = self.frame.assign(value=np.where(infinite, number, values))
        self.notes.append(f"{int(infinite.sum())} infinite scores count as {wanted}")

    def _units(self, measures: dict[str, Measure]) -> None:
        """Take percent as shares of one; refuse a metric of which some scores are one and some the other."""
        if self.options.unit not in ("", "1", "%"):
            raise BenchError(f"--unit {self.options.unit}: is neither 1 nor %")
        values = self.frame["value"].to_numpy(copy=True)
        metric_codes = self.frame["metric"].cat.codes.to_numpy()
        for code, name in enumerate(self.frame["metric"].cat.categories):
            at = np.flatnonzero(metric_codes == code)
            known = measures[name] = self._unknown_unit(measures[name], at, values)
            if known.unit != "1":
                continue
            scale = {"1": SHARE, "%": PERCENT}.get(self.options.unit) or self._scale(
                name, at, values
            )
            self._bounded(name, at, values, 100.0 if scale == PERCENT else 1.0)
            if scale == PERCENT:
                values[at] /= 100
                self.notes.append(
                    f"{name} is in percent in the file; all numbers here are shares of one"
                )
            elif np.nanmax(np.abs(values[at]), initial=0) > 1.5:
                measures[name] = replace(known, unit="")
        self.frame = self.frame.assign(value=values)

    def _bounded(self, name: str, at: np.ndarray, values: np.ndarray, most: float) -> None:
        """Refuse an overlap or a rate that is below 0 or above all of its unit."""
        if metric_in(name) not in BOUNDED:
            return
        beyond = (values[at] < 0) | (values[at] > most * (1 + 1e-6))
        if beyond.any():
            first = int(at[np.flatnonzero(beyond)[0]])
            raise BenchError(
                f"{self.where(first)}: {name} of {values[first]:g} is not between 0 and {most:g}; mend it, or "
                "name another metric with --metric or --score"
            )

    def _unknown_unit(self, known: Measure, at: np.ndarray, values: np.ndarray) -> Measure:
        """Take scores of a metric that nobody knows for shares where all are from 0 to 1."""
        scores = values[at][~np.isnan(values[at])]
        declared = metric_in(known.name) or known.unit
        if declared or not len(scores) or scores.min() < 0 or scores.max() > 1:
            return known
        return replace(known, unit="1")

    def _scale(self, name: str, at: np.ndarray, values: np.ndarray) -> str:
        """Return whether the scores of a metric are shares or percent."""
        size = np.abs(values[at])
        large, small = size > 1.5, (size > 0.02) & (size <= 1)
        if not large.any():
            return SHARE
        few = 0.02 * np.count_nonzero(large | small)
        self._refuse_scales(name, at, large, small)
        if np.count_nonzero(small) > few and np.count_nonzero(large) > 0:
            first, second = (int(np.flatnonzero(which)[0]) for which in (small, large))
            where = self.where(int(at[first]))
            self._refuse_mixed(
                name,
                f"{where} has {values[at[first]]:g}, {self.where(int(at[second]))} {values[at[second]]:g}",
            )
        return PERCENT if np.nanmax(size) <= MOST_PERCENT else SHARE  # of more neither is true

    def _refuse_scales(
        self, name: str, at: np.ndarray, large: np.ndarray, small: np.ndarray
    ) -> None:
        """Refuse methods of which one has shares and another percent, on one target."""
        methods = self.frame["method"].cat.categories
        keys = [self.frame[key].cat.codes.to_numpy()[at] for key in ("dataset", "target", "method")]
        sizes = [len(self.frame[key].cat.categories) for key in ("dataset", "target", "method")]
        group = (keys[0].astype(np.int64) * sizes[1] + keys[1]) * sizes[2] + keys[2]
        present, of_row, count = np.unique(group, return_inverse=True, return_counts=True)
        big, little = (np.bincount(of_row, which, len(present)) for which in (large, small))
        share, percent = (little > 0) & (big == 0), 2 * big > count
        for target in np.unique(present // sizes[2]):
            of_target = present // sizes[2] == target
            shares, percents = (
                methods[present[of_target & which] % sizes[2]] for which in (share, percent)
            )
            if len(shares) and len(percents):
                text = f"method {shares[0]!r} has 0 to 1, {percents[0]!r} percent"
                self._refuse_mixed(name, text)

    def _refuse_mixed(self, name: str, text: str) -> None:
        raise BenchError(
            f"{name}: units are mixed: {text}; bring all to one unit, or say that all are --unit 1 or --unit %"
        )

    def _refuse_twice(self) -> None:
        """Refuse a method that is listed twice for a case; name the columns in which the two lines differ."""
        keys = [key for key in KEYS if key != "patient" or key in self.frame]
        code = np.zeros(len(self.frame), np.int64)
        for key in keys:
            code = code * max(len(self.frame[key].cat.categories), 1) + self.frame[key].cat.codes
            code = np.unique(code, return_inverse=True)[1] if code.max() > MOST_CODES else code
        twice = self.frame.index[self.frame.assign(code=code)["code"].duplicated(keep="first")]
        if not len(twice):
            return
        at = self.frame.index.get_loc(twice[0])
        first = int(np.flatnonzero(code == code[at])[0])
        row = self.frame.iloc[at]
        of = "".join(
            f", {key} {row[key]!r}"
            for key in ("dataset", "target", "metric", "run")
            if len(set(self.frame[key])) > 1
        )
        a, b = self.where(first), self.where(int(at))
        line = b.rpartition(": ")[2] if a.rpartition(": ")[0] == b.rpartition(": ")[0] else b
        raise BenchError(
            f"{a} and {line}: method {row['method']!r} is listed twice for case {row['case']!r}{of}; "
            f"{self._apart(first, int(at))}"
        )

    def _apart(self, first: int, second: int) -> str:
        """Say what may tell two lines apart."""
        a, b = (int(self.frame.index[i]) for i in (first, second))
        parts = [self.parts[int(np.searchsorted(self.ends, row, side="right"))] for row in (a, b)]
        if parts[0] is parts[1]:
            raw = parts[0].raw
            lines = [
                (row - int(self.ends[self.parts.index(parts[0])] - len(parts[0].value)))
                for row in (a, b)
            ]
            cells = [[raw.data[c][line % len(raw)].as_py() for c in raw.columns] for line in lines]
            differ = [
                c
                for c, x, y in zip(raw.columns, *cells, strict=True)
                if x != y and c not in parts[0].scores
            ]
            differ = [c for c in differ if f"column {c!r}" not in self.taken.values()][:LISTED]
            if differ:
                return (
                    f"they differ in {', '.join(differ)}: keep one with --only COLUMN=VALUE, or name runs with "
                    "--run, scans of one patient with --case"
                )
        if self.taken.get("case") == self.taken.get("patient"):
            return "if they are two scans of one patient, name their column with --case; else remove one"
        return "remove one, or name what tells them apart with --run, --fold or --case"

    def _patients(self) -> None:
        stated = self.options.patients
        cases = self.frame["case"].cat.categories
        if stated:
            by_case = patients_of(cases, stated)
            names = sorted({*by_case})
            position = {name: i for i, name in enumerate(names)}
            codes = np.array([position[name] for name in by_case])
            import pandas as pd

            moved = pd.Categorical.from_codes(codes[self.frame["case"].cat.codes], categories=names)
            self.frame = self.frame.assign(patient=moved)
            self.taken["patient"] = (
                f"the pattern {stated}"
                if isinstance(stated, str)
                else "the map of cases to patients"
            )
        elif "patient" not in self.frame:
            self.frame = self.frame.assign(patient=self.frame["case"])
            prefixes = [match[1] for name in cases if (match := VISIT.fullmatch(name))]
            if 2 * len(prefixes) > len(cases) and 1 < len({*prefixes}) <= 0.8 * len(prefixes):
                example = [n for n in cases if n.startswith(prefixes[0])][:2]
                self.warnings.append(
                    f"Case names look like several scans of one patient ({', '.join(example)}). If they are, "
                    "name the patients with --patient or --patients: else the intervals are too narrow."
                )

    def _methods(self) -> None:
        methods = self.frame["method"].cat.categories
        if len(methods) < 2:
            raise BenchError(
                f"{self.parts[0].raw.name}: has one method, {methods[0]!r}: there is nothing to compare; "
                "give two, or name the column with --method"
            )
        seen = self.frame[self.frame["value"].notna()]
        if seen.empty:
            raise BenchError(f"{self.parts[0].raw.name}: no score is a number")
        empty = [m for m in methods if m not in {*seen["method"].unique()}]
        if empty:
            self.warnings.append(f"No score at all: {', '.join(empty)}.")

    def _as_records(self) -> pd.DataFrame:
        """Return the frame in the columns of records; runs that no two methods share are paired in order."""
        frame = self.frame.rename(columns={"method": "row", "dataset": "section"})
        run = _number_of(frame["run"].cat.categories)[frame["run"].cat.codes]
        labels = frame.assign(run=run)[["row", "run"]].drop_duplicates()
        sets = [frozenset(group) for _, group in labels.groupby("row", observed=True)["run"]]
        if len({*sets}) > 1 and not any(a & b for i, a in enumerate(sets) for b in sets[:i]):
            order = labels.sort_values("run").groupby("row", observed=True).cumcount()
            number = labels.assign(number=order).set_index(["row", "run"])["number"]
            run = number.loc[list(zip(frame["row"], run, strict=True))].to_numpy()
            self.notes.append(
                "No two methods share a name of a run: the first run of one is paired with the first of the "
                "other, and so on."
            )
        return frame.assign(
            seed=run,
            pretrain_seed=_number_of(frame["pretraining"].cat.categories)[
                frame["pretraining"].cat.codes
            ],
            fold=_number_of(frame["fold"].cat.categories)[frame["fold"].cat.codes],
            fraction=100,
        ).drop(columns=["run", "pretraining"])

    def _roles(self, measures: Mapping[str, Measure]) -> Iterator[Role]:
        """Yield what was taken for what."""
        frame = self.frame
        layouts = dict.fromkeys(part.raw.layout for part in self.parts)
        files = [part.raw.name for part in self.parts]
        yield Role("Files", ", ".join(layouts), _listed(files))
        for key in ("method", "patient", "case", "run", "pretraining", "fold", "dataset", "target"):
            names = list(frame[key].cat.categories)
            if key in self.taken:
                yield Role(TITLES.get(key, key.capitalize()), self.taken[key], _listed(names))
            elif key == "patient":
                yield Role("Patient", "the case: each is taken for a patient", f"{len(names)}")
            elif key == "run":
                yield Role("Run", "no column", "each method has one run")
        for name, known in measures.items():
            way = "higher is better" if known.higher else "lower is better"
            unit = {"1": "shares of one", "": "its own unit"}.get(known.unit, known.unit)
            yield Role(
                f"Metric {name}", self.taken.get("metric", ""), f"{way} ({known.why}), {unit}"
            )


def _has_lines(raw: RawTable) -> bool:
    return raw.layout in ("CSV", "JSON lines", "torchgeo-bench")


def _number_of(names: Sequence[str]) -> np.ndarray:
    """Return whole numbers for names: their own where all are numbers, else their order."""
    if all(re.fullmatch(r"\d{1,9}", name) for name in names):
        return np.array([int(name) for name in names])
    order = sorted(names)
    return np.array([order.index(name) for name in names])


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0] or "one, without a name"
    more = " ..." if len(names) > LISTED else ""
    return f"{len(names)}: {', '.join(names[:LISTED])}{more}"


def patients_of(cases: Sequence[str], stated: str | Mapping[str, str]) -> list[str]:
    """Return the patient of each case.

    Args:
        cases: their names.
        stated: a regular expression that matches from the beginning of a name, whose group ``patient`` or
            only group is the patient; or case -> patient.

    Raises:
        BenchError: the pattern is none, or a case has no patient by it.
    """
    if not isinstance(stated, str):
        lacking = next((case for case in cases if case not in stated), None)
        if lacking is not None:
            raise BenchError(f"patients: case {shown(lacking)} has no patient in the map; add it")
        return [stated[case] for case in cases]
    try:
        pattern = re.compile(stated)
    except re.error as error:
        raise BenchError(f"--patients {stated}: is no regular expression ({error})") from None
    if pattern.groups != 1 and "patient" not in pattern.groupindex:
        raise BenchError(f"--patients {stated}: needs one group in brackets, which is the patient")
    named = []
    for case in cases:
        match = pattern.match(case)
        patient = match["patient" if "patient" in pattern.groupindex else 1] if match else None
        if not patient:
            raise BenchError(f"--patients {stated}: gives case {shown(case)} no patient; mend it")
        named.append(patient)
    return named
