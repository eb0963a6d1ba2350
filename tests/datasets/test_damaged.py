"""Each damage to a data set is reported in the lines that its row names, and nothing else is reported.

A row of ``CASES`` is: what happened, the file (or folder) that it happened to, what does it (of
``damage.py``), and what is said. ``kind: words`` is a finding of ``bench check`` about that file, ``kind
file: words`` one about another (``./name``: in the same folder), ``refused: words`` one line instead of
findings. A row that says none of these is sound. Of ``bench plan`` and ``bench run`` the row may add
``stops: words``, where headers or lists show the damage before any work, and ``hole: words``, where
only voxels do and the job fails with its reason. A new case is a new row.
"""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import damage
import nibabel
import numpy as np
import pytest
import yaml
from PIL import Image

from bench.cli import main
from bench.dataset import natural

# isort: off
from damage import (
    NAN, PAGE, POINTER, add, both, compressed, copied, emptied, encrypted, field, fifo, flip, folder,
    gunzip, half, holding, keep, linked, listing, marked, member, moved_to, on, packed, patch, placed, put,
    redrawn, swap, text, unpacked, utf16, voxels, windows,
)  # fmt: skip

gone, doubled = Path.unlink, voxels(lambda array: np.stack([array] * 2, -1))
TWICE = "refused: is the same image or label map of case"
COMMAND = re.compile("(?s)(?:(stops|hole): )?(.*)")
HIPPOCAMPUS, STEM, JSON = "msd04_hippocampus", "hippocampus_003", "dataset.json"
IMAGE, LABEL, PLAIN = f"imagesTr/{STEM}.nii.gz", f"labelsTr/{STEM}.nii.gz", f"imagesTr/{STEM}.nii"
SHEAR, SWAP = [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
TILT = [[0.98, -0.199, 0], [0.199, 0.98, 0], [0, 0, 1]]
LACK = ("missing imagesTr/hippocampus_009.nii.gz", "missing labelsTr/hippocampus_009.nii.gz")
NEW, DAY = "hippocampus_009.nii.gz", "volume-covid19-A-0002_day003.nii.gz"
LABELS = [f"labelsTr/hippocampus_00{n}.nii.gz" for n in (1, 2, 3, 4)]


def pair(*changes):
    return both(on(IMAGE, *changes), on(LABEL, *changes))


def cases(*numbers, **more):
    names = [f"hippocampus_{n:03d}.nii.gz" for n in numbers]
    return listing(
        training=[{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names], **more
    )


LITTER = (
    *("__MACOSX/imagesTr/x.nii.gz", "imagesTr/._x.nii.gz", "imagesTr/.x.nii.gz.part"),
    *("labelsTr/.DS_Store", "Thumbs.db", "dataset.json.bak", "readme.txt", "preview.png"),
)
FOUR, MASK4 = "imagesTr/BRATS_003.nii.gz", "labelsTr/BRATS_003.nii.gz"
IMG, LAB = "RawData/Training/img/img0003.nii.gz", "RawData/Training/label/label0003.nii.gz"
HOME = "data/case_00001"
VOLUME, SEGMENTATION = "Training Batch 1/volume-1.nii", "Training Batch 1/segmentation-1.nii"
LUNG = "volume-covid19-A-0002.nii.gz"
LESION = "volume-covid19-A-0167_seg.nii.gz"
HGG = "MICCAI_BraTS_2018_Data_Training/HGG"
PATIENT = f"{HGG}/Brats18_CBICA_AAB_1"
T1, T1CE, T2, TUMOUR = (
    f"{PATIENT}/Brats18_CBICA_AAB_1_{kind}.nii.gz" for kind in ("t1", "t1ce", "t2", "seg")
)
LATER = "RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021/BraTS2021_00002"
PARTS = "ct_train/ct_train_1002_label.nii.gz"
VISIT = "database/training/patient001"
INFO = f"{VISIT}/Info.cfg"
ES, ES_GT = f"{VISIT}/patient001_frame08.nii.gz", f"{VISIT}/patient001_frame08_gt.nii.gz"
STRAY = (f"extra {ES}: belongs to no case", f"extra {ES_GT}: belongs to no case")
BEYOND = ("missing ./patient001_frame31.nii.gz", "missing ./patient001_frame31_gt.nii.gz")
TABLE = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
CSV, CODED = f"OpenDataset/{TABLE}", "OpenDataset/Training/Labeled/A00A9P/A00A9P"
CINE, GT = f"{CODED}_sa.nii.gz", f"{CODED}_sa_gt.nii.gz"


def frames(listed):
    return text(",1,0,2,50,", f",1,{listed},50,")


ID = "0RZDK210BSMWAA6467LU"
LGE, ATRIUM = f"{ID}/lgemri.nrrd", f"{ID}/laendo.nrrd"
UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.154677396354641150280013275227"  # of the second phantom, by the list
MHD, RAW = f"subset1/{UID}.mhd", f"subset1/{UID}.raw"
UNREAD = f"extra {RAW}: voxels of no header"


CODE, TRAIN = "2d1b18f8e2c3", "train.csv"
EYE = f"train_images/{CODE}.png"


def zipped(*changes):
    """Pack the scans of a class as they are published, and damage the zip."""
    return both(on("NCP", packed), on("NCP-1.zip", *changes))


STACK, SLICE = "NCP/16/2", "NCP/16/2/0005.jpg"
ZIP, MEMBER = "Brain MRI/T1/10/1000113_20252_2_0.zip", "T1/T1_brain.nii.gz"
OTHER = ZIP.replace("1000113", "1000999")
BAD = f"unreadable {ZIP}/{MEMBER}"
LEFT = "Bulk/Retinal Optical Coherence Tomography/Fundus (left)/10/1000041_21015_0_0.png"

CASES: dict[str, list[tuple]] = {
    HIPPOCAMPUS: [
        ("one byte", IMAGE, keep(1), "unreadable: the name says gzip, the content does not"),
        ("cut in the middle", IMAGE, half, "truncated: the data end before the"),
        ("a bit that lengthens it", LABEL, flip(400), "unreadable: stream is damaged", "hole: stream is damaged"),
        ("gzip named .nii", IMAGE, moved_to(f"{STEM}.nii"), f"unreadable {PLAIN}: the data are gzip, and the name has"),
        ("a login page", IMAGE, holding(PAGE), "unreadable: it is a web page: log in"),
        ("a login page, compressed", IMAGE, both(holding(PAGE * 20), compressed), "unreadable: not a NIfTI file"),
        ("a zip", IMAGE, holding(b"PK\3\4" + bytes(9)), "unreadable: it is a zip: unpack it"),
        ("a git-lfs pointer", IMAGE, holding(POINTER), "unreadable: git lfs pull"),
        ("a git-annex link to nothing", IMAGE, linked("../.git/annex/x"), "missing: leads to ../.git/annex/x"),
        ("a link to itself", IMAGE, linked(f"{STEM}.nii.gz"), "missing: leads to"),
        ("a folder in its place", IMAGE, folder, "unreadable: a folder with 0 volumes", "stops: a folder with 0"),
        ("a folder of two", IMAGE, unpacked("a.nii.gz", "b.nii.gz"), "unreadable: a folder with 2 volumes"),
        ("a fifo", IMAGE, fifo, "unreadable: not a regular file"),
        ("numbers of 128 bits", IMAGE, patch(70, "2h", 1536, 128), "unreadable: datatype: 1536"),
        ("one slice, as two axes", IMAGE, voxels(lambda a: a[..., 0]), f"shape {LABEL}: is not (32, 42, 1)"),
        ("plain under its name", IMAGE, both(gunzip, moved_to(f"{STEM}.nii"))),
        ("a folder around the file", IMAGE, unpacked(f"{STEM}.nii.gz")),
        ("zeros behind the gzip", IMAGE, add(bytes(512))),
        ("label a slice short", LABEL, voxels(lambda a: a[..., :-1]), "shape: (32, 42, 33) is not (32, 42, 34)"),
        ("label transposed", LABEL, voxels(lambda a: a.transpose(1, 0, 2)), "shape", "hole: is not (32, 42, 34)"),
        ("label under exchanged axes", LABEL, placed(SWAP), "shape: (42, 32, 34) is not (32, 42, 34)"),
        ("label a hair off", LABEL, placed((1.0001, 1, 1))),
        ("label mirrored", LABEL, placed((-1, 1, 1)), "orientation: its axes are stored LAS, those of its image RAS",
         "hole: its axes are stored LAS, those of its image RAS"),
        ("thinner slices", LABEL, placed((1, 1, 0.7)), "affine", "spacing: 1 x 1 x 0.7 mm is not 1 x 1 x 1 mm"),
        ("sheared", "", pair(placed(SHEAR)), f"affine {IMAGE}: two axes are 63.4 degrees apart"),
        ("tilted", "", pair(placed(TILT))),
        ("in metres", "", pair(placed([0.001] * 3)), *(f"spacing {file}: the header has no unit: is"
         for file in (IMAGE, LABEL))),
        ("micrometres as mm", "", pair(placed([101.0] * 3)),
         *(f"spacing {f}: more than 100 mm is not" for f in (IMAGE, LABEL))),
        ("quaternion NaN", IMAGE, both(patch(252, "2h", 1, 0), patch(256, "f", NAN)), "affine: NaN"),
        ("qfac of 7", IMAGE, both(patch(76, "f", 7.0), patch(252, "2h", 1, 0))),
        ("a qform that mirrors the sform", IMAGE, both(patch(252, "h", 1), patch(256, "3f", 0, 0, 1)),
         "orientation: by its sform the axes are RAS, by its qform LPS", "stops: by its sform"),
        ("codes below 0", IMAGE, patch(252, "2h", -1, -1), "orientation: left and right are a guess"),
        ("all voxels NaN", IMAGE, voxels(lambda a: a * np.float32(NAN)), "nonfinite: 45696 voxels"),
        ("a voxel that no 32 bits hold", IMAGE, put(1e300, "f8"), "nonfinite: 1 voxels", "hole: 1 voxels"),
        ("a voxel infinite", IMAGE, put(-np.inf, "f4"), "nonfinite: 1 voxels"),
        ("a slope that overflows", IMAGE, patch(112, "f", 1e38), "nonfinite: voxels"),
        ("label 421", LABEL, put(421, "i2"), "label_value: values 421 are not declared (0, 1, 2)"),
        ("label -1", LABEL, put(-1, "i2"), "label_value: values -1 are not declared"),
        ("label 2^16", LABEL, put(1 << 16, "i4"), "label_value: values 65536 are not declared"),
        ("label of 1e30", LABEL, put(1e30, "f4"), "label_value: value 1e+30 is not a label"),
        ("label of 2^64 - 1", LABEL, put(2**64 - 1, "uint64"), "label_value: 18446744073709551615"),
        ("label NaN", LABEL, put(NAN, "f4"), "nonfinite: NaN"),
        ("label of slope 0.5", LABEL, patch(112, "2f", 0.5, 0.0), "label_value: value 0.5 is not a label"),
        ("label of 0.9999999", LABEL, put(0.9999999, "f8")),
        ("image and label gone", "", pair(gone), f"missing {IMAGE}: no such file", f"missing {LABEL}"),
        ("half a download", IMAGE, moved_to(f"{STEM}.nii.gz.part"), "missing: no such file"),
        ("labels gone", "labelsTr", shutil.rmtree, *(f"missing {label}: no such file" for label in LABELS)),
        ("labels emptied", "labelsTr", emptied, *(f"missing {label}: no such file" for label in LABELS)),
        ("an empty folder", "more", Path.mkdir, "missing: an empty folder"),
        ("images a file", "imagesTr", both(shutil.rmtree, holding(b"")), "refused: no folder imagesTr with"),
        ("no folder", "", shutil.rmtree, f"refused: {HIPPOCAMPUS} does not exist; put it or a link to it there"),
        ("a file for a folder", "", both(shutil.rmtree, holding(b"")), "refused: is a file, not a folder"),
        ("a link to nowhere", "", both(shutil.rmtree, linked("x")), "refused: leads nowhere"),
        ("a link in a circle", "imagesTr/loop", linked(".")),
        ("a link to the folder above", "again", linked(".")),
        ("litter", IMAGE, both(*(copied(f"../{name}") for name in LITTER))),
        ("suffixes in capitals", "", pair(moved_to(f"{STEM}.NII.GZ"))),
        ("plain and compressed", IMAGE, copied(f"{STEM}.nii"), "refused: is the same case; remove one"),
        ("in both parts", IMAGE, copied(f"../imagesTs/{STEM}.nii.gz"), "refused: imagesTr and in imagesTs"),
        ("a copy as another type", "", both(pair(copied(NEW)), on(f"imagesTr/{NEW}", voxels(np.copy, "f8"))),
         f"duplicate imagesTr/{NEW}: the same voxels as case {STEM}"),
        ("a browser's second copy", IMAGE, copied(f"{STEM} (1).nii.gz"), f"duplicate ./{STEM} (1).nii.gz: {STEM}"),
        ("a label of no case", LABEL, copied(NEW), f"extra ./{NEW}: belongs to no case"),
        ("a mask deep below", LABEL, copied("../a/b/c/d/mask.nii.gz"), "extra a/b/c/d/mask.nii.gz: belongs to"),
        ("one digit", IMAGE, moved_to("hippocampus_3.nii.gz"), "missing"),
        ("images and labels exchanged", "", both(on("imagesTr", moved_to("x")), on("labelsTr", moved_to("imagesTr")),
         on("x", moved_to("labelsTr"))), *(f"label_value {label}: is not a label" for label in LABELS)),
        ("a line break in a name", "", pair(copied("hippo\n9.nii.gz")), rf"duplicate {IMAGE}: case hippo\n9"),
        ("a name that is no text", IMAGE, moved_to("h\udcff.nii.gz"), "missing"),
        ("list cut", JSON, keep(100), "refused: dataset.json: not JSON", "stops: dataset.json: not JSON"),
        ("list in UTF-16", JSON, utf16, "refused: dataset.json: not JSON"),
        ("a case not there", JSON, cases(1, 2, 3, 4, 9), *LACK),
        ("a path that leads out", JSON, listing(training=[f"../../{NEW}"]), "refused: points outside the folder"),
        ("list with a mark of byte order", JSON, marked),
        ("a case listed twice, and other counts", JSON, cases(1, 2, 3, 4, 4, numTraining=99, numTest="many")),
        ("list gone", JSON, gone),
        ("list a folder", JSON, folder, "missing: an empty folder"),
    ],
    "msd01_brain_tumour": [
        ("three channels", FOUR, voxels(lambda a: a[..., :3]), "shape: 3 channels"),
        ("channels first", FOUR, voxels(lambda a: np.moveaxis(a, -1, 0)), "shape: 31 channels", f"shape {MASK4}"),
        ("mask of two", MASK4, doubled, "shape: has 2"),
        ("channels on the fifth axis", FOUR, voxels(lambda a: a[..., None, :])),
    ],
    "btcv": [  # in three of its four lists one of 0003 and 0036 tests and the other does not
        ("three digits", IMG, moved_to("img003.nii.gz"), "missing", "extra ./img003.nii.gz"),
        ("both layouts", IMG, copied("../../../imagesTr/img0003.nii.gz"), TWICE),
        ("another label", LAB, copied("label0003_other.nii.gz"), "extra ./label0003_other.nii.gz: belongs to"),
        ("under a number of another part", "", both(on(IMG, copied("img0036.nii.gz")),
         on(LAB, copied("label0036.nii.gz"))),
         "duplicate RawData/Training/img/img0036.nii.gz: the same voxels as case 0003",
         *["patient_overlap RawData/Training/img/img0036.nii.gz: in two parts of split"] * 3),
        ("folders around both", "", both(on(IMG, unpacked("img0003.nii.gz")), on(LAB, unpacked("label.nii.gz")))),
    ],
    "kits19": [
        ("neither", HOME, emptied, "missing: an empty folder"),
        ("a later year's", HOME, copied("case_00300"), "refused: ends with case_00299", "stops: KiTS19 ends"),
        ("a short name", HOME, moved_to("case_1"),
         "extra ./case_1/imaging.nii.gz", "extra ./case_1/segmentation.nii.gz"),
    ],
    "lits": [
        ("its number in two folders", VOLUME, copied("../x/volume-1.nii"), TWICE),
        ("its number with a zero", VOLUME, copied("../x/volume-01.nii"), TWICE),
        ("longer", VOLUME, add(bytes(100)), "shape: 100 bytes more than its header declares"),
        ("a browser's second copy", VOLUME, copied("volume-1 (1).nii"), "extra ./volume-1 (1).nii"),
        ("four digits", VOLUME, copied("volume-1000.nii"), "extra ./volume-1000.nii"),
        ("compressed by hand", VOLUME, both(compressed, moved_to("volume-1.nii.gz"))),
    ],
    "covid19_ct": [
        ("three digits", LUNG, moved_to("volume-covid19-A-002.nii.gz"), "extra ./volume-covid19-A-002.nii.gz"),
        ("a day that is the same scan", LUNG, copied(DAY), f"duplicate ./{DAY}: 0002"),
    ],
    "covid_19_20": [
        ("mask in another folder", f"COVID-19-20_v2/Train/{LESION}", moved_to(f"../Validation/{LESION}")),
    ],
    "brats18": [
        ("one contrast gone", T1CE, gone, "missing", "stops: 1 file(s) missing, first"),
        ("another suffix", T1CE, moved_to("Brats18_CBICA_AAB_1_t1gd.nii.gz"), "missing",
         "extra ./Brats18_CBICA_AAB_1_t1gd.nii.gz: belongs to no case"),
        ("one contrast smaller", T2, voxels(lambda a: a[:-1]), "shape: (60, 60, 39)", "stops: (59, 60, 39)"),
        ("one contrast elsewhere", T2, placed((2, 1, 1)), "affine: is not that of"),
        ("one contrast of two", T2, doubled, "shape: 2 channels", "stops: 5 channel(s)"),
        ("one contrast twice", "", both(on(T2, gone), on(T1, copied("Brats18_CBICA_AAB_1_t2.nii.gz"))),
         f"duplicate {T2}: the same voxels as Brats18_CBICA_AAB_1_t1.nii.gz"),
        ("no tumour", TUMOUR, voxels(np.zeros_like), "empty_label: no voxel"),
        ("of both grades", PATIENT, copied("../LGG/Brats18_CBICA_AAB_1"), "refused: case CBICA_AAB_1; keep one"),
        ("one contrast as float", T2, voxels(lambda a: a, "f4")),
    ],
    "brats21": [
        ("a name of a later year", f"{LATER}/BraTS2021_00002_t1.nii.gz", moved_to("BraTS-GLI-00002-000-t1n.nii.gz"),
         "missing", "extra ./BraTS-GLI-00002-000-t1n.nii.gz"),
        ("a folder of another name", LATER, moved_to("BraTS2021_00009")),
    ],
    "mmwhs": [
        ("value 422", PARTS, swap(420, 422), "label_value: 422"),
        ("other values", PARTS, voxels(lambda a: a // 50), "label_value: values 4, 8, 10, 11, 12 ..."),
        ("value 421", PARTS, swap(420, 421)),
    ],
    "acdc": [
        ("Info.cfg gone", INFO, gone, "missing: no such file", "stops: Info.cfg (case patient001)"),
        ("Info.cfg a folder", INFO, folder, "missing"),
        ("Info.cfg no text", INFO, holding(bytes(range(256))), "unreadable: 'ED: <frame number>' is needed"),
        ("a frame in words", INFO, text("ES: 8", "ES: eight"), "unreadable: got 'eight'", "stops: got 'eight'"),
        ("two frames", INFO, text("ES: 8", "ES: 8 9"), "unreadable: 'ES: <frame number>' is needed, got '8 9'"),
        ("a frame beyond", INFO, text("ES: 8", "ES: 31"), *STRAY, *BEYOND),
        ("no end-systole", INFO, text("ES: 8\n", ""), *STRAY),
        ("one frame for both", INFO, text("ES: 8", "ES: 1"), *STRAY),
        ("a frame gone", ES, gone, "missing"),
        ("a frame over the other", ES, copied("patient001_frame01.nii.gz"), "duplicate: patient001_frame01"),
        ("the cine as a frame", ES, doubled, "shape: 2 channels"),
        ("a patient in both parts", VISIT, copied("../testing/patient001"), "refused: same patient; keep one"),
        ("a patient's folder empty", VISIT, emptied, f"missing {INFO}"),
        ("a mark of byte order", INFO, marked),
        ("a frame with zeros", INFO, text("ES: 8", "ES: 0008")),
        ("the cine beside its frames", ES, copied("patient001_4d.nii.gz")),
    ],
    "mnms": [
        ("CSV gone", CSV, gone, f"missing {TABLE}: no CSV file with", "stops: no CSV file with"),
        ("no column ED", CSV, text(",ED,", ",E,"), "unreadable: no CSV file with"),
        ("a row cut", CSV, keep(-8), "unreadable: ends before the last"),
        ("two of it", CSV, copied("copy.csv"), "refused: 2 CSV files"),
        ("a patient not listed", CSV, text("A00A9P", "A00X9P"), "unreadable: no row for A00A9P (1 such scans)"),
        ("an open quotation mark", CSV, text("NOR", '"NOR'), "unreadable: no row for A00B9P"),
        ("a field without end", CSV, text("NOR", "N" * 200_000), "unreadable: not a CSV file (field larger"),
        ("a frame below 0", CSV, frames("-1,2"), "unreadable: A00A9P: column ED must hold a"),
        ("half a frame", CSV, frames("0.5,2"), "unreadable: got '0.5'"),
        ("two rows", CSV, text("^(.*A00A9P.*),0,2(.*\n)", r"\g<0>\1,1,3\2"), "unreadable: two rows for A00A9P"),
        ("a frame beyond", CSV, frames("0,9"), f"shape {CINE}: 9 of 4", f"shape {GT}", "stops: frame 9 of 4"),
        ("frames counted from 1", CSV, frames("1,3"), f"empty_label {GT}", f"empty_label {GT}"),
        ("one frame for both", CSV, frames("2,2"), f"duplicate {CINE}: A00A9P_ed"),
        ("no frames", CSV, frames(","), f"extra {CINE}", f"extra {GT}"),
        ("masks of two frames", GT, voxels(lambda a: a[..., :2]), "shape: frame 2 of 2", "stops: frame 2 of 2"),
        ("masks gone", GT, gone, "missing", "missing"),
        ("NaN in one frame", CINE, voxels(lambda a: np.where(np.arange(4) == 2, NAN, a), "f4"), "nonfinite"),
        ("NaN in a frame that nobody reads", CINE, voxels(lambda a: np.where(np.arange(4) == 1, NAN, a), "f4")),
        ("Windows", CSV, both(windows, marked)),
        ("a comma in quotation marks", CSV, text("NOR", '"NOR, or not"')),
        ("two equal rows", CSV, text("^.*A00A9P.*\n", r"\g<0>\g<0>")),
        ("a patient that is not here", CSV, add(b"7,ZZZ9Z9,V,A,1,0,2,50,NOR\n")),
        ("an empty mask of no labels", "", both(on(GT, voxels(np.zeros_like)),
         on(str(Path(CODED).parent), moved_to("../Unlabeled/A00A9P")))),
    ],
    "lasc": [
        ("no sizes", LGE, field("sizes", None), "shape: field sizes"),
        ("sizes in words", LGE, field("sizes", "a b c"), "unreadable: the NRRD header is damaged"),
        ("another dimension", LGE, field("dimension", "4"), "shape: field sizes"),
        ("raw by its header", LGE, field("encoding", "raw"), "truncated: the file holds at most"),
        ("two directions", LGE, field("space directions", "(1,0,0) (0,1,0)"), "affine: 2 rows, not 3"),
        ("neither space nor spacing", "", both(*(on(f, field("space directions", None)) for f in (LGE, ATRIUM))),
         f"orientation {LGE}: no orientation", f"spacing {LGE}: states no spacing"),
        ("NIfTI beside", LGE, moved_to("lgemri.nii.gz"), "missing", "extra ./lgemri.nii.gz"),
        ("folder emptied", ID, emptied, f"missing {LGE}", f"missing {ATRIUM}"),
        ("19 characters", ID, moved_to(ID[:-1]), f"extra {ID[:-1]}/laendo.nrrd", f"extra {ID[:-1]}/lgemri.nrrd"),
        ("twice", ID, copied(f"Training Set/{ID}"), "refused: is the same case; remove one"),
        ("the wall beside", ATRIUM, copied("lawall.nrrd")),
        ("line ends of Windows", LGE, windows),
    ],
    "luna16": [
        ("header gone", MHD, gone, UNREAD),
        ("raw elsewhere", RAW, moved_to(f"../{UID}.raw"), "missing", f"extra {UID}.raw: no header"),
        ("raw longer", RAW, add(bytes(9)), f"shape {MHD}: 9 bytes more than its header declares"),
        ("raw a folder", RAW, folder, "unreadable: not a regular file"),
        ("no spacing", MHD, field("ElementSpacing", None), "spacing: states no spacing"),
        ("no directions", MHD, field("TransformMatrix", None), "orientation: left and right are a guess"),
        ("a file that is not there", MHD, field("ElementDataFile", "other.raw"), "missing ./other.raw", UNREAD),
        ("in two subsets", MHD, copied(f"../subset5/{UID}.mhd"), TWICE),
        ("lungs damaged", f"seg-lungs-LUNA16/{UID}.mhd", keep(0)),
    ],
    "ski10": [
        ("voxels gone", "image-002.raw", gone, "missing: no such file", "stops: image-002.raw: no such file"),
        ("voxels cut", "image-002.raw", keep(-1), "truncated ./image-002.mhd: at most", "stops: holds at most"),
        ("labels gone", "labels-002.mhd", gone, "missing", "extra ./labels-002.raw: voxels of no header"),
        ("under two names", "labels-002.mhd", copied("label-002.mhd"), TWICE),
        ("four digits", "image-002.mhd", copied("image-1000.mhd"), "extra ./image-1000.mhd"),
        ("where it is scored", "image-002.mhd", copied("roi-101.mhd")),
    ],
    "aptos19": [
        ("grey", EYE, redrawn(lambda p: p.convert("L")), "shape: 1 channels"),
        ("a folder", EYE, folder, "unreadable: not a regular file"),
        ("of no list", EYE, copied("zzz.png"), "extra ./zzz.png: belongs to no case"),
        ("twice, another grade", "", both(on(EYE, copied("zzz.png")), on(TRAIN, add(b"zzz,0\n"))),
         "duplicate train_images/zzz.png: whose class is 1 (mild), here 0 (no retinopathy)"),
        ("in two forms", EYE, copied(f"{CODE}.jpg"), TWICE),
        ("a JPEG by content", EYE, redrawn(lambda p: p, "JPEG")),
        ("list gone", TRAIN, gone, "missing: no CSV file with the columns id_code and diagnosis"),
        ("list without lines", TRAIN, holding(b"id_code,diagnosis\n"), "unreadable: no CSV file"),
        ("list in UTF-16", TRAIN, utf16, "unreadable: no CSV file"),
        ("no grades", TRAIN, text("diagnosis", "grade"), "unreadable: no CSV file"),
        ("grade 5", TRAIN, text(f"{CODE},.", f"{CODE},5"), "unreadable: line 5: diagnosis must be 0 to 4"),
        ("half a grade", TRAIN, text(f"{CODE},.", f"{CODE},1.5"), "unreadable: must be 0 to 4, got '1.5'"),
        ("no grade", TRAIN, text(f"{CODE},.", f"{CODE},"), "unreadable: diagnosis must be 0 to 4, got ''"),
        ("two grades", TRAIN, add(f"{CODE},4\n".encode()), "unreadable: has grade 4, in train.csv, line 5"),
        ("a picture that is not there", TRAIN, add(b"zzz,1\n"), "missing train_images/zzz.png"),
        ("a path for a name", TRAIN, add(b"../../etc/passwd,1\n"), "unreadable: /passwd' is no id_code"),
        ("a line twice", TRAIN, add(f"{CODE},1\n".encode())),
    ],
    "cc_ccii": [
        ("slices gone", STACK, both(on("0005.jpg", gone), on("0006.jpg", gone)),
         "missing: 2 numbers are missing between the slices 0 and 15, first 5"),
        ("all slices gone", STACK, emptied, "unreadable: a folder with 0 volumes and no picture"),
        ("a slice cut", SLICE, half, "truncated"),
        ("a slice of half the size", SLICE, redrawn(lambda p: p.resize((44, 36)), "JPEG"),
         f"shape {STACK}: 1 of 16 slices are not 88 x 72 and are resampled: 0005.jpg"),
        ("in colour", SLICE, redrawn(lambda p: Image.new("RGB", p.size, "red"), "JPEG"), "shape: in colour"),
        ("a slice in two forms", SLICE, copied("0005.png"), f"duplicate {STACK}: keep one file for each: 0005"),
        ("too deep", STACK, copied("5/5"), "extra ./5/5: its 16 pictures", "unreadable ./5: a folder with 0 volumes"),
        ("a class of another name", "NCP", moved_to("COVID"), "extra COVID/16/2: its 16 pictures"),
        ("a patient in words", "NCP/16", moved_to("p16"), "extra NCP/p16/2: its 16 pictures"),
        ("a patient with zeros", "NCP/16", copied("0016"), "refused: is the same scan; keep one"),
        ("a scan in two classes", STACK, copied("../../Normal/9/9"),
         "duplicate Normal/9/9: whose class is 2 (novel coronavirus pneumonia), here 0"),
        ("packed", "", zipped()),
        ("zip cut", "", zipped(half), "unreadable NCP-1.zip/slices: damaged"),
        ("a bit in the zip", "", zipped(flip(3000)), "unreadable NCP-1.zip/16/2: Bad CRC"),
    ],
    "ukb_brain": [
        ("empty", ZIP, keep(0), f"{BAD}: empty file"),
        ("cut by a byte", ZIP, keep(-1), f"{BAD}: damaged, or not an archive"),
        ("no image in it", ZIP, member(MEMBER, None), f"missing {ZIP}/{MEMBER}"),
        ("a member that leads out", ZIP, member("../x"), f"{BAD}: leads out"),
        ("a member that a terminal obeys", ZIP, member("T1/\x1b[31mx"), rf"{BAD}: 'T1/\x1b[31mx' has"),
        ("encrypted", ZIP, encrypted, f"{BAD}: is encrypted; decrypt the archive first"),
        ("image a login page", ZIP, member(MEMBER, PAGE), f"{BAD}: the name says gzip, the content does not"),
        ("unpacked beside", ZIP.removesuffix(".zip"), Path.mkdir, "refused: keep either the zip or the unpacked"),
        ("under another person", ZIP, copied(Path(OTHER).name), f"duplicate {OTHER}/{MEMBER}: 1000113_2_0"),
        ("refused at the source", ZIP, both(member(MEMBER, None), member("T1/unusable/T1.nii.gz"))),
        ("a link to nowhere", ZIP, linked("gone.zip"), f"missing {ZIP}/{MEMBER}: no such file"),
        ("bytes behind it", ZIP, add(bytes(50))),
    ],
    "ukb_fundus": [
        ("another field", LEFT, moved_to("1000041_21017_0_0.png"), "extra ./1000041_21017_0_0.png"),
        ("in two folders", LEFT, copied("../1000041_21015_0_0.png"), TWICE),
        ("a copy", LEFT, copied("1000041_21016_0_9.png"), "duplicate ./1000041_21016_0_9.png: 1000041_21015_0_0"),
    ],
}  # fmt: skip


# --- bench check ---------------------------------------------------------------------------------


def expected_of(command):
    """Return the rows with what they expect of a command; of ``check`` every row expects something."""
    rows = []
    for name, cases in CASES.items():
        for what, file, change, *lines in cases:
            matches = map(COMMAND.fullmatch, lines)
            words = [m[2] for m in matches if (m[1] or "check") == command]
            if words or command == "check":
                rows.append(pytest.param(name, file, change, words, id=f"{name}: {what}"))
    return pytest.mark.parametrize(("name", "file", "change", "expected"), rows)


@expected_of("check")
def test_damage_is_found_and_nothing_else_is(trees, tmp_path, name, file, change, expected, capsys):
    root = trees.copy(name, tmp_path)
    change(root / file)
    damage.check(capsys, root, *expected, of=file)
    # no member of a zip was written beside it
    assert {p.name for p in tmp_path.iterdir()} <= {name}


def test_a_damaged_list_hides_no_damaged_file(trees, tmp_path, capsys):
    """Without its table a file is judged by itself; one patient's list is no other's."""
    root = trees.copy("mnms", tmp_path)
    both(on(CSV, holding(PAGE)), on(CINE, keep(-200)))(root)
    expected = f"unreadable {CSV}: no CSV file with", f"truncated {CINE}: the data end"
    damage.check(capsys, root, *expected)
    root = trees.copy("acdc", tmp_path)
    mask = "database/training/patient021/patient021_frame01_gt.nii.gz"
    both(on(INFO, keep(0)), on(mask, voxels(np.zeros_like)))(root)
    damage.check(capsys, root, f"unreadable {INFO}: is needed", f"empty_label {mask}")


def test_every_plain_nifti_is_closed_again(trees, tmp_path, capsys):
    """A folder of a thousand open files is where a check would end."""
    root = trees.copy("lits", tmp_path)
    on(VOLUME, half)(root)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        damage.check(capsys, root, "truncated: the file holds at most 63184", of=VOLUME)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert nibabel.load(root / SEGMENTATION).shape


def test_no_bit_of_a_label_file_flips_unseen(trees, tmp_path):
    """Each bit is found, or changes no voxel (the file's name and time, unused bits of a code)."""
    from bench.volumes.header import VolumeError
    from bench.volumes.reading import read_label

    path = trees.copy(HIPPOCAMPUS, tmp_path) / LABEL
    content, sound, other = path.read_bytes(), read_label(path).array, []
    for at in range(10, len(content), 2):
        flip(at)(path)
        with suppress(VolumeError):
            other += [] if np.array_equal(read_label(path).array, sound) else [at]
        path.write_bytes(content)
    assert other == []


def test_cases_of_one_number_come_in_one_order_and_a_name_may_hold_any_digits():
    """3 and 003: the order of a set of names is another one in every process."""
    names = ["a9", *(f"a{'0' * n}10" for n in range(9)), f"a{'9' * 5000}b", "a²b", "a٣b"]
    order = sorted(names, key=natural)
    assert order == sorted(names[::-1], key=natural)
    assert order[0] == "a9" and {*order[10:]} == {*names[10:]}


def test_what_a_table_shows_a_terminal_does_not_obey(trees, tmp_path, capsys):
    root = trees.copy(HIPPOCAMPUS, tmp_path)
    shutil.copy(root / LABEL, root / "x\x1b[31m\nmask.nii.gz")
    assert main(["check", HIPPOCAMPUS, "--data", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert r"x\x1b[31m\nmask.nii.gz" in shown
    assert "\x1b" not in shown
    assert shown.splitlines()[-1] == f"{HIPPOCAMPUS}: 4 of 390 published cases, 1 finding"


@pytest.mark.parametrize(("name", "folder"), [("kits19", HOME), ("ukb_brain", "Brain MRI/T1/10")])
def test_a_folder_that_may_not_be_listed_is_named(
    trees, tmp_path, capsys, monkeypatch, name, folder
):
    """Who tests as root may list everything: the refusal is made here."""
    root, scandir = trees.copy(name, tmp_path), os.scandir

    def guarded(path="."):
        if Path(os.fspath(path)) == root / folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    refused = f"refused: {Path(folder).name}: cannot be listed (Permission denied)"
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", guarded)
        damage.check(capsys, root, refused)


def test_a_folder_that_may_not_be_written_is_sound(trees, tmp_path, capsys):
    root = trees.copy(HIPPOCAMPUS, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    for path in [*root.rglob("*"), root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    damage.check(capsys, root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)


# --- bench plan and bench run --------------------------------------------------------------------

PROTOCOL = {
    "title": "damaged",
    "scale": "smoke",
    "scales": {"smoke": {}},
    "metrics": ["dice"],
    "networks": {"net": {"network": "unet3d", "preset": "tiny", "crop": [16, 16, 16]}},
    "rows": {"scratch": {"method": "scratch", "network": "net"}},
    "layout": {"columns": "fractions"},
}
FINETUNE = {"split": "even", "fractions": [100], "steps": 2, "batch": 2, "precision": "fp32"}


@pytest.fixture(scope="module")
def nine(tmp_path_factory):
    return damage.Trees(tmp_path_factory.mktemp("nine"), cases=9)


@pytest.fixture
def prepare(nine, tmp_path, monkeypatch, inlined, undrawn):
    """Return a function that lays out a data set and a protocol on it in an empty folder.

    Jobs run in this process: the same ``execute``, without the seconds of a worker's imports.
    """
    monkeypatch.chdir(tmp_path)

    def laid(name):
        Path("data").mkdir()
        plan = {**PROTOCOL, "finetune": [{"dataset": name, **FINETUNE}]}
        Path("damaged.yaml").write_text(yaml.safe_dump(plan))
        return nine.copy(name, Path("data").absolute())

    return laid


@pytest.fixture
def bench(capsys):
    """Return a function that plans or runs the protocol and tells the exit code and all that was said."""

    def bench(verb="run"):
        code = main([verb, "damaged.yaml", "--data", "data", "--out", "out"])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return code, shown.out, shown.err

    return bench


@expected_of("stops")
def test_damage_that_shows_early_stops_before_any_work(
    prepare, bench, name, file, change, expected
):
    change(prepare(name) / file)
    for verb in ("plan", "run"):
        code, out, err = bench(verb)
        assert (code, out) == (2, "")
        damage.one_line(err, expected[0])
    left = {p.name for p in Path("out").rglob("*") if p.is_file()}
    assert left - {"files.json"} == {"bench.json"}


@expected_of("hole")
def test_damage_that_shows_late_is_a_hole_with_its_reason(
    prepare, bench, name, file, change, expected
):
    change(prepare(name) / file)
    code, out, _ = bench()
    assert code == 1
    (line,) = [x for x in out.splitlines() if x.startswith("failed: ")]
    assert expected[0] in line
    assert STEM in line


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (flip(-6), 1, "compressed stream is damaged"),
        (keep(40), 2, "gzip stream ends within the header"),
    ],
    ids=["the voxels", "the header"],
)
def test_a_case_that_cannot_be_used_stops_those_alone_who_select_it(
    prepare, bench, change, code, words
):
    change(prepare(HIPPOCAMPUS) / IMAGE)
    exit_code, out, err = bench()
    assert exit_code == code
    line = next(x for x in (out + err).splitlines() if words in x)
    words = (f"{HIPPOCAMPUS}: 1 of ", f"exclude: [{STEM}]", Path(IMAGE).name)
    assert all(text in line for text in words)
    plan = yaml.safe_load(Path("damaged.yaml").read_text())
    plan["finetune"][0]["exclude"] = [STEM]
    Path("damaged.yaml").write_text(yaml.safe_dump(plan))
    assert bench()[0] == 0
    logs = [path.read_text() for path in Path("out/jobs").rglob("log.txt")]
    (log,) = [log for log in logs if "cannot be used" in log]
    assert f"case {STEM} cannot be used: {IMAGE}: " in log
    assert "1 of 9 cases cannot be used and have no arrays" in log


def test_a_folder_without_a_usable_case_is_refused_at_once(prepare, bench):
    for path in (prepare(HIPPOCAMPUS) / "imagesTr").iterdir():
        keep(40)(path)
    code, _, err = bench("plan")
    assert code == 2
    assert f"{HIPPOCAMPUS}: 9 of 9 cases cannot be used, first hippocampus_001: " in err


def test_nothing_that_was_finished_is_lost_to_later_damage(prepare, bench):
    def finished():
        return {p: p.stat().st_mtime_ns for p in Path("out/jobs").rglob("*") if p.is_file()}

    image = prepare(HIPPOCAMPUS) / IMAGE
    assert bench()[0] == 0
    before, content = finished(), image.read_bytes()
    assert before
    for change, code in ((flip(-6), 1), (keep(40), 2), (gone, 2)):
        image.write_bytes(content)
        change(image)
        assert bench()[0] == code
        assert before.items() <= finished().items()
    image.write_bytes(content)
    code, out, _ = bench()
    assert code == 0
    assert "failed" not in out
    assert before.items() <= finished().items()  # and what could be prepared of the damaged data
