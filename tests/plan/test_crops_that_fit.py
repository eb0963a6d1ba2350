"""Crops that cannot be trained on: one message, all rows, the nearest crop that fits every one of them."""

import itertools
import re
import shutil

import pytest
import yaml
from small_protocol import BASE, CASES, NAME

from bench.cli import main
from bench.errors import BenchError
from bench.nets.catalog import check_crop
from bench.nets.nearest import nearest
from bench.protocol import read

pytestmark = pytest.mark.usefixtures("own_place")
RESENC = {"network": "resenc_unet", "preset": "base"}
ROWS = {
    "alone": {"method": "scratch", "network": "net"},
    "turns": {"method": "rotation3d", "network": "net"},
    "cubes": {"method": "rubikpp", "network": "net", "params": {"cubes": 3}},
    "views": {"method": "simclr3d", "network": "net", "pretrain": {"crop": [16, 32, 16]}},
}
FLAT = {"network": "unet2d", "preset": "tiny"}
GENESIS = {"network": "genesis_unet3d", "preset": "tiny"}


def message(tmp_path, net, rows):
    path = tmp_path / "p.yaml"
    named = {name: ROWS[name] for name in rows}
    path.write_text(
        yaml.safe_dump({**BASE, "networks": {"net": net}, "rows": named}, sort_keys=False)
    )
    return path


def refused(tmp_path, capsys, net, rows, phantoms):
    path = message(tmp_path, net, rows)
    assert main(["plan", str(path), *(["--phantoms"] if phantoms else [])]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


FAULTS = {  # network with crop, rows: what is said, and what to take for "net"
    "network": (
        {**RESENC, "crop": [32, 48, 32]},
        ("alone", "views"),
        (
            "side y = 48 must be a multiple of 32 (rows alone, views)",
            "rows.views.pretrain.crop: crop",
        ),
        [32, 64, 32],
    ),
    "network and methods": (
        {**GENESIS, "crop": [36, 48, 32]},
        ("alone", "turns", "cubes"),
        ("side x = 36 must be a multiple of 8 (rows alone, turns, cubes)",),
        [48, 48, 48],
    ),
    "methods": (
        {**GENESIS, "crop": [32, 48, 32]},
        ("alone", "turns", "cubes"),
        ("row 'turns': method 'rotation3d' turns cubes", "row 'cubes': method 'rubikpp'"),
        [48, 48, 48],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_all_rows_and_the_nearest_crop_stand_in_one_line(tmp_path, capsys, case):
    net, rows, parts, take = FAULTS[case]
    said = refused(tmp_path, capsys, net, rows, case == "methods")
    assert all(part in said for part in parts)
    assert f"use {take}, " in said
    # whoever takes what is said is not refused again
    assert (
        main(["plan", str(message(tmp_path, {**net, "crop": take}, rows[:1])), "--phantoms"]) == 0
    )


SCANS = {  # size of the scans: what is said
    (48, 48, 48): "use [48, 48, 48], which fits all rows that read it",
    (40, 48, 40): "use [24, 24, 24], which fits all rows that read it",
    (
        20,
        48,
        40,
    ): "[48, 48, 48] fits all rows that read it, but is larger than the median scan (20 x 48 x 40 voxels)",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    assert main(["phantom", NAME, str(root), "--cases", str(CASES)]) == 0
    return root


@pytest.mark.parametrize("size", SCANS)
def test_no_advised_crop_is_larger_than_the_scans(tmp_path, capsys, data, size):
    net, rows, *_ = FAULTS["methods"]
    path = message(tmp_path, net, rows)
    path.write_text(f"{path.read_text()}recipe: {{resize: {[*size]}}}\n")
    assert main(["plan", str(path), "--data", str(data)]) == 2
    assert SCANS[size] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("net", "recipe", "told"),
    [
        (BASE["networks"]["net"], {"resize": [20, 48, 40]}, "crops of 32 x 32 x 32 .* (20 x 48 x 40)"),
        # headers say 31 to 43, 40 to 59 and 24 to 47 voxels of 1 mm; ten scans have fewer than 36 along z
        (BASE["networks"]["net"], {"spacing": [1, 1, 2]}, "crops of 32 x 32 x 32 .* (36 x 49 x 18)"),
        (BASE["networks"]["net"], {}, ""),
        ({**FLAT, "crop": [32, 64, 1]}, {"resize": [40, 48, 4]}, "crops of 32 x 64 x 1 .* (40 x 48 x 4)"),
        ({**FLAT, "crop": [32, 32, 1]}, {"resize": [40, 48, 4]}, ""),
    ],
)  # fmt: skip
def test_a_crop_larger_than_the_median_scan_is_a_line_of_the_plan(
    tmp_path, capsys, data, net, recipe, told
):
    path = message(tmp_path, net, ["alone"])
    path.write_text(f"{path.read_text()}recipe: {recipe}\n")
    assert main(["plan", str(path), "--data", str(data)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "median scan" in line]
    assert len(lines) == bool(told)
    assert re.search(re.escape(told).replace(r"\ \.\*\ ", ".*"), "".join(lines))
    assert main(["plan", str(path)]) == 0  # nothing is known of the scans
    assert "median scan" not in capsys.readouterr().out


@pytest.mark.usefixtures("inlined", "undrawn")
def test_the_page_has_this_line_and_phantoms_are_of_no_person(tmp_path, capsys, data):
    path = message(tmp_path, BASE["networks"]["net"], ["alone"])
    path.write_text(f"{path.read_text()}recipe: {{resize: [20, 48, 40]}}\n")
    words = ["--data", str(data), "--only", "fraction=100", "--only", "seed=0"]
    assert main(["plan", str(path), *words]) == 0
    (line,) = (x for x in capsys.readouterr().out.splitlines() if "median scan" in x)
    assert main(["run", str(path), *words]) == 0
    assert line.strip() in (tmp_path / "runs/reports/p/table.md").read_text()
    real = tmp_path / "real" / NAME
    shutil.copytree(data / NAME, real, ignore=shutil.ignore_patterns(".bench_phantom"))
    for root, count in ((data, 0), (real.parent, 1)):
        capsys.readouterr()
        assert main(["plan", str(path), "--data", str(root)]) == 0
        assert capsys.readouterr().out.count("cut from one scan of one person") == count


def test_each_stated_crop_has_its_line(tmp_path):
    path = message(tmp_path, {**RESENC, "crop": [32, 48, 32]}, ("alone", "views"))
    lines = path.read_text().splitlines()
    with pytest.raises(BenchError) as told:
        read(path)
    places = re.findall(r"p\.yaml:(\d+): ([\w.]+): crop \((\d+)", str(told.value))
    assert [key for _, key, _ in places] == ["networks.net", "rows.views.pretrain.crop"]
    for line, key, _ in places:
        assert key.rpartition(".")[2] in lines[int(line) - 1]


def test_a_fault_that_no_crop_mends_keeps_its_own_line(tmp_path, capsys):
    rows = {"alone": ROWS["alone"], "masks": {"method": "mae3d", "network": "net"}}
    path = tmp_path / "p.yaml"
    path.write_text(
        yaml.safe_dump({**BASE, "networks": {"net": {**GENESIS, "crop": [32] * 3}}, "rows": rows})
    )
    assert main(["plan", str(path), "--phantoms"]) == 2
    said = capsys.readouterr().err
    assert "row 'masks': method 'mae3d' cannot train network 'genesis_unet3d'" in said
    assert "nearest" not in said and "which fits" not in said


@pytest.mark.parametrize(
    ("name", "preset", "crop"),
    [
        ("resenc_unet", "base", (30, 30, 30)),
        ("resenc_unet", "tiny", (100, 40, 10)),
        ("unet2d", "tiny", (40, 30, 4)),
        ("swin_unetr", "base", (32, 32, 32)),
    ],
)
def test_the_nearest_crop_by_brute_force(name, preset, crop):
    def fits(candidate):
        try:
            check_crop(name, preset, candidate)
        except BenchError:
            return False
        return True

    def far(candidate):
        return sum(abs(a - b) for a, b in zip(candidate, crop, strict=True))

    sides = [range(8, 200, 8), range(8, 200, 8), [1, *range(8, 200, 8)]]
    best = min(far(c) for c in itertools.product(*sides) if fits(c))
    found = nearest(name, preset, crop)
    assert fits(found) and far(found) == best
    assert nearest(name, preset, crop, lambda c: c != found) != found
    assert nearest(name, preset, crop, lambda _: False) is None
