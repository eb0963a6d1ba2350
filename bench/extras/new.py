"""``bench new``: a method, data set, network or protocol of one's own, as one that runs and is tested.

The files under ``templates/`` are what is written, with another name: they are checked, and run by the tests.
"""

from __future__ import annotations

import keyword
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from bench import registry
from bench.atomic import write_new
from bench.errors import BenchError, printable
from bench.nets import catalog
from bench.protocol import named, under

TEMPLATES = Path(__file__).with_name("templates")
SLICES = TEMPLATES / "slices"  # of a method in 2D: the files that differ
LONGEST = 100  # characters of a name: files are called after it


def new(kind: str, name: str, to: Path, dims: int = 3) -> list[str]:
    """Write ``NAME.py``, ``test_NAME.py``, ``NAME.yaml`` and what else a kind needs; return what to do next.

    Args:
        kind: method, dataset, network or protocol.
        name: of the plugin, or of the protocol.
        to: the folder; it is made where there is none.
        dims: 3, or 2 for a method that pretrains on slices.

    Raises:
        BenchError: the name is none or is taken, a file is there already, or only methods have templates of
            these dimensions; nothing is written then.
    """
    _check_name(kind, name)
    if dims == 2 and kind != "method":
        raise BenchError(f"--dims 2: is only for a method; leave it out for a {kind}")
    mine = f"my_{kind}"
    templates = _templates(TEMPLATES, mine) | (_templates(SLICES, mine) if dims == 2 else {})
    texts = {
        to / path.replace(mine, name): _named(file.read_text(), mine, name)
        for path, file in templates.items()
    }
    present = ", ".join(str(path) for path in texts if path.exists() or path.is_symlink())
    if present:
        raise BenchError(
            f"{present}: there already, and nothing is overwritten; use another name or --to"
        )
    try:
        write_new(texts)
    except OSError as error:
        raise BenchError(
            f"--to {printable(str(to))}: {error.strerror}; name a folder to write to"
        ) from None
    return [*map(printable, map(str, texts)), *_next(name, to)]


def _templates(folder: Path, mine: str) -> dict[str, Path]:
    """Return the templates of a kind by their path below a folder; those of slices only if it is their folder."""
    files = [file for file in sorted(folder.rglob(f"*{mine}*")) if file.suffix != ".pyc"]
    return {
        str(file.relative_to(folder)): file
        for file in files
        if folder == SLICES or SLICES not in file.parents
    }


def _next(name: str, to: Path) -> Iterable[str]:
    yield "next:"
    yield f"    bench run {printable(str(to / f'{name}.yaml'))}"
    yield f"    python -m pytest {printable(str(to / f'test_{name}.py'))}"


def _named(text: str, mine: str, name: str) -> str:
    """Return a template's text with one's own name: as a module, a class and a title are called."""
    words = [word for word in name.split("_") if word]
    text = text.replace(mine, name)
    text = text.replace(_class(mine.split("_")), _class(words))
    return text.replace(mine.replace("_", " ").capitalize(), " ".join(words).capitalize())


def _class(words: Iterable[str]) -> str:
    return "".join(word[:1].upper() + word[1:] for word in words)


def _check_name(kind: str, name: str) -> None:
    plain = name.isidentifier() and name.isascii() and not keyword.iskeyword(name)
    if not plain or name.startswith(("_", "test_", "conftest")) or len(name) > LONGEST:
        raise BenchError(
            f"{name[:80]!r}: is no name for a {kind}; use letters, digits and '_', beginning with a letter"
        )
    if name in sys.stdlib_module_names or find_spec(name) is not None:
        raise BenchError(
            f"{name!r}: is a Python package, which {name}.py would hide; use another name"
        )
    present = {
        "method": lambda: registry.names("method"),
        "dataset": lambda: registry.names("dataset"),
        "network": catalog.names,
        "protocol": lambda: ["_".join(under(path)) for path in named.files()],
    }[kind]()
    if name in present:
        raise BenchError(
            f"{kind} {name!r} is there already; 'bench list {kind}s' has all, use another name"
        )
