"""Which finished job is meant by the name of a row: its pretraining, or one of its fine-tunings.

The records of an output folder tell: each cell names the job that scored it and the weights that it began
from. So do the notes that each run leaves of its plan, for jobs of which no records are there any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import digest
from bench.errors import BenchError, first_of, unknown
from bench.job import MANIFEST
from bench.record import CELL, COLUMNS, frame, read_rows
from bench.store import Store, read_json

if TYPE_CHECKING:
    import pandas as pd

PRETRAIN, FINETUNE = "pretrain", "finetune"
KINDS = {PRETRAIN: "pretrainings", FINETUNE: "fine-tunings"}
# what --only takes, in the order in which a list of several jobs is told apart: the column of the records
KEYS = {
    "protocol": "protocol",
    "scale": "scale",
    "dataset": "section",
    "fraction": "fraction",
    "fold": "fold",
    "seed": "seed",
    "pretrain_seed": "pretrain_seed",
}
NOTES = ".jobs.json"  # records/<protocol>.<scale>[-<of --set>].jobs.json
NOTED = (*CELL, "protocol", "scale", "dataset", "init", "job")  # columns of a note's cells
READ = (*NOTED, "status")
LISTED = 8  # jobs of one message
Only = Mapping[str, Sequence[str]]
Fits = Callable[[str], bool]


class RowWeights(NamedTuple):
    """The weights of a row as ``bench.export.weights_of`` takes them, and which of its own they are."""

    weights: str  # a job, maybe with @step
    which: str


def find(store: Store, text: str, only: Only, fits: Fits | None = None) -> RowWeights | None:
    """Return the weights of a row.

    Those that records name come first, those of notes are taken where there are none.

    Args:
        store: the output folder.
        text: a row's name; ``@step`` after it names a snapshot.
        only: values by key, of which the job has one each; keys are those of ``KEYS`` and ``kind``.
        fits: can weights of this finished job be used? Where those of some can, others are left out.

    Returns:
        None where no records are there to look in, and no notes.

    Raises:
        BenchError: no such row (names the nearest one), nothing or several jobs fit (lists them), a wrong key.
    """
    cells = _cells(store)
    if cells is None:
        return None
    rows = sorted(set(cells["row"]))
    row, step = (text, "") if text in rows else text.split("@", 1) if "@" in text else (text, "")
    if row not in rows:
        raise BenchError(
            f"{text[:40]}: no finished job has an id that begins with this; {unknown('row', row, rows)}"
        )
    left = _chosen(row, cells[cells["row"] == row], {k: v for k, v in only.items() if k != "kind"})
    pretrained = left[left["init"].str.startswith("job:")]
    kind = _kind(row, only.get("kind", ()), pretrained=len(pretrained) > 0)
    if kind == PRETRAIN:
        jobs = [init.removeprefix("job:") for init in pretrained["init"]]
        _refuse_doses(store, row, dict(zip(jobs, pretrained["job"], strict=True)))
        left = pretrained.assign(weights=[_finished(store, job) for job in jobs])
    else:
        left = left[left["status"] != "failed"]
        left = left.assign(weights=[_tuned(store, job) for job in left["job"]])
    every = left[left["weights"] != ""]
    usable = [w for w in set(every["weights"]) if fits is None or fits(w.partition("@")[0])]
    able = every[every["weights"].isin(usable)] if usable else every
    recorded = able[able["status"] != ""]
    left = able if recorded.empty else recorded
    weights = _single(row, kind, left)
    which = f"row {row!r} at scale {', '.join(dict.fromkeys(left['scale']))}"
    if passed := every["weights"].nunique() - able["weights"].nunique():
        which += f"; {passed} of its {KINDS[kind]} left out, whose network this format cannot hold"
    return RowWeights(f"{weights.partition('@')[0]}@{step}" if step else weights, which)


def _kind(row: str, kinds: Sequence[str], *, pretrained: bool) -> str:
    """Return whose weights are meant: the pretraining's, unless another kind is kinds for or there is none."""
    if len(kinds) > 1 or not set(kinds) <= KINDS.keys():
        raise BenchError(f"--only kind={kinds[-1]}: take one of {', '.join(KINDS)}")
    kind = kinds[0] if kinds else PRETRAIN if pretrained else FINETUNE
    if kind == PRETRAIN and not pretrained:
        raise BenchError(
            f"--only kind={kind}: row {row!r} runs no pretraining; name another row or kind"
        )
    return kind


def _refuse_doses(store: Store, row: str, scored: Mapping[str, str]) -> None:
    """Refuse a row whose fine-tunings mix pretrained weights, the keys, with random ones."""
    for weights, evaluation in scored.items():
        manifest = digest.manifest(store.jobs / _tuned(store, evaluation), MANIFEST) or {}
        dose = manifest.get("spec", {}).get("dose", 1)
        if dose != 1:
            raise BenchError(
                f"row {row!r} starts from {100 * dose:g} % of the weights of job {weights} and from random ones, "
                f"so no file has its weights; 'bench export {weights}' writes those of the job"
            )


def _finished(store: Store, weights: str) -> str:
    """Return the weights of a pretraining; empty where its job is not in this folder."""
    return weights if store.done(weights.partition("@")[0]) else ""


def _cells(store: Store) -> pd.DataFrame | None:
    """Return every cell of all records and notes, those of notes without a status; None without either."""
    import pandas as pd

    columns = {name: COLUMNS[name] for name in READ}
    tables = [read_rows(file, columns).drop_duplicates() for file in store.views()]
    for file in sorted((store.root / "records").glob(f"*{NOTES}")):
        cells = (read_json(file, {"cells?": [dict]}) or {}).get("cells", [])
        tables.append(frame([{**cell, "status": ""} for cell in cells], columns))
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
    """Return the only weights of some cells."""
    several = [name for name in dict.fromkeys(cells["weights"]) if name]
    if len(several) == 1:
        return str(several[0])
    if not several:
        why = "its scores came from elsewhere, or its jobs failed or did not run yet"
        raise BenchError(f"row {row!r} has no {KINDS[kind]} in this folder: {why}; name a job")
    flags = _telling(cells)
    ways = [f"{flags[name]} (job {name.partition('@')[0]})".strip() for name in several]
    what = f"row {row!r} has {len(several)} {KINDS[kind]}"
    raise BenchError(
        f"{what}; choose one by its flags or by its job id: {first_of(ways, LISTED, '; ')}"
    )


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
