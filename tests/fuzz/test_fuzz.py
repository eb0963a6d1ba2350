"""Damaged input of every kind ends in one line or is read: no other exception, hang, crash or flood."""

import multiprocessing
import os
import signal
import time
import warnings

import pytest
import run
from hypothesis import strategies as st

TARGETS = {  # executions, and those of the slow part
    "volumes_target:Volumes": (400, 100_000),
    "volumes_target:Msd": (100, 8_000),
    "protocol_target:Protocols": (30, 7_000),
    "records_target:Records": (2, 500),
    "checkpoints_target:Checkpoints": (60, 4_500),
}
BAD = {  # what an execution may do, and what is told then
    "crash": (lambda: os.kill(os.getpid(), signal.SIGSEGV), "Segmentation fault"),
    "hang": (lambda: time.sleep(60), "Timeout (0:00:01"),
    "slow": (lambda: sum(range(2_000_000)), "slow: "),
    "memory": (lambda: bytearray(3 << 30), "MemoryError"),
    "warn": (lambda: warnings.warn("x", stacklevel=1), "UserWarning: x"),
    "wrong": (lambda: {}["x"], "KeyError: 'x'"),
}


class Bad:
    """A target that reads a number, and not well those above 100, as ``BENCH_FUZZ_BAD`` says."""

    seconds = 0.01

    def __init__(self, folder):
        self.warm = 2

    def once(self, draw):
        self.warm -= 1
        if draw(st.integers(0, 200)) > 100 and self.warm < 0:
            BAD[os.environ["BENCH_FUZZ_BAD"]][0]()


def exit_of(target, *given):
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=run.child, args=(*target.split(":"), *given))
    child.start()
    child.join()
    return child.exitcode


@pytest.mark.parametrize(
    "some", [0, pytest.param(1, marks=pytest.mark.slow)], ids=["few", "100 000"]
)
@pytest.mark.parametrize("target", TARGETS)
def test_damaged_input_is_refused_in_one_line_or_read(target, some, tmp_path):
    seed = int(os.environ.get("BENCH_FUZZ_SEED", "1")) if some else 0
    assert exit_of(target, tmp_path, TARGETS[target][some], seed) == 0


@pytest.mark.parametrize("how", BAD)
def test_the_engine_sees(how, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("BENCH_FUZZ_BAD", how)
    assert exit_of("test_fuzz:Bad", tmp_path, 20, 0, 1.5 if how == "hang" else run.HANG)
    told = capfd.readouterr().err
    assert BAD[how][1] in told
    assert how in ("crash", "hang") or "Draw 1: 101" in told  # the smallest that does it
