"""ACDC: short-axis cine MR of the heart at end-diastole and end-systole, MICCAI 2017 challenge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.dataset import Case, Dataset, ListingError, Recipe
from bench.errors import BenchError
from bench.source import Source
from bench.volumes.files import is_volume, stem, within

PATIENT = re.compile(r"patient\d{3}")
INFO = "Info.cfg"
PHASES = ("ED", "ES")
GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")  # 20 consecutive training patients each
# 001, 021, 041, ..., then 002, 022, ...: any five patients have the five groups.
TRAINING = [20 * group + k for k in range(1, 21) for group in range(5)]
TESTING = [*range(101, 151)]
VOXEL = (1.5625, 1.5625, 10.0)  # mm


class ACDC(Dataset):
    """100 training and 50 test patients of five groups, two cases each: both phases of the heart.

    ``Info.cfg`` says which frame is end-diastole (ED) and which end-systole (ES); either may be
    the earlier one. The labels' order differs from that of M&Ms.
    """

    version = 2  # slices of the recipe hssl are 192 x 192
    source = Source(
        "Bernard et al. 2018, Deep learning techniques for automatic MRI cardiac multi-structures "
        "segmentation and diagnosis, IEEE TMI 37(11):2514-2525",
        "https://humanheart-project.creatis.insa-lyon.fr/database/#collection/637218c173e9f0047faa00fb",
    )
    title = "ACDC cardiac cine MR"
    licence = "CC BY-NC-SA 4.0, research only"
    published = (300, 0)  # 150 patients at both phases
    modality = "MR"
    phantoms = 24  # two a patient
    channels = ("cine",)
    labels = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
    recipes = {
        # ours: a common voxel of these scans (0.7-1.95 mm by 5-10 mm), per-volume z-score
        "default": Recipe(spacing=VOXEL, scale="zscore"),
        # HSSL, section 3: slices of 192 x 192, the rest is not stated: resizing and percentiles are assumed
        "hssl": Recipe(resize=(192, 192, 0), scale="percentile"),
        "percentile": Recipe(spacing=VOXEL, scale="percentile"),
        "coarse": Recipe(spacing=(3.0, 3.0, 10.0), scale="zscore"),  # ours: a pilot on a CPU
    }
    # The list of VoCo's follow-up (160 and 40 frames) is not here: 30 of its 35 validation patients
    # also train, by their other frame.
    splits = {"ssl4mis_70_10_20": "acdc.ssl4mis_70_10_20.json"}
    unread = ("patient*_4d.nii*",)  # the whole cine, of which the two frames are copies
    unpack = (
        "get ACDC.zip from humanheart-project.creatis.insa-lyon.fr and unpack it so that acdc/ holds "
        "database/training (or training, or its patient folders) with patient001/Info.cfg"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return the frames that each patient's ``Info.cfg`` names, ED and ES of one together.

        Without an ``Info.cfg`` the annotated frames on disk are the cases, their phase unknown.
        """
        folders = self._folders(Path(root))
        return [case for name in sorted(folders) for case in _frames(folders[name])]

    def readable(self, root: Path) -> tuple[list[Case], list[ListingError]]:
        """Return the cases; of a patient whose ``Info.cfg`` is damaged, the annotated frames on disk."""
        folders, cases, faults = self._folders(Path(root)), list[Case](), list[ListingError]()
        for name in sorted(folders):
            try:
                cases += _frames(folders[name])
            except ListingError as error:
                faults.append(error)
                cases += _frames(folders[name], {})
        return cases, faults

    def missing(self, root: Path, cases: Sequence[Case] | None = None) -> list[tuple[str, str]]:
        """Return absent frames, and the ``Info.cfg`` of patients that have none."""
        infos = [
            (name, folder / INFO) for name, folder in sorted(self._folders(Path(root)).items())
        ]
        absent = [(name, str(path)) for name, path in infos if not path.is_file()]
        return super().missing(root, cases) + absent

    def _folders(self, root: Path) -> dict[str, Path]:
        folders: dict[str, Path] = {}
        for folder in within(root, 4):
            if not (PATIENT.fullmatch(folder.name) and folder.is_dir()):
                continue
            twin = folders.setdefault(folder.name, folder)
            if twin != folder:
                raise BenchError(f"{folder}: {twin} is the same patient; keep one")
        if not folders:
            raise BenchError(f"{root}: no patient folders patient001 ...; {self.unpack}")
        return folders

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 200 training and 100 test scans, two per patient, of all five groups.

        An odd number leaves the last patient without end-systole. No case consists of the whole
        cine (``patient001_4d.nii.gz``), so it is left out.
        """
        from bench.phantoms.order import first

        frames = first(cls, [number for number in TRAINING + TESTING for _ in PHASES], cases)
        for i, number in enumerate(frames[::2]):
            part = "training" if number in TRAINING else "testing"
            _write(
                root / "database" / part / f"patient{number:03d}", PHASES[: cases - 2 * i], seed, i
            )


def _frames(folder: Path, info: dict[str, str] | None = None) -> list[Case]:
    """Return a patient's cases in the order of their frames; ``info`` stands in for the ``Info.cfg``."""
    testing = int(folder.name.removeprefix("patient")) in TESTING  # wherever its folder lies
    meta = {"part": "testing" if testing else "training"}
    info = _read_info(folder / INFO) if info is None else info
    frames = {number: phase for phase in PHASES if (number := info.get(phase)) is not None}
    if not info:
        frames = dict.fromkeys(_on_disk(folder), "unknown")
    if "Group" in info:
        meta["group"] = info["Group"]
    cases = []
    for number in sorted(frames, key=int):
        id = f"{folder.name}_frame{int(number):02d}"
        image, label = _file(folder, id), _file(folder, f"{id}_gt")
        # The first release of the test set held no masks.
        annotation = label if label.exists() or not testing else None
        cases.append(Case(id, folder.name, (image,), annotation, {**meta, "phase": frames[number]}))
    return cases


def _read_info(path: Path) -> dict[str, str]:
    """Return the entries ``key: value`` of an ``Info.cfg``; nothing where there is none."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    info = {
        key.strip(): value.strip()
        for key, colon, value in (s.partition(":") for s in lines)
        if colon
    }
    for phase in PHASES:
        given = info.get(phase, "1" if phase == "ES" else "")
        if not re.fullmatch(r"[0-9]{1,4}", given):
            raise ListingError(path, f"'{phase}: <frame number>' is needed, got {given[:40]!r}")
    return info


def _on_disk(folder: Path) -> list[str]:
    name = re.compile(re.escape(folder.name) + r"_frame(\d{2,4})")
    stems = [stem(path) for path in within(folder, 1) if is_volume(path)]
    return [match[1] for text in stems if (match := name.fullmatch(text))]


def _file(folder: Path, name: str) -> Path:
    """Return the frame's file, compressed unless only the other is there."""
    plain = folder / f"{name}.nii"
    return plain if plain.exists() else folder / f"{name}.nii.gz"


def _write(folder: Path, phases: tuple[str, ...], seed: int, index: int) -> None:
    """Write one phantom patient's frames and ``Info.cfg``."""
    from bench.phantoms.heart import CAVITY, MYOCARDIUM, RIGHT, cine
    from bench.phantoms.organs import write_nifti

    number = int(folder.name[-3:])
    group = GROUPS[(number - 1) // 20] if number <= 100 else GROUPS[number % 5]
    frames = dict(zip(phases, (1, 8 + index % 7), strict=False))
    shape, spacing = (76 + 4 * (index % 3), 72, 8 + index % 3), (3.0, 3.0, 10.0)
    images, labels = cine(shape, spacing, seed, index, systole=(0, 1), group=group)
    values = (labels == RIGHT) + 2 * (labels == MYOCARDIUM) + 3 * (labels == CAVITY)
    for i, frame in enumerate(frames.values()):
        name = f"{folder.name}_frame{frame:02d}"
        write_nifti(folder / f"{name}.nii.gz", images[..., i], spacing, "int16")
        write_nifti(folder / f"{name}_gt.nii.gz", values[..., i], spacing, "uint8")
    lines = [f"{phase}: {frame}" for phase, frame in frames.items()]
    about = [f"Group: {group}", "Height: 170.0", "NbFrame: 30", "Weight: 70.0"]
    (folder / INFO).write_text("\n".join([*lines, *about]) + "\n")
