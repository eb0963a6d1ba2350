"""Processes that work through a list: results, failures, deaths and stops."""

import os
import signal
import time
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from bench.errors import BenchError, Damaged
from bench.workers import work


@contextmanager
def start(folder):
    """Give a function that squares; other tasks go wrong in their own ways."""
    entered = Path(folder) / f"{os.getpid()}"
    entered.touch()

    def do(task):
        if isinstance(task, int):
            time.sleep(0.01)
            return task * task
        if task == "mistake":
            raise BenchError("no such file")
        if task == "damaged":
            raise Damaged(Path("jobs/0/index.npz"), "its digest is another", "byte 3")
        if task == "system":
            raise OSError(28, "No space left on device", "x.b2")
        if task == "memory":
            raise MemoryError
        if task == "bug":
            return {}["key"]
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    try:
        yield do
    finally:
        entered.with_suffix(".left").touch()


def results(folder, tasks, count):
    with closing(work(iter(tasks), partial(start, str(folder)), count)) as found:
        return list(found)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_task_is_done_once_whoever_does_it(tmp_path, count):
    assert sorted(results(tmp_path, range(10), count)) == [n * n for n in range(10)]
    here = str(os.getpid())
    entered = {p.name for p in tmp_path.iterdir() if not p.suffix}
    assert entered == {here} if count == 0 else (here not in entered and 1 <= len(entered) <= count)
    assert len(list(tmp_path.glob("*.left"))) == len(entered)
    (tmp_path / "none").mkdir()
    assert results(tmp_path / "none", [], count) == []
    assert count == 0 or list((tmp_path / "none").iterdir()) == []  # no process was started


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize(
    ("task", "error", "said"),
    [
        ("mistake", BenchError, "no such file"),
        ("system", OSError, "No space left on device.*x.b2"),
        ("memory", MemoryError, None),
        ("damaged", Damaged, r"jobs/0/index.npz, byte 3: damaged \(its digest"),
    ],
)
def test_what_a_task_raises_is_raised(tmp_path, count, task, error, said):
    with pytest.raises(error, match=said) as raised:
        results(tmp_path, [1, 2, task], count)
    assert task != "damaged" or raised.value.path == Path("jobs/0/index.npz")
    assert len(list(tmp_path.glob("*.left"))) == 1  # it could save what it had


def test_a_bug_comes_with_its_place(tmp_path):
    with pytest.raises(RuntimeError, match=r"^bug: KeyError: 'key'\n(.|\n)*test_pool.py"):
        results(tmp_path, ["bug"], 1)


def test_a_process_that_is_killed_ends_the_work_and_the_others_save(tmp_path):
    with pytest.raises(BenchError, match=r"^killed: its process died \(SIGKILL; out of memory\?\)"):
        results(tmp_path, [1, 2, "killed", 3, 4, 5], 2)
    assert len(list(tmp_path.glob("*.left"))) == 1


def test_who_stops_listening_lets_all_end_their_task(tmp_path):
    with closing(work(range(1000), partial(start, str(tmp_path)), 2)) as found:
        next(found)
    entered = [path for path in tmp_path.iterdir() if not path.suffix]
    assert len(list(tmp_path.glob("*.left"))) == len(entered) > 0
