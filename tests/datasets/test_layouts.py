"""Layouts as people really have them: moved folders, litter, channel suffixes, broken JSON."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.data import split
from bench.data.layout_msd import msd_folder
from bench.dataset import natural
from bench.errors import BenchError
from bench.phantoms.organs import write_nifti


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def load(name: str):
    return registry.load("dataset", name)()


# --- BTCV ------------------------------------------------------------------------------------

RAW = "RawData/Training/img/img0001.nii.gz", "RawData/Training/label/label0001.nii.gz"
MOVED = "imagesTr/img0001.nii.gz", "labelsTr/label0001.nii.gz"


@pytest.mark.parametrize("pair", [RAW, MOVED, ("Training/img/img0001.nii", MOVED[1])])
def test_btcv_is_paired_on_its_digits_in_either_layout(tmp_path, pair):
    touch(tmp_path, *pair, pair[0].replace("img0001", "._img0001"), "imagesTr/.DS_Store")
    (case,) = load("btcv").cases(tmp_path)
    assert (case.id, case.patient) == ("0001", "0001")
    assert case.images == (tmp_path / pair[0],)
    assert case.label == tmp_path / pair[1]


@pytest.mark.parametrize("test", ["RawData/Testing/img/img0061.nii.gz", "imagesTs/img0061.nii.gz"])
def test_btcv_test_scans_are_unlabelled(tmp_path, test):
    touch(tmp_path, *MOVED, test)
    cases = load("btcv").cases(tmp_path)
    assert [(c.id, c.label is None) for c in cases] == [("0001", False), ("0061", True)]


@pytest.mark.parametrize(("pair", "gone"), [(RAW, 0), (RAW, 1), (MOVED, 0), (MOVED, 1)])
def test_btcv_names_the_missing_half_of_a_pair(tmp_path, pair, gone):
    touch(tmp_path, pair[1 - gone])
    assert load("btcv").missing(tmp_path) == [("0001", str(tmp_path / pair[gone]))]


def test_btcv_in_both_layouts_is_ambiguous(tmp_path):
    touch(tmp_path, *RAW, *MOVED)
    with pytest.raises(BenchError, match="keep one layout"):
        load("btcv").cases(tmp_path)


def test_btcv_follows_linked_folders(tmp_path):
    touch(tmp_path / "elsewhere", *RAW)
    (tmp_path / "btcv").mkdir()
    (tmp_path / "btcv" / "RawData").symlink_to(tmp_path / "elsewhere" / "RawData")
    assert len(load("btcv").cases(tmp_path / "btcv")) == 1


def test_both_btcv_lists_of_24_and_6_are_kept_apart():
    a, b = (split.listed(load("btcv"), n)[0] for n in ("unetr_24_6", "unetr_24_6_b"))
    assert a.test == ("0035", "0036", "0037", "0038", "0039", "0040")
    assert b.test == ("0032", "0034", "0036", "0037", "0039", "0040")
    assert len(a.train) == len(b.train) == 24
    assert {*a.train, *a.test} == {*b.train, *b.test}
    c = split.listed(load("btcv"), "transunet_18_12")[0]
    assert (len(c.train), len(c.test)) == (18, 12)
    assert {*c.train, *c.test} == {*a.train, *a.test}


# --- LASC ------------------------------------------------------------------------------------


def test_lasc_is_read_with_or_without_the_archives_folders(tmp_path):
    a, b, c = ("A" * 20, "B" * 20, "C" * 20)
    touch(tmp_path, f"{a}/lgemri.nrrd", f"x/Testing Set/{c}/lgemri.nrrd", "notes/x.txt")
    touch(tmp_path, f"Training Set/{b}/lgemri.nrrd", f"Training Set/{b}/lawall.nrrd")
    cases = load("lasc").cases(tmp_path)
    assert [(case.id, case.meta["part"]) for case in cases] == [
        (a, "training"), (b, "training"), (c, "testing"),
    ]  # fmt: skip
    assert len(load("lasc").missing(tmp_path)) == 3


def test_the_division_of_lasc_is_80_and_20():
    fold = split.listed(load("lasc"), "uamt_80_20")[0]
    assert (len(fold.train), len(fold.test)) == (80, 20)


# --- MSD layout ------------------------------------------------------------------------------

LISTING = {
    "name": "Own", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "a", "2": "b"},
    "training": [{"image": "./imagesTr/x_1.nii.gz", "label": "./labelsTr/x_1.nii.gz"}],
}  # fmt: skip


def folder(root: Path, *names: str, **changed) -> Path:
    touch(root, *names)
    (root / "dataset.json").write_text(json.dumps({**LISTING, **changed}))
    return root


def test_a_folder_declares_itself(tmp_path):
    root = folder(tmp_path, "imagesTr/x_1.nii.gz", "labelsTr/x_1.nii.gz", "imagesTs/x_9.nii.gz",
                  "imagesTr/._x_1.nii.gz")  # fmt: skip
    dataset = msd_folder(root)
    assert dataset.title == "Own"
    assert dataset.labels == {1: "a", 2: "b"}
    assert dataset.raw_labels == {}
    assert dataset.recipes["default"].window == (-175, 250)
    cases = dataset.cases(root)
    assert [(c.id, c.label and c.label.name) for c in cases] == [
        ("x_1", "x_1.nii.gz"), ("x_9", None),
    ]  # fmt: skip


def test_two_folders_do_not_share_their_declarations(tmp_path):
    a = msd_folder(folder(tmp_path / "a", "imagesTr/x_1.nii.gz"))
    b = msd_folder(folder(tmp_path / "b", "imagesTr/x_1.nii.gz", labels={"0": "none", "1": "z"}))
    assert (a.labels, b.labels) == ({1: "a", 2: "b"}, {1: "z"})


def test_labels_with_gaps_become_contiguous(tmp_path):
    labels = {"0": "background", "7": "late", "3": "early"}
    dataset = msd_folder(folder(tmp_path, "imagesTr/x_1.nii.gz", labels=labels))
    assert dataset.labels == {1: "early", 2: "late"}
    assert dataset.raw_labels == {3: 1, 7: 2}


def test_mr_channels_get_a_z_score(tmp_path):
    modality = {"0": "FLAIR", "1": "T1Gd"}
    dataset = msd_folder(folder(tmp_path, "imagesTr/x_1.nii.gz", modality=modality))
    assert (dataset.modality, dataset.channels) == ("MR", ("FLAIR", "T1Gd"))
    assert dataset.recipes["default"].scale == "zscore"


def test_nnunet_channel_files_are_one_case(tmp_path):
    root = folder(
        tmp_path, "imagesTr/x_1_0000.nii.gz", "imagesTr/x_1_0001.nii.gz", "labelsTr/x_1.nii.gz",
        "imagesTs/x_2_0000.nii.gz", "imagesTs/x_2_0001.nii.gz", modality={"0": "T1", "1": "T2"},
    )  # fmt: skip
    first, second = msd_folder(root).cases(root)
    assert [p.name for p in first.images] == ["x_1_0000.nii.gz", "x_1_0001.nii.gz"]
    assert first.label == root / "labelsTr" / "x_1.nii.gz"
    assert (second.id, len(second.images)) == ("x_2", 2)


def test_four_digits_are_no_channel_where_the_label_has_them(tmp_path):
    training = [{"image": "imagesTr/x_0001.nii.gz", "label": "labelsTr/x_0001.nii.gz"}]
    root = folder(tmp_path, "imagesTr/x_0001.nii.gz", "labelsTr/x_0001.nii.gz", training=training)
    assert [c.id for c in msd_folder(root).cases(root)] == ["x_0001"]


def test_nnunets_own_json_is_read(tmp_path):
    root = folder(tmp_path, "imagesTr/x_1_0000.nii.gz", "labelsTr/x_1.nii.gz")
    listing = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
    (root / "dataset.json").write_text(json.dumps(listing))
    dataset = msd_folder(root)
    assert dataset.labels == {1: "liver"}
    assert [c.id for c in dataset.cases(root)] == ["x_1"]


def test_what_the_list_names_and_the_folder_lacks_is_missing(tmp_path):
    root = folder(tmp_path, "imagesTr/x_2.nii.gz", "labelsTr/x_2.nii.gz")
    assert [case for case, _ in msd_folder(root).missing(root)] == ["x_1", "x_1"]


def test_cases_come_in_natural_order(tmp_path):
    root = folder(tmp_path, *(f"imagesTr/x_{i}.nii.gz" for i in (10, 2, 1)))
    assert [c.id for c in msd_folder(root).cases(root)] == ["x_1", "x_2", "x_10"]


@pytest.mark.parametrize("number", ["9" * 5000, "²", "٣"])
def test_a_stem_may_hold_any_digits(number):
    assert sorted([f"a{number}b", "a10", "a9"], key=natural)[:2] == ["a9", "a10"]


def test_the_archives_own_folder_is_looked_into(tmp_path):
    load("msd04_hippocampus").phantom(tmp_path / "Task04_Hippocampus", 1, 0)
    assert len(load("msd04_hippocampus").cases(tmp_path)) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object"),
        ("{}", "is empty; a folder in MSD layout needs its keys 'labels'"),
        ('{"modality": {"0": "CT"}, "labels": {}}', "key 'labels' holds {}"),
        ('{"labels": {"1": "a"}}', "key 'modality' is missing"),
        ('{"modality": {"0": "CT"}}', "'labels'"),
        ('{"modality": {"0": "CT"}, "labels": ["a"]}', "'labels'"),
        ('{"labels": {"0": "background", "1": "a"}}', "'modality'"),
        ('{"modality": {"0": "CT"}, "labels": {"0": "b", "1.5": "a"}}', "labels: "),
        ('{"modality": {"0": "CT"}, "labels": {"0": "b", "-1": "a"}}', "'-1'"),
        ('{"modality": {"0": "CT"}, "labels": {"0": "b", "1": 5}}', "must be text"),
        ('{"modality": {"0": "CT"}, "labels": {"0": "b", "1": "a", "2": "a"}}', "different names"),
        ('{"modality": {"0": "CT"}, "labels": {"background": 0, "all": [1, 2]}}', "[1, 2]"),
        ('{"modality": {"0": "CT"}, "labels": {"0": "background"}}', "1 to 255 classes"),
        ('{"a":' * 5000, "not JSON"),
        ('{"modality": {"0": "CT"}, "labels": {"0": "b", "' + "9" * 5000 + '": "a"}}', "no whole number"),
        (
            '{"modality": {"0": "CT"}, "labels": {"0": "b", "1": ' + "[" * 300 + "]" * 300 + "}}",
            "must be text",
        ),
    ],
)
def test_an_unusable_json_is_one_line_with_its_path(tmp_path, text, words):
    touch(tmp_path, "imagesTr/x_1.nii.gz")
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(BenchError) as caught:
        msd_folder(tmp_path)
    assert words in str(caught.value)
    assert str(tmp_path / "dataset.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "training",
    [5, "x", [5], [{"label": "x"}], [""], ["a\0b.nii.gz"], ["\ud800.nii.gz"], ["x" * 300], [".."[:1]]],
)
def test_an_unusable_training_list_is_refused(tmp_path, training):
    root = folder(tmp_path, "imagesTr/x_1.nii.gz", training=training)
    with pytest.raises(BenchError, match="training must list"):
        msd_folder(root).cases(root)


def test_one_case_in_two_files_is_ambiguous(tmp_path):
    root = folder(tmp_path, "imagesTr/x_1.nii.gz", "imagesTr/x_1.nii")
    with pytest.raises(BenchError, match="same case"):
        msd_folder(root).cases(root)
    shutil.rmtree(root / "imagesTr")
    touch(root, "imagesTr/x_1.nii.gz", "imagesTs/x_1.nii.gz")
    with pytest.raises(BenchError, match="imagesTr and in imagesTs"):
        msd_folder(root).cases(root)


def test_channels_of_a_file_are_the_ones_declared(tmp_path):
    from bench.data.check import check

    root = folder(tmp_path, modality={"0": "T1", "1": "T2"})
    image = np.random.default_rng(0).random((6, 5, 4, 2))
    write_nifti(root / "imagesTr/x_1.nii.gz", image, (1, 1, 1), "float32")
    write_nifti(root / "labelsTr/x_1.nii.gz", image[..., 0] > 0.5, (1, 1, 1), "uint8")
    assert check(msd_folder(root), root) == []
