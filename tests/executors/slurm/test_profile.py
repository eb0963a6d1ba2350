"""Profiles of bench.toml, and what sbatch is asked for."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from one_line import refused

from bench.executors.slurm.profile import EXAMPLES, Profile, Shape, profile
from bench.executors.slurm.sbatch import options, python


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
    text = 'partition = "gpu"\nmem_gb = 8\nsetup = ["module load x"]\n'
    path = toml(tmp_path, f"[cluster.big]\n{text}")
    assert profile("big", path) == Profile(partition="gpu", mem_gb=8.0, setup=("module load x",))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("partion = 'x'", "did you mean 'partition'"),
        ("gpus = '1'", "expected a whole number, got '1'; remove the quotes"),
        ("minutes = '1:00'", "expected a whole number, got '1:00'; e.g. minutes = 1440  # a day"),
        (
            "minutes = 12:00:00",
            "expected a whole number, got 12:00:00; e.g. minutes = 1440  # a day",
        ),
        ("gpus = -1", "gpus must be 0 or more, got -1; e.g. gpus = 1"),
        ("pack = 0", "pack must be 1 or more, got 0; e.g. pack = 4"),
        ("gres = 'gpu:1'\ngpus = 1", 'keep one of them; e.g. gres = "gpu:a100:1"'),
        (
            "minutes = 1",
            "too long for 'minutes' 1; use at most half of the time; e.g. minutes = 1440  # a day",
        ),
        (
            "image = 'here.sif'",
            "absolute path that every node can read, got 'here.sif'; e.g. image = ",
        ),
        ('account = "a\\n#SBATCH --x"', "needs one line of text"),
        ("mem_gb = 0.0", "mem_gb must be above 0 and at most 32768, got 0.0; e.g. mem_gb = 64"),
        ("mem_gb = 65536", "mem_gb must be above 0 and at most 32768, got 65536"),
        ("minutes = 86400", "minutes must be from 1 to 60000, got 86400"),
        ("time = 1440", "unknown key 'time'; write 'minutes'; e.g. minutes = 1440"),
        ("mem = '64G'", "unknown key 'mem'; write 'mem_gb'; e.g. mem_gb = 64"),
        ("setup = 'module load x'", '; e.g. setup = ["module load cuda"]'),
        ("max_gpus = 4", "limits the GPUs that 'gpus' asks for; set 'gpus' to 1 or more"),
        ("max_gpus = 4\ngpus = 1\nnodes = 3\nprocesses = 2", "needs (1 x 2 processes x 3 nodes)"),
        ("slurm_excluded = 'n1'", "of submitit named 'excluded'; did you mean 'exclude'?"),
        ("slurm_ = 1", "no parameter of submitit named ''"),
        ("slurm_job_name = 'x'", "bench sets 'job_name' itself; leave it out"),
        ("slurm_nodes = 2", "bench sets 'nodes' itself; write 'nodes' instead"),
        ("slurm_additional_parameters = {open-mode = 'truncate'}", "bench sets 'open-mode' itself"),
        ("slurm_additional_parameters = {nice = [1]}", "expected "),
        ("slurm_setup = 'module load x'", "a list"),
        ('slurm_comment = "a\\n#SBATCH --x"', "one line of text"),
        ("slurm_exclude = ['a']", "expected "),
        ('slurm_additional_parameters = {"a\\n#SBATCH --x" = 1}', "one line of text"),
        ("slurm_time = 30\nminutes = 30", "'minutes' sets the same; keep one of them"),
        ("slurm_gpus_per_task = 1\ngres = 'gpu:1'", "'gres' sets the same"),
        ("slurm_mem_per_cpu = '2GB'\nmem_gb = 4", "'mem_gb' sets the same"),
        ("slurm_account = 'a'\naccount = 'b'", "'account' sets the same"),
    ],
)
def test_a_mistake_in_a_section_is_one_line_with_file_and_line(tmp_path, line, told):
    path = toml(tmp_path, f"[data]\n\n[cluster.big]\nqos = 'x'\n{line}\n")
    with refused() as error:
        profile("big", path)
    assert str(error.value).startswith(f"{path}:5: cluster.big.{line.partition(' =')[0]}")
    assert told in str(error.value)


def test_the_example_of_each_key_is_one_that_is_read(tmp_path):
    assert {*EXAMPLES} == {field.name for field in fields(Profile)} - {"slurm"}
    for key, example in EXAMPLES.items():
        more = "gpus = 1\n" if key == "max_gpus" else ""
        path = toml(tmp_path, f"[cluster.big]\n{more}{key} = {example}\n")
        assert getattr(profile("big", path), key) != getattr(Profile(), key) or key in (
            "max_array_size",
            "signal",
            "requeues",
        )


KEYS = """[cluster.big]
slurm_mail_user = "me@lab"
slurm_time = "2-00:00"
slurm_gpus_per_task = 2
slurm_srun_args = ["--mpi", "none"]
slurm_additional_parameters = {reservation = "lab", gpu-bind = "none"}
"""


def test_any_slurm_key_goes_to_submitit_as_it_is(tmp_path):
    big = profile("big", toml(tmp_path, KEYS))
    light, heavy = (options(big, Shape(3, gpu), "n", ()) for gpu in (False, True))
    assert big.asks_for_gpus
    assert (light["mail_user"], light["time"]) == ("me@lab", "2-00:00")
    assert light["srun_args"] == ["--cpus-per-task", "3", "--mpi", "none"]
    more = {"reservation": "lab", "requeue": True}
    assert light["additional_parameters"] == more
    assert "gpus_per_task" not in light  # preparing asks for no GPU, whoever states it
    assert heavy["gpus_per_task"] == 2
    assert heavy["additional_parameters"] == {**more, "gpu-bind": "none"}
    counted = options(replace(big, slurm={"cpus_per_gpu": 4}), Shape(3, True), "n", ())
    assert (counted["cpus_per_task"], counted["srun_args"]) == (None, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\n[clusters.big]\n",
            ":2: clusters: section 'clusters' is unknown; write [data] or [cuda] or [cluster.NAME]",
        ),
        (
            "[cluster.big]\npartition = gpu  # fast\n",
            ':2: not TOML (Invalid value); text needs quotes: partition = "gpu"',
        ),
        ("[cluster.big]\nsetup = [module]\n", ":2: not TOML (Invalid value)"),
        (
            "[cluster.big]\nminutes = 24h\n",
            ":2: not TOML (Expected newline or end of document after a statement); a number has no unit: minutes = 24",
        ),
        (
            '[cluster.big]\npartition = "gpu\n',
            ":2: not TOML (Illegal character '\\n'); the quote is not closed",
        ),
        ("[cluster.big]\nminutes = 1 2\n", ":2: not TOML (Expected newline or end of document"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_its_number(tmp_path, text, message):
    path = toml(tmp_path, text)
    with refused() as error:
        profile("big", path)
    assert str(error.value).startswith(f"{path}{message}")
    assert "quotes" in message or "quotes" not in str(error.value)


def test_an_unknown_cluster_names_the_nearest(tmp_path):
    with refused("did you mean 'jean_zay'"):
        profile("jean_zai", toml(tmp_path, "[cluster.jean_zay]\n"))
    with refused(r"create it with a section \[cluster.x\]"):
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
