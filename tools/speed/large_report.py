"""Time and memory from ten million rows to a report: reading, aggregation, all without and with figures.

    OMP_NUM_THREADS=1 python tools/speed/large_report.py [--folder runs/large] [--patients 92] [--rounds 3]

35 rows x 5 seeds x 4 sections x 4 fractions x patients x 13 targets x 3 metrics, invented and written to
``--folder`` where it lacks them. Prints a markdown table: medians of seconds, most resident MB.
"""

import json
import resource
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from options import options

from bench import registry
from bench.record import COLUMNS
from bench.store import Store

SECTIONS = range(4)
FRACTIONS = (5, 10, 50, 100)
SEEDS = range(5)
METRICS = ("dice", "nsd@1mm", "hd95")
LABELS = registry.load("dataset", "btcv").labels
UNITS = {"dice": "1", "nsd@1mm": "1", "hd95": "mm"}
TYPES = {"str": pa.large_string(), "int64": pa.int64(), "float64": pa.float64()}
SCHEMA = pa.schema([(name, TYPES[kind]) for name, kind in COLUMNS.items()])
PROTOCOL = """title: Ten million rows
scale: pilot
networks: {{net: {{network: unet3d}}}}
rows:
{rows}
pretrain: {{datasets: [{{dataset: btcv}}], steps: 1}}
finetune:
{finetune}
metrics: [{metrics}]
layout: {{columns: fractions, metric: dice, mean: Mean}}
scales: {{pilot: {{finetune: {{steps: 5}}}}}}
"""
INSIDE = """
import json, sys, time
from pathlib import Path
from bench.report import write as report
from bench.protocol import read
from bench.record import COLUMNS, read_rows
from bench.report import cells
folder, told, at, spent = Path(sys.argv[1]), {}, time.perf_counter(), time.process_time()
def tell(name):
    global at, spent
    peak = int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]) / 1024
    told[name] = time.perf_counter() - at, time.process_time() - spent, peak
    at, spent = time.perf_counter(), time.process_time()
import pandas, pyarrow.parquet
tell("import pandas and pyarrow")
protocol = read(folder / "large.yaml", "pilot", drawn=True)
table = read_rows(folder / "records" / "large.parquet", COLUMNS)
tell("read the rows")
cells.aggregate(protocol, table)
tell("aggregate")
report.write(protocol, table, folder / "plain", figures=False)
tell("all but figures: aggregate, verdicts, tables, page")
print(json.dumps(told))
"""


def names() -> list[str]:
    """Return 35 methods that read volumes, scratch first; some twice under another name."""
    result = [
        name for name in registry.names("method") if not name.endswith("2d") and name != "scratch"
    ]
    return ["scratch", *(result * 2)[:34]]


def protocol() -> str:
    methods = names()
    rows = "\n".join(
        f"  row{i:02}: {{method: {m}, network: net, title: {m} {i}}}" for i, m in enumerate(methods)
    )
    line = "  - {{name: part{}, dataset: btcv, split: even, steps: 10, fractions: {}, seeds: {}}}"
    tuned = "\n".join(line.format(s, [*FRACTIONS], [*SEEDS]) for s in SECTIONS)
    return PROTOCOL.format(rows=rows, finetune=tuned, metrics=", ".join(METRICS))


def cell(
    rng: np.random.Generator, cell_index: tuple[int, int, int, int], patients: int
) -> pa.Table:
    """Return one evaluation's rows, as a run leaves them: case by case, one in a hundred undefined."""
    row, section, fraction, seed = cell_index
    targets, n = list(LABELS.values()), patients * len(LABELS) * len(METRICS)
    shape = (patients, len(targets), len(METRICS))
    patient, target, metric = (a.ravel() for a in np.indices(shape))
    value = np.clip(rng.normal(0.6 + row / 200 + fraction / 1000, 0.1, n), 0, 1)
    value = np.where(metric == METRICS.index("hd95"), 50 * (1 - value), value)
    undefined = rng.random(n) < 0.01
    people = pa.array([f"img{p:04}" for p in range(patients)])
    first = {
        "job": f"{rng.integers(2**63):016x}",
        "protocol": "large",
        "paper": "",
        "table": "",
        "scale": "pilot",
        "section": f"part{section}",
        "row": f"row{row:02}",
        "method": names()[row],
        "network": "unet3d/base",
        "params": "{}",
        "pretrain": "btcv" if row else "none",
        "pretrain_seed": 0,
        "init": f"job:{row:016x}" if row else "random",
        "evaluation": "end_to_end",
        "dataset": "btcv",
        "task": "segmentation",
        "split": "even",
        "split_hash": "0123456789abcdef",
        "fraction": fraction,
        "n_train": fraction,
        "fold": 0,
        "seed": seed,
        "convention": "medpy/default",
    }
    many = {
        "case": pa.DictionaryArray.from_arrays(patient, people),
        "patient": pa.DictionaryArray.from_arrays(patient, people),
        "target": pa.DictionaryArray.from_arrays(target, pa.array(targets)),
        "metric": pa.DictionaryArray.from_arrays(metric, pa.array(METRICS)),
        "unit": pa.DictionaryArray.from_arrays(metric, pa.array([UNITS[m] for m in METRICS])),
        "status": pa.DictionaryArray.from_arrays(
            undefined.astype(int), pa.array(["ok", "both_empty"])
        ),
        "value": pa.array(np.where(undefined, np.nan, value)),
    }
    columns = {
        k: many[k] if k in many else pa.repeat(pa.scalar(first[k], SCHEMA.field(k).type), n)
        for k in COLUMNS
    }
    return pa.table({k: c.cast(SCHEMA.field(k).type) for k, c in columns.items()})


def write(folder: Path, patients: int) -> None:
    Store.open(folder)
    (folder / "large.yaml").write_text(protocol())
    rng, waiting = np.random.default_rng(0), []
    with pq.ParquetWriter(folder / "records" / "large.parquet", SCHEMA) as file:
        places = list(product(range(35), SECTIONS, FRACTIONS, SEEDS))
        for i, location in enumerate(places, start=1):
            waiting.append(cell(rng, location, patients))
            if len(waiting) == 256 or i == len(places):
                file.write_table(pa.concat_tables(waiting))
                waiting.clear()


def main() -> None:
    given = options(__doc__, folder="runs/large", patients=92, rounds=3)
    folder = Path(given.folder)
    if not (folder / "records" / "large.parquet").exists():
        write(folder, given.patients)
    command = [str(Path(sys.executable).with_name("bench")), "report", str(folder / "large.yaml")]
    printed: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(given.rounds):
        inside = subprocess.run(
            [sys.executable, "-c", INSIDE, str(folder)], check=True, capture_output=True, text=True
        )
        for name, measured in json.loads(inside.stdout).items():
            printed.setdefault(name, []).append(measured)
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--out", str(folder)], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        measured = time.perf_counter() - began, spent, after.ru_maxrss / 1024
        printed.setdefault("bench report, figures too", []).append(measured)
        for drawn in (folder / "reports").rglob("figures.json"):
            drawn.unlink()  # else the next round's figures are current
    rows = pq.ParquetFile(folder / "records" / "large.parquet").metadata.num_rows
    print(f"| {rows:,} rows | s | of processor time | peak memory (MB) |\n|---|--:|--:|--:|")
    for name, measured in printed.items():
        wall, spent, peak = zip(*measured, strict=True)
        print(f"| {name} | {median(wall):.2f} | {median(spent):.2f} | {max(peak):,.0f} |")
    bare = sum(
        printed[k][0][1]
        for k in ("read the rows", "all but figures: aggregate, verdicts, tables, page")
    )
    print(f"\nIn short: {bare:.0f} s of processor time without figures, {max(peak) / 1000:.1f} GB")


if __name__ == "__main__":
    main()
