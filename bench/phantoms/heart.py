"""Synthetic hearts: short-axis cine MR with a beating left ventricle, and whole hearts in CT or MR.

Chambers share the blood's intensity with each other and with vessels that no label names, so only their
places tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.phantoms.organs import generator
from bench.phantoms.shapes import ct_image, mr_image, placed, radius

CAVITY, MYOCARDIUM, RIGHT = 1, 2, 3  # labels of a cine; a data set has an order of its own
AIR, LUNG, TISSUE, FAT, BLOOD, MUSCLE = range(6)
CINE_MR = (0.0, 0.06, 0.35, 0.75, 0.95, 0.32)
HEART_MR = (0.0, 0.06, 0.35, 0.65, 0.95, 0.40)
HEART_CT = (-1000.0, -820.0, 50.0, -90.0, 360.0, 120.0)  # HU; the blood holds contrast agent
# Myocardium, left atrium, left ventricle, right atrium, right ventricle, aorta, pulmonary artery
STRUCTURES = 7


@dataclass(frozen=True)
class Build:
    """How a group of patients differs from the normal heart, as factors."""

    cavity: float = 1.0
    wall: float = 1.0
    right: float = 1.0
    stroke: float = 1.0  # how much of the normal contraction is left
    turn: float = 0.0  # degrees by which the slices are turned about z


GROUPS = {
    "NOR": Build(),
    "DCM": Build(cavity=1.3, wall=0.9, stroke=0.35),  # dilated
    "HCM": Build(cavity=0.9, wall=1.5, stroke=1.15),  # hypertrophic
    "MINF": Build(cavity=1.15, stroke=0.5),  # after an infarction
    "RV": Build(right=1.3),
    "turned": Build(turn=60.0),  # of another hospital
}


def cine(
    shape: Sequence[int],
    spacing: Sequence[float],
    seed: int,
    index: int,
    *,
    systole: Sequence[float],
    group: str = "NOR",
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames of a short-axis cine: images float32 and labels uint8, (X, Y, Z, frame).

    Labels are 1 left ventricle, 2 myocardium, 3 right ventricle; slices lie along z, the apex
    below. Frames of one patient share the anatomy; each has its own noise. ``systole`` says for every
    frame how far the heart has contracted, from 0 at end-diastole to 1 at end-systole; ``group`` is a key
    of ``GROUPS``.
    """
    rng = generator(seed, index)
    points = placed(shape, spacing, rng, shift=10, warp=2)
    turn = np.radians(GROUPS[group].turn)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    points[:2] = cos * points[0] - sin * points[1], sin * points[0] + cos * points[1]
    sizes = rng.uniform(0.92, 1.08, 3)
    frames = []
    for share in systole:
        label = _ventricles(points, GROUPS[group], sizes, share)
        structure = _chest(points, (12, -62, 0))
        structure[label > 0] = np.array([0, BLOOD, MUSCLE, BLOOD], np.uint8)[label[label > 0]]
        frames.append((mr_image(structure, CINE_MR, rng), label))
    images, labels = zip(*frames, strict=True)
    return np.stack(images, axis=-1), np.stack(labels, axis=-1)


def _ventricles(points: np.ndarray, build: Build, sizes: np.ndarray, systole: float) -> np.ndarray:
    """Return the three labels; ``sizes`` are the patient's factors of cavity, wall and length."""
    beat = systole * build.stroke
    cavity = 23 * build.cavity * sizes[0] * (1 - 0.32 * beat)
    wall = 9 * build.wall * sizes[1] * (1 + 0.35 * beat)
    length = 46 * sizes[2]
    right = 34 * build.right * (1 - 0.15 * beat)
    label = np.zeros(points.shape[1:], np.uint8)
    base = points[2] < 34 - 8 * beat  # the valves' plane comes down in systole
    outer = (cavity + wall, cavity + wall, length + 0.6 * wall)
    for value, centre, radii in (
        (RIGHT, (-26, 4, 4), (right, 1.05 * right, length)),
        (MYOCARDIUM, (14, 0, 0), outer),
        (CAVITY, (14, 0, 0), (cavity, cavity, length)),
    ):
        label[base & (radius(points, centre, radii) < 1)] = value
    return label


def whole_heart(
    shape: Sequence[int], spacing: Sequence[float], seed: int, index: int, *, modality: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return a heart with its great vessels: image float32 and label uint8, (X, Y, Z) in RAS.

    Labels are 1 myocardium of the left ventricle, 2 left atrium, 3 left ventricle, 4 right
    atrium, 5 right ventricle, 6 ascending aorta, 7 pulmonary artery. CT is in whole HU.
    """
    rng = generator(seed, index)
    points = placed(shape, spacing, rng, shift=6, warp=2)
    label = _chambers(points, rng)
    structure = _chest(points, (-18, -64, 0))
    kinds = np.array([0, MUSCLE, *[BLOOD] * (STRUCTURES - 1)], np.uint8)
    structure[label > 0] = kinds[label[label > 0]]
    if modality == "CT":
        return ct_image(structure, HEART_CT, rng), label
    return mr_image(structure, HEART_MR, rng), label


def _chambers(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the seven labels; the axis of the left ventricle points left, forward and down."""
    axis = np.array([-0.62, 0.60, -0.50])
    axis = (axis + 0.05 * rng.standard_normal(3)) / np.linalg.norm(axis)
    size = np.float32(rng.uniform(0.94, 1.06))
    centre = np.array([-20.0, 4.0, -8.0])
    label = np.zeros(points.shape[1:], np.uint8)
    for value, at, radii in (
        (4, (40, 4, -4), (22, 24, 27)),
        (2, (-2, -34, 10), (30, 20, 24)),
        (5, (14, 34, -16), (32, 24, 28)),
    ):
        label[radius(points, at, np.multiply(radii, size)) < 1] = value
    for value, x, y, bent, low, high, wide in (
        (7, -16, 24, 0.45, 14, 62, 11),
        (6, 8, 8, 0.0, 8, 74, 14),
    ):
        # The pulmonary artery leans backwards on its way up, in front of the aorta and left of it.
        away = np.hypot(points[0] - x, points[1] - y + bent * (points[2] - low))
        label[(away < wide * size) & (points[2] > low) & (points[2] < high)] = value
    along = sum(axis[i] * (points[i] - centre[i]) for i in range(3))
    square = sum((points[i] - centre[i]) ** 2 for i in range(3)) - along**2
    for value, wide, long in ((1, 32, 50), (3, 22, 41)):
        inside = np.maximum(square, 0) / (wide * size) ** 2 + (along / (long * size)) ** 2 < 1
        label[inside & (along > -18 * size)] = value
    return label


def _chest(points: np.ndarray, aorta: tuple[float, float, float]) -> np.ndarray:
    """Return air, lungs, the mediastinum's tissue and fat, and a descending aorta without label."""
    x, y, _ = points
    structure = np.full(x.shape, AIR, np.uint8)
    body = np.hypot(x / 128, y / 108)
    structure[body < 1] = FAT
    structure[body < 0.92] = TISSUE
    structure[(body < 0.86) & (np.hypot(x / 66, y / 78) > 1)] = LUNG
    structure[(np.hypot(x / 60, y / 70) < 1) & (body < 0.86)] = FAT
    structure[np.hypot(x - aorta[0], y - aorta[1]) < 12] = BLOOD
    return structure
