"""Files to rows: pairing, refusals, and the check against MedPy."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from one_line import refusal, refused

import bench.score
from bench.cli import main
from bench.metrics import CONVENTIONS, Score, score
from bench.metrics import METRICS as METRIC
from bench.metrics.volume import compare
from bench.score import CONTRACT, as_json, score_several, verifiable
from bench.show.scored import as_ranking, as_text

METRICS = ("dice", "hd95")


def write(path: Path, array: np.ndarray, spacing: tuple = (1.0, 1.0, 2.0)):
    return placed(path, array, np.diag([*spacing, 1.0]))


def placed(path: Path, array: np.ndarray, affine: np.ndarray | None):
    """Write a volume with an affine, or one that states none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.ascontiguousarray(array), affine)
    if affine is None:
        image.header.set_zooms((1.0, 1.0, 2.0))
        image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, path)
    return path


def organ(at: int = 2) -> np.ndarray:
    volume = np.zeros((12, 10, 8), np.uint8)
    volume[at : at + 4, 3:7, 2:6] = 1
    volume[at, 3, 2] = 4
    return volume


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for case, at in (("case_1", 2), ("case_2", 4)):
        write(tmp_path / "p" / f"{case}.nii.gz", organ(3))
        write(tmp_path / "r" / f"{case}.nii.gz", organ(at))
    (tmp_path / "p" / "._case_1.nii.gz").write_bytes(b"litter")
    (tmp_path / "r" / "notes.txt").write_text("no volume")
    return tmp_path / "p", tmp_path / "r"


def score_files(prediction, reference, metrics, convention="medpy", **options):
    rows, differences = score_several((prediction,), reference, metrics, (convention,), **options)
    return as_json(rows), differences


def test_a_mistake_names_the_file_of_the_prediction(tmp_path):
    p = write(tmp_path / "guess.nii.gz", organ(3).astype(np.int16) - 1)
    r = write(tmp_path / "case_7.nii.gz", organ(2))
    with refused(r"guess\.nii\.gz: prediction: values from -1 to 3"):
        score_files(p, r, METRICS)


def test_two_volumes_give_one_row_per_label_and_metric(tmp_path):
    p = write(tmp_path / "guess.nii.gz", organ(3))
    r = write(tmp_path / "case_7.nii.gz", organ(2))
    rows, differences = score_files(p, r, METRICS)
    assert all(tuple(row) == CONTRACT for row in rows) and differences == []
    assert [tuple(row.values()) for row in rows] == [
        ("case_7", s.target, s.metric, s.value, s.unit)
        for s in score(organ(3), organ(2), (1.0, 1.0, 2.0), METRICS)
    ]


AXES = np.diag([1.0, 1.0, 2.0, 1.0])
TURNED = AXES[:, [2, 0, 1, 3]]  # of the array with its axes in the order z, x, y
# stored from right to left
FLIPPED = np.array([[-1.0, 0, 0, 11], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
TILT = np.array([[0.96, -0.28, 0, 0], [0.28, 0.96, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])


STORED = {  # a prediction and its affine, and the reference's affine
    "axes in another order": (organ(3).transpose(2, 0, 1), TURNED, AXES),
    "from right to left": (organ(3)[::-1], FLIPPED, AXES),
    "the prediction states no orientation": (organ(3), None, AXES),
    "the reference states none": (organ(3), AXES, None),
    "neither does": (organ(3), None, None),
    "none, and LPS": (organ(3), None, np.diag([-1.0, -1.0, 2.0, 1.0])),
}


@pytest.mark.parametrize("how", STORED)
def test_one_grid_is_scored_however_it_is_stored(tmp_path, capsys, how):
    array, *affines = STORED[how]
    plain, _ = score_files(*(write(tmp_path / f"{n}.nii.gz", organ(n)) for n in (3, 2)), METRICS)
    p = placed(tmp_path / "p.nii.gz", array, affines[0])
    r = placed(tmp_path / "r.nii.gz", organ(2), affines[1])
    rows, _ = score_files(p, r, METRICS)
    assert [row["value"] for row in rows] == [row["value"] for row in plain]
    assert main(["score", "--prediction", str(p), "--reference", str(r), "--metrics", "dice"]) == 0
    message = capsys.readouterr().err
    vague = any(affine is None for affine in affines)
    assert message.count("\n") == vague and ("states no orientation" in message) == vague


SHIFTED = AXES + np.outer([0.3, 0, 0, 0], [0, 0, 0, 1])


@pytest.mark.parametrize(
    "affine", [np.diag([-1.0, 1.0, 2.0, 1.0]), SHIFTED, TILT], ids=["mirrored", "shifted", "tilted"]
)
def test_a_grid_that_lies_elsewhere_is_refused_in_one_line(tmp_path, capsys, affine):
    r = placed(tmp_path / "r.nii.gz", organ(2), AXES)
    p = placed(tmp_path / "p.nii.gz", organ(3), affine)
    message = refusal(capsys, "score", "--prediction", p, "--reference", r)
    assert "p.nii.gz: lies up to" in message and "r.nii.gz" in message
    # the reference's, and before it the prediction's
    assert "[1 0 0 0; 0 1 0 0; 0 0 2 0]" in message
    assert "--ignore-geometry compares the voxels as they are stored" in message
    plain, _ = score_files(write(tmp_path / "plain.nii.gz", organ(3)), r, METRICS)
    assert score_files(p, r, METRICS, ignore_geometry=True)[0] == plain
    flags = ["--ignore-geometry", "--metrics", "dice", "--json"]
    assert main(["score", "--prediction", str(p), "--reference", str(r), *flags]) == 0
    message = capsys.readouterr()
    assert "compared as they are stored" in message.err
    assert json.loads(message.out)[0]["metric"] == "dice"


@pytest.mark.parametrize("array", [organ(3), organ(3)[::-1]], ids=["the same way", "mirrored"])
def test_to_ignore_geometry_is_to_turn_no_voxel(tmp_path, array):
    r = placed(tmp_path / "r.nii.gz", organ(2), AXES)
    p = placed(tmp_path / "p.nii.gz", array, FLIPPED)
    rows, _ = score_files(p, r, METRICS, ignore_geometry=True)
    expected = score(np.ascontiguousarray(array), organ(2), (1.0, 1.0, 2.0), METRICS)
    assert [row["value"] for row in rows] == [first.value for first in expected]


def test_a_header_that_contradicts_itself_is_refused_unless_geometry_is_ignored(tmp_path, capsys):
    image = nib.Nifti1Image(organ(2), FLIPPED)
    image.set_sform(FLIPPED, 2)
    image.set_qform(AXES, 1)
    nib.save(image, tmp_path / "r.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "r.nii.gz")), str(tmp_path / "p.nii.gz"))
    p, r = (str(tmp_path / f"{name}.nii.gz") for name in "pr")
    files = ["score", "--prediction", p, "--reference", r]
    assert "r.nii.gz: by its sform" in refusal(capsys, *files)
    assert main([*files, "--ignore-geometry", "--metrics", "dice", "--json"]) == 0
    assert {row["value"] for row in json.loads(capsys.readouterr().out)} == {1.0}


def test_an_origin_or_spacing_that_was_rounded_is_not_refused(tmp_path):
    fine = np.array([[0.3, 0, 0, 1.249], [0, 0.3, 0, -3.251], [0, 0, 2, 7.049], [0, 0, 0, 1]])
    r, p = placed(tmp_path / "r.nii.gz", organ(2), fine), tmp_path / "p.nii.gz"
    coarse = np.round(fine, 1)
    coarse[0, 0] = 0.301
    rows, _ = score_files(placed(p, organ(2), coarse), r, ("dice",))
    assert {row["value"] for row in rows} == {1.0}


def test_a_moved_origin_is_found_in_every_format(tmp_path):
    grid = "ObjectType = Image\nNDims = 3\nDimSize = 12 10 8\nElementType = MET_UCHAR\n"
    space = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 12 10 8\nencoding: raw\nspace: RAS\n"
    raw = organ(2).tobytes(order="F")
    r = placed(tmp_path / "r.nii.gz", organ(2), AXES)
    for x, printed in ((0, ""), (30, "lies up to 30 mm")):
        head = f"{grid}TransformMatrix = -1 0 0 0 -1 0 0 0 1\nOffset = {-x} 0 0\nElementSpacing = 1 1 2\n"
        (tmp_path / "p.mha").write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + raw)
        head = f"{space}space directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: ({x},0,0)\n\n"
        (tmp_path / "p.nrrd").write_bytes(head.encode() + raw)
        for p in (tmp_path / "p.mha", tmp_path / "p.nrrd"):
            if printed:
                with refused(f"{p.name}: {printed}"):
                    score_files(p, r, METRICS)
            else:
                assert {row["value"] for row in score_files(p, r, METRICS)[0]} == {0.0, 1.0}


UNLIKE = {  # prediction, reference: what is said
    ("p", "lone"): r"lone: no reference for prediction .*p/case_2.nii.gz \(1 of 2",
    ("small.nii.gz", "r/case_1.nii.gz"): r"small.nii.gz: shape .*/r/case_1.nii.gz",
    ("thick.nii.gz", "r/case_1.nii.gz"): r"thick.nii.gz: spacing .*/r/case_1.nii.gz",
    ("nowhere", "r"): "no such",
    ("p/case_1.nii.gz", "r"): "one of each",
    ("void", "r"): "holds no volume",
    ("twice", "lone"): "keep one",
}


@pytest.mark.parametrize("names", UNLIKE, ids=" ".join)
def test_what_cannot_be_paired_is_refused_by_name(folders, tmp_path, names):
    for path in ("lone/case_1.nii.gz", "twice/case_1.nii.gz", "twice/case_1.nii"):
        write(tmp_path / path, organ())
    (tmp_path / "void").mkdir()
    write(tmp_path / "small.nii.gz", organ()[:5])
    write(tmp_path / "thick.nii.gz", organ(), spacing=(1.0, 1.0, 2.5))
    with refused(UNLIKE[names]):
        score_files(*(tmp_path / name for name in names), METRICS)


def test_verify_finds_nothing_wrong_and_catches_a_wrong_number(folders, monkeypatch):
    every = ("dice", "iou", "hd", "hd95", "assd", "asd", "relative_volume_error", "nsd@1mm")
    rows, differences = score_files(*folders, every, verify=True)
    assert [row["case"] for row in rows] == sorted(2 * len(every) * ["case_1", "case_2"])
    assert differences == []

    def wrong(*arguments) -> list[list[Score]]:
        (result,) = compare(*arguments)
        return [[Score(s.target, s.metric, s.value + 2e-6, s.unit, s.status) for s in result]]

    assert main([*flags(*folders), "--verify"]) == 0
    monkeypatch.setattr(bench.score, "compare", wrong)
    assert main([*flags(*folders), "--verify"]) == 1
    rows, differences = score_files(*folders, every, verify=True)
    assert len(differences) == 2 * 2 * (len(every) - 1)  # MedPy has no NSD
    assert differences[0].startswith("case_1, label 1: dice 0.7")


def test_the_text_has_a_line_per_target_and_a_dash_for_undefined(tmp_path):
    p, r = organ(3), organ(2)
    r[r == 4] = 0  # label 4 is in the prediction only
    files = write(tmp_path / "p.nii.gz", p), write(tmp_path / "case.nii.gz", r)
    rows, _ = score_several(files[:1], files[1], METRICS, ("medpy",))
    lines = [line.split() for line in as_text(rows).splitlines()]
    assert lines[0] == ["case", "target", "dice", "hd95", "(mm)"]
    assert lines[3] == ["case", "4", "0.0000", "-"]
    assert lines[4][:3] == ["mean", "of", "targets"]
    assert " ".join(lines[5]) == "undefined, in no mean: hd95 1 of 2" and len(lines) == 6


def test_one_prediction_has_means_over_cases_then_over_targets(tmp_path):
    for case, dices in {"a": (1, 0), "b": (0, 1)}.items():  # label 1 is found in a, label 2 in b
        truth, result = np.zeros((2, 4, 4, 4), np.uint8)
        for label, hit in zip((1, 2), dices, strict=True):
            truth[label, 1, 1] = label
            result[label, 1, 1] = label * hit
        write(tmp_path / "p" / f"{case}.nii", result, (3.0, 4.0, 12.0))
        write(tmp_path / "r" / f"{case}.nii", truth, (3.0, 4.0, 12.0))
    metrics = ("dice", "hd", "dice_pooled")
    rows, _ = score_several((tmp_path / "p",), tmp_path / "r", metrics, ("medpy",))
    text = [" ".join(line.split()) for line in as_text(rows).splitlines()]
    assert "mean of 2 1 0.5000 26.0000" in text  # 0 mm, and the diagonal of 12 x 16 x 48 mm: 52 mm
    assert "mean of 2 2 0.5000 26.0000" in text and "mean of targets 0.5000 26.0000" in text
    assert "all cases 1 0.6667" in text  # 2 * 4 voxels found of 4 + 8
    assert text[-1] == "the penalty of an empty mask: hd 2 of 4"


def test_verify_refuses_what_medpy_does_not_define(folders):
    assert verifiable(("dice", "hd95", "hd"), "monai") == ("dice", "hd")
    with refused("MedPy has none of nsd@1mm"):
        score_files(*folders, ("nsd@1mm",), verify=True)
    with refused("under convention deepmind"):
        score_files(*folders, ("hd95",), "deepmind", verify=True)


@pytest.fixture
def contest(tmp_path: Path) -> tuple[tuple[Path, ...], Path]:
    """Return two predictions of two cases: ``island`` has one far off, ``thin`` lacks its skin."""
    for case in ("case_1", "case_2"):
        truth = np.zeros((60, 30, 30), np.uint8)
        truth[4:24, 5:25, 5:25] = 1
        island, thin = truth.copy(), np.zeros_like(truth)
        island[50:57, 12:19, 12:18] = 1
        thin[6:22, 7:23, 7:23] = 1
        if case == "case_2":
            island[0, 0, 0] = 3  # a label that nobody else has
        for folder, volume in (("island", island), ("thin", thin), ("truth", truth)):
            write(tmp_path / folder / f"{case}.nii.gz", volume, spacing=(1.0, 1.0, 1.0))
    return (tmp_path / "island", tmp_path / "thin"), tmp_path / "truth"


def test_several_predictions_have_the_rows_that_each_has_alone(contest):
    predictions, truth = contest
    rows, differences = score_several(predictions, truth, METRICS)
    columns = [*CONTRACT, "status", "prediction", "convention", "medpy", "values"]
    assert all(list(row) == columns for row in rows)
    assert differences == []
    assert len(rows) == 2 * 2 * 3 * 2 * len(METRICS)  # predictions, cases, conventions, labels
    for path in predictions:
        for convention in CONVENTIONS:
            alone, _ = score_files(path, truth, METRICS, convention)
            named = {"prediction": path.name, "convention": convention}
            its = (row for row in rows if row.items() >= named.items())
            mine = [{key: row[key] for key in CONTRACT} for row in its]
            more = [row for row in mine if row["target"] == "3" and path.name == "thin"]
            assert alone == [row for row in mine if row not in more]
            assert {row["value"] for row in more} <= {None}


def test_the_text_ranks_and_says_what_the_convention_changes(contest):
    predictions, truth = contest
    metrics = ("dice", "hd95", "volume_error", "relative_volume_error")
    text = as_ranking(score_several(predictions, truth, metrics)[0]).splitlines()
    assert text[0].split() == ["metric", "prediction", "medpy", "monai", "deepmind", "n"]
    cells = [line.split() for line in text]
    assert cells[2][:2] == ["dice", "island"] and cells[2][3] == "(1)"
    assert cells[2][-3:] == ["2", "of", "4"]
    ranked = [line[1:3] for line in cells if line[:1] == ["hd95"]]
    assert ranked == [["(mm)", "island"], ["(mm)", "thin"]]
    assert any(line[:2] == ["volume_error", "(ml)"] for line in cells)
    assert any(line[:1] == ["|relative_volume_error|"] for line in cells)
    assert (
        text[-1] == "the ranking changes, hd95: medpy island < thin; monai, deepmind thin < island"
    )
    same = as_ranking(score_several(predictions, truth, ("dice",))[0])
    assert same.endswith("no ranking changes with the convention")
    alone = as_ranking(score_several(predictions, truth, METRICS, ("medpy",))[0])
    assert "monai" not in alone and "convention" not in alone


def test_two_volumes_of_one_case_can_be_ranked(contest):
    (island, thin), truth = contest
    *files, reference = (
        Path(shutil.copy(f / "case_1.nii.gz", f.parent / f"{f.name}.nii.gz"))
        for f in (island, thin, truth)
    )
    rows, _ = score_several(tuple(files), reference, ("dice",))
    assert {row["case"] for row in rows} == {"truth"}
    assert list(dict.fromkeys(row["prediction"] for row in rows)) == ["island", "thin"]


def test_every_prediction_is_verified_under_its_own_name(contest, monkeypatch):
    predictions, truth = contest
    assert score_several(predictions, truth, METRICS, verify=True)[1] == []
    monkeypatch.setattr(bench.score, "AGREE", -1.0)  # everything is then a difference
    result = score_several(predictions, truth, METRICS, verify=True)[1]
    named = [f"{p}, case_{n}, label 1" for p in ("island", "thin") for n in (1, 2)]
    assert [line.split(":")[0] for line in result[::2]] == named


def test_predictions_of_one_name_are_refused(contest, tmp_path):
    (island, thin), truth = contest
    link = tmp_path / "other" / "thin"
    link.parent.mkdir()
    link.symlink_to(island)
    with refused(r"other/thin: the name 'thin' is already used by .*thin; rename"):
        score_several((thin, link), truth, METRICS)
    rows, _ = score_several((island, link), truth, ("dice",))
    assert {row["prediction"] for row in rows} == {"island", "thin"}


def test_the_command_takes_several_predictions_and_one_keeps_to_the_contract(contest, capsys):
    (island, thin), truth = contest
    rest = ["--reference", str(truth), "--metrics", "hd95,volume_error"]

    def run_score(*words: str) -> str:
        assert main(["score", *words, *rest]) == 0
        return capsys.readouterr().out

    both = ("--prediction", str(island), "--prediction", str(thin))
    assert "the ranking changes, hd95: medpy island < thin" in run_score(*both)
    rows = json.loads(run_score(*both, "--json"))
    assert all(list(row) == [*CONTRACT, "prediction", "convention"] for row in rows)
    (first, other) = (
        json.loads(run_score(*both[:2], *more, "--json"))
        for more in ((), ("--convention", "medpy"))
    )
    assert first == other and all(tuple(row) == CONTRACT for row in first)
    units = {(row["metric"], row["unit"]) for row in first}
    assert units == {("hd95", "mm"), ("volume_error", "ml")}


def test_all_stands_for_every_metric_of_label_maps_and_verify_says_what_it_did(folders, capsys):
    flags = ["--prediction", str(folders[0]), "--reference", str(folders[1]), "--metrics"]
    of_maps = {name for name, metric in METRIC.items() if metric.task == "segmentation"}
    lesions = {name for name in of_maps if name.startswith("lesion_")}
    for names, left_out in (("all", lesions), ("all,lesions", set())):
        assert main(["score", *flags, names, "--json"]) == 0
        requested = {row["metric"] for row in json.loads(capsys.readouterr().out)}
        assert requested == of_maps - {"dice_monai"} - left_out
    assert main(["score", *flags, "dice,nsd@1mm", "--verify"]) == 0  # 2 cases of 2 labels
    printed = (
        "4 numbers computed again with MedPy, all agree within 1e-06; MedPy has none of nsd@1mm"
    )
    assert printed in capsys.readouterr().err


def flags(p: Path, r: Path, *more: str) -> list[str]:
    return ["score", "--prediction", str(p), "--reference", str(r), "--metrics", "dice", *more]


def dices(rows: list[dict]) -> dict[tuple[str, str], float | None]:
    return {(row["case"], row["target"]): row["value"] for row in rows if row["metric"] == "dice"}


def test_labels_regions_and_void_are_chosen(tmp_path, capsys):
    # Along x: BraTS's labels. WT = 1, 2, 4; TC = 1, 4; ET = 4 (Menze et al. 2015, as of 2017)
    for name, values in {"p": (1, 2, 4, 4, 0, 2), "r": (1, 1, 4, 2, 2, 9)}.items():
        line = np.array(values, np.uint8)[:, None, None]
        write(tmp_path / f"{name}.nii.gz", line * np.ones((1, 2, 2), np.uint8))
    files = tmp_path / "p.nii.gz", tmp_path / "r.nii.gz"

    def run_score(*more: str) -> tuple[dict[str, float | None], str]:
        assert main(flags(*files, *more, "--json", "--verify")) == 0
        text = capsys.readouterr()
        return {row["target"]: row["value"] for row in json.loads(text.out)}, text.err

    result, printed = run_score("--labels", "4, 1")
    assert result == {"4": pytest.approx(2 / 3), "1": pytest.approx(2 / 3)}
    assert printed == "bench: 2 numbers computed again with MedPy, all agree within 1e-06\n"
    result, printed = run_score("--regions", "brats")
    assert result == {
        "WT": pytest.approx(2 * 4 / 10),
        "TC": pytest.approx(2 * 2 / 6),
        "ET": pytest.approx(2 / 3),
    }
    assert "value 9 is in no region" in printed
    assert "3 numbers computed again with MedPy, all agree" in printed
    # the last voxel counts for nothing
    result, printed = run_score("--regions", "brats18", "--ignore", "9")
    assert result["WT"] == pytest.approx(2 * 4 / 9) and "no region" not in printed
    result, _ = run_score("--ignore", "9")
    assert list(result) == ["1", "2", "4"] and result["2"] == 0.0
    assert "value 7 is in no file; there are 1, 2, 4, 9" in run_score("--labels", "7,1")[1]
    assert "value 8 is in no reference" in run_score("--ignore", "8")[1]
    pooled = flags(*files, "--regions", "msd01", "--json")
    assert main([word.replace("dice", "dice_pooled") for word in pooled]) == 0
    assert {row["target"] for row in json.loads(capsys.readouterr().out)} == {"WT", "TC", "ET"}


UNMET = {  # values of predictions and references by case, what more is asked: the lines
    "mask of 255": ([({255}, {1})] * 2, (), "255 only in .*; 1 only in .*; .* in 2 of 2 cases, first: 0; .* 255=1"),
    "other way": ([({1}, {255})], (), "1 only in predictions; 255 only in references; .* --map 1=255"),
    "in order": ([({1, 2}, {20, 10})], (), "1, 2 only in predictions; 10, 20 only in references; .* --map 1=10,2=20"),
    "some cases": ([({1}, {1}), ({255}, {1})], (), "meet: 255 only in .*; .* 1 of 2 cases, first: 1; .* 255=1"),
    "some references": ([({1}, {1}), ({1}, {255})], (), "meet: 255 only in references; .* in 1 of 2 .* --map 1=255"),
    "in part": ([({1, 3}, {1}), ({1}, {1, 2})], (), "meet: 3 only in predictions; 2 only in references; .* --map 3=2"),
    "more than one": ([({1, 2, 3}, {9})], (), "--map VALUE=LABEL"),
    "region": ([({1, 2, 3}, {1, 2, 4})], ("--regions", "brats"), "3 only in predictions; 4 only in references; .* 3=4"),
    "chosen label": ([({255}, {1})], ("--labels", "1"), "255 only in predictions; 1 only in references"),
    "over all cases": ([({255}, {1})], ("--metrics", "dice_pooled"), "255 only in predictions; 1 only in references;"),
    "not chosen": ([({1, 5}, {1, 7})], ("--labels", "1"), None),
    "void": ([({1}, {1, 255})], ("--ignore", "255"), None),
    "empty": ([(set(), {1}), ({1}, {1})], (), None),
    "all empty": ([(set(), {1})], (), None),
    "absent label": ([({1}, {1, 2}), ({1}, {2})], (), "no common value in 1 of 2 cases"),
    "swapped": ([({1}, {2}), ({2}, {1})], (), None),
    "mapped": ([({255}, {1})], ("--map", "255=1"), None),
}  # fmt: skip


@pytest.mark.parametrize(("cases", "more", "line"), UNMET.values(), ids=UNMET)
def test_label_values_that_do_not_meet_are_said(tmp_path, capsys, cases, more, line):
    for case, sides in enumerate(cases):
        for side, values in zip("pr", sides, strict=True):
            volume = np.zeros((8, 8, 8), np.uint8)
            for at, value in enumerate(sorted(values)):
                volume[2 * at, :4] = value
            write(tmp_path / side / f"{case}.nii.gz", volume)
    asked = flags(tmp_path / "p", tmp_path / "r", "--json", *more)
    assert main(asked[:5] + asked[7:] if "--metrics" in more else asked) == 0
    said = capsys.readouterr()
    assert all(set(row) == set(CONTRACT) for row in json.loads(said.out))
    met = [text for text in said.err.splitlines() if "do not meet" in text]
    assert len(met) == (line is not None) and all(re.search(line, text) for text in met), met


def test_values_of_a_prediction_are_scored_as_the_labels_that_they_stand_for(folders, capsys):
    p, r = folders
    expected = score_files(p, r, ("dice", "hd95"))[0]
    for path in sorted(p.glob("case*")):
        array = np.asarray(nib.load(path).dataobj)
        write(path, np.array([0, 4, 0, 0, 1000], np.int16)[array])
    asked = [
        "score",
        "--prediction",
        str(p),
        "--reference",
        str(r),
        "--metrics",
        "dice,hd95",
        "--json",
    ]
    assert main([*asked, "--map", "4=1,1000=4"]) == 0  # 4 is both
    assert json.loads(capsys.readouterr().out) == expected
    assert main([*asked, "--map", "7=1"]) == 0
    assert "--map: value 7 is in no prediction; there are 4, 1000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--labels", "one"), "--labels: 'one' is no label value"),
        (("--labels", "1,"), "--labels: '' is no label value"),
        (("--labels", "70000"), "--labels: '70000' is no label value"),
        (("--ignore", "-1"), "--ignore: '-1' is no label value"),
        (("--map", "255"), "--map '255': give each value but 0 one label"),
        (("--map", "255=1,255=2"), "--map '255=1,255=2': give each value but 0 one label"),
        (("--labels", "1", "--regions", "brats"), "give only one of them"),
        (("--labels", "1,4", "--ignore", "4"), "label 4 cannot be both ignored and scored"),
        (("--regions", "acdc"), "--regions: no data set with regions named 'acdc'"),
        (("--regions", "msd"), "msd: msd01_brain_tumour and msd02_heart define different regions"),
        (("--regions", ""), "--regions: no data set with regions"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_chosen_is_refused_in_one_line(folders, capsys, more, says):
    stated = [f"{flag}={text}" for flag, text in zip(more[::2], more[1::2], strict=True)]
    assert says in refusal(capsys, *flags(*folders, *stated))


def test_a_fold_has_predictions_of_some_references(folders, capsys):
    p, r = folders
    both = dices(score_files(p, r, ("dice",))[0])
    (p / "case_1.nii.gz").unlink()
    rows, _ = score_files(p, r, ("dice",))
    assert dices(rows) == {key: value for key, value in both.items() if key[0] == "case_2"}
    assert main(flags(p, r)) == 0
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "p: 1 of 2 references have no prediction and are not scored" in printed
    # of several predictions only what each has a number for is ranked
    other = p.parent / "other"
    for case in ("case_1", "case_2"):
        write(other / f"{case}.nii.gz", organ(3))
    text = as_ranking(score_several((p, other), r, ("dice",))[0])
    assert "2 of 4" in text and text.count("(1)") == 6


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_files_of_two_formats_are_paired_by_their_stems(folders, suffix):
    import SimpleITK

    expected = dices(score_files(*folders, ("dice",))[0])
    for path in sorted(folders[0].glob("case*")):
        image = SimpleITK.ReadImage(str(path))
        for name in image.GetMetaDataKeys():
            image.EraseMetaData(name)
        SimpleITK.WriteImage(image, str(path).replace(".nii.gz", suffix))
        path.unlink()
    assert dices(score_files(*folders, ("dice",))[0]) == expected


def test_a_folder_of_pictures_is_scored_as_medpy_does_in_the_plane(tmp_path):
    from medpy.metric import binary
    from PIL import Image

    rng, expected = np.random.default_rng(0), {}
    every = {"dice": binary.dc, "hd95": binary.hd95, "assd": binary.assd}
    for case in ("a", "b"):
        blocks = (np.kron(rng.random((9, 7)) < 0.3, np.ones((4, 4))) for _ in range(2))
        masks = [block.astype(np.uint8) for block in blocks]
        for folder, mask in zip(("p", "r"), masks, strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / folder / f"{case}.png")
        expected |= {(case, m): pytest.approx(peer(*masks)) for m, peer in every.items()}
    rows, differences = score_files(tmp_path / "p", tmp_path / "r", tuple(every), verify=True)
    values = {(row["case"], row["metric"]): row["value"] for row in rows}
    assert values == expected and differences == []
    # beside volumes pictures are previews
    write(tmp_path / "p" / "c.nii.gz", organ())
    write(tmp_path / "r" / "c.nii.gz", organ())
    rows, _ = score_files(tmp_path / "p", tmp_path / "r", ("dice",))
    assert {row["case"] for row in rows} == {"c"}


def test_verify_does_not_share_the_axes_of_one_voxel(tmp_path, monkeypatch):
    # the thickness is no distance: MedPy is given the picture, so a wrong number of a slice is caught
    flat = np.zeros((30, 20, 1), np.uint8)
    flat[5:15, 5:15] = 1
    files = [write(tmp_path / f"{n}.nii.gz", np.roll(flat, n, 0), (1.0, 2.0, 9.0)) for n in (4, 0)]
    assert score_files(*files, ("hd95", "assd"), verify=True)[1] == []
    monkeypatch.setattr("bench.metrics.volume.long_axes", lambda shape: tuple(range(len(shape))))
    (difference,) = score_files(*files, ("hd95", "assd"), verify=True)[1]
    assert difference.startswith("0, label 1: assd 1 here, 2.2")  # by hand: every pixel was surface


def test_a_sheared_volume_is_scored_by_its_affine(tmp_path, capsys):
    tilt = np.deg2rad(20)  # of a gantry
    affine = np.eye(4)
    affine[1:3, 2] = 3 * np.sin(tilt), 3 * np.cos(tilt)
    plain = np.where(organ(2) == 4, 1, organ(2))
    grown = plain.copy()
    grown[6:9, 3:7, 2:6] = 1
    masks = [array[::-1].transpose(2, 0, 1) for array in (grown, plain)]
    backwards = np.diag([-1.0, 1, 1, 1])
    backwards[0, 3] = 11
    stored = (affine @ backwards)[:, [2, 0, 1, 3]]
    files = [placed(tmp_path / f"{n}.nii.gz", mask, stored) for n, mask in enumerate(masks)]
    rows, _ = score_files(*files, ("volume_error", "hd"))
    assert rows[0]["value"] == pytest.approx(3 * 4 * 4 * np.linalg.det(affine) / 1000, rel=1e-6)
    assert rows[1]["value"] == pytest.approx(3.0, rel=1e-6)  # three voxels further along x
    assert main([word.replace("dice", "dice,hd") for word in flags(*files, "--verify")]) == 0
    assert "1 numbers computed again with MedPy, all agree" in capsys.readouterr().err
