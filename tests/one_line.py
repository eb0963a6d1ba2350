"""What bench refuses it refuses in one line: the expectation of every test of a mistake."""

import re
import resource
from contextlib import contextmanager

import pytest

from bench.cli import main
from bench.errors import BenchError


@contextmanager
def refused(match=None):
    """Expect a ``BenchError`` of one line that matches; give what was caught, as ``pytest.raises`` does."""
    with pytest.raises(BenchError, match=match) as caught:
        yield caught
    assert "\n" not in str(caught.value)


def refusal(capsys, *words):
    """Run a command that must be refused and print nothing else; return its one line."""
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    told = capsys.readouterr()
    assert re.fullmatch(r"bench: .+\n", told.err) and not told.out, told
    return told.err.strip()


@contextmanager
def full_disk(size):
    """Write a part of a file, as much as is given, and then fail, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
