"""Exemplar networks on slices: a transformed slice is nearer to its original than another one is."""

from __future__ import annotations

from dataclasses import dataclass

from bench.pretext.exemplar import Exemplar, Exemplars
from bench.ranges import Amount, Factors, Share


class Exemplar2D(Exemplar):
    """Taleb et al. 2020's Exemplar on images, with one head for all three roles."""

    title = "Exemplar"
    dims = 2

    @dataclass(frozen=True)
    class Params(Exemplars):
        """The transformations are those of the code's images: no free angle, no zoom."""

        rotate: Share = 1.0  # code: always,
        quarters: Share = 1.0  # by 0, 90, 180 or 270 degrees
        colour: Share = 1.0  # code: always
        brightness: Amount = 0.2  # code (albumentations' default)
        # code (albumentations' default); there about 0, here about the mean
        contrast: Factors = (0.8, 1.2)
        zoom: Share = 0.0  # code: none

    params: Params
