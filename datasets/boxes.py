"""The box that holds a mask, found without labelling the mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bounding_box(mask_XYZ: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds every marked voxel of a mask.

    Args:
        mask_XYZ: bool mask, of any memory layout.

    Returns:
        A slice along each axis; ``None`` if nothing is marked.
    """
    # The middle of three passes over all voxels would be the slow one, across memory.
    marked_YZ = np.asarray(mask_XYZ.any(axis=0))
    y = np.flatnonzero(marked_YZ.any(axis=1))
    if not len(y):
        return None
    z = np.flatnonzero(marked_YZ.any(axis=0))
    y_box, z_box = slice(int(y[0]), int(y[-1]) + 1), slice(int(z[0]), int(z[-1]) + 1)
    x = np.flatnonzero(mask_XYZ[:, y_box, z_box].any(axis=(1, 2)))
    return slice(int(x[0]), int(x[-1]) + 1), y_box, z_box
