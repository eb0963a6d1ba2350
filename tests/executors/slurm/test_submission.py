"""What sbatch is given."""

import os

import pytest

from bench.errors import BenchError
from bench.executors.slurm import submission
from bench.executors.slurm.profile import Profile, Shape, options


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


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("AssocMaxSubmitJobLimit", submission.FullError), ("QOSGrpSubmitJobsLimit", submission.FullError),
        ("Unable to contact slurm controller (connect failure)", submission.LaterError),
        ("Socket timed out on send/recv operation", submission.LaterError),
        ("invalid account", BenchError),
    ],
)  # fmt: skip
def test_refusals_that_pass_are_told_from_those_that_stay_and_leave_no_files(fakes, tmp_path, told, kind):
    fakes("sbatch", f"echo 'sbatch: error: {told}' >&2; exit 1")
    calls = [("out", (f"j{n}",), "f", 1) for n in range(3)]
    with pytest.raises(BenchError) as error:
        submission.submit(tmp_path / "f", options(Profile(), Shape(), "n", ()), calls, None)
    assert type(error.value) is kind
    assert list((tmp_path / "f").glob("*.pkl")) == []


def test_the_job_in_which_bench_runs_and_the_users_sbatch_variables_stay_outside(
    fakes, tmp_path, monkeypatch
):
    inherited = {"SLURM_ARRAY_JOB_ID": "10", "SLURM_MEM_PER_CPU": "500", "SLURM_RESTART_COUNT": "3",
                 "SBATCH_JOB_NAME": "other", "SBATCH_PARTITION": "theirs"}  # fmt: skip
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "mine", "MY_TOKEN": "1"}
    for name, value in (inherited | kept).items():
        monkeypatch.setenv(name, value)
    fakes("sbatch", f'env > "{tmp_path}/env"; echo Submitted batch job 7')
    asked = options(Profile(partition="gpu"), Shape(), "bench-x", ())
    submission.submit(tmp_path / "f", asked, [("out", ("j1",), "f", 1)], None)
    seen = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert not inherited.keys() & seen.keys()
    assert kept.items() <= seen.items()
    assert os.environ["SLURM_ARRAY_JOB_ID"] == "10"
