"""Write ``docs/papers.md``: every table and quantitative figure of the five papers, and what is here of it.

``python docs/papers.py`` writes the page from the protocols and the published numbers;
``python docs/papers.py OUT`` first takes down what a smoke run in that folder did (``papers_smoke.csv``):

    bench run protocols/{pgl,hssl,voco,taleb,glmae}/*.yaml --scale smoke --phantoms --out OUT
"""

import csv
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ROOT / "docs" / "papers_smoke.csv"
PAPERS = {
    "pgl": "PGL (Xie et al. 2020)", "hssl": "HSSL (Zheng et al. 2021)", "voco": "VoCo (Wu et al. 2024)",
    "taleb": "Taleb et al. 2020", "glmae": "GL-MAE (Zhuang et al. 2023)",
}  # fmt: skip
HEAD = """# The papers' tables and figures

Made by `python docs/papers.py`. One protocol for each table and each figure that shows results; what only
draws an idea or a framework has none. *Assumed* counts what paper and code do not say and was taken from
elsewhere, *deviations* where the protocol knowingly differs; each is a sentence in the file and on its
page. *Printed* counts the paper's numbers for it in [results/published](../results/published/README.md),
which stand beside ours. *Smoke* is what `bench run protocols/{pgl,hssl,voco,taleb,glmae}/*.yaml --scale
smoke --phantoms` did: cells with scores, of all. It shows that a protocol runs and is drawn; its numbers,
after a few steps on synthetic scans, mean nothing. None was run at paper scale ([status](status.md)).
"""


def page() -> str:
    """Return the page."""
    from bench.protocol import read

    ran = {r["protocol"]: r for r in _rows(SMOKE)} if SMOKE.exists() else {}
    parts = [HEAD]
    for paper, title in PAPERS.items():
        printed = Counter(r["table"] for r in _rows(ROOT / "results" / "published" / f"{paper}.csv"))
        lines = [f"## {title}", "", "| item | protocol | assumed | deviations | printed | smoke |",
                 "|---|---|---:|---:|---:|---|"]  # fmt: skip
        for path in sorted((ROOT / "protocols" / paper).glob("*.yaml"), key=_order):
            protocol = read(path)
            what = protocol.title.partition(", ")[2]
            file = path.relative_to(ROOT).as_posix()
            counts = (len(protocol.assumed), len(protocol.deviations), printed[path.stem])
            cells = [f"{what[0].upper()}{what[1:]}", f"[{path.stem}](../{file})", *map(str, counts)]
            lines.append(f"| {' | '.join([*cells, _said(ran.get(protocol.name))])} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _order(path: Path) -> tuple[int, str]:
    kinds = ("table", "fig")
    return next((i for i, kind in enumerate(kinds) if path.stem.startswith(kind)), len(kinds)), path.stem


def _said(run: dict[str, str] | None) -> str:
    return f"{run['scored']} of {run['cells']}" if run else "not run"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def take_down(out: Path) -> None:
    """Write which cells of each protocol a smoke run in ``out`` has scores of."""
    import pandas as pd

    with SMOKE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("protocol", "scored", "cells"))
        for view in sorted((out / "records").glob("*.parquet")):
            table = pd.read_parquet(view)
            cells = table.groupby("job")["status"].apply(lambda s: bool((s != "failed").any()))
            writer.writerow((view.stem, int(cells.sum()), len(cells)))


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        take_down(Path(folder))
    (ROOT / "docs" / "papers.md").write_text(page(), encoding="utf-8")
