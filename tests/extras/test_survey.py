"""``bench check``: what there is, in the terminal and on the page, beside what is wrong."""

import base64
import html
import io
import json
import re

import nibabel as nib
import numpy as np
import pytest
from one_line import refusal
from PIL import Image

from bench import registry
from bench.cli import main
from bench.data import split as splits
from bench.data.check import check
from bench.data.layout_msd import msd_folder
from bench.dataset import Case, Dataset, Recipe
from bench.extras.survey import measure as surveys
from bench.extras.survey.measure import Survey, labels, notes, number, overview
from bench.extras.survey.page import page
from bench.extras.survey.text import as_text
from bench.show.thumbnail import SIDE, colours

pytestmark = pytest.mark.usefixtures("own_place")


def write(root, case, image, label, spacing=(1.0, 1.0, 2.0)):
    for folder, array in (("imagesTr", image), ("labelsTr", label)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), root / folder / f"{case}.nii.gz")


@pytest.fixture
def root(tmp_path):
    """Return six MR cases of 10 x 8 x 6 voxels; label 40 fills 2 x 2 x 1, the fifth case has an 9 as well."""
    rng, root = np.random.default_rng(0), tmp_path / "own"
    for n in range(1, 7):
        image = rng.integers(0, 100, (10, 8, 6)).astype(np.int16)
        label = np.zeros((10, 8, 6), np.uint8)
        # in RAS+ left out of the picture's upper right corner: right, anterior
        label[:2, -2:, 3] = 40
        label[5, 5, 5] = 9 if n == 5 else 0
        write(root, f"c{n}", image, label)
    told = {
        "name": "Own <b>",
        "modality": {"0": "T1"},
        "labels": {"0": "background", "40": "lesion"},
    }
    (root / "dataset.json").write_text(json.dumps(told))
    return root


def surveyed(root, *, draw=False):
    survey = Survey(root.name, msd_folder(root), root, draw=draw)
    survey.findings = check(survey.dataset, root, 2, look=survey.look)
    return survey


def test_what_there_is_in_numbers(root, capsys):
    survey = surveyed(root)
    assert overview(survey) == [
        ("cases", "6; with label 6"),
        ("size", "10 x 8 x 6 voxels"),
        ("spacing", "1 x 1 x 2 mm"),
        ("field of view", "10 x 8 x 12 mm"),
    ]
    lesion, strange = labels(survey)
    assert (lesion.value, lesion.name, lesion.cases, lesion.of) == (1, "lesion", 6, 6)
    assert lesion.ml == pytest.approx((0.008,) * 6)  # 4 voxels of 2 mm^3
    assert (strange.value, strange.name, strange.cases) == (9, "not declared", 1)
    assert main(["check", "own", "--data", str(root.parent)]) == 1
    by_name = capsys.readouterr().out
    assert main(["check", str(root)]) == 1  # by its path
    out = capsys.readouterr().out
    assert re.search(r"even +4 +1 +1 +1\n", out)  # of six: a fifth tests, a tenth validates
    assert (
        out == by_name
        and "c5      label_value" in out
        and out.endswith("\nown: 6 cases, 1 finding\n")
    )


def test_the_official_number_stands_beside_what_is_there(tmp_path, capsys):
    real, synthetic = tmp_path / "real" / "msd04_hippocampus", tmp_path / "msd04_hippocampus"
    for folder in (real, synthetic):
        folder.mkdir(parents=True)
        registry.load("dataset", folder.name).phantom(folder, 6, 0)
    (synthetic / ".bench_phantom").touch()
    assert main(["check", real.name, "--data", str(real.parent)]) == 0
    out = capsys.readouterr().out
    assert "6 of 390 published; with label 6 of 260" in out
    assert out.endswith("msd04_hippocampus: 6 of 390 published cases, nothing wrong\n")
    assert main(["check", real.name, "--data", str(synthetic.parent)]) == 0
    assert capsys.readouterr().out.endswith("msd04_hippocampus: 6 cases, nothing wrong\n")


class Own(Dataset):
    """Classified scans of four patients, two of them without a class, and maps that no case has."""

    title, licence, modality, channels = "Own", "none", "MR", ("T1",)
    task, labels = "classification", {0: "well", 1: "ill"}
    recipes, splits = {"default": Recipe()}, {"mine": "own.mine.json"}

    def cases(self, root):
        files = sorted(root.glob("imagesTr/c*.nii.gz"))
        return [
            Case(f.name[:2], f.name[:2], (f,), None if n > 3 else 0) for n, f in enumerate(files)
        ]


@pytest.mark.parametrize(
    ("lists", "line"),
    [
        ({"train": ["c1"], "test": ["c2", "c3", "c4"]}, ""),
        ({"train": ["c1"], "test": ["c4"], "note": "without scanner 3"}, ""),
        (
            {"train": ["c1"], "test": ["c2", "c4"]},
            "1 of 4 labelled patients is in no part (c3); list them,",
        ),
        ({"test": ["c4"]}, "3 of 4 labelled patients are in no part (c1, c2, c3)"),
        (
            {
                "folds": [
                    {"train": ["c1", "c2"], "test": ["c3"]},
                    {"train": ["c1"], "test": ["c4", "c3"]},
                ]
            },
            "2 of 4 labelled patients are in no part of some fold (c2, c4)",
        ),
    ],
)
def test_labelled_patients_in_no_part_of_a_split_file_are_told(root, monkeypatch, lists, line):
    monkeypatch.setattr(splits, "read_list", lambda *_: lists)
    survey = Survey("own", Own(), root)
    (omission, *_) = [*notes(survey), ""]
    assert omission.startswith(f"split 'mine': {line}" if line else "")
    assert bool(omission) == bool(line)
    assert omission in as_text(survey) and omission in html.unescape(page(survey))


def test_what_to_do_about_files_of_no_case_is_said_once(root, monkeypatch):
    monkeypatch.setattr(Own, "splits", {})
    survey = Survey("own", Own(), root)
    survey.findings = check(survey.dataset, root, 2)
    assert sum(f.detail == "belongs to no case" for f in survey.findings) == 6
    assert as_text(survey).count("name them in the member 'unread' of the data set's class") == 1
    write(root, "mask", *[np.ones((4, 4, 4), np.uint8)] * 2)
    (root / "imagesTr" / "mask.nii.gz").rename(root / "mask.nii.gz")
    (root / "labelsTr" / "mask.nii.gz").unlink()
    text = as_text(surveyed(root))  # a folder has no class
    assert "'unread'" not in text and text.count("move them out of the folder") == 1
    (root / "mask.nii.gz").unlink()
    monkeypatch.setattr(Own, "unread", ("labelsTr/*.nii.gz",))
    assert check(Own(), root, 2) == []
    survey.findings = []
    assert "'unread'" not in as_text(survey)


def pictures(text, kind):
    found = re.findall(rf"data:image/{kind};base64,([A-Za-z0-9+/=]+)", text)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_a_page_draws_every_case_with_its_label_where_it_lies(root, capsys):
    (root / "imagesTr" / "c2.nii.gz").write_bytes(b"no")
    to = root.parent / "check.html"
    assert main(["check", "own", "--data", str(root.parent), "--to", str(to)]) == 1
    assert capsys.readouterr().out.endswith(f"page: {to}\n")
    text = to.read_text()
    assert "Own &lt;b&gt;" in text and "<b>" not in text
    assert [f"c{n}" for n in (1, 3, 4, 5, 6)] == re.findall(r"<figcaption><strong>(\w+)<", text)
    assert len(pictures(text, "jpeg")) == len(pictures(text, "png")) == 5
    mask = np.asarray(pictures(text, "png")[0].convert("RGBA"))
    assert mask.shape == (round(SIDE * 8 / 10), SIDE, 4)
    labelled = mask[..., 3] > 0
    rows, columns = np.flatnonzero(labelled.any(1)), np.flatnonzero(labelled.any(0))
    # two of eight voxels at the top, and of ten at the right: the patient's left is there
    assert (rows[0], rows[-1]) == (0, pytest.approx(mask.shape[0] / 4, abs=2))
    assert (columns[0], columns[-1]) == (pytest.approx(SIDE * 0.8, abs=2), SIDE - 1)
    # 40 is label 1
    assert {tuple(int(v) for v in rgb) for rgb in mask[labelled][:, :3]} == {colours()[0]}
    assert not re.search(r'(src|href)="(?!data:image/|#)', text) and "url(" not in text


def test_of_very_many_cases_every_nth_is_drawn(root, monkeypatch):
    monkeypatch.setattr(surveys, "MOST", 4)
    assert sorted(surveyed(root, draw=True).slices) == ["c1", "c3", "c5"]


def test_a_picture_lies_as_displayed_and_a_class_is_named(tmp_path):
    root = tmp_path / "aptos19"
    registry.load("dataset", "aptos19").phantom(root, 5, 0)
    survey = Survey("aptos19", registry.load("dataset", "aptos19")(), root, draw=True)
    survey.findings = check(survey.dataset, root, 1, look=survey.look)
    text = page(survey)
    drawn = np.asarray(pictures(text, "jpeg")[0].convert("RGB"), float)
    with Image.open(survey.facts[0].case.images[0]) as file:
        original = np.asarray(
            file.convert("RGB").resize(drawn.shape[1::-1], Image.Resampling.BOX), float
        )
    turned = [np.abs(drawn - other).mean() for other in (original[::-1], original[:, ::-1])]
    assert np.abs(drawn - original).mean() < min(turned) / 2
    named = [label.name for label in labels(survey)]
    assert named == list(survey.dataset.labels.values()) and named[0] in text


@pytest.mark.parametrize("to", ["own", "gone/check.html"])
def test_a_place_that_is_none_is_said_before_the_work(root, to, capsys):
    assert "name a file for the page" in refusal(
        capsys, "check", "own", "--data", root.parent, "--to", root.parent / to
    )


NUMBERS = {
    0: "0",
    3.0: "3",
    0.625: "0.625",
    1.5625: "1.56",
    1704295: "1704295",
    1234.5: "1234",
    1e9: "1.00e+09",
}


@pytest.mark.parametrize(("value", "text"), NUMBERS.items())
def test_numbers_are_short(value, text):
    assert number(value) == text
