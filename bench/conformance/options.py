"""The options of the conformance suite: a plugin of pytest, which ``pip install`` makes known to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bench.conformance.pair import Pair

pytest.register_assert_rewrite(
    *(f"bench.conformance.test_{what}" for what in ("methods", "processes", "datasets", "networks"))
)
SUITES = {  # option: the modules of its tests
    "method": ("test_methods", "test_processes"),
    "dataset": ("test_datasets",),
    "network": ("test_networks",),
}
HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what is tried: a name, or a file from outside; each may be repeated."""
    group = parser.getgroup("bench", "what bench.conformance tries")
    for kind in SUITES:
        group.addoption(f"--{kind}", action="append", default=[], metavar="FILE", dest=f"bench_{kind}",
                        help=f"a {kind}: its file, or its name")  # fmt: skip
    group.addoption("--params", type=json.loads, default={}, metavar="JSON", dest="bench_params",
                    help="parameters at which the method is small")  # fmt: skip
    group.addoption("--crop", type=_crop, default=None, metavar="X,Y,Z", dest="bench_crop",
                    help="what the method reads, where it needs more than 16,16,16")  # fmt: skip


def _crop(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split(","))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over the suites that nothing is given to."""
    if collection_path.parent != HERE or not collection_path.stem.startswith("test_"):
        return None
    given = [kind for kind in SUITES if config.getoption(f"bench_{kind}")]
    if not given:
        raise pytest.UsageError("bench.conformance: say what to try: --method, --dataset or --network FILE")
    return True if collection_path.stem not in [name for kind in given for name in SUITES[kind]] else None


def asked(metafunc: pytest.Metafunc, kind: str) -> list[Any]:
    """Return what a test module is to try: its ``CONFORMANCE``, else what the command line names."""
    own = getattr(metafunc.module, "CONFORMANCE", None)
    if own is not None:
        return list(own) if isinstance(own, list | tuple) else [own]
    return list(metafunc.config.getoption(f"bench_{kind}"))


@pytest.fixture(scope="session")
def bench_pair() -> Iterator[Pair]:
    """Return a function that calls another in two processes of one training."""
    from bench.conformance.pair import Pair

    made = Pair()
    yield made
    made.end()
