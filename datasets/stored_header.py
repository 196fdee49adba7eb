"""What the first bytes of an image say, in the terms of NIfTI, whatever format it has.

NIfTI and NIfTI pairs, FreeSurfer's MGH, and Analyze 7.5 with SPM's additions; read by nibabel's
headers, with nothing trusted but checked here. An orientation is never guessed where the format
could have stored one. Analyze cannot: by its custom its axes run to left, anterior and superior, as
SPM and nibabel take it, which is told in a note; other orders of slices are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.spm2analyze import Spm2AnalyzeHeader
from numpy.typing import NDArray

from datasets.errors import ScanError
from datasets.nifti_affine import check_affine, stored_affine

HEADER_BYTES = 540
MAX_SIDE = 1024
MIN_SIDE = 4
MAX_VOXELS = 2**28
"""One GiB as float32."""
MAX_VOLUMES = 1000
MAX_OFFSET_BYTES = 2**24
SLACK_BYTES = 4096
"""How much a file may hold beyond what its header promises: some writers pad to whole blocks."""
MGH_SLACK_BYTES = 2**20
"""The same of MGH, which has the commands that made it at its end."""

_REAL_TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
_OTHER_TYPES = {
    **{1: "single bits", 32: "complex numbers", 128: "RGB colours", 1536: "128-bit floats"},
    **{1792: "complex numbers", 2048: "complex numbers", 2304: "RGBA colours"},
}
_MGH_BYTES = 284
_MGH_HAS_ORIENTATION = slice(28, 30)
_MGH_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_TRANSVERSE = (0, ord("0"))
_LAS_NOTE = (
    "Analyze stores no orientation: its axes are taken to run to left, anterior and superior"
)


@dataclass(frozen=True, eq=False)
class StoredHeader:
    """A volume as it is stored.

    Attributes:
        shape: Voxels along the stored axes, the first varying fastest.
        affine: (4, 4) float64, from stored indices to mm.
        other_affine: The qform, where it disagrees with the sform.
        dtype: How a voxel is stored, byte order included.
        offset: Where the voxels begin in the (unpacked) file.
        slope: Stored values are multiplied by it ...
        inter: ... and this is added.
        notes: What a person should know.
        slack: How many bytes may follow the voxels.
        after: How many bytes of further volumes follow before those.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    other_affine: NDArray[np.float64] | None
    dtype: np.dtype[Any]
    offset: int
    slope: float = 1.0
    inter: float = 0.0
    notes: tuple[str, ...] = ()
    slack: int = SLACK_BYTES
    after: int = 0

    @property
    def promised_bytes(self) -> int:
        """What the (unpacked) file must hold."""
        return self.offset + self.dtype.itemsize * _count(self.shape) + self.after


def parse_single(block: bytes, path: Path, volume: int | None = None) -> StoredHeader:
    """The header of a file that holds its voxels too.

    Args:
        block: Its first ``HEADER_BYTES`` bytes, or all it has.
        path: The file, for messages.
        volume: Which one is meant, from 0, if the file holds several; only NIfTI can.

    Raises:
        ScanError: If it is no header of NIfTI or MGH, or holds other than one volume of real
            numbers within the limits.
    """
    if block[:4] == b"\0\0\0\1" and len(block) >= _MGH_BYTES:
        return _mgh(block[:_MGH_BYTES], path)
    for header_class, order, magic, data in _nifti_kinds(block):
        if magic in (b"n+1\0", b"n+2\0"):
            header = header_class(data, endianness=order, check=False)
            return _nifti(header, path, float(header["sizeof_hdr"]) + 4, volume)
        if magic[:3] in (b"ni1", b"ni2"):
            raise ScanError(f"{path} is half of a .hdr/.img pair, whose files must be named so")
    raise ScanError(f"{path} is no NIfTI file: its first bytes are none of a NIfTI header")


def parse_pair(block: bytes, path: Path) -> StoredHeader:
    """The header of a pair; as :func:`parse_single`, for NIfTI and Analyze.

    Args:
        block: The first bytes of the file with the header.
        path: That file.
    """
    for header_class, order, magic, data in _nifti_kinds(block):
        if magic[:3] in (b"ni1", b"ni2"):
            return _nifti(header_class(data, endianness=order, check=False), path, 0.0, None)
        if magic[:2] != b"n+" and header_class is nib.Nifti1Header:
            return _analyze(Spm2AnalyzeHeader(data, endianness=order, check=False), path)
    raise ScanError(f"{path} is no header of a NIfTI or Analyze pair")


def _nifti_kinds(block: bytes) -> list[tuple[Any, str, bytes, bytes]]:
    """What a block can be by its first number: nibabel's class, byte order, magic, and itself."""
    kinds = {348: (nib.Nifti1Header, 344), 540: (nib.Nifti2Header, 4)}
    found = []
    for order in "<>":
        size = struct.unpack(f"{order}i", block[:4])[0] if len(block) >= 4 else 0
        if size in kinds and len(block) >= size:
            header_class, at = kinds[size]
            found.append((header_class, order, block[at : at + 4], block[:size]))
    return found


def _nifti(header: Any, path: Path, least: float, volume: int | None) -> StoredHeader:
    shape, n_volumes, shape_notes = _shape_by_dim(header, path)
    if volume is None and n_volumes > 1:
        raise ScanError(f"{path} holds {n_volumes} volumes; a scan is a single one")
    if volume is not None and volume >= n_volumes:
        raise ScanError(f"{path} holds {n_volumes} volumes, and no number {volume} from 0")
    dtype = _dtype(header, path)
    before, one = volume or 0, dtype.itemsize * _count(shape)
    offset = _offset(header, path, least) + before * one
    after = (n_volumes - 1 - before) * one
    slope, inter = _scaling(header, path)
    affine, other, affine_notes = stored_affine(header, shape, path)
    notes = (*shape_notes, *affine_notes)
    return StoredHeader(shape, affine, other, dtype, offset, slope, inter, notes, after=after)


def _analyze(header: Any, path: Path) -> StoredHeader:
    shape, n_volumes, shape_notes = _shape_by_dim(header, path)
    if n_volumes > 1:
        raise ScanError(f"{path} holds {n_volumes} volumes; a scan is a single one")
    dtype = _dtype(header, path)
    offset = _offset(header, path, 0.0)
    orient = bytes(header["orient"])[:1] or b"\0"
    if orient[0] not in _TRANSVERSE:
        raise ScanError(
            f"{path} has its slices in the orientation {orient!r} of Analyze; only transverse ones "
            "are read, so store it as NIfTI"
        )
    header["pixdim"] = np.abs(header["pixdim"])  # whichever axis is said to be flipped: as SPM
    with np.errstate(all="ignore"):
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        slope, inter = header.get_slope_inter()
    check_affine(affine, path)
    scaling = (1.0, 0.0) if slope is None else (float(slope), float(inter or 0.0))
    if not np.isfinite(scaling).all():
        raise ScanError(f"{path} scales its values by slope {slope} and intercept {inter}")
    return StoredHeader(shape, affine, None, dtype, offset, *scaling, (*shape_notes, _LAS_NOTE))


def _mgh(block: bytes, path: Path) -> StoredHeader:
    header = MGHHeader(block, check=False)
    sides = [int(n) for n in header["dims"]]
    if sides[3] not in (0, 1):
        raise ScanError(f"{path} holds {sides[3]} volumes; a scan is a single one")
    shape = _checked_shape(sides, path)
    code = int(header["type"])
    if code not in _MGH_TYPES:
        raise ScanError(
            f"{path} stores the data type {code} of MGH; integers and floats of up to 32 bits are "
            "read"
        )
    if block[_MGH_HAS_ORIENTATION] == bytes(2):  # nibabel would fill one in
        raise ScanError(f"{path} stores no orientation: its flag for one is not set")
    with np.errstate(all="ignore"):
        affine = np.asarray(header.get_affine(), dtype=np.float64)
    check_affine(affine, path)
    dtype = np.dtype(_MGH_TYPES[code])
    return StoredHeader(shape, affine, None, dtype, _MGH_BYTES, slack=MGH_SLACK_BYTES)


def _count(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]


def _shape_by_dim(header: Any, path: Path) -> tuple[tuple[int, int, int], int, tuple[str, ...]]:
    """Voxels along the stored axes, the number of volumes, and a note if one has none."""
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise ScanError(f"{path} has {dim[0]} dimensions in its header; NIfTI knows 1 to 7")
    sides = dim[1 : dim[0] + 1]
    if len(sides) < 3:
        raise ScanError(f"{path} is no volume: its header says {' x '.join(map(str, sides))}")
    further = sides[3:]
    if sum(n != 1 for n in further if n) > 1 or any(not 0 <= n <= MAX_VOLUMES for n in further):
        raise ScanError(f"{path} holds {further} volumes; a scan is a single one")
    shape = _checked_shape(sides, path)
    n_volumes = max([1, *further])
    if 0 in further:
        note = f"its header gives further dimensions the sizes {further}; 0 counts as 1"
        return shape, n_volumes, (note,)
    return shape, n_volumes, ()


def _checked_shape(sides: list[int], path: Path) -> tuple[int, int, int]:
    shape = (sides[0], sides[1], sides[2])
    text = " x ".join(map(str, shape))
    if min(shape) < MIN_SIDE or max(shape) > MAX_SIDE:
        raise ScanError(f"{path} has {text} voxels; a side must have {MIN_SIDE} to {MAX_SIDE}")
    if _count(shape) > MAX_VOXELS:
        raise ScanError(f"{path} has {text} voxels; more than {MAX_VOXELS:,} are not read")
    return shape


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code not in _REAL_TYPES:
        what = _OTHER_TYPES.get(code, f"the unknown data type {code}")
        raise ScanError(f"{path} stores {what}; integers and floats of up to 64 bits are read")
    return np.dtype(_REAL_TYPES[code]).newbyteorder(header.endianness)


def _offset(header: Any, path: Path, least: float) -> int:
    value = float(header["vox_offset"])
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
