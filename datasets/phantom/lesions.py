"""Lesions of the phantom: strokes on T1w, tumours on every modality.

A lesion is a place and a shape, then how far each voxel's signal moves towards that of diseased
tissue. With ``lesion_contrast`` 0 the places remain and no signal moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from datasets.phantom.anatomy import Anatomy
from datasets.phantom.contrast import Signals
from datasets.phantom.fields import Axes, Floats, SmoothField
from datasets.scan import Modality

NECROSIS, OEDEMA, ENHANCING = 1, 2, 4
"""BraTS's labels of a tumour's parts; a stroke has label 1 alone."""

_BLOOD = -0.9
"""Old blood is brighter than white matter on T1w: see ``LesionComponent.fluid``."""

_FLAIR_OF_T2W = -1.0
"""Where water is bound to tissue, it is as bright on FLAIR as on T2w; there that is fluid's side,
here the other one, since free fluid is dark."""


@dataclass(frozen=True)
class LesionComponent:
    """Diseased tissue of one kind.

    Attributes:
        amount: Fraction (X, Y, Z) of a voxel's signal that it replaces, in [0, 1].
        fluid: For each modality where its signal lies between grey matter (0) and fluid (1); below
            0 it lies on the other side of grey matter.
    """

    amount: Floats
    fluid: dict[Modality, float]


def _tissue(amount: Floats, t1w: float, t2w: float, flair: float | None = None) -> LesionComponent:
    flair = _FLAIR_OF_T2W * t2w if flair is None else flair
    return LesionComponent(amount, {"T1w": t1w, "T2w": t2w, "FLAIR": flair})


@dataclass(frozen=True)
class Lesion:
    """One connected lesion.

    Attributes:
        labels: Ground truth (X, Y, Z), uint8, 0 outside.
        parts: Its tissues, later ones on top.
    """

    labels: NDArray[np.uint8]
    parts: tuple[LesionComponent, ...]


def apply_lesions(
    signal: Floats,
    lesions: Sequence[Lesion],
    signals: Signals,
    modality: Modality,
    contrast: float,
) -> Floats:
    """Move a brain's signal (X, Y, Z) towards that of its lesions.

    Args:
        signal: Signal of the healthy brain; left as it is.
        lesions: Any number, also none.
        signals: The scan's own tissue contrast.
        modality: What kind of scan it is.
        contrast: Factor of the change: 0 leaves every bit as it was.
    """
    changed = signal.copy()
    for lesion in lesions:
        for part in lesion.parts:
            target = signals.grey + part.fluid[modality] * (signals.fluid - signals.grey)
            changed += np.float32(contrast) * part.amount * (np.float32(target) - changed)
    return changed


def draw_strokes(rng: np.random.Generator, anatomy: Anatomy) -> tuple[Lesion, ...]:
    """One to three chronic strokes: gliosis, the larger ones with a cavity of fluid within."""
    count = int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]))
    lesions: list[Lesion] = []
    taken = np.zeros(anatomy.depth.shape, dtype=bool)
    for number in range(count):
        volume_ml = float(np.clip(22.0 * np.exp(rng.normal(0, 1.0)), 2.0, 150.0)) / (1 + 2 * number)
        severity, cavity = rng.uniform(0.55, 1.0), rng.uniform(0.4, 1.0)
        allowed = _territory(rng, anatomy) & ~taken
        axes = anatomy.grid.axes()
        # Half of them deep in the white matter, half of them at or near the cortex.
        deep = (anatomy.depth < -12) & (anatomy.white > 0.5)
        near = anatomy.depth < -4
        centre = _centre(rng, allowed & (deep if rng.random() < 0.5 else near), axes)
        radius = _radius(rng, axes, centre, _ball_mm(volume_ml), roughness=0.28)
        inside, edge_mm = _grow(radius, allowed, volume_ml / anatomy.grid.voxel_ml)
        soft_mm = max(3.0, 0.35 * edge_mm)
        within = np.where(inside, edge_mm - radius, 0)
        gliosis = severity * (0.35 + 0.65 * _smoothstep(within / soft_mm)) * inside
        hole = severity * cavity * _smoothstep((within - 0.6 * soft_mm) / soft_mm) * inside
        parts = (
            _tissue(_partial_volume(gliosis), float(rng.uniform(0.05, 0.45)), 0.3),
            _tissue(_partial_volume(hole), 0.9, 0.95, flair=0.9),
        )
        lesions.append(Lesion(inside.astype(np.uint8), parts))
        taken |= scipy.ndimage.binary_dilation(inside, iterations=2)
    return tuple(lesions)


def draw_tumour(rng: np.random.Generator, anatomy: Anatomy, high_grade: bool) -> tuple[Lesion, ...]:
    """One glioma: core, an enhancing rim if of high grade, and oedema along the white matter."""
    volume_ml = float(np.clip(85.0 * np.exp(rng.normal(0, 0.5)), 20.0, 220.0))
    core_share = rng.uniform(0.2, 0.45)
    severity = rng.uniform(0.6, 1.0)
    bleeding = bool(rng.random() < 0.35) and high_grade
    allowed = _territory(rng, anatomy)
    axes = anatomy.grid.axes()
    centre = _centre(rng, allowed & (anatomy.depth < -10) & (anatomy.white > 0.5), axes)
    size_mm = _ball_mm(volume_ml)
    radius = _radius(rng, axes, centre, size_mm, roughness=0.16)
    # Oedema follows the white matter and halts at the cortex.
    spread = radius + np.float32(0.45 * size_mm) * anatomy.grey
    spread += SmoothField.random(rng, 16.0, 0.18 * size_mm).on(axes)
    whole, edge_mm = _grow(spread, allowed, volume_ml / anatomy.grid.voxel_ml)
    core, core_mm = _grow(radius, whole, core_share * volume_ml / anatomy.grid.voxel_ml)
    rim_mm = float(rng.uniform(2.5, 4.5)) if high_grade else 0.0
    rim = core & (radius > core_mm - rim_mm)
    labels = np.where(whole, OEDEMA, 0).astype(np.uint8)
    labels[core] = NECROSIS
    if high_grade:
        labels[rim] = ENHANCING
    texture = np.clip(1 + SmoothField.random(rng, 8.0, 0.15).on(axes), 0.6, 1.3)
    soft = 0.45 + 0.55 * _smoothstep((edge_mm - spread) / np.float32(0.35 * edge_mm))
    oedema = severity * soft * texture * whole
    parts = [
        _tissue(
            _partial_volume(oedema), float(rng.uniform(0.1, 0.4)), float(rng.uniform(0.35, 0.6))
        ),
        _tissue(
            _partial_volume((0.9 * severity * texture) * core),
            _BLOOD if bleeding else float(rng.uniform(0.4, 0.8)),
            float(rng.uniform(0.5, 0.9)),
        ),
    ]
    if high_grade:
        parts.append(_tissue(_partial_volume(0.8 * rim), -0.1, float(rng.uniform(0.05, 0.3))))
    return (Lesion(labels, tuple(parts)),)


def _territory(rng: np.random.Generator, anatomy: Anatomy) -> NDArray[np.bool_]:
    """Tissue of one half of the brain: arteries and falx keep most lesions on one side."""
    side = np.float32(rng.choice([-1.0, 1.0]))
    x = anatomy.grid.axes()[0].reshape(-1, 1, 1)
    return np.asarray((anatomy.depth < -0.5) & (anatomy.fluid < 0.6) & (side * x > 3.0))


def _centre(
    rng: np.random.Generator, where: NDArray[np.bool_], axes: Axes
) -> tuple[float, float, float]:
    """A random voxel's position in mm."""
    voxel = np.unravel_index(rng.choice(np.flatnonzero(where)), where.shape)
    x, y, z = (float(axis[i]) for axis, i in zip(axes, voxel, strict=True))
    return x, y, z


def _ball_mm(volume_ml: float) -> float:
    """Radius of a ball in mm."""
    return float(np.cbrt(volume_ml * 1000 * 3 / (4 * np.pi)))


def _radius(
    rng: np.random.Generator,
    axes: Axes,
    centre: tuple[float, float, float],
    size_mm: float,
    roughness: float,
) -> Floats:
    """Distance (X, Y, Z) from a centre in mm, stretched and roughened at random."""
    stretch = np.exp(rng.normal(0, 0.25, 3))
    stretch /= np.cbrt(np.prod(stretch))
    x, y, z = (
        ((axis - np.float32(c)) * np.float32(s)).reshape(shape)
        for axis, c, s, shape in zip(
            axes, centre, stretch, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True
        )
    )
    radius = np.sqrt(x**2 + y**2 + z**2)
    radius = radius + SmoothField.random(rng, 18.0, roughness * size_mm).on(axes)
    return np.asarray(radius + SmoothField.random(rng, 8.0, 0.35 * roughness * size_mm).on(axes))


def _grow(
    radius: Floats, allowed: NDArray[np.bool_], voxels: float
) -> tuple[NDArray[np.bool_], float]:
    """The nearest ``voxels`` of the allowed ones, largest piece only, and the distance reached."""
    candidates = radius[allowed]
    count = int(min(max(voxels, 8), candidates.size - 1))
    reached = float(np.partition(candidates, count)[count])
    inside = allowed & (radius <= reached)
    pieces, _ = scipy.ndimage.label(inside)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    filled = scipy.ndimage.binary_fill_holes(pieces == int(sizes.argmax()))
    return np.asarray(filled & allowed), reached


def _smoothstep(x: NDArray[np.floating]) -> Floats:
    """From 0 at 0 to 1 at 1 with a slope of 0 at both ends."""
    t = np.clip(x, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _partial_volume(amount: Floats) -> Floats:
    """Soften the step at a lesion's border as voxels of finite size do."""
    return np.asarray(
        np.clip(scipy.ndimage.gaussian_filter(amount.astype(np.float32), 0.6, truncate=3.0), 0, 1)
    )
