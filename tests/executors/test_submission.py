"""What sbatch is given."""

import pytest

from bench.errors import BenchError
from bench.executors import submission
from bench.executors.cluster import Profile, Shape, options


def test_a_path_reaches_the_shell_quoted(fakes, tmp_path):
    fakes("sbatch", f'cp "$1" "{tmp_path}/script.sh"; echo Submitted batch job 7')
    folder = tmp_path / "a b; touch pwned"
    calls = [("out", ("j1",), str(folder), 1), ("out", ("j2",), str(folder), 1)]
    asked = options(Profile(), Shape(), "bench-x", ())
    assert submission.submit(folder, asked, calls, None) == ["7_0", "7_1"]
    script = (tmp_path / "script.sh").read_text()
    assert "#SBATCH --array=0-1%2" in script
    assert "--time" not in script
    command = script.splitlines()[-1]
    assert f"'{folder}'" in command
    assert "; touch" not in command.replace(str(folder), "")


def test_a_refusal_is_one_line_in_sbatchs_words(fakes, tmp_path, capsys):
    fakes("sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    call = [("out", ("j1",), "f", 1)]
    with pytest.raises(BenchError, match=r"^sbatch: invalid partition specified: x \(1 tasks\)"):
        submission.submit(tmp_path / "f", options(Profile(), Shape(), "n", ()), call, None)
    assert capsys.readouterr().err == ""
