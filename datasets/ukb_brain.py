"""UK Biobank: T1 brain MR of the imaging visits (field 20252), bulk zips read in place."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_visits import Visits
from bench.dataset import Case, Recipe
from bench.source import Source

FIRST = 1000102  # participant number of the first phantom
PATIENTS = 20000  # number of the first phantom: no other data set shows the same bodies


class UKBBrain(Visits):
    """One T1 per visit, brain extracted, 208 x 256 x 256 at 1 mm; a participant may have come twice.

    The image is ``T1/T1_brain.nii.gz``, T1 times its brain mask, which is what Taleb et al. made of
    ``T1.nii.gz`` and ``T1_brain_mask.nii.gz``. The label is FSL FAST's tissue map, the hard one that
    they pretrained with supervision on (``T1_brain_seg``), or where a zip lacks it the one from
    partial volumes (``T1_brain_pveseg``). Of instances (2: first imaging visit, 3: repeat) and
    arrays of one participant each is a case of its own, ``meta`` says which. Visits that hold
    ``unusable/`` in place of the image are left out and counted. Participants who withdrew are not
    known here: remove their files.

    T1 is the only channel; ``ukb_brain_flair`` reads the same folder as pairs of T1 and T2-FLAIR.
    """

    source = Source(
        "Sudlow et al. 2015, PLoS Medicine 12(3):e1001779; Miller et al. 2016, Nature Neuroscience "
        "19(11):1523-1536; Alfaro-Almagro et al. 2018, NeuroImage 166:400-424; Littlejohns et al. 2020, "
        "Nature Communications 11:2624",
        "https://www.ukbiobank.ac.uk",
    )
    title = "UK Biobank brain T1"
    licence = "approved application and fee; never passed on"
    redistribution = False
    modality = "MR"
    channels = ("T1",)
    labels = {1: "cerebrospinal fluid", 2: "grey matter", 3: "white matter"}
    recipes = {
        "default": Recipe(scale="zscore", nonzero=True, foreground="nonzero"),  # all scans are 1 mm
        # HealthML/self-supervised-3d-tasks: box of the brain (about 160 x 192 x 192), min-max, 128^3
        "taleb": Recipe(resize=(128, 128, 128), scale="minmax", foreground="nonzero"),
        "coarse": Recipe(spacing=(4.0, 4.0, 4.0), scale="zscore", nonzero=True),  # ours: a pilot
    }
    overlaps = {
        "ukb_brain_flair": "the same visits, read with T2-FLAIR",
        "ukb_fundus": "the same participants; their numbers agree within one application",
    }
    files = (("20252", "T1/T1_brain.nii.gz"),)
    masks = ("T1/T1_fast/T1_brain_seg.nii.gz", "T1/T1_fast/T1_brain_pveseg.nii.gz")
    unusable = "unusable"
    # of unpacked visits; what lies in a zip is asked for by name
    unread = ("T1/*", "T1_fast/*", "T1_first/*", "transforms/*", "unusable/*", "T2_FLAIR/*", "lesions/*")
    unpack = (
        "get bulk field 20252 by an approved application and put its zips <eid>_20252_2_0.zip anywhere "
        "under ukb_brain/; there is no need to unpack them"
    )

    def person(self, case: Case) -> str:
        """Return the participant, whose number is the same in all fields of an application."""
        return f"ukb:{case.patient}"

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write visits; every fifth repeats a participant, every seventh has no label.

        Every second has a T2-FLAIR, and after every third comes one that is unusable, which is no case.
        """
        from bench.phantoms.visit import write_unusable, write_visit

        home = root / "Brain MRI"
        for i in range(cases):
            again = i % 5 == 4
            eid, instance = FIRST + 11 * (i - again), 2 + again
            t1 = home / "T1" / str(eid)[:2] / f"{eid}_20252_{instance}_0.zip"
            flair = home / "T2 FLAIR" / str(eid)[:2] / f"{eid}_20253_{instance}_0.zip"
            write_visit(t1, None if i % 2 else flair, seed, PATIENTS + i, labelled=i % 7 != 6)
            if i % 3 == 2:
                write_unusable(t1.with_name(f"{eid + 5}_20252_2_0.zip"), seed, PATIENTS + i)
