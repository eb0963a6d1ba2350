"""The throw-away cluster is a real one, and a run on it ends as one on this machine."""

import json
import os
import subprocess
import sys
import time
from getpass import getuser
from pathlib import Path

import pytest
from config import Cluster
from daemons import wait
from sandbox import Sandbox, SandboxError, lacking
from smoke import Smoke
from trial import Trial

from bench.executors.slurm.controller import GRACE

pytestmark = pytest.mark.slurm

SHELL = {  # of a user who likes other lists, and submits other jobs
    "SQUEUE_STATES": "RUNNING",
    "SQUEUE_FORMAT2": "jobid",
    "SQUEUE_SORT": "i",
    "SLURM_TIME_FORMAT": "relative",
    "SLURM_CLUSTERS": "far",
    "SCANCEL_STATE": "PENDING",
    "SBATCH_ARRAY_INX": "0-3",
    "SBATCH_EXPORT": "NONE",
    "SBATCH_WAIT": "1",
}


def test_its_nodes_are_idle_and_know_their_own_names(cluster):
    assert cluster.idle() == ["n1", "n2"]
    told = cluster.call("srun", "-N2", "sh", "-c", "echo $SLURMD_NODENAME $(hostname)").split("\n")
    names = {line.split()[0] for line in told}
    assert names == {"n1", "n2"}
    if cluster.own_names():
        assert {tuple(line.split()) for line in told} == {("n1", "n1"), ("n2", "n2")}


def test_it_gives_out_its_gpus(cluster):
    assert cluster.call("srun", "--gres=gpu:2", "printenv", "CUDA_VISIBLE_DEVICES") == "0,1"
    assert cluster.ask("srun", "--gres=gpu:3", "true").returncode != 0


def test_a_task_over_its_memory_is_killed(cluster, tmp_path):
    hog = "import time; x = bytearray(300 * 2**20); x[::4096] = b'1' * len(x[::4096])"
    hog = f"{hog}; time.sleep(60)"
    done = cluster.ask("srun", "--mem=100", sys.executable, "-c", hog)
    assert done.returncode not in (0, 124)
    assert "exceeded memory limit" in done.stderr


def test_nothing_is_left_of_it():
    if lacking():
        pytest.skip(lacking())
    script = Path(__file__).parents[2] / "tools" / "slurm" / "sandbox.py"
    folder = Path(f"/tmp/bench-slurm-{os.getpid()}")
    run = [sys.executable, str(script)]
    asked = ["--nodes", "1", "--cpus", "1", "--gpus", "0"]
    subprocess.run([*run, "start", str(folder), *asked], check=True, timeout=60)
    again = [*run, "start", str(folder)]
    second = subprocess.run(again, timeout=60, capture_output=True, text=True)
    assert "stop it first" in second.stderr
    pids = [int(path.read_text().split()[0]) for path in (folder / "run").glob("*.pid")]
    assert len(pids) == 3
    subprocess.run([*run, "stop", str(folder)], check=True, timeout=60)
    assert not folder.exists()
    states = [Path(f"/proc/{pid}/stat") for pid in pids]
    assert not [path for path in states if path.exists() and path.read_text().split()[2] != "Z"]


def test_it_ends_no_process_that_a_stale_pid_file_names(tmp_path):
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "run").mkdir()
        born = Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19]
        (tmp_path / "run" / "slurmctld.pid").write_text(f"{stranger.pid} {born}")
        Sandbox(tmp_path).stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_missing_slurm_is_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("daemons.SBIN", ())
    assert "apt-get install slurm-wlm munge" in lacking()
    with pytest.raises(SandboxError, match="no munged here"):
        Sandbox(tmp_path / "c").start()


@pytest.mark.skipif(bool(lacking(accounting=True)), reason=lacking(accounting=True) or "-")
def test_with_accounting_a_limit_holds():
    folder = Path(f"/tmp/bench-slurm-{os.getpid()}a")
    with Sandbox(folder, Cluster(nodes=1, accounting=True)) as made:
        made.call("sacctmgr", "-i", "modify", "user", getuser(), "set", "MaxSubmitJobs=3")
        refused = made.ask("sbatch", "--array=0-9", "-o", "/dev/null", "--wrap", "sleep 1")
        assert "AssocMaxSubmitJobLimit" in refused.stderr
        made.call("srun", "true")
        told = ("sacct", "--noheader", "--format", "State")
        # accounting comes some seconds late
        assert wait(lambda: "COMPLETED" in made.call(*told), 20)


@pytest.mark.skipif(bool(lacking()), reason=lacking() or "-")
def test_a_run_whose_command_is_killed_after_submission_ends_whole_whatever_the_users_shell_sets(
    tmp_path,
):
    smoke = Smoke.make(tmp_path, pretrain=3, finetune=2, only=("row=simclr3d",))
    jobs = {path.name for path in (tmp_path / "local" / "jobs").iterdir()}
    folder = Path(f"/tmp/bench-slurm-{os.getpid()}k")
    with Sandbox(folder, Cluster(gpus=0, max_array=1)) as made:
        trial = Trial(made, smoke, tmp_path / "trial", shell=SHELL)
        try:
            trial.profile(pack=1)
            busy = ("-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600")
            others = made.call("sbatch", *busy).split()[-1]
            run = trial.start()

            def submitted():
                arrays = trial.entries()
                return all(entry["array"] for entry in arrays) and jobs == {
                    job for entry in arrays for pack in entry["packs"] for job in pack
                }

            trial.until(submitted, "submission")
            time.sleep(GRACE + 6)  # two looks that must not take what waits for lost
            assert run.poll() is None and "failed" not in trial.text()
            trial.kill()
            made.call("scancel", others)
            trial.until(lambda: not made.queue(), "the end of all tasks")
            assert {path.name for path in (trial.out / "jobs").iterdir()} == jobs
            assert trial.again() == 0, trial.text()
            assert trial.submissions() == 1
            trial.check()
        finally:
            trial.close()


def test_a_run_on_it_ends_with_the_records_of_this_machine(cluster, tmp_path):
    smoke = Smoke.make(tmp_path, pretrain=4, finetune=4)
    trial = Trial(cluster, smoke, tmp_path / "trial")
    try:
        assert trial.again() == 0, trial.text()
        trial.check()
        manifests = trial.out.glob("jobs/*/manifest.json")
        hosts = {json.loads(p.read_text())["provenance"]["host"] for p in manifests}
        assert hosts <= {"n1", "n2"} or not cluster.own_names()
    finally:
        trial.close()
