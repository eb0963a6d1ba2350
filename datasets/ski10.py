"""SKI10: knee MR with bones and cartilage, MICCAI 2010 workshop challenge."""

from __future__ import annotations

import re
from pathlib import Path

from bench.data.layout_names import by_name, expected
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source

NAME = re.compile(r"(?P<kind>image(?=-)|label)s?-(?P<number>\d{3})")
LABELLED = 100  # scans 001 to 100
TEST = "test-"  # begins the id of a test scan
LISTS = Path(__file__).with_name("splits") / "ski10.kneeseg_80_20.json"


class SKI10(Dataset):
    """100 labelled scans, about 0.39 x 0.39 x 1.0 mm in sagittal slices, and unlabelled test scans.

    The label values are not in the papers read here; their order is the one that kneeseg uses.
    HSSL lists femur, tibia, femoral cartilage, tibial cartilage: 1, 3, 2, 4 of these. Whether
    two scans are one person's knees is not stated: a scan is a patient.
    """

    version = 2  # slices of the recipe hssl are 192 x 192
    source = Source(
        "Heimann et al. 2010, Segmentation of knee images: a grand challenge, MICCAI Workshop on "
        "Medical Image Analysis for the Clinic",
        "https://ski10.grand-challenge.org",
    )
    title = "SKI10 knee"
    licence = "registration; data and what is derived from them may not be passed on, knee segmentation only"
    redistribution = False
    published = (100, 50)
    modality = "MR"
    channels = ("MR",)
    labels = {1: "femur", 2: "femoral cartilage", 3: "tibia", 4: "tibial cartilage"}
    recipes = {
        "default": Recipe(scale="zscore"),
        # HSSL, section 3: slices of 192 x 192, the rest is not stated: resizing and percentiles are
        # assumed. Its slices are sagittal, to judge by their number; slices here run along z.
        "hssl": Recipe(resize=(192, 192, 0), scale="percentile"),
        "coarse": Recipe(spacing=(1.5, 1.5, 1.5), scale="zscore"),  # ours: a pilot on one GPU
        "resize": Recipe(resize=(48, 64, 64), scale="zscore"),  # ours: a pilot on a CPU
    }
    splits = {"kneeseg_80_20": LISTS.name}
    unread = ("roi*.mhd", "roi*.mha")  # where the test scans are scored
    unpack = (
        "get the training data from ski10.grand-challenge.org and unpack them so that ski10/ holds "
        "image-001.mhd, image-001.raw, labels-001.mhd, labels-001.raw and the others"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return scans paired on their three digits, the unlabelled ones last.

        Where a folder says that it holds test scans, its numbers are counted apart: whether they
        go on after 100 is not stated.
        """

        def id(match: re.Match[str], path: Path) -> str:
            folders = path.relative_to(root).parts[:-1]
            testing = int(match["number"]) > LABELLED or any(
                "test" in folder.lower() for folder in folders
            )
            return f"{TEST if testing else ''}{match['number']}"

        cases = by_name(root, NAME, depth=4, case=id)
        if not cases:
            raise BenchError(f"{root}: no image-001.mhd ...; {self.unpack}")
        return [_case(id, files) for id, files in cases.items()]

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write up to 100 labelled knees in sagittal slices under numbers of the registered division."""
        from bench.phantoms.knee import knee
        from bench.phantoms.order import first, in_fives
        from bench.phantoms.organs import write_metaimage

        spacing = (3.0, 2.3, 2.3)
        for i, number in enumerate(first(cls, in_fives(LISTS), cases)):
            image, label = knee((34 + 2 * (i % 2), 48, 46), seed, i)
            # Rows to the back, columns down, slices to the left.
            write_metaimage(root / f"image-{number}.mhd", image, spacing, "int16", "PIL")
            write_metaimage(root / f"labels-{number}.mhd", label, spacing, "uint8", "PIL")


def _case(id: str, files: dict[str, Path]) -> Case:
    number, testing = id.removeprefix(TEST), id.startswith(TEST)
    image, label = expected(files, {"image": f"image-{number}", "label": f"labels-{number}"})
    annotation = None if testing and "label" not in files else label
    return Case(id, id, (image,), annotation, {"part": "testing" if testing else "training"})
