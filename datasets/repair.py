"""Mending brain masks: holes, and bites that a lesion at the cortex takes out of them.

A dark stroke that touches the cortex looks like the fluid around the brain, and tools leave it
out: the worst error here, for then the lesion is not even looked at. What a closing would fill is
given back where the other hemisphere, mirrored, has brain: fissures and the notches between lobes
are on both sides and stay open, a bite is on one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CLOSING_MM = 20.0
"""Radius of the closing: bites are filled up to about twice as wide."""

_GRID_MM = 2.5
"""The closing is made on a grid about this coarse, which is fast and fine enough for bites."""


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
    steps = [max(1, round(_GRID_MM / d)) for d in spacing_mm]
    coarse = inside_XYZ[tuple(slice(s // 2, None, s) for s in steps)]
    if not coarse.any():
        return mask_XYZ
    sampling = [s * d for s, d in zip(steps, spacing_mm, strict=True)]
    candidates = _close(coarse, sampling) & ~coarse
    at = np.ix_(
        *(
            np.minimum(np.arange(n) // s, m - 1)
            for n, s, m in zip(inside_XYZ.shape, steps, coarse.shape, strict=True)
        )
    )
    filled_XYZ = mask_XYZ.copy()
    filled_XYZ[box] |= candidates[at] & _mirror(inside_XYZ)
    return fill_holes(filled_XYZ)


def _box(mask_XYZ: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    found = ndimage.find_objects(mask_XYZ.astype(np.uint8))
    return found[0] if found else None


def _close(mask_XYZ: NDArray[np.bool_], sampling: list[float]) -> NDArray[np.bool_]:
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
