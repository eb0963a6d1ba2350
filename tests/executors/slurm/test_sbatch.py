"""What sbatch is given."""

import os

import pytest

from bench.errors import BenchError
from bench.executors.slurm import sbatch
from bench.executors.slurm.profile import Profile, Shape
from bench.executors.slurm.sbatch import options
from bench.runtime.memory import TUNABLES, UNCACHED


def submit(folder, tasks=1, **said):
    calls = [("out", (f"j{n}",), str(folder), 1) for n in range(tasks)]
    return sbatch.submit(folder, options(Profile(**said), Shape(), "bench-x", ()), calls, None)


def test_a_path_reaches_the_shell_quoted(fakes, tmp_path):
    fakes("sbatch", f'cp "$1" "{tmp_path}/script.sh"; echo Submitted batch job 7')
    folder = tmp_path / "a b; touch pwned"
    assert submit(folder, tasks=2) == ["7_0", "7_1"]
    script = (tmp_path / "script.sh").read_text()
    assert "#SBATCH --array=0-1%2" in script
    assert "--time" not in script
    command = script.splitlines()[-1]
    assert f"'{folder}'" in command
    assert "; touch" not in command.replace(str(folder), "")


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("AssocMaxSubmitJobLimit", sbatch.FullError),
        ("QOSGrpSubmitJobsLimit", sbatch.FullError),
        ("Unable to contact slurm controller (connect failure)", sbatch.LaterError),
        ("Socket timed out on send/recv operation", sbatch.LaterError),
        ("Batch job submission failed: Invalid job array specification", sbatch.FullError),
        ("invalid partition specified: x", BenchError),
    ],
)
def test_a_refusal_is_one_line_in_sbatchs_words_says_whether_it_passes_and_leaves_no_files(
    fakes, tmp_path, capsys, told, kind
):
    fakes("sbatch", f"echo 'sbatch: error: {told}' >&2; exit 1")
    with pytest.raises(BenchError) as error:
        submit(tmp_path / "f", tasks=3)
    assert type(error.value) is kind
    assert str(error.value).startswith(f"sbatch: {told} (3 tasks)") and "\n" not in str(error.value)
    assert capsys.readouterr().err == ""
    assert list((tmp_path / "f").glob("*.pkl")) == []


LIMITS = {
    "AssocMaxSubmitJobLimit": "MaxSubmitJobs",
    "QOSMaxSubmitJobPerUserLimit": "MaxSubmitJobs",
    "QOSMaxWallDurationPerJobLimit": "[cluster.NAME] in bench.toml",
}


@pytest.mark.parametrize(("told", "named"), LIMITS.items())
def test_a_refusal_names_the_limit_that_slurm_names_in_a_line_of_its_own(
    fakes, tmp_path, told, named
):
    generic = "Batch job submission failed: Job violates accounting/QOS policy (...)"
    lines = "; ".join(f"echo 'sbatch: error: {line}' >&2" for line in (told, generic))
    fakes("sbatch", f"{lines}; exit 1")
    with pytest.raises(BenchError) as error:
        submit(tmp_path / "f")
    assert str(error.value).startswith(f"sbatch: {told}; {generic} (1 tasks)")
    assert named in str(error.value)


def test_an_array_that_is_too_long_for_the_site_names_the_key(fakes, tmp_path):
    fakes("sbatch", "echo 'sbatch: error: Invalid job array specification' >&2; exit 1")
    with pytest.raises(BenchError, match="lower 'max_array_size'"):
        submit(tmp_path / "f", tasks=2)


def test_the_job_in_which_bench_runs_and_the_users_sbatch_variables_stay_outside(
    fakes, tmp_path, monkeypatch
):
    slurm = ("ARRAY_JOB_ID", "MEM_PER_CPU", "RESTART_COUNT", "CLUSTERS")
    sbatch = ("CLUSTERS", "JOB_NAME", "PARTITION", "MEM_PER_CPU", "ARRAY_INX", "WAIT", "GRES")
    inherited = {f"SLURM_{name}" for name in slurm} | {f"SBATCH_{name}" for name in sbatch}
    inherited |= {"SBATCH_EXPORT", "SQUEUE_STATES"}
    passed = {"SLURM_CONF", "SLURM_JWT", "SBATCH_ACCOUNT", "MY_TOKEN"}
    for name in inherited | passed:
        monkeypatch.setenv(name, "10")
    fakes("sbatch", f'env > "{tmp_path}/env"; echo Submitted batch job 7')
    submit(tmp_path / "f", partition="gpu", mem_gb=1.0)
    seen = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert not inherited & seen.keys()
    assert passed <= seen.keys() and UNCACHED in seen[TUNABLES]
    assert os.environ["SLURM_ARRAY_JOB_ID"] == "10"


def test_what_a_slurm_key_states_reaches_the_script_and_no_variable_overrules_it(
    fakes, tmp_path, monkeypatch
):
    for name in ("RESERVATION", "MEM_PER_NODE", "COMMENT"):
        monkeypatch.setenv(f"SBATCH_{name}", "theirs")
    keep = f'cp "$1" "{tmp_path}/script.sh"; env > "{tmp_path}/env"'
    fakes("sbatch", f"{keep}; echo Submitted batch job 7")
    keys = {"mem_per_cpu": "2GB", "additional_parameters": {"reservation": "a b"}}
    submit(tmp_path / "f", slurm=keys)
    script, seen = (tmp_path / "script.sh").read_text(), (tmp_path / "env").read_text()
    assert "#SBATCH --mem-per-cpu=2GB\n" in script and "#SBATCH --reservation='a b'\n" in script
    assert "SBATCH_COMMENT=theirs" in seen
    assert "RESERVATION" not in seen and "MEM_PER_NODE" not in seen
