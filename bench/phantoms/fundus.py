"""Synthetic photographs of the back of the eye: disc, fovea, vessels, and the signs of retinopathy.

The signs draw from a stream of their own, so that one person exists in every grade. Their colours occur
in every eye (haemorrhages are as red as vessels, exudates as bright as the disc), so a grade has to be
read from how many there are and of which kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from bench.phantoms.organs import generator

DISC = 0.42  # from the centre, in radii of the field, on the side of the nose
FOVEA = 0.18  # on the other side, a little below
RETINA, BLOOD, PALE = (0.78, 0.36, 0.16), (0.42, 0.07, 0.05), (1.0, 0.86, 0.52)  # red, green, blue
STREAM = 1 << 20  # added to a person's number for the signs
# of a grade, fewest and most: microaneurysms, haemorrhages, exudates, woolly spots, new vessels
SIGNS = (
    ((0, 0), (0, 0), (0, 0), (0, 0), (0, 0)),
    ((6, 9), (0, 0), (0, 0), (0, 0), (0, 0)),
    ((8, 12), (3, 5), (4, 8), (0, 1), (0, 0)),
    ((12, 18), (10, 15), (8, 14), (2, 4), (0, 0)),
    ((12, 18), (8, 14), (8, 14), (1, 4), (4, 6)),
)
STEP = 0.02  # of a vessel's course
Bead = tuple[float, float, float]
RADII = ((0.02, 0.028), (0.03, 0.055), (0.018, 0.032), (0.05, 0.07))  # of the first four


@dataclass(frozen=True, eq=False)
class Fundus:
    """One photograph as it is displayed; rows run downwards."""

    image: np.ndarray  # uint8 (rows, columns, 3), black outside of the field
    signs: np.ndarray  # bool (rows, columns), where retinopathy shows


def fundus(
    size: tuple[int, int], seed: int, index: int, *, grade: int = 0, left: bool = False
) -> Fundus:
    """Return one synthetic photograph of a ``left`` or right eye; the left one's disc is on the left.

    ``size`` is columns and rows; the field is cut at the top and at the bottom of a wide one. ``grade`` is
    0 no retinopathy, 1 mild, 2 moderate, 3 severe, 4 proliferative.

    Raises:
        ValueError: another grade.
    """
    if not 0 <= grade < len(SIGNS):
        raise ValueError(f"grade must be 0 to {len(SIGNS) - 1}, not {grade}")
    rng = generator(seed, index)
    points, field = _points(size, rng)
    nose = -1.0 if left else 1.0
    disc = np.array([nose * DISC, 0.02]) + 0.03 * rng.standard_normal(2)
    tone = np.exp(0.08 * rng.standard_normal(3))
    image = _retina(points, nose, tone, rng)
    vessels = _vessels(points, disc, nose, rng)
    image = _mixed(image, 0.72 * vessels, np.array(BLOOD) * tone)
    away = np.linalg.norm(
        (points - disc[:, None, None]) / np.array([0.13, 0.15])[:, None, None], axis=0
    )
    pale = np.clip((1.15 - away) / 0.3, 0, 1) * (1 - 0.55 * vessels)
    image = _mixed(image, pale, np.array(PALE) * tone)
    image, signs = _signs(image, points, disc, SIGNS[grade], generator(seed, STREAM + index))
    image = ndimage.gaussian_filter(image, (0, 0.45, 0.45))
    image += 0.012 * rng.standard_normal(image.shape)
    grey = np.where(field, np.clip(image, 0, 1), 0.01 * rng.random(image.shape))
    return Fundus(np.rint(255 * grey).astype(np.uint8).transpose(1, 2, 0), signs & field)


def _points(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y) of every pixel, 1 being the field's radius, y downwards, and the field."""
    columns, rows = size
    radius = 0.47 * columns * rng.uniform(0.97, 1.03)
    x = (np.arange(columns) + 0.5 - columns / 2 - 0.02 * columns * rng.uniform(-1, 1)) / radius
    y = (np.arange(rows) + 0.5 - rows / 2 - 0.02 * columns * rng.uniform(-1, 1)) / radius
    points = np.stack(np.meshgrid(x, y))
    return points, np.linalg.norm(points, axis=0) < 1


def _retina(
    points: np.ndarray, nose: float, tone: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the background, (3, rows, columns): mottled, dark at the rim and around the fovea."""
    light = rng.uniform(-0.3, 0.3, 2)
    shade = 1 - 0.38 * np.sum((points - light[:, None, None]) ** 2, axis=0)
    fovea = points - np.array([-nose * FOVEA, 0.07])[:, None, None]
    shade *= 1 - 0.42 * np.exp(-np.sum(fovea**2, axis=0) / (2 * 0.11**2))
    mottled = ndimage.gaussian_filter(rng.standard_normal(points.shape[1:]), 2.0)
    shade *= 1 + 0.05 * mottled / mottled.std()
    return shade * (np.array(RETINA) * tone)[:, None, None]


def _vessels(
    points: np.ndarray, disc: np.ndarray, nose: float, rng: np.random.Generator
) -> np.ndarray:
    """Return how much of each pixel is vessel, 0 to 1: four arcades from the disc, branching."""
    tree: list[Bead] = []
    for up in (-1.0, 1.0):
        for side, bend in ((-nose, 1.5), (nose, 0.5)):  # to the temple they arch around the fovea
            heading = float(np.arctan2(up * rng.uniform(1.1, 1.5), side * rng.uniform(0.3, 0.8)))
            tree += _branch(disc, heading, up * side * bend * rng.uniform(0.8, 1.2), 0.034, rng)
    return _drawn(tree, points)


def _branch(
    start: np.ndarray, heading: float, turn: float, width: float, rng: np.random.Generator
) -> list[Bead]:
    """Return one vessel as (x, y, width) along its way, thinning, and those that leave it."""
    at, beads = start, []
    for number in range(int(1.3 / STEP)):
        at = at + STEP * np.array([np.cos(heading), np.sin(heading)])
        if at @ at > 1:
            break
        heading -= turn * STEP + 0.05 * float(rng.standard_normal())
        beads.append((float(at[0]), float(at[1]), width))
        width *= 0.991
        if width > 0.014 and number % 12 == 8:
            aside = float(rng.choice((-1, 1)) * rng.uniform(0.6, 1.0))
            beads += _branch(at, heading + aside, 0.6 * aside, 0.6 * width, rng)
    return beads


def _drawn(beads: list[Bead], points: np.ndarray) -> np.ndarray:
    """Return beads as a line with soft edges, 0 to 1, (rows, columns)."""
    x, y = points[0, 0], points[1, :, 0]
    drawn = np.zeros((y.size, x.size))
    for across, down, width in beads:
        spread = 0.55 * width
        ends = [
            np.searchsorted(axis, (at - 4 * spread, at + 4 * spread))
            for axis, at in ((y, down), (x, across))
        ]
        box = tuple(slice(*end) for end in ends)
        apart = np.add.outer((y[box[0]] - down) ** 2, (x[box[1]] - across) ** 2)
        drawn[box] = np.maximum(drawn[box], np.exp(-apart / (2 * spread**2)))
    return drawn


def _signs(
    image: np.ndarray,
    points: np.ndarray,
    disc: np.ndarray,
    counts: tuple[tuple[int, int], ...],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image with the signs of one grade, and where they are."""
    signs = np.zeros(points.shape[1:], bool)
    finest = 0.6 * float(points[0, 0, 1] - points[0, 0, 0])  # no spot is smaller than a pixel
    for kind, radii in enumerate(RADII):
        dark = kind < 2
        for _ in range(int(rng.integers(counts[kind][0], counts[kind][1] + 1))):
            spot = _spot(points, max(finest, rng.uniform(*radii)), soft=kind == 3, rng=rng)
            image = _mixed(
                image, spot * (0.85 if kind < 3 else 0.6), np.array(BLOOD if dark else PALE)
            )
            signs |= spot > 0.3
    for _ in range(int(rng.integers(counts[4][0], counts[4][1] + 1))):
        heading = float(rng.uniform(0, 2 * np.pi))
        beads: list[Bead] = []
        for _ in range(3):
            aside, turn = 0.3 * float(rng.standard_normal()), float(rng.uniform(-9, 9))
            beads += _branch(disc, heading + aside, turn, 0.014, rng)
        tuft = _drawn(beads, points)
        image = _mixed(image, 0.7 * tuft, np.array(BLOOD))
        signs |= tuft > 0.3
    return image, signs


def _spot(points: np.ndarray, radius: float, *, soft: bool, rng: np.random.Generator) -> np.ndarray:
    """Return a spot of ragged outline anywhere in the inner field, 0 to 1."""
    angle, distance = rng.uniform(0, 2 * np.pi), 0.85 * np.sqrt(rng.uniform(0.02, 1))
    x, y = points - distance * np.array([np.cos(angle), 0.75 * np.sin(angle)])[:, None, None]
    bearing = np.arctan2(y, x)
    outline = radius * (
        1 + 0.25 * np.cos(2 * bearing + angle) + 0.15 * np.cos(3 * bearing - 2 * angle)
    )
    edge = 0.6 * radius if soft else 0.35 * radius
    return np.clip((outline - np.hypot(x, y)) / edge + 0.5, 0, 1)


def _mixed(image: np.ndarray, share: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return image * (1 - share) + share * colour[:, None, None]


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write uint8 (rows, columns, 3) in the format of the name."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
