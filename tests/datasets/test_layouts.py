"""Layouts as people really have them are read as their cases, or refused in one line.

A row of ``READ`` is: what it is, its files (names of empty ones, or texts by name), what its cases tell,
and (case, file) of what should be there and is not. A row of ``REFUSED``: what, files, words. Around every
row lies litter, and the folders above it are named after parts of data sets, which says nothing.
"""

from pathlib import Path, PurePosixPath

import pytest
from folders import case_facts, laid, load

from bench import registry
from bench.errors import BenchError


def pairs(id, *layouts, **facts):
    """Rows of an image and its mask in each layout: both are read, and either is missed."""
    for image, label in layouts:
        scan = dict(id=id, images=[image], label=label, **facts)
        yield f"pair {image}", (image, label), [scan]
        yield f"no mask of {image}", (image,), [scan], (id, label)
        yield f"no image of {label}", (label,), [scan], (id, image)


# --- abdomens --------------------------------------------------------------------------------

RAW = "RawData/Training/img/img0001.nii.gz", "RawData/Training/label/label0001.nii.gz"
NNUNET = "imagesTr/img0001.nii.gz", "labelsTr/label0001.nii.gz"
PLAIN = "Training/img/img0001.nii"

CASE = "data/case_00007/imaging.nii.gz", "data/case_00007/segmentation.nii.gz"
COPY = "imagesTr/case_00007_0000.nii.gz", "labelsTr/case_00007.nii.gz"
FLAT = tuple(name.removeprefix("data/") for name in CASE)

BATCH = "Training Batch 1/volume-3.nii", "Training Batch 1/segmentation-3.nii"
DEEP = tuple(f"media/nas/01_Datasets/CT/LITS/{Path(name).name}.gz" for name in BATCH)
APART = "volume_pt1/volume-3.nii", "segmentations/segmentation-3.nii"

# --- hearts and knees ------------------------------------------------------------------------

A, B, C = ("A" * 20, "B" * 20, "C" * 20)


def cine(folder, info, *frames):
    """Return the files of a patient of ACDC; without an ``Info.cfg`` where nothing stands in it."""
    name = Path(folder).name
    files = {
        f"{folder}/{name}_{f}.nii.gz": "" for f in ("4d", *(f"frame{frame}" for frame in frames))
    }
    return {**files, f"{folder}/Info.cfg": info} if info is not None else files


def beat(folder, frame, **facts):
    """Return what is told of a frame of ACDC that has a mask."""
    name = f"{folder}/{Path(folder).name}_frame{frame}"
    return dict(images=[f"{name}.nii.gz"], label=f"{name}_gt.nii.gz", **facts)


BOTH = ("01", "01_gt", "12", "12_gt")
DCM = dict(patient="patient001", part="training", group="DCM")

CSV = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
HEAD = ",External code,VendorName,Vendor,Centre,ED,ES,Age,Pathology,Sex,Height,Weight"
SA, GT = (f"OpenDataset/Training/Labeled/A0S9V9/A0S9V9_{kind}.nii.gz" for kind in ("sa", "sa_gt"))
PARTS = {"Training/Unlabeled": "unlabelled", "Validation": "validation", "Testing": "testing"}


def listing(*rows):
    return {f"OpenDataset/{CSV}": "\n".join([HEAD, *rows]) + "\n", "notes.csv": "a,b\n1,2\n"}


S9 = "0,A0S9V9,Siemens,A,1,0,9,52,HCM,M,1.8,80"
FRAME = dict(patient="A0S9V9", images=[SA], label=GT, part="training", vendor="A", centre="1")

TRAIN = "ct_train/ct_train_1001_image.nii.gz", "ct_train/ct_train_1001_label.nii.gz"
MR = "mr_train/mr_train_1001_image.nii.gz", "mr_train/mr_train_1001_label.nii.gz"

KNEE = "image-001.mhd", "labels-001.mhd"
CONVERTED = "imagesTr/image-001.nii.gz", "labelsTr/labels-001.nii.gz"
INSIDE = tuple(f"TrainingData/{name}" for name in KNEE)

# --- brains ----------------------------------------------------------------------------------

KINDS = ("flair", "t1", "t1ce", "t2", "seg")
PATIENT, LGG = "Brats18_CBICA_AAB_1", "LGG/Brats18_TCIA13_654_1"
HGG = f"MICCAI_BraTS_2018_Data_Training/HGG/{PATIENT}"
LATER = "BraTS2021_00003"


def contrasts(folder, kinds=KINDS):
    return [f"{folder}/{Path(folder).name}_{kind}.nii.gz" for kind in kinds]


ORDER = ("flair", "t1ce", "t1", "t2")  # Swin-UNETR's, and that of the declared channels

T1, FLAIR = "T1/T1_brain.nii.gz", "T2_FLAIR/T2_FLAIR_brain.nii.gz"
SEG, PVESEG = "T1/T1_fast/T1_brain_seg.nii.gz", "T1/T1_fast/T1_brain_pveseg.nii.gz"
ZIP, OTHER = "1000102_20252_2_0.zip", "1000220_20252_2_0.zip"
TWICE = f"a/{ZIP} holds the same visit; keep either the zip or the unpacked folder"

# --- chests ----------------------------------------------------------------------------------

CT, LESIONS = "volume-covid19-A-0003_ct.nii.gz", "volume-covid19-A-0003_seg.nii.gz"
HOME = f"COVID-19-20_v2/Train/{CT}", f"COVID-19-20_v2/Train/{LESIONS}"
CONVERTED_CT = f"imagesTr/{CT}", f"labelsTr/{LESIONS}"
ANYWHERE = f"a/{CT.removesuffix('.gz')}", f"b/{LESIONS}"
FIRST = dict(id="volume-covid19-A-0003", patient="0003", part="training")

NAMED = ("0318", "0318_1", "0721_day008")  # 39 of the 771 volumes carry a number, 121 a day

RIBS = {
    "Part1/RibFrac1-image.nii.gz": "training",
    "Part2/RibFrac301-image.nii.gz": "training",
    "ribfrac-val-images/RibFrac421-image.nii.gz": "validation",
    "ribfrac-test-images/RibFrac501-image.nii.gz": "testing",
}
PERSONS = [dict(id=f"RibFrac{n}", patient=n, label=None) for n in ("1", "301", "421", "501")]
SCANS = [person | dict(part=part) for person, part in zip(PERSONS, RIBS.values(), strict=True)]

UIDS = [f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{n}" for n in ("10", "9", "979083010707182900")]

# --- pictures --------------------------------------------------------------------------------

SLICES = "206/1557/0000.jpg", "206/1557/0001.png", "206/1560/0000.tif"

PNG = "train_images/0a1.png", "train_images/0a2.png", "test_images/0b1.png"
JPEG = "aptos/resized/0a1.jpg", "aptos/resized/0a2.jpg", "aptos/testing 224/0b1.jpeg"
GRADES = "id_code,diagnosis\n0a1,0\n0a2,4\n"
SUBMITTED = {"sample_submission.csv": "id_code,diagnosis\n0b1,0\n"}  # grades that nobody gave


def graded(text=GRADES, names=PNG, csv="train.csv", **more):
    return {**dict.fromkeys(names, ""), csv: text, **more}


OPTICS = "Bulk/Retinal Optical Coherence Tomography"


def eyes(names=PNG):
    grades = ((0, "training"), (4, "training"), (None, "testing"))
    return [
        dict(id=id, patient=id, label=grade, part=part, images=[name])
        for id, name, (grade, part) in zip(("0a1", "0a2", "0b1"), names, grades, strict=True)
    ]


READ: dict[str, list[tuple]] = {
    "btcv": [
        *pairs("0001", RAW, NNUNET, patient="0001", part="training"),
        ("both layouts", (PLAIN, NNUNET[1]), [dict(id="0001", images=[PLAIN], label=NNUNET[1])]),
        *((f"test scan {test}", (*NNUNET, test), [dict(label=NNUNET[1]), dict(id="0061", label=None)])
         for test in ("RawData/Testing/img/img0061.nii.gz", "imagesTs/img0061.nii.gz")),
    ],
    "kits19": [
        *pairs("case_00007", CASE, FLAT, COPY, patient="case_00007", part="training"),
        ("a clone, with test scans", ("data/kits.json", "starter_code/utils.py", *CASE,
         *(CASE[0].replace("007", n) for n in ("210", "299"))),
         [dict(label=CASE[1]), *(dict(id=f"case_00{n}", label=None, part="testing") for n in (210, 299))]),
        ("doubts", [name.replace("007", n) for name in CASE for n in ("160", "161")],
         [dict(id="case_00160", doubtful="slices of 512 x 796"), dict(id="case_00161", doubtful=None)]),
    ],
    "lits": [
        *pairs("volume-3", BATCH, DEEP, patient="volume-3", part="training", batch="1"),
        ("folders of their own", APART, [dict(id="volume-3", images=[APART[0]], label=APART[1])]),
        ("folders around the files", ("volume-3.nii/volume-3.nii", "segmentation-3.nii/segmentation-3.nii"),
         [dict(images=["volume-3.nii"], label="segmentation-3.nii")]),
        ("test scans", (*BATCH, "test/test-volume-3.nii", "test/test-volume-12.nii"),
         [dict(patient="volume-3"), *(dict(id=f"test-volume-{n}", patient=f"test-volume-{n}", label=None)
         for n in (3, 12))]),
        ("scans without a spacing", [f"a/{kind}-{n}.nii" for n in (27, 28, 47, 48)
         for kind in ("volume", "segmentation")], [dict(batch="1", doubtful=None),
         *[dict(batch="2", doubtful="3D-IRCADb-01 scan: identity affine, spacing 1 mm instead of its own")] * 2,
         dict(batch="2", doubtful=None)]),
    ],
    "lasc": [
        ("with and without the archive's folders", (f"{A}/lgemri.nrrd", f"Training Set/{B}/lgemri.nrrd",
         f"Training Set/{B}/lawall.nrrd", f"x/Testing Set/{C}/lgemri.nrrd", "notes/x.txt"),
         [dict(id=A, part="training"), dict(id=B, part="training"), dict(id=C, part="testing")],
         (A, f"{A}/laendo.nrrd"), (B, f"Training Set/{B}/laendo.nrrd"), (C, f"x/Testing Set/{C}/laendo.nrrd")),
    ],
    "acdc": [
        *((f"in {home}", cine(home, "ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\n", *BOTH),
         [beat(home, "01", id="patient001_frame01", phase="ED", **DCM),
         beat(home, "12", id="patient001_frame12", phase="ES", **DCM)])
         for home in ("ACDC/database/training/patient001", "database/training/patient001", "training/patient001",
         "patient001")),
        ("end-systole before", cine("patient090", "ED:11\r\nES:4\r\n", "04", "04_gt", "11", "11_gt"),
         [dict(id="patient090_frame04", phase="ES"), dict(id="patient090_frame11", phase="ED")]),
        ("a promised frame", cine("training/patient001", "ED: 1\nES: 12\n", *BOTH[:3]),
         [beat("training/patient001", "01"), beat("training/patient001", "12")],
         ("patient001_frame12", "training/patient001/patient001_frame12_gt.nii.gz")),
        ("no Info.cfg", cine("patient001", None, *BOTH),
         [beat("patient001", n, phase="unknown") for n in ("01", "12")], ("patient001", "patient001/Info.cfg")),
        ("masks of a test patient", cine("testing/patient101", "ED: 1\nES: 14\n", "01", "01_gt", "14"),
         [beat("testing/patient101", "01", part="testing"), dict(label=None, part="testing")]),
        ("a test patient among others, a training one below testing",
         cine("patient150", "ED: 1\n", "01") | cine("testing/patient001", "ED: 1\n", "01", "01_gt"),
         [beat("testing/patient001", "01", part="training"), dict(label=None, part="testing")]),
    ],
    "mnms": [
        ("two frames of one file", {SA: "", GT: "", **listing(S9, "1,B0H7V0,GE,C,5,22,8,,,,,")},
         [dict(id=f"A0S9V9_{name.lower()}", phase=name, frame=n, **FRAME) for name, n in (("ED", 0), ("ES", 9))]),
        *((f"part {part}", {name.replace("Training/Labeled", part): "" for name in (SA, GT)} | listing(S9),
         [dict(part=meta, label=None if meta == "unlabelled" else GT.replace("Training/Labeled", part))] * 2) for part,
         meta in PARTS.items()),
        ("no phases", {"Training/Unlabeled/A1A1A1/A1A1A1_sa.nii.gz": "", **listing("0,A1A1A1,Canon,D,6,,,,,,,")},
         [dict(id="A1A1A1_first", label=None, frame=0)]),
    ],
    "mmwhs": [
        *pairs("ct_1001", TRAIN, tuple(f"MM-WHS 2017 Dataset/{n}" for n in TRAIN),
         tuple(n.removeprefix("ct_train/") for n in TRAIN), modality="CT"),
        ("one number in both modalities", (*TRAIN, *MR, "ct_test/ct_test_2001_image.nii.gz"),
         [dict(id="ct_2001", patient="ct_2001", modality="CT", label=None),
         dict(id="ct_1001", patient="ct_1001", modality="CT", label=TRAIN[1]),
         dict(id="mr_1001", patient="mr_1001", modality="MR", label=MR[1])]),
    ],
    "ski10": [
        *pairs("001", KNEE, CONVERTED, INSIDE, patient="001", part="training"),
        ("voxels and regions beside", (*KNEE, "image-001.raw", "roi-001.mhd"), [dict(id="001", label=KNEE[1])]),
        *((f"test scan {test}", (*KNEE, test), [dict(id="001", label=KNEE[1]),
         dict(id=id, patient=id, label=None, part="testing")]) for test,
         id in (("image-101.mhd", "test-101"), ("TestData/image-001.mhd", "test-001"))),
    ],
    "brats18": [
        ("grades", (*contrasts(HGG), *contrasts(LGG), f"{Path(HGG).parents[1]}/survival_data.csv"),
         [dict(id="CBICA_AAB_1", patient="CBICA_AAB_1", images=contrasts(HGG)[:4], label=contrasts(HGG)[4],
         part="training", grade="HGG"), dict(id="TCIA13_654_1", part="training", grade="LGG")]),
        *((f"no masks in {folder}", (*contrasts(f"{folder}/{PATIENT}", KINDS[:4]), *contrasts(LGG)),
         [dict(label=None, part=part), dict(label=contrasts(LGG)[4])]) for part,
         folders in (("validation", ("MICCAI_BraTS_2018_Data_Validation", "validation")),
         ("testing", ("Testing", "test"))) for folder in folders),
        ("test in the middle of a word", contrasts(f"latest/{PATIENT}", KINDS[:4]), [dict(part="training")],
         ("CBICA_AAB_1", f"latest/{PATIENT}/{PATIENT}_seg.nii.gz")),
        *((f"without {gone}", [name for name in contrasts(LGG) if name != gone], [dict(images=contrasts(LGG)[:4])],
         ("TCIA13_654_1", gone)) for gone in contrasts(LGG)),
    ],
    "brats21": [
        *((f"in {home}", contrasts(home), [dict(id="00003", images=contrasts(home, ORDER), label=contrasts(home)[4])])
         for home in (f"RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021/{LATER}", f"TrainingData/{LATER}", LATER)),
        ("folders around the files", [f"{name}/{Path(name).name}" for name in contrasts(LATER)],
         [dict(images=contrasts(LATER, ORDER), label=contrasts(LATER)[4])]),
    ],
    "ukb_brain": [
        ("visits of one person", (f"1000102_20252_3_0.zip/{T1}", f"1000102_20252_2_1.zip/{T1}", f"x/{ZIP}/{T1}",
         f"{OTHER}/{T1}"), [*(dict(id=f"1000102_{visit}", patient="1000102", instance=visit[0], array=visit[2])
         for visit in ("2_0", "2_1", "3_0")), dict(patient="1000220")]),
        ("other fields and names", (f"{ZIP}/{T1}", f"1000220_20253_2_0.zip/{FLAIR}",
         f"1000220_20252_2_0 (1).zip/{T1}"), [dict(id="1000102_2_0", images=[f"{ZIP}/{T1}"])]),
        *((f"label of {masks}", [f"{ZIP}/{name}" for name in (T1, *masks)], [dict(label=label)]) for masks,
         label in (((SEG, PVESEG), f"{ZIP}/{SEG}"), ((PVESEG,), f"{ZIP}/{PVESEG}"), ((), None),
         (("T1/T1_fast/x",), None))),
    ],
    "covid_19_20": [
        *pairs("volume-covid19-A-0003", HOME, CONVERTED_CT, (CT, LESIONS), patient="0003", part="training"),
        ("any folders", (*ANYWHERE, "notes.nii.gz"), [dict(images=[ANYWHERE[0]], label=ANYWHERE[1], **FIRST)]),
        *((f"no masks in {folder}", (*HOME, f"{folder}/{CT.replace('0003', '0009')}"),
         [FIRST, dict(patient="0009", label=None, part=part)]) for folder,
         part in (("COVID-19-20_v2/Validation", "validation"), ("COVID-19-20_TestSet", "testing"),
         ("imagesTs", "testing"))),
        ("a repeat scan", (*HOME, *(name.replace("0003", "0003_day008") for name in HOME)),
         [FIRST, dict(id="volume-covid19-A-0003_day008", patient="0003")]),
    ],
    "covid19_ct": [
        ("both ways of numbering", [f"volume-covid19-A-{name}.nii.gz" for name in NAMED],
         [dict(id=f"volume-covid19-A-{name}", patient=name[:4], label=None) for name in NAMED]),
        ("a folder around the file", ["volume-covid19-A-0318.nii.gz/volume-covid19-A-0318.nii.gz"],
         [dict(id="volume-covid19-A-0318", images=["volume-covid19-A-0318.nii.gz"])]),
    ],
    "ribfrac": [
        ("archives", (*RIBS, "Part1/RibFrac1-label.nii.gz"), SCANS),
        ("one folder", [f"ribfrac-train-images/{Path(name).name}" for name in RIBS], SCANS),
        ("numbers in their order", [f"Part1/RibFrac{n}-image.nii.gz" for n in (10, 2, 1)],
         [dict(patient=n) for n in ("1", "2", "10")]),
    ],
    "luna16": [
        *((form, (*(form.format(n, uid) for n, uid in enumerate(UIDS)), "subset0/notes.mhd",
         f"seg-lungs-LUNA16/{UIDS[0]}.mhd"), [dict(id=UIDS[n], patient=UIDS[n], subset=str(n), label=None)
         for n in (1, 0, 2)]) for form in ("subset{}/{}.mhd", "subset_{}/{}.nii.gz", "SUBSET{}/{}.mha")),
        ("no subsets", [f"images/{UIDS[0]}.mhd"], [dict(id=UIDS[0], meta={})]),
    ],
    "cc_ccii": [
        *((home, (*(f"{home}/{name}" for name in SLICES), f"{home}/notes.txt", "metadata.csv"),
         [dict(id=f"NCP_206_{scan}", patient="NCP_206", label=2, images=[f"{home}/206/{scan}"])
         for scan in (1557, 1560)]) for home in ("NCP", "CC-CCII/NCP", "a/b/NCP", "NCP-6", "NCP-6/NCP", "ncp",
         "NCP-6.zip", "NCP-6.zip/NCP", "down/NCP-6.zip/x/NCP")),
        ("a number is a patient of each class", ("NCP/7/1/0.jpg", "CP/7/1/0.jpg", "Normal/7/1/0.jpg", "NCP/7/2/0.jpg"),
         [dict(id=f"{patient}_{scan}", patient=patient, label=label) for patient, scan,
         label in (("CP_7", 1, 1), ("NCP_7", 1, 2), ("NCP_7", 2, 2), ("Normal_7", 1, 0))]),
        ("classes inside a zip", ("CP-6.zip/NCP/206/1557/0000.jpg", "CP-6.zip/206/1558/0000.jpg"),
         [dict(id="CP_206_1558", label=1), dict(id="NCP_206_1557", label=2)]),
        ("a refused zip", {"NCP-9.zip": "PK but no zip", "CP/7/1/0.jpg": ""},
         [dict(id="CP_7_1", label=1), dict(id="NCP-9.zip", label=None)]),
        ("doubts", ("NCP/868/2395/0.jpg", "NCP/868/2394/0.jpg"),
         [dict(doubtful=None), dict(doubtful="was in COVIDx-CT by accident and is not from its version 2 on")]),
    ],
    "aptos19": [
        *((f"{names[0]} {text[:20]}", graded(text, names, "sub/train.csv") | SUBMITTED, eyes(names))
         for names in (PNG, JPEG, tuple(f"aptos2019/{name}" for name in PNG))
         for text in (GRADES, "\ufeffid_code, diagnosis\r\n0a1, 0\r\n0a2, 4.0\r\n\r\n",
         'diagnosis,id_code,x\n"0",0a1.png,9\n4,0a2.png,\n')),
        *((f"a grade in {name} and a list of pictures", graded(csv=name, **{other: "id_code\n0a1\n"}), eyes())
         for name, other in (("a.csv", "b.csv"), ("b.csv", "a.csv"))),
        ("a picture of the test list", graded() | {"test.csv": "id_code\n0d1\n"},
         [*eyes(), dict(id="0d1", label=None)], ("0d1", "test_images/0d1.png")),
    ],
    "ukb_fundus": [
        *((f"eyes in {left}", (f"{left}1000102_21015_0_0.png", f"{right}1000102_21016_1_0.png", "logo.png",
         "1000102_21011_0_0.fds", "1000102_20252_2_0.zip"),
         [dict(id="1000102_21015_0_0", patient="1000102", label=None, eye="left", instance="0", array="0",
         images=[f"{left}1000102_21015_0_0.png"]), dict(id="1000102_21016_1_0", patient="1000102", label=None,
         eye="right", instance="1", array="0", images=[f"{right}1000102_21016_1_0.png"])]) for left,
         right in (("", ""), ("Fundus (left)/10/", "Fundus (right)/10/"),
         (f"{OPTICS}/Fundus (left)/10/", f"{OPTICS}/Fundus (right)/10/"))),
    ],
}  # fmt: skip

REFUSED: dict[str, list[tuple]] = {
    "kits19": [("both layouts", (*CASE, *COPY), "keep one layout")],
    "acdc": [
        *((f"info {info[:20]}", cine("patient001", f"{info}\n", "01", "01_gt"), "Info.cfg: 'E", "frame number")
         for info in ("", "ES: 12", "ED: one", "ED: 1\nES: -4", "ED: 1\nES: " + "9" * 5000)),
    ],
    "ski10": [("two formats", (*KNEE, CONVERTED[0]), "keep one")],
    "brats21": [
        ("a later year", ["BraTS-GLI-00003-000/BraTS-GLI-00003-000-t1n.nii.gz"], "no files BraTS2021_"),
    ],
    "ukb_brain": [("two zips", (f"a/{ZIP}/{T1}", f"b/{ZIP}/{T1}"), TWICE, f"b/{ZIP}: ")],
    "ukb_brain_flair": [
        ("the partner of another visit", (f"{ZIP}/{T1}", f"1000102_20253_3_0.zip/{FLAIR}"),
         "no complete visit among 1, first 1000102_2_0: no field 20253; get"),
    ],
    "covid_19_20": [("in two places", (*HOME, CONVERTED_CT[0]), "keep one")],
    "ribfrac": [("in two places", (*RIBS, "copy/RibFrac301-image.nii.gz"), "of case 301; keep one")],
    "luna16": [("two formats", (f"subset0/{UIDS[0]}.mhd", f"subset_0/{UIDS[0]}.nii.gz"), "keep one")],
    "cc_ccii": [("beside its zip", ("NCP/206/1557/0000.jpg", "NCP-6.zip/NCP/206/1557/0000.jpg"), "keep one")],
}  # fmt: skip

scan, mask = "imagesTr/HF-NI-04.nii.gz", "labelsTr/HF-NI-04.nii.gz"
READ["own_sunnybrook"] = [
    (
        "a group in each name",
        [scan, mask],
        [dict(id="HF-NI-04", meta={"part": "training", "group": "HF-NI"})],
    )
]

# --- the Decathlon ---------------------------------------------------------------------------

TASKS = {  # folder of the archive, how its cases are named
    "msd01_brain_tumour": ("Task01_BrainTumour", "BRATS_001"),
    "msd02_heart": ("Task02_Heart", "la_003"),
    "msd03_liver": ("Task03_Liver", "liver_0"),
    "msd04_hippocampus": ("Task04_Hippocampus", "hippocampus_001"),
    "msd05_prostate": ("Task05_Prostate", "prostate_00"),
    "msd06_lung": ("Task06_Lung", "lung_001"),
    "msd07_pancreas": ("Task07_Pancreas", "pancreas_001"),
    "msd08_hepatic_vessel": ("Task08_HepaticVessel", "hepaticvessel_001"),
    "msd09_spleen": ("Task09_Spleen", "spleen_2"),
    "msd10_colon": ("Task10_Colon", "colon_001"),
}
OF_NONE = "imagesTr/strange_001.nii.gz"
for task, (archive, stem) in TASKS.items():
    mask, scan = f"labelsTr/{stem}.nii.gz", f"imagesTr/{stem}.nii.gz"
    split_up = [f"imagesTr/{stem}_{c:04d}.nii.gz" for c in range(len(load(task).channels))]
    in_archive = f"{archive}/{scan}", f"{archive}/{mask}"
    nnunet = (*split_up, mask), [dict(id=stem, images=split_up, label=mask)]
    READ[task] = [
        *list(pairs(stem, in_archive, patient=stem, part="training"))[:2],
        ("nnU-Net's file per channel", *nnunet),
    ]
    strange = f"{OF_NONE}: cases of", archive, "another task's folder"
    REFUSED[task] = [("another task", [OF_NONE], *strange)]
del REFUSED["msd04_hippocampus"]  # takes cases of any name
SHUFFLED = [f"{part}Tr/spleen_{n}.nii.gz" for part in ("images", "labels") for n in (10, 2)]
READ["msd09_spleen"] += [
    ("numbers in their order", SHUFFLED, [dict(id="spleen_2"), dict(id="spleen_10")])
]
REFUSED["msd09_spleen"] += [
    ("two archives", [f"{home}/{scan}" for home in "ab"], "no folder imagesTr")
]


def each(table):
    rows = [
        pytest.param(name, *row[1:3], row[3:], id=f"{name}: {row[0]}")
        for name, about in table.items()
        for row in about
    ]
    return pytest.mark.parametrize(("name", "files", "expected", "more"), rows)


def litter(files):
    """Return the names of litter that an archive's maker leaves beside each file."""
    paths = map(PurePosixPath, files)
    return [name for p in paths for name in (str(p.with_name(f"._{p.name}")), f"__MACOSX/{p}")]


@each(READ)
def test_a_layout_is_read_as_its_cases_and_tells_what_is_missing(
    name, files, expected, more, tmp_path
):
    root = laid(tmp_path / "testing" / "Validation" / name, files)
    laid(root, [*litter(files), ".DS_Store"])
    facts = [case_facts(case, root) for case in load(name).cases(root)]
    asserted = zip(facts, expected, strict=True)
    assert [{key: case.get(key) for key in row} for case, row in asserted] == expected
    assert load(name).missing(root) == [(id, str(root / file)) for id, file in more]


@each(REFUSED)
def test_an_ambiguous_or_strange_layout_is_refused_in_one_line(
    name, files, expected, more, tmp_path
):
    with pytest.raises(BenchError) as caught:
        load(name).cases(laid(tmp_path, files))
    message = str(caught.value)
    assert all(words in message for words in (str(tmp_path), expected, *more)), message
    assert "\n" not in message and len(message) < 700 + 3 * len(str(tmp_path))


def test_every_layout_has_rows():
    assert {*registry.names("dataset")} - {*READ} == {"tone_phantoms", "ukb_brain_flair"}
