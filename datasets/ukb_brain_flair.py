"""UK Biobank: T1 with T2-FLAIR of one imaging visit (fields 20252 and 20253), zips read in place."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_visits import Visits
from bench.dataset import Case, Recipe
from bench.source import Source

FIRST = 2000207  # participant number of the first phantom
PATIENTS = 21000  # number of the first phantom: no other data set shows the same bodies


class UKBBrainFlair(Visits):
    """The visits of ``ukb_brain`` that have both, two channels on the grid of T1; link its folder.

    Taleb et al. pretrained on these pairs: their code reads ``T2_FLAIR.nii.gz`` through the mask of
    T1 (``T2_FLAIR_brain.nii.gz`` here), drops visits without it, and takes T2-FLAIR by participant
    where this reads it by visit. Images, label, instances and what is left out: see ``ukb_brain``.
    """

    source = Source(
        "Sudlow et al. 2015, PLoS Medicine 12(3):e1001779; Miller et al. 2016, Nature Neuroscience "
        "19(11):1523-1536; Alfaro-Almagro et al. 2018, NeuroImage 166:400-424; Littlejohns et al. 2020, "
        "Nature Communications 11:2624",
        "https://www.ukbiobank.ac.uk",
    )
    title = "UK Biobank brain T1 and T2-FLAIR"
    licence = "approved application and fee; never passed on"
    redistribution = False
    modality = "MR"
    channels = ("T1", "T2-FLAIR")
    labels = {1: "cerebrospinal fluid", 2: "grey matter", 3: "white matter"}
    recipes = {
        "default": Recipe(scale="zscore", nonzero=True, foreground="nonzero"),  # all scans are 1 mm
        # HealthML/self-supervised-3d-tasks: box of the brain, min-max of each channel, 128^3
        "taleb": Recipe(resize=(128, 128, 128), scale="minmax", foreground="nonzero"),
        "coarse": Recipe(spacing=(4.0, 4.0, 4.0), scale="zscore", nonzero=True),  # ours: a pilot
    }
    overlaps = {
        "ukb_brain": "the same visits, read without T2-FLAIR",
        "ukb_fundus": "the same participants; their numbers agree within one application",
    }
    files = (("20252", "T1/T1_brain.nii.gz"), ("20253", "T2_FLAIR/T2_FLAIR_brain.nii.gz"))
    masks = ("T1/T1_fast/T1_brain_seg.nii.gz", "T1/T1_fast/T1_brain_pveseg.nii.gz")
    unusable = "unusable"
    # of unpacked visits; what lies in a zip is asked for by name
    unread = ("T1/*", "T1_fast/*", "T1_first/*", "transforms/*", "unusable/*", "T2_FLAIR/*", "lesions/*")
    unpack = (
        "get bulk fields 20252 and 20253 by an approved application and put the zips "
        "<eid>_20252_2_0.zip and <eid>_20253_2_0.zip anywhere under ukb_brain_flair/ (a link to "
        "ukb_brain/ will do); there is no need to unpack them"
    )

    def person(self, case: Case) -> str:
        """Return the participant, whose number is the same in all fields of an application."""
        return f"ukb:{case.patient}"

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write visits; every fifth repeats a participant, every seventh has no label.

        After every third comes one without T2-FLAIR, which is no case.
        """
        from bench.phantoms.visit import write_visit

        home = root / "Brain MRI"
        for i in range(cases):
            again = i % 5 == 4
            eid, instance = FIRST + 11 * (i - again), 2 + again
            t1 = home / "T1" / str(eid)[:2] / f"{eid}_20252_{instance}_0.zip"
            flair = home / "T2 FLAIR" / str(eid)[:2] / f"{eid}_20253_{instance}_0.zip"
            write_visit(t1, flair, seed, PATIENTS + i, labelled=i % 7 != 6)
            if i % 3 == 2:
                write_visit(t1.with_name(f"{eid + 5}_20252_2_0.zip"), None, seed, PATIENTS + i)
