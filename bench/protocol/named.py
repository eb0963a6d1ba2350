"""A protocol by its file, or by the name that ``bench list protocols`` prints."""

from __future__ import annotations

from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

from bench.errors import BenchError, unknown
from bench.protocol import under

ROOT = Path(__file__).resolve().parents[2]
WHEEL = ROOT / "bench_files"  # where a wheel has them (pyproject.toml); a clone has no such folder
SHIPPED = WHEEL if WHEEL.is_dir() else ROOT  # holds ``protocols/`` and ``results/``


def files() -> list[Path]:
    """Return the protocols that come with bench."""
    paths = SHIPPED.joinpath("protocols").rglob("*.yaml")
    return sorted(path for path in paths if "settings" not in path.parts)


def find(text: Path) -> Path:
    """Return the protocol that a person names: a file's path, else a name (``voco_table1``, ``voco/table1``).

    Raises:
        BenchError: neither; names the nearest one.
    """
    if text.exists():
        if text.suffix == ".toml":
            raise BenchError(f"{text}: is no protocol; name a .yaml file")
        return text
    shipped, name = {"_".join(under(path)): path for path in files()}, "_".join(text.parts)
    if name in shipped:
        return shipped[name]
    beside = text.parent.glob("*.y*ml") if text.parent.is_dir() else ()
    others = {str(path): path for path in beside} | shipped
    bare = str(text.with_suffix(""))
    wanted = str(text) if get_close_matches(str(text), others, n=1) else bare
    ends = [known for known in shipped if known.endswith(f"_{text.stem}")]
    placed = "_".join(text.with_suffix("").parts[-2:])  # its folder tells two table1 apart
    ends.sort(key=lambda name: -SequenceMatcher(None, name, placed).ratio())
    begun = [known for known in shipped if known.startswith(name)]
    if begun:  # a paper's name, or the word "table" after it
        begun.sort(key=lambda known: "table" not in known)
        hint = f"did you mean {' or '.join(map(repr, begun[:2]))}?"
        hint += f" ({len(begun)} names begin with {name!r})" if len(begun) > 2 else ""
    else:
        hint = f"did you mean {ends[0]!r}?" if ends else unknown("protocol", wanted, others)
    raise BenchError(
        f"{text}: no such file; {hint.removeprefix(f'no protocol named {wanted!r}; ')}"
    )
