"""Any folder in MSD layout declares itself by its dataset.json; one that cannot be used says why."""

import json
import re
import shutil
from pathlib import Path

import pytest
from folders import case_facts, laid
from one_line import refused

from bench.data import layout_msd
from bench.data.layout_msd import msd_folder
from bench.data.roots import Contents, Roots
from bench.data.split import folds
from bench.dataset import MANY, Case, absent
from bench.plan.cohorts import Cohorts

LISTING = {
    "name": "Own",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "a", "2": "b"},
    "training": [{"image": "./imagesTr/x_1.nii.gz", "label": "./labelsTr/x_1.nii.gz"}],
}
ONE = ("imagesTr/x_1.nii.gz",)


def folder(root, names=ONE, **changed):
    laid(root, names)
    (root / "dataset.json").write_text(json.dumps({**LISTING, **changed}))
    return root


def test_a_folder_declares_itself(tmp_path):
    root = folder(
        tmp_path, (*ONE, "labelsTr/x_1.nii.gz", "imagesTs/x_9.nii.gz", "imagesTr/._x_1.nii.gz")
    )
    dataset = msd_folder(root)
    assert (dataset.title, dataset.labels, dataset.raw_labels) == ("Own", {1: "a", 2: "b"}, {})
    assert dataset.recipes["default"].window == (-175, 250)
    found = [case_facts(case, root) for case in dataset.cases(root)]
    assert [(c["id"], c["label"]) for c in found] == [("x_1", "labelsTr/x_1.nii.gz"), ("x_9", None)]


def test_two_folders_do_not_share_their_declarations(tmp_path):
    a, b = (msd_folder(folder(tmp_path / n, labels={"0": "none", "1": n})) for n in "ab")
    assert (a.labels, b.labels) == ({1: "a"}, {1: "b"})


def test_labels_with_gaps_become_contiguous(tmp_path):
    dataset = msd_folder(folder(tmp_path, labels={"0": "background", "7": "late", "3": "early"}))
    assert dataset.labels == {1: "early", 2: "late"}
    assert dataset.raw_labels == {3: 1, 7: 2}


def test_what_labels_are_made_of_is_part_of_a_preparation(tmp_path, monkeypatch):
    monkeypatch.setattr(Cohorts, "cases", lambda self, name: None)

    def prepared(labels):
        folder(tmp_path / "own", labels=labels)
        cohorts = Cohorts(Roots(tmp_path), Contents(None), need_data=False)
        return cohorts.prepare("own", "default", {}).source

    def values(*values):
        return {"0": "background", **{str(value): f"label {value}" for value in values}}

    assert prepared(values(1, 2)) == prepared(values(1, 2, 3)) == ""  # as they are
    ignored = [{"background": 0, "a": 1, "b": 2, "ignore": value} for value in (3, 4)]
    tables = [values(1, 3), values(2, 3), values(1, 2, 4), *ignored]
    assert len({"", *map(prepared, tables)}) == 6


def test_mr_channels_get_a_z_score(tmp_path):
    dataset = msd_folder(folder(tmp_path, modality={"0": "FLAIR", "1": "T1Gd"}))
    assert (dataset.modality, dataset.channels) == ("MR", ("FLAIR", "T1Gd"))
    assert dataset.recipes["default"].scale == "zscore"


def test_four_digits_are_no_channel_where_the_label_has_them(tmp_path):
    pair = {"image": "imagesTr/x_0001.nii.gz", "label": "labelsTr/x_0001.nii.gz"}
    root = folder(tmp_path, pair.values(), training=[pair])
    assert [c.id for c in msd_folder(root).cases(root)] == ["x_0001"]


def test_nnunets_own_json_is_read(tmp_path):
    listing = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
    root = laid(tmp_path, {"imagesTr/x_1_0000.nii.gz": "", "dataset.json": json.dumps(listing)})
    dataset = msd_folder(root)
    assert dataset.labels == {1: "liver"}
    assert [c.id for c in dataset.cases(root)] == ["x_1"]


def test_nnunets_regions_are_regions(tmp_path):
    labels = {"background": 0, "whole tumour": [1, 2, 4], "core": [2, 4], "enhancing": 4}
    dataset = msd_folder(folder(tmp_path, labels=labels, regions_class_order=[1, 2, 4]))
    assert dataset.labels == {1: "label 1", 2: "label 2", 3: "enhancing"}
    assert dataset.raw_labels == {1: 1, 2: 2, 4: 3}
    assert dataset.regions == {"whole tumour": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert not dataset.mistake()


@pytest.mark.parametrize(
    ("labels", "own", "value"),
    [
        ({"background": 0, "a": 1, "b": 2, "ignore": 3}, {}, 3),
        ({"background": 0, "a": 2, "b": 5, "ignore": 255}, {2: 1, 5: 2}, 255),
        ({"background": 0, "whole": [1, 2], "b": 2, "ignore": 3}, {}, 3),
        ({"0": "background", "1": "a", "2": "b", "3": "ignore"}, {}, 3),  # as MSD writes
    ],
)
def test_nnunets_label_ignore_is_no_class(tmp_path, labels, own, value):
    dataset = msd_folder(folder(tmp_path, labels=labels))
    assert len(dataset.labels) == 2 and "ignore" not in dataset.labels.values()
    assert (dataset.ignore, dataset.void, dataset.raw_labels) == (
        value,
        255,
        own,
    ) and not dataset.mistake()
    plain = msd_folder(folder(tmp_path / "plain"))
    assert (plain.ignore, plain.void) == (None, None)


@pytest.mark.parametrize(
    ("there", "told"),
    [(ONE, "json: no such file; a folder in MSD"), ((), "nor a folder imagesTr;")],
)
def test_a_folder_without_its_json_is_told_what_to_write(tmp_path, there, told):
    with refused(told) as caught:
        msd_folder(laid(tmp_path, there))
    assert '"labels": {"0": "background", "1": "liver"}' in str(caught.value)


CT = '{"modality": {"0": "CT"}, "labels": '


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object"),
        ("{}", "is empty; a folder in MSD layout needs its keys 'labels'"),
        (CT + "{}}", "key 'labels' holds {}"),
        ('{"labels": {"1": "a"}}', "key 'modality' is missing"),
        ('{"modality": {"0": "CT"}}', "'labels'"),
        (CT + '["a"]}', "'labels'"),
        (CT + '{"0": "b", "1.5": "a"}}', "labels: "),
        (CT + '{"0": "b", "-1": "a"}}', "'-1'"),
        (CT + '{"0": "b", "1": 5}}', "must be text"),
        (CT + '{"0": "b", "1": "a", "2": "a"}}', "different names"),
        (CT + '{"background": 0, "all": []}}', "'all' needs values from 1 to 65535, got []"),
        (CT + '{"background": 0, "all": [0, 2]}}', "'all' needs values from 1"),
        (CT + '{"background": 0, "all": [1, "x"]}}', "'all' needs values from 1"),
        (CT + '{"0": "b", "1": [1, 2]}}', "must be text, got [1, 2]"),
        (CT + '{"0": "background"}}', "1 to 255 classes"),
        ('{"a":' * 5000, "not JSON"),
        (
            CT + '{"background": 0, "a": 1, "ignore": [2]}}',
            "'ignore' needs one whole number up to 65535, got [2]",
        ),
        (CT + '{"background": 0, "a": 1, "ignore": 1}}', "1 is 'ignore' and also a label"),
        (
            CT + '{"background": 0, "whole": [1, 2], "a": 2, "ignore": 2}}',
            "2 is 'ignore' and also a label",
        ),
        (CT + '{"background": 0, "ignore": 1}}', "1 to 254 classes"),
        (CT + '{"0": "b", "' + "9" * 5000 + '": "a"}}', "no whole number"),
        (CT + '{"0": "b", "1": "a"}, "redistribution": "yes"}', "write true if reports may show"),
        (CT + '{"0": "b", "1": ' + "[" * 300 + "]" * 300 + "}}", "must be text"),
    ],
)
def test_an_unusable_json_is_one_line_with_its_path(tmp_path, text, words):
    with refused() as caught:
        msd_folder(laid(tmp_path, {"imagesTr/x_1.nii.gz": "", "dataset.json": text}))
    assert words in str(caught.value)
    assert str(tmp_path / "dataset.json") in str(caught.value)


NAMES = (5, {"label": "x"}, "", ".", "a\0b.nii.gz", "a\nb.nii.gz", "\ud800.nii.gz", "x" * 300)


@pytest.mark.parametrize("training", [5, "x", *([name] for name in NAMES)])
def test_an_unusable_training_list_is_refused(tmp_path, training):
    root = folder(tmp_path, training=training)
    with refused("training must list"):
        msd_folder(root).cases(root)


def test_what_is_missing_of_a_folder_that_is_listed_once(tmp_path):
    paths = [tmp_path / f"{number}.nii.gz" for number in range(2 * MANY)]
    for path in paths:
        path.touch()
    paths[-1].unlink()
    paths[-2].unlink()
    paths[-2].symlink_to(tmp_path / "nowhere")  # as of a repository whose contents were not fetched
    paths[-3].unlink()
    paths[-3].symlink_to(paths[0])
    assert absent(paths) == {paths[-1], paths[-2]}
    beyond = [*paths[:-2], tmp_path / "a.zip" / "1.nii.gz"]
    assert absent(beyond) == {beyond[-1]}
    (tmp_path / "a.zip").touch()
    assert absent(beyond) == set()


TWO = {"0": "T1", "1": "T2"}


def named(root):
    """Return id -> (images, label, part) of the cases of a folder, files as they are called below it."""
    return {
        c["id"]: (c["images"], c["label"], c["part"])
        for c in (case_facts(case, root) for case in msd_folder(root).cases(root))
    }


def test_channels_are_matched_by_their_number(tmp_path):
    images = [f"imagesTr/{name}.nii.gz" for name in ("a_0000", "a_0001", "b_0001", "b_0002")]
    files = [*images, "labelsTr/a.nii.gz", "labelsTr/b.nii.gz"]
    root = folder(tmp_path, files, modality=TWO, training=[])
    assert named(root)["b"][0] == ["imagesTr/b_0000.nii.gz", "imagesTr/b_0001.nii.gz"]
    dataset = msd_folder(root)
    assert dataset.missing(root) == [("b", str(root / "imagesTr/b_0000.nii.gz"))]
    assert "channel 2 is not declared" in dataset.unclaimed(root / "imagesTr/b_0002.nii.gz")


def test_a_stray_file_among_channels_is_of_no_case(tmp_path):
    images = [f"imagesTr/{name}.nii.gz" for name in ("a_0000", "b_0000", "notes")]
    files = [*images, "labelsTr/a.nii.gz", "labelsTr/b.nii.gz"]
    root = folder(tmp_path, files, training=[])
    assert {*named(root)} == {"a", "b"} and not msd_folder(root).missing(root)


X_1 = {"x_1": ("imagesTr/x_1.nii.gz", "labelsTr/x_1.nii.gz", "training")}
OTHER = {"x_1": ("imagesTr/x_1.nii.gz", "labelsTr2/x_1.nii.gz", "training")}
NUMBERED = {"x_1": ("imagesTr/x_1_0000.nii.gz", "labelsTr/x_1.nii.gz", "training")}
NAMED = {"img1": ("imagesTr/img1.nii.gz", "labelsTr/label1.nii.gz", "training")}
FORMS = {"f\u00e4ll": ("imagesTr/fa\u0308ll.nii.gz", "labelsTr/f\u00e4ll.nii.gz", "training")}
MORE = X_1 | {"x_2": ("imagesTr/x_2.nii.gz", None, "unlabelled")}
STATED = {  # image and label in the list, files that no case reads: id -> image, label, part
    "labels of another folder": ("./imagesTr/x_1", "./labelsTr2/x_1", ["labelsTr/x_1"], OTHER),
    "names that differ": ("imagesTr/img1", "labelsTr/label1", [], NAMED),
    "backslashes": (".\\imagesTr\\x_1", ".\\labelsTr\\x_1", [], X_1),
    "a folder further up": ("Task77/imagesTr/x_1", "Task77/labelsTr/x_1", [], X_1),
    "nnU-Net's first version": ("./imagesTr/x_1", "./labelsTr/x_1", [], NUMBERED),
    "images without a label": ("./imagesTr/x_1", "./labelsTr/x_1", [], MORE),
    "one name in two Unicode forms": ("imagesTr/f\u00e4ll", "labelsTr/f\u00e4ll", [], FORMS),
}


@pytest.mark.parametrize(("image", "label", "more", "cases"), STATED.values(), ids=STATED)
def test_the_pairs_that_the_json_states_are_read(tmp_path, image, label, more, cases):
    files = [file for case in cases.values() for file in case[:2] if file]
    files += [f"{file}.nii.gz" for file in more]
    pair = {"image": f"{image}.nii.gz", "label": f"{label}.nii.gz"}
    expected = {name: ([file], *others) for name, (file, *others) in cases.items()}
    assert named(folder(tmp_path, files, training=[pair])) == expected


def test_names_in_two_unicode_forms_are_one_case_without_a_list(tmp_path):
    files = ("imagesTr/fa\u0308ll.nii.gz", "labelsTr/f\u00e4ll.nii.gz")
    root = folder(tmp_path, files, training=[])
    assert [*named(root)] == ["f\u00e4ll"] and not msd_folder(root).missing(root)


def test_validation_and_test_lists_are_read(tmp_path):
    pairs = [
        {"image": f"imagesTr/img{n}.nii.gz", "label": f"labelsTr/label{n}.nii.gz"}
        for n in (1, 2, 3)
    ]
    files = [path for pair in pairs for path in pair.values()]
    root = folder(
        tmp_path,
        files,
        training=pairs[:1],
        validation=pairs[1:2],
        test=[pairs[2], "imagesTs/gone.nii.gz"],
    )
    parts = {id: part for id, (_, _, part) in named(root).items()}
    assert parts == {"img1": "training", "img2": "validation", "img3": "test"}
    assert named(root)["img3"][1] == "labelsTr/label3.nii.gz"


@pytest.mark.parametrize(
    "path", ["/data/imagesTr/x.nii.gz", "C:\\data\\x.nii.gz", "../imagesTr/x.nii.gz"]
)
def test_a_stated_path_that_leads_out_of_the_folder_is_refused(tmp_path, path):
    root = folder(tmp_path, training=[{"image": path, "label": "labelsTr/x.nii.gz"}])
    with refused("points outside the folder"):
        msd_folder(root).cases(root)


def stated(root, **cases):
    """Return a folder whose key ``dataset`` states these cases: images, label."""
    names = {c: {"images": files[:-1], "label": files[-1]} for c, files in cases.items()}
    return folder(root, (), modality=TWO, dataset=names)


def test_the_files_that_nnunets_key_states_are_all_that_is_read(tmp_path):
    root, far = tmp_path / "own", tmp_path / "far" / "l.nii.gz"
    pair = ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"]
    laid(
        root, [*pair, "imagesTr/b_0000.nii.gz", "imagesTs/t_0000.nii.gz", "imagesTs/t_0001.nii.gz"]
    )
    laid(tmp_path, ["far/l.nii.gz", "far/one.nii.gz"])
    stated(
        root, a=[*pair, str(far)], n=["../far/one.nii.gz", None], g=[".\\g.nii.gz", "gone.nii.gz"]
    )
    dataset = msd_folder(root)
    a, g, n, t = sorted(dataset.cases(root), key=lambda case: case.id)
    assert a == Case("a", "a", tuple(root / name for name in pair), far, {"part": "training"})
    assert (n.images, n.label, n.meta["part"]) == (
        (tmp_path / "far/one.nii.gz",),
        None,
        "unlabelled",
    )
    assert (len(t.images), t.meta["part"]) == (2, "test")
    gone = [("g", str(root / name)) for name in ("g.nii.gz", "gone.nii.gz")]
    assert dataset.missing(root) == gone and g.label == root / "gone.nii.gz"
    assert dataset.skipped(root) == [("b", "not under 'dataset' in dataset.json")]
    shutil.rmtree(root / "imagesTr")  # nothing need lie in the folder itself
    assert len(msd_folder(root).cases(root)) == 4


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1], "must map each case to its files"),
        ({}, "must map each case to its files"),
        ({"a": "x.nii.gz"}, "a plain name and its files"),
        ({"a": {"images": "x.nii.gz"}}, "a plain name and its files"),
        ({"../a": {"images": ["x.nii.gz"]}}, "a plain name and its files"),
        ({"..": {"images": ["x.nii.gz"]}}, "a plain name and its files"),
        ({"a": {"images": [3]}}, "case 'a': 3 is no file that can be read"),
        ({"a": {"images": ["/etc/passwd"]}}, "'/etc/passwd' is no file that can be read"),
        ({"a": {"images": ["x.nii.gz"], "label": ["y.nii.gz"]}}, "no file that can be read"),
        ({"a": {"images": ["$HOME/x.nii.gz"]}}, "holds a variable of the environment"),
    ],
)
def test_an_unusable_key_dataset_is_refused(tmp_path, value, words):
    root = folder(tmp_path, dataset=value)
    with refused(re.escape(words)):
        msd_folder(root).cases(root)


VISITS = [f"imagesTr/p{n:02d}_{visit}.nii.gz" for n in range(6) for visit in "ab"]
PATIENTS = {
    "a pattern": "^(.+)_[a-z]$",
    "a named group": "^(?P<patient>p([0-9]+))_",
    "a map": {f"p{n:02d}_{visit}": f"p{n:02d}" for n in range(6) for visit in "ab"},
}


@pytest.mark.parametrize("stated", PATIENTS.values(), ids=PATIENTS)
def test_patients_are_those_that_the_json_states(tmp_path, stated):
    files = [*VISITS, *(name.replace("images", "labels") for name in VISITS)]
    root = folder(tmp_path, files, training=[])
    cases = msd_folder(root).cases(root)
    assert "12 visits of 6 patients (p00_a and p00_b)" in layout_msd.likely_visits(cases)
    assert len({case.patient for case in cases}) == 12
    cases = msd_folder(folder(tmp_path, (), training=[], patients=stated)).cases(root)
    assert {case.patient for case in cases} == {f"p{n:02d}" for n in range(6)}
    (fold,) = folds(msd_folder(root), "own", cases, "even")
    assert len(fold.train) + len(fold.val) + len(fold.test) == 6 and not layout_msd.likely_visits(
        cases
    )


@pytest.mark.parametrize("stated", [5, "(", "x_1", "^y(.)", {"y": "p"}, {}])
def test_patients_that_fit_no_case_are_refused(tmp_path, stated):
    root = folder(tmp_path, patients=stated)
    with refused(r"dataset.json: patients: "):
        msd_folder(root).cases(root)


LIKELY = {  # names of cases: do they look like visits, and by which pattern?
    "sessions": ([f"sub-{n:02d}_ses-{v}" for n in range(5) for v in (1, 2)], "^(.+)_ses-[0-9]+$"),
    "some have one visit": (
        ["sub-07", *(f"sub-{n:02d}_ses-{v}" for n in range(5) for v in (1, 2))],
        "^(.+?)(?:_ses-[0-9]+)?$",
    ),
    "letters": ([f"p{n:02d}.{v}" for n in range(5) for v in "ab"], "^(.+)(?:[.]a|[.]b)$"),
    "time points": ([f"{n:03d}_t{v}" for n in range(5) for v in (1, 2)], "^(.+)_t[0-9]+$"),
    "ACDC as nnU-Net has it": (
        [f"patient{n:03d}_frame{v}" for n in range(5) for v in ("01", "12")],
        "^(.+)_frame[0-9]+$",
    ),
    "numbers": ([f"case_{n:02d}" for n in range(30)], None),
    "two centres": ([f"site{n}_{v:02d}" for n in (1, 2) for v in range(30)], None),
    "long numbers": ([f"BRATS_{n:03d}" for n in range(30)], None),
}


VOLUMES = {  # names of dcm2niix and where they lie: patients by what is advised, None without a line
    "tilt of one": ([f"P{n}_3_CT" for n in range(9)] + ["P4_3_CT_Tilt_1"], 9),
    "both": ([f"P{n}_3_CT{end}" for n in range(3) for end in ("", "_Tilt_Eq_1", "_Eq")], 3),
    "letters": (["2", "2a", "2b", "3"], 2),
    "letters after letters": (["P1_ct", "P1_cta", "P2_ct", "P3_ct"], 3),
    "echoes": ([f"P{n}_GRE_{end}" for n in range(3) for end in ("e1", "e2", "e2_ph")], 3),
    "parts of complex numbers": (
        [f"P{n}_{end}" for n in (1, 2) for end in ("real", "imaginary")],
        2,
    ),
    "coils": (
        [f"P{n}_T1{end}" for n in (1, 2) for end in ("", "_cH1", "_c2", "_ROI1", "_MoCo")],
        2,
    ),
    "days": ([f"P{n}_{day}" for n in (1, 2) for day in ("20190104", "20201224")], 2),
    "a folder a patient": ([f"P{n}/{scan}" for n in range(3) for scan in ("3_CT", "5_T1")], 3),
    "two scans in one folder": ([f"P_{n}/3_CT" for n in range(9)] + ["P_4/5_T1"], 9),
    "folders in folders": ([f"M\u00fcller{n}/anat/{scan}" for n in (1, 2) for scan in "xy"], 2),
    "a scan a folder": ([f"P{n}/3_CT" for n in range(9)], None),
    "parts": ([f"{part}/P{n}" for part in ("train", "test") for n in range(4)], None),
    "one folder of all": ([f"liver/liver_{n}" for n in range(5)], None),
    "no sibling": ([f"case_{n}" for n in range(9)] + ["patient_e2"], None),
    "letters alone": ([*"abc", "aa", "ab"], None),
}


@pytest.mark.parametrize(("paths", "patients"), VOLUMES.values(), ids=VOLUMES)
def test_several_volumes_of_a_patient(tmp_path, paths, patients):
    names = [path.replace("/", "_").replace("\u00fc", "u") for path in paths]
    images = [tmp_path / "all" / f"{path}.nii.gz" for path in paths]
    links = [tmp_path / "imagesTr" / f"{name}.nii.gz" for name in names]
    laid(tmp_path, [str(path.relative_to(tmp_path)) for path in images])
    (tmp_path / "imagesTr").mkdir()
    for link, image in zip(links, images, strict=True):
        link.symlink_to(image)
    cases = [Case(name, name, (link,)) for name, link in zip(names, links, strict=True)]
    line = layout_msd.likely_visits(cases)
    assert bool(line) == (patients is not None)
    if line:
        advised = json.loads(re.search('"patients": (".+") into', line)[1])
        known = layout_msd.with_patients(Path("dataset.json"), cases, advised)
        assert len({case.patient for case in known}) == patients


@pytest.mark.parametrize(("names", "pattern"), LIKELY.values(), ids=LIKELY)
def test_names_that_look_like_visits(names, pattern):
    cases = [Case(name, name, ()) for name in names]
    line = layout_msd.likely_visits(cases)
    if pattern is None:
        assert not line
        return
    assert f'write "patients": {json.dumps(pattern)} into dataset.json' in line
    patients = {
        case.patient for case in layout_msd.with_patients(Path("dataset.json"), cases, pattern)
    }
    assert patients == {
        re.split(r"[_.](?=ses|t|frame|[ab]$)", name)[0] for name in names
    }  # it fits all
