"""The reports of an output folder over HTTP, on this machine alone, drawn again while a run goes on.

Only GET and HEAD, only files under ``DIR/reports``, through no link; a page of another site cannot read them
by a name that it has pointed here (DNS rebinding), because the Host must be this machine's own.
"""

from __future__ import annotations

import errno
import getpass
import html
import os
import re
import socket
import stat
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit

from bench.errors import BenchError
from bench.extras.live.pages import Redrawing
from bench.store import Store

ADDRESS, PORT = "127.0.0.1", 8321
HOSTS = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
}
POLICY = (  # of pages, which carry all they need; scripts ask only whether there is a newer page
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PATIENCE = 30.0  # seconds for a browser to say what it wants


class Server(ThreadingHTTPServer):
    """Answers with the files of a folder of reports.

    Raises:
        BenchError: the port is taken, or is none.
    """

    daemon_threads = True

    def __init__(self, store: Store, redrawing: Redrawing, port: int = PORT) -> None:
        self.reports, self.redrawing = store.within(store.root / "reports"), redrawing
        try:
            super().__init__((ADDRESS, port), Handler)
        except (OSError, OverflowError) as error:
            in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            why = "is taken"
            if not in_use:
                why = f"cannot be had ({getattr(error, 'strerror', None) or error})"
            raise BenchError(f"port {port} of {ADDRESS} {why}; name another with --port") from None

    @property
    def port(self) -> int:
        """Return the port, also where any free one was asked for."""
        return int(self.server_address[1])


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    server_version, sys_version = "bench", ""
    timeout = PATIENCE

    def parse_request(self) -> bool:
        """Read what is asked for, and refuse what nobody may ask."""
        if not super().parse_request():
            return False
        if self.command not in ("GET", "HEAD"):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD alone.")
        elif HOSTS.fullmatch(self.headers.get("Host", "")) is None:
            self._refuse(
                HTTPStatus.FORBIDDEN, "This server answers to 127.0.0.1 and localhost alone."
            )
        else:
            return True
        return False

    def do_HEAD(self) -> None:
        """Answer as to GET, without the file."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with a file, or say why not."""
        parts = _parts(self.path)
        if parts is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "No such report.")
        if len(parts) == 1 and parts[0] and _folder(self.server.reports / parts[0]):
            return self._redirect(f"/{quote(parts[0])}/")
        parts = (*parts[:-1], parts[-1] or "index.html")
        self.server.redrawing.refresh(parts[0] if len(parts) > 1 else "")
        file = _opened(self.server.reports, parts)
        if file is not None:
            with file:
                return self._file(
                    file, TYPES.get(Path(parts[-1]).suffix, "application/octet-stream")
                )
        if parts == ("index.html",):
            return self._answer(_listing(self.server.reports).encode(), TYPES[".html"])
        return self._refuse(HTTPStatus.NOT_FOUND, "No such report.")

    def _file(self, file: IO[bytes], kind: str) -> None:
        changed = formatdate(os.fstat(file.fileno()).st_mtime, usegmt=True)
        self._answer(file.read(), kind, changed)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self._answer(f"{why}\n".encode(), "text/plain; charset=utf-8", status=status)

    def _redirect(self, where: str) -> None:
        self.send_response(HTTPStatus.MOVED_PERMANENTLY)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(
        self, body: bytes, kind: str, changed: str = "", status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if changed:
            self.send_header("Last-Modified", changed)
        if kind.startswith(("text/html", "image/svg")):
            self.send_header("Content-Security-Policy", POLICY)
        for name, value in (
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-cache"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests."""


def address(port: int) -> str:
    """Return what a browser is told."""
    return f"http://{ADDRESS}:{port}/"


def tunnel(port: int) -> str:
    """Return what brings a server on a cluster's node to a person's own machine."""
    return f"ssh -L {port}:{ADDRESS}:{port} {getpass.getuser()}@{socket.gethostname()}"


def _parts(target: str) -> tuple[str, ...] | None:
    """Return the names on a path, the last one empty where a folder is asked for; None where one is odd."""
    try:
        parts = tuple(unquote(urlsplit(target).path, errors="strict").removeprefix("/").split("/"))
    except ValueError:
        return None
    odd = (
        any(p.startswith(".") or "\\" in p or not p.isprintable() for p in parts)
        or "" in parts[:-1]
    )
    return None if odd else parts


def _folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:  # not there, or a name of any length
        return False


def _opened(folder: Path, parts: tuple[str, ...]) -> IO[bytes] | None:
    """Open a regular file below ``folder``, through no link; None where there is none."""
    handle = -1
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        for part in parts:  # step by step: no name can become a link between a look and the opening
            above = handle
            handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
            os.close(above)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return os.fdopen(handle, "rb")
    except OSError:
        pass
    if handle >= 0:
        os.close(handle)
    return None


def _listing(reports: Path) -> str:
    """Return a page that links the reports there are; in place of ``reports/index.html``."""
    names = sorted(path.parent.name for path in reports.glob("[!.]*/index.html"))
    items = "".join(f'<li><a href="{quote(name)}/">{html.escape(name)}</a></li>' for name in names)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width"><title>Reports</title>'
        f"<main><h1>Reports</h1>{f'<ul>{items}</ul>' if items else '<p>None yet.</p>'}</main></html>"
    )
