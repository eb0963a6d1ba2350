"""The options of the conformance suite: a plugin of pytest, which ``pip install`` makes known to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import plugins, registry
from bench.errors import BenchError
from bench.nets import catalog

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
FOLDER = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what is tried: a name, or a file from outside; each may be repeated."""
    group = parser.getgroup("bench", "what bench.conformance tests")

    def add(name: str, metavar: str, text: str, **how: Any) -> None:
        group.addoption(f"--{name}", metavar=metavar, dest=f"bench_{name}", help=text, **how)

    for kind in SUITES:
        add(kind, "FILE", f"a {kind}: its file, or its name", action="append", default=[])
    add("params", "JSON", "parameters that make the method small", type=json.loads, default={})
    add("crop", "X,Y,Z", "the crop, if the method needs more than 16,16,16", type=_crop)


def _crop(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split(","))


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Refuse options that do not fit what is tried, in one line and before anything is imported."""
    option = session.config.getoption
    given = [(kind, what) for kind in SUITES for what in option(f"bench_{kind}")]
    if not given and any(arg.startswith("bench.conformance") for arg in session.config.args):
        what = "--method, --dataset or --network FILE"
        raise pytest.UsageError(f"bench.conformance: name what to test: {what}")
    for kind, what in given:
        try:
            its = _kinds(kind, what)
        except BenchError as error:
            raise pytest.UsageError(str(error)) from None
        if kind not in its:
            hint = (
                f"it is a {its[0]}, use --{its[0]}" if its else f"'bench list {kind}s' prints all"
            )
            raise pytest.UsageError(f"--{kind} {what}: no such {kind}; {hint}")
    small = [key for key in ("params", "crop") if option(f"bench_{key}")]
    if small and not option("bench_method"):
        why = "is only for a method, and no --method is given; leave it out"
        raise pytest.UsageError(f"--{small[0]}: {why}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over the suites that nothing is given to."""
    if collection_path.parent != FOLDER or not collection_path.stem.startswith("test_"):
        return None
    given = [name for kind in SUITES if config.getoption(f"bench_{kind}") for name in SUITES[kind]]
    return None if collection_path.stem in given else True


def _kinds(given: str, what: str) -> list[str]:
    """Return of which kinds there is a plugin, ``given`` as of one by its name or its file."""
    path, name = Path(what), what
    if path.suffix == ".py":
        plugins.use([path], f"--{given}")
        name = path.stem
    names = {kind: registry.names(kind) for kind in ("method", "dataset")}
    names["network"] = catalog.names()
    return [kind for kind in SUITES if name in names[kind]]


def requested(metafunc: pytest.Metafunc, kind: str) -> list[Any]:
    """Return what a test module is to try: its ``CONFORMANCE``, else what the command line names."""
    listed = getattr(metafunc.module, "CONFORMANCE", None)
    if listed is not None:
        if given := [name for name in SUITES if metafunc.config.getoption(f"bench_{name}")]:
            raise pytest.Collector.CollectError(
                f"{metafunc.module.__file__}: tests what its CONFORMANCE names, and --{given[0]} is for "
                "'pytest --pyargs bench.conformance'; leave one of them out"
            )
        return list(listed) if isinstance(listed, list | tuple) else [listed]
    return list(metafunc.config.getoption(f"bench_{kind}"))


@pytest.fixture(scope="session")
def bench_pair() -> Iterator[Pair]:
    """Return a function that calls another in two processes of one training."""
    from bench.conformance.pair import Pair

    pair = Pair()
    yield pair
    pair.end()


NOTES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def bench_notes(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return a function that keeps a line about what is tried for the end of the run."""
    notes = request.config.stash.setdefault(NOTES, [])
    return lambda name, text: notes.append(f"{name}: {text}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was noted, where a plugin is tried by its name or its file."""
    notes = config.stash.get(NOTES, [])
    if notes and any(config.getoption(f"bench_{kind}") for kind in SUITES):
        terminalreporter.section("on a second device")
        for note in notes:
            terminalreporter.write_line(note)
