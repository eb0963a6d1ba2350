"""TCIA "CT Images in COVID-19": 771 unlabelled chest CT volumes, for pretraining."""

from __future__ import annotations

import re
from pathlib import Path

from bench.data.layout_names import by_name
from bench.dataset import Case, Dataset, Recipe
from bench.errors import BenchError
from bench.source import Source

PREFIX = "volume-covid19-A-"
NAME = re.compile(rf"(?P<case>{PREFIX}\d{{4}}(?:_\d+)?(?:_day\d+)?)(?:_ct)?")
SOFT = (-175.0, 250.0)  # HU; most papers read these chests with their abdomen's window
PATIENTS = 16000  # number of the first phantom: no other data set shows the same bodies


class Covid19CT(Dataset):
    """Repeat scans (``_day008``) are the same patient: the patient is the four digits."""

    version = 2  # volumes numbered _1 and _2 belong to it, too
    source = Source(
        "An et al. 2020, CT Images in COVID-19, The Cancer Imaging Archive",
        "https://doi.org/10.7937/TCIA.2020.GQRY-NC81",
    )
    title = "TCIA CT Images in COVID-19"
    licence = "CC BY 4.0"
    redistribution = True
    published = (0, 771)
    modality = "CT"
    channels = ("CT",)
    labels = {}
    recipes = {
        "default": Recipe(spacing=(1.5, 1.5, 2.0), window=SOFT, foreground=0.0),
        # Luffy03/VoCo utils/data_utils.py, as for BTCV: one mixture, one recipe
        "voco_pretrain": Recipe(resize=(384, 384, 96), window=SOFT, foreground=0.3),
        "mae3d": Recipe(spacing=(1.5, 1.5, 2.0), window=SOFT, foreground=0.0),
        # GL-MAE's range; its spacing is not stated, MONAI's is taken
        "glmae": Recipe(spacing=(1.5, 1.5, 2.0), window=(-1000.0, 1000.0), foreground=0.0),
    }
    # By scan: 8 patients have scans in both parts.
    lists = {"swin_unetr_ssl": "covid19_ct.swin_unetr_ssl.json"}
    overlaps = {"covid_19_20": "all 199 of its training scans, under the same numbers"}
    unpack = (
        "get the NIfTI volumes of 'CT Images in COVID-19' from cancerimagingarchive.net and unpack "
        "them (volume-covid19-A-0001.nii.gz and the others) anywhere under covid19_ct/"
    )

    def cases(self, root: Path) -> list[Case]:
        """Return every volume, none labelled."""
        cases = by_name(root, NAME, depth=4)
        if not cases:
            raise BenchError(f"{root}: no {PREFIX}<4 digits>.nii.gz; {self.unpack}")
        return [
            Case(id, id.removeprefix(PREFIX)[:4], (*files.values(),)) for id, files in cases.items()
        ]

    def person(self, case: Case) -> str:
        """Return the patient by TCIA's number, which COVID-19-20 uses too."""
        return f"tcia_covid19:{case.patient}"

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write synthetic bodies; every fifth one is a repeat scan of the one before."""
        from bench.phantoms.organs import organs, write_nifti

        spacing = (4.0, 4.0, 5.0)
        for i in range(cases):
            again = i % 5 == 4
            patient = i if again else i + 1
            name = f"{PREFIX}{patient:04d}{'_day008' if again else ''}.nii.gz"
            image, _ = organs((84, 72, 48 + 4 * (i % 3)), spacing, 13, seed, PATIENTS + i)
            write_nifti(root / name, image, spacing, "int16")
