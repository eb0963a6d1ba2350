"""``bench new``: what it writes runs as it stands, and overwrites nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from one_line import full_disk, refusal

from bench import plugins, registry
from bench.cli import main
from bench.data import split
from bench.data.check import check
from bench.extras.new import TEMPLATES
from bench.protocol import read

KINDS = ("method", "dataset", "network", "protocol")
WRITTEN = (*KINDS, "slices")  # a method for slices, too
DOCS = Path(__file__).resolve().parents[2] / "docs"
pytestmark = pytest.mark.usefixtures("own_place")


@pytest.fixture
def made(tmp_path):
    """Return a folder with one of each kind under names of their own, and a method for slices."""
    slices = ["new", "method", "deep_slices", "--dims", "2", "--to", str(tmp_path)]
    assert main(slices) == 0
    for kind in KINDS:
        assert main(["new", kind, f"deep_{kind}", "--to", str(tmp_path)]) == 0
    return tmp_path


def test_three_files_of_a_kind_can_be_planned_as_they_are_beside_scratch_and_two_known(
    made, capsys
):
    files = {file.name for kind in WRITTEN for file in made.glob(f"*deep_{kind}*")}
    three = ("{}.py", "test_{}.py", "{}.yaml")
    assert files == {name.format(f"deep_{kind}") for kind in WRITTEN for name in three}
    assert (made / "splits" / "deep_dataset.mine.json").exists()
    text = "".join(file.read_text() for file in made.rglob("*.*") if file.is_file())
    assert not [
        w for k in KINDS for w in (f"my_{k}", f"My {k}", f"My{k.capitalize()}") if w in text
    ]
    assert "class DeepMethod(Method)" in text and 'title = "Deep method"' in text
    for kind in WRITTEN:
        protocol = read(made / f"deep_{kind}.yaml")
        mine = {f"deep_{kind}"} & {
            kind in ("method", "slices") and r.method for r in protocol.rows.values()
        }
        assert len({r.method for r in protocol.rows.values()} - mine) == 3 and protocol.phantoms
        assert main(["plan", str(made / f"deep_{kind}.yaml")]) == 0
        for scale, controls in (("smoke", ()), ("paper", ("ceiling",))):
            at_scale = read(made / f"deep_{kind}.yaml", scale)
            assert at_scale.controls == controls and bool(at_scale.finetune[0].tune) == bool(
                controls
            )
    assert "22 jobs" in capsys.readouterr().out


def test_nothing_is_overwritten_and_nothing_written_beside_what_is_there(tmp_path, capsys):
    (tmp_path / "test_deep.py").write_text("mine")
    line = refusal(capsys, "new", "method", "deep", "--to", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["test_deep.py"]
    assert "test_deep.py: there already, and nothing is overwritten" in line


def test_a_folder_that_is_none_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = refusal(capsys, "new", "method", "deep", "--to", tmp_path / "file")
    assert "name a folder to write to" in line


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("to", [".", "deep/folder"])
def test_a_disk_that_is_full_in_the_middle_of_a_file_leaves_none(kind, to, tmp_path, capsys):
    limit = 700 if kind == "protocol" else 1040  # some files of each kind are smaller
    with full_disk(limit):
        line = refusal(capsys, "new", kind, "deep", "--to", to)
    assert "name a folder to write to" in line
    assert not list(tmp_path.iterdir())


NAMES = ["../x", "a" * 101, "a-b", "", "class", "_x", "test_x", "1a", "é"]
TAKEN = ("method scratch", "dataset acdc", "network unet3d", "protocol voco_table1")
REFUSED = {  # words: what is said
    **{f"method {name}": "is no name for a method" for name in NAMES},
    **dict.fromkeys(TAKEN, "is there already"),
    **{f"protocol {name}": f"which {name}.py would hide" for name in ("torch", "json", "pytest")},
    **{f"{k} deep --dims 2": f"only for a method; leave it out for a {k}" for k in KINDS[1:]},
}


@pytest.mark.parametrize(("words", "text"), REFUSED.items())
def test_what_cannot_be_is_refused_and_nothing_is_written(words, text, tmp_path, capsys):
    assert text in refusal(capsys, "new", *words.split(" "), "--to", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_how_to_pages_begin_with_the_templates_themselves():
    for kind, page in (("method", "add_a_method.md"), ("dataset", "add_a_data_set.md")):
        text = (TEMPLATES / f"my_{kind}.py").read_text()
        assert f"```python\n{text}```" in (DOCS / page).read_text()
        assert len([line for line in text.splitlines() if line.strip()]) < 40


def test_the_example_of_classes_from_a_table_keeps_visits_of_a_patient_together(tmp_path):
    _, code, text, *_ = re.findall(
        r"```(?:python|yaml)\n(.*?)```", (DOCS / "add_a_data_set.md").read_text(), re.DOTALL
    )
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    (tmp_path / "my_visits.py").write_text(code)
    (tmp_path / "my_visits.yaml").write_text(text)
    table = ["patient,visit,tumour"]
    for n in range(20):
        patient, visit = f"P{n // 2:02d}", f"visit{n % 2 + 1}"
        image = np.random.default_rng(n).normal(100, 20, (8, 8, 8)).astype(np.float32)
        (tmp_path / "my_visits" / patient / visit).mkdir(parents=True)
        nib.save(
            nib.Nifti1Image(image, np.diag([2.0, 2.0, 2.0, 1.0])),
            tmp_path / "my_visits" / patient / visit / "t1.nii.gz",
        )
        table += [f"{patient},{visit},{'yes' if n // 2 % 2 else 'no'}"] * (n < 18)
    (tmp_path / "my_visits" / "labels.csv").write_text("\n".join(table))
    protocol = read(tmp_path / "my_visits.yaml")
    assert (protocol.metrics, protocol.finetune[0].split) == (("accuracy", "auc"), "even")
    dataset = registry.load("dataset", "my_visits")()
    cases = dataset.listed(tmp_path / "my_visits")
    assert [(case.id, case.patient, case.label) for case in cases[1:4]] == [
        ("P00_visit2", "P00", 0),
        ("P01_visit1", "P01", 1),
        ("P01_visit2", "P01", 1),
    ]
    assert [case.label for case in cases[-2:]] == [None, None]
    assert check(dataset, tmp_path / "my_visits") == []
    (fold,) = split.folds(dataset, "my_visits", cases, "even")
    assert len({*fold.train, *fold.val, *fold.test}) == 9


def test_the_method_of_the_template_mirrors_the_axes_that_its_class_names(made):
    plugins.use([made / "deep_method.py"])
    params = registry.load("method", "deep_method").Params(noise=0.0)
    crop = torch.arange(8.0).reshape(1, 1, 2, 2, 2).repeat(64, 1, 1, 1, 1)
    views = params.views({"crop": crop}, (2, 2, 2), torch.Generator().manual_seed(0))
    ways = dict(zip(views["way"].tolist(), views["mirrored"], strict=True))
    assert ways[0].flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert ways[4].flatten().tolist() == [4, 5, 6, 7, 0, 1, 2, 3]  # x, the first axis, backwards
    assert ways[7].flatten().tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_the_method_for_slices_mirrors_x_and_y_alone(made):
    plugins.use([made / "deep_slices.py"])
    method = registry.load("method", "deep_slices")
    crop = torch.arange(4.0).reshape(1, 1, 2, 2, 1).repeat(64, 1, 1, 1, 1)
    views = method.Params(noise=0.0).views(
        {"crop": crop}, (2, 2, 1), torch.Generator().manual_seed(0)
    )
    ways = dict(zip(views["way"].tolist(), views["mirrored"].flatten(1).tolist(), strict=True))
    assert method.dims == 2
    assert ways == {0: [0, 1, 2, 3], 1: [1, 0, 3, 2], 2: [2, 3, 0, 1], 3: [3, 2, 1, 0]}


def test_the_test_of_the_template_names_nothing_of_its_method():
    text = (TEMPLATES / "test_my_method.py").read_text()
    assert not re.findall("mirrored|noise|way", text)


@pytest.mark.slow
def test_a_new_method_is_trained_and_scored_in_processes_of_its_own(made, capsys):
    """Tiny: what travels to the workers is looked at, and the report from rows alone."""
    protocol = yaml.safe_load((made / "deep_method.yaml").read_text())
    protocol["rows"] = {name: protocol["rows"][name] for name in ("scratch", "deep_method")}
    protocol["phantoms"]["msd04_hippocampus"]["cases"] = 6
    section = protocol["finetune"][0]
    section["fractions"], section["split"] = [100], "even"
    protocol["scales"]["smoke"] = {"pretrain": {"steps": 2}, "finetune": {"steps": 2}}
    path = made / "tiny.yaml"
    path.write_text(yaml.safe_dump(protocol))
    assert main(["run", str(path), "--workers", "1"]) == 0, capsys.readouterr()
    assert "Deep method" in capsys.readouterr().out
    told = f"main(['report', {str(path)!r}])"
    code = f"import sys; from bench.cli import main; {told}; print('torch' in sys.modules)"
    clean = {k: v for k, v in plugins.os.environ.items() if k != plugins.PATHS}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean, check=True
    )
    assert "Deep method" in ran.stdout and ran.stdout.endswith("False\n")


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITTEN)
def test_the_test_that_is_written_passes_and_the_protocol_runs(made, kind):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"test_deep_{kind}.py",
    ]
    ran = subprocess.run(command, cwd=made, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert main(["run", str(made / f"deep_{kind}.yaml"), "--workers", "2"]) == 0


SUITES = """\
import json, sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
import pytest
ended = []
for words in json.loads(sys.argv[1]):
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "bench.conformance.options", *words])
    ended.append((int(code), out.getvalue(), err.getvalue()))
print(json.dumps(ended))
"""


def suites(folder, *runs):
    """Run the suite on what is in a folder, once for each list of words, in one process; return (code, out, err)."""
    command = [sys.executable, "-c", SUITES, json.dumps(runs)]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


MISFITS = {  # words of pytest: what is said
    "--dataset deep_method.py": "--dataset deep_method.py: no such dataset; it is a method, use --method",
    "--network deep_nothing": "--network deep_nothing: no such network; 'bench list networks' prints all",
    "--method gone.py": "gone.py: no such file or folder",
    "--dataset deep_dataset.py --crop 16,16,16": "--crop: is only for a method, and no --method is given",
    "": "bench.conformance: name what to test: --method, --dataset or --network FILE",
}
OF_ITS_OWN = ["test_deep_dataset.py", "--method", "deep_method.py"]  # it says what it tries


def test_options_that_do_not_fit_what_is_tried_are_one_line(made):
    misfits = [["--pyargs", "bench.conformance", *words.split()] for words in MISFITS]
    *ended, (code, out, err) = suites(made, *misfits, OF_ITS_OWN)
    for (status, shown, error), text in zip(ended, MISFITS.values(), strict=True):
        assert status == 4 and text in error and error.count("\n") <= 2, error
        assert "Traceback" not in shown + error
    assert code == 2 and "tests what its CONFORMANCE names, and --method is for" in out
    assert "Traceback" not in out + err


@pytest.mark.slow
def test_the_suite_runs_on_a_file_as_on_a_name(made):
    words = "--method deep_method.py --dataset deep_dataset.py --network deep_network.py"
    ((code, out, _),) = suites(made, ["--pyargs", "bench.conformance", *words.split()])
    assert code == 0, out
