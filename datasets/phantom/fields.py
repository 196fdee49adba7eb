"""Sampling grids and smooth random fields of the phantom.

All positions are millimetres, right-anterior-superior; arrays are indexed in that order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Axes = tuple[Floats, Floats, Floats]

FIELD_OF_VIEW_MM = ((-110.0, 110.0), (-150.0, 130.0), (-190.0, 130.0))
"""Box in which every field is defined; grids lie inside it."""

_WHITE_NOISE_SD = 0.331
"""Standard deviation, at a random place, of a cubic B-spline over coefficients of variance 1."""


@dataclass(frozen=True)
class SamplingGrid:
    """A regular grid of voxels, its axes right, anterior, superior.

    Attributes:
        first_mm: Centre of the first voxel.
        spacing_mm: Voxel size along each axis.
        shape: Number of voxels along each axis.
    """

    first_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]

    @classmethod
    def covering(
        cls, box_mm: tuple[tuple[float, float], ...], spacing_mm: tuple[float, float, float]
    ) -> SamplingGrid:
        """The grid of a voxel size that starts at a box's lower corner and covers the box."""
        counts = [
            math.ceil((high - low) / step - 1e-9)
            for (low, high), step in zip(box_mm, spacing_mm, strict=True)
        ]
        first = [low + step / 2 for (low, _), step in zip(box_mm, spacing_mm, strict=True)]
        return cls((first[0], first[1], first[2]), spacing_mm, (counts[0], counts[1], counts[2]))

    def axes(self) -> Axes:
        """Positions of the voxel centres along each axis in mm."""
        x, y, z = (
            np.asarray(first + step * np.arange(count), dtype=np.float32)
            for first, step, count in zip(self.first_mm, self.spacing_mm, self.shape, strict=True)
        )
        return x, y, z

    def affine(self) -> NDArray[np.float64]:
        """The matrix that takes voxel indices to mm."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = self.first_mm
        return affine

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return math.prod(self.spacing_mm) / 1000.0


@dataclass(frozen=True)
class SmoothField:
    """A random function of space: a cubic B-spline over normal coefficients.

    It belongs to a subject, not to a grid, so that two scans of one subject see the same one.

    Attributes:
        coefficients: Array (I, J, K) on the lattice of knots.
        spacing_mm: Distance between knots, about the field's correlation length.
    """

    coefficients: Floats
    spacing_mm: float

    @classmethod
    def random(cls, rng: np.random.Generator, spacing_mm: float, sd: float) -> SmoothField:
        """Draw a field of mean 0 and standard deviation ``sd``."""
        shape = [math.ceil((high - low) / spacing_mm) + 4 for low, high in FIELD_OF_VIEW_MM]
        noise = rng.standard_normal(shape, dtype=np.float32)
        return cls(noise * np.float32(sd / _WHITE_NOISE_SD), spacing_mm)

    def on(self, axes: Axes) -> Floats:
        """Values (X, Y, Z) at the points of a grid.

        One axis after the other by elementwise sums, not by a matrix product: a BLAS may round
        differently with another number of threads, and a phantom's bytes must not.
        """
        values = self.coefficients
        for axis, (positions, (low, _)) in enumerate(zip(axes, FIELD_OF_VIEW_MM, strict=True)):
            knots = (positions - np.float32(low)) / np.float32(self.spacing_mm)
            index = np.floor(knots).astype(np.intp)
            weights = _bspline_weights(knots - index.astype(np.float32))
            shape = [1, 1, 1]
            shape[axis] = len(positions)
            terms = (
                np.take(values, index + tap, axis=axis) * weight.reshape(shape)
                for tap, weight in enumerate(weights)
            )
            total = next(terms)
            for term in terms:
                total += term
            values = total
        return values


def _bspline_weights(f: Floats) -> Floats:
    """Weights (4, N) of the coefficients around positions ``f`` in [0, 1) between two knots."""
    weights = (
        (1 - f) ** 3 / 6,
        (3 * f**3 - 6 * f**2 + 4) / 6,
        (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6,
        f**3 / 6,
    )
    return np.asarray(weights, dtype=np.float32)
