"""Pages that fill while a run goes on: when they are drawn, by whom, and what a killed run leaves."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from small_protocol import NAME

from bench.cli import main
from bench.extras.live import pages
from bench.extras.live.pages import SHARE, SOON, Drawer, Drawn, Live, Pace, RunPages, Source
from bench.report.progress import EVERY
from bench.runtime.execute import Outcome
from bench.show import state

TUNING = {"dataset": NAME, "split": "even", "fractions": [25, 100], "seeds": [0]}
SMALLEST = {
    "networks": {"net": {"crop": [16, 16, 16]}},
    "rows": {"pair": None, "alone": {"method": "scratch", "network": "net"}},
    "finetune": [{**TUNING, "steps": 2, "hold": "steps"}],
    "pretrain": None,
    "phantoms": {NAME: {"cases": 6}},
}


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_page_is_drawn_with_the_first_number_then_once_a_minute():
    clock = Clock()
    pace = Pace(clock=clock)
    assert not pace.due()
    clock.now = SOON - 1
    pace.cells = 1
    assert pace.due()  # at once with the first number
    pace.end(pace.begin())
    for clock.now in (SOON, SOON + EVERY - 2):
        pace.cells += 1
        assert not pace.due()
    clock.now = SOON - 1 + EVERY
    assert pace.due()  # also where nothing has ended: steps go on


def test_a_page_without_a_number_comes_soon_and_again_with_the_first():
    clock = Clock()
    pace = Pace(clock=clock)
    clock.now = SOON
    assert pace.due()
    pace.end(pace.begin())
    clock.now += 1
    assert not pace.due()
    pace.cells = 1
    assert pace.due()
    assert Pace(cells=3, clock=clock).due()  # numbers of earlier runs


def test_drawing_that_takes_long_is_rare():
    clock = Clock()
    pace = Pace(cells=1, clock=clock)
    began = pace.begin()
    clock.now = 40.0
    pace.end(began)
    assert pace.every == SHARE * 40.0
    clock.now = SHARE * 40.0 - 1
    assert not pace.due()
    clock.now += 1
    assert pace.due()


def source(made):
    """Return where the protocol of a finished folder is read from."""
    return Source(made.protocol.folder / "test0.yaml", None, made.protocol.origin.content)


def sources(made):
    return {made.protocol.name: source(made)}


@pytest.fixture
def followed(made, monkeypatch):
    """Return a function from a way to draw to what a run is told of it, after it was drawn a few times."""
    monkeypatch.setattr(pages, "TICK", 0.01)
    monkeypatch.setattr(Pace, "due", lambda self: True)
    jobs = [cell.evaluate for cell in made.plan.cells[made.protocol.name]]

    def follow(draw):
        told, drawn = [], []

        def counted(self, wish, limit=0.0):
            drawn.append(wish)
            return draw(wish)

        monkeypatch.setattr(Drawer, "draw", counted)
        with Live(sources(made), made.plan, made.store, jobs, 1, told.append) as one:
            for _ in range(200):
                one.outcome(Outcome(jobs[0], "done"))
                time.sleep(0.005)
                if len(drawn) == 3:
                    break
        return told, drawn

    return follow


def test_what_keeps_a_page_from_being_drawn_is_said_once(followed):
    messages, drawn = followed(lambda wish: Drawn("the disk is full"))
    assert messages == ["the page is not drawn while the run goes on: the disk is full"]
    assert len(drawn) >= 3


def test_a_protocol_of_which_nothing_is_left_is_not_drawn_again(followed, made):
    messages, drawn = followed(lambda wish: Drawn(over=(made.protocol.name,)))
    assert messages == [] and len(drawn) == 1


def test_a_run_that_cannot_say_what_it_does_goes_on(made, monkeypatch):
    told = []
    (made.store.work / "x").symlink_to("y")

    def full(*given, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "write_atomic", full)
    with Live(sources(made), made.plan, made.store, list(made.plan.jobs), 1, told.append):
        pass
    assert len(told) == 1 and "No space left" in told[0]


def test_what_fails_in_the_process_that_draws_comes_back_as_a_line(made, tmp_path):
    jobs = [cell.evaluate for cell in made.plan.cells[made.protocol.name]]
    with state.announced(made.store, made.plan, jobs, 1) as run:
        edited = replace(source(made), content="another")
        found = Drawer(made.store).draw(RunPages((edited,), run))
    assert found.reason.endswith("test0.yaml: was edited during its run")
    assert found.over == ()


def test_a_drawing_that_takes_too_long_or_is_called_off_ends(made, monkeypatch):
    jobs = [cell.evaluate for cell in made.plan.cells[made.protocol.name]]
    monkeypatch.setattr(pages, "ENDING", 0.2)
    with state.announced(made.store, made.plan, jobs, 1) as run:
        found = Drawer(made.store).draw(RunPages((source(made),), run), limit=0.01)
        assert "longer than 0 s" in found.reason
        stopped = Drawer(made.store)
        monkeypatch.setattr(stopped, "_stopped", True)
        assert stopped._draw(RunPages((source(made),), run), 60.0).reason == ""


def page_of(out):
    file = out / "reports" / "test" / "index.html"
    return file.read_text() if file.exists() else ""


def section(page):
    """Return the words of what a page says of its run."""
    found = re.search(r'<section class="run".*?</section>', page, re.DOTALL)
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", found[0])) if found else ""


HELD = """\
import sys, time
from bench.cli import main
from bench.extras.live import pages
from bench.show.screen import Watch

told = Watch.outcome

def held(watch, outcome):
    told(watch, outcome)
    while True:
        time.sleep(1)

if __name__ == "__main__":
    Watch.outcome, pages.SOON = held, 0.0
    main(sys.argv[1:])
"""  # its first job is over and the next does not begin, however late somebody looks at its page


@pytest.mark.usefixtures("own_place", "inlined")
def test_a_page_is_there_before_the_end_and_a_killed_run_leaves_one_that_says_so(
    protocol_file, tmp_path, monkeypatch, capsys
):
    path, out = protocol_file(SMALLEST), tmp_path / "out"
    words = ["run", str(path), "--out", str(out), "--workers", "1"]
    script = tmp_path / "held.py"
    script.write_text(HELD)
    command = [sys.executable, str(script), *words]
    run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while not page_of(out) and run.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    with suppress(ProcessLookupError):
        while time.monotonic() < until:  # its workers end in their own time
            os.killpg(run.pid, 0)
            time.sleep(0.05)
    killed = section(page_of(out))
    assert re.search(r"This run: not finished yet 0 of 2 cells have results, as of \d{4}-", killed)
    assert main(["report", str(path), "--out", str(out)]) == 0
    stopped = section(page_of(out))
    assert "This run: not finished, stopped" in stopped
    assert "Run the same command again to continue from here" in stopped

    seen, told = [], Live.outcome

    def held(one, outcome):  # the first number is there: its page comes while the run goes on
        told(one, outcome)
        if outcome.state == "done" and one._plan.jobs[outcome.job].kind == "evaluate" and not seen:
            limit = time.monotonic() + 300
            while "1 of 2 cells" not in section(page_of(out)) and time.monotonic() < limit:
                time.sleep(0.05)
            seen.append(page_of(out))

    monkeypatch.setattr(Live, "outcome", held)
    # as with slow jobs: a page comes before the first number
    monkeypatch.setattr(pages, "SOON", 0.0)
    assert main(words) == 0, capsys.readouterr().err
    (during,) = seen
    assert 'data-state="running"' in during and "1 of 2 cells have results" in section(during)
    assert "Running" in section(during) or "Jobs by kind: 1 left" in section(during)
    whole = page_of(out)
    assert section(whole) == "" and "data-state" not in whole
    assert not list((out / "work").iterdir())
    assert main(["report", str(path), "--out", str(out)]) == 0 and page_of(out) == whole
