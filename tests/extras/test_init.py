"""``bench init``: what it writes over a folder of scans plans and runs as it is, and overwrites nothing."""

import functools
import gzip
import json
import math
import re
import shutil
from unittest import mock

import nibabel as nib
import numpy as np
import pytest
import yaml
from one_line import full_disk, refusal

from bench import arguments, registry
from bench.cli import main
from bench.data.facts import Facts
from bench.dataset import Case
from bench.extras import init as inits
from bench.extras.survey import first as firsts
from bench.protocol import read

pytestmark = pytest.mark.usefixtures("own_place")


@pytest.fixture(scope="module")
def phantoms_of(tmp_path_factory):
    """Return a function from a number of cases to a folder of phantoms, drawn once."""
    return functools.cache(lambda cases: drawn(tmp_path_factory.mktemp("drawn"), cases))


def drawn(root, cases):
    registry.load("dataset", "msd04_hippocampus").phantom(root, cases, 0)
    return root


@pytest.fixture
def scans(tmp_path, phantoms_of):
    """Return a function from a number of cases and a name to a folder in MSD layout."""

    def make(cases, name="my scans"):
        return shutil.copytree(phantoms_of(cases), tmp_path / "data" / name)

    return make


def planned(capsys, path, root, *more):
    capsys.readouterr()
    assert main(["plan", str(path), "--data", str(root.parent), *more]) == 0
    return capsys.readouterr().out


def test_what_is_written_plans_at_every_scale(scans, tmp_path, capsys):
    root = scans(30)
    before = sorted(root.rglob("*"))
    assert main(["init", str(root)]) == 0
    out = capsys.readouterr().out
    path = tmp_path / "my_scans.yaml"
    assert f"bench run my_scans.yaml --data {root.parent}" in out
    assert sorted(root.rglob("*")) == before
    written = read(path)
    assert next(row.method for row in written.rows.values()) == "scratch" and len(written.rows) == 3
    (section,) = written.finetune
    assert (section.dataset, section.split, section.fractions) == ("my scans", "even", (10, 100))
    for scale in ("smoke", "pilot", "paper"):
        text = planned(capsys, path, root, "--scale", scale)
        assert "2 / 1 / 6 at 10 %, 21 / 3 / 6 at 100 %" in text
        for line in ("controls (ceiling): about", "by inner folds of the labelled patients: about"):
            assert (line in text) == (scale != "smoke")
    assert len(path.read_text().splitlines()) < 60


@pytest.mark.parametrize("network", firsts.networks())
def test_a_named_network_plans_at_every_scale_and_says_what_nnunet_reads(
    scans, tmp_path, capsys, network
):
    root = scans(5)
    assert main(["init", str(root), "--network", network]) == 0
    said = capsys.readouterr().out.splitlines()
    line = next(t for t in said if t.startswith("network "))
    shown = [t for t in said if "bench export models_genesis --only scale=pilot --only fold=0" in t]
    assert len(shown) == (network == "resenc_unet")
    stated = {"resenc_unet": "exports to nnU-Net, see below"}
    only = "only resenc_unet exports to nnU-Net (--network resenc_unet, in another file: --to)"
    assert line == f"network {network}: {stated.get(network, only)}"
    for scale in ("smoke", "pilot", "paper"):
        planned(capsys, tmp_path / "my_scans.yaml", root, "--scale", scale)
        (net,) = read(tmp_path / "my_scans.yaml", scale).networks.values()
        assert net.network == network and net.preset.startswith("base") == (
            scale == "paper" and network != "resenc_unet"
        )


def test_help_lists_the_networks_and_a_wrong_one_gets_the_nearest(capsys):
    assert arguments.NETWORKS.split("|") == firsts.networks()
    with pytest.raises(SystemExit):
        main(["init", "DIR", "--network", "resenc"])
    assert "no 'resenc'; did you mean 'resenc_unet'?" in capsys.readouterr().err


def test_of_a_known_data_set_the_published_score_is_the_anchor(
    scans, tmp_path, monkeypatch, capsys
):
    root = scans(45, "msd04_hippocampus")
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    pilot = read(tmp_path / "own.yaml", "pilot")
    (section,), (net,) = pilot.finetune, pilot.networks.values()
    assert section.anchor.mean == 0.89  # results/reference.csv
    assert (section.tune.on, section.tune.runs, len(section.tune.grid)) == ("val", "others", 3)
    assert net.crop == (32, 48, 32)  # of scans of 37 x 49 x 35 voxels
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "89")
    assert "write a number from 0 to 1" in refusal(capsys, "init", root, "--to", "other.yaml")


SPLITS = {
    2: ("leave_one_out", (100,)),
    3: ("leave_one_out", (50, 100)),
    5: ("cv5", (50, 100)),
    24: ("cv5", (10, 100)),
}


@pytest.mark.parametrize(("cases", "split"), SPLITS.items())
def test_few_patients_are_each_tested_once(scans, cases, split, tmp_path, capsys):
    root = scans(cases)
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    (section,) = read(tmp_path / "own.yaml", "pilot").finetune
    assert (section.split, section.fractions) == split and section.tune.on == "folds"
    planned(capsys, tmp_path / "own.yaml", root)


def test_a_listing_is_what_it_was_where_no_protocol_can_be_written(scans, capsys):
    listing = scans(6) / "dataset.json"
    before = listing.read_bytes()
    assert (
        "patient" in refusal(capsys, "init", listing.parent, "--patients", "(hippo)campus_.*")
        and listing.read_bytes() == before
    )


def test_labelled_cases_that_come_as_a_test_part_are_tested(scans, tmp_path, capsys):
    root = scans(24)
    for side in ("images", "labels"):
        (root / f"{side}Ts").mkdir(exist_ok=True)
        for file in sorted((root / f"{side}Tr").iterdir())[-4:]:
            file.rename(root / f"{side}Ts" / file.name)
    listing = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(listing | {"training": []}))
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    assert "split given: 18 patients train, 2 validate, 4 are tested" in capsys.readouterr().out
    assert read(tmp_path / "own.yaml").finetune[0].split == "given"


def test_a_case_that_cannot_be_used_is_left_out_and_named(scans, tmp_path, capsys):
    root = scans(8)
    (root / "imagesTr" / "hippocampus_003.nii.gz").write_bytes(b"no")
    label = nib.load(root / "labelsTr" / "hippocampus_005.nii.gz")
    strange = np.asarray(label.dataobj).copy()
    strange[0, 0, 0] = 9
    nib.save(nib.Nifti1Image(strange, label.affine), root / "labelsTr" / "hippocampus_005.nii.gz")
    for file in ("imagesTr/hippocampus_001.nii.gz", "labelsTr/hippocampus_006.nii.gz"):
        image = nib.load(root / file)
        image.set_qform(np.diag([-1.0, 1, 1, 1]) @ image.affine, 1)
        (root / file).write_bytes(gzip.compress(image.to_bytes()))
    for number, at in ((2, 280), (4, 112)):  # an sform of NaN alone; a slope of NaN, as in fMRIPrep
        file = root / f"labelsTr/hippocampus_{number:03d}.nii.gz"
        raw = bytearray(gzip.decompress(file.read_bytes()))
        raw[at : at + 4] = np.float32(np.nan).tobytes()
        file.write_bytes(gzip.compress(raw))
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    assert "6 findings, 5 cases left out" in capsys.readouterr().out
    out = tuple(f"hippocampus_{n:03d}" for n in (1, 2, 3, 5, 6))
    assert read(tmp_path / "own.yaml").finetune[0].exclude == out
    assert "patients that train" in planned(capsys, tmp_path / "own.yaml", root)


def test_labels_and_channels_are_asked_where_no_file_names_them(scans, monkeypatch, capsys):
    root = scans(5)
    (root / "dataset.json").unlink()
    replies = mock.Mock(side_effect=["head", "", "T1", "0.8"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", replies)
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    assert [call.args[0] for call in replies.call_args_list] == [
        "name of label 1, in 5 label maps [label_1]: ",
        "name of label 2, in 5 label maps [label_2]: ",
        "channel 0 (CT is windowed in HU, all else scaled) [MR]: ",
        "mean Dice (0 to 1) that others reach on such scans with all labels, if known [none]: ",
    ]
    assert read(root.parents[1] / "own.yaml").finetune[0].anchor.mean == 0.8
    told = json.loads((root / "dataset.json").read_text())
    assert told["labels"] == {"0": "background", "1": "head", "2": "label_2"}
    assert told["modality"] == {"0": "T1"}


def test_flags_or_no_terminal_ask_nothing(scans, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked"))
    root = scans(5)
    (root / "dataset.json").unlink()
    for image in (root / "imagesTr").iterdir():  # nnU-Net's names
        image.rename(image.with_name(image.name.replace(".nii", "_0000.nii")))
    assert main(["init", str(root), "--labels", "2=tail", "--to", "own.yaml"]) == 0
    told = json.loads((root / "dataset.json").read_text())
    assert told["labels"] == {"background": 0, "label_1": 1, "tail": 2}
    assert told["channel_names"] == {"0": "MR"}
    assert told["numTraining"] == 5 and told["file_ending"] == ".nii.gz"  # nnU-Net asks for both
    assert "hd95" in read(tmp_path / "own.yaml").metrics
    planned(capsys, tmp_path / "own.yaml", root)


def emptied(root):
    """Write 0 in every voxel of every label map."""
    for path in root.glob("labelsTr/*.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), path)


REFUSED = {  # words after the folder, what is done to it before, what is said
    "there already": (["--to", "there.yaml"], None, "nothing is overwritten"),
    "no such place": (["--to", "gone/x.yaml"], None, "no folder gone"),
    "named twice": (["--labels", "1=a"], None, "dataset.json already gives these names"),
    "one name for two": (["--labels", "1=a,2=a"], "dataset.json", "a name of its own"),
    "no value": (["--labels", "a"], "dataset.json", "write VALUE=NAME"),
    "a value that is nowhere": (["--labels", "7=a"], "dataset.json", "value 7 is in no label map"),
    "a file is missing": ([], "labelsTr/hippocampus_002.nii.gz", "1 file(s) are missing"),
    "empty labels": ([], emptied, "all 4 label maps are empty"),
    "one patient": ([], "*/hippocampus_00[2-9].nii.gz", "1 patient with a usable label, and two"),
}


@pytest.mark.parametrize(("words", "remove", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    scans, tmp_path, words, remove, said, capsys
):
    root = scans(4)
    if remove == "*/hippocampus_00[2-9].nii.gz":
        listing = {"modality": {"0": "T1"}, "labels": {"0": "b", "1": "a", "2": "c"}}
        (root / "dataset.json").write_text(json.dumps(listing))
    if callable(remove):
        remove(root)
    for path in root.glob(remove) if isinstance(remove, str) else ():
        path.unlink()
    (tmp_path / "there.yaml").touch()
    assert said in refusal(capsys, "init", root, *words)
    assert sorted(p.name for p in tmp_path.glob("*.yaml")) == ["there.yaml"]


def test_a_disk_that_is_full_in_the_middle_of_a_file_leaves_none(scans, tmp_path, capsys):
    root = scans(4)
    (root / "dataset.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    for limit, file in ((20, "dataset.json"), (1000, "my_scans.yaml")):
        with full_disk(limit):
            line = refusal(capsys, "init", root)
        assert f"{file}: cannot be written (File too large)" in line
        assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_another_layout_is_told_what_to_do(tmp_path, capsys):
    assert "'bench new dataset' begins a data set" in refusal(capsys, "init", tmp_path)


CROPS = {  # median voxels: crop of a run, of a trial
    (35, 50, 36): ((32, 48, 32), (24, 24, 24)),
    (216, 256, 10): ((112, 120, 8), (40, 40, 8)),
    (122, 101, 112): ((48, 48, 48), (24, 24, 24)),
    (9, 9, 4): ((16, 8, 8), (16, 8, 8)),
}


@pytest.mark.parametrize(("sizes", "crops"), CROPS.items())
def test_crops_lie_within_a_median_scan_and_are_small(sizes, crops):
    run, trial = (firsts._crop(sizes, most) for most in (firsts.CROP, firsts.SMALL))
    assert (run, trial) == crops
    assert all(side % 8 == 0 for side in run + trial) and math.prod(run) <= firsts.CROP


@pytest.mark.slow
def test_what_is_written_runs_and_ends_in_a_table(scans, tmp_path, capsys):
    root = scans(10)
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    protocol = yaml.safe_load((tmp_path / "own.yaml").read_text())
    assert main(["run", "own.yaml", "--data", str(root.parent), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert all(f"{share} %" in out for share in protocol["finetune"][0]["fractions"])
    assert "SimCLR" in out and inits.TEMPLATE.exists()


SPACINGS = {  # what is not alike, (shape, spacing) of each scan: the recipe's spacing
    "alike": ([((35, 50, 36), (1, 1, 1))] * 3, None),
    "nearly alike": ([((35, 50, 36), (1, 1, 1)), ((35, 50, 36), (1.01, 1, 1))], None),
    "different": ([((99, 99, 20), (1, 1, s)) for s in (3, 5, 8)], (1.0, 1.0, 5.0)),
    # 512 x 512 x 100 at 0.7 x 0.7 x 5 mm: at t x t x 5 mm (358.4 / t)^2 x 100 <= 1.5 million from t = 2.93 on
    "large, thick slices": ([((512, 512, 100), (0.7, 0.7, 5.0))], (3.0, 3.0, 5.0)),
}


@pytest.mark.parametrize(("scans", "spacing"), SPACINGS.values(), ids=SPACINGS)
def test_spacing_is_the_scans_own_or_coarser(scans, spacing):
    seen = [Facts(Case("a", "a", ()), shape, own, (), None, 0, 1.0) for shape, own in scans]
    assert firsts._spacing(seen)[0] == spacing


def unlabelled(root, *, folder):
    """Move the last four images of a folder to another and remove their labels and rows of the list."""
    (root / folder).mkdir(exist_ok=True)
    for image in sorted((root / "imagesTr").iterdir())[-4:]:
        (root / "labelsTr" / image.name).unlink()
        image.rename(root / folder / image.name)
    listing = json.loads((root / "dataset.json").read_text())
    listing["training"] = [row for row in listing["training"] if (root / row["label"]).exists()]
    (root / "dataset.json").write_text(json.dumps(listing | {"test": []}))


def test_pictures_in_the_place_of_scans_are_named(tmp_path, capsys):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(b"")
    assert "no .nii.gz files; it holds pictures: 'bench new dataset' begins" in refusal(
        capsys, "init", tmp_path
    )


@pytest.mark.parametrize("folder", ["imagesTs", "imagesTr"])
def test_scans_without_a_label_are_pretrained_on(scans, folder, capsys):
    root = scans(30)
    unlabelled(root, folder=folder)
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    assert "pretraining also reads 4 scans without a label" in capsys.readouterr().out
    out = planned(capsys, "own.yaml", root)  # of 26: 5 are tested, 3 validate
    assert "pretrains on 22 scans, 4 of them unlabelled" in out


def test_where_no_image_can_be_read_one_line_says_so_and_nothing_is_written(
    scans, tmp_path, capsys
):
    root = scans(4)
    for image in (root / "imagesTr").iterdir():
        image.write_bytes(b"no")
    assert (
        "no image of" in refusal(capsys, "init", root, "--to", "own.yaml")
        and not (tmp_path / "own.yaml").exists()
    )


def test_ct_that_a_window_makes_constant_is_told(scans, capsys):
    root = scans(5)
    listing = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(listing | {"modality": {"0": "CT"}}))
    for path in sorted((root / "imagesTr").iterdir()):
        image = nib.load(path)
        body = np.random.default_rng(0).normal(1064, 15, image.shape).astype(np.int16)
        body[:4] = 0
        nib.save(nib.Nifti1Image(body, image.affine), path)
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    out = capsys.readouterr().out
    assert "to its upper end; no voxel is air in HU, as where CT is stored with an offset" in out
    main(["check", root.name, "--data", str(root.parent)])
    assert "no voxel is air in HU" in capsys.readouterr().out


CHANNELS = {  # names, values of water in air: the line of init, none where CT gets its window
    "CT": ({"0": "ct"}, {0: (0, -1000)}, ""),
    "PET called CT": (
        {"0": "CT", "1": "CT"},
        {0: (0, -1000), 1: (8, 0)},
        "channel 1 holds 0 to 8 in",
    ),
    "PET first": ({"0": "PET", "1": "CT"}, {0: (8, 0), 1: (0, -1000)}, "PET is no CT: z-scores"),
    "MR called CT": ({"0": "CT"}, {0: (400, 20)}, "to its upper end; no voxel is air"),
    "CT from 0 to 1": ({"0": "CT"}, {0: (0.5, 0)}, "channel 0 holds 0 to 0.5 in a median scan"),
}


@pytest.mark.parametrize(("names", "values", "words"), CHANNELS.values(), ids=CHANNELS)
def test_a_window_is_for_values_in_hu_alone(scans, tmp_path, capsys, names, values, words):
    root = scans(5)
    listing = json.loads((root / "dataset.json").read_text())
    listing = {key: listing[key] for key in ("name", "labels")}
    (root / "dataset.json").write_text(json.dumps(listing | {"channel_names": names}))
    for path in sorted((root / "imagesTr").iterdir()):
        image = nib.load(path)
        path.unlink()
        for channel, (water, air) in values.items():
            array = np.full(image.shape, air, np.float32)
            array[8:-8] = water
            name = path.name.replace(".nii", f"_{channel:04d}.nii")
            nib.save(nib.Nifti1Image(array, image.affine), path.with_name(name))
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("recipe")]
    assert [words in line for line in lines] == [True] * bool(words)
    recipe = read(tmp_path / "own.yaml").finetune[0].recipe
    assert recipe.scale == ("zscore" if words else "window")


LAYOUTS = {  # image, label, their patterns: what differs between cases is n
    "a folder a patient": ("patient {n:02d}/T1.nii.gz", "patient {n:02d}/mask.nii.gz", "*/T1.nii.gz", "*/mask.nii.gz"),
    "two folders": ("img/{n:03d}.nii.gz", "seg/{n:03d}_seg.nii.gz", "img/*.nii.gz", "seg/*_seg.nii.gz"),
    "one folder": ("all/a{n}_t1.nii.gz", "all/a{n}_lab.nii.gz", "all/*_t1.nii.gz", "all/*_lab.nii.gz"),
    "one folder, any name": ("c{n}.nii.gz", "c{n}_seg.nii.gz", "*.nii.gz", "*_seg.nii.gz"),
    "three letters": ("c_{n:03d}.nii.gz", "c_{n:03d}_m.nii.gz", "c_???.nii.gz", "c_???_m.nii.gz"),
    "deep": ("s{n}/ses-1/anat/x.nii.gz", "s{n}/ses-1/lab/y.nii.gz", "**/anat/x.nii.gz", "**/lab/y.nii.gz"),
    "single letters": ("p{n}q/i.nii.gz", "p{n}q/m.nii.gz", "p[0-9]q/i.nii.gz", "p?q/m.nii.gz"),
}  # fmt: skip


@pytest.fixture
def elsewhere(scans, tmp_path):
    """Return a function that lays the phantoms out by names, and returns their folder."""
    source = scans(9, "source")

    def lay(image, label, labelled=8):
        root = tmp_path / "own" / "my scans"
        for n, case in enumerate(sorted((source / "labelsTr").iterdir())):
            for name, room in ((image, "imagesTr"), (label, "labelsTr")):
                path = root / name.format(n=n)
                path.parent.mkdir(parents=True, exist_ok=True)
                if room == "imagesTr" or n >= 9 - labelled:
                    path.write_bytes((source / room / case.name).read_bytes())
        return root

    return lay


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scans_in_another_layout_are_linked_and_plan(elsewhere, layout, tmp_path, capsys):
    image, label, images, labels = LAYOUTS[layout]
    root = elsewhere(image, label)
    before = sorted(root.rglob("*"))
    words = ["--image", images, "--label", labels, "--labels", "1=front,2=back", "--to", "a.yaml"]
    assert main(["init", str(root), *words]) == 0
    assert sorted(root.rglob("*")) == before
    home = root.with_name("my scans_msd")
    linked = {path.name: path.resolve() for path in (home / "imagesTr").iterdir()}
    assert len(linked) == 8 and len([*(home / "imagesTs").iterdir()]) == 1
    for path in (home / "labelsTr").iterdir():  # a pair is of one case
        case = path.name.removesuffix(".nii.gz")
        n = next(n for n in range(9) if path.resolve() == (root / label.format(n=n)).resolve())
        assert linked[f"{case}_0000.nii.gz"] == (root / image.format(n=n)).resolve()
    assert json.loads((home / "dataset.json").read_text())["labels"]["front"] == 1
    assert "cells" in planned(capsys, tmp_path / "a.yaml", home)


def test_several_channels_and_patients_of_a_pattern(elsewhere, tmp_path):
    root = elsewhere("p{n}_v1/T1.nii.gz", "p{n}_v1/mask.nii.gz", labelled=9)
    for path in root.rglob("T1.nii.gz"):
        image = nib.load(path)
        other = nib.Nifti1Image(np.sqrt(np.abs(image.get_fdata(dtype=np.float32))), image.affine)
        nib.save(other, path.with_name("T2.nii.gz"))
    words = ["--image", "*/T1.nii.gz", "--image", "*/T2.nii.gz", "--label", "*/mask.nii.gz"]
    words += [
        "--channels",
        "T1,T2",
        "--patients",
        "(p[0-9])_v.*",
        "--links",
        str(tmp_path / "here"),
    ]
    assert main(["init", str(root), *words, "--to", str(tmp_path / "a.yaml")]) == 0
    listing = json.loads((tmp_path / "here" / "dataset.json").read_text())
    assert listing["patients"] == "(p[0-9])_v.*"
    assert listing["channel_names"] == {"0": "T1", "1": "T2"}
    names = sorted(path.name for path in (tmp_path / "here" / "imagesTr").iterdir())[:2]
    assert names == ["p0_v1_0000.nii.gz", "p0_v1_0001.nii.gz"]


SAME, AWAY = np.eye(4), np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1.0]])


def lay_masks(root, change):
    """Write six cases with a mask for each of two organs; ``change`` takes (case, masks by name)."""
    for n in range(6):
        masks = {
            "liver": np.zeros((24, 24, 16), np.uint8),
            "left spleen": np.zeros((24, 24, 16), np.uint8),
        }
        masks["liver"][4:8, 4:12, 4:8], masks["left spleen"][12:20, 4:12, 4:8] = 255, 1
        scan = np.random.default_rng(n).normal(100, 20, (24, 24, 16)).astype(np.float32)
        files = {name: (mask, SAME) for name, mask in masks.items()} | (
            change(masks) if n == 3 else {}
        )
        for name, (array, affine) in {"../ct": (scan, SAME), **files}.items():
            path = root / f"s{n}" / "seg" / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            if array is not None:
                nib.save(nib.Nifti1Image(array, affine), path)
    return root


BOTH = [
    "--image",
    "*/ct.nii.gz",
    "--label",
    "./*/seg/liver.nii.gz",
    "--label",
    "*/seg/left spleen.nii.gz",
]


@pytest.mark.parametrize(
    ("more", "names"), [((), ["liver", "left spleen"]), (("--labels", "2=milt"), ["liver", "milt"])]
)
def test_masks_of_several_patterns_are_the_labels_of_one_map_in_their_order(tmp_path, more, names):
    """Also one that is stored along another axis, and one that is empty."""
    turned, empty = np.diag([-1.0, 1, 1, 1]), np.zeros((24, 24, 16), np.uint8)
    turned[0, 3] = 23

    def change(masks):
        return {"liver": (empty, SAME), "left spleen": (masks["left spleen"][::-1], turned)}

    root = lay_masks(tmp_path / "own" / "scans", change)
    assert main(["init", str(root), *BOTH, *more, "--to", str(tmp_path / "a.yaml")]) == 0
    home, expected = root.with_name("scans_msd"), np.zeros((24, 24, 16))
    expected[12:20, 4:12, 4:8] = 2
    np.testing.assert_array_equal(nib.load(home / "labelsTr" / "s3.nii.gz").get_fdata(), expected)
    expected[4:8, 4:12, 4:8] = 1
    np.testing.assert_array_equal(nib.load(home / "labelsTr" / "s0.nii.gz").get_fdata(), expected)
    labels = json.loads((home / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, names[0]: 1, names[1]: 2}


UNMERGED = {  # a mask of one case that makes no label map, and the line
    "overlap in 32 voxels; 1 of 6 cases": lambda mask: (np.roll(mask, -5, 0), SAME),
    "holds values from 1 to 3, and": lambda mask: (mask + 2 * np.roll(mask, 1, 0), SAME),
    "left spleen.nii.gz: lies up to 2 voxels from .*liver": lambda mask: (mask, AWAY),
    "shape .23, 24, 16. is not .24, 24, 16.": lambda mask: (mask[1:], SAME),
    "1 of 6 files match no file of --label .*a case without the organ needs an empty": lambda mask: (
        None,
        SAME,
    ),
}


@pytest.mark.parametrize(("message", "change"), UNMERGED.items())
def test_masks_that_make_no_label_map_leave_nothing(tmp_path, capsys, message, change):
    root = lay_masks(
        tmp_path / "scans", lambda masks: {"left spleen": change(masks["left spleen"])}
    )
    assert re.search(message, refusal(capsys, "init", root, *BOTH))
    assert not root.with_name("scans_msd").exists()


def test_organs_need_a_flag_each_that_some_mask_holds_and_a_value_one_name(tmp_path, capsys):
    root = lay_masks(tmp_path / "scans", lambda _: {})
    for words, message in (
        (
            ["--image", "*/ct.nii.gz", "--label", "*/seg/*.nii.gz"],
            "give one --label for each organ",
        ),
        ([*BOTH, "--labels", "1=a,1=b"], "names value 1 twice"),
    ):
        assert message in refusal(capsys, "init", root, *words)
    for path in root.rglob("left*"):
        nib.save(nib.Nifti1Image(np.zeros((24, 24, 16), np.uint8), SAME), path)
    assert "left spleen.nii.gz: all 6 masks are empty" in refusal(capsys, "init", root, *BOTH)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say where the files are, e.g. bench init .* --image '\\*/T1.nii.gz' --label '\\*/mask"),
        (("--image", "*/T2.nii.gz"), "no file below .*; there are Müller 7/T3.nii.gz, .* and 5 more; e.g. bench init"),
        (("--image", "*/T3.nii.gz", "--label", "*/seg.nii.gz"), "own/my scans/Müller 7/seg.nii.gz: no label map with"),
        (("--image", "patient 01/T1.nii.gz"), "must be a pattern relative to"),
        (("--image", "/*/T1.nii.gz"), "must be a pattern relative to"),
        (("--image", "*/*"), "is no volume|match no file of|would both be called"),
        (("--image", "*/T1.nii.gz", "--label", "*/*.nii.gz"), "match no file of --image .* .the text at each wildcard"),
        (("--image", "*/T1.nii.gz"), "--image: needs --label, the pattern of the label maps"),
        (("--image", "*/T1.nii.gz", "--image", "*/mask.nii.gz", "--label", "*/mask.nii.gz"), "9 of 9 files match no"),
        (("--label", "*/mask.nii.gz"), "work only with --image"),
        (("--image", "*/T1.nii.gz", "--label", "*/mask.nii.gz", "--patients", "(p"), "no regular expression"),
        (("--image", "*/T1.nii.gz", "--label", "*/mask.nii.gz", "--patients", "p"), "has 0 groups"),
        (("--image", "*/T1.nii.gz", "--label", "*/mask.nii.gz", "--labels", "7=x"), "value 7 is in no"),
    ],
)  # fmt: skip
def test_patterns_that_do_not_pair_files_leave_nothing(elsewhere, words, message, capsys):
    root = elsewhere("patient {n:02d}/T1.nii.gz", "patient {n:02d}/mask.nii.gz")
    (root / "patient 03" / "notes.txt").write_text("x")
    (root / "Müller 7").mkdir()
    (root / "Müller 7" / "T3.nii.gz").touch()
    (root / "Müller 7" / "seg.nii.gz").touch()
    assert main(["init", str(root), *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(message, error), error
    assert not root.with_name("my scans_msd").exists()


def test_scans_and_label_maps_of_one_folder_get_patterns(elsewhere, capsys):
    root = elsewhere("case_{n}.nii.gz", "case_{n}_seg.nii.gz")
    assert "--image '*.nii.gz' --label '*_seg.nii.gz'" in refusal(capsys, "init", root)


def test_a_first_scan_of_other_channels_is_left_out_and_the_others_are_read(scans, capsys):
    root = scans(6)
    (root / "dataset.json").unlink()
    first = min((root / "imagesTr").iterdir())
    image = nib.load(first)
    nib.save(nib.Nifti1Image(np.stack([image.dataobj] * 2, -1), image.affine), first)
    assert main(["init", str(root), "--to", "own.yaml"]) == 0
    assert "1 case left out" in capsys.readouterr().out
    assert json.loads((root / "dataset.json").read_text())["modality"] == {"0": "MR"}


def test_dicom_is_named_with_what_converts_it(tmp_path, capsys):
    path = tmp_path / "raw" / "p1" / "a.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(128) + b"DICM")
    for words in ((), ("--image", "*/*.nii.gz"), ("--image", "*/*.dcm")):
        assert "dcm2niix" in refusal(capsys, "init", tmp_path / "raw", *words)
