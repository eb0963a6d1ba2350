"""Profiles of bench.toml, and what sbatch is asked for."""

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.executors.slurm.profile import Profile, Shape, options, profile, python


def toml(tmp_path, text):
    path = tmp_path / "bench.toml"
    path.write_text(text)
    return path


def test_without_a_name_the_cluster_decides_and_no_gpu_is_asked_for():
    asked = options(profile(None), Shape(2, gpu=True), "n", ())
    assert asked["time"] is None  # submitit's own default would be five minutes
    assert asked["cpus_per_task"] == 2
    assert not {"gpus_per_node", "gres", "partition", "mem", "dependency"} & set(asked)


def test_a_section_is_read_with_its_types(tmp_path):
    path = toml(tmp_path, '[cluster.big]\npartition = "gpu"\nmem_gb = 8\nsetup = ["module load x"]\n')
    assert profile("big", path) == Profile(partition="gpu", mem_gb=8.0, setup=("module load x",))


@pytest.mark.parametrize(("line", "told"), [
    ("partion = 'x'", "did you mean 'partition'"), ("minutes = '1:00'", "expected a whole number"),
    ("gpus = -1", "gpus must be 0 or more"), ("pack = 0", "pack must be 1 or more"),
    ("gpus = 1\ngres = 'gpu:1'", "keep one"), ("minutes = 1", "too little of 'minutes' 1"),
    ("image = 'here.sif'", "absolute path"), ('account = "a\\n#SBATCH --x"', "one line of text"),
    ("mem_gb = 0.0", "mem_gb must be above 0"),
])  # fmt: skip
def test_a_mistake_in_a_section_is_one_line_with_file_and_line(tmp_path, line, told):
    path = toml(tmp_path, f"[data]\n\n[cluster.big]\n{line}\n")
    with pytest.raises(BenchError) as error:
        profile("big", path)
    assert told in str(error.value)
    assert f"{path}:3: cluster.big" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_cluster_names_the_nearest(tmp_path):
    with pytest.raises(BenchError, match="did you mean 'jean_zay'"):
        profile("jean_zai", toml(tmp_path, "[cluster.jean_zay]\n"))
    with pytest.raises(BenchError, match=r"write \[cluster.x\] into it"):
        profile("x", tmp_path / "none.toml")


def test_preparing_asks_for_no_gpu_and_may_go_elsewhere():
    big = Profile(partition="gpu", cpu_partition="cpu", gpus=1, constraint="a100")
    light, heavy = (options(big, Shape(1, gpu), "n", ()) for gpu in (False, True))
    assert (light["partition"], heavy["partition"]) == ("cpu", "gpu")
    assert "gpus_per_node" not in light
    assert "constraint" not in light
    assert heavy["gpus_per_node"] == 1


def test_a_step_is_given_its_cpus_and_a_task_may_be_requeued():
    asked = options(Profile(cpus=6), Shape(2), "n", ("7", "8_3"))
    assert asked["srun_args"] == ["--cpus-per-task", "6"]
    assert asked["additional_parameters"] == {"requeue": True}
    assert asked["dependency"] == "afterany:7:8_3"


def test_a_container_sees_the_folders_and_its_path_is_quoted():
    said = python(Profile(image="/images/a b.sif", gpus=1), [Path("/out; rm -rf x")])
    assert said == "apptainer exec --nv --bind '/out; rm -rf x' '/images/a b.sif' python3"
    assert python(Profile(python="/opt/python"), []) == "/opt/python"
