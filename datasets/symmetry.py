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
import scipy
from numpy.typing import NDArray

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
    soft_XYZ = scipy.ndimage.gaussian_filter(padded_XYZ, [_POINTS_MM / d for d in spacing_mm])
    exact_XYZ = soft_XYZ.astype(np.float64)

    voxels_3N = (points_mm / np.array(spacing_mm) + margins).T
    from_centre_mm = points_mm - centre_mm
    voxels_per_mm = 1 / np.array(spacing_mm)[:, None]

    def overlap(pose: NDArray[np.float64]) -> float:
        plane = _plane(centre_mm, pose)
        normal = np.array(plane.normal)
        heights_mm = from_centre_mm @ normal - plane.shift_mm
        index_3N = voxels_3N - 2 * normal[:, None] * voxels_per_mm * heights_mm
        return -float(_linear(exact_XYZ, index_3N).mean())

    bounds = [(-_MAX_SLOPE, _MAX_SLOPE)] * 2 + [(-_MAX_SHIFT_MM, _MAX_SHIFT_MM)]
    options = {"xtol": 1e-3, "ftol": 1e-5}
    best = scipy.optimize.minimize(
        overlap, np.zeros(3), method="Powell", bounds=bounds, options=options
    )
    return _plane(centre_mm, best.x)


def mirrored(
    values_XYZ: NDArray[np.float32], spacing_mm: tuple[float, float, float], plane: Midplane
) -> NDArray[np.float32]:
    """Values reflected about a plane, linear between voxels and 0 beyond them."""
    spacing, normal = np.array(spacing_mm), np.array(plane.normal)
    reflection = np.eye(3) - 2 * np.outer(normal, normal)
    shift_mm = 2 * (np.array(plane.centre_mm) @ normal + plane.shift_mm) * normal
    matrix = reflection * spacing / spacing[:, None]
    found: NDArray[np.float32] = scipy.ndimage.affine_transform(
        values_XYZ, matrix, shift_mm / spacing, order=1, mode="constant"
    )
    return found


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
    weight_XYZ = scipy.ndimage.gaussian_filter(mask_XYZ.astype(np.float32), sigmas)
    inside_XYZ = np.where(mask_XYZ, data_XYZ - np.float32(median), np.float32(0))
    own_XYZ = scipy.ndimage.gaussian_filter(inside_XYZ, sigmas) / np.maximum(weight_XYZ, 1e-3)
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
    thick_XYZ = np.zeros_like(mask_XYZ)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    # A ball that fits into a mask lies in one piece of it, so each piece is looked at alone.
    labels, n_pieces = scipy.ndimage.label(mask_XYZ)
    sizes_ml = np.bincount(labels.ravel(), minlength=n_pieces + 1) * voxel_ml
    for label, box in enumerate(scipy.ndimage.find_objects(labels), 1):
        if sizes_ml[label] >= MIN_DARKER_ML:
            thick_XYZ[box] |= _opened_by_ball(labels[box] == label, spacing_mm)
    labels, _ = scipy.ndimage.label(thick_XYZ)
    large = np.bincount(labels.ravel()) * voxel_ml >= MIN_DARKER_ML
    large[0] = False
    return np.asarray(large[labels])


def _opened_by_ball(
    mask_XYZ: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """The union of all balls of ``CORE_MM`` that fit into a mask."""
    core_XYZ = (
        scipy.ndimage.distance_transform_edt(np.pad(mask_XYZ, 1), sampling=spacing_mm) > CORE_MM
    )
    if not core_XYZ.any():
        return np.zeros_like(mask_XYZ)
    grown_XYZ = scipy.ndimage.distance_transform_edt(~core_XYZ, sampling=spacing_mm) <= CORE_MM
    return np.asarray(grown_XYZ[1:-1, 1:-1, 1:-1] & mask_XYZ)


def _plane(centre_mm: NDArray[np.float64], pose: NDArray[np.float64]) -> Midplane:
    normal = np.array([1.0, pose[0], pose[1]])
    x, y, z = (float(v) for v in normal / np.linalg.norm(normal))
    cx, cy, cz = (float(v) for v in centre_mm)
    return Midplane((cx, cy, cz), (x, y, z), float(pose[2]))


def _linear(values_XYZ: NDArray[np.float64], index_3N: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values between voxels, and 0 beyond them: ``ndimage.map_coordinates``, which takes longer."""
    last = np.array(values_XYZ.shape)[:, None] - 1
    inside_N = ((index_3N >= 0) & (index_3N <= last)).all(axis=0)
    low_3N = np.clip(index_3N.astype(np.intp), 0, last - 1)
    x, y, z = index_3N - low_3N
    row = values_XYZ.shape[2]
    plane = values_XYZ.shape[1] * row
    at_N = low_3N[0] * plane + low_3N[1] * row + low_3N[2]
    flat = values_XYZ.ravel()

    def along_z(offset: int) -> NDArray[np.float64]:
        before = flat[at_N + offset]
        return np.asarray(before + (flat[at_N + offset + 1] - before) * z)

    def across(offset: int) -> NDArray[np.float64]:
        before = along_z(offset)
        return np.asarray(before + (along_z(offset + row) - before) * y)

    before = across(0)
    found_N = np.where(inside_N, before + (across(plane) - before) * x, 0.0)
    return found_N.astype(np.float32)
