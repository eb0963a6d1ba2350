"""Where the voxels of a label map lie: the edges of a voxel in mm, and which axes count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from bench.errors import BenchError

Index = tuple[slice | int, ...]
# Headers round: two lengths that differ by less, as a share of the larger, are one length. An affine
# stored as float32 is off by 1e-7, text of six digits by 5e-6.
SAME = 1e-4
LEAN = 1e-3  # cosine of the angle of two axes; below it they are taken to be at right angles


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid of voxels.

    Attributes:
        shape: voxels along each axis.
        edges: (axes, n), a row for each axis: the vector in mm from a voxel to the next. A diagonal matrix
            where the axes are at right angles.
        volume: of one voxel in mm3; None of a grid of fewer than three axes.
    """

    shape: tuple[int, ...]
    edges: np.ndarray
    volume: float | None

    @classmethod
    def of(
        cls, shape: tuple[int, ...], spacing: tuple[float, ...], affine: np.ndarray | None = None
    ) -> Grid:
        """Return a label map's grid.

        Args:
            shape: voxels along each axis.
            spacing: edge lengths of a voxel in mm, one for each axis.
            affine: (3, 3) or (4, 4), voxels to mm; it counts where its axes are not at right angles.

        Raises:
            BenchError: spacing or affine do not fit the shape.
        """
        if len(spacing) != len(shape) or not all(0 < s < math.inf for s in spacing):
            raise BenchError(
                f"spacing {tuple(spacing)}: give {len(shape)} positive edge lengths in mm"
            )
        edges = np.diag(np.asarray(spacing, dtype=np.float64))
        if affine is not None:
            sheared = np.asarray(affine, dtype=np.float64)[:3, :3].T
            # a NaN fails, too
            if sheared.shape != edges.shape or not abs(np.linalg.det(sheared)) > 0:
                raise BenchError(
                    f"affine: give an invertible matrix for the {len(shape)} axes of the maps"
                )
            edges = edges if at_right_angles(affine) else sheared
        volume = abs(float(np.linalg.det(edges))) if len(shape) == 3 else None
        return cls(tuple(shape), edges, volume)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Return the length of a voxel's edges in mm."""
        return tuple(np.linalg.norm(self.edges, axis=1).tolist())

    @property
    def square(self) -> bool:
        """Tell whether the axes are at right angles."""
        return np.array_equal(self.edges, np.diag(np.diagonal(self.edges)))

    @property
    def heights(self) -> np.ndarray:
        """Return how far apart, in mm, two neighbouring planes of voxels lie, for each axis."""
        gram = self.edges @ self.edges.T
        return 1 / np.sqrt(np.diagonal(np.linalg.inv(gram)))

    @property
    def diagonal(self) -> float:
        """Return the longest way in mm from a corner of the grid to another."""
        sides = self.edges * np.array(self.shape)[:, np.newaxis]
        ways = [np.array(signs) @ sides for signs in product((1, -1), repeat=len(self.shape))]
        return float(max(np.linalg.norm(way) for way in ways))

    def along(self, axes: tuple[int, ...]) -> Grid:
        """Return the grid of some of the axes, in their order; a voxel keeps its volume."""
        rows = self.edges[list(axes)]
        columns = list(axes) if self.square else slice(None)
        return Grid(tuple(self.shape[axis] for axis in axes), rows[:, columns], self.volume)


def at_right_angles(affine: np.ndarray) -> bool:
    """Tell whether the axes of an affine (3, 3) or (4, 4) are at right angles, as far as headers round."""
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    unit = columns / np.linalg.norm(columns, axis=0)
    return bool(np.abs(unit.T @ unit - np.eye(3)).max() < LEAN)


def long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes along which a grid has several voxels; the first where it has one voxel in all.

    A slice of one voxel's thickness is a picture: along its third axis every voxel is at the border, so all
    would be surface, and the thickness is no distance in it.
    """
    return tuple(axis for axis, n in enumerate(shape) if n != 1) or (0,)


def index_of(axes: tuple[int, ...], ndim: int) -> Index:
    """Return the index that drops all axes but these, whose length is 1."""
    return tuple(slice(None) if axis in axes else 0 for axis in range(ndim))


def blanked(
    prediction: np.ndarray, reference: np.ndarray, void: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return two label maps in which every voxel whose reference is void is background in both.

    A prediction that says void where there is none says background, too: void is no label.

    Args:
        prediction: label map.
        reference: of the same shape.
        void: the value of voxels that nobody labelled; None: there is none.
    """
    if void is None:
        return prediction, reference
    labelled = np.asarray(reference) != void
    return prediction * (labelled & (np.asarray(prediction) != void)), reference * labelled
