"""What a terminal and a file show of a run that goes on."""

import io
import os
import pty
import re
import sys
import time

import pytest
from rich.cells import cell_len
from rich.console import Console
from small_protocol import cell

from bench import run
from bench.errors import middle
from bench.runtime.execute import Outcome
from bench.runtime.sources import UNRECORDED, bytes_of, note, source_hash, sources
from bench.show import screen
from bench.show.screen import Page, Shown, Watch, manner, tell
from bench.show.state import WINDOW, AtWork, Monitor
from bench.store import Store

OWNER = {"host": "h", "pid": 1}
LONG = "finetune models_genesis_grey_values_only · tone_phantoms · 100 % · seed 2"
FAST = AtWork("a", OWNER, 240, 400, 0.4321, 12.3)
SLOW = AtWork("b", OWNER, 12_500, 100_000, 12.43, 0.25)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def drawn(page, width, height=24, **more):
    file = io.StringIO()
    Console(file=file, width=width, height=height, force_terminal=True, **more).print(page, end="")
    return file.getvalue()


def lines(page, width, height=24):
    return [line.rstrip() for line in drawn(page, width, height, color_system=None).splitlines()]


def test_one_glance_tells_job_step_loss_time_and_speed():
    page = Page([Shown(LONG, FAST, "step")], 20, 7, ("1 failed", "about 4 min left"))
    title, job, whole = lines(page, 100)
    assert title == LONG
    assert job.endswith(" 240/400  loss 0.4321  13 s left  12.3 steps/s")
    assert whole.startswith("all ") and whole.endswith("7/20 jobs  1 failed  about 4 min left")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_nothing_wraps_and_what_matters_most_stays(width):
    shown = [Shown(LONG, FAST, "step"), Shown("evaluate x", SLOW, ""), Shown(LONG, SLOW, "step")]
    found = lines(Page(shown, 600, 123, ("12 failed", "about 13.4 h left")), width)
    assert len(found) == 7 and max(map(len, found)) <= width
    assert "240/400" in found[1] and "12500/100000" in found[5] and "123/600 jobs" in found[6]
    assert ("4 s/step" in found[5]) == (width >= 60)


def test_a_page_stays_as_small_as_its_terminal():
    shown = [Shown(f"finetune {number}", FAST, "step") for number in range(300)]
    found = lines(Page(shown, 900, 0), 80, 20)
    assert len(found) == 2 * 7 + 2 and found[-2] == "and 293 more in work"


def test_a_last_word_stands_below_the_bars_or_is_left_to_others(trained):
    plan, store, one, _ = trained
    assert lines(Page([], 2, 1, note="bench: saving"), 60)[-1] == "bench: saving"
    with Watch(plan, store, [one], "lines") as watch:
        assert not watch.last("saving")


def test_colours_come_and_go():
    page = Page([Shown(LONG, FAST, "step")], 2, 0)
    for system in ("standard", "256"):  # of the first sixteen: a terminal's own theme shows them
        text = drawn(page, 80, color_system=system)
        assert "\x1b[36m" in text and "\x1b[90m" in text and "\x1b[38" not in text
    assert not re.search(r"\x1b\[(3|9)", drawn(page, 80, color_system="256", no_color=True))


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_long_name_lacks_its_middle_and_keeps_its_end(width):
    title = lines(Page([Shown(LONG, FAST, "step")], 2, 0), width)[0].rstrip()
    assert len(title) <= width and LONG.startswith(title.partition("…")[0])
    assert LONG.endswith(title.partition("…")[2]) and len(title.partition("…")[2]) >= width // 2 - 2


@pytest.mark.parametrize(("text", "room", "cut"), [("abcdef", 6, "abcdef"), ("abcdef", 5, "ab…ef"),
    ("abcdef", 4, "ab…f"), ("日本語の名", 7, "日本…名")])  # fmt: skip
def test_what_is_too_long_is_cut_in_its_middle(text, room, cut):
    assert middle(text, room, cell_len) == cut


def test_only_a_terminal_gets_colours(monkeypatch, capsys):
    tell("failed: a\nb")
    assert capsys.readouterr().out == "failed: a\nb\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    tell("failed: a\nb")
    assert capsys.readouterr().out == "\x1b[31mfailed: a\x1b[0m\nb\n"
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setenv("NO_COLOR", "1")
    tell("failed: a")
    assert capsys.readouterr().out == "failed: a\n"


def test_speed_is_of_the_last_minute_and_begins_anew_at_a_checkpoint(tmp_path):
    store, clock = Store.open(tmp_path / "out"), Clock()
    assert store.claim("job") is not None
    looks = Monitor(store, clock)
    (none,) = looks.at_work(["job"])
    assert (none.steps, none.speed, none.left) == (0, None, None)
    seen = []
    early = ((0, 300), (10, 100), (20, 120), (30, 180))
    for clock.now, step in (*early, (20 + WINDOW + 1, 300), (90, 300)):
        store.tell("job", step, 400, 0.5)
        (at,) = looks.at_work(["job", "other"])
        seen.append(at.speed)
    # 300 was before a checkpoint; 20 steps in 10 s, 80 in 20; then 180 of the 51 s since step 180's look
    assert seen[:4] == [None, None, 2.0, 4.0]
    assert seen[4] == seen[5] == pytest.approx(120 / 51) and at.left == pytest.approx(100 / seen[5])


MANNERS = [
    # terminal, environment, flags, how
    (True, {}, {}, "bars"),
    (True, {"NO_COLOR": "1"}, {}, "bars"),
    (True, {"TERM": "dumb"}, {}, "lines"),
    (True, {"CI": "true"}, {}, "lines"),
    (True, {"CI": "false"}, {}, "bars"),
    (True, {}, {"lines": True}, "lines"),
    (True, {}, {"quiet": True}, "quiet"),
    (False, {}, {}, "lines"),
    (False, {}, {"quiet": True}, "quiet"),
]


@pytest.mark.parametrize(("terminal", "environment", "flags", "how"), MANNERS)
def test_how_a_run_shows_itself(terminal, environment, flags, how, monkeypatch):
    for name, value in {"TERM": "xterm", "CI": "", "NO_COLOR": ""}.items():
        monkeypatch.setenv(name, environment.get(name, value))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert manner(**flags) == how


@pytest.fixture
def trained(plan_of, tmp_path, monkeypatch):
    """Return plan, folder, a fine-tuning that is in work, and another; looks come at once."""
    monkeypatch.setattr(screen, "REFRESH", 0.01)
    monkeypatch.setattr(screen, "SHARE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    plan, store = plan_of(), Store.open(tmp_path / "out")
    one, two = (cell(plan, row="alone", fraction=100, seed=seed).finetune for seed in (0, 1))
    assert store.claim(one) is not None
    return plan, store, one, two


def until(said, capsys, seconds=20.0):
    """Return stderr once it has some words."""
    text, limit = "", time.monotonic() + seconds
    while said not in text and time.monotonic() < limit:
        time.sleep(0.02)
        text += capsys.readouterr().err
    return text


def test_a_file_is_told_of_beginnings_now_and_then_of_steps_and_of_ends(
    trained, capsys, monkeypatch
):
    plan, store, one, two = trained
    called = "alone · msd04_hippocampus · 100 % · seed"
    with Watch(plan, store, [one, two], "lines") as watch:
        text = until("begins", capsys)
        store.tell(one, 3, 6, 0.25)
        monkeypatch.setattr(screen, "TELL", 0.0)
        text += until("loss 0.2500", capsys)
        monkeypatch.setattr(screen, "TELL", 1e9)
        watch.outcome(Outcome(one, "done", seconds=2.0))
        watch.outcome(Outcome(two, "failed", "out of memory"))
    text += capsys.readouterr().err
    found = list(dict.fromkeys(text.splitlines()))  # it is told as often as it is looked
    assert found[:2] == ["2 of 20 jobs to do: 2 finetune", f"finetune {called} 0 begins"]
    assert found[2].startswith(f"finetune {called} 0 step 3/6, loss 0.2500")
    assert [line.split("  (about")[0] for line in found[-2:]] == [
        f"[1/2] finetune {called} 0 done in 2.0 s",
        f"[2/2] finetune {called} 1 failed: out of memory",
    ]
    assert "\x1b" not in text


def test_what_other_source_left_half_done_is_said_to_begin_anew_or_to_go_on_where_asked(
    trained, capsys
):
    plan, store, one, two = trained
    ours, said = sources(plan.jobs[two].plain()), []
    file = "bench/jobs/finetune/run.py"
    byte = {name: bytes_of(digest) for name, digest in ours.items()}  # as an older bench left it
    for made_by in (
        note({**ours, file: "0 0"}, ()),
        source_hash({**byte, file: "0"}),
        source_hash(byte),
        note(ours, ()),
    ):
        claim = store.claim(two)
        store.begin(claim, made_by)
        store.tell(two, 3, 6, 0.25)
        with Watch(plan, store, [one, two], "lines"):
            said.append(until("seed 1", capsys).partition("seed 1 ")[2].split()[0])
        store.release(claim)
        said.append(run.changed(plan, store))
    line = (
        "finetune {}: another version of {} made its first 3 steps; it starts from the beginning; "
        "--keep-unfinished continues it"
    )
    assert said[::2] == ["begins", "begins", "is", "is"]
    assert said[1::2] == [[line.format(two, file)], [line.format(two, UNRECORDED)], [], []]
    store.begin(store.claim(two), note({**ours, file: "0 0"}, ()))
    store.release(type(claim)(two, 5, store.claims(two)[-1]))
    (asked,) = run.changed(plan, store, keep=True)
    assert asked == line.format(two, file).replace(
        "starts from the beginning; --keep-unfinished continues it", "continues (--keep-unfinished)"
    )


def test_who_has_a_job_is_said_once_and_again_where_he_is_suspended_even_quietly(
    trained, capsys, monkeypatch
):
    plan, store, one, two = trained
    who = ["process 7 on host", "process 7 on host", "process 7 on host, SUSPENDED (...)", ""]
    monkeypatch.setattr(Store, "holder", lambda self, job: who.pop(0))
    for how in ("lines", "quiet"):
        watch = Watch(plan, store, [one, two], how)
        for _ in range(2):
            watch.outcome(Outcome(one, "busy"))
    shown = [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert shown == [
        f"waiting for the result of process 7 on host{more}" for more in ("", ", SUSPENDED (...)")
    ]


def test_quiet_tells_of_failures_and_warnings_alone(trained, capsys):
    plan, store, one, two = trained
    with Watch(plan, store, [one, two], "quiet") as watch:
        watch.outcome(Outcome(one, "done", seconds=2.0))
        watch.outcome(Outcome(two, "failed", "out of memory"))
        watch.say("the page is not drawn")
    failed, warning = capsys.readouterr().err.splitlines()
    assert failed.split("  (about")[0].endswith("failed: out of memory")
    assert warning == "bench: the page is not drawn"


@pytest.mark.parametrize(("few", "shown"), [(2, True), (1, False)])
def test_of_many_jobs_a_terminal_keeps_failures_alone(trained, few, shown, monkeypatch):
    plan, store, one, two = trained
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(screen, "FEW", few)
        with Watch(plan, store, [one, two], "bars") as watch:
            watch.outcome(Outcome(one, "done", seconds=2.0))
            watch.outcome(Outcome(two, "failed", "out of memory"))
        text = ""
        while "failed: out of memory" not in text:  # a terminal gives what it has so far
            text += os.read(master, 1 << 16).decode(errors="replace")
    os.close(master)
    assert ("done in 2.0 s" in text) == shown


def test_a_job_that_told_nothing_yet_is_said_to():
    assert (
        Shown("", AtWork("a", OWNER), "step").line
        == "is running, but its first step is not done yet"
    )
    assert Shown("", FAST, "step").line == "step 240/400, loss 0.4321, 13 s left, 12.3 steps/s"
    assert Shown("", AtWork("a", OWNER, 3, 9)).line == "3/9"
