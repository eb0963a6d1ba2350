"""Synthetic scans of the quickstart: the same tissues under a grey scale of each patient's own."""

from __future__ import annotations

from pathlib import Path

from bench.data.layout_msd import MSDLayout, write_listing
from bench.dataset import Recipe
from bench.source import Source

SHAPE, SPACING = (16, 16, 16), (2.0, 2.0, 2.0)  # voxels; mm


class TonePhantoms(MSDLayout):
    """Any number of phantoms, 32 mm wide at 2 mm. Nobody was scanned: there is no real one.

    They are made so that few labels do not suffice; ``bench.phantoms.tones`` says how.
    """

    source = Source("Drawn by bench; nobody was scanned", "")
    title = "Synthetic scans, each with a grey scale of its own"
    licence = "Apache-2.0"
    redistribution = True
    invented = True
    modality = "MR"
    phantoms = 60
    channels = ("grey",)
    labels = {1: "second", 2: "third"}  # of four tissues in order of brightness
    recipes = {"default": Recipe(scale="percentile")}
    unpack = "nothing to unpack: 'bench phantom tone_phantoms DIR' writes it, and the quickstart by itself"

    @classmethod
    def phantom(cls, root: Path, cases: int, seed: int) -> None:
        """Write ``cases`` patients, all labelled."""
        from bench.phantoms.organs import write_nifti
        from bench.phantoms.tones import tones

        stems = [f"tones_{i + 1:03d}" for i in range(cases)]
        for i, stem in enumerate(stems):
            image, label = tones(SHAPE, seed, i)
            write_nifti(root / "imagesTr" / f"{stem}.nii.gz", image, SPACING, "float32")
            write_nifti(root / "labelsTr" / f"{stem}.nii.gz", label, SPACING, "uint8")
        write_listing(root, cls, "Tone phantoms", stems)
