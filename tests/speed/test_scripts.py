"""Every script of ``make speed`` still runs, as small as it goes, and prints a table."""

import os
import subprocess
import sys

import every
import pytest

from bench import registry

SMALL = {
    "commands": "--rounds 1",
    "crops": "--rounds 1",
    "prepare": "--cases 2 --many 40",
    "loop": "--steps 3 --rounds 1",
    "share": "--steps 2",
    "learning": "--minutes 0.01",
    "views": "--rounds 1 --only VoCo",
    "masked": "--preset tiny --crop 32 --rounds 1",
    "metrics": "--labels 1 --rounds 1 --medpy-rounds 0 --metrics full",
    "latency": "hssl_resnet34 --warm-up 0 --repeats 2",
    "submission": "--pretrainings 1 --seeds 10",
    "guard": "--scans 3 --others 2 --rounds 1 --data $BENCH_DATA/msd04_hippocampus",
}
LONG = {"large_report", "inference", "packing", "growth"}  # minutes at their smallest, or a SLURM


def test_every_script_is_tried_or_known_to_be_long():
    assert {script.file.stem for script in every.SCRIPTS} == {*SMALL} | LONG


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """Return DATA with as many phantoms as the split ``rule`` wants."""
    data = tmp_path_factory.mktemp("many")
    (data / "msd04_hippocampus").mkdir()
    registry.load("dataset", "msd04_hippocampus").phantom(data / "msd04_hippocampus", 60, 0)
    return data


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_script_prints_its_table(name, many):
    environment = {**os.environ, "BENCH_DATA": str(many), "OMP_NUM_THREADS": "1"}
    given = SMALL[name].replace("$BENCH_DATA", str(many)).split()
    command = [sys.executable, str(every.ROOT / "tools" / "speed" / f"{name}.py"), *given]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=every.ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "|--:|" in done.stdout
