"""A job's peak is its own, whatever the process held before."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bench.runtime import memory
from bench.runtime.memory import TUNABLES, Peak, fitting_pages

LARGE = 200  # MB
# Two arrays of one size live and die in turn beside small ones that stay; tells how many were held at once.
FITTED = """
import numpy, torch
from bench.runtime.memory import Peak, keep_pages
keep_pages()
one, peak, stay = 2**24, Peak(), []
began = peak.facts()["peak_memory_mb"]
for turn in range(12):
    first = torch.ones(one)
    stay.append(torch.ones(20 + turn))
    second = torch.ones(one)
    del first
    stay.append(torch.ones(40 + turn))
    del second
print((peak.facts()["peak_memory_mb"] - began) / (one * 4 / 2**20))
"""


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
    # takes it, does nothing
    (tmp_path / "status").write_text("VmHWM:\t  900000 kB\nVmRSS:\t  100000 kB\n")
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


def test_processes_are_started_with_what_a_person_has_set_last(monkeypatch):
    monkeypatch.delenv(TUNABLES, raising=False)
    with fitting_pages():
        assert os.environ[TUNABLES].startswith("glibc.malloc.tcache_count=0:")
    assert TUNABLES not in os.environ
    monkeypatch.setenv(TUNABLES, "glibc.malloc.tcache_count=7")
    with fitting_pages():
        assert os.environ[TUNABLES].endswith(":glibc.malloc.tcache_count=7")
    assert os.environ[TUNABLES] == "glibc.malloc.tcache_count=7"


def test_arrays_fit_into_the_pages_of_those_that_are_gone():
    with fitting_pages():
        command = [sys.executable, "-c", FITTED]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2.2


def test_threads_that_start_processes_leave_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv(TUNABLES, "mine")

    def start(number):
        with fitting_pages():
            time.sleep(0.001)
            text = os.environ[TUNABLES]
            return text.count("mine") == text.count("tcache_count") == 1

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(start, range(64)))
    assert os.environ[TUNABLES] == "mine"
