"""Linear resampling along the two axes of a slice, as matrices.

A separable linear resize is ``R @ image @ C.T``. Building the matrices here, in millimetres and
from the centre outwards, makes the result of a flipped input exactly the flipped result, which no
library resize promises. Shape legend: S slices, H = W = 128 rows and columns, X and Y voxels.
"""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray

_AT_ONCE = 64
"""Slices that are resampled together: 32 MB of planes of 256x256 voxels."""


def interpolation_matrix(
    targets: int, target_step: float, sources: int, source_step: float, offset: float = 0.0
) -> NDArray[np.float64]:
    """Weights of a linear interpolation from one regular grid to another, centred on each other.

    Where the target grid is the coarser one, the triangle is widened to the target's step, which
    keeps fine structure from aliasing. Sources beyond the ends count as zero.

    Args:
        targets: Number of target samples.
        target_step: Distance between target samples, in any unit.
        sources: Number of source samples.
        source_step: Distance between source samples, in the same unit.
        offset: Centre of the target grid minus the centre of the source grid, in that unit.

    Returns:
        float64 array (targets, sources); rows sum to 1 where no source beyond the ends was needed.
    """
    width = max(target_step, source_step)
    target_at = (np.arange(targets) - (targets - 1) / 2) * target_step + offset
    beyond = math.ceil((width + abs(offset) + targets * target_step) / source_step)
    source_at = (np.arange(-beyond, sources + beyond) - (sources - 1) / 2) * source_step
    weights = np.maximum(1 - np.abs(target_at[:, None] - source_at[None, :]) / width, 0)
    # fsum rounds once, whatever the order, so that flipped grids get flipped weights to the bit.
    sums = np.array([math.fsum(row) for row in weights])
    normalised: NDArray[np.float64] = weights / sums[:, None]
    return normalised[:, beyond : beyond + sources]


def resample(
    stack_SYX: NDArray[np.generic], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Apply a row matrix (H, Y) and a column matrix (W, X) to every slice: (S, H, W) float64.

    Nearly all weights are zero, and only the others are computed with.
    """
    sparse_rows, sparse_columns = scipy.sparse.csr_array(rows), scipy.sparse.csr_array(columns)
    resized_SHW = np.empty((len(stack_SYX), len(rows), len(columns)))
    # Some slices at a time, in one memory layout: memory stays small, and the sums come out the
    # same however the volume was laid out before.
    for start in range(0, len(stack_SYX), _AT_ONCE):
        block_SYX = stack_SYX[start : start + _AT_ONCE]
        n, height, width = block_SYX.shape
        dense_XYS = np.ascontiguousarray(block_SYX.transpose(2, 1, 0), dtype=np.float64)
        half_WYS = (sparse_columns @ dense_XYS.reshape(width, height * n)).reshape(-1, height, n)
        for column, half_YS in enumerate(half_WYS):
            resized_SHW[start : start + n, :, column] = (sparse_rows @ half_YS).T
    return resized_SHW
