"""Mending brain masks: holes, and what a lesion at the cortex takes out of them.

A dark stroke that touches the cortex looks like the fluid around the brain, and tools leave it
out: the worst error here, for then the lesion is not even looked at. Two things are done about it.
What a closing would fill is given back where the other hemisphere, mirrored, has brain: fissures
and the notches between lobes are on both sides and stay open, a bite is on one. And where tissue
inside the mask is darker than its mirror image, the mask is widened by a few millimetres: no
intensity tells a lesion's rim from the fluid beside it, so it errs there on the generous side.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from datasets.qc import largest_piece
from datasets.symmetry import darker_than_mirror_image

CLOSING_MM = 20.0
"""Radius of the closing: bites are filled up to about twice as wide."""

WIDENING_MM = 4.0
"""How far a mask is widened beside a lesion; tools cut away this much of a dark one."""

REACH_MM = 7.0
"""How near to tissue darker than its mirror image a mask is widened."""

MIRROR_REACH_MM = 12.0
"""How near to it what the other side has of the brain is brain as well: a long lesion along the
cortex is shaved off evenly, by more than ``WIDENING_MM``, and leaves no dent that could be filled.
"""

LARGE_ML = 20.0
"""So much given back means that the plane between the sides was found from a mask that was far
off; it is looked for again, and the mirror image laid over once more."""

_GRID_MM = 2.5
"""Both is done on a grid about this coarse, which is fast and fine enough."""


T = TypeVar("T", bound=np.generic)


def fill_holes(mask_XYZ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add what a mask encloses, such as ventricles of exact zeros."""
    box = _box(mask_XYZ)
    if box is None:
        return mask_XYZ
    outside, _ = ndimage.label(~np.pad(mask_XYZ[box], 1))
    filled_XYZ = mask_XYZ.copy()
    filled_XYZ[box] = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return filled_XYZ


def fill_bites(
    mask_XYZ: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Add one-sided dents of a brain mask whose mirror image is brain.

    Args:
        mask_XYZ: bool brain mask in RAS, one piece.
        spacing_mm: Voxel size.
    """
    box = _box(mask_XYZ)
    if box is None:
        return mask_XYZ
    inside_XYZ = mask_XYZ[box]
    steps, sampling = _coarse_grid(spacing_mm)
    coarse = _thinned(inside_XYZ, steps)
    if not coarse.any():
        return mask_XYZ
    candidates = _close(coarse, sampling) & ~coarse
    filled_XYZ = mask_XYZ.copy()
    filled_XYZ[box] |= _refined(candidates, steps, inside_XYZ.shape) & _mirror(inside_XYZ)
    return fill_holes(filled_XYZ)


def widen_at_lesions(
    mask_XYZ: NDArray[np.bool_],
    data_XYZ: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.bool_]:
    """Widen a brain mask by ``WIDENING_MM``, or to its mirror image, where it is darker than that.

    Args:
        mask_XYZ: bool brain mask in RAS, one piece.
        data_XYZ: The image.
        spacing_mm: Voxel size.

    Returns:
        The widened mask; that very mask if both sides are alike, as in healthy heads.
    """
    widened_XYZ = _widened(mask_XYZ, data_XYZ, spacing_mm, WIDENING_MM)
    added_ml = float(widened_XYZ.sum() - mask_XYZ.sum()) * float(np.prod(spacing_mm)) / 1000
    if added_ml < LARGE_ML:
        return widened_XYZ
    return _widened(widened_XYZ, data_XYZ, spacing_mm, 0.0)


def _widened(
    mask_XYZ: NDArray[np.bool_],
    data_XYZ: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    widening_mm: float,
) -> NDArray[np.bool_]:
    if not mask_XYZ.any():
        return mask_XYZ
    # The mirror image may reach beyond the mask.
    box = _around(mask_XYZ, MIRROR_REACH_MM, spacing_mm)
    steps, sampling = _coarse_grid(spacing_mm)
    coarse = _thinned(mask_XYZ[box], steps)
    if not coarse.any():
        return mask_XYZ
    dark, mirror = darker_than_mirror_image(_thinned(data_XYZ[box], steps), coarse, sampling)
    if not dark.any():
        return mask_XYZ
    shape = mask_XYZ[box].shape
    widened_XYZ = mask_XYZ.copy()
    widened_XYZ[box] |= _refined(mirror & _within(dark, MIRROR_REACH_MM, sampling), steps, shape)
    marked_XYZ = np.zeros_like(mask_XYZ)
    marked_XYZ[box] = _refined(dark, steps, shape)
    near = _around(marked_XYZ, REACH_MM + widening_mm, spacing_mm)
    widened_XYZ[near] |= _within(marked_XYZ[near], REACH_MM, spacing_mm) & _within(
        mask_XYZ[near], widening_mm, spacing_mm
    )
    return fill_holes(largest_piece(widened_XYZ)[0])


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
    box = _box(mask_XYZ) or ()
    return tuple(slice(max(0, b.start - m), b.stop + m) for b, m in zip(box, margins, strict=True))


def _within(
    mask_XYZ: NDArray[np.bool_], distance_mm: float, spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    if not mask_XYZ.any():
        return mask_XYZ
    return np.asarray(ndimage.distance_transform_edt(~mask_XYZ, sampling=spacing_mm) <= distance_mm)


def _box(mask_XYZ: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    found = ndimage.find_objects(mask_XYZ.astype(np.uint8))
    return found[0] if found else None


def _close(mask_XYZ: NDArray[np.bool_], sampling: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Closing with a ball, by distances, since a ball of that size is slow as a structure."""
    margins = [int(CLOSING_MM / d) + 2 for d in sampling]
    padded = np.pad(mask_XYZ, [(m, m) for m in margins])
    grown = ndimage.distance_transform_edt(~padded, sampling=sampling) <= CLOSING_MM
    closed = ndimage.distance_transform_edt(grown, sampling=sampling) > CLOSING_MM
    return np.asarray(closed[tuple(slice(m, -m) for m in margins)] | mask_XYZ)


def _mirror(mask_XYZ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask reflected left to right about the plane that halves its volume."""
    half = np.cumsum(mask_XYZ.sum(axis=(1, 2), dtype=np.float64))
    half /= half[-1]
    # Twice the plane's position in edges between voxels: the nearest half voxel.
    edges = np.interp(0.5, np.concatenate(([0], half)), np.arange(len(half) + 1))
    source = round(2 * float(edges)) - 1 - np.arange(len(half))
    exists = (source >= 0) & (source < len(half))
    mirrored_XYZ = np.zeros_like(mask_XYZ)
    mirrored_XYZ[exists] = mask_XYZ[source[exists]]
    return mirrored_XYZ
