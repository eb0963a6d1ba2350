"""A folder of valid files: some are damaged and read. That may succeed, or say in one line what is wrong."""

import draws
from hypothesis import strategies as st

from bench.errors import BenchError

LONGEST = 2000  # characters of one line that a person is to read


class Shown(bytes):
    """Bytes of which Hypothesis prints no more than a person reads."""

    def __repr__(self):
        return repr(bytes(self[:1000]))


class Folder:
    """What a target is; ``make`` writes its files, ``read`` reads one as the project does."""

    seconds = 1.0  # of processor time that one execution may take

    def __init__(self, folder):
        self.folder = folder
        self.make()
        self.files = {
            p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and self.group(p)
        }
        self.groups = {}
        for path in self.files:
            self.groups.setdefault(self.group(path), []).append(path)

    def make(self):
        raise NotImplementedError

    def read(self, draw, path):
        raise NotImplementedError

    def group(self, path):
        """Name a file's kind: all are damaged equally often. Files of none are not."""
        return path.suffix

    def once(self, draw):
        """Damage a file or two of a kind, have them read, and put them back."""
        group = self.groups[draw(st.sampled_from(sorted(self.groups)))]
        touched = {draws.one(draw, group): None for _ in range(draw(st.sampled_from((1, 1, 1, 2))))}
        try:
            for path in touched:
                path.write_bytes(draw(draws.content(path.name, self.files[path]).map(Shown)))
            self.read(draw, next(iter(touched)))
        finally:
            for path in touched:
                path.write_bytes(self.files[path])


def tried(call, *given):
    """Return what a call returns, or None where it refuses in one line that can be printed."""
    try:
        return call(*given)
    except BenchError as error:
        one_line(str(error))
        return None


def one_line(text):
    """Fail where a message is not one line, or so long that nobody reads it."""
    assert text and "\n" not in text and "\r" not in text, f"not one line: {text[:300]!r}"
    assert len(text) <= LONGEST, f"{len(text)} characters: {text[:300]!r}"
    assert "do not fit into memory" not in text, text[:300]  # it was asked for all the same
