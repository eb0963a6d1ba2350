"""The files of one table put together, and what is refused, changed or said of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError, unknown
from bench.extras.judge.columns import SHARES, Measure, measure, metric_in
from bench.extras.judge.parts import KEYS, LISTED, Part
from bench.extras.judge.patients import patients_of
from bench.extras.judge.score_table import Options, Role, ScoreTable

if TYPE_CHECKING:
    import pandas as pd

# without a column
ALWAYS = {"dataset": "", "target": "", "pretraining": "0", "run": "0", "fold": "0"}
TITLES = {"dataset": "Data set"}  # of roles in print
MOST_CODES = 1 << 40  # beyond, codes of several columns would not fit a whole number
VISIT = re.compile(r"(.*[A-Za-z0-9])[_\-.](?:[a-z]{0,6}\d{1,3})$", re.IGNORECASE)
ROWS = ("table", "Parquet", "JSON")  # layouts without lines
TASKS = ("mteb", "kaiko eva", "torchgeo-bench")  # layouts whose cases are data sets


def checked(parts: Sequence[Part], options: Options) -> ScoreTable:
    """Return the parts as one table.

    Raises:
        BenchError: a method is listed twice for a case, units are mixed, nobody knows which way is better ...
    """
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
    return _Checks(frame, parts, options).table()


def _key(part: Part, key: str) -> pd.Categorical:
    import pandas as pd

    if key in part.keys:
        return part.keys[key]
    if key not in ALWAYS:
        raise BenchError(f"{part.raw.name}: no column names the {key}; say which with --{key}")
    codes = np.zeros(len(part.value), np.int8)
    return pd.Categorical.from_codes(codes, categories=[ALWAYS[key]])


class _Checks:
    """A joined table on its way through the checks: each changes it, notes something, or refuses it."""

    def __init__(self, frame: pd.DataFrame, parts: Sequence[Part], options: Options) -> None:
        self.frame, self.parts, self.options = frame, parts, options
        self.notes = list(dict.fromkeys(note for part in parts for note in part.notes))
        self.warnings = list[str]()
        self.percent = set[str]()
        self.origin = {role: text for part in parts for role, text in part.origin.items()}
        self.ends = np.cumsum([len(part.value) for part in parts])

    def table(self) -> ScoreTable:
        """Return the table that has passed."""
        self._only()
        measures = self._measures()
        self._infinite()
        self._units(measures)
        self._refuse_twice()
        self._patients()
        self._methods()
        begun = "here" if "pretraining" in self.origin else "none"
        starts = dict.fromkeys(self.frame["method"].cat.categories, begun)
        roles = tuple(self._roles(measures))
        columns = {c: role for part in self.parts for c, role in part.columns.items()}
        frame, notes, warnings = self._as_records(), tuple(self.notes), tuple(self.warnings)
        return ScoreTable(
            frame,
            measures,
            roles,
            notes,
            warnings,
            starts,
            noun=self._noun(),
            columns=columns,
            percent=frozenset(self.percent),
        )

    def _noun(self) -> str:
        """Return what a case is: a patient, or a data set that has one number."""
        case = self.origin.get("case", "")
        tasks = self.parts[0].raw.layout in TASKS or case.startswith("the headings")
        return "data set" if tasks or "each data set" in case else "patient"

    def where(self, at: int) -> str:
        """Return the file and the line of a row."""
        part, line = self._line(at)
        noun = "row" if part.raw.layout in ROWS else "line"
        counted = noun == "row" or part.raw.layout in ("CSV", "JSON lines", "torchgeo-bench")
        return f"{part.raw.name}: {noun} {line + part.raw.first}" if counted else part.raw.name

    def _only(self) -> None:
        """Keep what ``--only`` names by role; what it names by column was done table by table."""
        columns = {c for part in self.parts for c in part.raw.columns}
        for name, values in self.options.filters.items():
            if name not in columns:
                self._keep(name, values, columns)
        if self.frame.empty:
            raise BenchError(f"--only {' '.join(self.options.only)}: leaves no row")
        for key in self.frame.columns.drop("value"):
            self.frame[key] = self.frame[key].cat.remove_unused_categories()

    def _keep(self, role: str, values: Sequence[str], columns: set[str]) -> None:
        if role not in self.frame:
            raise BenchError(f"--only {role}: {unknown('column', role, {*columns, *KEYS})}")
        names = self.frame[role].cat.categories
        for value in values:
            if value not in names:
                raise BenchError(f"--only {role}={value}: {unknown(role, value, names)}")
        self.frame = self.frame[self.frame[role].isin(values)]

    def _measures(self) -> dict[str, Measure]:
        from bench.report.names import is_ranked

        present = list(self.frame["metric"].cat.categories)
        unranked = [name for name in present if not is_ranked(name.lower())]
        if unranked:
            why = f"{', '.join(unranked)}: best at 0, or nothing is ranked by it"
            if unranked == present:
                raise BenchError(f"{self.parts[0].raw.name}: {why}; give another metric")
            self.notes.append(f"left out: {why}")
            self.frame = self.frame[~self.frame["metric"].isin(unranked)]
            self.frame["metric"] = self.frame["metric"].cat.remove_unused_categories()
            present = list(self.frame["metric"].cat.categories)
        measures = dict[str, Measure]()
        for name in present:
            way = measure(name, self.options.higher, alone=len(present) == 1)
            if way is None:
                raise BenchError(
                    f"{self.parts[0].raw.name}: whether a higher {name!r} is better is not known; say --higher "
                    "or --lower"
                )
            measures[name] = way
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
        """Take percent as shares of one."""
        units = Units(self.frame, self.where, self.options.unit)
        metrics = self.frame["metric"].cat.codes.to_numpy()
        for code, name in enumerate(self.frame["metric"].cat.categories):
            measures[name], percent = units.of(measures[name], np.flatnonzero(metrics == code))
            if percent:
                self.percent.add(name)
                self.notes.append(
                    f"{name} is in percent in the file; all numbers here are shares of one"
                )
        self.frame = self.frame.assign(value=units.values)

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
        differ = self._differing(first, second)
        if differ:
            return (
                f"they differ in {', '.join(differ[:LISTED])}: keep one with --only COLUMN=VALUE, or name runs with "
                "--run, scans of one patient with --case"
            )
        if self.origin.get("case") == self.origin.get("patient"):
            return "if they are two scans of one patient, name their column with --case; else remove one"
        return "remove one, or name what tells them apart with --run, --fold or --case"

    def _differing(self, first: int, second: int) -> list[str]:
        """Return the columns without a role in which two lines of one file differ."""
        (part, a), (other, b) = (self._line(at) for at in (first, second))
        if part is not other:
            return []
        free = [c for c in part.raw.columns if c not in part.columns]
        return [c for c in free if part.raw.data[c][a].as_py() != part.raw.data[c][b].as_py()]

    def _line(self, at: int) -> tuple[Part, int]:
        """Return the file of a row and the number of its line there, from 0."""
        row = int(self.frame.index[at])
        number = int(np.searchsorted(self.ends, row, side="right"))
        part = self.parts[number]
        return part, (row - int(self.ends[number]) + len(part.value)) % len(part.raw)

    def _patients(self) -> None:
        if self.options.patients:
            self._map_patients(self.options.patients)
        elif "patient" in self.frame:
            self._refuse_two_patients()
        else:
            self.frame = self.frame.assign(patient=self.frame["case"])
            self._warn_of_visits()

    def _map_patients(self, stated: str | Mapping[str, str]) -> None:
        import pandas as pd

        cases = self.frame["case"].cat
        by_case = np.array(patients_of(cases.categories, stated), object)
        names, codes = np.unique(by_case, return_inverse=True)
        named = pd.Categorical.from_codes(codes[cases.codes], categories=names.tolist())
        self.frame = self.frame.assign(patient=named)
        pattern = f"the pattern {stated}" if isinstance(stated, str) else "the map of cases"
        self.origin["patient"] = pattern

    def _warn_of_visits(self) -> None:
        """Warn where most cases look like scans of fewer patients."""
        cases = self.frame["case"].cat.categories
        prefixes = [match[1] for name in cases if (match := VISIT.fullmatch(name))]
        if 2 * len(prefixes) > len(cases) and 1 < len({*prefixes}) <= 0.8 * len(prefixes):
            example = [name for name in cases if name.startswith(prefixes[0])][:2]
            self.warnings.append(
                f"Case names look like several scans of one patient ({', '.join(example)}). If they are, name the "
                "patients with --patient or --patients: else the intervals are too narrow."
            )

    def _refuse_two_patients(self) -> None:
        """Refuse a case that is of one patient in one line and of another in the next."""
        lines = self.frame[["dataset", "case", "patient"]].drop_duplicates()
        twice = lines[lines.duplicated(["dataset", "case"])]
        if len(twice):
            case = twice["case"].iloc[0]
            names = sorted(lines.loc[lines["case"] == case, "patient"])[:2]
            raise BenchError(
                f"{self.where(int(self.frame.index.get_loc(twice.index[0])))}: case {case!r} is of patients "
                f"{names[0]!r} and {names[1]!r}; correct the column, or name another with --patient"
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
            fraction=0,  # of labels: no table says it
        ).drop(columns=["run", "pretraining"])

    def _roles(self, measures: Mapping[str, Measure]) -> Iterator[Role]:
        """Yield what was taken for what."""
        frame = self.frame
        layouts = dict.fromkeys(part.raw.layout for part in self.parts)
        files = [part.raw.shown for part in self.parts]
        yield Role("Files", ", ".join(layouts), _listed(files))
        for key in ("method", "patient", "case", "run", "pretraining", "fold", "dataset", "target"):
            names = list(frame[key].cat.categories)
            if key in self.origin:
                yield Role(TITLES.get(key, key.capitalize()), self.origin[key], _listed(names))
            elif key == "patient":
                yield Role("Patient", "the case: each is one patient", f"{len(names)}")
            elif key == "run":
                yield Role("Run", "no column", "each method has one run")
        for name, measured in measures.items():
            way = "higher is better" if measured.higher else "lower is better"
            unit = {"1": "shares of one", "": "its own unit"}.get(measured.unit, measured.unit)
            yield Role(
                f"Metric {name}", self.origin.get("metric", ""), f"{way} ({measured.why}), {unit}"
            )


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


# Shares of one and percent: which of them the scores of a metric are, and whether all are one of them.
PERCENT, SHARE = "percent", "share"
MOST_PERCENT = 100.5
FEW = 0.02  # of scores may look like the other unit
# shares that go from 0 to 1, whoever computes them
BOUNDED = SHARES - {"score", "mainscore", "map", "ap", "kappa", "qwk", "mcc", "ssim"}
GROUP = ("dataset", "target", "method")


class Units:
    """Brings the scores of each metric to shares of one.

    Args:
        frame: the joined table.
        where: returns the file and line of a row, for messages.
        unit: ``1`` or ``%``: of all shares, unchecked; "" to find out.

    Raises:
        BenchError: the unit is another.
    """

    def __init__(self, frame: pd.DataFrame, where: Callable[[int], str], unit: str) -> None:
        if unit not in ("", "1", "%"):
            raise BenchError(f"--unit {unit}: is neither 1 nor %")
        self.frame, self.where, self.unit = frame, where, unit
        self.values = frame["value"].to_numpy(copy=True)

    def of(self, measure: Measure, at: np.ndarray) -> tuple[Measure, bool]:
        """Return what a metric is measured in, and whether it was in percent; change its values to shares.

        Args:
            measure: as its name tells.
            at: the rows of this metric.

        Raises:
            BenchError: some are shares and some percent, or one is beyond the bounds.
        """
        measure = self._shares(measure, at)
        if measure.unit != "1":
            return measure, False
        stated = {"1": SHARE, "%": PERCENT}.get(self.unit)
        scale = stated or self._scale(measure.name, at)
        self._refuse_beyond(measure.name, at, 100.0 if scale == PERCENT else 1.0)
        if scale == PERCENT:
            self.values[at] /= 100
        elif np.nanmax(np.abs(self.values[at]), initial=0) > 1.5:
            measure = replace(measure, unit="")
        return measure, scale == PERCENT

    def _shares(self, measure: Measure, at: np.ndarray) -> Measure:
        """Take scores of a metric that no name tells of for shares where all are from 0 to 1."""
        scores = self.values[at][~np.isnan(self.values[at])]
        declared = metric_in(measure.name) or measure.unit
        if declared or not len(scores) or scores.min() < 0 or scores.max() > 1:
            return measure
        return replace(measure, unit="1")

    def _refuse_beyond(self, name: str, at: np.ndarray, most: float) -> None:
        """Refuse an overlap or a rate that is below 0 or above all of its unit."""
        if metric_in(name) not in BOUNDED:
            return
        beyond = (self.values[at] < 0) | (self.values[at] > most * (1 + 1e-6))
        if beyond.any():
            first = int(at[np.flatnonzero(beyond)[0]])
            raise BenchError(
                f"{self.where(first)}: {name} of {self.values[first]:g} is not between 0 and {most:g}; correct it, "
                "or name another metric with --metric or --score"
            )

    def _scale(self, name: str, at: np.ndarray) -> str:
        """Return whether the scores of a metric are shares or percent."""
        size = np.abs(self.values[at])
        large, small = size > 1.5, (size > 0.02) & (size <= 1)
        if not large.any():
            return SHARE
        self._refuse_scales(name, at, large, small)
        if np.count_nonzero(small) > FEW * np.count_nonzero(large | small):
            rows = [int(at[np.flatnonzero(which)[0]]) for which in (small, large)]
            first, second = (f"{self.where(row)} has {self.values[row]:g}" for row in rows)
            raise _mixed(name, f"{first}, {second}")
        return PERCENT if np.nanmax(size) <= MOST_PERCENT else SHARE  # of more neither is true

    def _refuse_scales(
        self, name: str, at: np.ndarray, large: np.ndarray, small: np.ndarray
    ) -> None:
        """Refuse methods of which one has shares and another percent, on one target."""
        methods = self.frame["method"].cat.categories
        codes = [self.frame[key].cat.codes.to_numpy()[at].astype(np.int64) for key in GROUP]
        sizes = [len(self.frame[key].cat.categories) for key in GROUP]
        group = (codes[0] * sizes[1] + codes[1]) * sizes[2] + codes[2]
        present, of_row, count = np.unique(group, return_inverse=True, return_counts=True)
        big, little = (np.bincount(of_row, which, len(present)) for which in (large, small))
        share, percent = (little > 0) & (big == 0), 2 * big > count
        for target in np.unique(present // sizes[2]):
            of_target = present // sizes[2] == target
            shares, percents = (
                methods[present[of_target & which] % sizes[2]] for which in (share, percent)
            )
            if len(shares) and len(percents):
                raise _mixed(name, f"method {shares[0]!r} has 0 to 1, {percents[0]!r} percent")


def _mixed(name: str, text: str) -> BenchError:
    return BenchError(
        f"{name}: units are mixed: {text}; convert all to one unit, or give --unit 1 or --unit % for all"
    )
