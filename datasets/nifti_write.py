"""Volumes written as NIfTI in the voxels of another file: its shape, its axes and its affine."""

from __future__ import annotations

import gzip
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from datasets.nifti_header import HeaderFacts

PACKING = 1
"""Level of gzip: scores hardly shrink further with more of it."""

_ALIGNED = 2  # what NIfTI calls coordinates aligned to another file


def stored_affine(facts: HeaderFacts) -> NDArray[np.float64]:
    """The affine of a file's own voxel indices.

    Args:
        facts: Of the file.

    Returns:
        (4, 4) float64, from indices as they are stored to mm.
    """
    to_ras = np.zeros((4, 4))
    to_ras[3, 3] = 1
    for stored, (axis, is_flipped) in enumerate(zip(facts.axes, facts.flips, strict=True)):
        to_ras[axis, stored] = -1 if is_flipped else 1
        to_ras[axis, 3] = facts.shape[axis] - 1 if is_flipped else 0
    affine: NDArray[np.float64] = facts.affine @ to_ras
    return affine


def nifti_bytes(data_XYZ: NDArray[Any], facts: HeaderFacts) -> bytes:
    """A volume as a packed NIfTI file, the same bytes every time.

    Args:
        data_XYZ: Values on RAS axes, of the file's shape on those; bool is stored as 0 and 1.
        facts: Of the file whose voxels they are.

    Raises:
        ValueError: If the shape is another.
    """
    if data_XYZ.shape != facts.shape:
        raise ValueError(f"the volume is {data_XYZ.shape}, and the file's {facts.shape}")
    stored = data_XYZ.view(np.uint8) if data_XYZ.dtype == np.bool_ else data_XYZ
    affine = stored_affine(facts)
    image = nib.Nifti1Image(np.asarray(facts.as_stored(stored)), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, _ALIGNED)
    image.set_qform(affine, _ALIGNED)
    if not np.allclose(image.get_qform(), affine, atol=1e-4):
        image.set_qform(None, 0)  # quaternions know no shear
    return gzip.compress(image.to_bytes(), PACKING, mtime=0)
