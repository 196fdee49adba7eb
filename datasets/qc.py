"""Quality control of brain masks: numbers first, then a verdict in words.

Skull stripping fails silently, so every mask, wherever it came from, is measured and held against
limits that a healthy or a badly damaged adult brain passes and the usual failures (neck, one
hemisphere, scraps of scalp) do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from datasets.boxes import bounding_box


@dataclass(frozen=True)
class BrainLimits:
    """What passes as a brain; wide enough for tumours, strokes, atrophy and template space.

    Attributes:
        min_volume_ml: Below it lies no whole brain: school children have 1000 ml, and partial
            coverage of an adult is meant to fail.
        max_volume_ml: The largest adult brains, enlarged to ICBM template space, have about 2000.
        min_largest_share: Share of the mask in its largest connected piece, which is all that is
            kept.
        max_offset: Distance of the mask's centre from the centre of the field of view, as a share
            of the field's side, to the left, right, front and back.
        max_offset_z: The same along the body: a long neck puts the brain high up.
        max_face_share: Mask area on a face of the field of view over the mask's largest
            cross-section parallel to it: how much of the brain is cut off. Tightly cropped
            stripped brains touch all faces a little.
        max_bottom_share: The same at the bottom, where the brain stem and often part of the
            cerebellum leave the field of view.
        min_extent_mm: Smallest plausible extents from left to right, back to front and bottom to
            top, the outermost 0.5 % of voxels at each end left aside.
        max_extent_mm: Largest; a mask with a neck is longer from top to bottom.
        max_asymmetry: |left - right| / (left + right) of the mask's volume about the middle of its
            left-right extent. Whole brains stay below 0.1; one hemisphere alone, or a leak to one
            side, lies above 0.25.
    """

    min_volume_ml: float = 600.0
    max_volume_ml: float = 2400.0
    min_largest_share: float = 0.9
    max_offset: float = 0.2
    max_offset_z: float = 0.35
    max_face_share: float = 0.3
    max_bottom_share: float = 0.7
    min_extent_mm: tuple[float, float, float] = (90.0, 110.0, 70.0)
    max_extent_mm: tuple[float, float, float] = (190.0, 230.0, 180.0)
    max_asymmetry: float = 0.25


LIMITS = BrainLimits()

_AXES = ("left-right", "front-back", "bottom-top")


@dataclass(frozen=True)
class BrainMeasures:
    """Measurements of a brain mask.

    Attributes:
        volume_ml: Of the largest piece.
        largest_share: That piece over the whole mask, before the rest was dropped.
        offset: Centre of the mask minus centre of the field of view over its side, X, Y, Z.
        face_share: Largest share of a cross-section on the left, right, back, front or top face.
        bottom_share: The same on the bottom face.
        extent_mm: Robust extents along X, Y, Z.
        asymmetry: Left-right difference of volume over the sum, 0 to 1.
    """

    volume_ml: float
    largest_share: float
    offset: tuple[float, float, float]
    face_share: float
    bottom_share: float
    extent_mm: tuple[float, float, float]
    asymmetry: float


def largest_piece(mask_XYZ: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
    """The largest face-connected piece of a mask, and its share of the mask's voxels.

    An empty mask is returned as it is, with share 0.
    """
    box = bounding_box(mask_XYZ)
    if box is None:
        return mask_XYZ, 0.0
    labels, n_pieces = scipy.ndimage.label(mask_XYZ[box])
    if n_pieces == 1:
        return mask_XYZ, 1.0
    sizes = np.bincount(labels.ravel())[1:]
    piece_XYZ = np.zeros_like(mask_XYZ)
    piece_XYZ[box] = labels == 1 + int(sizes.argmax())
    return piece_XYZ, float(sizes.max() / sizes.sum())


def measure_brain(
    mask_XYZ: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    voxel_mm3: float | None = None,
) -> tuple[NDArray[np.bool_], BrainMeasures]:
    """Keep the largest piece of a mask and measure it.

    Args:
        mask_XYZ: bool mask in RAS, not empty.
        spacing_mm: Voxel size.
        voxel_mm3: Volume of a voxel; that of a box of that size if it is not given.

    Returns:
        The largest piece, and its measurements.

    Raises:
        ValueError: If the mask is empty.
    """
    piece_XYZ, share = largest_piece(mask_XYZ)
    if share == 0.0:
        raise ValueError("the mask is empty")
    if voxel_mm3 is None:
        voxel_mm3 = float(np.prod(spacing_mm))
    profiles = [piece_XYZ.sum(axis=axes, dtype=np.int64) for axes in ((1, 2), (0, 2), (0, 1))]
    n_voxels = int(profiles[0].sum())
    offset = tuple(float((np.arange(len(p)) @ p / n_voxels + 0.5) / len(p) - 0.5) for p in profiles)
    low, high = zip(*(_robust_range(p) for p in profiles), strict=True)
    faces = [face for p in profiles for face in (p[0] / p.max(), p[-1] / p.max())]
    bottom = faces.pop(4)
    measures = BrainMeasures(
        volume_ml=n_voxels * voxel_mm3 / 1000,
        largest_share=share,
        offset=(offset[0], offset[1], offset[2]),
        face_share=float(max(faces)),
        bottom_share=float(bottom),
        extent_mm=(
            (high[0] - low[0]) * spacing_mm[0],
            (high[1] - low[1]) * spacing_mm[1],
            (high[2] - low[2]) * spacing_mm[2],
        ),
        asymmetry=_asymmetry(profiles[0], (low[0] + high[0]) / 2),
    )
    return piece_XYZ, measures


def verdict(measures: BrainMeasures, limits: BrainLimits = LIMITS) -> str:
    """Why a mask does not pass as a brain, in words; empty if it passes."""
    m, faults = measures, []
    if not limits.min_volume_ml <= m.volume_ml <= limits.max_volume_ml:
        faults.append(
            f"its volume of {m.volume_ml:.0f} ml is not within "
            f"{limits.min_volume_ml:.0f} to {limits.max_volume_ml:.0f} ml"
        )
    if m.largest_share < limits.min_largest_share:
        faults.append(f"it is in pieces, the largest holding {m.largest_share:.0%}")
    most_off = (limits.max_offset, limits.max_offset, limits.max_offset_z)
    for name, offset, most in zip(_AXES, m.offset, most_off, strict=True):
        if abs(offset) > most:
            faults.append(f"its centre is off by {abs(offset):.0%} of the field of view ({name})")
    if m.face_share > limits.max_face_share or m.bottom_share > limits.max_bottom_share:
        faults.append(
            f"it is cut off by the field of view ({m.face_share:.0%} of its cross-section at a "
            f"side or the top, {m.bottom_share:.0%} at the bottom)"
        )
    ranges = zip(limits.min_extent_mm, limits.max_extent_mm, strict=True)
    for name, extent, (least, most) in zip(_AXES, m.extent_mm, ranges, strict=True):
        if not least <= extent <= most:
            faults.append(
                f"its extent of {extent:.0f} mm ({name}) is not {least:.0f} to {most:.0f}"
            )
    if m.asymmetry > limits.max_asymmetry:
        faults.append(f"left and right differ by {m.asymmetry:.0%}")
    return "; ".join(faults)


def _robust_range(profile: NDArray[np.int64]) -> tuple[float, float]:
    """Ends, in voxels, between which all but 0.5 % of a profile lies on either side."""
    cumulative = np.concatenate(([0], np.cumsum(profile))) / profile.sum()
    edges = np.arange(len(profile) + 1)
    low, high = np.interp((0.005, 0.995), cumulative, edges)
    return float(low), float(high)


def _asymmetry(profile_X: NDArray[np.int64], middle: float) -> float:
    """|left - right| / (left + right) of a profile about a point in voxels."""
    cumulative = np.concatenate(([0], np.cumsum(profile_X)))
    left = float(np.interp(middle, np.arange(len(cumulative)), cumulative)) / float(cumulative[-1])
    return abs(2 * left - 1)
