"""What a header promises, checked before a voxel is read or memory is taken for one.

Axes are brought to RAS (left to right, posterior to anterior, inferior to superior) by the axis
order and flips that come closest to the affine; nothing is interpolated. Which affine that is, is
told in ``datasets.nifti_affine``.

Reference: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import errno
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from datasets.errors import ScanError
from datasets.files import open_regular
from datasets.formats import header_beside, header_suffix
from datasets.gunzip import unpack
from datasets.nifti_affine import oblique
from datasets.stored_header import HEADER_BYTES, StoredHeader, parse_pair, parse_single

MIN_SLOPE, MAX_SLOPE = 1e-12, 1e12
"""Scaling beyond these is told in a note. Small ones are real: quantities in SI units."""

_DEFLATE_MAX_RATIO = 1032
_MACHINE_FAULTS = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "EMFILE", "ENFILE", "ENOMEM", "ENOTCONN", "ETIMEDOUT")
)


@dataclass(frozen=True, eq=False)
class HeaderFacts:
    """What is known of a volume before its voxels are read.

    Attributes:
        shape: Voxels along the RAS axes.
        spacing_mm: Voxel size along the RAS axes, to a millionth of a millimetre.
        affine: (4, 4) float64, from RAS voxel indices to mm.
        dtype: How the file stores a voxel, byte order included.
        notes: What a person should know, such as disagreeing affines.
        other_affine: The qform, likewise from RAS voxel indices, where it disagrees with the sform.
        axes: For each stored axis the RAS axis it becomes.
        flips: For each stored axis whether it runs against the RAS one.
        offset: Where the voxels begin in the (unpacked) file.
        slope: Stored values are multiplied by it ...
        inter: ... and this is added.
        packed: Whether the file is a gzip stream, whatever its name says.
        slack: How many bytes may follow the voxels.
        after: How many bytes of further volumes follow before those.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    notes: tuple[str, ...]
    other_affine: NDArray[np.float64] | None
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    offset: int
    slope: float
    inter: float
    packed: bool
    slack: int
    after: int

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Voxels along the axes as they are stored, the first varying fastest."""
        a, b, c = self.axes
        return self.shape[a], self.shape[b], self.shape[c]

    def as_stored(self, data_XYZ: NDArray[Any]) -> NDArray[Any]:
        """A view of a RAS array that is indexed by the stored axes."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return data_XYZ.transpose(self.axes)[steps]


def check_header(path: Path, volume: int | None = None) -> HeaderFacts:
    """Read the header of a file and check what it promises against the file's size.

    Costs a few hundred bytes, whatever the header claims.

    Args:
        path: An image or mask. That it is one of a pair is told by its name, see
            :mod:`datasets.formats`; everything else by its first bytes.
        volume: Which volume is meant, from 0, if the file holds several.

    Raises:
        ScanError: If it is no readable file, none of a format that is read, holds other than one
            volume of real numbers, is beyond the limits, or cannot hold what it promises.
    """
    header_path = header_beside(path)
    if header_suffix(path.name):
        raise ScanError(f"{path} is the header of a pair; name the file with the voxels, its .img")
    with named_errors(path):
        size = _file_size(path)
        packed = _is_packed(path)
    if header_path is None:
        header = parse_single(_first_bytes(path), path, volume)
    else:
        header = parse_pair(_first_bytes(header_path), header_path)
    _check_size(path, size, packed, header)
    return _on_ras_axes(header, packed)


def _file_size(path: Path) -> int:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise ScanError(f"{path} is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise ScanError(f"{path} is no regular file")
    if status.st_size == 0:
        raise ScanError(f"{path} is empty (0 bytes)")
    return status.st_size


def _is_packed(path: Path) -> bool:
    with open_regular(path) as stream:
        return stream.read(2) == b"\x1f\x8b"


def _first_bytes(path: Path) -> bytes:
    with named_errors(path):
        _file_size(path)
        with open_stream(path, _is_packed(path)) as stream:
            return stream.read(HEADER_BYTES)


def _on_ras_axes(header: StoredHeader, packed: bool) -> HeaderFacts:
    orientation = nib.io_orientation(header.affine)
    to_stored = nib.orientations.inv_ornt_aff(orientation, header.shape)
    affine = header.affine @ to_stored
    axes = cast("tuple[int, int, int]", tuple(int(a) for a in orientation[:, 0]))
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    other = header.other_affine
    scaling = (header.slope, header.inter)
    return HeaderFacts(
        shape=cast("tuple[int, int, int]", tuple(header.shape[axes.index(a)] for a in range(3))),
        spacing_mm=cast("tuple[float, float, float]", tuple(round(float(s), 6) for s in lengths)),
        affine=affine,
        dtype=header.dtype,
        notes=(*header.notes, *oblique(affine), *_strange_scaling(*scaling)),
        other_affine=None if other is None else other @ to_stored,
        axes=axes,
        flips=cast("tuple[bool, bool, bool]", tuple(bool(f < 0) for f in orientation[:, 1])),
        offset=header.offset,
        slope=header.slope,
        inter=header.inter,
        packed=packed,
        slack=header.slack,
        after=header.after,
    )


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn what opening and unpacking can raise into a ``ScanError`` that names the file.

    What a disk, a network or a lack of memory is to blame for stays an ``OSError``.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ScanError(f"{path} is a damaged or truncated gzip file: {error}") from error
    except FileNotFoundError as error:
        what = "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
        raise ScanError(f"{path} {what}") from error
    except PermissionError as error:
        raise ScanError(f"{path} cannot be read: permission denied") from error
    except OSError as error:
        if error.errno in _MACHINE_FAULTS:
            raise
        raise ScanError(f"{path} cannot be read: {error.strerror or error}") from error


def open_stream(path: Path, packed: bool) -> BinaryIO:
    """Open a file for reading; what is read of a packed one is unpacked, and no more than that."""
    stream = open_regular(path)
    return unpack(stream) if packed else stream


def _strange_scaling(slope: float, inter: float) -> tuple[str, ...]:
    """A note if values are scaled as no scanner does: such a header may be damaged."""
    if MIN_SLOPE <= abs(slope) <= MAX_SLOPE and abs(inter) <= MAX_SLOPE:
        return ()
    return (f"stored values are scaled by slope {slope:g} and intercept {inter:g}, as none should",)


def _check_size(path: Path, size: int, packed: bool, header: StoredHeader) -> None:
    """A file too small for its promise is refused before memory is taken for it."""
    promised = header.promised_bytes
    if packed:
        if size * _DEFLATE_MAX_RATIO + header.slack < promised:
            raise ScanError(
                f"{path} is truncated: {size:,} packed bytes cannot hold the {promised:,} that its "
                "header promises"
            )
    elif size < promised:
        raise ScanError(
            f"{path} is truncated: it has {size:,} of the {promised:,} bytes its header promises"
        )
    elif size > promised + header.slack:
        raise ScanError(
            f"{path} has {size:,} bytes, but its header promises {promised:,}: they don't match"
        )
