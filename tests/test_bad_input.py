"""Every mistake is one line that says what, where and what to do; never a traceback.

What can be known before any work exits 2; what only the work shows exits 1, in the table.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import reliability
import yaml
from one_line import refusal

import bench
from bench import registry
from bench.cli import main
from bench.document import overlay
from bench.executors.slurm import squeue
from bench.store import Store

pytestmark = pytest.mark.usefixtures("own_place")
NAME = "msd04_hippocampus"
NO_PHANTOMS = "\n".join(x for x in reliability.SMOKE.splitlines() if not x.startswith("phantoms"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    registry.load("dataset", NAME).phantom(root, 9, 0)
    return root


@pytest.fixture
def data(phantom, tmp_path):
    """Return a copy of the phantom that a test may damage, as ``--data`` takes it."""
    shutil.copytree(phantom, tmp_path / "data" / NAME)
    return tmp_path / "data"


@pytest.fixture
def written(tmp_path):
    """Return a function that writes the smoke protocol with changes laid over it."""

    def write(changes=None, text=None):
        path = tmp_path / "smoke.yaml"
        value = yaml.safe_load(reliability.SMOKE.replace("steps: 40", "steps: 2"))
        path.write_text(text if text is not None else yaml.safe_dump(overlay(value, changes or {})))
        return str(path)

    return write


PROTOCOLS = {  # changes as YAML: what is said of them
    "rows: {scratch: {method: scrach}}": ["scrach", "'scratch'", "rows.scratch"],
    "convention: medpi": ["medpi", "medpy"],
    "rows: {simclr3d: {params: {noise_std: [a, 1.0]}}}": ["noise_std", "'a'"],
    "finetune: []": ["finetune"],
    "rows: {mae: {method: mae3d, network: unet3d}}": ["'mae'", "mae3d", "unetr"],
    # a grid above the volume
    "rows: {voco: {method: voco, network: unet3d}}\n"
    "pretrain: {recipe: {resize: [32, 32, 16], scale: zscore}}": [
        *("'voco'", "(64, 64, 16)", "(32, 32, 16)", "resize")
    ],
    f"phantoms: {{{NAME}: {{cases: 0}}}}": ["cases"],
}


@pytest.mark.parametrize(("changes", "texts"), PROTOCOLS.items())
def test_a_wrong_protocol_is_refused_before_any_work(changes, texts, written, capsys):
    line = refusal(capsys, "run", written(yaml.safe_load(changes)), "--out", "out")
    for text in texts:
        assert text in line


MISSTATED = [  # changes as YAML, the key whose line is told, what is said of it
    ("metrics: [dice, dcie]", "metrics.1", "did you mean 'dice'"),
    ("metrics: [accuracy]", "metrics", "is for segmentation; use dice"),
    ("layout: {metric: dcie}", "layout.metric", "did you mean 'dice'"),
    ("finetune: {dataset: msd04_hipocampus}", "finetune.0.dataset", "did you mean"),
    ("finetune: {split: evne}", "finetune.0.split", "did you mean 'even'"),
    ("finetune: {split: rule}", "finetune.0.split", "at least 5 to test"),
    ("finetune: {folds: [3]}", "finetune.0.folds", "fold 3 of split 'even'"),
    ("finetune: {recipe: defaut}", "finetune.0.recipe", "did you mean 'default'"),
    ("finetune: {regions: {a: [9]}}", "finetune.0.regions", "1 anterior, 2 posterior"),
    ("finetune: {head: regions}", "finetune.0.head", "declares no regions"),
    ("finetune: {exclude: [hippocampus_3]}", "finetune.0.exclude", "did you mean"),
    ("finetune: {fractions: [5]}", "finetune.0.fractions", "less than half a patient"),
    ("finetune: {anchor: {mean: 0.9, metric: auc}}", "finetune.0.anchor.metric", ""),
    ("pretrain: {datasets: [{dataset: msd04}]}", "pretrain.datasets.0.dataset", ""),
    ("pretrain: {recipe: defaut}", "pretrain.recipe", "did you mean 'default'"),
    (
        "baseline: none\nrows: {simclr3d: {finetune: {recipe: x}}}",
        *("rows.simclr3d.finetune.recipe", "named 'x'"),
    ),
]


@pytest.mark.parametrize(("changes", "keys", "told"), MISSTATED)
def test_a_misstated_value_is_told_with_its_line(changes, keys, told, written, capsys, data):
    path = written(yaml.safe_load(changes))
    line = refusal(capsys, "plan", path, "--out", "out", "--data", "data")
    found = re.fullmatch(rf"bench: {re.escape(path)}:(\d+): {re.escape(keys)}: .*{told}.*", line)
    assert found, line
    stated = Path(path).read_text().splitlines()[int(found[1]) - 1]
    last = [key for key in keys.split(".") if not key.isdigit()][-1]
    assert last in stated or stated.strip().startswith("- "), stated


def test_a_protocol_without_rows_is_refused_by_name(written, capsys):
    text = yaml.safe_dump(yaml.safe_load(reliability.SMOKE) | {"rows": {}})
    line = refusal(capsys, "run", written(text=text), "--out", "out")
    assert "protocol 'smoke': 'rows' is empty" in line


NO_GPU = "[cluster.slow]\npartition = 'cpu'\n[cluster.fast]\ngpus = 1\n"  # bench.toml
HERE = "pretrain.precision bf16 needs a GPU, and this machine has none; use --executor slurm"
HALF = {  # flags: what is said; nothing is said where a profile asks for a GPU
    "": HERE,
    "--executor slurm": "SLURM is asked for none without --cluster",
    "--executor slurm --cluster slow": "slow] of bench.toml asks for none",
    "--executor slurm --cluster fast": "",
    "--set pretrain.precision=fp32": "",
}


@pytest.mark.parametrize(("words", "told"), HALF.items())
@pytest.mark.parametrize("gpus", ["", "0"])
def test_half_precision_is_refused_by_a_run_and_told_by_a_plan(
    words, told, gpus, written, capsys, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setattr(squeue, "require", lambda: None)  # as on a login node
    Path("bench.toml").write_text(NO_GPU)
    flags, path = words.split(), written({"pretrain": {"precision": "bf16"}})
    if not told or (not words and gpus):
        assert main(["plan", path, "--out", "out", *flags]) == 0
        return
    for dry in ([], ["--dry-run"]):
        line = refusal(capsys, "run", path, "--out", "out", *flags, *dry)
        assert told in line and "row " in line and "--set pretrain.precision=fp32" in line
    # which is told why a run would not start
    assert main(["plan", path, "--out", "out", *flags]) == 0
    shown = capsys.readouterr()
    assert "12 jobs" in shown.out and shown.err.count("\n") == 1
    assert told.split(" and this")[0].removeprefix("pretrain.precision bf16 ") in shown.err


SLIPS = {  # a name under [data] of bench.toml: what a plan says of it
    "msd04_hipocampus": f"data.msd04_hipocampus: no data set named 'msd04_hipocampus'; did you mean {NAME!r}?",
    "acdcc": "data.acdcc: no data set named 'acdcc'; did you mean 'acdc'?",
    "my_own_scans": "",
}


@pytest.mark.parametrize(("name", "text"), SLIPS.items())
def test_a_plan_names_what_is_no_data_set_in_bench_toml(name, text, written, capsys):
    Path("bench.toml").write_text(f"[data]\n{name} = 'empty'\n")
    assert main(["plan", written(), "--out", "out"]) == 0
    assert capsys.readouterr().err == (f"bench: bench.toml:2: {text}\n" if text else "")


def test_without_slurm_nothing_is_written(written, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    line = refusal(capsys, "run", written(), "--out", "out", "--executor", "slurm")
    assert "no sbatch on this machine" in line and not Path("out").exists()


FLAGS = {
    "--workers 0": "--workers 0: needs at least 1",
    "--only method": "write KEY=VALUE",
    "--set pretrain": "write KEY=VALUE",
    "--set recipe.scale=loud": "no scale named 'loud'",
    "--executor slurm --cluster x": "bench.toml",
}


@pytest.mark.parametrize(("flags", "told"), FLAGS.items())
def test_a_wrong_flag_is_refused_before_any_work(flags, told, written, capsys):
    assert told in refusal(capsys, "run", written(), "--out", "out", *flags.split())


def test_a_checkpoint_interval_that_is_no_number_is_refused(written, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_CHECKPOINT", "often")
    assert "BENCH_CHECKPOINT=often" in refusal(capsys, "run", written(), "--out", "out")


THREADS = {  # a variable and its text: the number that numexpr gets, which stumbles over a list
    "OMP_NUM_THREADS=4,2": "4",
    "NUMEXPR_NUM_THREADS=1, 8": "1",
    "OMP_NUM_THREADS=abc": "1",
    "NUMEXPR_NUM_THREADS=0": "1",
}


@pytest.mark.parametrize(("stated", "threads"), THREADS.items())
def test_a_list_of_threads_is_read_by_its_first_number(stated, threads, monkeypatch):
    monkeypatch.setenv("NUMEXPR_NUM_THREADS", "")
    monkeypatch.setenv(*stated.split("="))
    bench._one_number()
    assert os.environ["NUMEXPR_NUM_THREADS"] == threads


def test_numexpr_is_imported_without_a_word_where_openmp_has_a_list_of_threads():
    code = "import bench, os, numexpr, pandas; print(os.environ['NUMEXPR_NUM_THREADS'])"
    given = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    given["OMP_NUM_THREADS"] = "4,2"
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
    assert ran.stdout == "4\n" and "Error" not in ran.stderr


def test_data_that_is_not_there_names_the_three_ways_to_have_it(written, capsys):
    line = refusal(capsys, "run", written(text=NO_PHANTOMS), "--out", "out")
    assert "no --data DIR was given" in line and f"bench phantom {NAME}" in line


HEADS = {  # of a bench.json: what is said of it
    '{"schema": 7, "bench": "7.0"}': "writes schema 1; use the version that made the folder (7.0)",
    **dict.fromkeys(("", "{", "[1]", "null"), "bench.json: damaged"),
}


@pytest.mark.parametrize(("text", "told"), HEADS.items())
def test_an_output_folder_that_is_not_ours_is_left_alone(text, told, written, capsys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bench.json").write_text(text)
    assert told in refusal(capsys, "run", written(), "--out", "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["bench.json"]


def test_an_output_folder_that_cannot_be_is_refused(written, capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "is a file; name a folder" in refusal(capsys, "plan", written(), "--out", "file")
    for out, told in (("file", "is a file"), ("/proc/nowhere", "cannot be written")):
        line = refusal(capsys, "run", written(), "--out", out)
        assert told in line and "--out" in line
    Store.open(tmp_path / "out")
    monkeypatch.setattr(os, "access", lambda *_: False)  # who tests as root may write anywhere
    assert "cannot be written" in refusal(capsys, "run", written(), "--out", "out")


def test_a_damaged_header_is_found_before_any_work(data, written, capsys):
    (data / NAME / "imagesTr" / "hippocampus_003.nii.gz").write_bytes(b"")
    line = refusal(capsys, "run", written(), "--out", "out", "--data", "data")
    assert "the file is empty" in line and "hippocampus_003" in line
    assert f"bench check {NAME}" in line


def test_headers_are_read_once(data, written, capsys, monkeypatch):
    from bench.data import contents

    command = ["plan", written(), "--out", "out", "--data", "data"]
    assert main(command) == 0  # no folder, no memory
    Store.open(data.parent / "out")
    assert main(command) == 0
    monkeypatch.setattr(contents, "_header", lambda path: pytest.fail(f"{path} was read again"))
    assert main(command) == 0


def test_damage_in_the_voxels_fails_the_job_says_why_and_mended_it_runs_again(
    data, phantom, written, capsys, inlined, undrawn
):
    path = data / NAME / "imagesTr" / "hippocampus_003.nii.gz"
    os.truncate(path, path.stat().st_size // 2)
    only = ["--only", "row=scratch", "--only", "fraction=100"]
    command = ["run", written(), "--out", "out", "--data", "data", *only]
    assert main(command) == 1
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    lines = [line for line in shown.out.splitlines() if line.startswith("failed: ")]
    told = "the data end before"
    for line in lines:  # of every job that needs the case
        for text in (told, "hippocampus_003.nii.gz", "exclude: [hippocampus_003]"):
            assert text in line
    log = re.search(r"\(log (.+)\)", lines[0])[1]
    assert told in Path(log).read_text()
    assert main(["status", "--out", "out"]) == 0
    status = capsys.readouterr().out
    assert told in status and log in status
    shutil.copyfile(phantom / "imagesTr" / path.name, path)
    assert main(command) == 0
    assert "failed" not in capsys.readouterr().out.split("page:")[1]


def test_a_bug_in_one_method_fails_its_row_and_no_other(
    written, capsys, inlined, undrawn, monkeypatch
):
    method = registry.load("method", "simclr3d")
    monkeypatch.setattr(method, "loss", lambda self, batch: {"total": batch["nothing"]})
    assert main(["run", written(), "--out", "out"]) == 1
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert "KeyError: 'nothing'" in shown.out
    table = pd.read_parquet("out/records/smoke.parquet")
    assert set(table[table.row == "scratch"].status) <= {"ok", "empty_prediction"}
    assert set(table[table.row == "simclr3d"].status) == {"failed"}
