"""``bench cluster check``, ``bench cancel`` and a pretraining in two processes, on a real cluster."""

import csv
import json
import os
import subprocess

import pytest
from daemons import wait
from smoke import BENCH, Smoke, profile
from trial import Trial

from bench.extras.live.pages import ServedPage, Source
from bench.store import Store

pytestmark = pytest.mark.slurm


def bench(cluster, folder, *words, timeout=200):
    environment = {**os.environ, **cluster.daemons.environment, "OMP_NUM_THREADS": "1"}
    how = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    return subprocess.run([*BENCH, *map(str, words)], timeout=timeout, **how)


def test_a_profile_that_works_is_told_so_and_leaves_nothing(cluster, tmp_path):
    profile(tmp_path, nodes=2)
    words = ("cluster", "check", "sandbox", "--out", "out", "--wait", 90, "--json")
    done = bench(cluster, tmp_path, *words)
    found = {entry["check"]: entry for entry in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert found["pretraining: processes"]["detail"] == "2 of 2 processes trained together"
    assert found["pretraining: requeue"]["detail"].startswith("back after")
    assert any(name.endswith("shared folder") for name in found)
    assert list((tmp_path / "out" / "slurm").iterdir()) == []
    assert wait(lambda: not cluster.queue(), 30)


def test_a_profile_that_asks_for_too_much_says_what(cluster, tmp_path):
    profile(tmp_path, partition="nowhere")
    done = bench(cluster, tmp_path, "cluster", "check", "sandbox", "--out", "out")
    assert done.returncode == 2
    assert "Invalid partition name specified" in done.stderr
    assert "Traceback" not in done.stderr


def test_cancelling_empties_the_queue_and_ends_the_command(cluster, cell, trial):
    trial.start()
    trial.hit(step=1)
    done = bench(cluster, trial.folder, "cancel", "--out", trial.out)
    assert done.returncode == 0 and "tasks cancelled" in done.stdout
    assert wait(lambda: not cluster.queue(), 30)
    assert trial.end() == 1
    assert "taken back by 'bench cancel'" in trial.text()
    again = bench(cluster, trial.folder, "cancel", "--out", trial.out)
    assert again.stdout == "nothing in the queue\n"
    assert trial.again() == 0
    trial.check()


def test_a_page_says_which_task_does_what_also_when_the_command_is_gone(cell, trial):
    attempt = trial.begin()
    with attempt.slowed():
        trial.kill()
        assert ServedPage(Source(cell.path)).draw(Store(trial.out)) == ()
        page = (trial.out / "reports" / "smoke" / "index.html").read_text()
    assert 'data-state="unattended"' in page and "0 of 1 cells" in page
    assert f"SLURM {attempt.task} on {attempt.host}, process {attempt.pid}" in page
    assert trial.again() == 0
    trial.check()
    assert "data-state" not in (trial.out / "reports" / "smoke" / "index.html").read_text()


def test_a_pretraining_in_two_processes_on_two_nodes_has_the_losses_of_one(cluster, tmp_path):
    smoke = Smoke.make(tmp_path, pretrain=3, finetune=2, only=("row=simclr3d", "fraction=100"))
    trial = Trial(cluster, smoke, tmp_path / "trial")
    try:
        trial.profile(nodes=2)
        assert trial.again() == 0, trial.text()
        (job,) = [p.parent for p in trial.out.glob("jobs/*/weights.safetensors")]
        assert json.loads((job / "manifest.json").read_text())["provenance"]["processes"] == 2

        def totals(folder):
            lines = (folder / "curve.csv").read_text().splitlines()
            return [float(row["total"]) for row in csv.DictReader(lines)]

        two, one = totals(job), totals(tmp_path / "local" / "jobs" / job.name)
        assert len(two) == 3
        assert two[0] == pytest.approx(one[0], rel=1e-5)
    finally:
        trial.close()
