"""A subject of the phantom: the reference head under a random smooth deformation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from datasets.phantom import head as _head
from datasets.phantom.fields import Axes, Floats, SamplingGrid, SmoothField
from datasets.phantom.head import Head, load_head

_WARPS = ((50.0, 2.4), (18.0, 1.8), (9.0, 0.9))
"""Correlation lengths and standard deviations in mm of the fields that move tissue: lobes, gyri,
and the course of single sulci. A field that moves by much more than a tenth of its length folds
the brain over itself."""

_VENTRICLES_MM = (0.0, -15.0, 12.0)
_VENTRICLES_SPREAD_MM = 28.0
"""Middle of the ventricles in the template, and how far around it they are widened."""


@dataclass(frozen=True)
class Pose:
    """How far the heads of a cohort differ in size and position.

    Attributes:
        scale: Mean length of a head relative to the template's, which is larger than life.
        scale_sd: Standard deviation of the logarithm of that length.
        turn_deg: Standard deviation of the rotation about each axis.
        shift_mm: Standard deviation of the position.
    """

    scale: float
    scale_sd: float
    turn_deg: float
    shift_mm: float


@dataclass(frozen=True)
class Subject:
    """The shape of one subject's head, whatever grid it is looked at on.

    Attributes:
        to_template: Matrix (3, 3) from the subject's mm to the template's.
        shift_mm: Position of the template's origin in the subject's mm.
        warp: Displacement in template mm along each axis, each the sum of several fields.
        fluid: Change of the log-odds of fluid from place to place: wide here, narrow sulci there.
        ribbon: The same between white and grey matter: the thickness of the cortex.
        cortex: Change of these log-odds everywhere; above 0 the cortex is thin.
        atrophy: Change of the log-odds of fluid everywhere.
        ventricles: How far the ventricles are widened, as a share; below 0 they are narrow.
        skull: Change of the skull's thickness in mm.
        fluid_rim_mm: Thickness of the fluid between brain and skull.
    """

    to_template: NDArray[np.float64]
    shift_mm: NDArray[np.float64]
    warp: tuple[tuple[SmoothField, ...], ...]
    fluid: tuple[SmoothField, ...]
    ribbon: SmoothField
    cortex: float
    atrophy: float
    ventricles: float
    skull: SmoothField
    fluid_rim_mm: float


@dataclass(frozen=True)
class Anatomy:
    """A subject on a grid, all arrays (X, Y, Z), axes right, anterior, superior.

    Attributes:
        grid: The grid.
        depth: Distance to the brain's surface in mm, negative inside.
        fluid: Fraction of cerebrospinal fluid among the brain's three tissues.
        grey: Fraction of grey matter.
        white: Fraction of white matter; the three sum to 1 where ``depth`` is small.
        labels: What lies outside the brain; ``FLUID`` within it.
    """

    grid: SamplingGrid
    depth: Floats
    fluid: Floats
    grey: Floats
    white: Floats
    labels: NDArray[np.uint8]

    @property
    def brain(self) -> NDArray[np.bool_]:
        """The true brain mask: the template's own, deformed."""
        return self.depth < 0


def draw_subject(rng: np.random.Generator, pose: Pose) -> Subject:
    """Draw the shape of a subject."""
    # Cut at two standard deviations: no head is larger than heads are.
    size = pose.scale * np.exp(pose.scale_sd * np.clip(rng.normal(), -2, 2))
    stretch = size * np.exp(0.6 * pose.scale_sd * np.clip(rng.normal(size=3), -2, 2))
    turn = _rotation(np.deg2rad(np.clip(rng.normal(0, pose.turn_deg, 3), -8, 8)))
    return Subject(
        to_template=np.diag(1 / stretch) @ turn,
        shift_mm=np.clip(rng.normal(0, pose.shift_mm, 3), -8, 8),
        warp=tuple(
            tuple(SmoothField.random(rng, spacing, sd) for spacing, sd in _WARPS) for _ in range(3)
        ),
        fluid=(SmoothField.random(rng, 28.0, 0.3), SmoothField.random(rng, 8.0, 1.1)),
        ribbon=SmoothField.random(rng, 8.0, 1.0),
        cortex=float(np.clip(rng.normal(0, 0.5), -1.0, 1.0)),
        atrophy=float(rng.normal(0.1, 0.4)),
        ventricles=float(np.clip(rng.normal(0.1, 0.3), -0.4, 0.6)),
        skull=SmoothField.random(rng, 35.0, 0.8),
        fluid_rim_mm=float(rng.uniform(0.5, 1.4)),
    )


def look_at(subject: Subject, grid: SamplingGrid) -> Anatomy:
    """Evaluate a subject on a grid."""
    head = load_head()
    axes = grid.axes()
    points = template_points(subject, axes)
    on_head = _indices(points, head.grid.first_mm, head.grid.spacing_mm[0])
    depth = _sample(head.depth, on_head, 1)
    hull = _sample(head.hull, on_head, 1)
    labels = scipy.ndimage.map_coordinates(head.labels, on_head, order=0, mode="constant", cval=0)
    labels = _add_layers(subject, axes, depth, hull, np.asarray(labels))
    near = depth < 3.0
    fluid, grey, white = _tissues(subject, axes, head, [p[near] for p in points], near)
    return Anatomy(grid, depth, fluid, grey, white, labels)


def template_points(subject: Subject, axes: Axes) -> list[Floats]:
    """Template positions in mm of all grid points, one array (X, Y, Z) per component."""
    centred = [
        (axis - np.float32(shift)).reshape(shape)
        for axis, shift, shape in zip(
            axes, subject.shift_mm, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True
        )
    ]
    points = []
    for row, fields in zip(subject.to_template.astype(np.float32), subject.warp, strict=True):
        moved = row[0] * centred[0] + row[1] * centred[1] + row[2] * centred[2]
        for field in fields:
            moved = moved + field.on(axes)
        points.append(moved)
    return _widen_ventricles(points, subject.ventricles)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation about the three axes by angles in radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        single = np.eye(3)
        single[i, i] = single[j, j] = np.cos(angle)
        single[i, j], single[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ single
    return matrix


def _widen_ventricles(points: list[Floats], share: float) -> list[Floats]:
    """Move template positions towards the middle of the ventricles, which widens them."""
    from_middle = [p - np.float32(c) for p, c in zip(points, _VENTRICLES_MM, strict=True)]
    squared = from_middle[0] ** 2 + from_middle[1] ** 2 + from_middle[2] ** 2
    pull = np.float32(share) * np.exp(squared / np.float32(-2 * _VENTRICLES_SPREAD_MM**2))
    return [p - pull * away for p, away in zip(points, from_middle, strict=True)]


def _indices(
    points: list[Floats], first_mm: tuple[float, float, float], spacing_mm: float
) -> list[Floats]:
    """Positions in mm as fractional indices of an array."""
    return [
        (p - np.float32(f)) / np.float32(spacing_mm) for p, f in zip(points, first_mm, strict=True)
    ]


def _sample(array: Floats, at: list[Floats], order: int) -> Floats:
    """Interpolate an array, its edge values beyond its border."""
    found = scipy.ndimage.map_coordinates(array, at, order=order, mode="nearest", prefilter=False)
    return np.asarray(found, dtype=np.float32)


def _add_layers(
    subject: Subject, axes: Axes, depth: Floats, hull: Floats, labels: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Paint fluid, skull and scalp as shells around the brain over the face and neck."""
    thickness = subject.skull.on(axes)
    height = axes[2].reshape(1, 1, -1)
    # Towards the skull base the shells end and the drawn solids (face, neck) go on.
    fade = np.clip((height + 48.0) / 28.0, 0, 1)
    rim = np.float32(subject.fluid_rim_mm)
    skull = rim + 6.0 + thickness
    scalp = skull + (6.0 + thickness) * fade
    layered = labels.copy()
    shell = hull < scalp
    layered[shell & ((labels == _head.AIR) | (labels == _head.SKIN))] = _head.SKIN
    layered[shell & (hull < scalp - 1.8) & (height > -45)] = _head.FAT
    bone = hull < skull * np.maximum(fade, 0.45)
    layered[bone] = _head.BONE
    layered[(hull > rim + 2.2) & (hull < skull - 1.8) & (height > -25)] = _head.MARROW
    cord = (labels == _head.CORD) | (labels == _head.FLUID)
    layered[cord] = labels[cord]
    layered[(hull < rim) | (depth < rim)] = _head.FLUID
    layered[cord & (depth > 0)] = labels[cord & (depth > 0)]
    return layered


def _tissues(
    subject: Subject, axes: Axes, head: Head, points: list[Floats], near: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Fractions of fluid, grey and white matter where ``near``; elsewhere all fluid."""
    at = _indices(points, head.tissue_first_mm, 1.0)
    grey, white = _sample(head.grey, at, 1), _sample(head.white, at, 1)
    fluid = np.clip(1 - grey - white, 0, 1)
    shift = sum((field.on(axes)[near] for field in subject.fluid), np.float32(subject.atrophy))
    ribbon = subject.ribbon.on(axes)[near] + np.float32(subject.cortex)
    # The template is an average of many brains; a single one has sharper borders.
    odds = [
        (fluid + 0.01) ** 1.8 * np.exp(shift),
        (grey + 0.01) ** 1.8,
        (white + 0.01) ** 1.8 * np.exp(ribbon),
    ]
    total = odds[0] + odds[1] + odds[2]
    full = []
    for value, elsewhere in zip(odds, (1.0, 0.0, 0.0), strict=True):
        fraction = np.full(near.shape, elsewhere, dtype=np.float32)
        fraction[near] = value / total
        full.append(fraction)
    return full[0], full[1], full[2]
