"""What a cluster check says of a card."""

import re
from types import SimpleNamespace

import pytest
import torch
from one_line import refusal

from bench.executors.slurm import check, squeue
from bench.executors.slurm.profile import Profile


@pytest.mark.parametrize(
    ("supported", "text"),
    [
        ((True, True), "bf16 is fast"),
        ((False, True), "emulated and slow: use fp16"),
        ((False, False), "not supported: use fp16"),
    ],
)
def test_a_card_is_told_with_memory_driver_and_what_bf16_does(monkeypatch, supported, text):
    """No card is here: torch's answers are stood in for."""
    native, emulated = supported
    cuda = torch.cuda
    memory = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(cuda, "get_device_properties", lambda number: memory)
    monkeypatch.setattr(cuda, "get_device_name", lambda number: "H100")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12040, raising=False)
    monkeypatch.setattr(
        cuda,
        "is_bf16_supported",
        lambda including_emulation=True: emulated if including_emulation else native,
    )
    assert check._card().startswith("H100, 80 GiB, the driver supports CUDA 12.4, ")
    assert text in check._card()


def test_without_slurm_one_line_says_so_and_no_folder_is_made(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refusal(capsys, "cluster", "check", "--out", tmp_path / "out")
    assert said.startswith("bench: no sbatch on this machine, so SLURM is not available here; ")
    assert not (tmp_path / "out").exists()


ONE = "PartitionName=gpu Default=YES DefaultTime=NONE MaxTime=UNLIMITED JobDefaults=(null) DefMemPerNode=UNLIMITED"
PER_CPU = {"DefMemPerNode=UNLIMITED": "DefMemPerCPU=1000"}
SHORT, HOUR = {"Time=NONE": "Time=00:03:00"}, {"UNLIMITED JobDefaults": "01:00:00 JobDefaults"}
PASSED = {"additional_parameters": {"mem": "0", "time": "1:00"}}
SITES = {  # a profile, a partition, the site: the memory and the time that a pretraining gets
    "per cpu": ({}, PER_CPU, "", "NO 1000 MB .*CPU 1000 MB x 1. in partition gpu; .* needs 1024 MB: set 'mem_gb'", ""),
    "cpus": ({"cpus": 4}, PER_CPU, "", "ok 4000 MB .the site's DefMemPerCPU 1000 MB x 4", ""),
    "processes": ({"processes": 2}, {}, "DefMemPerCPU = 600", "NO 1200 MB .*PerCPU 600 MB x 2. .* needs 2048 MB", ""),
    "per node": ({}, {"Node=UNLIMITED": "Node=512"}, "DefMemPerCPU = 9000", "NO 512 MB .*PerNode 512 MB x 1", ""),
    "per gpu": ({"gpus": 2}, {"(null)": "DefCpuPerGPU=2,DefMemPerGPU=8000"}, "", "ok 16000 MB .*GPU 8000 MB x 2", ""),
    "gres": ({"gres": "gpu:a100:3"}, {}, "JobDefaults = DefMemPerGPU=300", "NO 900 MB .*PerGPU 300 MB x 3", ""),
    "no default": ({}, {}, "DefMemPerNode = UNLIMITED", "ok all .*sets no default", "ok no limit .the site's MaxT"),
    "stated": ({"mem_gb": 0.5}, PER_CPU, "", "NO 512 MB .stated in the profile", ""),
    "passed": ({"slurm": {"mem_per_cpu": "2G"}, "cpus": 3}, {}, "", "ok 6144 MB .stated", ""),
    "option": ({"slurm": PASSED}, {}, "", "ok all memory of the node .stated", "NO 1 min .stated"),
    "default time": ({}, SHORT, "", "", "NO 3 min .the site's DefaultTime. .* needs 4 min: set 'minutes'"),
    "warning": ({"signal": 60}, SHORT, "", "", "ok 3 min .the site's DefaultTime"),
    "longest": ({}, HOUR, "", "", "ok 60 min .the site's MaxTime"),
    "above it": ({"minutes": 90}, HOUR, "", "", "NO 90 min .stated in the pro.* MaxTime is 60 min: lower 'minutes'"),
    "other": ({"partition": "cpu"}, {}, "", "ok all memory .*SLURM does not say", "ok no limit .SLURM does not say"),
    "named": ({"partition": "cpu,debug"}, {}, "", "NO 1 MB .* in partition debug", ""),
}  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "changes", "config", "memory", "time"), SITES.values(), ids=SITES
)
def test_the_memory_and_time_of_a_task_are_told_and_too_little_is_a_finding(
    monkeypatch, tmp_path, stated, changes, config, memory, time
):
    """``scontrol``'s answers are stood in for; no task is submitted."""
    text = ONE
    for before, after in changes.items():
        text = text.replace(before, after)
    answers = {"config": config, "partition": f"{text}\nPartitionName=debug DefMemPerNode=1\n"}
    monkeypatch.setattr(squeue, "_call", lambda command: (answers.get(command[-1]), ""))
    monkeypatch.setattr(squeue, "require", lambda: None)
    monkeypatch.setattr(check._Probe, "run", lambda *_, **__: iter(()))
    monkeypatch.delenv("SBATCH_PARTITION", raising=False)
    told = {
        f.check: f"{'ok' if f.ok else 'NO'} {f.detail}"
        for f in check.check(Profile(**stated), tmp_path, 1)
    }
    for name, line in (("memory", memory), ("time", time)):
        *_, said = (detail for key, detail in told.items() if key.endswith(f"pretraining: {name}"))
        assert re.match(line, said), said


@pytest.mark.parametrize(
    ("text", "seconds"),
    {
        "90": 5400,
        "5:30": 330,
        "1:30:00": 5400,
        "2-12": 216000,
        "1-00:00:30": 86430,
        "UNLIMITED": None,
        "": None,
    }.items(),
)
def test_times_are_read_as_slurm_spells_them(text, seconds):
    assert squeue.seconds(text) == seconds
