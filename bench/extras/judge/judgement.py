"""The result: frozen, readable by people and programs, and asked by a build that must not go on."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import BenchError, unknown
from bench.extras.judge.judging import (
    Across,
    Judge,
    Order,
    Pair,
    Scope,
    Standing,
    main_scopes,
    title,
)
from bench.extras.judge.score_table import ScoreTable
from bench.stats.comparison import BETTER, EQUIVALENT, WEIGHTS, WORSE

Json = dict[str, object]
REQUIRED = re.compile(r"(?P<a>.+?) (?P<word>better than|worse than|equivalent to) (?P<b>.+)")
WORDS = {"better than": BETTER, "worse than": WORSE, "equivalent to": EQUIVALENT}
OF_WEIGHTS = " of these weights"
UNLEARNED = "has not learned the task (its mean is that of predicting nothing), so nothing is compared with it"


@dataclass(frozen=True, eq=False)
class Judgement:
    """What may be said of a table of scores.

    Attributes:
        table: the scores, and what was taken for what.
        baseline: the method that others are compared with, "" for none.
        standings: by scope, those over all targets first.
        across: methods over several data sets.
        orders: agreement of metrics.
    """

    table: ScoreTable
    baseline: str
    standings: tuple[Standing, ...]
    across: tuple[Across, ...]
    orders: tuple[Order, ...]

    @property
    def mains(self) -> list[Standing]:
        """One scope for each data set and metric: over its targets."""
        return main_scopes(self.standings)

    def __repr__(self) -> str:
        from bench.extras.judge.page import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from bench.extras.judge.page import as_html

        return as_html(self)

    def write(self, folder: str | Path) -> Path:
        """Write page, Markdown, LaTeX, CSV and figure into a folder; return the page."""
        from bench.extras.judge.page import write

        return write(self, Path(folder))

    def to_json(self) -> Json:
        """Return all of it as JSON has it; what is not a number is null."""
        return {
            "read": dict(self.table.columns),
            "roles": {role.what.lower(): role[1:] for role in self.table.roles},
            "notes": [*self.table.notes],
            "warnings": [*self.table.warnings],
            "pairs": [line for s in self.standings for line in _pairs(s)],
            "ranks": [line for s in self.standings for line in _ranks(s)],
            "ties": _ties(self.standings[0]),
            "standings": [_scope(s) | {"ties": _ties(s)} for s in self.standings],
            "across": [_across(across) for across in self.across],
            "kendall": [vars(order) | {"tau": _number(order.tau)} for order in self.orders],
        }

    def requirement(self, text: str) -> tuple[bool, str]:
        """Return whether a sentence holds at every data set of the first metric, and why.

        Args:
            text: ``A better than B``, ``A worse than B`` or ``A equivalent to B``; with ``of these weights``
                at its end what the verdict would be were these weights the methods.

        Raises:
            BenchError: no such sentence, or a name that is no method.
        """
        weights = text.endswith(OF_WEIGHTS)
        match = REQUIRED.fullmatch(text.removesuffix(OF_WEIGHTS).strip())
        if match is None:
            raise BenchError(
                f"--require {text!r}: is no 'A better than B', 'A worse than B' or 'A equivalent to B'"
            )
        methods = list(self.table.frame["row"].cat.categories)
        for name in (match["a"], match["b"]):
            if name not in methods:
                raise BenchError(
                    f"--require {text!r}: {unknown('method of the table', name, methods)}"
                )
        if match["a"] == match["b"]:
            raise BenchError(f"--require {text!r}: names one method twice")
        metric = next(iter(self.table.measures))
        results = [
            _holds(standing, match["a"], match["b"], WORDS[match["word"]], weights)
            for standing in self.mains
            if standing.scope.metric == metric
        ]
        return all(held for held, _ in results), "; ".join(why for _, why in results)


def judged(table: ScoreTable, baseline: str = "", region: float | None = None) -> Judgement:
    """Judge a table of scores; see ``bench.judge``."""
    if region is not None and not 0 <= region < float("inf"):
        raise BenchError(f"--region {region}: the margin of equivalence must be 0 or more")
    judge = Judge(table, baseline, region)
    standings = tuple(s for scope in judge.scopes() if (s := judge.standing(scope)) is not None)
    if not standings:
        raise BenchError(
            "nothing to compare: no data set, target and metric has scores of two methods; "
            "give scores of a second method"
        )
    unlearned = [
        ": ".join(filter(None, (title(Scope(*place, "", "")), base, UNLEARNED)))
        for place, bases in judge.unlearned.items()
        for base in bases
    ]
    if not unlearned:
        _refuse_apart(standings)
    table = replace(table, warnings=(*table.warnings, *unlearned))
    return Judgement(
        table, baseline, standings, tuple(judge.across(standings)), tuple(judge.orders(standings))
    )


def _refuse_apart(standings: tuple[Standing, ...]) -> None:
    """Refuse a table in which no two methods share a case: their names of cases differ."""
    if any(s.pairs or s.against for s in standings):
        return
    a, b = standings[0].methods[:2]
    raise BenchError(
        f"no case has scores of two methods for one target (e.g. of methods {a!r} and {b!r}); write the names of "
        "cases in the same form for all methods, or name the right column with --case"
    )


def _holds(standing: Standing, a: str, b: str, word: str, weights: bool) -> tuple[bool, str]:
    where = title(standing.scope)
    pair = standing.pair(a, b)
    if pair is None:
        return (
            False,
            f"{where}: {a} and {b} are not compared: no common case, or a baseline that has not learned the task",
        )
    judged = pair.of_weights if weights else pair.judged
    text = f"{where}: {a} against {b}: {judged.verdict}"
    if judged.verdict == WEIGHTS:
        text += f" ({pair.of_weights.verdict} of these weights)"
    return judged.verdict == word, text


def _ties(standing: Standing) -> list[list[str]]:
    return [[*group] for group in standing.ties]


def _across(across: Across) -> Json:
    critical = across.critical
    return {
        "metric": across.metric,
        "datasets": [*across.datasets],
        "friedman_p": critical.p,
        "critical_difference": critical.difference,
        "ranks": dict(zip(across.methods, critical.rank.tolist(), strict=True)),
    }


def _scope(standing: Standing) -> Json:
    return standing.scope.plain() | {
        "unit": standing.unit,
        "higher": standing.higher,
        "patients": standing.patients,
        "region": standing.region.rope if standing.region else None,
        "lacking": dict(standing.lacking),
    }


def _pairs(standing: Standing) -> list[Json]:
    pairs = standing.against or standing.pairs
    return [standing.scope.plain() | _pair(pair) for pair in pairs]


def _pair(pair: Pair) -> Json:
    c, judged = pair.judged.comparison, pair.judged
    open_ = pair.may_be_settled
    return {
        "a": pair.a,
        "b": pair.b,
        "n": c.patients,
        "runs": pair.runs,
        "difference": _number(c.difference),
        "low": _number(c.low),
        "high": _number(c.high),
        "p": _number(c.p),
        "p_holm": _number(judged.p),
        "verdict": judged.verdict,
        "why": judged.why,
        "of_these_weights": pair.of_weights.verdict,
        "p_holm_of_these_weights": _number(pair.of_weights.p),
        "p_equivalent": _number(c.p_equivalent),
        "p_equivalent_holm": _number(judged.p_equivalent),
        "detectable": _number(c.detectable),
        "region": c.rope or None,
        "runs_needed": c.needed("units", 50) if open_ else None,
        "patients_needed": c.needed("patients", 2000) if open_ else None,
        "only_a": len(pair.only_a),
        "only_b": len(pair.only_b),
    }


def _ranks(standing: Standing) -> list[Json]:
    if standing.ranks is None:
        return []
    r = standing.ranks
    columns = {name: getattr(r, name) for name in ("rank", "low", "high", "best", "mean")}
    return [
        {
            "method": method,
            **{k: _number(v[i]) for k, v in columns.items()},
            **standing.scope.plain(),
        }
        for i, method in enumerate(standing.methods)
    ]


def _number(value: float) -> float | None:
    return None if value != value else float(value)
