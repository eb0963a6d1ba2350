"""The command line: find the command, run its body, end with its code."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from bench import no_torch
from bench.arguments import parser
from bench.blame import blaming
from bench.errors import BenchError, Damaged
from bench.extras.completion import ASKS
from bench.process import ready_streams

LONG = ("compete", "plan", "report", "run", "score")  # commands with a module of their own
PATHS = ("protocols", "out", "data", "directory")  # where jobs and code from outside work


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 something failed, 2 wrong request."""
    ready_streams()
    if ASKS in os.environ:
        return _complete(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(argv)
    # of a process of its own alone
    bare = argv is None and arguments.command == "plan" and no_torch.install()
    if bare:
        gc.disable()  # it is short, and keeps what it makes
    try:
        _require_folder()
        code = _body(arguments, bare)
        sys.stdout.flush()  # what cannot be printed is told here, not as the interpreter ends
        if bare:
            _leave(code)
        return code
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1 if isinstance(error, Damaged) else 2
    except KeyboardInterrupt:
        print(f"\nbench: stopped; {_what_goes_on(arguments)}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_output()
        return 0
    except OSError as error:
        where = error.filename or _written(arguments)  # a full disk does not say which file
        what = f"{where}: {error.strerror or error}" if where else error.strerror or error
        print(f"bench: {what}; correct this and run again", file=sys.stderr)
        wrong = (
            isinstance(error, (PermissionError, NotADirectoryError)) or error.errno == errno.ELOOP
        )
        return 2 if wrong else 1


def _require_folder() -> None:
    """Refuse to work in a folder that was deleted: MKL would abort the process there."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise BenchError("the current folder was deleted; cd to another and run again") from None


def _drop_output() -> None:
    """Send what is not printed yet nowhere, so that the interpreter does not stumble on it as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _written(arguments: argparse.Namespace) -> str:
    """Return what could not be written, where an error does not say: standard output, or the folder."""
    try:
        os.write(1, b"\n")  # what failed before may have left nothing to flush
    except OSError:
        _drop_output()
        return "standard output"
    return str(getattr(arguments, "out", ""))


def _leave(code: int) -> None:
    """End a process at once: taking a plan apart, object by object, takes a tenth of making it."""
    sys.stderr.flush()
    os._exit(code)


def _body(arguments: argparse.Namespace, bare: bool) -> int:
    """Run a command; without torch, what fails is done again with it: that may be why."""
    try:
        _from_outside(arguments)
        workers = getattr(arguments, "workers", None)
        if workers is not None and workers < 1:
            raise BenchError(f"--workers {workers}: needs at least 1")
        with blaming():
            name = arguments.command
            module, body = (name, "body") if name in LONG else ("short", f"{name}_")
            return int(getattr(import_module(f"bench.commands.{module}"), body)(arguments))
    except BrokenPipeError:
        raise
    except Exception:
        if bare and no_torch.used():
            no_torch.start_anew()
        raise


def _complete(words: Sequence[str]) -> int:
    """Answer a shell that completes a command line."""
    from bench.extras.completion import answer

    if os.environ.get("BENCH_PLUGINS"):
        from bench import plugins

        with suppress(BenchError):
            plugins.use_stated()
    for line in answer(parser(), words):
        print(line)
    return 0


def _from_outside(arguments: argparse.Namespace) -> None:
    """Make known the plugins that a command names, and find the protocols that it names by their names."""
    stated = os.environ.get("BENCH_PLUGINS", "")
    if stated or getattr(arguments, "plugins", None):
        from bench import plugins

        plugins.use_stated()
        plugins.use(getattr(arguments, "plugins", None) or [])
    if hasattr(arguments, "protocols"):
        from bench.protocol.named import find

        arguments.protocols = [find(path) for path in arguments.protocols]
    for name, value in vars(arguments).items():
        if name in PATHS:
            many = isinstance(value, list)
            setattr(arguments, name, [*map(_absolute, value)] if many else _absolute(value))


def _absolute(path: Path | None) -> Path | None:
    """Return a path as it is from anywhere: code from outside may go to work in another folder."""
    return path.absolute() if path is not None else None


def _what_goes_on(arguments: argparse.Namespace) -> str:
    if getattr(arguments, "executor", "local") == "slurm":
        back = f"'bench cancel --out {arguments.out}' takes them back"
        return f"what is in SLURM's queue goes on: the same command watches it again, {back}"
    return "the same command goes on from here"


if __name__ == "__main__":
    sys.exit(main())
