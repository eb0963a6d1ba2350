"""UK Biobank: T1 brain MR of the imaging visits (field 20252), bulk zips read in place."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_visits import BrainVisits

FIRST = 1000102  # participant number of the first phantom
PATIENTS = 20000  # number of the first phantom: no other data set shows the same bodies


class UKBBrain(BrainVisits):
    """One T1 per visit; a participant may have come twice.

    The image is ``T1/T1_brain.nii.gz``, T1 times its brain mask, which is what Taleb et al. made of
    ``T1.nii.gz`` and ``T1_brain_mask.nii.gz``. T1 is the only channel; ``ukb_brain_flair``
    reads the same folder as pairs of T1 and T2-FLAIR.
    """

    title = "UK Biobank brain T1"
    channels = ("T1",)
    overlaps = {
        "ukb_brain_flair": "the same visits, read with T2-FLAIR",
        "ukb_fundus": "the same participants; their numbers agree within one application",
    }
    files = (("20252", "T1/T1_brain.nii.gz"),)
    unpack = (
        "get bulk field 20252 by an approved application and put its zips <eid>_20252_2_0.zip anywhere "
        "under ukb_brain/; there is no need to unpack them"
    )

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write visits; every fifth repeats a participant, every seventh has no label.

        Every second has a T2-FLAIR, and after every third comes one that is unusable, which is no case.
        """
        from bench.phantoms.visit import places, write_unusable, write_visit

        for i, (t1, flair, other) in enumerate(places(root, FIRST, cases)):
            write_visit(t1, None if i % 2 else flair, seed, PATIENTS + i, labelled=i % 7 != 6)
            if other is not None:
                write_unusable(other, seed, PATIENTS + i)
