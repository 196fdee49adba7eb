"""Reading NIfTI: the only place where voxels come from.

A volume arrives as float32 on RAS axes, or not at all. It is read slab by slab straight into its
final array, so a scan takes four bytes a voxel, whatever type it is stored in, and a packed file
is never unpacked beyond what its header promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from datasets.nifti_grid import place_mask
from datasets.nifti_header import (
    SLACK_BYTES,
    HeaderFacts,
    ScanError,
    check_header,
    named_errors,
    open_stream,
)

__all__ = ["HeaderFacts", "ScanError", "Volume", "check_header", "load_mask", "load_volume"]

MAX_NON_FINITE = 0.9
"""Above this share of NaN or infinite voxels an image is refused. Some tools fill all but the
brain with NaN, and a brain may be less than a fifth of its image."""

MAX_LABEL = 16
"""Whole numbers up to this in a mask are labels; others are shades between 0 and full."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One image on RAS axes.

    Attributes:
        data_XYZ: (X, Y, Z) float32, all finite; x runs to the right, y to anterior, z to superior.
        affine: (4, 4) float64, from voxel indices to mm.
        spacing_mm: Voxel size along x, y, z.
        notes: What a person should know about the file.
    """

    data_XYZ: NDArray[np.float32]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...] = ()


def load_volume(path: Path) -> Volume:
    """Read an image.

    Negative values are kept; NaN and infinite ones become 0, with a note.

    Raises:
        ScanError: If the header is refused (see ``check_header``), the file is damaged, holds less
            or more than its header promises, is mostly not finite, or has one value everywhere.
    """
    facts = check_header(path)
    data_XYZ, non_finite = _read(path, facts)
    notes = facts.notes
    if non_finite:
        if non_finite > MAX_NON_FINITE * data_XYZ.size:
            raise ScanError(f"{path} has {non_finite:,} of {data_XYZ.size:,} voxels not finite")
        notes = (*notes, f"{non_finite} voxels are NaN or infinite and count as 0")
    if data_XYZ.min() == data_XYZ.max():
        raise ScanError(f"{path} has the value {data_XYZ.flat[0]:g} in every voxel")
    return Volume(data_XYZ, facts.affine, facts.spacing_mm, notes)


def load_mask(
    path: Path, like: Volume, image_path: Path
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Read a mask onto the grid of its image.

    Labels (one value, or whole numbers up to ``MAX_LABEL``: BraTS) count from above 0. Anything
    else is a shaded mask, such as a smoothed or interpolated one of ATLAS R1 or a probability: it
    counts from half its full value (1, or the largest value if that is above 1), which is where an
    edge lies after smoothing; counting all above 0 would thicken every lesion by the filter's
    width. A mask of zeros is empty, with a note. When a mask on another grid is resampled and when
    it is refused is told in ``datasets.nifti_grid.place_mask``.

    Args:
        path: The mask.
        like: The image it belongs to.
        image_path: Where that image lies, for messages.

    Returns:
        (X, Y, Z) bool on the image's grid, and notes.

    Raises:
        ScanError: As ``load_volume``; if every voxel is marked; if a shaded mask nowhere reaches
            half; if its grid is not the image's and resampling is not safe.
    """
    facts = check_header(path)
    values_XYZ, non_finite = _read(path, facts)
    notes = list(facts.notes)
    if non_finite:
        if non_finite == values_XYZ.size:
            raise ScanError(f"{path} has no finite voxel")
        notes.append(f"{non_finite} voxels of the mask are NaN or infinite and count as 0")
    mask_XYZ, how = _binarise(values_XYZ, path)
    del values_XYZ
    placed, where = place_mask(mask_XYZ, facts.affine, like.data_XYZ.shape, like.affine)
    if placed is None:
        raise ScanError(f"the mask {path} cannot be laid over {image_path}: {where}")
    return placed, tuple(note for note in (*notes, how, where) if note)


def _binarise(values_XYZ: NDArray[np.float32], path: Path) -> tuple[NDArray[np.bool_], str]:
    marked = values_XYZ > 0
    positive = values_XYZ[marked]
    if positive.size == 0:
        return marked, "the mask is empty"
    if positive.size == values_XYZ.size:
        raise ScanError(f"the mask {path} marks every voxel")
    largest = float(positive.max())
    one_value = float(positive.min()) == largest
    if one_value or (largest <= MAX_LABEL and bool((positive == np.rint(positive)).all())):
        return marked, ""
    half = max(largest, 1.0) / 2
    marked = values_XYZ >= half
    if not marked.any():
        raise ScanError(f"the mask {path} holds shades up to {largest:g}; none reaches {half:g}")
    return marked, f"a shaded mask up to {largest:g}, counted from {half:g}"


def _read(path: Path, facts: HeaderFacts) -> tuple[NDArray[np.float32], int]:
    """The voxels on RAS axes, and how many of them were not finite.

    The first axis varies fastest in a file, so one step of the last stored axis is one slab.
    """
    width, height, depth = facts.stored_shape
    slab_bytes = width * height * facts.dtype.itemsize
    non_finite = 0
    with named_errors(path), open_stream(path, facts.packed) as stream:
        _read_exactly(stream, facts.offset, path)
        data_XYZ = np.empty(facts.shape, dtype=np.float32)
        stored = facts.as_stored(data_XYZ)
        for k in range(depth):
            raw = _read_exactly(stream, slab_bytes, path)
            slab, bad = _decode(raw, facts)
            non_finite += bad
            stored[:, :, k] = slab.reshape((width, height), order="F")
        # Reading to the end also makes gzip compare the checksum.
        if len(stream.read(SLACK_BYTES + 1)) > SLACK_BYTES:
            raise ScanError(f"{path} holds more data than its header promises")
    return data_XYZ, non_finite


def _decode(raw: bytes, facts: HeaderFacts) -> tuple[NDArray[np.float32], int]:
    """Scaled float32 values, those that are not finite set to 0, and how many these were."""
    values = np.frombuffer(raw, dtype=facts.dtype)
    with np.errstate(all="ignore"):
        if (facts.slope, facts.inter) == (1.0, 0.0):
            slab = values.astype(np.float32)
        else:
            slab = (values.astype(np.float64) * facts.slope + facts.inter).astype(np.float32)
    bad = ~np.isfinite(slab)
    count = int(np.count_nonzero(bad))
    if count:
        slab[bad] = 0
    return slab, count


def _read_exactly(stream: BinaryIO, count: int, path: Path) -> bytes:
    raw = stream.read(count)
    if len(raw) < count:
        raise ScanError(f"{path} is truncated: it ends before the voxels its header promises")
    return raw
