"""What a NIfTI header promises, checked before a voxel is read or memory is taken for one.

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
import struct
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
from datasets.gunzip import unpack
from datasets.nifti_affine import oblique, stored_affine

MAX_SIDE = 1024
MIN_SIDE = 4
MAX_VOXELS = 2**28
"""One GiB as float32."""
MAX_OFFSET_BYTES = 2**24
MIN_SLOPE, MAX_SLOPE = 1e-12, 1e12
"""Scaling beyond these is told in a note. Small ones are real: quantities in SI units."""
SLACK_BYTES = 4096
"""How much a file may hold beyond what its header promises: some writers pad to whole blocks."""

_DEFLATE_MAX_RATIO = 1032
_REAL_TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
_OTHER_TYPES = {
    **{1: "single bits", 32: "complex numbers", 128: "RGB colours", 1536: "128-bit floats"},
    **{1792: "complex numbers", 2048: "complex numbers", 2304: "RGBA colours"},
}
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

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Voxels along the axes as they are stored, the first varying fastest."""
        a, b, c = self.axes
        return self.shape[a], self.shape[b], self.shape[c]

    def as_stored(self, data_XYZ: NDArray[Any]) -> NDArray[Any]:
        """A view of a RAS array that is indexed by the stored axes."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return data_XYZ.transpose(self.axes)[steps]


def check_header(path: Path) -> HeaderFacts:
    """Read the header of a file and check what it promises against the file's size.

    Costs a few hundred bytes, whatever the header claims.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file; which of both is told by its first bytes.

    Raises:
        ScanError: If it is no readable file, no single-file NIfTI, holds other than one volume of
            real numbers, is beyond the limits of this module, or cannot hold what it promises.
    """
    with named_errors(path):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ScanError(f"{path} is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise ScanError(f"{path} is no regular file")
        if status.st_size == 0:
            raise ScanError(f"{path} is empty (0 bytes)")
        with open_regular(path) as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with open_stream(path, packed) as stream:
            block = stream.read(540)
    header = _parse(block, path)
    stored_shape, shape_notes = _stored_shape(header, path)
    dtype = _dtype(header, path)
    offset = _offset(header, path)
    _check_size(path, status.st_size, packed, offset + dtype.itemsize * _count(stored_shape))
    slope, inter = _scaling(header, path)
    stored, other, notes = stored_affine(header, stored_shape, path)
    orientation = nib.io_orientation(stored)
    to_stored = nib.orientations.inv_ornt_aff(orientation, stored_shape)
    affine = stored @ to_stored
    axes = cast("tuple[int, int, int]", tuple(int(a) for a in orientation[:, 0]))
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return HeaderFacts(
        shape=cast("tuple[int, int, int]", tuple(stored_shape[axes.index(a)] for a in range(3))),
        spacing_mm=cast("tuple[float, float, float]", tuple(round(float(s), 6) for s in lengths)),
        affine=affine,
        dtype=dtype,
        notes=(*shape_notes, *notes, *oblique(affine), *_strange_scaling(slope, inter)),
        other_affine=None if other is None else other @ to_stored,
        axes=axes,
        flips=cast("tuple[bool, bool, bool]", tuple(bool(f < 0) for f in orientation[:, 1])),
        offset=offset,
        slope=slope,
        inter=inter,
        packed=packed,
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


def _count(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]


def _parse(block: bytes, path: Path) -> Any:
    """A nibabel header of either version and byte order, with nothing checked but its kind."""
    for order in "<>":
        if len(block) < 4:
            break
        size = struct.unpack(f"{order}i", block[:4])[0]
        kinds = {348: (nib.Nifti1Header, 344, b"n+1\0"), 540: (nib.Nifti2Header, 4, b"n+2\0")}
        if size not in kinds or len(block) < size:
            continue
        header_class, magic_at, magic = kinds[size]
        if block[magic_at : magic_at + 4] == magic:
            return header_class(block[:size], endianness=order, check=False)
        if block[magic_at : magic_at + 3] in (b"ni1", b"ni2"):
            raise ScanError(f"{path} is half of a .hdr/.img pair; store the scan as one .nii file")
    raise ScanError(f"{path} is no NIfTI file: its first bytes are none of a NIfTI header")


def _stored_shape(header: Any, path: Path) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """Voxels along the stored axes, and a note if further dimensions have none."""
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise ScanError(f"{path} has {dim[0]} dimensions in its header; NIfTI knows 1 to 7")
    sides = dim[1 : dim[0] + 1]
    if len(sides) < 3:
        raise ScanError(f"{path} is no volume: its header says {' x '.join(map(str, sides))}")
    # Some writers leave 0 where they mean 1; niftilib, and with it FSL and ITK, reads it so.
    if any(n not in (0, 1) for n in sides[3:]):
        raise ScanError(f"{path} holds {sides[3:]} volumes; a scan is a single one")
    shape = (sides[0], sides[1], sides[2])
    text = " x ".join(map(str, shape))
    if min(shape) < MIN_SIDE or max(shape) > MAX_SIDE:
        raise ScanError(f"{path} has {text} voxels; a side must have {MIN_SIDE} to {MAX_SIDE}")
    if _count(shape) > MAX_VOXELS:
        raise ScanError(f"{path} has {text} voxels; more than {MAX_VOXELS:,} are not read")
    if 0 in sides[3:]:
        return shape, (f"its header gives further dimensions the sizes {sides[3:]}; 0 counts as 1",)
    return shape, ()


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code not in _REAL_TYPES:
        what = _OTHER_TYPES.get(code, f"the unknown data type {code}")
        raise ScanError(f"{path} stores {what}; integers and floats of up to 64 bits are read")
    return np.dtype(_REAL_TYPES[code]).newbyteorder(header.endianness)


def _offset(header: Any, path: Path) -> int:
    value = float(header["vox_offset"])
    least = float(header["sizeof_hdr"]) + 4
    if value == 0:
        return int(least)
    if not least <= value <= MAX_OFFSET_BYTES:
        raise ScanError(
            f"{path} puts its voxels at byte {value:g}; {least:g} to {MAX_OFFSET_BYTES} is right"
        )
    return int(value)


def _scaling(header: Any, path: Path) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or NaN means that values are stored as they are."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not np.isfinite(slope) or not np.isfinite(inter):
        raise ScanError(f"{path} scales its values by slope {slope} and intercept {inter}")
    return slope, inter


def _strange_scaling(slope: float, inter: float) -> tuple[str, ...]:
    """A note if values are scaled as no scanner does: such a header may be damaged."""
    if MIN_SLOPE <= abs(slope) <= MAX_SLOPE and abs(inter) <= MAX_SLOPE:
        return ()
    return (f"stored values are scaled by slope {slope:g} and intercept {inter:g}, as none should",)


def _check_size(path: Path, size: int, packed: bool, promised: int) -> None:
    """A file too small for its promise is refused before memory is taken for it."""
    if packed:
        if size * _DEFLATE_MAX_RATIO + SLACK_BYTES < promised:
            raise ScanError(
                f"{path} is truncated: {size:,} packed bytes cannot hold the {promised:,} that its "
                "header promises"
            )
    elif size < promised:
        raise ScanError(
            f"{path} is truncated: it has {size:,} of the {promised:,} bytes its header promises"
        )
    elif size > promised + SLACK_BYTES:
        raise ScanError(
            f"{path} has {size:,} bytes, but its header promises {promised:,}: they don't match"
        )
