"""Exemplar networks on volumes: a transformed volume is nearer to its original than another one is."""

from __future__ import annotations

from dataclasses import dataclass

from bench.pretext.exemplar import Exemplar, Exemplars


class Exemplar3D(Exemplar):
    """Taleb et al. 2020's 3D-Exe, with one head for all three roles."""

    title = "Exemplar"

    @dataclass(frozen=True)
    class Params(Exemplars):
        """The transformations are those of the code's volumes, which the paper lists without numbers."""

    params: Params
