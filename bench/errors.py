"""The one error class for people's mistakes, and the sentence that corrects a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, time
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from typing import Any

LONGEST = 1500  # characters of a line; a damaged file may hold a name of any length
# Terminal sequences, line breaks, marks that turn the direction of text, and halves of characters.
UNSEEN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ud800-\\udfff]"
)


class BenchError(Exception):
    """A mistake its reader can act on: one line that says what, where and what to do.

    The command line prints it and exits 2; inside a job it becomes that job's reason.
    Anything else that is raised is a bug and keeps its traceback. ``why``: the line without its advice.
    """

    def __init__(self, why: str = "", advice: str = "") -> None:
        super().__init__(f"{why}; {advice}" if advice else why)
        self.why = why

    def __str__(self) -> str:
        text = printable(super().__str__())  # a file's name may hold line breaks, or worse
        return (
            text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 3 :]}"
        )


class Misstated(BenchError):  # noqa: N818 - as the words are used
    """A protocol's value does not fit. ``key``: of its section, dotted; ``Protocol.at`` adds the line."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(message)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.key, str(self))  # handed over between processes


class Bug(BenchError):  # noqa: N818 - as the words are used
    """What a plugin's code raised, as one line. ``trace``: its traceback, for a log."""

    def __init__(self, message: str, trace: str = "") -> None:
        self.trace = trace
        super().__init__(message)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self), self.trace)  # handed over between processes


class Damaged(BenchError):  # noqa: N818 - as the words are used: something is damaged
    """A stored file is not what was written. ``path``: the file, in the folder of the job that made it."""

    def __init__(self, path: Path, what: str, part: str = "") -> None:
        self.path, self.what, self.part = path, what, part
        where = f"{path}, {part}" if part else f"{path}"
        super().__init__(f"{where}: damaged ({what}); run again: its job is done anew")

    def __reduce__(self) -> tuple[type, tuple[Path, str, str]]:
        return type(self), (self.path, self.what, self.part)  # handed over between processes


class Stopped(Exception):  # noqa: N818 - not an error
    """A job was asked to stop; it saved its state between two steps and can be resumed."""


def printable(text: str) -> str:
    r"""Return one line that no terminal obeys: control characters as ``\x1b``, ``\n``."""
    return UNSEEN.sub(lambda match: ascii(match[0])[1:-1], text)


_BRIEF = Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 80


def shown(value: Any) -> str:
    """Return what a file said as ``repr`` does, cut to what a person reads and in one line."""
    return str(value) if isinstance(value, date | time) else _BRIEF.repr(value)


def middle(text: str, room: int, width: Callable[[str], int] = len) -> str:
    """Return a text that takes at most ``room`` columns: what is too long lacks its middle, not its end.

    Args:
        text: such as a name, whose end often tells it from others.
        room: columns; three at least.
        width: of a text, in columns.
    """
    if width(text) <= room:
        return text
    head, tail = "", ""
    for first, last in zip(text, reversed(text), strict=True):
        if width(head + first + tail) + 1 > max(room, 3):
            break
        head += first
        if width(head + last + tail) + 1 > max(room, 3):
            break
        tail = last + tail
    return f"{head}…{tail}"


def first_of(names: Sequence[object], most: int, between: str = ", ") -> str:
    """Return the first names in a line, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(map(str, names[:most])) + more


def enumerated(words: Sequence[str]) -> str:
    """Return ``a, b and c``; of one word the word."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def did_you_mean(names: Sequence[str]) -> str:
    """Return ``did you mean 'a' or 'b'?``."""
    return f"did you mean {' or '.join(map(repr, names))}?"


LISTED = 40  # names that are listed where none is near
FEW = 16  # of what `bench list` prints as well
KINDS = ("dataset", "method", "metric", "mixture", "network", "protocol")  # which it prints
OF_PLUGINS = ("dataset", "method", "network")  # which may come from outside


def unknown(kind: str, name: str, names: Iterable[str]) -> str:
    """Return ``no <kind> named <name>; did you mean <nearest>?``, or what there is."""
    names = sorted(names)
    lower = {known.lower(): known for known in names}  # a difference of case is no difference
    near = [lower[key] for key in get_close_matches(name[:80].lower(), lower, n=1)]
    plain = kind.replace(" ", "")
    if near:
        hint = did_you_mean(near)
    elif plain in KINDS and len(names) > FEW:
        hint = f"'bench list {plain}s' prints all {len(names)}"
    else:
        hint = f"known: {first_of(names, LISTED)}" if names else "none is known here"
    if plain in OF_PLUGINS and not near:
        hint += "; if it is your own, name its file by --plugins"
    return f"no {kind} named {shown(name)}; {hint}"
