"""The wheel holds what a clone holds, and runs without one."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

from bench import __version__

ROOT = Path(__file__).resolve().parents[1]
HELD = {  # folder of the clone, which of its files: where the wheel has them
    ("bench", "**/*.py"): "bench",
    ("bench", "report/html/*"): "bench",
    ("bench", "nets/*.toml"): "bench",
    ("bench", "runtime/*.json"): "bench",
    ("bench", "extras/templates/**/*.*"): "bench",
    ("methods", "*.py"): "bench_methods",
    ("datasets", "*.py"): "bench_datasets",
    ("datasets", "splits/*.json"): "bench_datasets",
    ("datasets", "mixtures/*.yaml"): "bench_datasets",
    ("protocols", "**/*.yaml"): "bench_files/protocols",
    ("results", "published/*"): "bench_files/results",
    ("results", "reference.csv"): "bench_files/results",
    ("results", "*/records/*"): "bench_files/results",
}
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build it from a copy: setuptools writes beside what it builds."""
    source, to = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("bench", "methods", "datasets", "protocols", "results"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-c", BUILD, str(to)]
    ran = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "would be ignored" not in ran.stderr
    (result,) = to.glob("*.whl")
    return result


@pytest.mark.parametrize(("folder", "which"), HELD, ids="/".join)
def test_holds(wheel, folder, which):
    every = (path for path in (ROOT / folder).glob(which) if path.is_file())
    files = [path for path in every if path.suffix != ".pyc"]
    assert files
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for path in files:
        name = f"{HELD[folder, which]}/{path.relative_to(ROOT / folder).as_posix()}"
        assert held.get(name) == path.read_bytes(), name


def test_is_called_what_nobody_else_is(wheel):
    """On the index `bench` is another project, and `frappe-bench` has a command of that name."""
    with zipfile.ZipFile(wheel) as archive:
        about = f"medssl_bench-{__version__}.dist-info"
        metadata = BytesParser().parsebytes(archive.read(f"{about}/METADATA"))
        commands = archive.read(f"{about}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"]) == ("medssl-bench", __version__)
    assert "[console_scripts]\nbench = bench.cli:main\n" in commands


@pytest.mark.slow
def test_runs_outside_a_clone(wheel, tmp_path):
    """In an environment of its own, which borrows every other package from this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (room,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # their .pth files are not read again
    individual = [path for path in sys.path if path.endswith("site-packages")]
    (room / "borrowed.pth").write_text("\n".join(individual))
    pip = [sys.executable, "-m", "pip", "--python", tmp_path / "venv" / "bin" / "python"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], check=True)

    def bench(*arguments):
        (tmp_path / "empty").mkdir(exist_ok=True)
        command = [tmp_path / "venv" / "bin" / "bench", *arguments]
        how = {"cwd": tmp_path / "empty", "capture_output": True, "text": True}
        ran = subprocess.run(command, **how, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert bench("--version").startswith(f"bench {__version__}, Python")
    assert "bench_files/protocols/voco/table1.yaml" in bench("list", "protocols")
    assert bench("list", "methods").count("\n") > 30
    assert "voco_table1 (smoke)" in bench("plan", "voco/table1", "--scale", "smoke")
    budget = ("--set", "pretrain.steps=2", "--set", "finetune.steps=2")
    short = (*budget, "--only", "seed=0", "--only", "fraction=100")
    assert "From scratch" in bench("run", "quickstart", *short)
    assert (tmp_path / "empty" / "runs" / "reports" / "quickstart" / "index.html").exists()
