"""The set-up tells what pip is at: the lines are as pip 23.2 prints them."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "install.py"
WHEEL = "scipy-1.17.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize(
    ("line", "fetched", "now"),
    [
        (f"  Downloading {WHEEL} (35.3 MB)", (1, 35), "scipy (35.3 MB)"),
        (f"Downloading http://a.org/{WHEEL} (1.2 GB)", (1, 1200), "scipy (1.2 GB)"),
        ("  Using cached a-1-py3-none-any.whl (600 kB)", (1, 1), "a (600 kB)"),
        ("  Using cached medpy-0.5.2.tar.gz (156 kB)", (1, 0), "medpy (156 kB)"),
        (f"  Downloading {WHEEL}.metadata (62 kB)", (0, 0), "looking for versions"),
        (f"Processing /somewhere/{WHEEL}", (1, 0), "scipy"),
        ("Processing /somewhere/bench", (0, 0), "looking for versions"),
        ("Installing collected packages: a, b", (0, 0), "unpacking"),
    ],
)
def test_reads_what_pip_prints(line, fetched, now):
    progress = runpy.run_path(str(SCRIPT))["Progress"]()
    progress.read(f"{line}\n")
    expected = "{} packages, {} MB fetched".format(*fetched)
    assert (str(progress), progress.now) == (expected, now)


def test_what_pip_said_is_shown_where_it_fails():
    pytest.importorskip("pip")
    command = [sys.executable, SCRIPT, "what", "--no-index", "no_such_package_of_bench"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and ran.stdout == "what ...\n"
    assert "No matching distribution found for no_such_package_of_bench" in ran.stderr
