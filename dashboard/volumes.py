"""Slices as a volume that is looked at in three planes: its geometry, its codes, its lesions.

Pure functions. Shape legend: Z slices from inferior to superior, Y = 128 pixels from posterior to
anterior, X = 128 pixels from the patient's left to right, N slices as stored (row 0 is anterior,
column 0 the patient's left), V some voxels. A voxel here is a pixel of a slice, as thick as the
slices are apart; a *scan voxel* is one of the RAS volume that the slices were cut from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from datasets.settings import SIZE

if TYPE_CHECKING:  # loads nibabel
    from datasets.preprocess import SliceGeometry

LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""What the low and the high end of the axes X, Y and Z are called."""

NOT_FINITE = 0
"""The code of a number that is not finite."""

LAST_CODE = 65535

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Plane:
    """How a plane through the volume is drawn.

    Attributes:
        name: Its name, such as ``axial``.
        across: The axis that runs from left to right on the screen, 0 to 2 for X to Z.
        down: The axis that runs up and down; its high end is always on top.
        through: The axis that a step moves along.
        is_across_flipped: Whether the high end of ``across`` is on the left. The radiological
            convention has X the other way round.
    """

    name: Literal["axial", "coronal", "sagittal"]
    across: int
    down: int
    through: int
    is_across_flipped: bool = False


PLANES = (
    Plane("axial", across=0, down=1, through=2),
    Plane("coronal", across=0, down=2, through=1),
    Plane("sagittal", across=1, down=2, through=0, is_across_flipped=True),
)
"""The patient's left is on the left, as on all other pages, and a face looks to the left."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume made of slices lie.

    Attributes:
        n_planes: Z.
        first: Slice index, in the scan, of the lowest plane.
        pixel_mm: Side of a voxel along X and Y.
        slice_mm: How far planes are apart.
        origin: Where voxel (0, 0, 0) lies, in scan voxels along X, Y and Z.
        scale: Scan voxels to a voxel, likewise.
        affine: From scan voxels to mm: 16 numbers, row by row.
    """

    n_planes: int
    first: int
    pixel_mm: float
    slice_mm: float
    origin: tuple[float, float, float]
    scale: tuple[float, float, float]
    affine: tuple[float, ...]

    def scan_voxel(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Where a voxel's centre lies, in scan voxels."""
        i, j, k = (o + s * v for o, s, v in zip(self.origin, self.scale, (x, y, z), strict=True))
        return i, j, k

    def mm(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Where a voxel's centre lies, in mm to the right, to anterior and to superior."""
        matrix = np.reshape(self.affine, (4, 4))
        i, j, k = (float(v) for v in (matrix @ [*self.scan_voxel(x, y, z), 1.0])[:3])
        return i, j, k


def grid_of(slice_index_N: NDArray[np.integer], geometry: SliceGeometry) -> Grid:
    """The grid of the slices of a scan, from the lowest to the highest that there is.

    Args:
        slice_index_N: Z index of each slice in the scan's RAS volume; not empty.
        geometry: Where the slices lie in it.
    """
    first, last = int(slice_index_N.min()), int(slice_index_N.max())
    x0, x1, y0, y1 = geometry.crop_box
    dx, dy, dz = geometry.spacing_mm
    pixel = geometry.pixel_mm
    middle = (SIZE - 1) / 2
    return Grid(
        n_planes=last - first + 1,
        first=first,
        pixel_mm=pixel,
        slice_mm=dz,
        # The square of a slice is centred on the brain's box.
        origin=(
            (x0 + x1 - 1) / 2 - middle * pixel / dx,
            (y0 + y1 - 1) / 2 - middle * pixel / dy,
            float(first),
        ),
        scale=(pixel / dx, pixel / dy, 1.0),
        affine=geometry.affine,
    )


def placed(maps_NHW: NDArray[T], slice_index_N: NDArray[np.integer], grid: Grid) -> NDArray[T]:
    """Slices at their place in the volume; a plane without a slice is 0.

    Args:
        maps_NHW: One map a slice, of any type.
        slice_index_N: Z index of each in the scan's RAS volume.
        grid: Of the same slices.

    Returns:
        Array of shape (Z, Y, X).
    """
    volume_ZYX = np.zeros((grid.n_planes, *maps_NHW.shape[1:]), maps_NHW.dtype)
    volume_ZYX[slice_index_N - grid.first] = maps_NHW[:, ::-1]  # row 0 is anterior, the last Y
    return volume_ZYX


def start_of(
    lesion_ZYX: NDArray[np.bool_], brain_ZYX: NDArray[np.bool_], grid: Grid
) -> tuple[int, int, int]:
    """Where to look first: in the largest connected piece of the lesion, else in the brain.

    Voxels touch by a face, edge or corner. The voxel of the piece is taken that lies nearest to
    its centre of mass, which itself may lie outside.

    Returns:
        Indices along X, Y and Z.
    """
    from scipy import ndimage  # takes a while to import

    piece_ZYX = brain_ZYX
    if lesion_ZYX.any():
        number_ZYX, _ = ndimage.label(lesion_ZYX, structure=np.ones((3, 3, 3), bool))
        sizes = np.bincount(number_ZYX.reshape(-1))
        sizes[0] = 0
        piece_ZYX = number_ZYX == sizes.argmax()
    found_V3 = np.argwhere(piece_ZYX)
    if not len(found_V3):
        return SIZE // 2, SIZE // 2, grid.n_planes // 2
    step_mm = np.array([grid.slice_mm, grid.pixel_mm, grid.pixel_mm])
    away_V = (((found_V3 - found_V3.mean(axis=0)) * step_mm) ** 2).sum(axis=1)
    z, y, x = (int(v) for v in found_V3[away_V.argmin()])
    return x, y, z


@dataclass(frozen=True)
class Scale:
    """What codes stand for: straight lines between a few knots.

    A few scores are a hundred times the others, such as normalised errors at the brain's border.
    On one straight line those would take all the codes; so the inner 99 % of the numbers have
    three quarters of them.

    Attributes:
        values: The knots' numbers, ascending.
        codes: The knots' codes, ascending; the first is 1.
    """

    values: tuple[float, ...]
    codes: tuple[int, ...]

    @property
    def half_steps(self) -> tuple[float, ...]:
        """How far off a number between two neighbouring knots may be, for each such pair."""
        return tuple(
            float(v / c / 2) for v, c in zip(np.diff(self.values), np.diff(self.codes), strict=True)
        )


@dataclass(frozen=True, eq=False)
class Coded:
    """Numbers as 16-bit codes.

    Attributes:
        codes_V: uint16; :data:`NOT_FINITE`, or a code of the scale.
        scale: What they stand for.
    """

    codes_V: NDArray[np.uint16]
    scale: Scale

    def values(self) -> NDArray[np.float32]:
        """The numbers that the codes stand for; NaN where one was not finite."""
        found = np.interp(self.codes_V, self.scale.codes, self.scale.values).astype(np.float32)
        found[self.codes_V == NOT_FINITE] = np.nan
        return found


def coded(values_V: NDArray[np.float32]) -> Coded:
    """Write numbers as 16-bit codes, whose order is that of the numbers.

    A number is off by at most the :attr:`Scale.half_steps` of its piece, and by float32's rounding.
    """
    numbers = values_V.astype(np.float64)
    is_finite = np.isfinite(numbers)
    scale = _scale(numbers[is_finite])
    codes_V = np.zeros(numbers.shape, np.uint16)
    codes_V[is_finite] = np.rint(np.interp(numbers[is_finite], scale.values, scale.codes))
    codes_V.flags.writeable = False
    return Coded(codes_V, scale)


_INNER = (0.5, 99.5)  # percentiles
_KNOT_CODES = (1, 8192, 57344, LAST_CODE)


def _scale(numbers_V: NDArray[np.float64]) -> Scale:
    if not len(numbers_V):
        return Scale((0.0, 1.0), (1, LAST_CODE))
    low, high = float(numbers_V.min()), float(numbers_V.max())
    if not low < high:
        return Scale((low, low + max(abs(low), 1.0)), (1, LAST_CODE))
    knots: list[tuple[float, int]] = [(low, _KNOT_CODES[0])]
    inner = (float(v) for v in np.percentile(numbers_V, _INNER))
    for value, code in zip(inner, _KNOT_CODES[1:-1], strict=True):
        if knots[-1][0] < value < high:
            knots.append((value, code))
    knots.append((high, LAST_CODE))
    return Scale(tuple(v for v, _ in knots), tuple(c for _, c in knots))


def missing_planes(slice_index_N: NDArray[np.integer], grid: Grid) -> Sequence[int]:
    """The planes that have no slice, as indices along Z."""
    there = set((slice_index_N - grid.first).tolist())
    return [z for z in range(grid.n_planes) if z not in there]
