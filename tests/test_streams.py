"""Standard streams that are closed, or take ASCII alone: the command does what it was asked."""

import os
import subprocess
import sys

import pytest

BENCH = [sys.executable, "-c", "import sys; from bench.cli import main; sys.exit(main())"]


def ran(words, redirected="", **variables):
    command = " ".join(["exec", '"$@"', redirected])
    shell, env = ["bash", "-c", command, "bench", *BENCH, *words], {**os.environ, **variables}
    return subprocess.run(shell, capture_output=True, text=True, check=False, env=env)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_costs_nothing_but_what_it_would_have_shown(closed, tmp_path):
    done = ran(["phantom", "msd04_hippocampus", str(tmp_path), "--cases", "2"], closed)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("2 synthetic cases" in done.stdout) == (">&-" not in closed.split())
    again = ["phantom", "msd04_hippocampus", str(tmp_path), "--cases", "2"]
    assert ran(again, closed).returncode == 2
    done = ran(["check", "msd04_hippocampus", "--data", str(tmp_path)], closed)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["PYTHONIOENCODING", "LC_ALL"],
)
def test_what_a_stream_cannot_spell_is_shown_in_ascii(variables, tmp_path):
    place = tmp_path / "Ünïcode"
    done = ran(["phantom", "msd04_hippocampus", str(place), "--cases", "1"], **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii() and "\\" in done.stdout and "code" in done.stdout
    again = ran(["phantom", "msd04_hippocampus", str(place), "--cases", "1"], **variables)
    assert again.returncode == 2 and again.stderr.startswith("bench: ")
    assert again.stderr.count("\n") == 1
