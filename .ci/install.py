"""Run ``pip install`` and tell how far it is; what pip printed is shown where it fails.

``python .ci/install.py WHAT PIP_ARGUMENT...``: on a terminal one line that moves, else a line as it begins
and one as it ends. For one large package, ``--bar`` before WHAT leaves a terminal to pip and its own bar.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time

PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
FETCHED = re.compile(
    r"\s*(?:Downloading|Using cached) (?:\S*/)?([^/\s-]+)\S*(?<!\.metadata) \(([\d.]+) (kB|MB|GB)\)"
)
ON_DISK = re.compile(r"Processing \S*/([^/\s-]+)-\S*\.whl")
MEGABYTES = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}
SHOWN = 30  # lines of pip's where it failed


class Progress:
    """What pip is at, read off what it prints."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.packages, self.size, self.now = 0, 0.0, "looking for versions"

    def read(self, line: str) -> None:
        """Take one line of pip's."""
        self.said.append(line)
        if found := FETCHED.match(line):
            self.packages += 1
            self.size += float(found[2]) * MEGABYTES[found[3]]
            self.now = f"{found[1]} ({found[2]} {found[3]})"
        elif found := ON_DISK.match(line):
            self.packages += 1
            self.now = found[1]
        elif line.startswith("Installing collected packages"):
            self.now = "unpacking"

    def __str__(self) -> str:
        return f"{self.packages} packages, {self.size:.0f} MB fetched"


def main(arguments: list[str]) -> int:
    """Install; return pip's exit code."""
    terminal, bar = sys.stdout.isatty(), arguments[0] == "--bar"
    what, *rest = arguments[bar:]
    if terminal and bar:
        print(what)
        return subprocess.call([*PIP, *rest])
    if not terminal:
        print(what, "...", flush=True)
    begun, progress = time.monotonic(), Progress()
    with subprocess.Popen(
        [*PIP, "--progress-bar", "off", *rest],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as pip:
        reader = threading.Thread(
            target=lambda: [*map(progress.read, pip.stdout or ())], daemon=True
        )
        reader.start()
        while reader.is_alive():
            reader.join(0.5)
            if terminal:
                told = f"{what}: {progress}, {progress.now}, {time.monotonic() - begun:.0f} s"
                print(
                    f"\r\033[K{told[: shutil.get_terminal_size().columns - 1]}", end="", flush=True
                )
    if terminal:
        print("\r\033[K", end="")
    if pip.returncode:
        print(*progress.said[-SHOWN:], sep="", end="", file=sys.stderr)
    else:
        print(f"{what}: {progress}, {time.monotonic() - begun:.0f} s", flush=True)
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
