"""What other tools leave as JSON or in folders: nnU-Net, mteb, kaiko eva, Touchstone, MONAI; our own records."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError, shown
from bench.extras.judge.tables import RawTable, from_records, read, read_parquet, text_of

Json = Mapping[str, Any]
COUNTS = frozenset({"FP", "TP", "FN", "TN", "n_pred", "n_ref"})  # of nnU-Net: voxels, no scores
OVERLAPS = ("Dice", "IoU", "Jaccard")  # of nnU-Net's older summaries, which hold twenty rates
TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".json")
# of kaiko eva: no model, no task
RUN_FOLDER = re.compile(r"\d{4}-?\d{2}|offline$|online$|version_\d+$")
SCORED = frozenset({"case", "target", "metric", "value", "unit"})  # keys of bench score --json
POOLED = "crossval_results"  # of nnU-Net: all folds once more
SUMMED = ("metrics.csv", "_summary.csv")  # of MONAI: means over cases


def folder(path: Path) -> list[RawTable]:
    """Return the tables in a folder and below it.

    Raises:
        BenchError: nothing there holds scores.
    """
    if (path / "bench.json").is_file():
        records = sorted((path / "records").glob("*.parquet"))
        if not records:
            raise BenchError(f"{path}: holds no records; run a protocol with --out {path} first")
        return [read_parquet(file) for file in records]
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in TABLES and f.is_file())
    chosen = _of_scores(files)
    if not chosen:
        raise BenchError(f"{path}: no file in it holds scores; name the tables")
    return [table for file in chosen for table in read(file)]


def _of_scores(files: Sequence[Path]) -> list[Path]:
    """Return the files that hold scores of cases, by the tool that left them."""
    if any(file.name == "summary.json" for file in files):
        return _folds(files)
    if any(map(_is_mteb, files[:40])):
        return [f for f in files if f.suffix == ".json" and f.name != "model_meta.json"]
    return [file for file in files if not file.name.endswith(SUMMED)]


def _folds(files: Sequence[Path]) -> list[Path]:
    """Return nnU-Net's summaries: those of folds, and not that of all folds beside them."""
    summaries = [file for file in files if file.name == "summary.json"]
    trainers = {
        f.parent.parent.parent for f in summaries if f.parent.parent.name.startswith("fold_")
    }
    return [
        file
        for file in summaries
        if not (file.parent.name.startswith(POOLED) and file.parent.parent in trainers)
    ]


def _is_mteb(file: Path) -> bool:
    return file.suffix == ".json" and b'"mteb_version"' in file.read_bytes()[:100_000]


def from_json(path: Path) -> list[RawTable]:
    """Return a JSON file whose layout is known.

    Raises:
        BenchError: it is no JSON, or of no layout that is known.
    """
    try:
        value = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}: is no JSON ({error})") from None
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [_of_bench_score(path, value)]
    if isinstance(value, dict):
        for belongs, reader in LAYOUTS:
            if belongs(value):
                try:
                    return [reader(path, value)]
                except (KeyError, TypeError, AttributeError, ValueError) as error:
                    raise BenchError(
                        f"{path}: looks like {_title(reader)} and is not complete "
                        f"({type(error).__name__}: {error}); use another copy"
                    ) from None
    raise BenchError(
        f"{path}: its layout is not known; known are nnU-Net's summary.json, a result of mteb or kaiko eva, "
        "or a list of objects"
    )


def _of_bench_score(path: Path, records: Sequence[Mapping[str, Any]]) -> RawTable:
    """Return a list of objects; that of ``bench score --json`` says itself what its keys are.

    Of its conventions the first is kept, and no metric over all cases at once.
    """
    if not all({*record} >= SCORED for record in records):
        return from_records(path, records, "JSON")
    first = records[0].get("convention")
    usual = [record for record in records if record.get("convention") == first]
    cases = [record for record in usual if record["case"]]
    if not cases:
        raise BenchError(f"{path}: holds only values over all cases at once; add a metric of cases")
    notes = {
        f"left out: conventions other than {first}; bench score --convention sets one": records,
        "left out: values over all cases at once": cases,
    }
    roles = {"case": "case", "target": "target", "metric": "metric", "score": "value"}
    roles |= {"method": "prediction"} if "prediction" in records[0] else {}
    left_out = tuple(note for note, rows in notes.items() if len(rows) != len(usual))
    return replace(from_records(path, cases, "JSON"), roles=roles, notes=left_out)


def _title(reader: Callable[..., RawTable]) -> str:
    return (reader.__doc__ or "").partition(":")[0].removeprefix("Return ")


def _nnunet(path: Path, value: Json) -> RawTable:
    """Return nnU-Net's summary.json: a case's metrics by label."""
    if "metric_per_case" in value:
        cases = [(item["prediction_file"], item["metrics"]) for item in value["metric_per_case"]]
    else:
        cases = [(item["test"], _labels(item)) for item in value["results"]["all"]]
    records = [
        {"case": _case(file), "target": label, "metric": metric, "score": _number(path, score)}
        for file, by_label in cases
        for label, scores in by_label.items()
        for metric, score in scores.items()
        if label != "0" and metric not in COUNTS
    ]
    roles = {name: name for name in ("case", "target", "metric", "score")}
    return replace(from_records(path, records, "nnU-Net"), roles=roles, fixed=_trainer(path))


def _labels(item: Json) -> dict[str, Json]:
    """Return the overlaps of each label, of an entry of nnU-Net 1, which holds twenty rates more."""
    return {
        label: {metric: scores[metric] for metric in OVERLAPS if metric in scores}
        for label, scores in item.items()
        if isinstance(scores, dict)
    }


def _trainer(path: Path) -> dict[str, str]:
    """Return the method, data set and fold of a summary by the folders that it lies in."""
    parts = path.absolute().parts[:-1]
    fold = next((part for part in parts if part.startswith("fold_")), "")
    if fold:
        above = parts[: parts.index(fold)]
        named = {"method": above[-1], "fold": fold.removeprefix("fold_")}
    else:
        above = parts[:-1] if parts[-1].startswith((POOLED, "validation")) else parts
        named = {"method": above[-1]}
    dataset = next(
        (part for part in reversed(above[:-1]) if part.startswith(("Dataset", "Task"))), ""
    )
    return named | ({"dataset": dataset} if dataset else {})


def _case(file: str) -> str:
    """Return the name of a case: its file's, without folder and ending."""
    name = file.replace("\\", "/").rpartition("/")[2]
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif"):
        name = name.removesuffix(ending)
    return name


def _number(path: Path, value: object) -> float | None:
    """Return a number; nnU-Net's older files write NaN as text."""
    if value is None or (isinstance(value, str) and value.lower() == "nan"):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BenchError(f"{path}: has {shown(value)} where a score should be")
    return float(value)


def _mteb(path: Path, value: Json) -> RawTable:
    """Return a result of mteb: a task's main score, one for each of its subsets."""
    splits = value["scores"]
    name = "test" if "test" in splits else next(iter(splits))
    records = []
    for item in splits[name]:
        case = f"{value['task_name']}/{item.get('hf_subset', 'default')}"
        score = _number(path, item["main_score"])
        records.append({"patient": value["task_name"], "case": case, "score": score})
    folders = path.absolute().parts[:-1]
    model = next((part for part in reversed(folders) if "__" in part), folders[-1])
    roles = {"patient": "patient", "case": "case", "score": "score"}
    fixed = {"method": model, "metric": "main_score"}
    notes = [f"mteb: split {name!r} of {value['task_name']}"] if len(splits) > 1 else []
    table = from_records(path, records, "mteb")
    return replace(table, roles=roles, fixed=fixed, notes=tuple(notes))


def _eva(path: Path, value: Json) -> RawTable:
    """Return a result of kaiko eva: a metric's value in each run."""
    stages = value["metrics"]
    stage = "test" if stages.get("test") else "val"
    named = [part for part in path.absolute().parts[:-1] if not RUN_FOLDER.match(part)]
    model, task = named[-2:]
    several = len(stages[stage]) > 1
    records = [
        {
            "metric": metric.rpartition("/")[2],
            "run": run,
            "case": f"{task} {at}" if several else task,
            "score": score,
        }
        for at, metrics in enumerate(stages[stage])
        for metric, numbers in metrics.items()
        for run, score in enumerate(numbers["values"])
    ]
    roles = {name: name for name in ("metric", "run", "case", "score")}
    return replace(from_records(path, records, "kaiko eva"), roles=roles, fixed={"method": model})


def _is_eva(value: Json) -> bool:
    metrics = value.get("metrics")
    return isinstance(metrics, dict) and bool({"val", "test"} & metrics.keys())


LAYOUTS: tuple[tuple[Callable[[Json], bool], Callable[[Path, Json], RawTable]], ...] = (
    (lambda value: "metric_per_case" in value or "all" in _inner(value, "results"), _nnunet),
    (lambda value: "mteb_version" in value and "scores" in value, _mteb),
    (_is_eva, _eva),
)


def _inner(value: Json, key: str) -> Json:
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}
