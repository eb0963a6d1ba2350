"""A job's peak is its own, whatever the process held before."""

import numpy as np
import pytest

from bench.runtime import memory
from bench.runtime.memory import Peak

LARGE = 200  # MB


def held():
    return np.ones(LARGE * 2**17)


def test_an_earlier_job_of_the_process_is_forgotten():
    first = Peak()
    if "peak_memory_mb" not in first.facts():
        pytest.skip("this system does not let a process forget its peak")
    held()
    before = first.facts()["peak_memory_mb"]
    second = Peak()
    assert second.facts()["peak_memory_mb"] < before - LARGE / 2
    held()
    assert second.facts()["peak_memory_mb"] > before - LARGE / 2


@pytest.mark.parametrize("children", [0, 2])
def test_where_nothing_is_forgotten_there_is_no_number(tmp_path, monkeypatch, children):
    monkeypatch.setattr(memory, "PROCESS", tmp_path)  # no status, as on other systems
    assert Peak().facts(children) == {}
    (tmp_path / "status").write_text("VmHWM:\t  900000 kB\nVmRSS:\t  100000 kB\n")  # takes it, does nothing
    assert Peak().facts(children) == {}


def test_processes_that_an_earlier_job_started_are_not_counted(monkeypatch):
    monkeypatch.setattr(memory, "_of_children", lambda: 500.0)
    assert "peak_memory_mb" not in Peak().facts(2)
    peaks = iter([500.0, 600.0])
    monkeypatch.setattr(memory, "_of_children", lambda: next(peaks))
    found = Peak().facts(2)
    assert not found or found["peak_memory_mb"] > 1200


def test_a_devices_peak_is_reset_with_the_job(monkeypatch):
    class Cuda:
        peak = 7 * 2**20

        def is_initialized(self):
            return True

        def reset_peak_memory_stats(self):
            self.peak = 0

        def max_memory_allocated(self):
            return self.peak

    cuda = Cuda()
    monkeypatch.setattr(memory, "_cuda", lambda: cuda)
    peak = Peak()
    assert "peak_device_mb" not in peak.facts()
    cuda.peak = 3 * 2**20
    assert peak.facts()["peak_device_mb"] == 3.0
