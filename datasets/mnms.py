"""M&Ms: short-axis cine MR of the heart from six centres and four vendors, MICCAI 2020 challenge."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from bench.data.layout_names import by_name, expected
from bench.dataset import Case, Dataset, ListingError, Recipe, natural
from bench.errors import BenchError
from bench.source import Source
from bench.volumes.files import within

NAME = re.compile(r"(?P<case>[A-Za-z0-9]{6})_(?P<kind>sa|sa_gt)")
CODE = "External code"
PHASES = ("ED", "ES")
PARTS = {"unlabeled": "unlabelled", "validation": "validation", "testing": "testing"}
TABLE = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
VOXEL = (1.5625, 1.5625, 10.0)  # mm, as for ACDC: HSSL reads both as one kind
MOST = 300


class MnMs(Dataset):
    """345 open patients, two cases each: one 4-D file (x, y, z, time), annotated in two frames.

    The CSV says which frames are end-diastole (ED) and end-systole (ES), counted from 0. The
    labels' order differs from that of ACDC: the ventricles are exchanged.
    """

    version = 2  # slices of the recipe hssl are 192 x 192
    source = Source(
        "Campello et al. 2021, Multi-Centre, Multi-Vendor and Multi-Disease Cardiac Segmentation: "
        "The M&Ms Challenge, IEEE TMI 40(12):3543-3554",
        "https://www.ub.edu/mnms/",
    )
    title = "M&Ms cardiac cine MR"
    licence = "download form; research only"
    published = (640, 50)  # 345 patients, two frames each
    modality = "MR"
    phantoms = 24  # two a patient
    channels = ("cine",)
    labels = {1: "left ventricle", 2: "myocardium", 3: "right ventricle"}
    recipes = {
        # ours: a common voxel of these scans (1.0-1.6 mm by 5-10 mm), per-volume z-score
        "default": Recipe(spacing=VOXEL, scale="zscore"),
        # HSSL, section 3: slices of 192 x 192, the rest is not stated: resizing and percentiles are assumed
        "hssl": Recipe(resize=(192, 192, 0), scale="percentile"),
        "percentile": Recipe(spacing=VOXEL, scale="percentile"),
        "coarse": Recipe(spacing=(3.0, 3.0, 10.0), scale="zscore"),  # ours: a pilot on a CPU
    }
    # masks without a labelled voxel
    unread = ("Unlabeled/*/*_sa_gt.nii*", "Unlabeled/*_sa_gt.nii*")
    unpack = (
        "get the data set by the form at www.ub.edu/mnms and unpack it so that mnms/ holds "
        "OpenDataset/Training/Labeled/<code>/<code>_sa.nii.gz, <code>_sa_gt.nii.gz ... and the CSV "
        f"{TABLE}"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return the two frames of each file that the CSV names; it may list more than is there."""
        found = by_name(root, NAME, depth=5)
        if not found:
            raise BenchError(f"{root}: no files <6-character code>_sa.nii.gz; {self.unpack}")
        path, rows = _table(root, self.unpack)
        strange = sorted(set(found) - set(rows), key=natural)
        if strange:
            raise ListingError(
                path, f"no row for {strange[0]} ({len(strange)} such scans); take the full CSV"
            )
        cases = []
        for code, files in found.items():
            part = _part(next(iter(files.values())).parent.relative_to(root).parts)
            cases += _frames(code, files, rows[code], part, path)
        return cases

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 300 annotated frames of 150 patients in cines of four frames.

        An odd number leaves the last patient without end-systole.
        """
        from bench.phantoms.order import first

        home, rows = root / "OpenDataset", [f",{CODE},VendorName,Vendor,Centre,ED,ES,Age,Pathology"]
        for i in range((len(first(cls, range(MOST), cases)) + 1) // 2):
            code = f"A{i // 26:02d}{chr(ord('A') + i % 26)}9P"
            _write(home / "Training" / "Labeled" / code, seed, i)
            last = 2 if cases - 2 * i > 1 else ""
            rows.append(
                f"{i},{code},Vendor {'AB'[i % 2]},{'AB'[i % 2]},{1 + i % 3},0,{last},50,NOR"
            )
        (home / TABLE).write_text("\n".join(rows) + "\n")


def _table(root: Path, unpack: str) -> tuple[Path, dict[str, dict[str, str]]]:
    """Return the CSV and its rows by code."""
    tables, others = {}, []
    for path in within(root, 3):
        if path.suffix.lower() != ".csv" or not path.is_file():
            continue
        rows = _rows(path)
        if rows and {CODE, *PHASES} <= set(rows[0]):
            tables[path] = _by_code(path, rows)
        else:
            others.append(path)
    if not tables:
        detail = f"no CSV file with the columns {CODE!r}, ED and ES; {unpack}"
        raise (
            ListingError(others[0], detail)
            if others
            else ListingError(root / TABLE, detail, "missing")
        )
    if len(tables) != 1:
        listed = f" ({', '.join(str(p) for p in tables)})"
        raise BenchError(
            f"{root}: {len(tables)} CSV files with the columns {CODE!r}, ED and ES{listed}, one is "
            f"needed; {unpack}"
        )
    return next(iter(tables.items()))


def _by_code(path: Path, rows: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    rows_of: dict[str, dict[str, str]] = {}
    for row in rows:
        twin = rows_of.setdefault(row[CODE], row)
        if [twin[phase] for phase in PHASES] != [row[phase] for phase in PHASES]:
            raise ListingError(path, f"two rows for {row[CODE][:40]} with other frames; keep one")
    return rows_of


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            read = list(csv.DictReader(file))
    except csv.Error as error:
        raise ListingError(path, f"not a CSV file ({error}); mend or remove it") from None
    ours = bool(read) and {CODE, *PHASES} <= {str(key).strip() for key in read[0]}
    if ours and (short := next((n for n, row in enumerate(read, 2) if None in row.values()), None)):
        raise ListingError(
            path, f"row {short} ends before the last column; is the file cut? get it again"
        )
    return [{str(k).strip(): str(v or "").strip() for k, v in row.items()} for row in read]


def _frames(
    code: str, files: dict[str, Path], row: dict[str, str], part: str, table: Path
) -> list[Case]:
    image, label = expected(files, {"sa": f"{code}_sa", "sa_gt": f"{code}_sa_gt"})
    annotation = None if part == "unlabelled" else label
    meta = {"part": part, "vendor": row.get("Vendor", ""), "centre": row.get("Centre", "")}
    cases = []
    for phase in PHASES:
        if not re.fullmatch(r"([0-9]{1,4}(\.0)?)?", row[phase]):
            got = row[phase][:40]
            raise ListingError(
                table, f"{code}: column {phase} must hold a frame number, got {got!r}"
            )
        if row[phase]:
            id, frame = f"{code}_{phase.lower()}", int(float(row[phase]))
            cases.append(Case(id, code, (image,), annotation, {**meta, "phase": phase}, frame))
    if not cases and annotation is None:  # without annotation any frame is as good as another
        cases = [Case(f"{code}_first", code, (image,), None, {**meta, "phase": "unknown"}, 0)]
    return cases


def _part(folders: tuple[str, ...]) -> str:
    """Return what the folders between the data set's and a file say of it."""
    above = [folder.lower() for folder in folders]
    return next((name for folder, name in PARTS.items() if folder in above), "training")


def _write(folder: Path, seed: int, index: int) -> None:
    """Write one phantom patient: a cine of four frames, end-systole in the third."""
    import numpy as np

    from bench.phantoms.heart import GROUPS, cine
    from bench.phantoms.organs import write_nifti

    shape, spacing = (64 + 4 * (index % 3), 64, 7 + index % 2), (3.5, 3.5, 10.0)
    group = sorted(GROUPS)[index % len(GROUPS)]
    images, labels = cine(shape, spacing, seed, index, systole=(0.0, 0.5, 1.0, 0.5), group=group)
    labels[..., np.array([1, 3])] = 0  # only two frames are annotated
    write_nifti(folder / f"{folder.name}_sa.nii.gz", images, spacing, "int16")
    write_nifti(folder / f"{folder.name}_sa_gt.nii.gz", labels, spacing, "uint8")
