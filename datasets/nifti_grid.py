"""Laying a mask over an image that has another grid."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from datasets.nifti_affine import largest_shift_mm

SAME_GRID_MM = 1e-3
MAX_SIZE_RATIO = 2.0
MAX_ROTATION_DEG = 30.0
MAX_OUTSIDE = 0.01
MIN_OVERLAP = 0.5
MAX_VOLUME_CHANGE = 0.25

_RAS = np.array([[0, 1], [1, 1], [2, 1]])

_TIE = 1e-6
"""Points half-way between two voxels go to the lower one, whatever rounding errors say."""


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """Where the voxels of a volume lie.

    Attributes:
        shape: Voxels along the RAS axes.
        affine: (4, 4), from voxel indices to mm.
        other_affine: What the file says as well, where it contradicts itself.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    other_affine: NDArray[np.float64] | None = None

    def matches(self, other: VoxelGrid) -> bool:
        """Whether no voxel lies more than ``SAME_GRID_MM`` from the same voxel of another grid."""
        if self.shape != other.shape:
            return False
        target = (self.shape[0], self.shape[1], self.shape[2])
        return largest_shift_mm(self.affine, other.affine, target) <= SAME_GRID_MM

    @property
    def is_ambiguous(self) -> bool:
        """Whether its two affines put its axes in different directions."""
        if self.other_affine is None:
            return False
        return not np.array_equal(nib.io_orientation(self.other_affine), _RAS)

    def versions(self) -> list[VoxelGrid]:
        """This grid by each of its affines."""
        affines = [self.affine] if self.other_affine is None else [self.affine, self.other_affine]
        return [VoxelGrid(self.shape, affine) for affine in affines]


def place_mask(
    mask_XYZ: NDArray[np.bool_], mask_grid: VoxelGrid, grid: VoxelGrid
) -> tuple[NDArray[np.bool_] | None, str]:
    """A mask on an image's grid.

    If the shapes are equal and no voxel lies more than ``SAME_GRID_MM`` apart, it is the mask as
    it is, also where that holds only for the affine that an image or mask gives besides the one
    in use: whoever drew the mask went by that. Otherwise each voxel of the image takes the value
    of the nearest voxel of the mask, by both affines, unless that is not safe:

    - the sform and qform of the image or mask put its axes in different directions;
    - the voxel sizes differ by more than ``MAX_SIZE_RATIO`` along any direction, where small
      lesions would be lost or turned into blocks;
    - the grids are turned against each other by more than ``MAX_ROTATION_DEG``, more than scans of
      one session are, so that an affine is likely wrong;
    - the smaller field of view lies by less than ``MIN_OVERLAP`` of its volume in the other;
    - more than ``MAX_OUTSIDE`` of the marked voxels lie outside the image;
    - the marked volume changes by more than ``MAX_VOLUME_CHANGE``.

    Args:
        mask_XYZ: The mask on RAS axes.
        mask_grid: Its grid.
        grid: The image's grid.

    Returns:
        The mask on the image's grid and a note, empty if there is nothing to say; or ``None`` and
        the reason.
    """
    target = (grid.shape[0], grid.shape[1], grid.shape[2])
    mask_affine, affine = mask_grid.affine, grid.affine
    if mask_grid.matches(grid):
        return mask_XYZ, ""
    if any(m.matches(g) for m in mask_grid.versions() for g in grid.versions()):
        return mask_XYZ, "the mask lies on the image's voxels by another of their affines"
    if grid.is_ambiguous or mask_grid.is_ambiguous:
        return None, (
            "an sform and a qform put the axes in different directions, and it is unknown by which "
            "the mask was drawn"
        )
    reason = _unlike(mask_affine, affine)
    if reason is not None:
        return None, reason
    marked = int(np.count_nonzero(mask_XYZ))
    outside = _count_outside(mask_XYZ, np.linalg.inv(affine) @ mask_affine, target)
    if outside > MAX_OUTSIDE * marked:
        return None, f"{outside} of its {marked} marked voxels lie outside the image"
    placed, covered = _nearest(mask_XYZ, np.linalg.inv(mask_affine) @ affine, target)
    voxel_mm3, mask_voxel_mm3 = _voxel_mm3(affine), _voxel_mm3(mask_affine)
    smaller_mm3 = min(placed.size * voxel_mm3, mask_XYZ.size * mask_voxel_mm3)
    overlap = covered * voxel_mm3 / smaller_mm3
    if overlap < MIN_OVERLAP:
        return None, f"their fields of view share only {overlap:.0%} of the smaller one"
    before_mm3 = marked * mask_voxel_mm3
    after_mm3 = int(np.count_nonzero(placed)) * voxel_mm3
    if abs(after_mm3 - before_mm3) > MAX_VOLUME_CHANGE * before_mm3:
        return None, (
            f"resampling would change its volume from {before_mm3:.4g} to {after_mm3:.4g} mm3"
        )
    return placed, "the mask has another grid than the image and was resampled"


def _unlike(mask_affine: NDArray[np.float64], affine: NDArray[np.float64]) -> str | None:
    """Why two grids differ too much in voxel size or direction, if they do."""
    ratios = np.linalg.svd(np.linalg.inv(mask_affine[:3, :3]) @ affine[:3, :3], compute_uv=False)
    limit = MAX_SIZE_RATIO * 1.001
    if ratios.max() > limit or ratios.min() < 1 / limit:
        sizes = (
            " x ".join(f"{s:.3g}" for s in np.linalg.norm(a[:3, :3], axis=0))
            for a in (mask_affine, affine)
        )
        mask_size, size = sizes
        return f"its voxels of {mask_size} mm differ too much from the image's of {size} mm"
    angle = _angle_deg(mask_affine, affine)
    if angle > MAX_ROTATION_DEG:
        return f"its axes are turned by {angle:.0f} degrees against the image's"
    return None


def _angle_deg(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The angle of the rotation between the axes of two grids."""
    directions = []
    for affine in (one, other):
        u, _, vt = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
        directions.append(u @ vt)
    cosine = (np.trace(directions[0].T @ directions[1]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _voxel_mm3(affine: NDArray[np.float64]) -> float:
    return abs(float(np.linalg.det(affine[:3, :3])))


def _count_outside(
    mask_XYZ: NDArray[np.bool_], to_image: NDArray[np.float64], shape: tuple[int, int, int]
) -> int:
    """How many marked voxels have their centre outside the image."""
    outside = 0
    for x, plane in enumerate(mask_XYZ):
        marked_YZ = np.argwhere(plane)
        points = marked_YZ @ to_image[:3, 1:3].T + to_image[:3, 0] * x + to_image[:3, 3]
        inside = (points >= -0.5 - _TIE) & (points <= np.array(shape) - 0.5 + _TIE)
        outside += int(np.count_nonzero(~inside.all(axis=1)))
    return outside


def _nearest(
    mask_XYZ: NDArray[np.bool_], to_mask: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[NDArray[np.bool_], int]:
    """The nearest voxel's value for each of the image's, and how many lie inside the mask's grid.

    Plane by plane: the coordinates of a whole volume would take twelve times its memory.
    """
    placed = np.zeros(shape, dtype=bool)
    covered = 0
    y, z = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    in_plane = y[..., None] * to_mask[:3, 1] + z[..., None] * to_mask[:3, 2] + to_mask[:3, 3]
    last = np.array(mask_XYZ.shape) - 1
    for x in range(shape[0]):
        index = np.floor(in_plane + x * to_mask[:3, 0] + (0.5 - _TIE)).astype(np.intp)
        inside = ((index >= 0) & (index <= last)).all(axis=-1)
        covered += int(np.count_nonzero(inside))
        i, j, k = index[inside].T
        placed[x][inside] = mask_XYZ[i, j, k]
    return placed, covered
