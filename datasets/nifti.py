"""Reading NIfTI, and what else is read as if it were: the only place where voxels come from.

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

from datasets.errors import ScanError
from datasets.gunzip import has_tail
from datasets.nifti_affine import shear_factor
from datasets.nifti_grid import VoxelGrid, place_mask
from datasets.nifti_header import HeaderFacts, check_header, named_errors, open_stream
from datasets.nifti_labels import binarise

__all__ = ["HeaderFacts", "ScanError", "Volume", "check_header", "load_mask", "load_volume"]

MAX_NON_FINITE = 0.98
"""Above this share of NaN or infinite voxels an image is refused. Some tools fill all but the
brain with NaN, and in a field of view of 256 mm a brain is 4 to 11 % of the image."""

_BLOCK = 1 << 20

MAX_LABEL_VALUES = 8
"""An image with no more different values than this is a mask or a map of labels by its name."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One image on RAS axes.

    Attributes:
        data_XYZ: (X, Y, Z) float32, all finite; x runs to the right, y to anterior, z to superior.
        affine: (4, 4) float64, from voxel indices to mm.
        spacing_mm: Voxel size along x, y, z.
        notes: What a person should know about the file.
        other_affine: The affine that the file gives as well and that is not used; ``None`` if it
            agrees or there is none.
    """

    data_XYZ: NDArray[np.float32]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...] = ()
    other_affine: NDArray[np.float64] | None = None

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, also where the axes are not at right angles."""
        return float(np.prod(self.spacing_mm)) * shear_factor(self.affine)

    @property
    def grid(self) -> VoxelGrid:
        """Where its voxels lie."""
        return VoxelGrid(self.data_XYZ.shape, self.affine, self.other_affine)


def load_volume(path: Path, volume: int | None = None) -> Volume:
    """Read an image.

    Negative values are kept; NaN and infinite ones become 0, with a note.

    Args:
        path: The image.
        volume: Which volume is meant, from 0, if it holds several.

    Raises:
        ScanError: If the header is refused (see ``check_header``), the file is damaged, holds less
            or more than its header promises, is mostly not finite, or has so few different values
            that it is a mask.
    """
    facts = check_header(path, volume)
    data_XYZ, non_finite, notes = _read(path, facts)
    if non_finite:
        if non_finite > MAX_NON_FINITE * data_XYZ.size:
            raise ScanError(f"{path} has {non_finite:,} of {data_XYZ.size:,} voxels not finite")
        notes = (*notes, f"{non_finite} voxels are NaN or infinite and count as 0")
    if data_XYZ.min() == data_XYZ.max():
        raise ScanError(f"{path} has the value {data_XYZ.flat[0]:g} in every voxel")
    n_values = _few_values(data_XYZ)
    if n_values:
        raise ScanError(
            f"{path} has no more than {n_values} different values: a mask or a map of labels has, "
            "and an image has hundreds"
        )
    return Volume(data_XYZ, facts.affine, facts.spacing_mm, notes, facts.other_affine)


def load_mask(
    path: Path, like: Volume, image_path: Path, labels: tuple[int, ...] = ()
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Read a mask onto the grid of its image.

    Labels count from above 0, shades from half; which of both it holds is told in
    ``datasets.nifti_labels``, when a mask on another grid is resampled or refused, in
    ``datasets.nifti_grid.place_mask``. A mask of zeros is empty, with a note.

    Args:
        path: The mask.
        like: The image it belongs to.
        image_path: Where that image lies, for messages.
        labels: The values that count, of a map that holds other structures as well; else all do.

    Returns:
        (X, Y, Z) bool on the image's grid, and notes.

    Raises:
        ScanError: As ``load_volume``; if every voxel is marked; if a shaded mask nowhere reaches
            half; if its grid is not the image's and resampling is not safe.
    """
    facts = check_header(path)
    values_XYZ, non_finite, read_notes = _read(path, facts)
    notes = list(read_notes)
    if non_finite:
        if non_finite == values_XYZ.size:
            raise ScanError(f"{path} has no finite voxel")
        notes.append(f"{non_finite} voxels of the mask are NaN or infinite and count as 0")
    step = abs(facts.slope) if facts.dtype.kind in "iu" else 0.0
    if labels:
        values_XYZ = np.isin(np.rint(values_XYZ), labels).astype(np.float32)
    mask_XYZ, how = binarise(values_XYZ, step, path)
    del values_XYZ
    grid = VoxelGrid(facts.shape, facts.affine, facts.other_affine)
    placed, where = place_mask(mask_XYZ, grid, like.grid)
    if placed is None:
        raise ScanError(f"the mask {path} cannot be laid over {image_path}: {where}")
    return placed, tuple(note for note in (*notes, how, where) if note)


def _few_values(data_XYZ: NDArray[np.float32]) -> int:
    """How many different values an image has, if they are too few for one; else 0."""
    values = np.empty(0, dtype=np.float32)
    # A real image has enough of them in its first slab that is not empty.
    for slab in data_XYZ:
        values = np.union1d(values, slab)
        if len(values) > MAX_LABEL_VALUES:
            return 0
    return len(values)


def _read(path: Path, facts: HeaderFacts) -> tuple[NDArray[np.float32], int, tuple[str, ...]]:
    """The voxels on RAS axes, how many of them were not finite, and what is known of the file.

    The first axis varies fastest in a file, so one step of the last stored axis is one slab.
    """
    width, height, depth = facts.stored_shape
    slab_bytes = width * height * facts.dtype.itemsize
    non_finite = 0
    with named_errors(path), open_stream(path, facts.packed) as stream:
        _pass_over(stream, facts.offset, path)
        data_XYZ = np.empty(facts.shape, dtype=np.float32)
        stored = facts.as_stored(data_XYZ)
        for k in range(depth):
            raw = _read_exactly(stream, slab_bytes, path)
            slab, bad = _decode(raw, facts)
            non_finite += bad
            stored[:, :, k] = slab.reshape((width, height), order="F")
        _pass_over(stream, facts.after, path)
        # Reading to the end also makes gzip compare the checksum.
        if len(stream.read(facts.slack + 1)) > facts.slack:
            raise ScanError(f"{path} holds more data than its header promises")
        tail = ("something follows the end of its gzip stream and is left aside",)
        notes = (*facts.notes, *tail) if has_tail(stream) else facts.notes
    return data_XYZ, non_finite, notes


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


def _pass_over(stream: BinaryIO, count: int, path: Path) -> None:
    while count > 0:
        count -= len(_read_exactly(stream, min(count, _BLOCK), path))
