"""The one error class for people's mistakes, and the sentence that corrects a name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BenchError(Exception):
    """A mistake its reader can act on: one line that says what, where and what to do.

    The command line prints it and exits 2; inside a job it becomes that job's reason.
    Anything else that is raised is a bug and keeps its traceback.
    """


class Stopped(Exception):  # noqa: N818 - not an error
    """A job was asked to stop; it saved its state between two steps and can be resumed."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return ``no <kind> named <name>; did you mean <nearest>?``."""
    known = sorted(known)
    near = get_close_matches(name, known, n=1)
    if near:
        hint = f"did you mean {near[0]!r}?"
    else:
        hint = "known: " + ", ".join(known) if known else "none is known here"
    return f"no {kind} named {name!r}; {hint}"
