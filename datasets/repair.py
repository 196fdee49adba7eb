"""Mending brain masks: holes, and what a dark lesion at the cortex takes out of them.

A dark stroke that touches the cortex looks like the fluid around the brain, and tools leave its
rim out: then that part of the lesion is not even looked at. On request, where tissue inside the
mask is far darker than its mirror image in the other hemisphere, the mask is widened: by a few
millimetres, or to the other side's border where that reaches farther. A healthy head has no such
tissue, and its mask stays as it is.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import scipy
from numpy.typing import NDArray

from datasets.boxes import bounding_box
from datasets.qc import largest_piece
from datasets.symmetry import darker_than_mirror_image

WIDENING_MM = 4.0
"""How far a mask is widened beside a lesion; tools cut away this much of a dark one."""

REACH_MM = 7.0
"""How near to tissue darker than its mirror image a mask is widened."""

MIRROR_REACH_MM = 12.0
"""How near to it what the other side has of the brain is brain as well: a long lesion along the
cortex is shaved off evenly, by more than ``WIDENING_MM``."""

MOST_ADDED_SHARE = 0.5
"""At most so much is added, as a share of the dark tissue that was found; the nearest first."""

MOST_ADDED_ML = 50.0
"""At most so much is added, however large a lesion is."""

DARKEST_SHARE = 0.6
"""Voxels darker than this share of the 10th percentile of the dark tissue are bone or air."""

BRIGHTEST_PERCENTILE = 99.0
"""Voxels brighter than this percentile of the brain are fat or vessels."""

_GRID_MM = 2.5
"""The sides are compared on a grid about this coarse, which is fast and fine enough."""

_BLOCKS_MM = 4 * _GRID_MM
"""More than what is lost of a distance where the coarse grid has blocks of several voxels: those
are at most 4/3 of ``_GRID_MM`` wide. One goes by a side, one by a diagonal."""


T = TypeVar("T", bound=np.generic)


def fill_holes(mask_XYZ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add what a mask encloses, such as ventricles of exact zeros."""
    box = bounding_box(mask_XYZ)
    if box is None:
        return mask_XYZ
    outside, _ = scipy.ndimage.label(~np.pad(mask_XYZ[box], 1))
    filled_XYZ = mask_XYZ.copy()
    filled_XYZ[box] = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return filled_XYZ


def widen_at_lesions(
    mask_XYZ: NDArray[np.bool_],
    data_XYZ: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.bool_]:
    """Widen a brain mask where it is far darker than its mirror image.

    Only voxels between bone and the brain's brightest are added, at most ``MOST_ADDED_SHARE`` of
    the dark tissue's volume and ``MOST_ADDED_ML``.

    Args:
        mask_XYZ: bool brain mask in RAS, one piece.
        data_XYZ: The image.
        spacing_mm: Voxel size.

    Returns:
        The widened mask; that very mask if both sides are alike, as in healthy heads.
    """
    if not mask_XYZ.any():
        return mask_XYZ
    box = _around(mask_XYZ, MIRROR_REACH_MM, spacing_mm)  # the mirror image may reach beyond it
    inside_XYZ, image_XYZ = mask_XYZ[box], data_XYZ[box]
    steps, sampling = _coarse_grid(spacing_mm)
    coarse = _thinned(inside_XYZ, steps)
    if not coarse.any():
        return mask_XYZ
    dark, mirror = darker_than_mirror_image(_thinned(image_XYZ, steps), coarse, sampling)
    if not dark.any():
        return mask_XYZ
    dark_XYZ = _refined(dark, steps, inside_XYZ.shape)
    mirror_XYZ = _refined(mirror & _within(dark, MIRROR_REACH_MM, sampling), steps, dark_XYZ.shape)
    low = DARKEST_SHARE * float(np.percentile(image_XYZ[dark_XYZ & inside_XYZ], 10))
    high = float(np.percentile(image_XYZ[inside_XYZ], BRIGHTEST_PERCENTILE))
    # All dark tissue is in the mask, so whatever may be added, and the voxel of the mask that is
    # nearest to it, lie within that box.
    at = _around(dark_XYZ, 2 * MIRROR_REACH_MM + _BLOCKS_MM, spacing_mm)
    inside_XYZ, image_XYZ = inside_XYZ[at], image_XYZ[at]
    distance_mm = _distance_mm(inside_XYZ, spacing_mm)
    near_XYZ = _within(dark_XYZ[at], REACH_MM, spacing_mm) & (distance_mm <= WIDENING_MM)
    near_XYZ |= mirror_XYZ[at]
    added_XYZ = near_XYZ & ~inside_XYZ & (image_XYZ >= low) & (image_XYZ <= high)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    dark_ml = float(dark.sum() * np.prod(sampling)) / 1000
    most = int(min(MOST_ADDED_SHARE * dark_ml, MOST_ADDED_ML) / voxel_ml)
    widened_XYZ = mask_XYZ.copy()
    widened_XYZ[box][at] |= _nearest(added_XYZ, distance_mm, most)
    return fill_holes(largest_piece(widened_XYZ)[0])


def _nearest(
    added_XYZ: NDArray[np.bool_], distance_mm: NDArray[np.float64], most: int
) -> NDArray[np.bool_]:
    """Those of some voxels that are nearest to the mask, at most a number of them."""
    if int(added_XYZ.sum()) <= most:
        return added_XYZ
    reach = np.partition(distance_mm[added_XYZ], most)[most]
    return np.asarray(added_XYZ & (distance_mm < reach))


def _coarse_grid(
    spacing_mm: tuple[float, float, float],
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Every how many voxels the coarse grid has one, and its voxel size."""
    x, y, z = (max(1, round(_GRID_MM / d)) for d in spacing_mm)
    return (x, y, z), (x * spacing_mm[0], y * spacing_mm[1], z * spacing_mm[2])


def _thinned(values_XYZ: NDArray[T], steps: tuple[int, int, int]) -> NDArray[T]:
    return values_XYZ[tuple(slice(s // 2, None, s) for s in steps)]


def _refined(
    coarse: NDArray[np.bool_], steps: tuple[int, int, int], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """A coarse mask on the fine grid, in blocks."""
    places = zip(shape, steps, coarse.shape, strict=True)
    return coarse[np.ix_(*(np.minimum(np.arange(n) // s, m - 1) for n, s, m in places))]


def _around(
    mask_XYZ: NDArray[np.bool_], reach_mm: float, spacing_mm: tuple[float, float, float]
) -> tuple[slice, ...]:
    """The box of a mask, widened."""
    margins = [int(np.ceil(reach_mm / d)) for d in spacing_mm]
    box = bounding_box(mask_XYZ) or ()
    return tuple(slice(max(0, b.start - m), b.stop + m) for b, m in zip(box, margins, strict=True))


def _within(
    mask_XYZ: NDArray[np.bool_], distance_mm: float, spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """What lies so near to a mask."""
    near_XYZ = np.zeros_like(mask_XYZ)
    if mask_XYZ.any():
        box = _around(mask_XYZ, distance_mm, spacing_mm)
        near_XYZ[box] = _distance_mm(mask_XYZ[box], spacing_mm) <= distance_mm
    return near_XYZ


def _distance_mm(
    mask_XYZ: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """How far each voxel is from a mask that is not empty; 0 inside it."""
    return np.asarray(scipy.ndimage.distance_transform_edt(~mask_XYZ, sampling=spacing_mm))
