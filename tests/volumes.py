"""Small volumes of noise, as NIfTI files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHAPE = (6, 7, 8)
AFFINE = np.diag([2.0, 1.5, 3.0, 1.0])
AFFINE[:3, 3] = (-10, 20, 5)


def values(dtype: str = "int16") -> NDArray[np.generic]:
    rng = np.random.default_rng(7)
    return rng.integers(0, 100, SHAPE).astype(dtype)


def save(path: Path, data: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE) -> Path:
    nib.Nifti1Image(data, affine, dtype=data.dtype).to_filename(path)
    return path
