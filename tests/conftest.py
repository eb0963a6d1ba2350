"""What every room's tests share: no network, phantoms made once, small protocols by keyword."""

import copy
import gc
import os
import shutil
import signal
import socket

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes test at once on few cores
os.environ.pop("COLUMNS", None)  # a worker of xdist has one: tables are as wide here as in a file

import pytest
import yaml
from described import inline
from small_protocol import BASE, CASES, NAME

from bench import plugins, record, registry
from bench.data.roots import Contents, Roots
from bench.document import overlay
from bench.executors import local
from bench.plan import Planner
from bench.protocol import read_all
from bench.show import reports
from bench.show.reports import rewrite_report
from bench.store import Store

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of tests that run in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


MEMORY = "/dev/shm"  # a file system in memory: the suite writes 120,000 small files, slow on a disk
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)
pytest_plugins = ["finished_run"]  # fixtures of a folder in which every job is done
REAL = os.environ.get("BENCH_DATA")
PDFS = {"drawn": False}


@pytest.fixture(autouse=True, scope="session")
def no_real_data():
    """Let every run read phantoms, whatever lies on this machine; real volumes are for who asks for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BENCH_DATA", raising=False)
        yield


@pytest.fixture
def real_data(monkeypatch):
    """Have BENCH_DATA as it is on this machine."""
    if REAL is not None:
        monkeypatch.setenv("BENCH_DATA", REAL)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that opens an internet connection fails; pipes and local sockets stay."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        raise AssertionError(f"a test tried to connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Forget the plugins that a module of tests names while it is collected: other modules would see them."""
    report = yield
    os.environ.pop(plugins.PATHS, None)
    return report


def pytest_collection_finish():
    """Leave what was collected out of garbage collections, and have few: they took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    """A plugin from outside is known to the test alone that brings it."""
    monkeypatch.setenv(plugins.PATHS, "")


@pytest.fixture
def own_place(tmp_path, monkeypatch):
    """Work where there is no bench.toml."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def inlined(monkeypatch):
    """Have the jobs of a run done in this process: no worker has to import torch."""
    monkeypatch.setattr(local, "run", inline)


@pytest.fixture
def undrawn(monkeypatch):
    """Have reports written without figures, which take most of a report's time."""
    draw = reports.draw
    bare = lambda *given, **how: draw(*given, **{**how, "figures": False})  # noqa: E731
    monkeypatch.setattr(reports, "draw", bare)


@pytest.fixture(autouse=True, scope="session")
def no_pdfs():
    """Write figures as PNG and SVG alone, but for tests with ``pdfs``: half of the time goes into PDFs."""
    from bench.report.canvas import FigureCanvasPdf

    print_pdf = FigureCanvasPdf.print_pdf

    def written(canvas, file, **how):
        if PDFS["drawn"]:
            print_pdf(canvas, file, **how)
        else:
            file.write(b"%PDF-1.4 not drawn ".ljust(400))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasPdf, "print_pdf", written)
        yield


@pytest.fixture
def pdfs():
    """Draw PDFs, too."""
    PDFS["drawn"] = True
    yield
    PDFS["drawn"] = False


@pytest.fixture(scope="session")
def pair(bench_pair):
    """Return a function that calls another in two processes of one training."""
    return bench_pair


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """Return DATA, a folder as ``--data`` takes it, with one small synthetic data set."""
    data = tmp_path_factory.mktemp("data")
    (data / NAME).mkdir()
    registry.load("dataset", NAME).phantom(data / NAME, CASES, 0)
    return data


@pytest.fixture
def small():
    """Return a function from changes, laid over a small protocol, to its plain values."""

    def changed(changes=None):
        value = overlay(copy.deepcopy(BASE), changes or {})
        value["rows"] = {k: v for k, v in value["rows"].items() if v is not None}
        return value

    return changed


@pytest.fixture
def protocol_file(tmp_path, small):
    """Return a function that writes the small protocol, changed, and returns its path."""

    def write(changes=None, name="test.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(small(changes), sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def contents():
    """Return one memory of file sums for all plans."""
    return Contents(None)


@pytest.fixture
def plan_of(protocol_file, phantoms, contents):
    """Return a function that plans the small protocol, changed, on the phantoms."""

    def plan(
        changes=None, *, only=None, sets=(), data=phantoms, scale=None, others=(), processes=1
    ):
        roots = Roots(data)
        contents._stamps.clear()  # each plan is a command of its own
        planner = Planner(roots, contents, only, need_data=data is not None, processes=processes)
        every = enumerate([changes, *others])
        files = [protocol_file(change, f"test{n}.yaml") for n, change in every]
        for protocol in read_all(files, scale, sets):
            planner.expand(protocol)
        return planner.finish()

    return plan


@pytest.fixture
def records_of(tmp_path, protocol_file):
    """Return a store, and a function that leaves one row there, changed, and gives what draws its report."""
    store, path = Store.open(tmp_path / "out"), protocol_file({"name": "attack"})
    row = {name: 0 if "64" in kind else "" for name, kind in record.COLUMNS.items()}
    row |= {"section": NAME, "dataset": NAME, "row": "alone", "scale": "paper", "split": "even"}
    row |= {"evaluation": "end_to_end", "metric": "dice", "status": "ok", "fraction": 100}
    row |= {"target": "anterior", "unit": "1"}

    def left(**changes):
        view = store.root / "records" / "attack.parquet"
        record.frame([{**row, **changes}]).to_parquet(view, index=False)
        return lambda: rewrite_report(path, None, store, None)

    return store, left
