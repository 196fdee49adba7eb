"""What publications do to score maps after scoring: a median filter, no small components.

Both work on the volume of one scan and see its brain alone: neither reads nor changes a pixel
outside the brain mask, and slices that were left out have no brain. Both commute with any
ascending function of the score, so nothing depends on its scale.

Shape legend: S slices of a scan by ascending position, H = W = 128 pixels, V voxels of the brain, K
some of them, F voxels around each.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

POSTPROCESS_VERSION = 1

MOST_MEDIAN_VOXELS = 9

MOST_COMPONENT_VOXELS = 27
"""As many as a voxel and all its neighbours; time grows with the square, see :func:`opened`."""

_AT_ONCE = 20_000
"""Voxels whose windows are in memory at once: 10 MB."""

_ROUNDS = 2
"""How often it is passed on to neighbours that a voxel keeps its score: more do not pay."""

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


def _check_side(side: int) -> None:
    if side < 1 or side % 2 == 0:
        raise ValueError(f"the cube of a median filter has an odd side, not {side}")


class Postprocessing(BaseModel):
    """What is done to the score maps of a scan; part of an evaluation's identity.

    Attributes:
        median_voxels: Side of the cube of the median filter, an odd number; 1 is no filter.
        component_voxels: Components of fewer voxels are removed; 1 removes none.
        version: Of both steps: raised when the same settings would give other maps than before.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    median_voxels: int = Field(default=1, ge=1, le=MOST_MEDIAN_VOXELS)
    component_voxels: int = Field(default=1, ge=1, le=MOST_COMPONENT_VOXELS)
    version: int = Field(default=POSTPROCESS_VERSION, ge=1, lt=1 << 31)

    @field_validator("median_voxels")
    @classmethod
    def _is_odd(cls, side: int) -> int:
        _check_side(side)
        return side

    @property
    def label(self) -> str:
        """What people read for it."""
        side, least = self.median_voxels, self.component_voxels
        parts = [f"median {side}x{side}x{side}"] if side > 1 else []
        parts += [f"components from {least} voxels"] if least > 1 else []
        return ", ".join(parts)

    def applied(self, map_SHW: Map, brain_SHW: Mask) -> Map:
        """The score maps of a scan after both steps.

        Args:
            map_SHW: (S, H, W) float32 score maps, finite.
            brain_SHW: (S, H, W) bool brain masks.
        """
        filtered = median(map_SHW, brain_SHW, self.median_voxels)
        return opened(filtered, brain_SHW, self.component_voxels)


MEDIAN = Postprocessing(median_voxels=5)
"""As in Baur et al., Medical Image Analysis 69, 2021."""

MEDIAN_AND_COMPONENTS = Postprocessing(median_voxels=5, component_voxels=8)


def median(map_SHW: Map, brain_SHW: Mask, side: int = 5) -> Map:
    """Each brain voxel becomes the median of the brain voxels in a cube around it.

    At the edge of the brain fewer voxels count; of an even number the lower one of the middle is
    taken, so that each result is a score of the map.

    Args:
        map_SHW: (S, H, W) float32 score maps, finite.
        brain_SHW: (S, H, W) bool brain masks.
        side: Of the cube in voxels, an odd number.

    Returns:
        A new array of the same shape; outside the brain it is as given.

    Raises:
        ValueError: If the side is even or less than 1.
    """
    _check_side(side)
    grid = _grid(map_SHW, brain_SHW, side // 2, outside=np.inf)
    result = map_SHW.copy()
    middle = np.empty(len(grid.voxels_V), np.float32)
    for start in range(0, len(middle), _AT_ONCE):
        window_KF = grid.values[grid.voxels_V[start : start + _AT_ONCE, None] + grid.offsets_F]
        window_KF.sort(axis=1)  # with what is outside the brain at the end
        n_K = np.isfinite(window_KF).sum(axis=1)
        middle[start : start + _AT_ONCE] = window_KF[np.arange(len(n_K)), (n_K - 1) // 2]
    result[brain_SHW] = middle
    return result


def opened(map_SHW: Map, brain_SHW: Mask, n_voxels: int) -> Map:
    """Remove small components at every threshold at once: the area opening of a grey-scale image.

    Each brain voxel's score becomes the highest threshold at which the voxel still belongs to a
    component of at least ``n_voxels`` brain voxels that touch by a face, edge or corner. So the
    result at any threshold is the map at that threshold without its smaller components (Vincent,
    Morphological area openings and closings for grey-scale images, 1994). The voxels of a piece of
    the brain that is smaller itself get the lowest score of the scan's brain.

    A voxel with enough neighbours that are as high keeps its score, and so does one beside a higher
    voxel that does. From each other one a component is grown by its highest neighbour, again and
    again (Prim), until it is large enough or comes to a voxel that keeps its score; the lowest
    voxel on the way is the threshold.

    Args:
        map_SHW: (S, H, W) float32 score maps, finite.
        brain_SHW: (S, H, W) bool brain masks.
        n_voxels: The smallest component that stays, at most :data:`MOST_COMPONENT_VOXELS`.

    Returns:
        A new array of the same shape; outside the brain it is as given.

    Raises:
        ValueError: If ``n_voxels`` is out of its range.
    """
    if not 1 <= n_voxels <= MOST_COMPONENT_VOXELS:
        raise ValueError(f"components of {n_voxels} voxels: 1 to {MOST_COMPONENT_VOXELS} is right")
    result = map_SHW.copy()
    if n_voxels == 1 or not brain_SHW.any():
        return result
    grid = _grid(map_SHW, brain_SHW, 1, outside=-np.inf)
    keeps = _keeps(grid, n_voxels)
    new = grid.values.copy()
    open_V = grid.voxels_V[~keeps[grid.voxels_V]]
    for start in range(0, len(open_V), _AT_ONCE):
        voxels_K = open_V[start : start + _AT_ONCE]
        new[voxels_K] = _grown(grid, keeps, voxels_K, n_voxels)
    found = new[grid.voxels_V]
    result[brain_SHW] = np.where(np.isfinite(found), found, grid.values[grid.voxels_V].min())
    return result


class _Grid(NamedTuple):
    """A scan's brain with a margin, flat, so that neighbours are at fixed distances.

    Attributes:
        values: All voxels, those outside the brain at one value.
        voxels_V: Where those of the brain are.
        offsets_F: From a voxel to those of the cube around it, itself among them.
    """

    values: Map
    voxels_V: NDArray[np.intp]
    offsets_F: NDArray[np.intp]


def _grid(map_SHW: Map, brain_SHW: Mask, margin: int, outside: float) -> _Grid:
    inside = np.where(brain_SHW, map_SHW, np.float32(outside))
    values = np.pad(inside, margin, constant_values=outside)
    _, height, width = values.shape
    steps = range(-margin, margin + 1)
    offsets = [(s * height + h) * width + w for s, h, w in product(steps, repeat=3)]
    voxels = np.flatnonzero(np.pad(brain_SHW, margin))
    return _Grid(values.ravel(), voxels, np.array(offsets, np.intp))


def _keeps(grid: _Grid, n_voxels: int) -> Mask:
    """Which voxels of a grid are known to keep their score, without growing anything from them."""
    n_high = np.zeros(len(grid.values), np.int8)
    for here, there in _pairs(grid):
        n_high[here] += grid.values[there] >= grid.values[here]
    keeps = (n_high >= n_voxels) & np.isfinite(grid.values)
    for _ in range(_ROUNDS):
        before = keeps.copy()
        for here, there in _pairs(grid):
            keeps[here] |= before[there] & (grid.values[there] >= grid.values[here])
        keeps &= np.isfinite(grid.values)
    return keeps


def _pairs(grid: _Grid) -> Iterator[tuple[slice, slice]]:
    """Each way from a voxel to one of the cube around it, for all voxels of a grid at once."""
    n = len(grid.values)
    for offset in grid.offsets_F.tolist():
        first, last = max(0, -offset), min(n, n - offset)
        yield slice(first, last), slice(first + offset, last + offset)


def _grown(grid: _Grid, keeps: Mask, voxels_K: NDArray[np.intp], n_voxels: int) -> Map:
    """The highest threshold at which each of some voxels is in a component that is large enough.

    Args:
        grid: The scan.
        keeps: Of all voxels of the grid, whether the threshold is known to be the voxel's score.
        voxels_K: The voxels.
        n_voxels: Of a component that is large enough.

    Returns:
        (K,) float32 thresholds; minus infinity where the piece of the brain is too small.
    """
    lowest_K = grid.values[voxels_K].copy()
    going_K = np.arange(len(voxels_K))
    members = voxels_K[:, None]
    neighbours_KF = voxels_K[:, None] + grid.offsets_F
    values_KF = grid.values[neighbours_KF]
    values_KF[:, len(grid.offsets_F) // 2] = -np.inf  # itself
    while True:
        rows = np.arange(len(going_K))
        best = values_KF.argmax(axis=1)
        taken = neighbours_KF[rows, best]
        lowest_K[going_K] = np.minimum(lowest_K[going_K], values_KF[rows, best])
        is_open = ~keeps[taken] & np.isfinite(lowest_K[going_K])
        if members.shape[1] + 1 == n_voxels or not is_open.any():
            return lowest_K
        going_K, taken = going_K[is_open], taken[is_open, None]
        members = np.hstack([members[is_open], taken])
        neighbours_KF, values_KF = neighbours_KF[is_open], values_KF[is_open]
        values_KF[neighbours_KF == taken] = -np.inf
        more_KF = taken + grid.offsets_F
        more_values_KF = grid.values[more_KF]
        for member in members.T:
            more_values_KF[more_KF == member[:, None]] = -np.inf
        neighbours_KF = np.hstack([neighbours_KF, more_KF])
        values_KF = np.hstack([values_KF, more_values_KF])
