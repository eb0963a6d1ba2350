"""A protocol by its file, or by the name that ``bench list protocols`` prints."""

from __future__ import annotations

from pathlib import Path

from bench.errors import BenchError, unknown
from bench.protocol import under

ROOT = Path(__file__).resolve().parents[2]


def files() -> list[Path]:
    """Return the protocols that lie here; an installation without a clone has none."""
    found = ROOT.joinpath("protocols").rglob("*.yaml")
    return sorted(path for path in found if "settings" not in path.parts)


def find(text: Path) -> Path:
    """Return the protocol that a person names: a file's path, else a name.

    Raises:
        BenchError: neither; names the nearest one.
    """
    if text.exists() or text.suffix in (".yaml", ".yml") or len(text.parts) != 1:
        return text
    here = {"_".join(under(path)): path for path in files()}
    if str(text) not in here:
        raise BenchError(f"{text}: no such file, and {unknown('protocol', str(text), here)}")
    return here[str(text)]
