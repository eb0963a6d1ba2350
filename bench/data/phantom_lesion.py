"""Synthetic abdomens with tumours inside an organ, each in a place and of a size of its own.

Built on ``bench.data.phantom``: a tumour is one more structure of the patient, painted over the
organ that bears it. Its grey value occurs elsewhere in the body, so its organ has to be read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.data.atlas import ABDOMEN, Organ
from bench.data.phantom import LAYERS, acquired, anatomy, generator

INNER = 0.5  # a tumour's centre lies within this share of its organ's radii


@dataclass(frozen=True)
class Tumour:
    """What a kind of tumour is, and where it grows."""

    label: int
    hosts: tuple[int, ...]  # one of these bears all of a patient's; the atlas's organs, then the rest
    ct: float  # HU
    radius: tuple[float, float]  # smallest and largest, in body coordinates
    most: int = 1  # a patient has one to this many


def abdomen(
    shape: Sequence[int],
    spacing: Sequence[float],
    seed: int,
    index: int,
    labels: Mapping[int, int],
    tumour: Tumour | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return one synthetic CT: whole HU, float32, and label uint8, both (X, Y, Z) in RAS+.

    Args:
        shape: voxels.
        spacing: mm.
        seed: of all patients.
        index: of this patient.
        labels: number of an organ of ``bench.data.atlas.ABDOMEN``, from 1, to its label.
        tumour: what this patient has; None: nothing.
    """
    rng = generator(seed, index)
    scene, table = ABDOMEN, np.zeros(256, np.uint8)
    for number, label in labels.items():
        table[LAYERS - 1 + number] = label
    if tumour is not None:
        grown = _grown(tumour, rng)
        first = LAYERS + len(scene.organs)
        table[first : first + len(grown)] = tumour.label
        scene = replace(scene, organs=(*scene.organs, *grown))
    structure = anatomy(scene, shape, rng)
    return acquired(structure, scene, spacing, rng, "CT"), table[structure]


def _grown(tumour: Tumour, rng: np.random.Generator) -> tuple[Organ, ...]:
    """Draw a patient's tumours, all in one organ."""
    host = (*ABDOMEN.organs, *ABDOMEN.distractors)[int(rng.choice(tumour.hosts)) - 1]
    found = []
    for _ in range(int(rng.integers(1, tumour.most + 1))):
        x, y, z = _inside(host, rng)
        rx, ry, rz = rng.uniform(*tumour.radius) * np.exp(0.12 * rng.standard_normal(3))
        found.append(Organ((x, y, z), (float(rx), float(ry), float(rz)), tumour.ct, 0.5))
    return tuple(found)


def _inside(host: Organ, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a point in the inner part of a bent, turned ellipsoid."""
    direction = rng.standard_normal(3)
    direction *= INNER * np.cbrt(rng.uniform()) / np.linalg.norm(direction)
    along, across, up = direction * np.asarray(host.radii)
    across -= host.bend * along**2
    cos, sin = np.cos(np.radians(host.turn)), np.sin(np.radians(host.turn))
    x, y, z = host.centre
    return float(x + cos * along - sin * across), float(y + sin * along + cos * across), float(z + up)
