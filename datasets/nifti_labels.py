"""Labels or shades: what the numbers of a mask mean.

A mask of labels marks all above 0: one value, or a whole number for each kind of tissue (BraTS) or
each lesion. A shaded mask was smoothed, interpolated (ATLAS R1) or is a probability: it counts from
half its full value (1, or the largest value if that is above 1), which is where an edge lies after
smoothing; counting all above 0 would thicken every lesion by the filter's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from datasets.errors import ScanError

MAX_LABEL = 16
"""Whole numbers up to this are labels. Larger ones may be shades in whole numbers as well."""

_WHOLE = 1e-3
_WHOLE_SCALED = 0.1
"""What a label may differ from a whole number by computing with it, and at most by being stored in
steps of another size."""

_HIGH_EDGE = 0.05
"""Share of the voxels at the background that have half of the largest label at least."""


def binarise(
    values_XYZ: NDArray[np.float32], step: float, path: Path
) -> tuple[NDArray[np.bool_], str]:
    """Which voxels a mask marks.

    Args:
        values_XYZ: float32, all finite.
        step: Between two values that the file can store, where it stores scaled whole numbers;
            labels written that way come back beside the whole numbers they were.
        path: The mask, for messages.

    Returns:
        bool mask, and a note, empty if there is nothing to say.

    Raises:
        ScanError: If every voxel is marked, or a shaded mask nowhere reaches half.
    """
    marked = values_XYZ > 0
    positive = values_XYZ[marked]
    if positive.size == 0:
        return marked, "the mask is empty"
    if positive.size == values_XYZ.size:
        raise ScanError(f"the mask {path} marks every voxel")
    largest = float(positive.max())
    whole = np.rint(positive)
    off = np.abs(positive - whole)
    is_whole = bool((off <= max(_WHOLE, min(0.51 * step, _WHOLE_SCALED))).all())
    if float(positive.min()) == largest:
        return marked, ""
    if is_whole and whole.min() >= 1 and (largest < MAX_LABEL + 0.5 or _has_plateaus(values_XYZ)):
        return marked, ""
    half = max(largest, 1.0) / 2
    marked = values_XYZ >= half
    if not marked.any():
        raise ScanError(f"the mask {path} holds shades up to {largest:g}; none reaches {half:g}")
    return marked, f"a shaded mask up to {largest:g}, counted from {half:g}"


def _has_plateaus(values_XYZ: NDArray[np.float32]) -> bool:
    """Whether values keep their height up to the background, as labels do and shades do not.

    Shades that fall slowly or were enlarged may keep it for a voxel, but are low there.
    """
    box = scipy.ndimage.find_objects((values_XYZ > 0).astype(np.uint8))[0]
    padded_XYZ = np.pad(values_XYZ[box], 1)
    border_XYZ = (padded_XYZ > 0) & ~scipy.ndimage.binary_erosion(padded_XYZ > 0)
    edge = padded_XYZ[border_XYZ]
    if float((edge >= padded_XYZ.max() / 2).mean()) < _HIGH_EDGE:
        return False
    inward = _Pairs()
    for axis in range(3):
        one, other = np.arange(padded_XYZ.shape[axis] - 1), np.arange(1, padded_XYZ.shape[axis])
        a, b = padded_XYZ.take(one, axis), padded_XYZ.take(other, axis)
        inside = (a > 0) & (b > 0)
        # One lies at the background and the other does not.
        inward.add(inside & (border_XYZ.take(one, axis) ^ border_XYZ.take(other, axis)), a == b)
    return inward.mostly_equal


@dataclass
class _Pairs:
    """Pairs of neighbouring voxels, and how many have one value."""

    count: int = 0
    equal: int = 0

    def add(self, chosen: NDArray[np.bool_], equal: NDArray[np.bool_]) -> None:
        self.count += int(np.count_nonzero(chosen))
        self.equal += int(np.count_nonzero(chosen & equal))

    @property
    def mostly_equal(self) -> bool:
        return 2 * self.equal >= self.count
