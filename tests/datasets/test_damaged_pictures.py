"""Damage to pictures, to folders of slices, to lists of grades and to zips that are read in place."""

import re
import shutil
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import damage
import numpy as np
import pytest
from damage import (
    NAN,
    PAGE,
    POINTER,
    Gone,
    Listing,
    add,
    both,
    copied,
    flip,
    folder,
    half,
    holding,
    keep,
    linked,
    on,
    put,
    renamed,
    text,
)
from PIL import Image


def found(kind, file, words=""):
    return (kind, file, words)


def redrawn(change, form="PNG"):
    """Draw a picture anew, under its old name whatever its form."""

    def damaged(path):
        with Image.open(path) as file:
            picture = change(file.copy())
        picture.save(path, format=form)

    return damaged


def half_transparent(picture):
    picture = picture.convert("RGBA")
    picture.putalpha(100)
    return picture


def film(path):
    with Image.open(path) as file:
        picture = file.convert("RGB")
    picture.save(path, save_all=True, append_images=[picture.rotate(90)])


def bomb(path):
    """Declare ten thousand million pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)


def deeper(path):
    with Image.open(path) as file:
        array = np.asarray(file.convert("L")).astype("u2") * 256
    Image.fromarray(array).save(path.with_suffix(".png"))
    path.unlink()


def rewritten(change):
    def damaged(path):
        path.write_text(change(path.read_text()))

    return damaged


def said(grade):
    """Give the second picture another grade."""
    return on(TRAIN, rewritten(lambda t: re.sub(rf"{CODE},.", f"{CODE},{grade}", t)))


# --- APTOS: a list and its pictures --------------------------------------------------------------

CODE, TRAIN = "2d1b18f8e2c3", "train.csv"
EYE = f"train_images/{CODE}.png"


def eye(change, kind="", words=""):
    return on(EYE, change), [found(kind, EYE, words)] if kind else []


APTOS19 = {
    "gone": eye(Path.unlink, "missing", "no such file"),
    "empty": eye(keep(0), "truncated", "the file is empty"),
    "cut": eye(half, "truncated"),
    "cut before its end": eye(keep(-12), "truncated"),
    "another bit": eye(flip(9000), "unreadable", "broken PNG file"),
    "a JPEG, cut": (on(EYE, redrawn(lambda p: p, "JPEG"), half), [found("truncated", EYE, "truncated")]),
    "a login page": eye(holding(PAGE), "unreadable", "no PNG, JPEG, TIFF, BMP"),
    "a git-lfs pointer": eye(holding(POINTER), "unreadable", "no PNG, JPEG, TIFF, BMP"),
    "a WebP": eye(redrawn(lambda p: p, "WEBP"), "unreadable", "no PNG, JPEG, TIFF, BMP"),
    "grey": eye(redrawn(lambda p: p.convert("L")), "shape", "1 channels"),
    "half transparent": eye(redrawn(half_transparent), "unreadable", "transparent pixels"),
    "for print": eye(redrawn(lambda p: p.convert("CMYK"), "TIFF"), "unreadable",
                     "CMYK; grey or RGB is needed"),
    "two pictures in one": eye(film, "shape", "2 pictures in one file; keep one"),
    "too many pixels": eye(bomb, "shape", "more pixels than the limit"),
    "a folder": eye(folder, "unreadable", "no regular file"),
    "a link to nowhere": eye(linked("nowhere"), "missing", "leads to nowhere"),
    "of no list": (on(EYE, copied("zzz.png")),
                   [found("extra", "train_images/zzz.png", "belongs to no case")]),
    "twice, another grade": (
        both(on(EYE, copied("zzz.png")), on(TRAIN, add(b"zzz,0\n"))),
        [found("duplicate", "train_images/zzz.png", "whose class is 1 (mild), here 0 (no retinopathy)")]),
    "in two forms": (on(EYE, copied(f"{CODE}.jpg")), "is the same picture; keep one"),
    "graded and ungraded": (on(EYE, copied(f"../test_images/{CODE}.png")), "is the same picture; keep one"),
    "a JPEG by content": eye(redrawn(lambda p: p, "JPEG")),
    "a palette": eye(redrawn(lambda p: p.convert("P"))),
    "opaque": eye(redrawn(lambda p: p.convert("RGBA"))),
    "list gone": (on(TRAIN, Path.unlink), Gone("no CSV file with the columns id_code and diagnosis")),
    "list empty": (on(TRAIN, keep(0)), Listing("no CSV file")),
    "list without lines": (on(TRAIN, holding(b"id_code,diagnosis\n")), Listing("no CSV file")),
    "list a login page": (on(TRAIN, holding(PAGE)), Listing("no CSV file")),
    "list in UTF-16": (on(TRAIN, lambda p: p.write_text(p.read_text(), "utf-16")), Listing("no CSV file")),
    "semicolons": (on(TRAIN, rewritten(lambda t: t.replace(",", ";"))), Listing("no CSV file")),
    "no grades": (on(TRAIN, text("diagnosis", "grade")), Listing("no CSV file")),
    "grade 5": (said(5), Listing("train.csv: line 5: diagnosis must be 0 to 4, got '5'")),
    "grade -1": (said(-1), Listing("diagnosis must be 0 to 4, got '-1'")),
    "grade in words": (said("severe"), Listing("diagnosis must be 0 to 4, got 'severe'")),
    "grade 1.5": (said(1.5), Listing("diagnosis must be 0 to 4, got '1.5'")),
    "no grade": (said(""), Listing("diagnosis must be 0 to 4, got ''")),
    "two grades": (on(TRAIN, add(f"{CODE},4\n".encode())), Listing("has grade 4, in train.csv, line 5")),
    "a picture that is not there": (on(TRAIN, add(b"zzz,1\n")), [found("missing", "train_images/zzz.png")]),
    "a path for a name": (on(TRAIN, add(b"../../etc/passwd,1\n")), Listing("/passwd' is no id_code")),
    "a comma in a name": (on(TRAIN, add(b'"zz,z",1\n')), Listing("'zz,z' is no id_code")),
    "list from Windows": (on(TRAIN,
                             lambda p: p.write_bytes(b"\xef\xbb\xbf" + p.read_bytes().replace(b"\n",
                                                                                              b"\r\n"))), []),
    "grade 1.0": (said("1.0"), []),
    "names with suffix": (on(TRAIN, rewritten(lambda t: re.sub(r"(?m)^(\w{12}),", r"\1.png,", t))), []),
    "a line twice": (on(TRAIN, add(f"{CODE},1\n".encode())), []),
    "blank lines": (on(TRAIN, add(b"\n\n")), []),
}  # fmt: skip

# --- CC-CCII: folders of slices ------------------------------------------------------------------

SCAN, SLICE = "NCP/16/2", "NCP/16/2/0005.jpg"


def packed(*changes):
    """Pack the scans of one class as the data set comes, then damage the zip."""

    def damaged(root):
        with zipfile.ZipFile(root / "NCP-1.zip", "w") as file:
            for path in sorted((root / "NCP").rglob("*.jpg")):
                file.write(path, str(path.relative_to(root / "NCP")))
        shutil.rmtree(root / "NCP")
        for change in changes:
            change(root / "NCP-1.zip")

    return damaged


def repacked(change):
    """Change the members of a zip, a dict from name to content."""

    def damaged(path):
        with zipfile.ZipFile(path) as file:
            held = {info.filename: file.read(info) for info in file.infolist()}
        change(held)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in held.items():
                file.writestr(name, content)

    return damaged


def encrypted(path):
    raw = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(re.escape(magic), bytes(raw)):
            raw[match.start() + at] |= 1
    path.write_bytes(raw)


def emptied(root):
    for path in (root / SCAN).iterdir():
        path.unlink()


def refused(words):
    return [found("unreadable", "NCP-1.zip/slices", words)]


CC_CCII = {
    "a slice gone": (on(SLICE, Path.unlink),
                     [found("missing", SCAN, "1 numbers lack between the slices 0 and 15, first 5")]),
    "all slices gone": (emptied, [found("unreadable", SCAN, "a folder of 0 volumes and no picture")]),
    "a slice cut": (on(SLICE, half), [found("truncated", SLICE)]),
    "a slice empty": (on(SLICE, keep(0)), [found("truncated", SLICE, "the file is empty")]),
    "a slice that is a login page": (on(SLICE, holding(PAGE)), [found("unreadable", SLICE, "no PNG, JPEG")]),
    "a slice of half the size": (on(SLICE, redrawn(lambda p: p.resize((44, 36)), "JPEG")),
                                 [found("shape", SCAN,
                                        "1 of 16 slices are not 88 x 72 and are resampled: 0005.jpg")]),
    "a slice in colour": (on(SLICE, redrawn(lambda p: Image.new("RGB", p.size, (200, 10, 10)), "JPEG")),
                          [found("shape", SLICE, "a slice in colour")]),
    "a slice in two forms": (on(SLICE, copied("0005.png")),
                             [found("duplicate", SCAN, "keep one of each: 0005")]),
    "a slice of 16 bits": (on(SLICE, deeper), [found("unreadable", SCAN, "slices of 8 and of 16 bits")]),
    "a slice as text": (on(SLICE, renamed("0005.txt")), [found("missing", SCAN, "first 5")]),
    "a scan one folder too deep": (on(SCAN, copied("5/5")), [found("extra", "NCP/16/5/5", "its 16 pictures"),
                                   found("unreadable", "NCP/16/5", "a folder of 0 volumes")]),
    "a class of another name": (on("NCP", renamed("COVID")),
                                [found("extra", "COVID/16/2", "its 16 pictures")]),
    "a patient in words": (on("NCP/16", renamed("p16")), [found("extra", "NCP/p16/2", "its 16 pictures")]),
    "a patient with zeros": (on("NCP/16", copied("0016")), "is the same scan; keep one"),
    "a scan twice": (on(SCAN, copied("3")),
                     [found("duplicate", "NCP/16/3", "the same voxels as case NCP_16_2")]),
    "a scan in two classes": (on(SCAN, copied("../../Normal/9/9")),
                              [found("duplicate", "Normal/9/9",
                                     "whose class is 2 (novel coronavirus pneumonia), here 0")]),
    "lists beside": (lambda r: (r / "lesions_slices.csv").write_text("x\n"), []),
    "packed": (packed(), []),
    "zip cut": (packed(half), refused("damaged, or no archive")),
    "zip empty": (packed(keep(0)), refused("get it again")),
    "zip a login page": (packed(holding(PAGE)), refused("get it again")),
    "zip encrypted": (packed(encrypted), refused("is encrypted; decrypt the archive first")),
    "zip that leads out": (packed(repacked(lambda held: held.update({"../x.jpg": b"x"}))),
                           refused("leads out of")),
    "another bit in the zip": (packed(flip(3000)), [found("unreadable", "NCP-1.zip/16/2", "Bad CRC-32")]),
}  # fmt: skip

# --- UK Biobank: a zip per visit -----------------------------------------------------------------

ZIP, T1 = "Brain MRI/T1/10/1000113_20252_2_0.zip", "T1/T1_brain.nii.gz"


def visit(change, kind="", words=""):
    return on(ZIP, change), [found(kind, f"{ZIP}/{T1}", words)] if kind else []


def member(change):
    """Damage the image within a visit's zip."""

    def damaged(path):
        aside = path.with_name("aside.nii.gz")

        def apply(held):
            aside.write_bytes(held[T1])
            change(aside)
            held[T1] = aside.read_bytes()
            aside.unlink()

        repacked(apply)(path)

    return damaged


def zip_bomb(path):
    """Declare 2 GiB in a zip of 150 kB."""
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    struct.pack_into("<I", raw, at + 24, 2**31 - 1)
    path.write_bytes(raw)


def with_link(path):
    with zipfile.ZipFile(path, "a") as file:
        info = zipfile.ZipInfo("T1/link")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")


def twice(path):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr(T1, b"other")


UKB_BRAIN = {
    "empty": visit(keep(0), "unreadable", "empty file"),
    "cut": visit(half, "unreadable", "damaged, or no archive"),
    "cut by a byte": visit(keep(-1), "unreadable", "damaged, or no archive"),
    "a login page": visit(holding(PAGE), "unreadable", "damaged, or no archive"),
    "no image in it": visit(repacked(lambda held: held.pop(T1)), "missing", ""),
    "nothing in it": visit(repacked(dict.clear), "missing", ""),
    "a member that leads out": visit(repacked(lambda held: held.update({"../x": b""})), "unreadable",
                                     "leads out of"),
    "a member of the system": visit(repacked(lambda held: held.update({"/etc/x": b""})), "unreadable",
                                    "plain relative"),
    "a member that a terminal obeys": visit(repacked(lambda held: held.update({"T1/\x1b[31mx": b""})),
                                            "unreadable",
                                            r"'T1/\x1b[31mx' has control characters"),
    "a member that is a link": visit(with_link, "unreadable", "is a symbolic link"),
    "a member twice": visit(twice, "unreadable", "is there twice"),
    "encrypted": visit(encrypted, "unreadable", "is encrypted; decrypt the archive first"),
    "a bomb": visit(zip_bomb, "unreadable", "a bomb"),
    "image cut": visit(member(half), "truncated", "the data end before"),
    "image a login page": visit(member(holding(PAGE)), "unreadable", "the name says gzip"),
    "NaN": visit(member(put(NAN, "f4")), "nonfinite", "1 voxels"),
    "unpacked beside": (on(ZIP, lambda p: zipfile.ZipFile(p).extractall(p.with_suffix(""))),
                        "keep the zip or its folder"),
    "under another person": (on(ZIP, copied("1000999_20252_2_0.zip")),
                             [found("duplicate", f"{ZIP.replace('1000113', '1000999')}/{T1}",
                                    "1000113_2_0")]),
    "refused at the source": visit(repacked(lambda held: (held.clear(),
                                                          held.update({"T1/unusable/T1.nii.gz": b"x"})))),
    "bytes behind it": visit(add(bytes(50))),
}  # fmt: skip

FUNDUS = "Bulk/Retinal Optical Coherence Tomography/Fundus (left)/10"
LEFT = f"{FUNDUS}/1000041_21015_0_0.png"
UKB_FUNDUS = {
    "cut": (on(LEFT, half), [found("truncated", LEFT)]),
    "another field": (on(LEFT, renamed("1000041_21017_0_0.png")),
                      [found("extra", f"{FUNDUS}/1000041_21017_0_0.png")]),
    "in two folders": (on(LEFT, copied("../1000041_21015_0_0.png")), "is the same photograph; keep one"),
    "the other eye's": (on(LEFT, copied("1000041_21016_0_9.png")),
                        [found("duplicate", f"{FUNDUS}/1000041_21016_0_9.png", "1000041_21015_0_0")]),
}  # fmt: skip

GROUPS = {"aptos19": APTOS19, "cc_ccii": CC_CCII, "ukb_brain": UKB_BRAIN, "ukb_fundus": UKB_FUNDUS}
DAMAGES = {f"{name}: {id}": (name, *row) for name, rows in GROUPS.items() for id, row in rows.items()}


@pytest.mark.parametrize(("name", "change", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_nothing_else_is(trees, tmp_path, name, change, expected, capsys):
    root = trees.copy(name, tmp_path)
    change(root)
    damage.check(capsys, root, expected)
    assert {p.name for p in tmp_path.iterdir()} == {name}  # no member of a zip was written beside it
