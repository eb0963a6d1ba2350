"""Every mistake is one line that says what, where and what to do; never a traceback.

What can be known before any work exits 2; what only the work shows exits 1, in the table.
"""

import gzip
import os
import re
import shutil
import struct
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import reliability
import yaml
from described import inline

from bench import registry
from bench.cli import main
from bench.executors import local
from bench.protocol.strict import overlay
from bench.store import Store

NAME = "msd04_hippocampus"
NO_PHANTOMS = "\n".join(x for x in reliability.SMOKE.splitlines() if not x.startswith("phantoms"))


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Work where there is no bench.toml, without a data folder of the person who tests."""
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(local, "run", inline)


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


def refused(capsys, *arguments):
    """Run a command that must be refused before any work; return its one line."""
    assert main([*arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"bench: .+\n", told.err), told.err
    return told.err.strip()


PROTOCOLS = {
    "method": ({"rows": {"scratch": {"method": "scrach"}}}, ["scrach", "'scratch'", "rows.scratch"]),
    "data set": ({"finetune": {"dataset": "msd04_hipocampus"}}, ["msd04_hipocampus", f"'{NAME}'"]),
    "network": ({"networks": {"unet3d": {"network": "unet"}}}, ["'unet'", "unet3d"]),
    "preset": ({"networks": {"unet3d": {"preset": "tinny"}}}, ["tinny", "'tiny'"]),
    "entry of networks": ({"rows": {"scratch": {"network": "unet"}}}, ["'unet'", "unet3d"]),
    "recipe": ({"finetune": {"recipe": "defalt"}}, ["defalt", "'default'"]),
    "split": ({"finetune": {"split": "rul"}}, ["'rul'", "'rule'"]),
    "metric": ({"metrics": ["dise"]}, ["dise", "'dice'"]),
    "convention": ({"convention": "medpi"}, ["medpi", "medpy"]),
    "parameter": ({"rows": {"simclr3d": {"params": {"temprature": 1.0}}}}, ["temprature", "'temperature'"]),
    "value of a parameter": (
        {"rows": {"simclr3d": {"params": {"temperature": "warm"}}}}, ["temperature", "warm"]),
    "values in a parameter": (
        {"rows": {"simclr3d": {"params": {"noise_std": ["a", 1.0]}}}}, ["noise_std", "'a'"]),
    "key": ({"finetunes": []}, ["finetunes", "'finetune'"]),
    "type": ({"pretrain": {"steps": "many"}}, ["pretrain.steps", "'many'"]),
    "no targets": ({"finetune": []}, ["finetune"]),
    "crop": ({"networks": {"unet3d": {"crop": [24, 16, 16]}}}, ["24", "multiple of 16", "16 or 32"]),
    "fraction": ({"finetune": {"fractions": [1]}}, ["1 %", "less than half a patient", "at least"]),
    "fraction of 0": ({"finetune": {"fractions": [0]}}, ["fractions", "1 to 100"]),
    "batch": ({"pretrain": {"batch": 1}}, ["simclr3d", "batch of at least 2"]),
    "tokens on a convolutional network": (
        {"rows": {"mae": {"method": "mae3d", "network": "unet3d"}}}, ["'mae'", "mae3d", "unetr"]),
    "grid above the volume": (
        {"pretrain": {"recipe": {"resize": [32, 32, 16], "scale": "zscore"}},
         "rows": {"voco": {"method": "voco", "network": "unet3d"}}},
        ["'voco'", "(64, 64, 16)", "(32, 32, 16)", "resize"]),
    "recipe against itself": (
        {"finetune": {"recipe": {"resize": [32, 32, 16], "spacing": [1.0, 1.0, 1.0]}}},
        ["'spacing'", "'resize'", "exclude each other"]),
    "no baseline": ({"rows": {"scratch": {"method": "byol3d"}}}, ["baseline: none"]),
    "split without a part": ({"phantoms": {NAME: {"cases": 1}}}, ["leave_one_out"]),
    "no phantom": ({"phantoms": {NAME: {"cases": 0}}}, ["cases"]),
}  # fmt: skip


@pytest.mark.parametrize("what", PROTOCOLS)
def test_a_wrong_protocol_is_refused_before_any_work(what, written, capsys):
    changes, told = PROTOCOLS[what]
    line = refused(capsys, "run", written(changes), "--out", "out")
    for text in told:
        assert text in line


TEXTS = {
    "empty": ("", "expected a mapping"),
    "a list": ("- a\n- b\n", "expected a mapping"),
    "not YAML": ("title: [smoke\nrows: }\n", "not YAML"),
    "a tab": ("title: smoke\n\trows: {}\n", "not YAML"),
    "a key twice": ("title: a\ntitle: b\n", "stands twice"),
    "an alias to itself": ("title: &a [*a]\n", "smoke.yaml"),
    "a tag": ("title: !!python/object:os.system {}\n", "smoke.yaml"),
    "binary": ("\x00\x01", "not YAML"),
    "no rows": (yaml.safe_dump(yaml.safe_load(reliability.SMOKE) | {"rows": {}}), "'rows' is empty"),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_file_that_is_no_protocol_is_refused_by_name(what, written, capsys):
    text, told = TEXTS[what]
    line = refused(capsys, "run", written(text=text), "--out", "out")
    assert told in line and "smoke" in line


NO_GPU = "[cluster.slow]\npartition = 'cpu'\n[cluster.fast]\ngpus = 1\n"  # bench.toml
HALF = {  # flags, what is said; nothing is said where a profile asks for a GPU
    "here": ([], "pretrain.precision bf16 needs a GPU, and this machine has none; take --executor slurm"),
    "no profile": (["--executor", "slurm"], "SLURM is asked for none without --cluster"),
    "a slow profile": (
        ["--executor", "slurm", "--cluster", "slow"],
        "[cluster.slow] of bench.toml asks for none",
    ),
    "a fast profile": (["--executor", "slurm", "--cluster", "fast"], ""),
    "in full": (["--set", "pretrain.precision=fp32"], ""),
}


@pytest.mark.parametrize("what", HALF)
@pytest.mark.parametrize("gpus", ["", "0"])
def test_half_precision_is_refused_at_once_where_no_gpu_is(what, gpus, written, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    Path("bench.toml").write_text(NO_GPU)
    flags, told = HALF[what]
    path = written({"pretrain": {"precision": "bf16"}})
    if not told or (what == "here" and gpus):
        assert main(["plan", path, "--out", "out", *flags]) == 0
        return
    for command in ("plan", "run"):
        line = refused(capsys, command, path, "--out", "out", *flags)
        assert told in line and "row " in line and "--set pretrain.precision=fp32" in line


FLAGS = {
    "no data folder": (["--data", "nowhere"], "nowhere: no such data folder"),
    "workers": (["--workers", "0"], "--workers 0: needs at least 1"),
    "only without value": (["--only", "method"], "write KEY=VALUE"),
    "only of an unknown key": (["--only", "methods=scratch"], "'method'"),
    "only of an unknown value": (["--only", "method=scrach"], "'scratch'"),
    "only of nothing": (["--only", "fraction=7"], "--only fraction=7"),
    "set without value": (["--set", "pretrain"], "write KEY=VALUE"),
    "set of an unknown path": (["--set", "pretrain.stepz=2"], "pretrain.steps"),
    "set of a fact": (["--set", "data.split=x"], "is a fact"),
    "set of another type": (["--set", "pretrain.steps=many"], "expected something like"),
    "set of an unknown name": (["--set", "finetune.optimiser.name=adamax"], "adamw, adam, sgd"),
    "set of an unknown precision": (["--set", "pretrain.precision=fp8"], "fp32, bf16"),
    "set below zero": (["--set", "finetune.steps=-1"], "above 0"),
    "set of a crop": (["--set", "network.crop=[20, 16, 16]"], "multiple of 16"),
    "set of a preset": (["--set", "network.preset=huge"], "preset"),
    "set of a recipe": (["--set", "recipe.scale=loud"], "no scale named 'loud'"),
    "set of a batch": (["--set", "pretrain.batch=1"], "batch of at least 2"),
    "a scale it lacks": (["--scale", "pilot"], "has no scale 'pilot'"),
    "a cluster that is not there": (["--executor", "slurm", "--cluster", "x"], "bench.toml"),
}


@pytest.mark.parametrize("what", FLAGS)
def test_a_wrong_flag_is_refused_before_any_work(what, written, capsys):
    flags, told = FLAGS[what]
    assert told in refused(capsys, "run", written(), "--out", "out", *flags)


def test_a_checkpoint_interval_that_is_no_number_is_refused(written, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_CHECKPOINT", "often")
    assert "BENCH_CHECKPOINT=often" in refused(capsys, "run", written(), "--out", "out")


def test_data_that_is_not_there_names_the_three_ways_to_have_it(written, capsys):
    line = refused(capsys, "run", written(text=NO_PHANTOMS), "--out", "out")
    assert "no --data DIR was given" in line and f"bench phantom {NAME}" in line


def test_an_empty_data_folder_says_what_to_unpack(tmp_path, written, capsys):
    (tmp_path / "data" / NAME).mkdir(parents=True)
    assert "imagesTr" in refused(capsys, "run", written(), "--out", "out", "--data", "data")


HEADS = {  # of a bench.json: what is said of it
    '{"schema": 7, "bench": "7.0"}': "this bench writes schema 1; use the version that made it (7.0)",
    **dict.fromkeys(("", "{", "[1]", "null"), "bench.json: damaged"),
}


@pytest.mark.parametrize(("text", "told"), HEADS.items())
def test_an_output_folder_that_is_not_ours_is_left_alone(text, told, written, capsys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bench.json").write_text(text)
    assert told in refused(capsys, "run", written(), "--out", "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["bench.json"]


def test_an_output_folder_that_cannot_be_is_refused(written, capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for out, told in (("file", "is a file"), ("/proc/nowhere", "cannot be written")):
        line = refused(capsys, "run", written(), "--out", out)
        assert told in line and "--out" in line
    Store.open(tmp_path / "out")
    monkeypatch.setattr(os, "access", lambda *_: False)  # who tests as root may write anywhere
    assert "cannot be written" in refused(capsys, "run", written(), "--out", "out")


def patched(at, layout, *values):
    """Return a change of a NIfTI-1 header's bytes."""

    def change(path):
        raw = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into(f"<{layout}", raw, at, *values)
        path.write_bytes(gzip.compress(bytes(raw), 1))

    return change


def edited(act):
    """Return a change of an image's voxels: ``act`` gives others."""

    def change(path):
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(act(np.asarray(image.dataobj).copy()), image.affine), path)

    return change


def one_voxel(value):
    """Return a change that gives one voxel another value."""

    def act(array):
        array[3, 3, 3] = value
        return array

    return edited(act)


HEADERS = {  # folder, change, what is told
    "a label is missing": ("labelsTr", lambda p: p.unlink(), "1 file(s) missing"),
    "an image is missing": ("imagesTr", lambda p: p.unlink(), "1 file(s) missing"),
    "empty file": ("imagesTr", lambda p: p.write_bytes(b""), "the file is empty"),
    "not gzip": ("imagesTr", lambda p: p.write_bytes(b"x" * 999), "the name says gzip"),
    "cut in the header": ("imagesTr", lambda p: p.write_bytes(p.read_bytes()[:40]), "header"),
    "a NaN in the affine": ("imagesTr", patched(280, "f", float("nan")), "affine holds NaN"),
    "a NaN in the slope": ("imagesTr", patched(112, "f", float("nan")), "scl_slope"),
    "a spacing of zero": ("imagesTr", patched(80, "f", 0.0), "pixdim"),
    "giant dimensions": ("imagesTr", patched(40, "4h", 3, 32000, 32000, 32000), "GiB"),
    "negative dimensions": ("imagesTr", patched(40, "4h", 3, -3, 20, 20), "not positive"),
    "two axes": ("imagesTr", patched(40, "4h", 2, 40, 40, 1), "axes"),
    "a type that is no number": ("imagesTr", patched(70, "h", 128), "datatype"),
    "image and label differ": ("labelsTr", edited(lambda a: a[1:]), "its image hippocampus_003.nii.gz"),
    "two channels": (
        "imagesTr",
        edited(lambda a: np.stack([a, a], axis=-1)),
        "2 channel(s), the data set declares 1",
    ),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_damaged_header_is_found_before_any_work(what, data, written, capsys):
    folder, change, told = HEADERS[what]
    change(data / NAME / folder / "hippocampus_003.nii.gz")
    line = refused(capsys, "run", written(), "--out", "out", "--data", "data")
    assert told in line and "hippocampus_003" in line and f"bench check {NAME}" in line


def test_headers_are_read_once(data, written, capsys, monkeypatch):
    from bench.data import contents

    command = ["plan", written(), "--out", "out", "--data", "data"]
    assert main(command) == 0  # no folder, no memory
    Store.open(data.parent / "out")
    assert main(command) == 0
    monkeypatch.setattr(contents, "_header", lambda path: pytest.fail(f"{path} was read again"))
    assert main(command) == 0


def truncated(path):
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])


VOXELS = {
    "a truncated file": ("imagesTr", truncated, "the data end before"),
    "a NaN voxel": ("imagesTr", one_voxel(np.nan), "1 voxels are NaN"),
    "a label outside the set": ("labelsTr", one_voxel(77), "77"),
}


@pytest.mark.parametrize("what", VOXELS)
def test_damage_in_the_voxels_fails_the_job_and_the_table_says_why(what, data, written, capsys, here):
    folder, change, told = VOXELS[what]
    change(data / NAME / folder / "hippocampus_003.nii.gz")
    assert main(["run", written(), "--out", "out", "--data", "data"]) == 1
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    line, *others = [x for x in shown.out.splitlines() if x.startswith("failed: ")]
    for one in (line, *others):  # of every job that needs the case
        assert told in one and "hippocampus_003.nii.gz" in one and "exclude: [hippocampus_003]" in one
    log = re.search(r"\(log (.+)\)", line)[1]
    assert told in Path(log).read_text()
    capsys.readouterr()
    assert main(["status", "--out", "out"]) == 0
    status = capsys.readouterr().out
    assert told in status and log in status


def test_a_failed_job_runs_again_when_its_data_is_mended(data, phantom, written, capsys, here):
    path = data / NAME / "imagesTr" / "hippocampus_003.nii.gz"
    one_voxel(np.nan)(path)
    only = ["--only", "row=scratch", "--only", "fraction=100"]
    command = ["run", written(), "--out", "out", "--data", "data", *only]
    assert main(command) == 1
    shutil.copyfile(phantom / "imagesTr" / path.name, path)
    assert main(command) == 0
    assert "failed" not in capsys.readouterr().out.rpartition("page:")[0].rpartition("page:")[2]


def test_a_bug_in_one_method_fails_its_row_and_no_other(written, capsys, here, monkeypatch):
    method = registry.load("method", "simclr3d")
    monkeypatch.setattr(method, "loss", lambda self, batch: {"total": batch["nothing"]})
    assert main(["run", written(), "--out", "out"]) == 1
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert "KeyError: 'nothing'" in shown.out
    table = pd.read_parquet("out/records/smoke.parquet")
    assert set(table[table.row == "scratch"].status) <= {"ok", "empty_prediction"}
    assert set(table[table.row == "simclr3d"].status) == {"failed"}
