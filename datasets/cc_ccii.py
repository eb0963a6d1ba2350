"""CC-CCII: chest CT as pictures of slices, with COVID-19, with other pneumonia, and without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import ClassVar

from bench.data import split
from bench.dataset import LITTER, Case, Dataset, Recipe, natural
from bench.errors import BenchError
from bench.source import Source
from bench.volumes import zipped
from bench.volumes.files import is_picture, within

CLASSES = {"Normal": 0, "CP": 1, "NCP": 2}  # VoCo, Finetune/CC-CCII/csv
HOME = re.compile(r"(Normal|CP|NCP)(-[0-9]+)?(\.zip)?", re.IGNORECASE)  # NCP, NCP-6, NCP-6.zip
# of a zip's file: patient, scan, slice
SCAN = re.compile(r"(?:.*/)?([0-9]{1,9})/([0-9]{1,9})/[^/]+")
PICTURE = (0.0, 255.0)  # a file's grey values; HU are lost
KINDS = {"Normal": "none", "CP": "consolidation", "NCP": "ground glass"}  # of the phantoms
FORMATS = (("jpg",), ("png",), ("jpg", "tif"))  # of a phantom's slices, in turn
PATIENTS = 13000  # number of the first phantom: no other data set shows the same bodies


class CCCCII(Dataset):
    """4178 scans of 2742 patients in VoCo's lists, one class per scan, 8-bit slices without HU.

    Neither spacing, nor direction, nor the end at which a scan begins is known; the slices keep the
    order of their numbers. A number may stand for two patients of different classes, so a patient
    is class and number. The zips may stay packed.
    """

    source = Source(
        "Zhang et al. 2020, Clinically applicable AI system for accurate diagnosis, quantitative "
        "measurements, and prognosis of COVID-19 pneumonia using computed tomography, Cell "
        "181(6):1423-1433",
        "http://ncov-ai.big.ac.cn/download",
    )
    title = "CC-CCII chest CT classification"
    licence = "free for research with the citation"
    published = (4178, 0)
    modality = "CT"
    channels = ("CT",)
    task = "classification"
    labels = {0: "normal", 1: "common pneumonia", 2: "novel coronavirus pneumonia"}
    recipes = {
        # ours: what a network of 32-fold downsampling takes on one small GPU
        "default": Recipe(smooth=True, resize=(128, 128, 32), window=PICTURE),
        # Luffy03/VoCo Finetune/CC-CCII divides by 255, crops 384 of 512 pixels and resizes them to
        # 256. There is no such crop here: the whole slice becomes 256, its pixels 4/3 as wide. The
        # depth of its .npy files is set by a step that is not published: 32 is assumed.
        "voco": Recipe(smooth=True, resize=(256, 256, 32), window=PICTURE),
        "coarse": Recipe(
            smooth=True, resize=(64, 64, 32), window=PICTURE
        ),  # ours: a pilot on a CPU
    }
    splits = {"voco_3fold": "cc_ccii.voco_3fold.json"}
    doubtful: ClassVar[dict[str, str]] = {
        # haydengunraj/COVIDNet-CT, which builds COVIDx-CT; VoCo's lists hold them
        case: "was in COVIDx-CT by accident and is not from its version 2 on"
        for case in (
            "CP_1769_3516",
            "CP_1781_3567",
            "NCP_328_1805",
            "NCP_868_2395",
            "NCP_868_2396",
            "NCP_869_2397",
            "NCP_911_2453",
            "NCP_1058_2635",
        )
    }
    unpack = (
        "get the files NCP-*.zip, CP-*.zip and Normal-*.zip from the data set's page into cc_ccii/; "
        "unpack them to cc_ccii/NCP/<patient>/<scan>/<slice>.jpg ..., or leave them packed"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return every scan, from folders and from zips."""
        cases: dict[str, Case] = {}
        for name, patient, scan, path in _scans(root):
            if not patient:  # a zip that is refused: bench check says why, and goes on
                id = path.parent.name
                cases[id] = Case(id, id, (path,), None, {"class": name})
                continue
            id = f"{name}_{patient}_{scan}"
            if id in cases:
                raise BenchError(f"{path}: {cases[id].images[0]} is the same scan; keep one")
            meta = {
                "class": name,
                **({"doubtful": self.doubtful[id]} if id in self.doubtful else {}),
            }
            cases[id] = Case(id, f"{name}_{patient}", (path,), CLASSES[name], meta)
        if not cases:
            raise BenchError(f"{root}: no slices NCP/<patient>/<scan>/0001.jpg ...; {self.unpack}")
        return [cases[id] for id in sorted(cases, key=natural)]

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write synthetic scans of the lists' own patients, the classes in turn.

        Every seventh is another scan of a patient before it. Formats are mixed as they are in the
        data set: JPEG, PNG, and TIFF in three equal channels.
        """
        from bench.phantoms.order import first
        from bench.phantoms.slices import pneumonia, write_slices

        order = _patients(cls())
        fresh = iter(order)
        patients: list[str] = []
        for i in first(cls, range(len(order) * 7 // 6), cases):
            patients.append(patients[i - 6] if i % 7 == 6 else next(fresh))
            name, number = patients[i].split("_")
            turn = i // 3  # neither depth nor format tells the class
            shape, spacing = (88, 72, 16 + turn % 3), (4.0, 4.4, 18.0)
            slices = pneumonia(shape, spacing, seed, PATIENTS + i, KINDS[name])
            write_slices(root / name / number / str(i + 1), slices, FORMATS[turn % len(FORMATS)])


def _scans(root: Path) -> Iterator[tuple[str, str, str, Path]]:
    """Yield class, patient, scan and the folder of the slices, which may lie in a zip."""
    for home in within(root, 3):  # the slices themselves lie deeper: there are 600 000
        match = HOME.fullmatch(home.name)
        if match is None:
            continue
        if match[3] and home.is_file():
            yield from _packed(home, _named(match[1]))
        for patient in _numbered(home):
            for scan in _numbered(patient):
                yield _named(match[1]), str(int(patient.name)), str(int(scan.name)), scan


def _packed(archive: Path, named: str) -> Iterator[tuple[str, str, str, Path]]:
    """Yield the scans of a zip; a class in the path inside it overrules the zip's name.

    Of a zip that is refused, one scan without a number.
    """
    try:
        names = zipped.names(archive)
    except BenchError:
        yield named, "", "", archive / "slices"
        return
    seen = set()
    for name in names:
        match = SCAN.fullmatch(name) if is_picture(Path(name)) else None
        folder = PurePosixPath(name).parent
        if match is None or folder in seen or any(LITTER.match(part) for part in folder.parts):
            continue
        seen.add(folder)
        inside = [m[1] for part in folder.parts if (m := HOME.fullmatch(part))]
        label = _named(inside[-1]) if inside else named
        yield label, str(int(match[1])), str(int(match[2])), archive / folder


def _named(text: str) -> str:
    return next(name for name in CLASSES if name.lower() == text.lower())


def _numbered(folder: Path) -> list[Path]:
    inside = folder.iterdir() if folder.is_dir() else ()
    return [
        p
        for p in inside
        if p.name.isascii() and p.name.isdecimal() and len(p.name) < 10 and p.is_dir()
    ]


def _patients(dataset: Dataset) -> list[str]:
    """Return the patients of the first fold, the classes in turn and both parts in each."""
    from bench.phantoms.order import interleaved

    fold = split.listed(dataset, "voco_3fold")[0]
    rows = []
    for name in sorted(CLASSES):
        train, test = (
            [p for p in part if p.startswith(f"{name}_")] for part in (fold.train, fold.test)
        )
        rows.append(interleaved(train, test))
    return [p for row in zip_longest(*rows) for p in row if p is not None]
