"""The set-up tells what pip is at: the lines are as pip 23.2 prints them."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "install.py"
WHEEL = "scipy-1.17.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize(
    ("line", "shown_line", "now"),
    [
        (f"  Downloading {WHEEL} (35.3 MB)\n", "1 packages, 35 MB fetched", "scipy (35.3 MB)"),
        (
            f"Downloading http://a.org/{WHEEL} (1.2 GB)\n",
            "1 packages, 1200 MB fetched",
            "scipy (1.2 GB)",
        ),
        (
            "  Using cached a-1-py3-none-any.whl (600 kB)\n",
            "1 packages, 1 MB fetched",
            "a (600 kB)",
        ),
        (
            "  Using cached medpy-0.5.2.tar.gz (156 kB)\n",
            "1 packages, 0 MB fetched",
            "medpy (156 kB)",
        ),
        (
            f"  Downloading {WHEEL}.metadata (62 kB)\n",
            "0 packages, 0 MB fetched",
            "looking for versions",
        ),
        (f"Processing /somewhere/{WHEEL}\n", "1 packages, 0 MB fetched", "scipy"),
        ("Processing /somewhere/bench\n", "0 packages, 0 MB fetched", "looking for versions"),
        ("Installing collected packages: a, b\n", "0 packages, 0 MB fetched", "unpacking"),
    ],
)
def test_reads_what_pip_prints(line, shown_line, now):
    progress = runpy.run_path(str(SCRIPT))["Progress"]()
    progress.read(line)
    assert (str(progress), progress.now) == (shown_line, now)


def test_what_pip_said_is_shown_where_it_fails():
    pytest.importorskip("pip")
    command = [sys.executable, SCRIPT, "what", "--no-index", "no_such_package_of_bench"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and ran.stdout == "what ...\n"
    assert "No matching distribution found for no_such_package_of_bench" in ran.stderr
