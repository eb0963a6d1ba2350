"""The output folder: one owner at a time, one publication, nothing half-written."""

import errno
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from bench import claims
from bench.claims import LEASE, Fenced, mutex
from bench.errors import BenchError
from bench.process import sight
from bench.store import Store, write_atomic

JOB = "0123456789abcdef"


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "out")


def refusing(call, number, when=lambda *given: True):
    """Return a system call that fails with an error of this number."""

    def refuse(*given):
        if when(*given):
            raise OSError(number, os.strerror(number))
        return call(*given)

    return refuse


FAT = (errno.EPERM, errno.EINVAL)  # of a hard link, of a flushed folder
POOR = {
    "links": None,
    "FAT": FAT,
    "FUSE": (errno.ENOSYS, errno.EACCES),
    "SMB": (errno.EOPNOTSUPP, errno.EINVAL),
}


@pytest.fixture(params=POOR.values(), ids=POOR)
def any_store(request, monkeypatch, tmp_path):
    """An output folder on a file system with hard links and flushed folders, and on those without."""
    if request.param is not None:
        link, flush = request.param
        is_folder = lambda handle: stat.S_ISDIR(os.fstat(handle).st_mode)  # noqa: E731
        monkeypatch.setattr(os, "link", refusing(os.link, link))
        monkeypatch.setattr(os, "fsync", refusing(os.fsync, flush, is_folder))
    return Store.open(tmp_path / "out")


def claimed(store, **held):
    """Leave a claim by somebody else, as it would lie on the disk; return its path."""
    folder = store.work / JOB
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"claim-{len(store.claims(JOB)) + 1:04d}"
    path.write_text(json.dumps(held))
    return path


def here(**other):
    """Return what a process of this host and namespace would claim with, of number this and another start."""
    held = {"host": socket.gethostname(), "pid": os.getpid(), "start": "1", "sight": sight()}
    return {**held, **other}


def dead():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def aged(path, seconds):
    """Give a file the time that was so many seconds ago."""
    os.utime(path, (time.time() - seconds,) * 2)


def full(*given, **more):
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


def made(store, claim, text="result"):
    with store.attempt(claim) as folder:
        (folder / "result.txt").write_text(text)
        store.publish(claim, folder, {"id": JOB})


def test_a_job_that_a_living_process_holds_is_not_given_out_again(store):
    assert store.claim(JOB).number == 1
    assert store.claim(JOB) is None
    assert store.owner(JOB)["pid"] == os.getpid()


def test_of_many_that_ask_at_once_one_gets_the_job(any_store):
    store = any_store
    for job in (f"{i:016x}" for i in range(20)):
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _, job=job: store.claim(job), range(8)))
        assert sum(claim is not None for claim in got) == 1
        assert [p.name for p in store.claims(job)] == ["claim-0001"]


def test_the_claim_of_a_dead_process_or_of_a_reused_number_is_taken_over_under_a_higher_one(
    any_store,
):
    store = any_store
    for gone in (here(pid=dead()), here()):
        claimed(store, **gone)
        assert store.owner(JOB) is None
    assert store.claim(JOB).number == 3


@pytest.mark.parametrize(
    "other",  # another host, another container, no /proc, another user, before sights were written down
    [
        {"host": "elsewhere"},
        *({"sight": s} for s in ("boot pid:[2] user 0", "", sight() + "0", None)),
    ],
)
def test_a_claim_whose_process_cannot_be_seen_lives_by_its_heartbeat(store, other):
    path = claimed(store, **here(**{"pid": dead(), **other}))
    assert store.owner(JOB) is not None
    assert store.claim(JOB) is None
    for seconds in (LEASE + 5, -5 * 3600):  # a heartbeat of the future owns no job until then
        aged(path, seconds)
        assert store.owner(JOB) is None


def test_an_orphan_that_comes_back_cannot_publish(store):
    orphan = store.claim(JOB)
    claimed(store, host="elsewhere", pid=1, start="1")  # somebody took it for dead
    with pytest.raises(Fenced):
        made(store, orphan)
    assert not (store.jobs / JOB).exists()
    assert not list((store.work / JOB).glob("attempt-*"))


def test_who_is_waited_for_is_said_with_what_to_do_where_it_is_suspended(store):
    code = f"{OTHER}sys.stdout.flush(); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(store.root), JOB]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    held = subprocess.Popen(command, **pipes, text=True, start_new_session=True)
    assert store.holder(JOB) == "" or held.stdout.readline() == "claim-0001\n"
    while not store.holder(JOB):
        time.sleep(0.01)
    text = store.holder(JOB)
    assert re.fullmatch(rf"process {held.pid} on \S+, since 20\d\d-\d\d-\d\d \d\d:\d\d", text)
    held.send_signal(signal.SIGSTOP)
    while not claims.is_suspended(store.owner(JOB)):
        time.sleep(0.01)
    text = store.holder(JOB)
    assert "SUSPENDED" in text and f"'kill -CONT -- -{held.pid}' lets it go on" in text
    assert f"'kill -KILL -- -{held.pid}' ends it" in text
    assert not claims.is_suspended({**store.owner(JOB), "host": "elsewhere"})
    held.send_signal(signal.SIGCONT)
    held.communicate("")
    assert store.holder(JOB) == "" and store.claim(JOB).number == 2


def test_a_long_wait_for_a_turn_is_said(store, monkeypatch):
    monkeypatch.setattr("bench.claims.LONG", 0.0)
    monkeypatch.setattr("bench.claims.POLL", 0.01)
    told, folder = [], store.root / "redo"
    with ThreadPoolExecutor(1) as pool:
        with mutex(folder):
            second = pool.submit(lambda: mutex(folder, told.append).__enter__())
            while not told:
                time.sleep(0.01)
            time.sleep(0.1)
        second.result()
    assert len(told) == 1 and told[0].startswith(f"process {os.getpid()} on ")


def test_two_containers_with_one_host_name_do_not_take_each_others_job(store):
    """The numbers of their processes mean nothing to each other; where one dies the other waits a lease."""
    command = [sys.executable, "-c", OTHER, str(store.root), JOB]
    inside = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces for this user")
    ours = store.claim(JOB)
    assert subprocess.run([*inside, *command], capture_output=True, text=True).stdout == "None\n"
    claims.check(ours)
    store.release(ours)
    done = subprocess.run([*inside, *command], capture_output=True, text=True)
    assert "claim-0002" in done.stdout
    assert store.owner(JOB) is not None  # it has ended, which nobody sees from here
    aged(store.claims(JOB)[-1], LEASE + 5)
    assert store.claim(JOB).number == 3


OTHER = """import sys
from pathlib import Path
from bench.store import Store
claim = Store(Path(sys.argv[1])).claim(sys.argv[2])
print(claim and claim.path.name)
"""


def test_the_first_to_publish_wins_and_the_second_is_told(store):
    first = store.claim(JOB)
    with store.attempt(first) as late:
        made(store, first, "first")
        (store.work / JOB).mkdir(exist_ok=True)
        late.mkdir(exist_ok=True)
        (late / "result.txt").write_text("second")
        second = claimed(store, **here())
        with pytest.raises(Fenced):
            store.publish(type(first)(JOB, 1, second), late, {"id": JOB})
    assert (store.jobs / JOB / "result.txt").read_text() == "first"


@pytest.mark.parametrize("manifest", [None, "", "{", '{"files": {}}', '{"digest": "0"}'])
def test_a_job_whose_manifest_is_lost_or_damaged_is_set_aside_by_who_publishes_it_anew(
    store, manifest
):
    (store.jobs / JOB).mkdir()
    (store.jobs / JOB / "result.txt").write_text("before")
    if manifest is not None:
        (store.jobs / JOB / "manifest.json").write_text(manifest)
    assert not store.done(JOB)
    made(store, store.claim(JOB), "after")
    assert store.done(JOB) and (store.jobs / JOB / "result.txt").read_text() == "after"
    assert (store.damaged / f"{JOB}-1" / "result.txt").read_text() == "before"


def test_what_an_attempt_left_unfinished_is_dropped_on_request_alone(store):
    first = store.claim(JOB)
    assert store.begun_by(JOB) is None
    store.begin(first, "one")
    left = [store.work / JOB / name for name in ("step-4.pt", "shards")]
    left[0].write_text("x")
    left[1].mkdir()
    store.spend(JOB, 7.0)
    store.release(first)
    second = store.claim(JOB)
    store.begin(second, "two")
    assert store.begun_by(JOB) == "two" and all(p.exists() for p in left) and store.spent(JOB) == 7
    store.drop_unfinished(second)
    assert store.begun_by(JOB) is None and store.spent(JOB) == 0
    assert not any(p.exists() for p in left)
    for damaged in ("", "x", "nan", "inf", "-1"):
        (store.work / JOB / "spent").write_text(damaged)
        assert store.spent(JOB) == 0
    assert store.claims(JOB)


def test_what_is_set_aside_is_to_do_until_it_is_done_again_and_nothing_else_is_moved(store):
    for number in (1, 2):
        made(store, store.claim(JOB))
        assert store.aside() == set()
        assert store.set_aside(store.jobs / JOB) == store.damaged / f"{JOB}-{number}"
        assert store.aside() == {JOB} and not store.done(JOB)
    assert store.set_aside(store.jobs / JOB) is None  # somebody else was quicker
    assert store.set_aside(store.work) is None and store.work.is_dir()


def test_nothing_is_set_aside_through_a_link(store, tmp_path):
    made(store, store.claim(JOB))
    (tmp_path / "elsewhere").mkdir()
    store.damaged.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        store.set_aside(store.jobs / JOB)
    assert store.done(JOB) and not list((tmp_path / "elsewhere").iterdir())


def test_publishing_clears_the_work_folder_and_leaves_no_unfinished_file(any_store):
    store = any_store
    store.write_spec(JOB, {"job": {}, "run": {}})
    made(store, store.claim(JOB))
    assert store.done(JOB)
    assert not (store.work / JOB).exists()
    assert sorted(p.name for p in (store.jobs / JOB).iterdir()) == ["manifest.json", "result.txt"]
    assert store.claim(JOB) is None


def test_a_publication_that_is_taken_back_is_to_do_again_and_its_log_says_why(store):
    made(store, store.claim(JOB))
    (store.work / JOB).mkdir()
    (store.work / JOB / "step-9.pt").write_text("of one killed as it published")
    assert store.take_back(JOB, "its source files changed")
    assert not store.done(JOB) and not (store.jobs / JOB).exists()
    assert [p.relative_to(store.work / JOB).name for p in store.work.glob("*/*")] == ["log.txt"]
    log = (store.work / JOB / "log.txt").read_text()
    assert log.endswith("taken back: its source files changed\n")
    assert not store.take_back(JOB, "again")
    made(store, store.claim(JOB), "second")
    assert (store.jobs / JOB / "result.txt").read_text() == "second"


def test_what_a_kill_left_half_set_aside_is_not_done_and_is_tidied(store, monkeypatch):
    made(store, store.claim(JOB))
    with monkeypatch.context() as killed:
        killed.setattr("bench.store.shutil.rmtree", lambda *_, **__: None)
        store.take_back(JOB, "why")
    assert not store.done(JOB) and len(list(store.work.glob(".replaced-*"))) == 1
    store.tidy()
    assert not list(store.work.glob(".replaced-*"))


def test_only_what_nobody_holds_is_discarded(store):
    claim = store.claim(JOB)
    assert not store.discard(JOB)
    store.release(claim)
    assert store.discard(JOB) and not (store.work / JOB).exists()
    made(store, store.claim(JOB))
    assert not store.discard(JOB) and store.done(JOB)


def test_a_job_published_while_its_claim_was_made_is_not_done_twice(store, monkeypatch):
    made(store, store.claim(JOB))
    looks = iter([False, True])  # as `claim` sees it: before, and after the link
    monkeypatch.setattr(Store, "done", lambda self, job: next(looks))
    assert store.claim(JOB) is None
    assert not (store.work / JOB).exists()


def test_a_failed_attempt_leaves_its_reason_until_the_next_one_begins(store):
    claim = store.claim(JOB)
    store.fail(claim, "loss is not finite", "mistake")
    assert store.failure(JOB)["reason"] == "loss is not finite"
    assert store.owner(JOB) is None
    assert store.claim(JOB).number == 2
    assert store.failure(JOB) is None


def test_a_death_is_told_by_whoever_saw_it_unless_another_attempt_goes_on(store):
    claimed(store, **here(pid=dead()))
    store.lost(JOB, "died (SIGKILL; out of memory?)")
    why = store.failure(JOB)
    assert (why["reason"], why["attempts"]) == ("died (SIGKILL; out of memory?)", 1)
    assert "SIGKILL" in (store.work / JOB / "log.txt").read_text()
    store.claim(JOB)
    store.lost(JOB, "died")
    assert store.failure(JOB) is None


@pytest.mark.parametrize("new", ["new", memoryview(b"new")])
def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, new):
    path = tmp_path / "file.json"
    write_atomic(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, new)
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
    assert path.read_text() == "old"


def test_who_reads_a_file_that_is_written_anew_reads_the_old_one_to_its_end(tmp_path):
    path = tmp_path / "file.json"
    write_atomic(path, "old")
    with path.open() as reader:
        write_atomic(path, "new")
        assert (reader.read(), path.read_text()) == ("old", "new")


def test_progress_cut_by_a_power_failure_reads_as_none(store):
    (store.work / JOB).mkdir()
    (store.work / JOB / "progress.json").write_text('{"step": 1')
    assert store.progress(JOB) == {}


@pytest.mark.parametrize(
    "text", ["3", "[]", '{"pid": 1}', '{"host": 1, "pid": "x", "start": ""}', "[" * 5000]
)
def test_a_damaged_claim_is_nobodys(store, text):
    claim = store.claim(JOB)
    claim.path.write_text(text)
    assert store.owner(JOB) is None
    assert store.claim(JOB).number == 2


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"kind": 5}, "kind: expected text, got 5"),
        ({"needs": "x"}, "needs: expected a list, got 'x'"),
        ({"needs": [1]}, "needs.0: expected text, got 1"),
        ({"seconds": "x"}, "seconds: expected a number"),
        ({"seconds": float("nan")}, "seconds: nan is not a number"),
        ({"steps": 1.5}, "steps: expected a whole"),
        ({"attempts": True}, "attempts: expected a whole number"),
        ({"steps": 2**63}, "steps: .* not a number"),
    ],
)
def test_a_manifest_of_other_values_is_refused_by_name(store, value, told):
    (store.jobs / JOB).mkdir()
    (store.jobs / JOB / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(BenchError, match=rf"manifest\.json: damaged \({told}.*run again"):
        store.manifest(JOB)


def test_what_a_file_system_lacks_is_said_in_a_line_each(any_store, request):
    poor = "links" not in request.node.callspec.id
    lines = any_store.lacks()
    lacking = [("hard links" in line, "flush folders" in line) for line in lines]
    assert lacking == ([(True, False), (False, True)] if poor else [])
    assert not [path for path in any_store.root.iterdir() if path.name.startswith(".")]


def test_another_error_of_a_disk_is_none_that_a_file_system_lacks(store, monkeypatch):
    monkeypatch.setattr(os, "fsync", refusing(os.fsync, errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        made(store, store.claim(JOB))
    monkeypatch.setattr(os, "link", refusing(os.link, errno.ENOSPC))
    assert store.lacks() == []
    with pytest.raises(OSError, match="No space"):
        store.claim("a")


def test_without_links_one_that_died_between_lock_and_claim_holds_nobody_up_for_long(
    store, monkeypatch
):
    monkeypatch.setattr(os, "link", refusing(os.link, errno.EPERM))
    lock = store.work / JOB / ".claim-0001.lock"
    lock.mkdir(parents=True)
    assert store.claim(JOB) is None
    aged(lock, LEASE + 5)
    assert store.claim(JOB).number == 2 and store.claim(JOB) is None


def test_one_command_at_a_time_has_its_turn_and_a_dead_one_holds_nobody_up(any_store, monkeypatch):
    monkeypatch.setattr("bench.claims.POLL", 0.01)
    store = any_store
    folder, order = store.root / "slurm" / "turn", []

    def go(name):
        with mutex(folder):
            order.append(name)
            time.sleep(0.05)
            order.append(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(go, range(4)))
    assert order[::2] == order[1::2] and sorted(order[::2]) == [0, 1, 2, 3]
    (claim,) = folder.glob("claim-*")
    claim.write_text(json.dumps(here(pid=2**22 - 1)))
    go("after")


def test_a_claim_made_late_under_a_number_cleared_away_waits_for_who_is_inside(store, monkeypatch):
    folder, real, inside, seen = store.root / "slurm" / "turn", os.link, ExitStack(), []

    def late(source, target):
        monkeypatch.setattr(os, "link", real)
        with mutex(folder):
            pass
        inside.enter_context(mutex(folder))  # clears away the number that is linked now
        seen.append("in")
        real(source, target)

    monkeypatch.setattr(os, "link", late)
    monkeypatch.setattr(time, "sleep", lambda seconds: (seen.append("out"), inside.close()))
    with mutex(folder):
        assert seen == ["in", "out"]


def test_a_turn_that_takes_long_is_nobody_elses_meanwhile(store, monkeypatch):
    monkeypatch.setattr("bench.claims.HEARTBEAT", 0.01)
    with mutex(store.root / "slurm" / "turn"):
        (claim,) = (store.root / "slurm" / "turn").glob("claim-*")
        os.utime(claim, (0, 0))
        time.sleep(0.2)
        assert time.time() - claim.stat().st_mtime < LEASE


def test_a_link_whose_answer_got_lost_is_still_this_claim(store, monkeypatch):
    link = os.link

    def lost(source, target):
        link(source, target)
        link(source, target)  # a client asks again, and finds its own

    monkeypatch.setattr(os, "link", lost)
    assert store.claim("a") is not None
    assert store.claim("a") is None


def test_a_full_disk_that_takes_no_reason_still_lets_the_job_go(store, monkeypatch):
    claim = store.claim("a")
    monkeypatch.setattr("bench.store.write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        store.fail(claim, "why", "system")
    assert store.owner("a") is None
    assert store.claim("a").number == 2
