"""Questions to SLURM, on fakes of its commands."""

import pytest

from bench.errors import BenchError
from bench.executors import squeue


def test_squeue_lines_are_read_with_and_without_an_array():
    found = squeue.parse(
        "12_3|bench-a|3|RUNNING|None\n13|bench-b|N/A|PENDING|Dependency\nnoise\n"
        "14_0|bench-c|0|PENDING|(launch_failed_requeued_held)\n"
    )
    assert found["bench-a", 3].id == "12_3"
    assert found["bench-b", 0].state == "PENDING"
    assert not found["bench-b", 0].hopeless
    assert found["bench-c", 0].hopeless


def test_all_arrays_are_asked_for_in_one_call(fakes):
    log = fakes("squeue", 'echo "5|b|N/A|RUNNING|None"')
    assert list(squeue.listed({"b", "a"})) == [("b", 0)]
    assert len(log.read_text().splitlines()) == 1
    assert "--name a,b" in log.read_text()


def test_a_squeue_that_never_answers_ends_in_one_line(fakes):
    log = fakes("squeue", "echo 'error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(BenchError, match=r"no answer in 5 tries \(error: Unable to contact"):
        squeue.listed({"a"})
    assert len(log.read_text().splitlines()) == squeue.TRIES


def test_a_squeue_that_hangs_is_not_waited_for(fakes, monkeypatch):
    fakes("squeue", "exec sleep 30")
    monkeypatch.setattr(squeue, "TIMEOUT", 0.2)
    with pytest.raises(BenchError, match="did not answer in 0 s"):
        squeue.listed({"a"})


def test_accounting_that_is_off_is_no_error(fakes):
    fakes("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert squeue.states(["1"]) == {}
    fakes("sacct", 'echo "1_2|CANCELLED by 0"; echo "3|OUT_OF_MEMORY"')
    assert squeue.states(["1_2", "3"]) == {"1_2": "CANCELLED", "3": "OUT_OF_MEMORY"}


def test_a_machine_without_slurm_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="no sbatch on this machine"):
        squeue.require()


def test_what_a_site_says_of_itself_is_read(fakes):
    fakes("scontrol", 'printf "Configuration data\\nMaxArraySize            = 1001\\nKillWait = 30 sec\\n"')
    assert squeue.config() == {"MaxArraySize": "1001", "KillWait": "30 sec"}
    fakes("scontrol", "exit 1")
    assert squeue.config() == {}
