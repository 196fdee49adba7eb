"""From one volume to the 128x128 slices that models see; pure functions.

The steps, and where paper.md leaves a choice: what is not brain becomes zero; one in-plane box
around the whole volume's brain, widened by a small margin, is padded to a square in millimetres
(in-plane voxels need not be square) and resized linearly to 128x128; masks are resized linearly
and cut at 0.5; each image is divided by the median of its brain pixels. So all slices of a volume
share one scale and keep their shapes.

Orientation of a slice: row 0 is anterior, column 0 is the patient's left. Shape legend: X left to
right, Y posterior to anterior, Z inferior to superior (RAS voxels); S slices, H = W = 128.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from datasets.errors import ScanError
from datasets.nifti import Volume
from datasets.resample import interpolation_matrix, resample
from datasets.settings import SIZE, PreprocessSettings

MARGIN = 0.03
"""Free border on each side of the square, as a share of the brain's longer in-plane side."""

MAX_NEGATIVE = 0.1
"""Share of brain voxels below zero above which an image is no longer in intensities: some tools
store means of zero, and dividing those by their median, near zero, makes noise of them."""

TIE = 1e-9
"""Rounding that a resized mask may have just below 0.5 and still count."""

T = TypeVar("T", bound=np.generic)

_FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class SliceGeometry:
    """Where the slices of a volume lie, so that a score map can go back to the scan's own space.

    Attributes:
        shape_XYZ: Voxels of the RAS volume.
        affine: The RAS volume's voxel-to-world matrix, row by row: 16 numbers, millimetres.
        spacing_mm: Voxel size along X, Y and Z.
        crop_box: Brain box ``(x0, x1, y0, y1)`` in voxels, half open. The 128x128 square is
            centred on it.
        pixel_mm: Side of a pixel of the 128x128 slice (the scale).
    """

    shape_XYZ: tuple[int, int, int]
    affine: tuple[float, ...]
    spacing_mm: tuple[float, float, float]
    crop_box: tuple[int, int, int, int]
    pixel_mm: float

    @property
    def voxel_ml(self) -> float:
        """Volume of a pixel of the 128x128 slice in ml, as thick as the slices are apart."""
        return self.pixel_mm**2 * self.spacing_mm[2] / 1000


@dataclass(frozen=True)
class SliceStack:
    """The preprocessed slices of one volume, from inferior to superior.

    Attributes:
        images_SHW: float16; intensity divided by the median brain intensity, 0 outside the brain.
            Always finite: what float16 cannot hold is clipped to its range, +-65504.
        brain_SHW: bool brain masks.
        lesion_SHW: bool lesion masks, not limited to the brain.
        slice_index_S: int32 Z index of each slice in the RAS volume.
        geometry: The way back.
        notes: What was left out or clipped, one sentence each.
    """

    images_SHW: NDArray[np.float16]
    brain_SHW: NDArray[np.bool_]
    lesion_SHW: NDArray[np.bool_]
    slice_index_S: NDArray[np.int32]
    geometry: SliceGeometry
    notes: tuple[str, ...] = ()


def preprocess(
    volume: Volume,
    brain_XYZ: NDArray[np.bool_],
    lesion_XYZ: NDArray[np.bool_],
    settings: PreprocessSettings,
) -> SliceStack:
    """Cut a volume into normalised 128x128 axial slices.

    Args:
        volume: The image in RAS.
        brain_XYZ: bool brain mask of the same shape.
        lesion_XYZ: bool lesion mask of the same shape.
        settings: Normalisation and the smallest brain that makes a slice.

    Raises:
        ScanError: If no slice is left, a brain voxel is not finite, or more than ``MAX_NEGATIVE``
            of them are negative.
        ValueError: If the shapes differ: a mistake of the caller.
    """
    data_XYZ = volume.data_XYZ
    if not data_XYZ.shape == brain_XYZ.shape == lesion_XYZ.shape:
        raise ValueError(
            f"image {data_XYZ.shape}, brain {brain_XYZ.shape} and lesion {lesion_XYZ.shape} "
            "must have one shape"
        )
    geometry = slice_geometry(brain_XYZ, volume)
    z_S, brain_SHW = _slices_with_brain(brain_XYZ, geometry, settings)
    masked_XYS = np.where(_planes(brain_XYZ, z_S), _planes(data_XYZ, z_S), np.float32(0))
    if not np.isfinite(masked_XYS).all():
        raise ScanError("the image has NaN or infinite voxels inside the brain")
    _refuse_standardised(data_XYZ[brain_XYZ])
    images_SHW = np.where(brain_SHW, to_slices(masked_XYS, geometry), 0.0)
    median_S = brain_medians(images_SHW, brain_SHW, settings)
    positive_S = median_S > 0
    if not positive_S.any():
        raise ScanError("no axial slice is left: the median brain intensity of none is positive")
    images_SHW = images_SHW[positive_S] / median_S[positive_S, None, None]
    notes = _notes(z_S[~positive_S], images_SHW)
    z_S = z_S[positive_S]
    return SliceStack(
        images_SHW=np.clip(images_SHW, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16),
        brain_SHW=brain_SHW[positive_S],
        lesion_SHW=_mask_slices(_planes(lesion_XYZ, z_S), geometry),
        slice_index_S=z_S,
        geometry=geometry,
        notes=notes,
    )


def slice_geometry(brain_XYZ: NDArray[np.bool_], volume: Volume) -> SliceGeometry:
    """The one in-plane square of a volume, from its brain mask.

    Raises:
        ScanError: If the brain mask is empty.
    """
    x = np.flatnonzero(brain_XYZ.any(axis=(1, 2)))
    y = np.flatnonzero(brain_XYZ.any(axis=(0, 2)))
    if not len(x):
        raise ScanError("the brain mask is empty")
    box = (int(x[0]), int(x[-1]) + 1, int(y[0]), int(y[-1]) + 1)
    dx, dy, dz = (float(v) for v in volume.spacing_mm)
    side_mm = max((box[1] - box[0]) * dx, (box[3] - box[2]) * dy) * (1 + 2 * MARGIN)
    nx, ny, nz = brain_XYZ.shape
    return SliceGeometry(
        shape_XYZ=(nx, ny, nz),
        affine=tuple(float(v) for v in np.asarray(volume.affine).ravel()),
        spacing_mm=(dx, dy, dz),
        crop_box=box,
        pixel_mm=side_mm / SIZE,
    )


def to_slices(volume_XYS: NDArray[np.generic], geometry: SliceGeometry) -> NDArray[np.float64]:
    """Resize axial planes of the RAS volume to slices, (S, 128, 128) float64.

    What lies in the square but outside the volume counts as zero.
    """
    columns, rows = _matrices_in(geometry)
    # Row 0 is anterior, the last Y.
    return resample(volume_XYS.transpose(2, 1, 0), rows, columns)[:, ::-1]


def to_volume(
    maps_SHW: NDArray[np.floating],
    slice_index_S: NDArray[np.integer],
    geometry: SliceGeometry,
    fill: float = 0.0,
) -> NDArray[np.float32]:
    """Put maps on slices back into the scan's RAS voxels, the inverse of the cut.

    Args:
        maps_SHW: One map per slice, such as an anomaly score.
        slice_index_S: Z index of each map.
        geometry: Of the volume they were cut from.
        fill: Value of voxels outside the brain's box and of slices without a map.

    Returns:
        float32 array of ``geometry.shape_XYZ``; linear between pixels.
    """
    x0, x1, y0, y1 = geometry.crop_box
    dx, dy, _ = geometry.spacing_mm
    pixel = geometry.pixel_mm
    columns = interpolation_matrix(x1 - x0, dx, SIZE, pixel)
    rows = interpolation_matrix(y1 - y0, dy, SIZE, pixel)
    maps_SYX = resample(maps_SHW[:, ::-1], rows, columns)
    volume_XYZ = np.full(geometry.shape_XYZ, fill, dtype=np.float32)
    volume_XYZ[x0:x1, y0:y1, np.asarray(slice_index_S)] = maps_SYX.transpose(2, 1, 0)
    return volume_XYZ


def spread(
    maps_SHW: NDArray[T],
    slice_index_S: NDArray[np.integer],
    geometry: SliceGeometry,
) -> NDArray[T]:
    """Give each of the scan's RAS voxels the value of the pixel that its centre lies in.

    Unlike :func:`to_volume` it keeps the distribution of the values, so that a threshold that was
    chosen on pixels holds for voxels.

    Args:
        maps_SHW: One map per slice, of any type.
        slice_index_S: Z index of each map.
        geometry: Of the volume they were cut from.

    Returns:
        Array of ``geometry.shape_XYZ``; 0 outside the brain's box and in slices without a map.
    """
    x0, x1, y0, y1 = geometry.crop_box
    dx, dy, _ = geometry.spacing_mm
    columns = _pixel_of(x1 - x0, dx / geometry.pixel_mm)
    rows = SIZE - 1 - _pixel_of(y1 - y0, dy / geometry.pixel_mm)  # row 0 is anterior
    maps_SYX = maps_SHW[:, rows[:, None], columns[None, :]]
    volume_XYZ = np.zeros(geometry.shape_XYZ, dtype=maps_SHW.dtype)
    volume_XYZ[x0:x1, y0:y1, np.asarray(slice_index_S)] = maps_SYX.transpose(2, 1, 0)
    return volume_XYZ


def _pixel_of(n_voxels: int, step: float) -> NDArray[np.intp]:
    """The pixel of each voxel along an axis of the brain's box, both centred on each other."""
    from_centre = (np.arange(n_voxels) - (n_voxels - 1) / 2) * step
    pixels: NDArray[np.intp] = np.floor(from_centre).astype(np.intp) + SIZE // 2
    return pixels.clip(0, SIZE - 1)


def brain_medians(
    images_SHW: NDArray[np.float64], brain_SHW: NDArray[np.bool_], settings: PreprocessSettings
) -> NDArray[np.float64]:
    """The median brain intensity that divides each slice: its own, or that of the volume."""
    if settings.normalisation == "volume":
        return np.full(len(images_SHW), np.median(images_SHW[brain_SHW]))
    return np.array(
        [np.median(image[brain]) for image, brain in zip(images_SHW, brain_SHW, strict=True)]
    )


def _slices_with_brain(
    brain_XYZ: NDArray[np.bool_], geometry: SliceGeometry, settings: PreprocessSettings
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Z indices and resized brain masks of the slices with enough brain."""
    z_S = np.flatnonzero(brain_XYZ.any(axis=(0, 1))).astype(np.int32)
    brain_SHW = _mask_slices(_planes(brain_XYZ, z_S), geometry)
    enough_S = brain_SHW.mean(axis=(1, 2)) >= settings.min_brain_fraction
    if not enough_S.any():
        raise ScanError(
            f"no axial slice is left: in none does the brain cover "
            f"{settings.min_brain_fraction:.0%} of the {SIZE}x{SIZE} image"
        )
    return z_S[enough_S], brain_SHW[enough_S]


def _planes(volume_XYZ: NDArray[T], z_S: NDArray[np.int32]) -> NDArray[T]:
    """Some axial planes of a volume, rising; without a copy where none between them is left out."""
    if len(z_S) and z_S[-1] - z_S[0] + 1 == len(z_S):
        return volume_XYZ[:, :, z_S[0] : z_S[-1] + 1]
    return volume_XYZ[:, :, z_S]


def _refuse_standardised(values_N: NDArray[np.float32]) -> None:
    share = float((values_N < 0).mean())
    if share > MAX_NEGATIVE:
        raise ScanError(
            f"{share:.0%} of the brain is below zero, as in images that were standardised; the "
            "intensities before that are needed, since slices are divided by their median"
        )


def _notes(left_out: NDArray[np.int32], images_SHW: NDArray[np.float64]) -> tuple[str, ...]:
    notes = []
    if len(left_out):
        names = ", ".join(str(z) for z in left_out)
        notes.append(f"left out slices whose median brain intensity is not positive: {names}")
    clipped = int((np.abs(images_SHW) > _FLOAT16_MAX).sum())
    if clipped:
        notes.append(f"clipped {clipped} pixels to the range of float16, +-{_FLOAT16_MAX:.0f}")
    return tuple(notes)


def _mask_slices(mask_XYS: NDArray[np.bool_], geometry: SliceGeometry) -> NDArray[np.bool_]:
    if not mask_XYS.any():  # the lesion mask of a healthy head
        return np.zeros((mask_XYS.shape[2], SIZE, SIZE), dtype=bool)
    return to_slices(mask_XYS, geometry) >= 0.5 - TIE


def _matrices_in(geometry: SliceGeometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column matrix (W, X) and row matrix (H, Y) from the whole plane to the square."""
    nx, ny, _ = geometry.shape_XYZ
    x0, x1, y0, y1 = geometry.crop_box
    dx, dy, _ = geometry.spacing_mm
    pixel = geometry.pixel_mm
    columns = interpolation_matrix(SIZE, pixel, nx, dx, ((x0 + x1) / 2 - nx / 2) * dx)
    rows = interpolation_matrix(SIZE, pixel, ny, dy, ((y0 + y1) / 2 - ny / 2) * dy)
    return columns, rows
