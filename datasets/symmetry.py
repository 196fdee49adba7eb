"""Left against right: the plane that halves a head, and tissue darker than its mirror image.

Fissures, ventricles and sulci are on both sides; a lesion seldom is. So a dark lesion is found
without knowing what healthy tissue looks like in this image (Nachev 2008 fills lesions from the
other side for the same reason). One that lies on both sides of the midline alike is missed. Only
dark ones are looked for: brain extraction does not cut bright ones away, and fluid that is bright
on T2w differs between the sides of healthy heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

DARKER = 0.25
"""Difference from the mirror image, as a share of the brain's median, that is no asymmetry of a
healthy head where it is thick enough: the whole heads that it was measured on show nothing."""

SMOOTHING_MM = 2.0
CORE_MM = 4.0
"""What is thinner than twice this is a vessel or a sulcus that lies elsewhere on the other side."""

MIN_DARKER_ML = 1.0

_MAX_SLOPE = 0.3
_MAX_SHIFT_MM = 15.0
_POINTS_MM = 4.0


@dataclass(frozen=True)
class Midplane:
    """The points p (mm from the first voxel) with ``normal . (p - centre) = shift_mm``.

    Attributes:
        centre_mm: Centre of the mask it was found from.
        normal: Unit vector to the right.
        shift_mm: Distance of the plane from that centre.
    """

    centre_mm: tuple[float, float, float]
    normal: tuple[float, float, float]
    shift_mm: float


def find_midplane(mask_XYZ: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Midplane:
    """The plane about which a brain mask is most symmetric, tilted by up to about 17 degrees.

    Args:
        mask_XYZ: bool brain mask in RAS, not empty.
        spacing_mm: Voxel size.
    """
    steps = tuple(slice(None, None, max(1, round(_POINTS_MM / d))) for d in spacing_mm)
    sizes = np.array([s.step * d for s, d in zip(steps, spacing_mm, strict=True)])
    points_mm = np.argwhere(mask_XYZ[steps]) * sizes
    centre_mm = points_mm.mean(axis=0)
    # Air around the mask, or a tightly cut field of view would pull the plane.
    margins = [int(np.ceil(4 * _POINTS_MM / d)) for d in spacing_mm]
    padded_XYZ = np.pad(mask_XYZ.astype(np.float32), [(m, m) for m in margins])
    soft_XYZ = ndimage.gaussian_filter(padded_XYZ, [_POINTS_MM / d for d in spacing_mm])

    def overlap(pose: NDArray[np.float64]) -> float:
        reflected_mm = _reflect(points_mm, _plane(centre_mm, pose))
        index = reflected_mm / np.array(spacing_mm) + margins
        return -float(ndimage.map_coordinates(soft_XYZ, index.T, order=1).mean())

    bounds = [(-_MAX_SLOPE, _MAX_SLOPE)] * 2 + [(-_MAX_SHIFT_MM, _MAX_SHIFT_MM)]
    options = {"xtol": 1e-3, "ftol": 1e-5}
    best = optimize.minimize(overlap, np.zeros(3), method="Powell", bounds=bounds, options=options)
    return _plane(centre_mm, best.x)


def mirrored(
    values_XYZ: NDArray[np.float32], spacing_mm: tuple[float, float, float], plane: Midplane
) -> NDArray[np.float32]:
    """Values reflected about a plane, linear between voxels and 0 beyond them."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in values_XYZ.shape), indexing="ij"), -1)
    points_mm = index.reshape(-1, 3) * np.array(spacing_mm)
    at = (_reflect(points_mm, plane) / np.array(spacing_mm)).T
    found: NDArray[np.float32] = ndimage.map_coordinates(values_XYZ, at, order=1, mode="constant")
    return found.reshape(values_XYZ.shape)


def darker_than_mirror_image(
    data_XYZ: NDArray[np.float32],
    mask_XYZ: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Thick pieces of brain that are far darker than the other side's, and the other side's mask.

    They are farther from the brain's median than what they are compared with, so dark tissue
    opposite a bright lesion is not meant. Made for a grid of about 2 mm; finer ones cost time.

    Args:
        data_XYZ: Intensities, any unit.
        mask_XYZ: bool brain mask, not empty.
        spacing_mm: Voxel size.

    Returns:
        bool masks: the pieces, and the brain mask's mirror image.
    """
    median = float(np.median(data_XYZ[mask_XYZ]))
    sigmas = [SMOOTHING_MM / d for d in spacing_mm]
    weight_XYZ = ndimage.gaussian_filter(mask_XYZ.astype(np.float32), sigmas)
    inside_XYZ = np.where(mask_XYZ, data_XYZ - np.float32(median), np.float32(0))
    own_XYZ = ndimage.gaussian_filter(inside_XYZ, sigmas) / np.maximum(weight_XYZ, 1e-3)
    plane = find_midplane(mask_XYZ, spacing_mm)
    other_XYZ = mirrored(own_XYZ, spacing_mm, plane)
    mirror_XYZ = mirrored(mask_XYZ.astype(np.float32), spacing_mm, plane) > 0.5
    known_XYZ = mask_XYZ & mirror_XYZ
    darker_XYZ = other_XYZ - own_XYZ > DARKER * abs(median)
    stranger_XYZ = np.abs(own_XYZ) > np.abs(other_XYZ)
    return _thick_pieces(known_XYZ & darker_XYZ & stranger_XYZ, spacing_mm), mirror_XYZ


def _thick_pieces(
    mask_XYZ: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """What a ball of ``CORE_MM`` fits into, in pieces of ``MIN_DARKER_ML`` at least."""
    core_XYZ = ndimage.distance_transform_edt(np.pad(mask_XYZ, 1), sampling=spacing_mm) > CORE_MM
    if not core_XYZ.any():
        return np.zeros_like(mask_XYZ)
    grown_XYZ = ndimage.distance_transform_edt(~core_XYZ, sampling=spacing_mm) <= CORE_MM
    labels, _ = ndimage.label(grown_XYZ[1:-1, 1:-1, 1:-1] & mask_XYZ)
    sizes_ml = np.bincount(labels.ravel()) * float(np.prod(spacing_mm)) / 1000
    large = sizes_ml >= MIN_DARKER_ML
    large[0] = False
    return np.asarray(large[labels])


def _plane(centre_mm: NDArray[np.float64], pose: NDArray[np.float64]) -> Midplane:
    normal = np.array([1.0, pose[0], pose[1]])
    x, y, z = (float(v) for v in normal / np.linalg.norm(normal))
    cx, cy, cz = (float(v) for v in centre_mm)
    return Midplane((cx, cy, cz), (x, y, z), float(pose[2]))


def _reflect(points_mm: NDArray[np.float64], plane: Midplane) -> NDArray[np.float64]:
    normal = np.array(plane.normal)
    heights = (points_mm - np.array(plane.centre_mm)) @ normal - plane.shift_mm
    reflected: NDArray[np.float64] = points_mm - 2 * heights[:, None] * normal
    return reflected
