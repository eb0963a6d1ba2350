"""Every kind of damage to a folder and to its list is named, or refused in one line; litter is neither."""

import json
import os
import shutil
from pathlib import Path

import damage
import pytest
from damage import PAGE, both, copied, folder, holding, keep, linked, listing, on, renamed, voxels

from bench.cli import main
from bench.dataset import natural

NAME = "msd04_hippocampus"
STEM = "hippocampus_003"
IMAGE, LABEL, JSON = f"imagesTr/{STEM}.nii.gz", f"labelsTr/{STEM}.nii.gz", "dataset.json"


def whole(change, *found):
    """Damage the folder."""
    return change, found[0] if found and isinstance(found[0], str) else list(found)


def cases(*numbers, **more):
    names = [f"hippocampus_{n:03d}.nii.gz" for n in numbers]
    rows = [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names]
    return on(JSON, listing(training=rows, **more))


def litter(root):
    for name in ("imagesTr", "labelsTr", "__MACOSX/imagesTr"):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "._hippocampus_001.nii.gz").write_bytes(b"x")
        (root / name / ".DS_Store").write_bytes(b"x")
    shutil.copy(root / IMAGE, root / "__MACOSX" / "imagesTr")
    shutil.copy(root / IMAGE, root / "imagesTr" / f".{STEM}.nii.gz.part")
    for name in ("Thumbs.db", "dataset.json.bak", "readme.txt", "preview.png"):
        (root / name).write_bytes(b"x")


def emptied(name):
    def change(root):
        shutil.rmtree(root / name)
        (root / name).mkdir()

    return change


GONE = [("missing", f"labelsTr/hippocampus_00{n}.nii.gz", "no such file") for n in (1, 2, 3, 4)]
TWICE = both(on(IMAGE, copied("hippocampus_009.nii.gz")), on(LABEL, copied("hippocampus_009.nii.gz")))
NEW = "imagesTr/hippocampus_009.nii.gz"

TREES = {
    "image and label gone": whole(both(on(IMAGE, Path.unlink), on(LABEL, Path.unlink)),
                                  ("missing", IMAGE, "no such file"), ("missing", LABEL, "no such file")),
    "half a download": whole(on(IMAGE, renamed(f"{STEM}.nii.gz.part")), ("missing", IMAGE, "no such file")),
    "labels gone": whole(on("labelsTr", shutil.rmtree), *GONE),
    "labels emptied": whole(emptied("labelsTr"), *GONE),
    "an empty folder": whole(lambda r: (r / "more").mkdir(), ("missing", "more", "an empty folder")),
    "images gone": whole(on("imagesTr", shutil.rmtree), "medicaldecathlon.com and unpack it"),
    "images that are a file": whole(both(on("imagesTr", shutil.rmtree), on("imagesTr", holding(b""))),
                                    "no folder imagesTr"),
    "nothing": whole(lambda r: (shutil.rmtree(r), r.mkdir()), "no folder imagesTr"),
    "no folder": whole(shutil.rmtree, f"{NAME} does not exist; put it or a link to it there"),
    "a file for a folder": whole(both(shutil.rmtree, holding(b"")), f"{NAME} is a file, not a folder"),
    "a link to nowhere": whole(both(shutil.rmtree, lambda r: r.symlink_to("x")), "leads nowhere"),
    "a link to itself as the folder": whole(both(shutil.rmtree, lambda r: r.symlink_to(r.name)), NAME),
    "a link in a circle": whole(on("imagesTr/loop", linked("."))),
    "a link to the folder above": whole(on("again", linked("."))),
    "litter": whole(litter),
    "suffixes in capitals": whole(both(on(IMAGE, renamed(f"{STEM}.NII.GZ")),
                                       on(LABEL, renamed(f"{STEM}.NII.GZ")))),
    "plain and compressed": whole(on(IMAGE, copied(f"{STEM}.nii")), "is the same case; remove one"),
    "a second copy": whole(TWICE, ("duplicate", NEW, f"the same voxels as case {STEM}")),
    "a second copy as another type": whole(both(TWICE, on(NEW, voxels(lambda a: a, "f8"))),
                                           ("duplicate", NEW, STEM)),
    "a browser's second copy": whole(on(IMAGE, copied(f"{STEM} (1).nii.gz")),
                                     ("missing", f"labelsTr/{STEM} (1).nii.gz", "no such file"),
                                     ("duplicate", f"imagesTr/{STEM} (1).nii.gz", STEM)),
    "a label of no case": whole(on(LABEL, copied("hippocampus_009.nii.gz")),
                                ("extra", "labelsTr/hippocampus_009.nii.gz", "belongs to no case")),
    "a mask deep below": whole(on(LABEL, copied("../a/b/c/d/mask.nii.gz")),
                               ("extra", "a/b/c/d/mask.nii.gz", "belongs to no case")),
    "another number of digits": whole(on(IMAGE, renamed("hippocampus_3.nii.gz")),
                                      ("missing", "labelsTr/hippocampus_3.nii.gz", ""),
                                      ("missing", IMAGE, "")),
    "images and labels exchanged": whole(
        both(on("imagesTr", renamed("x")), on("labelsTr", renamed("imagesTr")), on("x", renamed("labelsTr"))),
        *(("label_value", f"labelsTr/hippocampus_00{n}.nii.gz", "is no label") for n in (1, 2, 3, 4))),
    "a name with a line break": whole(
        both(on(IMAGE, copied("hippocampus_00\n9.nii.gz")), on(LABEL, copied("hippocampus_00\n9.nii.gz"))),
        ("duplicate", IMAGE, r"the same voxels as case hippocampus_00\n9")),
    "a name that is no text": whole(
        on(IMAGE, lambda p: p.rename(p.with_name("hippocampus_\udcff.nii.gz"))), ("missing", IMAGE, ""),
        ("missing", "labelsTr/hippocampus_\udcff.nii.gz", "")),
    "a name of 255 bytes": whole(on(IMAGE, renamed("h" * 248 + ".nii.gz")), ("missing", IMAGE, ""),
                                 ("missing", "labelsTr/" + "h" * 248 + ".nii.gz", "")),
    "a name of other letters": whole(
        both(on(IMAGE, renamed("hippocampus_日 ü.nii.gz")), on(LABEL, renamed("hippocampus_日 ü.nii.gz"))),
        ("missing", IMAGE, ""), ("missing", LABEL, "")),
}  # fmt: skip

LISTS = {
    "cut": whole(on(JSON, keep(100)), "dataset.json: not JSON"),
    "empty": whole(on(JSON, keep(0)), "; unpack it again, or remove it"),
    "a login page": whole(on(JSON, holding(PAGE)), "dataset.json: not JSON"),
    "UTF-16": whole(on(JSON, lambda p: p.write_text(p.read_text(), "utf-16")), "dataset.json: not JSON"),
    "nested without end": whole(on(JSON, holding(b"[" * 100_000)), "dataset.json: not JSON"),
    "a list": whole(on(JSON, holding(b"[]")), "dataset.json: expected an object, got list"),
    "text for the training list": whole(on(JSON, listing(training="abc")),
                                        "training must list {image, label}"),
    "a name with a line break": whole(on(JSON, listing(training=[{"image": "a\nb.nii.gz"}])),
                                      "training must list"),
    "a case that is not there": whole(cases(1, 2, 3, 4, 7),
                                      ("missing", "imagesTr/hippocampus_007.nii.gz", ""),
                                      ("missing", "labelsTr/hippocampus_007.nii.gz", "")),
    "a path that leads out": whole(
        on(JSON, listing(training=[{"image": "../../../etc/passwd.nii.gz", "label": "x"}])),
        ("missing", "imagesTr/passwd.nii.gz", ""), ("missing", "labelsTr/passwd.nii.gz", "")),
    "a mark of byte order": whole(on(JSON, lambda p: p.write_text(p.read_text(), "utf-8-sig"))),
    "other counts": whole(cases(1, 2, 3, 4, numTraining=99, numTest="many")),
    "a case listed twice": whole(cases(1, 2, 3, 4, 4)),
    "gone": whole(on(JSON, Path.unlink)),
    "a folder": whole(on(JSON, folder), ("missing", JSON, "an empty folder")),
}  # fmt: skip

DAMAGES = {
    f"{group}: {id}": row
    for group, rows in {"tree": TREES, "list": LISTS}.items()
    for id, row in rows.items()
}


@pytest.fixture
def root(trees, tmp_path):
    return trees.copy(NAME, tmp_path)


@pytest.mark.parametrize(("change", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_nothing_else_is(root, change, expected, capsys):
    change(root)
    damage.check(capsys, root, expected)


def test_cases_of_one_number_come_in_one_order(root):
    """3 and 003: the order of a set of names is another one in every process."""
    names = [f"case_{'0' * n}3" for n in range(9)]
    assert sorted(names, key=natural) == sorted(names[::-1], key=natural)


def test_what_a_table_shows_a_terminal_does_not_obey(root, capsys):
    shutil.copy(root / LABEL, root / "x\x1b[31m\nmask.nii.gz")
    assert main(["check", NAME, "--data", str(root.parent)]) == 1
    shown = capsys.readouterr().out
    assert r"x\x1b[31m\nmask.nii.gz" in shown
    assert "\x1b" not in shown
    assert shown.splitlines()[-1] == f"{NAME}: 4 cases, 1 findings"


def test_a_folder_that_may_not_be_listed_is_named(trees, tmp_path, capsys, monkeypatch):
    """Who tests as root may list everything: the refusal is made here."""
    root = trees.copy("kits19", tmp_path)
    closed, scandir = root / "data" / "case_00001", os.scandir

    def guarded(path="."):
        if Path(os.fspath(path)) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    damage.check(capsys, root, "case_00001: cannot be listed (Permission denied)")


def test_a_folder_that_may_not_be_written_is_sound(root, capsys):
    before = json.dumps(sorted((str(p), p.stat().st_mtime_ns) for p in root.rglob("*")))
    for path in [*root.rglob("*"), root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    damage.check(capsys, root, [])
    assert json.dumps(sorted((str(p), p.stat().st_mtime_ns) for p in root.rglob("*"))) == before
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)
