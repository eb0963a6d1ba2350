"""The referee for everybody's tables: scores of methods by case, from any tool, and what may be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from bench.extras.judge.judgement import Judgement

__all__ = ["judge"]


def judge(  # noqa: PLR0913 - the flags of the command
    table: pd.DataFrame | str | Path | Sequence[str | Path],
    *,
    baseline: str = "",
    higher: bool | None = None,
    region: float | None = None,
    patients: str | Mapping[str, str] = "",
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    wide: str = "",
    unit: str = "",
    infinite: str = "",
    **columns: str,
) -> Judgement:
    """Judge the methods of a table of scores.

    Args:
        table: a pandas table with a row per score, or a column per method, or files that ``bench judge`` reads.
        baseline: the method that all others are compared with; without one every pair is compared.
        higher: whether a higher score is better, where the metric's name does not say so.
        region: of equivalence, in the unit of the table (percent, where it has percent); default 0.01 of
            shares, none of other units.
        patients: a regular expression whose group is the patient of a case, or case -> patient.
        only: ``COLUMN=VALUE``: these rows alone; several of one column add up.
        without: columns that count as not there.
        wide: what the columns of numbers are: ``methods``, ``targets``, ``metrics`` or ``cases``.
        unit: ``1`` or ``%`` of all shares, unchecked.
        infinite: what an infinite score counts as: a number, or ``missing``.
        **columns: role -> column: ``method case patient run pretraining fold dataset target metric score``;
            ``-`` for none.

    Raises:
        BenchError: the table cannot be judged; one line says what, where and what to do.
    """
    from bench.errors import BenchError, unknown
    from bench.extras.judge import tables
    from bench.extras.judge.columns import ROLES, WIDE
    from bench.extras.judge.judgement import judged
    from bench.extras.judge.score_table import Options, score_table

    for role in columns:
        if role not in ROLES:
            raise BenchError(f"judge: {unknown('role of a column', role, ROLES)}")
    if wide and wide not in WIDE:
        raise BenchError(f"wide={wide!r}: is none of {', '.join(WIDE)}")
    options = Options(columns, wide, higher, patients, only, without, unit, infinite)
    if isinstance(table, (str, Path)):
        raw = list(tables.every([Path(table)]))
    elif isinstance(table, (list, tuple)):
        raw = list(tables.every([Path(path) for path in table]))
    else:
        raw = [tables.from_frame(table)]
    return judged(score_table(raw, options), baseline, region)
