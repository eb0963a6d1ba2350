"""What a header of NRRD or MetaImage can suffer, and the file of voxels beside it."""

from pathlib import Path

import damage
import pytest
from damage import (
    PAGE,
    add,
    both,
    copied,
    field,
    flip,
    folder,
    holding,
    keep,
    moved,
    on,
    renamed,
    text,
)


def found(kind, file, words=""):
    return (kind, file, words)


def emptied(folder):
    return lambda root: [path.unlink() for path in (root / folder).iterdir()]


ID = "0RZDK210BSMWAA6467LU"
LGE, ATRIUM = f"{ID}/lgemri.nrrd", f"{ID}/laendo.nrrd"
SHEARED = field("space directions", "(1,0,0) (0.5,1,0) (0,0,1)")


def header(kind, words, *changes):
    return on(LGE, *changes), [found(kind, LGE, words)]


LASC = {
    "more slices declared": header("truncated", "the data end before", field("sizes", "76 68 45")),
    "two axes": header("shape", "field sizes", field("sizes", "76 68")),
    "no sizes": header("shape", "field sizes", field("sizes", None)),
    "sizes in words": header("unreadable", "the NRRD header is damaged", field("sizes", "a b c")),
    "sizes below 0": header("shape", "not all positive", field("sizes", "-76 68 44")),
    "giant sizes": header("shape", "above the limit", field("sizes", "99999 99999 99999")),
    "another dimension": header("shape", "field sizes", field("dimension", "4")),
    "no encoding": header("unreadable", "field encoding: ''", field("encoding", None)),
    "raw by its header": header("truncated", "the file holds at most", field("encoding", "raw")),
    "blocks for numbers": header("unreadable", "field type: 'block'", field("type", "block")),
    "no byte order": header("unreadable", "field endian: ''", field("type", "short")),
    "another space": header("orientation", "field space: 'scanner-xyz'", field("space", "scanner-xyz")),
    "axes that coincide": header("affine", "singular", field("space directions", "(1,0,0) (1,0,0) (0,0,1)")),
    "an axis of no length": header("spacing", "no length",
                                   field("space directions", "(0,0,0) (0,1,0) (0,0,1)")),
    "two directions": header("affine", "2 rows, not 3", field("space directions", "(1,0,0) (0,1,0)")),
    "directions in words": header("unreadable", "NRRD header is damaged", field("space directions", "hello")),
    "origin NaN": header("affine", "NaN", field("space origin", "(nan,0,0)")),
    "voxels in another file": header("unreadable", "only attached data",
                                     text("encoding: gzip\n",
                                          "encoding: gzip\ndata file: ../../etc/passwd\n")),
    "bytes to skip": header("unreadable", "byte skip",
                            text("encoding: gzip\n", "encoding: gzip\nbyte skip: -1\n")),
    "a login page": header("unreadable", "not an NRRD file", holding(PAGE)),
    "no end of the header": header("truncated", "no empty line", keep(150)),
    "another checksum": header("unreadable", "incorrect data check", flip(-6)),
    "sheared": (both(on(LGE, SHEARED), on(ATRIUM, SHEARED)), [found("affine", LGE, "63.4 degrees apart")]),
    "neither space nor spacing": (
        both(*(on(f, field("space directions", None)) for f in (LGE, ATRIUM))),
        [found("orientation", LGE, "no orientation"), found("spacing", LGE, "states no spacing")]),
    "NIfTI beside": (on(LGE, renamed("lgemri.nii.gz")),
                     [found("missing", LGE), found("extra", f"{ID}/lgemri.nii.gz")]),
    "folder emptied": (emptied(ID), [found("missing", LGE), found("missing", ATRIUM)]),
    "id of 19 characters": (on(ID, renamed(ID[:-1])), [found("extra", f"{ID[:-1]}/laendo.nrrd"),
                            found("extra", f"{ID[:-1]}/lgemri.nrrd")]),
    "twice": (on(ID, copied(f"Training Set/{ID}")), "is the same case; remove one"),
    "the wall beside": (on(ATRIUM, copied("lawall.nrrd")), []),
    "line ends of Windows": (on(LGE, lambda p: p.write_bytes(b"\r\n\r\n".join(
        part if i else part.replace(b"\n", b"\r\n") for i,
        part in enumerate(p.read_bytes().split(b"\n\n", 1))))), []),
}  # fmt: skip

UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.168807733819466470936737617972"
MHD, RAW = f"subset1/{UID}.mhd", f"subset1/{UID}.raw"


def mhd(kind, words, *changes):
    return on(MHD, *changes), [found(kind, MHD, words)]


def data(value):
    return field("ElementDataFile", value)


UNREAD = found("extra", RAW, "voxels of no header")
LUNA16 = {
    "raw gone": (on(RAW, Path.unlink), [found("missing", RAW, "no such file")]),
    "header gone": (on(MHD, Path.unlink), [UNREAD]),
    "raw elsewhere": (on(RAW, moved(f"../{UID}.raw")),
                      [found("missing", RAW), found("extra", f"{UID}.raw", "no header")]),
    "raw cut by a byte": (on(RAW, keep(-1)), [found("truncated", MHD, "the file holds at most 206079")]),
    "raw empty": (on(RAW, keep(0)), [found("truncated", RAW, "the file is empty")]),
    "raw longer": (on(RAW, add(bytes(9))), [found("shape", MHD, "9 bytes more than its header declares")]),
    "raw a folder": (on(RAW, folder), [found("unreadable", RAW, "no regular file")]),
    "more slices": mhd("truncated", "the header declares", field("DimSize", "56 46 41")),
    "two sizes": mhd("shape", "expected 3 numbers", field("DimSize", "56 46")),
    "no sizes": mhd("shape", "field DimSize: None", field("DimSize", None)),
    "sizes below 0": mhd("shape", "not all positive", field("DimSize", "-56 46 40")),
    "four axes": mhd("shape", "field NDims: '4'", field("NDims", "4")),
    "no spacing": mhd("spacing", "states no spacing", field("ElementSpacing", None)),
    "spacing 0": mhd("spacing", "is not positive", field("ElementSpacing", "0 1 1")),
    "spacing with commas": mhd("spacing", "expected 3 finite numbers", field("ElementSpacing", "0,7 0,7 1")),
    "no directions": mhd("orientation", "left and right are a guess", field("TransformMatrix", None)),
    "directions that coincide": mhd("affine", "not orthonormal",
                                    field("TransformMatrix", "1 0 0 1 0 0 0 0 1")),
    "infinite offset": mhd("affine", "field Offset", field("Offset", "inf 0 0")),
    "8 bits by its header": mhd("shape", "103040 bytes more", field("ElementType", "MET_UCHAR")),
    "a type of two sizes": mhd("unreadable", "MET_LONG", field("ElementType", "MET_LONG")),
    "compressed by its header": mhd("unreadable", "stream is damaged", field("CompressedData", "True")),
    "voxels as text": mhd("unreadable", "BinaryData", field("BinaryData", "False")),
    "stated twice": (on(MHD, lambda p: p.write_text("NDims = 2\n" + p.read_text())),
                     [found("unreadable", MHD, "field NDims: stated twice"), UNREAD]),
    "a login page": (on(MHD, holding(PAGE)), [found("unreadable", MHD, "<!DOCTYPE html>"), UNREAD]),
    "a file of the system": (on(MHD, data("/etc/passwd")),
                             [found("unreadable", MHD, "one file beside"), UNREAD]),
    "a file above": (on(MHD, data("../x.raw")), [found("unreadable", MHD, "one file beside"), UNREAD]),
    "many files": (on(MHD, data("s%03d.raw 1 9 1")), [found("unreadable", MHD, "one file beside"), UNREAD]),
    "its own header": (on(MHD, data(f"{UID}.mhd")), [found("unreadable", MHD, "one file beside"), UNREAD]),
    "a file that is not there": (on(MHD, data("other.raw")), [found("missing", "subset1/other.raw"), UNREAD]),
    "in two subsets": (both(on(MHD, copied(f"../subset5/{UID}.mhd")),
                            on(RAW, copied(f"../subset5/{UID}.raw"))),
                       "is the same series; keep one"),
    "under another name": (on(MHD, copied(f"{UID}9.mhd")), [found("duplicate", f"subset1/{UID}9.mhd", UID)]),
    "lists gone": (on("annotations.csv", Path.unlink), []),
    "lungs damaged": (on(f"seg-lungs-LUNA16/{UID}.mhd", keep(0)), []),
    "line ends of Windows": (on(MHD, lambda p: p.write_bytes(p.read_bytes().replace(b"\n", b"\r\n"))), []),
}  # fmt: skip

KNEE, BONES = "image-002.mhd", "labels-002.mhd"
SKI10 = {
    "labels gone": (on(BONES, Path.unlink), [found("missing", BONES), found("extra", "labels-002.raw")]),
    "label 5": (on("labels-002.raw", lambda p: p.write_bytes(b"\5" + p.read_bytes()[1:])),
                [found("label_value", BONES, "values 5")]),
    "labels one row short": (on(BONES, field("DimSize", "47 46 36")),
                             [found("shape", BONES, "is not (36, 48, 46)")]),
    "labels of 1 mm": (on(BONES, field("ElementSpacing", "1 1 1")), [found("affine", BONES, "up to 70 mm"),
                       found("spacing", BONES, "1 x 1 x 1 mm is not 3 x 2.3 x 2.3 mm")]),
    "labels along other axes": (on(BONES, field("TransformMatrix", "1 0 0 0 1 0 0 0 1")),
                                [found("shape", BONES)]),
    "labels elsewhere": (on(BONES, field("Offset", "9 0 0")), [found("affine", BONES, "up to 9 mm")]),
    "under two names": (on(BONES, copied("label-002.mhd")), "is the same scan; keep one"),
    "four digits": (on(KNEE, copied("image-1000.mhd")), [found("extra", "image-1000.mhd")]),
    "where it is scored": (on(KNEE, copied("roi-101.mhd")), []),
}  # fmt: skip

GROUPS = {"lasc": LASC, "luna16": LUNA16, "ski10": SKI10}
DAMAGES = {f"{name}: {id}": (name, *row) for name, rows in GROUPS.items() for id, row in rows.items()}


@pytest.mark.parametrize(("name", "change", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_nothing_else_is(trees, tmp_path, name, change, expected, capsys):
    root = trees.copy(name, tmp_path)
    change(root)
    damage.check(capsys, root, expected)
