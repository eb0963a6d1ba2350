"""Names that lead elsewhere: of protocols, data sets, cases, and of what lies in a shared output folder."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_prepared import write_evaluated, write_prepared

from bench.atomic import append, write_atomic
from bench.claims import Claim
from bench.data.cache import Pack, PackWriter
from bench.errors import BenchError
from bench.executors.slurm import cancel
from bench.jobs.context import RunOptions
from bench.protocol import read
from bench.report.write import write
from bench.runtime.execute import execute
from bench.show.reports import rewrite_report
from bench.store import Store

PAIR = {"method": "simclr3d", "network": "net"}
NAMES = ("../x", "a/b", "/tmp/x", "..", ".", ".hidden", "-rf", "a\x00b", "a\nb", "a\\b", "")
LONG = ("x" * 121, "é" * 61)


def told(error):
    text = str(error.value)
    assert "\n" not in text and "\x00" not in text
    return text


@pytest.mark.parametrize("name", NAMES + LONG)
@pytest.mark.parametrize("where", ["name", "finetune", "pretrain", "phantoms", "rows", "test_on"])
def test_no_name_in_a_protocol_becomes_a_path(protocol_file, where, name):
    changes = {
        "name": {"name": name},
        "finetune": {"finetune": {"dataset": name}},
        "pretrain": {"pretrain": {"datasets": [{"dataset": name}]}},
        "phantoms": {"phantoms": {name: {"cases": 3}}},
        "rows": {"rows": {"where": {**PAIR, "pretrain": {"datasets": [{"dataset": name}]}}}},
        "test_on": {"finetune": {"test_on": [{"dataset": name}]}},
    }
    with pytest.raises(BenchError) as error:
        read(protocol_file(changes[where]))
    assert "becomes the name of a file" in told(error) and f"{where}" in told(error)


def test_a_protocols_own_file_name_is_held_to_the_same(protocol_file):
    with pytest.raises(BenchError, match="becomes the name of a file"):
        read(protocol_file(name="-rf.yaml"))
    assert read(protocol_file(name="my table, 2.yaml")).name == "my table, 2"


# Case ids and listings of a data set


def test_a_case_id_is_a_key_and_never_a_path(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    ids = ("../../x", "/tmp/x", "..", "a\nb", "-rf", "x" * 500)
    array = np.ones((4, 4, 4), np.uint8)
    with PackWriter(folder, "image") as pack:
        for name in ids:
            pack.add(name, array)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["image-000.b2", "image.json", "job"]
    assert all((Pack(folder, "image")[name][:] == 1).all() for name in ids)
    (tmp_path / "prepared").mkdir()
    found = write_prepared(tmp_path / "prepared", {name: {"image": array[None]} for name in ids})
    files = {p.name for p in (tmp_path / "prepared").iterdir()}
    assert files == {"index.npz", "shard-0000.b2"}
    assert all((found.volume(name).whole() == 1).all() for name in ids)


# A shared output folder


MINE = ("thesis.png", "thesis.pdf", "profile")
REPORT = [f"table.{s}" for s in ("md", "tex", "csv")] + [f"fractions.{s}" for s in ("png", "pdf")]
REPORT += ["index.html", "figures.json"]


@pytest.fixture
def shared(tmp_path):
    """Return a report folder, and files of the user's that lie outside it."""
    mine = tmp_path / "home"
    mine.mkdir()
    for name in MINE:
        (mine / name).write_text("mine")
    folder = tmp_path / "out" / "reports" / "attack"
    folder.mkdir(parents=True)
    return folder, mine


def untouched(mine):
    return {p.name: p.read_text() for p in mine.iterdir()} == dict.fromkeys(MINE, "mine")


def test_the_memory_of_figures_cannot_have_other_files_removed(shared, report_of, tmp_path):
    folder, mine = shared
    names = ["../../../home/thesis", str(mine / "thesis"), "..", ""]
    (folder / "figures.json").write_text(json.dumps(dict.fromkeys(names, "old")))
    write(*report_of("x"), folder)
    assert untouched(mine)


def test_a_link_in_the_place_of_a_report_is_replaced_and_not_followed(shared, report_of):
    folder, mine = shared
    for name in REPORT:
        (folder / name).symlink_to(mine / "profile")
    write(*report_of("x"), folder)
    assert untouched(mine)
    assert not any((folder / name).is_symlink() for name in REPORT)


def test_neither_a_log_nor_a_file_of_the_store_follows_a_link(tmp_path, shared):
    _, mine = shared
    store = Store.open(tmp_path / "out")
    store.write_spec("0" * 16, {"a": 1})
    folder = store.work / ("0" * 16)
    for name in ("job.json", "log.txt", "failed.json", "progress.json", f"progress.{os.getpid()}"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(mine / "profile")
    store.tell("0" * 16, 1, 2, 0.5)
    store.write_spec("0" * 16, {"a": 2})
    with pytest.raises(OSError, match="symbolic links"):
        store.lost("0" * 16, "killed")
    with pytest.raises(OSError, match="symbolic links"):
        append(folder / "log.txt", "x")
    write_atomic(folder / "failed.json", "{}")
    assert untouched(mine)


ID = "0" * 16
BEHIND = [f"{n}.json" for n in ("job", "failed", "manifest", "figures", "submitted")]
BEHIND += ["claim-0001", "table.md"]
CLAIM = Claim(ID, 1, Path("claim-0001"))
WRITES = {  # below the output folder, what stands as a link there -> who would write or delete through it
    "work": lambda store: store.write_spec(ID, {"a": 2}),
    f"work/{ID}": lambda store: store.write_spec(ID, {"a": 2}),
    f"work/{ID}#claim": lambda store: store.claim(ID),
    f"work/{ID}#owner": lambda store: store.owner(ID),
    f"work/{ID}#tell": lambda store: store.tell(ID, 1, 2, 0.5),
    f"work/{ID}#fail": lambda store: store.fail(CLAIM, "why", "bug"),
    f"work/{ID}#lost": lambda store: store.lost(ID, "died"),
    f"work/{ID}#attempt": lambda store: store.attempt(CLAIM).__enter__(),
    f"work/{ID}/shards": lambda store: store.within(store.working(ID) / "shards"),
    f"jobs/{ID}": lambda store: scored(store),
    "reports/attack": lambda store: rewrite_report(store.root / "attack.yaml", None, store, None),
    **dict.fromkeys(
        ("jobs", "records", "reports", "slurm", "phantoms"), lambda s: Store.open(s.root)
    ),
    "slurm/run": lambda store: told_cancel(store),
}


def scored(store):
    outcome = execute(str(store.root), ID, RunOptions(scoring=[{"a": 1}]))
    assert outcome.state == "failed"
    raise BenchError(outcome.reason)


def told_cancel(store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.executors.slurm.squeue.require", lambda: None)
        patch.setattr("bench.executors.slurm.squeue.listed", lambda names, tries=1: {})
        cancel(store)


@pytest.mark.parametrize("place", WRITES)
def test_a_link_inside_the_output_folder_is_refused_and_nothing_behind_it_changes(
    place, tmp_path, protocol_file, report_of
):
    mine, path = tmp_path / "home", place.partition("#")[0]
    (mine / ID).mkdir(parents=True)
    for folder in (mine, mine / ID):
        for name in BEHIND:
            (folder / name).write_text('{"host": "mine", "pid": 1, "start": "1"}')
    real = Store.open(tmp_path / "real")
    (tmp_path / "out").symlink_to("real")  # the output folder itself may be a link
    store = Store.open(tmp_path / "out")
    protocol_file({"name": "attack"}, "out/attack.yaml")
    report_of("x")[1].assign(scale="paper").to_parquet(real.root / "records" / "attack.parquet")
    link = real.root / path
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_dir():
        shutil.rmtree(link)
    link.symlink_to(mine)
    before = {p: p.stat().st_mtime_ns for p in [mine, *mine.rglob("*")]}
    with pytest.raises(BenchError, match=path) as error:
        WRITES[place](store)
    assert "is a link" in told(error) and "replace it with a folder" in told(error)
    assert {p: p.stat().st_mtime_ns for p in [mine, *mine.rglob("*")]} == before


def test_a_figure_that_is_a_link_to_a_picture_is_drawn_and_not_shown(shared, report_of):
    folder, mine = shared
    write(*report_of("x"), folder)
    drawn = (folder / "fractions.png").read_bytes()
    (folder / "fractions.png").unlink()
    (folder / "fractions.png").symlink_to(mine / "thesis.png")
    write(*report_of("x"), folder)
    assert (folder / "fractions.png").read_bytes() == drawn and untouched(mine)


@pytest.mark.parametrize("job", ["../../private", "a" * 16])
def test_neither_records_nor_manifests_can_point_at_panels_elsewhere(job, tmp_path, records_of):
    _, left = records_of
    volume = np.ones((4, 4, 4), np.uint8)
    cases = {"x": (volume.astype(np.int16), volume, volume)}
    write_evaluated(tmp_path, "private", "b" * 16, cases)
    write_evaluated(tmp_path / "out" / "jobs", "a" * 16, "b" * 16, cases)
    drawn = left(job="a" * 16, case="x")()
    assert any(p.name.startswith("panels") for p in drawn.page.parent.iterdir())
    elsewhere = {"kind": "evaluate", "needs": ["f" * 16, f"../../{'b' * 16}"]}
    (tmp_path / "out" / "jobs" / ("a" * 16) / "manifest.json").write_text(json.dumps(elsewhere))
    shown = left(job=job, case="x")()
    assert not any(p.name.startswith("panels") for p in shown.page.parent.iterdir())


def test_a_run_with_hostile_names_writes_under_out_and_to_alone(attacked):
    assert attacked.codes == [0, 0]
    assert attacked.new == {"out", "to"}
    rows = pd.read_parquet(attacked.root / "out" / "records" / "attack.parquet")
    assert set(rows["row"]) == {attacked.row}
    assert len([p for p in (attacked.root / "out" / "reports").iterdir() if p.is_dir()]) == 1
