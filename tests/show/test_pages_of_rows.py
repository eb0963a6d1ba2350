"""What a report says of the data and the pretraining behind its rows, from job folders and from rows."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from by_hand import a_job
from finished_run import CHANGES
from small_protocol import NAME

from bench import cli, records
from bench.data.roots import Roots, adapter
from bench.phantoms import synthetic
from bench.protocol import read
from bench.show import gather
from bench.show.reports import rewrite_report, write_reports

SAID = "Synthetic scans in the layout of MSD Task04 Hippocampus"


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """Return DATA with phantoms as ``bench phantom`` leaves them, and a copy under a name of its own."""
    data = tmp_path_factory.mktemp("marked")
    assert cli.main(["phantom", NAME, str(data), "--cases", "6"]) == 0
    shutil.copytree(data / NAME, data / "own")
    return data


@pytest.mark.usefixtures("undrawn")
def test_a_run_at_a_second_scale_hides_no_report_of_the_first(finished, plan_of, tmp_path):
    changes = {**CHANGES, "scales": {"pilot": {"finetune": {"steps": 3}}}}
    made = finished(changes)
    (first,) = write_reports([made.protocol], made.plan, made.store)
    plan, path = plan_of(changes, data=None, scale="pilot"), tmp_path / "test0.yaml"
    pilot = read(path, "pilot")
    for _ in range(2):  # as the pages of a run are drawn again and again
        (none,) = write_reports([pilot], plan, made.store)
    assert "rows was run yet." in none.text and first.text != none.text
    assert rewrite_report(path, "paper", made.store, None).text == first.text
    assert rewrite_report(path, "pilot", made.store, None).text == none.text
    assert (made.store.root / "records/scales/paper/test0.json").is_file()
    list(write_reports([made.protocol], made.plan, made.store))
    assert not [*made.store.root.glob("records/scales/*/*.*")]


@pytest.mark.usefixtures("undrawn")
def test_what_is_known_of_data_reaches_a_report_from_rows_alone(made, marked, tmp_path):
    made.again("pretrain", cases=10)
    made.plan.roots[NAME] = str(marked / NAME)
    made.plan.overrides = ("finetune.batch=3",)
    list(write_reports([made.protocol], made.plan, made.store))
    for job in made.store.jobs.iterdir():
        shutil.rmtree(job)
    shown = rewrite_report(tmp_path / "test0.yaml", None, made.store, tmp_path / "again")
    text, page = (shown.page.with_name(n).read_text() for n in ("table.md", "index.html"))
    assert text.startswith("# Test \\[synthetic data\\]") and f"## Dice, {SAID}" in text
    assert "(synthetic data)</span></h1>" in page and "paper scale" not in page + text
    assert re.search(rf"\| {re.escape(SAID)} +\| +10 +\| +8 +\| +2 +\|", text)
    assert "--set finetune.batch=3" in text


def test_a_folder_known_by_its_name_says_what_its_listing_says(made, marked):
    listing = marked / "own" / "dataset.json"
    told = json.loads(listing.read_text())
    for licence, known, shared in (
        ("CC-BY 4.0", "CC-BY 4.0", None),
        (None, "", None),
        (None, "", True),
        (None, "", False),
    ):
        stated = {} if shared is None else {"redistribution": shared}
        listing.write_text(json.dumps({**told, **stated, "licence": licence, "name": "Own"}))
        (marked / "own" / synthetic.MARK).unlink(missing_ok=True)
        made.plan.roots["own"] = str(marked / "own")
        section = replace(made.protocol.finetune[0], dataset="own")
        own, *_ = gather.datasets(replace(made.protocol, finetune=(section,)), made.plan)
        assert (own.title, own.labels) == ("Own", ((1, "anterior"), (2, "posterior")))
        assert (own.licence, own.redistribution, own.registered, own.synthetic) == (
            known,
            shared,
            False,
            False,
        )
    assert adapter("own", Roots(marked)).licence == "not stated"


CHANGED = {"commit": "abc123", "modified": True, "changed": "d4e5"}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([{"commit": "abc123"}], "abc123"),
        ([{"commit": "abc123", "modified": False, "changed": ""}], "abc123"),
        ([CHANGED], "abc123, modified (digest d4e5)"),
        ([{"commit": "abc123", "modified": True}], "abc123, modified"),
        ([CHANGED, {"commit": "abc123"}], "abc123; abc123, modified (digest d4e5)"),
        ([{"commit": ""}, {}], ""),
    ],
)
def test_provenance_says_whether_files_differed_from_the_commit(made, said):
    packages = {"bench": "1", "torch": "2", "monai": "3"}
    around = {"packages": packages, "device": "cpu", "threads": 1, "date": "2026-01-01"}
    chain = {str(i): {"attempts": 1, "provenance": {**around, **one}} for i, one in enumerate(made)}
    assert gather.provenance([(None, chain)])["commit"] == said


def test_pretrainings_are_by_row_and_folds_that_read_differently_are_a_range():
    def pretrain(steps, name="organs"):
        recipe = {
            "steps": steps,
            "batch": 2,
            "optimiser": {"name": "sgd", "lr": 0.1},
            "schedule": {"name": "poly"},
            "precision": "fp32",
        }
        return a_job(
            "pretrain", {"data": [{"dataset": name, "part": "all"}] * 2, "pretrain": recipe}
        )

    jobs = {"p0": pretrain(16), "p1": pretrain(16), "p2": pretrain(20), "p3": pretrain(20, "other")}
    read = {"p0": 39, "p1": 41, "p2": 10, "p3": 10}
    done = {job: {"kind": "pretrain", "cases": cases} for job, cases in read.items()}
    done["p0"]["unlabelled"], done["p1"]["unlabelled"] = 6, 4  # as manifests count them now
    behind = [
        ("a", "x", "none"),
        ("b", "p0", "m"),
        ("b", "p1", "m"),
        ("c", "p2", "m"),
        ("d", "p2", "m"),
        ("d", "p3", "another section's"),
    ]
    done["x"] = {"kind": "finetune"}
    chains = [
        (SimpleNamespace(row=row, pretrain=mix), {job: done[job]}) for row, job, mix in behind
    ]
    found = gather.pretrainings(chains, jobs)
    assert [(p.rows, p.cases, p.steps, p.datasets, p.name) for p in found] == [
        (("b",), (39, 41), (16, 16), ("organs",), "m"),
        (("c", "d"), (10, 10), (20, 20), ("organs",), "m"),
        (("d",), (10, 10), (20, 20), ("other",), "another section's"),
    ]
    assert [p.unlabelled for p in found] == [(4, 6), (0, 0), (0, 0)]


def test_a_stage_of_which_one_jobs_memory_is_not_known_has_no_peak(made):
    row = made.plan.cells[made.protocol.name][0].row

    def peak():
        table = records.collect(made.plan, made.store, made.protocol.name)
        costs = gather.costs(gather.chains(table, made.store, {}), table)
        (cost,) = [c for c in costs if c.row == row and c.stage.startswith("finetune")]
        return cost.memory_mb, cost.device_mb

    made.again("finetune", peak_memory_mb=900.0, peak_device_mb=50.0)
    assert peak() == (900.0, 50.0)
    made.again("finetune", peak_memory_mb=None)
    assert peak() == (None, 50.0)
