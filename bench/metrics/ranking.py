"""Which of several predictions is best, and whether that depends on the convention.

Pure functions of the rows that ``bench score`` makes: ``case target metric value unit prediction
convention``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from statistics import fmean
from typing import Any

from bench.metrics.request import declared

DIGITS = 9  # means that agree to so many decimals are a tie
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """How the predictions stand by one metric under one convention.

    Attributes:
        metric: its name; ``signed`` ones are ranked by their size, and so are the means.
        unit: of the means.
        convention: ``medpy``, ``monai`` or ``deepmind``.
        means: prediction -> mean over the cases of each target, then over the targets; None where
            no case of any target has a value for every prediction.
        n: pairs of case and target that the means are over.
        of: pairs of case and target that were scored.
    """

    metric: str
    unit: str
    convention: str
    means: dict[str, float | None]
    n: int
    of: int

    @property
    def higher_is_better(self) -> bool:
        """Which way is better."""
        declaration = declared(self.metric)
        return declaration is None or declaration.higher_is_better

    @property
    def by_size(self) -> bool:
        """Whether the means are of absolute values: an error's direction is no merit."""
        declaration = declared(self.metric)
        return declaration is not None and declaration.signed

    @property
    def ranked(self) -> bool:
        """Whether one of two means is the better one."""
        declaration = declared(self.metric)
        return declaration is None or not declaration.neutral

    @property
    def ranks(self) -> dict[str, int | None]:
        """Prediction -> rank from 1; equals share the better rank, and the next rank is left out."""
        means = [mean for mean in self.means.values() if mean is not None]
        return {
            name: None
            if mean is None or not self.ranked
            else 1 + sum(self._better(other, mean) for other in means)
            for name, mean in self.means.items()
        }

    @property
    def order(self) -> str:
        """The predictions from the best to the worst, ``A > B = C``; empty where there is no mean."""
        ranked = sorted((rank, name) for name, rank in self.ranks.items() if rank is not None)
        sign = " > " if self.higher_is_better else " < "
        equals = groupby(ranked, key=itemgetter(0))
        return sign.join(" = ".join(name for _, name in names) for _, names in equals)

    def _better(self, mean: float, other: float) -> bool:
        gap = round(mean - other, DIGITS)
        return gap > 0 if self.higher_is_better else gap < 0


def standings(rows: Iterable[Row]) -> list[Standing]:
    """Return a standing per metric and convention, in the order of the rows.

    A case and target counts only where every prediction has a value under every convention, so that
    all means are over the same ones. Within a target its cases count alike, and targets count alike.
    """
    by_metric: dict[str, list[Row]] = {}
    for row in rows:
        by_metric.setdefault(row["metric"], []).append(row)
    return [
        standing
        for metric, of_metric in by_metric.items()
        for standing in _of_metric(metric, of_metric)
    ]


def _of_metric(metric: str, rows: list[Row]) -> list[Standing]:
    declaration = declared(metric)
    signed = declaration is not None and declaration.signed
    pairs = list(dict.fromkeys((row["target"], row["case"]) for row in rows))
    defined = Counter((row["target"], row["case"]) for row in rows if row["value"] is not None)
    values = {
        (row["convention"], row["prediction"], row["target"], row["case"]): row["value"]
        for row in rows
    }
    names = list(dict.fromkeys(row["prediction"] for row in rows))
    conventions = list(dict.fromkeys(row["convention"] for row in rows))
    complete = [pair for pair in pairs if defined[pair] == len(names) * len(conventions)]
    by_convention = []
    for convention in conventions:
        means: dict[str, float | None] = {}
        for name in names:
            targets: dict[str, list[float]] = {}
            for pair in complete:
                value = values[convention, name, *pair]
                targets.setdefault(pair[0], []).append(abs(value) if signed else value)
            means[name] = fmean(map(fmean, targets.values())) if targets else None
        by_convention.append(
            Standing(metric, rows[0]["unit"], convention, means, len(complete), len(pairs))
        )
    return by_convention


def changes(standings: Iterable[Standing]) -> list[str]:
    """Return a line for every metric whose ranking depends on the convention.

    ``hd95: medpy, monai A < B; deepmind B < A``: the best first, the sign compares the means.
    """
    orders: dict[str, dict[str, list[str]]] = {}
    for standing in standings:
        if standing.order:
            orders.setdefault(standing.metric, {}).setdefault(standing.order, []).append(
                standing.convention
            )
    return [
        f"{metric}: "
        + "; ".join(f"{', '.join(names)} {order}" for order, names in by_order.items())
        for metric, by_order in orders.items()
        if len(by_order) > 1
    ]
