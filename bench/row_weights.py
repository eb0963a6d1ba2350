"""Which finished job is meant by the name of a row: its pretraining, or one of its fine-tunings.

The records of an output folder tell: each cell names the job that scored it and the weights that it began
from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench import digest
from bench.errors import BenchError, unknown
from bench.job import MANIFEST
from bench.record import CELL, COLUMNS, read_rows
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd

PRETRAIN, FINETUNE = "pretrain", "finetune"
KINDS = {PRETRAIN: "pretrainings", FINETUNE: "fine-tunings"}
# what --only takes, in the order in which a list of several jobs is told apart: the column of the records
KEYS = {
    "protocol": "protocol",
    "dataset": "section",
    "fraction": "fraction",
    "fold": "fold",
    "seed": "seed",
    "pretrain_seed": "pretrain_seed",
}
READ = (*CELL, "protocol", "dataset", "init", "job", "status")
LISTED = 8  # jobs of one message
Only = Mapping[str, Sequence[str]]


def find(store: Store, text: str, only: Only) -> str | None:
    """Return the weights of a row as ``bench.export.weights_of`` takes them: a job, maybe with ``@step``.

    Args:
        store: the output folder.
        text: a row's name; ``@step`` after it names a snapshot.
        only: values by key, of which the job has one each; keys are those of ``KEYS`` and ``kind``.

    Returns:
        None where no records are there to look in.

    Raises:
        BenchError: no such row (names the nearest one), nothing or several jobs fit (lists them), a wrong key.
    """
    cells = _cells(store)
    if cells is None:
        return None
    rows = sorted(set(cells["row"]))
    row, step = (text, "") if text in rows else text.split("@", 1) if "@" in text else (text, "")
    if row not in rows:
        raise BenchError(f"{text[:40]}: no finished job begins so; {unknown('row', row, rows)}")
    left = _chosen(row, cells[cells["row"] == row], {k: v for k, v in only.items() if k != "kind"})
    pretrained = left[left["init"].str.startswith("job:")]
    kind = _kind(row, only.get("kind", ()), pretrained=len(pretrained) > 0)
    if kind == PRETRAIN:
        jobs = [init.removeprefix("job:") for init in pretrained["init"]]
        left = pretrained.assign(weights=[_finished(store, job) for job in jobs])
    else:
        left = left[left["status"] != "failed"]
        left = left.assign(weights=[_tuned(store, job) for job in left["job"]])
    weights = _single(row, kind, left)
    return f"{weights.partition('@')[0]}@{step}" if step else weights


def _kind(row: str, kinds: Sequence[str], *, pretrained: bool) -> str:
    """Return whose weights are meant: the pretraining's, unless another kind is kinds for or there is none."""
    if len(kinds) > 1 or not set(kinds) <= KINDS.keys():
        raise BenchError(f"--only kind={kinds[-1]}: take one of {', '.join(KINDS)}")
    kind = kinds[0] if kinds else PRETRAIN if pretrained else FINETUNE
    if kind == PRETRAIN and not pretrained:
        raise BenchError(f"--only kind={kind}: row {row!r} has no pretraining of its own")
    return kind


def _finished(store: Store, weights: str) -> str:
    """Return the weights of a pretraining; empty where its job is not in this folder."""
    return weights if store.done(weights.partition("@")[0]) else ""


def _cells(store: Store) -> pd.DataFrame | None:
    """Return every cell of all records, None where there are none."""
    import pandas as pd

    columns = {name: COLUMNS[name] for name in READ}
    files = sorted((store.root / "records").glob("*.parquet"))
    tables = [read_rows(file, columns).drop_duplicates() for file in files]
    texts = [name for name, kind in columns.items() if kind == "str"]
    return pd.concat([t.astype(dict.fromkeys(texts, str)) for t in tables]) if tables else None


def _chosen(row: str, cells: pd.DataFrame, only: Only) -> pd.DataFrame:
    """Return the cells that ``--only`` leaves of a row."""
    for key, values in only.items():
        if key not in KEYS:
            raise BenchError(f"--only {key}=: {unknown('key', key, [*KEYS, 'kind'])}")
        column = cells[KEYS[key]].astype(str)
        fits = column.isin(values) | (key == "dataset" and cells["dataset"].isin(values))
        if not fits.any():
            known = ", ".join(sorted(set(column)))
            raise BenchError(f"--only {key}={','.join(values)}: row {row!r} has {key} {known}")
        cells = cells[fits]
    return cells


def _tuned(store: Store, evaluation: str) -> str:
    """Return the fine-tuning whose predictions were scored; empty where it is not in this folder."""
    described = digest.manifest(store.jobs / evaluation, MANIFEST) or {}
    for need in described.get("needs", ()):
        manifest = digest.manifest(store.jobs / need, MANIFEST)
        if manifest is not None and manifest.get("kind") == FINETUNE:
            return str(need)
    return ""


def _single(row: str, kind: str, cells: pd.DataFrame) -> str:
    """Return the only weights of some cells.

    Raises:
        BenchError: there are several, or none in this folder.
    """
    several = [name for name in dict.fromkeys(cells["weights"]) if name]
    if len(several) == 1:
        return str(several[0])
    if not several:
        why = "none is in this folder: its scores came from elsewhere, or its jobs failed"
        raise BenchError(f"row {row!r}: of its {KINDS[kind]} {why}; name a job")
    flags = _telling(cells[cells["weights"] != ""])
    ways = [f"{flags[name]} (job {name.partition('@')[0]})".strip() for name in several[:LISTED]]
    more = f" and {len(several) - LISTED} more" if len(several) > LISTED else ""
    what = f"row {row!r} has {len(several)} {KINDS[kind]}"
    raise BenchError(f"{what}; add the flags of one, or name its job: {'; '.join(ways)}{more}")


def _telling(cells: pd.DataFrame) -> dict[str, str]:
    """Return the fewest ``--only`` flags that tell each of several weights from the others."""
    groups: list[tuple[str, Any]] = [(str(n), c) for n, c in cells.groupby("weights", sort=False)]
    flags: dict[str, list[str]] = {name: [] for name, _ in groups}
    for key, column in KEYS.items():
        values = {name: set(group[column].astype(str)) for name, group in groups}
        met = set().union(*values.values())
        if len(met) > 1 and all(len(of) == 1 for of in values.values()):
            for name, of in values.items():
                flags[name].append(f"--only {key}={min(of)}")
        if len({*map(tuple, flags.values())}) == len(groups):
            break
    return {name: " ".join(parts) for name, parts in flags.items()}
