"""UK Biobank: T1 with T2-FLAIR of one imaging visit (fields 20252 and 20253), zips read in place."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_visits import BrainVisits

FIRST = 2000207  # participant number of the first phantom
PATIENTS = 21000  # number of the first phantom: no other data set shows the same bodies


class UKBBrainFlair(BrainVisits):
    """The visits of ``ukb_brain`` that have both, two channels on the grid of T1; link its folder.

    Taleb et al. pretrained on these pairs: their code reads ``T2_FLAIR.nii.gz`` through the mask of
    T1 (``T2_FLAIR_brain.nii.gz`` here), drops visits without it, and takes T2-FLAIR by participant
    where this reads it by visit. Images, label, instances and what is left out: see ``ukb_brain``.
    """

    title = "UK Biobank brain T1 and T2-FLAIR"
    channels = ("T1", "T2-FLAIR")
    overlaps = {
        "ukb_brain": "the same visits, read without T2-FLAIR",
        "ukb_fundus": "the same participants; their numbers agree within one application",
    }
    files = (("20252", "T1/T1_brain.nii.gz"), ("20253", "T2_FLAIR/T2_FLAIR_brain.nii.gz"))
    unpack = (
        "get bulk fields 20252 and 20253 by an approved application and put the zips "
        "<eid>_20252_2_0.zip and <eid>_20253_2_0.zip anywhere under ukb_brain_flair/ (a link to "
        "ukb_brain/ will do); there is no need to unpack them"
    )

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write visits; every fifth repeats a participant, every seventh has no label.

        After every third comes one without T2-FLAIR, which is no case.
        """
        from bench.phantoms.visit import places, write_visit

        for i, (t1, flair, other) in enumerate(places(root, FIRST, cases)):
            write_visit(t1, flair, seed, PATIENTS + i, labelled=i % 7 != 6)
            if other is not None:
                write_visit(other, None, seed, PATIENTS + i)
