"""A headless Chromium, told what to do through two pipes (its DevTools protocol): no driver, no network.

with Chromium() as browser:
    tab = browser.open(page, width=390, dark=True)
    tab.value("document.title")
"""

import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-renderer-backgrounding",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # a page that asks for the network does not get it
)
HEIGHT = 900  # px of the window
PATIENCE = 120.0  # seconds for one answer; axe on a page of 10,000 cells takes tens of them
LOCAL = ("file:", "data:", "blob:", "about:")


def program():
    """Return where Chromium is, or None."""
    return next(filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *NAMES))), None)


class Chromium:
    """One browser for as many pages as there are.

    Raises ``BenchError`` where there is none, or where it breaks off.
    """

    def __enter__(self):
        result = program()
        if result is None:
            raise BenchError(
                "no Chromium on the PATH: install it (apt-get install chromium), or name one in CHROMIUM"
            )
        self.profile = tempfile.mkdtemp(prefix="bench-browser-")
        theirs, self.to = _pipe()
        self.of, answers = _pipe()
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to start as root with one
        self.pid = os.posix_spawn(
            result,
            [result, *FLAGS, *root, f"--user-data-dir={self.profile}", "about:blank"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, theirs, 3),
                (os.POSIX_SPAWN_DUP2, answers, 4),
            ],
            setpgroup=0,
        )
        os.close(theirs)
        os.close(answers)
        self.rest, self.last_id, self.events = b"", 0, []
        return self

    def __exit__(self, *_):
        try:
            self.ask("Browser.close")
        except BenchError:
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.to)
        os.close(self.of)
        shutil.rmtree(self.profile, ignore_errors=True)

    def ask(self, method, session=None, **params):
        """Return the answer to one command; events that come before it are kept in ``events``."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": params}
        self._write(
            json.dumps({**message, "sessionId": session} if session else message).encode() + b"\0"
        )
        while (reply := self._read(method)).get("id") != self.last_id:
            self.events.append(reply)
        if "error" in reply:
            raise BenchError(f"Chromium, {method}: {reply['error']['message']}")
        return reply["result"]

    def wait(self, event, session):
        """Read on until ``event`` came for ``session``."""
        while not any(
            e.get("method") == event and e.get("sessionId") == session for e in self.events
        ):
            self.events.append(self._read(event))

    def open(self, page, width, dark):
        """Return a new tab with a file in it, loaded, its fonts too; ``width``: px of the window."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        tab = Tab(self, target, attached["sessionId"])
        self.events.clear()
        for room in ("Page", "Network", "Runtime", "Log"):
            tab.ask(f"{room}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.ask("Emulation.setEmulatedMedia", features=[scheme])
        sizes = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        tab.ask("Emulation.setDeviceMetricsOverride", **sizes)
        tab.ask("Page.navigate", url=Path(page).resolve().as_uri())
        self.wait("Page.loadEventFired", tab.session)
        tab.value(
            "document.fonts.ready.then(() => new Promise(r => requestAnimationFrame(() => r(0))))"
        )
        return tab

    def _write(self, data):
        while data:
            try:
                data = data[os.write(self.to, data) :]
            except BrokenPipeError:
                raise BenchError(
                    "Chromium ended, or did not start: try it by hand with --headless"
                ) from None

    def _read(self, awaited):
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            if not select.select([self.of], [], [], max(0.0, end - time.monotonic()))[0]:
                raise BenchError(f"Chromium did not answer {awaited} within {PATIENCE:.0f} s")
            got = os.read(self.of, 1 << 20)
            if not got:
                raise BenchError("Chromium ended, or did not start: try it by hand with --headless")
            self.rest += got
        line, _, self.rest = self.rest.partition(b"\0")
        return json.loads(line)


@dataclass
class Tab:
    """One page as it stands in the browser."""

    browser: Chromium
    target: str
    session: str

    def ask(self, method, **params):
        return self.browser.ask(method, self.session, **params)

    def value(self, script):
        """Return what a line of JavaScript, or its promise, makes."""
        got = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in got:
            message = got["exceptionDetails"]
            raise BenchError(
                f"in the page: {message.get('exception', {}).get('description', message['text'])}"
            )
        return got["result"].get("value")

    def requests(self):
        """Return the addresses that the page asked for and that are not on this disk."""
        sent = [e["params"]["request"]["url"] for e in self._events("Network.requestWillBeSent")]
        return sorted({url for url in sent if not url.startswith(LOCAL)})

    def errors(self):
        """Return what the page's scripts raised and what the browser's console calls an error."""
        raised = [e["params"]["exceptionDetails"] for e in self._events("Runtime.exceptionThrown")]
        logged = [e["params"]["entry"] for e in self._events("Log.entryAdded")]
        return [r.get("exception", {}).get("description", r["text"]) for r in raised] + [
            f"{item['text']} {item.get('url', '')}".strip()
            for item in logged
            if item["level"] == "error"
        ]

    def close(self):
        self.browser.ask("Target.closeTarget", targetId=self.target)

    def _events(self, method):
        return [
            e
            for e in self.browser.events
            if e.get("method") == method and e.get("sessionId") == self.session
        ]


def _pipe():
    """Return both ends of a pipe, high enough that neither is the 3 or 4 that Chromium reads and writes."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 16) for end in ends]
    for end in ends:
        os.close(end)
    return high
