"""APTOS 2019: photographs of the back of the eye, graded for diabetic retinopathy; Kaggle challenge."""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path
from typing import Literal, NamedTuple

from bench.data.layout_names import Photographs, by_name
from bench.dataset import Case, ListingError, natural
from bench.errors import BenchError
from bench.source import Source
from bench.volumes.files import is_picture, stem, within

ID, GRADE, LIST = "id_code", "diagnosis", "train.csv"
CODE = re.compile(r"[0-9A-Za-z_-]{1,64}")
DRAWN = (0, 2, 4, 1, 3)  # grades of the phantoms, in turn
SIZES = ((128, 96), (112, 112), (120, 90))
TEST = 6  # every sixth phantom has no grade
PATIENTS = 14000  # number of the first phantom: no other data set shows the same eyes


class Listed(NamedTuple):
    """One line of a CSV file."""

    csv: Path
    line: int
    grade: int | None


class APTOS19(Photographs):
    """3662 graded and 1928 ungraded photographs.

    The files tell nothing of persons: every picture counts as one of its own. More than a hundred
    pictures are known to occur twice, some with two grades; ``bench check`` lists them, and
    ``exclude`` leaves them out.
    """

    source = Source(
        "Asia Pacific Tele-Ophthalmology Society 2019, APTOS 2019 Blindness Detection, Kaggle",
        "https://www.kaggle.com/c/aptos2019-blindness-detection",
    )
    title = "APTOS 2019 diabetic retinopathy"
    published = (3662, 1928)
    licence = "Kaggle's competition rules; may not be passed on"
    task = "classification"
    phantoms = 36
    labels = {0: "no retinopathy", 1: "mild", 2: "moderate", 3: "severe", 4: "proliferative"}
    unpack = (
        "get aptos2019-blindness-detection.zip from Kaggle and unpack it so that aptos19/ holds "
        "train.csv, test.csv, train_images/<id_code>.png and test_images/<id_code>.png; copies in "
        "JPEG and in other folders are found by their names"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return the pictures that a CSV file lists, graded or not, and those in a test folder."""
        files = by_name(root, re.compile("(?P<case>.*)"), depth=4, readable=is_picture)
        pictures = {id: path for id, found in files.items() for path in found.values()}
        listed = _listed(root)
        if not any(row.grade is not None for row in listed.values()):
            if not pictures:
                raise BenchError(f"{root}: no pictures {ID}.png; {self.unpack}")
            detail = f"no CSV file with the columns {ID} and {GRADE}; {self.unpack}"
            kind: Literal["unreadable", "missing"] = (
                "unreadable" if (root / LIST).exists() else "missing"
            )
            raise ListingError(root / LIST, detail, kind)
        tests = {id for id, path in pictures.items() if path.parent.name.lower().startswith("test")}
        return [
            _case(id, pictures.get(id), listed.get(id))
            for id in sorted(tests | set(listed), key=natural)
        ]

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write synthetic photographs of all grades in turn, every sixth one without a grade."""
        from bench.phantoms.fundus import fundus, write_picture

        tables = {"train": [f"{ID},{GRADE}"], "test": [ID]}
        for i in range(cases):
            code = hashlib.sha256(f"aptos19 phantom {i}".encode()).hexdigest()[:12]
            grade = DRAWN[(i - i // TEST) % len(DRAWN)]
            part = "test" if i % TEST == TEST - 1 else "train"
            size = SIZES[i // len(DRAWN) % len(SIZES)]
            photograph = fundus(size, seed, PATIENTS + i, grade=grade, left=i % 2 == 0)
            write_picture(root / f"{part}_images" / f"{code}.png", photograph.image)
            tables[part].append(f"{code},{grade}" if part == "train" else code)
        for part, lines in tables.items():
            (root / f"{part}.csv").write_text("\n".join(lines) + "\n")


def _case(id: str, path: Path | None, row: Listed | None) -> Case:
    """Return one case; a picture that is not there is expected where the archive has it."""
    grade = None if row is None else row.grade
    part = "testing" if grade is None else "training"
    if path is None and row is not None:
        path = row.csv.parent / ("test_images" if grade is None else "train_images") / f"{id}.png"
    if path is None:
        raise ValueError(f"{id} is neither listed nor there")
    return Case(id, id, (path,), grade, {"part": part})


def _listed(root: Path) -> dict[str, Listed]:
    """Return what the CSV files say of every picture; one with a grade is believed before one without."""
    listed: dict[str, Listed] = {}
    for path in within(root, 3):
        # sample_submission.csv holds grades that nobody gave
        if path.suffix.lower() != ".csv" or "submission" in path.name.lower() or not path.is_file():
            continue
        for id, row in _rows(path):
            before = listed.setdefault(id, row)
            if before.grade is None:
                listed[id] = row
            elif row.grade not in (None, before.grade):
                raise ListingError(
                    path,
                    f"line {row.line}: {id} has grade {row.grade}, in {before.csv.name}, line "
                    f"{before.line}, {before.grade}; keep one",
                )
    return listed


def _rows(path: Path) -> list[tuple[str, Listed]]:
    """Return the lines of one CSV file; none where it is about something else."""
    rows = []
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [(name or "").strip() for name in reader.fieldnames or ()]
            if ID not in columns:
                return []
            reader.fieldnames = columns
            for row in reader:
                rows.append(_row(path, reader.line_num, row, GRADE in columns))
    except csv.Error as error:
        raise ListingError(path, f"not a CSV file ({error}); mend or remove it") from None
    return rows


def _row(path: Path, line: int, row: dict[str, str | None], graded: bool) -> tuple[str, Listed]:
    name = (row[ID] or "").strip()
    id = stem(Path(name)) if is_picture(Path(name)) else name
    if not CODE.fullmatch(id):
        raise ListingError(path, f"line {line}: {name[:40]!r} is no {ID}")
    grade = (row[GRADE] or "").strip().removesuffix(".0") if graded else ""
    if graded and grade not in {str(k) for k in APTOS19.labels}:
        raise ListingError(path, f"line {line}: {GRADE} must be 0 to 4, got {grade[:40]!r}")
    return id, Listed(path, line, int(grade) if graded else None)
