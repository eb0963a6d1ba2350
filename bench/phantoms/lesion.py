"""Synthetic abdomens with tumours or vessels inside an organ, each of a place and size of its own.

Built on ``bench.phantoms.organs``: a tumour is one more structure of the patient, painted over the
organ that bears it. Its grey value occurs elsewhere in the body, so its organ has to be read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.phantoms.atlas import ABDOMEN, Organ
from bench.phantoms.organs import LAYERS, acquired, anatomy, generator

SPACING = (4.5, 4.5, 5.5)  # mm; with ``grid``'s sizes a body of 300 mm in a file of 200 kB
INNER = 0.5  # a tumour's centre lies within this share of its organ's radii


@dataclass(frozen=True)
class Growth:
    """What grows in an organ, tumours or vessels, and where."""

    label: int
    # one of these bears all of a patient's; the atlas's organs, then the rest
    hosts: tuple[int, ...]
    ct: float  # HU
    radius: tuple[float, float]  # smallest and largest, in body coordinates
    count: tuple[int, int] = (1, 1)  # fewest and most in a patient
    length: float = 1.0  # over its width; a vessel is longer than wide


def grid(index: int) -> tuple[int, int, int]:
    """Return the voxels of a patient's scan; they differ between patients, as real ones do."""
    return 64 + 4 * (index % 3), 56, 36 + 2 * (index % 3)


def abdomen(
    shape: Sequence[int],
    spacing: Sequence[float],
    seed: int,
    index: int,
    labels: Mapping[int, int],
    growths: Sequence[Growth] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Return one synthetic CT: whole HU, float32, and label uint8, both (X, Y, Z) in RAS+.

    ``labels`` maps the number of an organ of ``bench.phantoms.atlas.ABDOMEN``, from 1, to its label.
    ``growths`` are what this patient has, the later ones painted over the earlier where equally large.
    """
    rng = generator(seed, index)
    atlas, table = ABDOMEN, np.zeros(256, np.uint8)
    for number, label in labels.items():
        table[LAYERS - 1 + number] = label
    for growth in growths:
        grown = _grown(growth, rng)
        first = LAYERS + len(atlas.organs)
        table[first : first + len(grown)] = growth.label
        atlas = replace(atlas, organs=(*atlas.organs, *grown))
    structure = anatomy(atlas, shape, rng)
    return acquired(structure, atlas, spacing, rng, "CT"), table[structure]


def _grown(growth: Growth, rng: np.random.Generator) -> tuple[Organ, ...]:
    """Draw what a patient has of one kind, all in one organ."""
    host = ABDOMEN.parts[int(rng.choice(growth.hosts)) - 1]
    found = []
    for _ in range(int(rng.integers(growth.count[0], growth.count[1] + 1))):
        x, y, z = _inside(host, rng)
        rx, ry, rz = (
            float(r) for r in rng.uniform(*growth.radius) * np.exp(0.12 * rng.standard_normal(3))
        )
        turn = float(rng.uniform(0, 180))
        found.append(Organ((x, y, z), (rx * growth.length, ry, rz), growth.ct, 0.5, turn=turn))
    return tuple(found)


def _inside(host: Organ, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a point in the inner part of a bent, turned ellipsoid."""
    direction = rng.standard_normal(3)
    direction *= INNER * np.cbrt(rng.uniform()) / np.linalg.norm(direction)
    along, across, up = direction * np.asarray(host.radii)
    across -= host.bend * along**2
    cos, sin = np.cos(np.radians(host.turn)), np.sin(np.radians(host.turn))
    x, y, z = host.centre
    return (
        float(x + cos * along - sin * across),
        float(y + sin * along + cos * across),
        float(z + up),
    )
