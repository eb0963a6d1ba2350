"""``bench report --serve``: what it answers, what it refuses, and when it draws a page again."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from unittest import mock

import pytest
from one_line import refusal

from bench.cli import main
from bench.errors import BenchError
from bench.extras.live import pages
from bench.extras.live.pages import Drawn, Redrawing, ServedPage, Source
from bench.extras.live.serve import ADDRESS, Handler, Server
from bench.report.progress import EVERY
from bench.show import state

HOST = "127.0.0.1:8321"


def report_words(store, *more):
    return ["report", str(store.root.parent / "test.yaml"), "--out", str(store.root), *more]


@pytest.fixture
def served(records_of):
    """Return the folder of reports, and a function from a request to (status, headers, body)."""
    store, _ = records_of
    reports = store.root / "reports"
    (reports / "one").mkdir()
    (reports / "one" / "index.html").write_text("<p>ONE</p>")
    (reports / "one" / "table.csv").write_text("row\n")
    (reports / "one" / ".index.html.ab12").write_text("unfinished")
    (store.root / "secret.html").write_text("SECRET")
    (reports / "link.html").symlink_to(store.root / "secret.html")
    (reports / "inside.html").symlink_to("one/index.html")
    (reports / "up").symlink_to(store.root)
    refreshed = []
    seen = type("Seen", (), {"refresh": lambda self, name: refreshed.append(name)})()
    with Server(store, seen, 0) as server:

        def ask(target, method="GET", host=HOST, more=""):
            # no connection: the request is there before it is read
            ours, theirs = socket.socketpair()
            with ours, theirs:
                head = f"Host: {host}\r\n" if host is not None else ""
                ours.sendall(f"{method} {target} HTTP/1.1\r\n{head}{more}\r\n".encode("latin-1"))
                ours.shutdown(socket.SHUT_WR)
                Handler(theirs, (ADDRESS, 1), server)
                theirs.shutdown(socket.SHUT_WR)
                with ours.makefile("rb") as file:
                    head, _, body = file.read().partition(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            return int(status.split()[1]), headers, body.decode()

        ask.refreshed = refreshed
        yield reports, ask


def test_reports_are_shown_with_a_policy_that_lets_a_page_reach_nothing(served):
    _, ask = served
    status, headers, body = ask("/one/")
    assert (status, body) == (200, "<p>ONE</p>") and ask.refreshed == ["one"]
    assert headers["Content-Type"] == "text/html; charset=utf-8" and "Last-Modified" in headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-cache" and "Python" not in headers["Server"]
    assert ask("/one/index.html")[2] == "<p>ONE</p>"
    status, headers, body = ask("/one/table.csv")
    assert (status, headers["Content-Type"], body) == (200, "text/csv; charset=utf-8", "row\n")
    status, headers, body = ask("/one/", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "10", "")
    status, headers, _ = ask("/one")
    assert (status, headers["Location"]) == (301, "/one/")


def test_without_an_index_page_the_reports_are_listed(served):
    reports, ask = served
    status, _, body = ask("/")
    assert status == 200 and '<a href="one/">one</a>' in body and body.count("<li>") == 1
    (reports / "index.html").write_text("INDEX")
    assert ask("/")[2] == "INDEX" == ask("/index.html")[2]


NOT_THERE = (
    "/../secret.html",
    "/one/../../secret.html",
    "/%2e%2e/secret.html",
    "/..%2fsecret.html",
    "/one/%2e%2e/%2e%2e/secret.html",
    "//secret.html",
    "/one//index.html",
    "/link.html",
    "/inside.html",
    "/up/secret.html",
    "/up/",
    "/up",
    "/one/.index.html.ab12",
    "/.",
    "/one/\\..\\secret.html",
    "/%00",
    "/one%0a",
    "/%ff",
    "/none/",
    "/one/none.png",
    "/one/index.html/",
    "/one/index.html/x",
    "/" + "a" * 5000,
)


@pytest.mark.parametrize("target", NOT_THERE)
def test_nothing_but_files_of_reports_is_there(served, target):
    status, _, body = served[1](target)
    assert status == 404 and "SECRET" not in body and "unfinished" not in body


def test_a_whole_address_and_a_question_are_read_as_their_path(served):
    assert served[1]("http://evil.example/one/")[0] == 200  # as to a proxy: the Host decides
    assert served[1]("/one/?x=../../secret.html#y")[2] == "<p>ONE</p>"


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FETCH"]
)
def test_nobody_can_do_more_than_look(served, method):
    status, headers, _ = served[1]("/one/", method)
    assert status == 405 and headers["Allow"] == "GET, HEAD"


SERVED_HOSTS = ("127.0.0.1", "127.0.0.1:9000", "localhost", "localhost:8321")
REFUSED_HOSTS = (
    *("evil.example", "evil.example:8321", "127.0.0.1.evil.example", "localhost.evil.example"),
    *("127.0.0.1@evil.example", "127.0.0.1:80:evil", "", "127.0.0.2", None),
)


@pytest.mark.parametrize("host", SERVED_HOSTS + REFUSED_HOSTS)
def test_a_name_that_was_pointed_here_is_refused(served, host):
    status, _, body = served[1]("/one/", host=host)
    assert status == (200 if host in SERVED_HOSTS else 403) and ("ONE" in body) == (status == 200)


def test_a_pipe_is_no_report(served):
    reports, ask = served
    os.mkfifo(reports / "one" / "pipe")
    assert ask("/one/pipe")[0] == 404


def test_a_port_that_is_taken_or_is_none_is_refused_in_one_line(records_of, capsys):
    store, draw = records_of
    draw()
    with socket.socket() as other:
        other.bind((ADDRESS, 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(report_words(store, "--serve", "--port", str(port))) == 2
    message = f"bench: port {port} of 127.0.0.1 is taken; name another with --port\n"
    assert tuple(capsys.readouterr()) == ("", message)
    with pytest.raises(BenchError, match="cannot be had"):
        Server(store, None, 70000)


WRONG = [
    (["--port", "8000"], "--port 8000: works only with --serve"),
    (["--serve", "--to", "x"], "--to x: --serve shows the reports in OUT/reports"),
    (["--paper", "x", "--serve"], "--serve: --paper writes no page"),
    (["--table", "x"], "--table x: works only with --paper"),
    (["--serve", "--plain"], "--plain: --serve shows the reports in OUT/reports"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_request_is_refused(records_of, capsys, words, message):
    store, draw = records_of
    draw()
    assert message in refusal(capsys, *report_words(store, *words))


def test_what_nobody_has_run_is_not_served(records_of, capsys):
    assert "no records of 'attack' yet" in refusal(capsys, *report_words(records_of[0], "--serve"))


class Ticking:
    """A clock, and a drawer that counts and leaves a page, or does not."""

    def __init__(self, store, monkeypatch):
        self.now, self.drawn, self.reason, self.over, self.run = 0.0, 0, "", (), ".run-a"
        self.messages, self.page = [], store.root / "reports" / "attack" / "index.html"
        self.page.parent.mkdir()
        monkeypatch.setattr(state, "run_name", lambda store, name: self.run)
        monkeypatch.setattr(pages.Drawer, "draw", self.draw)
        wishes = {"attack": ServedPage(Source(store.root.parent / "test.yaml"))}
        clocks = (lambda: self.now, lambda: 1e9 + self.now)
        self.redrawing = Redrawing(store, wishes, self.messages.append, *clocks)

    def draw(self, wish):
        self.drawn += 1
        if not self.reason:
            self.leave()
        return Drawn(self.reason, self.over)

    def leave(self):
        self.page.write_text(str(self.drawn))
        os.utime(self.page, (1e9 + self.now, 1e9 + self.now))

    def drawn_at(self, *times, name="attack"):
        """Request the page at each time; return how often it has been drawn after each."""
        counts = []
        for self.now in times:
            self.redrawing.refresh(name)
            with self.redrawing._turn:
                counts.append(self.drawn)
        return counts


@pytest.fixture
def ticking(records_of, monkeypatch):
    records_of[1]()
    return Ticking(records_of[0], monkeypatch)


def test_a_page_is_drawn_at_most_once_a_minute_while_asked(ticking):
    times = (0, 1, EVERY - 1, EVERY, EVERY + 1, 3 * EVERY)
    assert ticking.drawn_at(*times) == [1, 1, 1, 2, 2, 3]
    assert ticking.drawn_at(9 * EVERY, name="other") == [3]


def test_what_the_run_itself_draws_is_left_alone(ticking):
    ticking.leave()
    assert ticking.drawn_at(EVERY - 1, EVERY) == [0, 1]
    ticking.now = 2 * EVERY - 1
    ticking.leave()  # by the run
    assert ticking.drawn_at(2 * EVERY, 3 * EVERY - 1) == [1, 2]


def test_a_report_that_is_over_is_drawn_once_and_a_new_run_is_followed(ticking):
    ticking.run, ticking.over = "", ("attack",)
    ticking.leave()
    assert ticking.drawn_at(0, EVERY, 9 * EVERY) == [1, 1, 1]
    ticking.run, ticking.over = ".run-b", ()
    assert ticking.drawn_at(20 * EVERY, 20 * EVERY + 1, 21 * EVERY) == [2, 2, 3]
    ticking.over = ("attack",)  # nothing of it is left to do
    assert ticking.drawn_at(22 * EVERY, 23 * EVERY, 24 * EVERY) == [4, 4, 4]


def test_why_a_page_is_not_drawn_is_told_once(ticking):
    ticking.reason = "damaged"
    assert ticking.drawn_at(0, 1, EVERY, 2 * EVERY) == [1, 1, 2, 3]
    assert ticking.messages == ["the page of attack is not drawn: damaged"]


FETCH = """\
import sys, urllib.request
print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1]).read().decode())
"""


@pytest.mark.usefixtures("own_place")
def test_served_from_a_command_until_ctrl_c(records_of):
    store, draw = records_of
    draw()
    words = [sys.executable, "-m", "bench", *report_words(store, "--serve", "--port", "0")]
    pipe = subprocess.PIPE
    server = subprocess.Popen(words, text=True, stdout=pipe, stderr=pipe)
    try:
        first = server.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:(\d+)/", first)
        assert f"ssh -L {url[1]}:127.0.0.1:{url[1]} " in first
        assert server.stdout.readline() == "Ctrl-C ends it\n"
        fetch = [sys.executable, "-c", FETCH, f"{url[0]}attack/"]
        page = subprocess.run(fetch, capture_output=True, text=True, check=True).stdout
        assert "<h1>Test" in page  # drawn because it was asked for
        time.sleep(0.1)
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
    finally:
        server.kill()
    assert (server.returncode, out, err) == (0, "", "\nbench: no longer served\n")


def test_before_its_first_number_a_run_is_served(records_of, plan_of, monkeypatch, capsys):
    store = records_of[0]
    plan = plan_of({"name": "attack"}, data=None)
    interrupt = mock.Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr(Server, "serve_forever", interrupt)
    with state.announced(store, plan, plan.wanted(), 1):
        assert main(report_words(store, "--serve", "--port", "0")) == 0
    assert "http://127.0.0.1:" in capsys.readouterr().out


def test_looking_at_a_run_runs_no_code_from_outside(protocol_file, records_of, plan_of, tmp_path):
    store, draw = records_of
    marker, plugin = tmp_path / "ran", tmp_path / "mine.py"
    plugin.write_text(f"open({str(marker)!r}, 'w')\n")
    plan = plan_of({"name": "attack"}, data=None)
    draw()
    path = protocol_file({"name": "attack", "plugins": ["mine.py"]})
    path.write_text(path.read_text().replace("simclr3d", "mine"))
    with state.announced(store, plan, plan.wanted(), 1):
        assert ServedPage(Source(path)).draw(store) == ()
    page = (store.root / "reports" / "attack" / "index.html").read_text()
    assert 'data-state="running"' in page and "cannot be estimated" in page and not marker.exists()
