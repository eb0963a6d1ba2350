"""The list of the papers' tables and figures says what is here, and is current."""

import csv
import io
from collections import Counter

import pytest
import yaml

from bench import record
from bench.protocol import PAPERS, read
from bench.protocol.named import ROOT
from bench.show import papers
from bench.store import Store
from bench.typed import canonical

ITEMS = list(csv.DictReader((ROOT / papers.ITEMS).read_text().splitlines()))


def test_the_page_is_current():
    assert (ROOT / papers.PAGE).read_text() == papers.page(), "run python -m bench.show.papers"


def test_it_lists_every_item_once_and_every_protocol_and_printed_number_is_of_one():
    named = [(item["paper"], item["item"]) for item in ITEMS]
    assert len({*named}) == len(named) == 58 and Counter(p for p, _ in named).keys() == {*PAPERS}
    kinds = Counter(item["kind"] for item in ITEMS)
    assert kinds == {"table": 28, "figure": 16, "drawing": 14}  # 44 to reproduce
    files = {
        (p.parent.name, p.stem)
        for paper in PAPERS
        for p in (ROOT / "protocols" / paper).glob("*.yaml")
    }
    assert files <= {*named} - {(i["paper"], i["item"]) for i in ITEMS if i["kind"] == "drawing"}
    for paper in PAPERS:
        with (ROOT / "results" / "published" / f"{paper}.csv").open(newline="") as file:
            # of no table and no figure
            tables = {row["table"] for row in csv.DictReader(file)} - {"text"}
        assert {(paper, table) for table in tables} <= {*named}


@pytest.fixture
def here(tmp_path):
    """Return a copy of the list with one protocol, and the row of its page."""
    for path in (papers.ITEMS, "results/published", "protocols/pgl"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / papers.ITEMS).write_text(
        "paper,item,kind,what\npgl,table8,table,Spleen\npgl,fig1,drawing,idea\n"
    )
    (tmp_path / "results" / "published").mkdir()
    for paper in PAPERS:
        (tmp_path / "results" / "published" / f"{paper}.csv").write_text("table\ntable8\ntable8\n")
    return tmp_path


def state(root):
    (line,) = (line for line in papers.page(root).splitlines() if line.startswith("| Table 8 "))
    return [cell.strip() for cell in line.strip("|").split("|")][2:]


def test_a_state_is_that_of_the_file_as_it_ran(here):
    assert state(here) == ["", "not said yet", "", "", "2"]
    file = here / "protocols" / "pgl" / "table8.yaml"
    said = yaml.safe_load((ROOT / "protocols" / "pgl" / "table8.yaml").read_text())
    said |= {"assumed": ["a", "b"], "deviations": ["c"]}
    file.parent.mkdir()
    (here / "protocols" / "settings").symlink_to(ROOT / "protocols" / "settings")
    file.write_text(yaml.safe_dump(said, sort_keys=False))
    assert state(here) == ["[table8.yaml](../protocols/pgl/table8.yaml)", "planned", "2", "1", "2"]

    store, protocol = Store.open(here / "out"), read(file, "smoke")
    row = dict.fromkeys(record.COLUMNS, "") | {k: 0 for k, v in record.COLUMNS.items() if "64" in v}
    row |= {"protocol": protocol.name, "scale": "smoke", "section": "msd09_spleen", "status": "ok"}
    cells = [
        {**row, "row": name, "metric": m} for name in ("pgl", "scratch") for m in ("dice", "iou")
    ]

    def ran(**changes):
        table = record.frame([{**cells[0], **changes}, *cells[1:]])
        table.to_parquet(store.root / "records" / f"{protocol.name}.parquet", index=False)
        beside = canonical({"origin": protocol.origin})
        (store.root / "records" / f"{protocol.name}.json").write_text(beside)
        papers.take_down(store, here)
        return state(here)[1]

    assert ran() == "runs at smoke" and ran(status="failed") == "fails at smoke (1 of 2 cells)"
    assert (here / papers.RAN).read_text().splitlines()[1:] == [
        f"pgl_table8,{protocol.origin.content},2,1"
    ]
    assert ran() == "runs at smoke"
    file.write_text(yaml.safe_dump({**said, "assumed": ["a"]}, sort_keys=False))
    assert state(here)[1] == "planned"  # since edited
    papers.take_down(Store.open(here / "other"), here)  # what ran elsewhere stays known
    assert len(io.StringIO((here / papers.RAN).read_text()).readlines()) == 2


def test_every_protocol_of_a_paper_says_what_it_needs_of_a_card():
    needs = papers.weighed()
    files = [p for paper in PAPERS for p in (ROOT / "protocols" / paper).glob("*.yaml")]
    protocols = [read(file) for file in files]
    assert {p.name for p in protocols} == needs.keys() and len(needs) == 44
    edited = [p.name for p in protocols if p.origin.content != needs[p.name].content]
    assert not edited, "run python -m bench.show.papers --gpu OUT"
    for need in needs.values():
        assert need.gib > 0 and list(need.unfit) == sorted(need.unfit, reverse=True)
        assert bool(need.unfit[-1]) is bool(need.advice)


def test_a_need_is_that_of_the_file_as_it_was_counted(here):
    (here / "protocols" / "settings").symlink_to(ROOT / "protocols" / "settings")
    (here / "protocols" / "pgl").symlink_to(ROOT / "protocols" / "pgl")
    protocol = read(here / "protocols" / "pgl" / "table8.yaml")

    def row(content):
        columns = ("protocol", "content", "hours", "unknown", "gib", *papers.SIZES, "advice")
        values = (protocol.name, content, 12.5, 3, 41.26, 4, 1, 0, "")
        lines = [",".join(columns), ",".join(map(str, values))]
        (here / papers.NEEDS).write_text("\n".join(lines))
        (line,) = (x for x in papers.page(here).splitlines() if x.startswith("| pgl Table 8"))
        return [cell.strip() for cell in line.strip("|").split("|")]

    numbers = ["12.5", "3", "41.3", "4", "1", "0", ""]
    assert row(protocol.origin.content) == ["pgl Table 8", *numbers]
    assert row("earlier") == ["pgl Table 8 (an earlier state of the file)", *numbers]
