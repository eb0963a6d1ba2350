"""Every protocol that ships: it loads at each of its scales, and what it names is there."""

import csv
import re
from pathlib import Path

import pytest

from bench import registry
from bench.document import parse
from bench.protocol import PAPERS, read

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(p for p in (ROOT / "protocols").rglob("*.yaml") if "settings" not in p.parts)
SCALED = [
    pytest.param(path, scale, id=f"{path.relative_to(ROOT / 'protocols')}-{scale}")
    for path in FILES
    for scale in ["paper", *parse(path).value.get("scales", {})]
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_it_opens_with_what_it_reproduces_the_number_the_cost_and_the_command(path):
    head = path.read_text().split("title:")[0]
    for said in ("Reproduces", "Expected", "Cost", "Command"):
        assert said in head, f"{path}: the opening comment lacks {said!r}"
    assert f"bench run {path.relative_to(ROOT).as_posix()}" in head


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_what_a_row_calls_published_is_printed_in_the_papers_table(path):
    protocol = read(path, "paper")
    if path.parent.name in PAPERS:
        assert (protocol.paper, protocol.table) == (path.parent.name, path.stem)
    named = {n: r.published for n, r in protocol.rows.items() if r.published}
    if not protocol.paper:
        assert not named
        return
    assert protocol.paper in PAPERS and path.parent.name == protocol.paper and protocol.table
    with (ROOT / "results" / "published" / f"{protocol.paper}.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["table"] == protocol.table]
    # a gain told in the text is no row's score
    rows = [r for r in rows if not r["metric"].endswith("_gain")]
    if rows and not any(r["method"] for r in rows):  # what is printed is of data sets
        assert not named and any(view.draw == "mixture" for view in protocol.layout.views)
        return
    if not rows:  # a figure prints none, or a table is lost, and the protocol says so
        assert not named and "prints no numbers" in protocol.expected
        return
    assert named, "no row of this table is compared with what the paper printed"
    for name, text in named.items():
        method, _, note = (p.strip() for p in text.partition("|"))
        hits = [r for r in rows if r["method"] == method and r["note"].startswith(note)]
        assert hits, f"{path}: row {name!r} names {text!r}, which the paper's table has not"
        datasets = {t.dataset for t in protocol.finetune}
        assert {r["dataset"] for r in hits} & datasets, f"{path}: row {name!r}: none on {datasets}"


@pytest.mark.parametrize(("path", "scale"), SCALED)
def test_a_text_claims_nothing_that_rows_or_the_machine_may_break(path, scale):
    protocol = read(path, scale)
    lists = (*protocol.notes, *protocol.assumed, *protocol.deviations)
    said = " ".join((protocol.title, protocol.about, *lists)).lower()
    if any(row.params or row.pretrain for row in protocol.rows.values()):
        assert not re.search(r"keeps its paper|same for all", said)
    if any(row.finetune for row in protocol.rows.values()):
        assert not re.search(r"one learning rate for all[;,.]", said)
    # phantoms stand in where data is lacking: the page says of the rows whether they did
    assert not re.search(r"\bsynthetic (hippocampus|data)|phantoms$", said)


def test_names_of_protocols_are_unique_groups_are_rows_and_phantoms_are_of_data_that_is_read():
    protocols = [read(path, "paper") for path in FILES]
    assert len({protocol.name for protocol in protocols}) == len(protocols) > 0
    for protocol in protocols:
        grouped = [r for rows in protocol.layout.groups.values() for r in rows]
        assert set(grouped) <= {*protocol.rows, *protocol.published_only}
        assert len(set(grouped)) == len(grouped)
        assert protocol.layout.metric in protocol.metrics
        used = {t.dataset for t in protocol.finetune}
        used |= {m.dataset for m in protocol.pretrain.datasets} if protocol.pretrain else set()
        assert set(protocol.phantoms) <= used & set(registry.names("dataset"))


@pytest.mark.parametrize("dims", [2, 3])
def test_every_method_stands_in_the_protocol_of_its_dimensions(dims):
    rows = read(ROOT / f"protocols/methods/{dims}d.yaml", "smoke").rows.values()
    methods = {name: registry.load("method", name) for name in registry.names("method")}
    assert {row.method for row in rows} == {
        n for n, m in methods.items() if m.any_dims or m.dims == dims
    }
