"""What only one data set's layout can suffer: its lists, its channels, its frames."""

import gzip
import shutil
from pathlib import Path

import damage
import nibabel
import numpy as np
import pytest
from damage import (
    NAN,
    PAGE,
    Gone,
    Listing,
    add,
    both,
    copied,
    folder,
    half,
    holding,
    keep,
    moved,
    on,
    patch,
    placed,
    put,
    renamed,
    text,
    unpacked,
    voxels,
)

MIRROR = placed(lambda affine: np.diag([-1.0, 1, 1, 1]) @ affine)


def found(kind, file, words=""):
    return (kind, file, words)


def emptied(folder):
    return lambda root: [path.unlink() for path in (root / folder).iterdir()]


def values(of):
    return voxels(lambda a: of(a).astype(a.dtype))


# --- BTCV, KiTS19, LiTS --------------------------------------------------------------------------

IMG, LAB = "RawData/Training/img/img0003.nii.gz", "RawData/Training/label/label0003.nii.gz"
BTCV = {
    "label 14": (on(LAB, put(14)), [found("label_value", LAB, "values 14 are not declared")]),
    "three digits": (on(IMG, renamed("img003.nii.gz")),
                     [found("missing", IMG), found("extra", "RawData/Training/img/img003.nii.gz")]),
    "the image twice": (on(IMG, copied("img0003.nii")), "img0003.nii is the same scan; keep one layout"),
    "both layouts": (on(IMG, copied("../../../imagesTr/img0003.nii.gz")),
                     "is the same scan; keep one layout"),
    "no images": (on("RawData/Training/img", shutil.rmtree),
                  [found("missing", f"RawData/Training/img/img000{n}.nii.gz") for n in (1, 2, 3, 4)]),
    "another label": (on(LAB, copied("label0003_rater2.nii.gz")),
                      [found("extra", "RawData/Training/label/label0003_rater2.nii.gz",
                             "belongs to no case")]),
    "under a number of the same part": (
        both(on(IMG, copied("img0025.nii.gz")), on(LAB, copied("label0025.nii.gz"))),
        [found("duplicate", "RawData/Training/img/img0025.nii.gz", "the same voxels as case 0003")]),
    # in three of its four lists one of them tests and the other does not
    "under a number of another part": (
        both(on(IMG, copied("img0036.nii.gz")), on(LAB, copied("label0036.nii.gz"))),
        [found("duplicate", "RawData/Training/img/img0036.nii.gz", "the same voxels as case 0003"),
         *[found("patient_overlap", "RawData/Training/img/img0036.nii.gz", "in two parts of split")] * 3]),
    "folders around the files": (both(on(IMG, unpacked("img0003.nii.gz")), on(LAB, unpacked("label.nii.gz"))),
                                 []),
}  # fmt: skip

SCAN, MASK = "data/case_00001/imaging.nii.gz", "data/case_00001/segmentation.nii.gz"
KITS19 = {
    "no image": (on(SCAN, Path.unlink), [found("missing", SCAN, "no such file")]),
    "no mask": (on(MASK, Path.unlink), [found("missing", MASK, "no such file")]),
    "neither": (emptied("data/case_00001"), [found("missing", "data/case_00001", "an empty folder")]),
    "a cyst": (on(MASK, put(3)), [found("label_value", MASK, "values 3")]),
    "a case of a later year": (on("data/case_00001", copied("case_00300")), "KiTS19 ends with case_00299"),
    "a folder of another name": (on("data/case_00001", renamed("case_1")),
                                 [found("extra", "data/case_1/imaging.nii.gz"),
                                  found("extra", "data/case_1/segmentation.nii.gz")]),
    "a prediction beside it": (on(MASK, copied("prediction.nii.gz")),
                               [found("extra", "data/case_00001/prediction.nii.gz")]),
    "its list gone": (on("data/kits.json", Path.unlink), []),
    "its list damaged": (on("data/kits.json", holding(b"{")), []),
}  # fmt: skip

VOLUME, SEG = "Training Batch 1/volume-1.nii", "Training Batch 1/segmentation-1.nii"
LITS = {
    "no segmentation": (on(SEG, Path.unlink), [found("missing", SEG)]),
    "no volume": (on(VOLUME, Path.unlink), [found("missing", VOLUME)]),
    "its number in two folders": (on(VOLUME, copied("../other/volume-1.nii")), "is the same scan; keep one"),
    "its number with a zero": (on(VOLUME, copied("../other/volume-01.nii")), "is the same scan; keep one"),
    "mirrored segmentation": (on(SEG, MIRROR), [found("affine", SEG, "up to 301 mm"),
                              found("orientation", SEG, "stored RPS, its image LPS")]),
    "segmentation one slice short": (on(SEG, voxels(lambda a: a[..., :-1])), [found("shape", SEG, "is not")]),
    "cut in the middle": (on(VOLUME, half), [found("truncated", VOLUME, "the file holds at most 63184")]),
    "cut by its last byte": (on(VOLUME, keep(-1)), [found("truncated", VOLUME, "at most 126719")]),
    "longer": (on(VOLUME, add(bytes(100))),
               [found("shape", VOLUME, "100 bytes more than its header declares")]),
    "header of 8 bits": (on(VOLUME, patch(70, "2h", 2, 8)),
                         [found("shape", VOLUME, "63360 bytes more than")]),
    "a browser's second copy": (on(VOLUME, copied("volume-1 (1).nii")),
                                [found("extra", "Training Batch 1/volume-1 (1).nii")]),
    "four digits": (on(VOLUME, copied("volume-1000.nii")),
                    [found("extra", "Training Batch 1/volume-1000.nii")]),
    "compressed by hand": (on(VOLUME, lambda p: p.write_bytes(gzip.compress(p.read_bytes(), 1)),
                              renamed("volume-1.nii.gz")), []),
    "padding of -3024": (on(VOLUME, values(lambda a: np.where(a < -900, -3024, a))), []),
    "segmentation of 0.9999999": (on(SEG, voxels(lambda a: a * 0.9999999, "f8")), []),
}  # fmt: skip

# --- BraTS: a file per channel -------------------------------------------------------------------

HGG = "MICCAI_BraTS_2018_Data_Training/HGG"
CASE = f"{HGG}/Brats18_CBICA_AAB_1"
STEM = f"{CASE}/Brats18_CBICA_AAB_1_"
T1, T1CE, T2, TUMOUR = (f"{STEM}{kind}.nii.gz" for kind in ("t1", "t1ce", "t2", "seg"))
BRATS18 = {
    "one contrast gone": (on(T1CE, Path.unlink), [found("missing", T1CE)]),
    "segmentation gone": (on(TUMOUR, Path.unlink), [found("missing", TUMOUR)]),
    "all gone": (emptied(CASE), [found("missing", CASE, "an empty folder")]),
    "another suffix": (on(T1CE, renamed("Brats18_CBICA_AAB_1_t1gd.nii.gz")),
                       [found("missing", T1CE), found("extra", f"{STEM}t1gd.nii.gz", "belongs to no case")]),
    "a suffix in capitals": (on(T1CE, renamed("Brats18_CBICA_AAB_1_T1CE.nii.gz")),
                             [found("missing", T1CE), found("extra", f"{STEM}T1CE.nii.gz")]),
    "one contrast smaller": (on(T2, voxels(lambda a: a[:-1])), [found("shape", T2, "is not (60, 60, 39)")]),
    "one contrast elsewhere": (on(T2, placed(lambda a: a @ np.diag([2.0, 1, 1, 1]))),
                               [found("affine", T2, "is not that of")]),
    "one contrast of two": (on(T2, voxels(lambda a: np.stack([a, a], -1))),
                            [found("shape", T2, "2 channels")]),
    "one contrast twice": (both(on(T2, Path.unlink), on(T1, copied("Brats18_CBICA_AAB_1_t2.nii.gz"))),
                           [found("duplicate", T2, "the same voxels as Brats18_CBICA_AAB_1_t1.nii.gz")]),
    "NaN in one contrast": (on(T2, put(NAN, "f4")), [found("nonfinite", T2, "1 voxels")]),
    "value 3": (on(TUMOUR, put(3)), [found("label_value", TUMOUR, "values 3 are not declared (0, 1, 2, 4)")]),
    "no tumour": (on(TUMOUR, voxels(np.zeros_like)), [found("empty_label", TUMOUR, "no voxel")]),
    "of both grades": (on(CASE, copied("../LGG/Brats18_CBICA_AAB_1")), "of case CBICA_AAB_1; keep one"),
    "an evaluation beside it": (on(TUMOUR, copied("tumour.nii.gz")),
                                [found("extra", f"{CASE}/tumour.nii.gz")]),
    "ages gone": (on("MICCAI_BraTS_2018_Data_Training/survival_data.csv", Path.unlink), []),
    "one contrast as float": (on(T2, voxels(lambda a: a, "f4")), []),
}  # fmt: skip

LATER = "RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021/BraTS2021_00002"
BRATS21 = {
    "a name of a later year": (
        on(f"{LATER}/BraTS2021_00002_t1.nii.gz", renamed("BraTS-GLI-00002-000-t1n.nii.gz")),
        [found("missing", f"{LATER}/BraTS2021_00002_t1.nii.gz"),
         found("extra", f"{LATER}/BraTS-GLI-00002-000-t1n.nii.gz")]),
    "value 3 of later years": (
        on(f"{LATER}/BraTS2021_00002_seg.nii.gz", values(lambda a: np.where(a == 4, 3, a))),
        [found("label_value", f"{LATER}/BraTS2021_00002_seg.nii.gz", "values 3")]),
    "a folder of another name": (on(LATER, renamed("BraTS2021_00009")), []),
}  # fmt: skip

# --- hearts: classes by value, frames by a list --------------------------------------------------

HEART, PARTS = "ct_train/ct_train_1002_image.nii.gz", "ct_train/ct_train_1002_label.nii.gz"
MMWHS = {
    "value 422": (on(PARTS, values(lambda a: np.where(a == 420, 422, a))),
                  [found("label_value", PARTS, "422")]),
    "values in 8 bits": (on(PARTS, voxels(lambda a: a % 256, "u1")), [found("label_value", PARTS, "38, 52")]),
    "values from 1 to 7": (on(PARTS,
                              values(lambda a: np.searchsorted([0, 205, 420, 500, 550, 600, 820, 850], a))),
                           [found("label_value", PARTS, "values 1, 2, 3, 4, 5 ...")]),
    "a CT among the MR": (
        both(on(HEART, copied("../mr_train/mr_train_1003_image.nii.gz")),
             on(PARTS, copied("../mr_train/mr_train_1003_label.nii.gz"))),
        [found("duplicate", "mr_train/mr_train_1003_image.nii.gz", "the same voxels as case ct_1002")]),
    "value 421": (on(PARTS, values(lambda a: np.where(a == 420, 421, a))), []),
}  # fmt: skip

PATIENT = "database/training/patient001"
INFO = f"{PATIENT}/Info.cfg"
ED, ES = (f"{PATIENT}/patient001_frame{n}.nii.gz" for n in ("01", "08"))
ES_GT = f"{PATIENT}/patient001_frame08_gt.nii.gz"
STRAY = [found("extra", ES, "belongs to no case"), found("extra", ES_GT, "belongs to no case")]
ACDC = {
    "Info.cfg gone": (on(INFO, Path.unlink), [found("missing", INFO, "no such file")]),
    "Info.cfg a folder": (on(INFO, folder), [found("missing", INFO)]),
    "Info.cfg empty": (on(INFO, keep(0)), Listing("Info.cfg: 'ED: <frame number>' is needed")),
    "Info.cfg no text": (on(INFO, holding(bytes(range(256)))), Listing("'ED: <frame number>' is needed")),
    "a frame in words": (on(INFO, text("ES: 8", "ES: eight")), Listing("is needed, got 'eight'")),
    "two frames": (on(INFO, text("ES: 8", "ES: 8 9")), Listing("'ES: <frame number>' is needed, got '8 9'")),
    "a frame beyond": (on(INFO, text("ES: 8", "ES: 31")),
                       [found("missing", f"{PATIENT}/patient001_frame31.nii.gz"),
                        found("missing", f"{PATIENT}/patient001_frame31_gt.nii.gz"), *STRAY]),
    "no end-systole": (on(INFO, text("ES: 8\n", "")), STRAY),
    "one frame for both": (on(INFO, text("ES: 8", "ES: 1")), STRAY),
    "a frame gone": (on(ES, Path.unlink), [found("missing", ES)]),
    "a mask gone": (on(ES_GT, Path.unlink), [found("missing", ES_GT)]),
    "one frame copied over the other": (both(on(ED, Path.unlink),
                                             on(ES, copied("patient001_frame01.nii.gz"))),
                                        [found("duplicate", ES, "patient001_frame01")]),
    "the cine as a frame": (on(ES, voxels(lambda a: np.stack([a] * 3, -1))),
                            [found("shape", ES, "3 channels")]),
    "another frame": (on(ES, copied("patient001_frame12.nii.gz")),
                      [found("extra", f"{PATIENT}/patient001_frame12.nii.gz")]),
    "a patient in both parts": (on(PATIENT, copied("../testing/patient001")),
                                "is the same patient; keep one"),
    "a patient's folder empty": (emptied(PATIENT), [found("missing", INFO)]),
    "line ends of Windows": (on(INFO, lambda p: p.write_bytes(p.read_bytes().replace(b"\n", b"\r\n"))), []),
    "a mark of byte order": (on(INFO, lambda p: p.write_text(p.read_text(), "utf-8-sig")), []),
    "a frame with zeros": (on(INFO, text("ES: 8", "ES: 0008")), []),
    "the cine beside its frames": (on(ES, copied("patient001_4d.nii.gz")), []),
}  # fmt: skip

CSV = "OpenDataset/211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
CINE = "OpenDataset/Training/Labeled/A00A9P/A00A9P_sa.nii.gz"
GT = "OpenDataset/Training/Labeled/A00A9P/A00A9P_sa_gt.nii.gz"
ROW = ",1,0,2,50,"


def second_row(old, new):
    def change(path):
        row = next(line for line in path.read_text().splitlines() if "A00A9P" in line)
        path.write_text(path.read_text() + row.replace(old, new) + "\n")

    return change


MNMS = {
    "CSV gone": (on(CSV, Path.unlink), Gone("no CSV file with the columns 'External code', ED and ES")),
    "CSV empty": (on(CSV, keep(0)), Listing("no CSV file with")),
    "a login page for the CSV": (on(CSV, holding(PAGE)), Listing("no CSV file with")),
    "semicolons": (on(CSV, lambda p: p.write_text(p.read_text().replace(",", ";"))), Listing("no CSV")),
    "no column ED": (on(CSV, text(",ED,", ",E,")), Listing("no CSV file with")),
    "a row cut": (on(CSV, lambda p: p.write_bytes(p.read_bytes()[:-8])), Listing("ends before the last")),
    "two of it": (on(CSV, copied("copy.csv")), "2 CSV files"),
    "a patient not listed": (on(CSV, text("A00A9P", "A00X9P")), Listing("no row for A00A9P (1 such scans)")),
    "an open quotation mark": (on(CSV, text("NOR", '"NOR')), Listing("no row for A00B9P")),
    "a field without end": (on(CSV, text("NOR", "N" * 200_000)), Listing("not a CSV file (field larger")),
    "a frame below 0": (on(CSV, text(ROW, ",1,-1,2,50,")), Listing("A00A9P: column ED must hold a")),
    "half a frame": (on(CSV, text(ROW, ",1,0.5,2,50,")), Listing("got '0.5'")),
    "a frame that is NaN": (on(CSV, text(ROW, ",1,nan,2,50,")), Listing("got 'nan'")),
    "two rows that differ": (on(CSV, second_row(ROW, ",1,1,3,50,")), Listing("two rows for A00A9P")),
    "a frame beyond the cine": (on(CSV, text(ROW, ",1,0,9,50,")), [found("shape", CINE, "frame 9 of 4"),
                                found("shape", GT, "frame 9 of 4")]),
    "frames counted from 1": (on(CSV, text(ROW, ",1,1,3,50,")), [found("empty_label", GT)] * 2),
    "one frame for both": (on(CSV, text(ROW, ",1,2,2,50,")), [found("duplicate", CINE, "A00A9P_ed")]),
    "no frames": (on(CSV, text(ROW, ",1,,,50,")), [found("extra", CINE), found("extra", GT)]),
    "one frame alone": (on(CINE, voxels(lambda a: a[..., 0])), [found("shape", CINE, "frame 2 of 1")]),
    "masks of two frames": (on(GT, voxels(lambda a: a[..., :2])), [found("shape", GT, "frame 2 of 2")]),
    "masks gone": (on(GT, Path.unlink), [found("missing", GT)] * 2),
    "masks empty": (on(GT, voxels(np.zeros_like)), [found("empty_label", GT)] * 2),
    "value 4": (on(GT, values(lambda a: np.where(a == 3, 4, a))), [found("label_value", GT, "values 4")] * 2),
    "NaN in one frame": (on(CINE, voxels(lambda a: np.where(np.arange(4) == 2, NAN, a), "f4")),
                         [found("nonfinite", CINE)]),
    "NaN in a frame that nobody reads": (on(CINE,
                                            voxels(lambda a: np.where(np.arange(4) == 1, NAN, a), "f4")), []),
    "Windows": (on(CSV, lambda p: p.write_bytes(b"\xef\xbb\xbf" + p.read_bytes().replace(b"\n", b"\r\n"))),
                []),
    "a comma in quotation marks": (on(CSV, text("NOR", '"NOR, or not"')), []),
    "two equal rows": (on(CSV, second_row("", "")), []),
    "a patient that is not here": (on(CSV, add(b"7,ZZZ9Z9,V,A,1,0,2,50,NOR\n")), []),
}  # fmt: skip

# --- images alone, four-dimensional images -------------------------------------------------------

RIBS = "Part2/RibFrac301-image.nii.gz"
RIBFRAC = {
    "cut": (on(RIBS, half), [found("truncated", RIBS, "the data end before")]),
    "in two folders": (on(RIBS, copied("../more/RibFrac301-image.nii.gz")), "is the same scan; keep one"),
    "under another number": (on(RIBS, copied("RibFrac302-image.nii.gz")),
                             [found("duplicate", "Part2/RibFrac302-image.nii.gz", "RibFrac301")]),
    "label cut": (on("Part2/RibFrac301-label.nii.gz", half), []),
    "list damaged": (on("ribfrac-val-info.csv", holding(PAGE)), []),
}  # fmt: skip

LUNG = "volume-covid19-A-0002.nii.gz"
COVID19_CT = {
    "three digits": (on(LUNG, renamed("volume-covid19-A-002.nii.gz")),
                     [found("extra", "volume-covid19-A-002.nii.gz")]),
    "a day that is the same scan": (on(LUNG, copied("volume-covid19-A-0002_day003.nii.gz")),
                                    [found("duplicate", "volume-covid19-A-0002_day003.nii.gz", "0002")]),
    "NaN": (on(LUNG, put(NAN, "f4")), [found("nonfinite", LUNG, "1 voxels")]),
}  # fmt: skip

CT, LESION = (f"COVID-19-20_v2/Train/volume-covid19-A-0167_{kind}.nii.gz" for kind in ("ct", "seg"))
COVID_19_20 = {
    "mask gone": (on(LESION, Path.unlink), [found("missing", LESION)]),
    "value 2": (on(LESION, put(2)), [found("label_value", LESION, "values 2 are not declared (0, 1)")]),
    "mask in another folder": (on(LESION, moved(f"../Validation/{Path(LESION).name}")), []),
}  # fmt: skip

FOUR, MASK4 = "imagesTr/BRATS_003.nii.gz", "labelsTr/BRATS_003.nii.gz"
MSD01 = {
    "three channels": (on(FOUR, voxels(lambda a: a[..., :3])), [found("shape", FOUR, "3 channels")]),
    "one channel": (on(FOUR, voxels(lambda a: a[..., 0])), [found("shape", FOUR, "1 channels")]),
    "channels first": (on(FOUR, voxels(lambda a: np.moveaxis(a, -1, 0))),
                       [found("shape", FOUR, "31 channels"),
                       found("shape", MASK4, "the shape of its image")]),
    "mask of four": (on(MASK4, voxels(lambda a: np.stack([a] * 4, -1))), [found("shape", MASK4, "has 4")]),
    "NaN in one channel": (on(FOUR, put(NAN, "f4")), [found("nonfinite", FOUR, "1 voxels")]),
    "channels on the fifth axis": (on(FOUR, voxels(lambda a: a[..., None, :])), []),
}  # fmt: skip

GROUPS = {
    "btcv": BTCV, "kits19": KITS19, "lits": LITS, "brats18": BRATS18, "brats21": BRATS21, "mmwhs": MMWHS,
    "acdc": ACDC, "mnms": MNMS, "ribfrac": RIBFRAC,
    "covid19_ct": COVID19_CT, "covid_19_20": COVID_19_20, "msd01_brain_tumour": MSD01,
}  # fmt: skip
DAMAGES = {f"{name}: {id}": (name, *row) for name, rows in GROUPS.items() for id, row in rows.items()}


@pytest.mark.parametrize(("name", "change", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_nothing_else_is(trees, tmp_path, name, change, expected, capsys):
    root = trees.copy(name, tmp_path)
    change(root)
    damage.check(capsys, root, expected)


def test_one_damage_each_in_three_cases_is_three_findings(trees, tmp_path, capsys):
    root = trees.copy("brats18", tmp_path)
    first = f"{HGG}/Brats18_CBICA_AAA_1/Brats18_CBICA_AAA_1_flair.nii.gz"
    last = "MICCAI_BraTS_2018_Data_Training/LGG/Brats18_TCIA10_103_1/Brats18_TCIA10_103_1_seg.nii.gz"
    both(on(first, keep(60)), on(T1CE, Path.unlink), on(last, put(3)))(root)
    expected = [found("truncated", first), found("missing", T1CE), found("label_value", last)]
    damage.check(capsys, root, expected)


def test_every_plain_nifti_is_closed_again(trees, tmp_path, capsys):
    """A folder of a thousand open files is where a check would end."""
    root = trees.copy("lits", tmp_path)
    on(VOLUME, half)(root)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        damage.told(capsys, root)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert nibabel.load(root / SEG).shape


def test_a_damaged_list_hides_no_damaged_file(trees, tmp_path, capsys):
    """Without its table a file is judged by itself; one patient's list is no other's."""
    root = trees.copy("mnms", tmp_path)
    both(on(CSV, holding(PAGE)), on(CINE, keep(-200)))(root)
    damage.check(capsys, root, [("unreadable", CSV, "no CSV file with"), ("truncated", CINE, "the data end")])
    root = trees.copy("acdc", tmp_path)
    mask = "database/training/patient021/patient021_frame01_gt.nii.gz"
    both(on(INFO, keep(0)), on(mask, voxels(np.zeros_like)))(root)
    damage.check(capsys, root, [("unreadable", INFO, "is needed"), ("empty_label", mask, "")])
