"""Score maps as arrays: decoding, outlines, thresholds, Dice. Pure functions.

Shape legend: H = W = 128 pixels; row 0 is anterior, column 0 the patient's left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Region = str
"""``brain`` counts brain pixels alone, ``slice`` every pixel."""


@dataclass(frozen=True)
class Overlap:
    """How a segmentation agrees with the ground truth.

    Attributes:
        dice: 2|S and T| / (|S| + |T|), or None if both are empty.
        n_segmented: Pixels at or above the threshold.
        n_lesion: Pixels of the ground truth.
        n_both: Pixels in both.
    """

    dice: float | None
    n_segmented: int
    n_lesion: int
    n_both: int


def region_mask(brain_HW: NDArray[np.bool_], region: Region) -> NDArray[np.bool_]:
    """The pixels that count."""
    return brain_HW if region == "brain" else np.ones_like(brain_HW)


def segment(
    score_HW: NDArray[np.float32], brain_HW: NDArray[np.bool_], region: Region, threshold: float
) -> NDArray[np.bool_]:
    """The pixels of the region whose score is at or above the threshold."""
    return (score_HW >= threshold) & region_mask(brain_HW, region)


def overlap(segmented_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_]) -> Overlap:
    """Compare a segmentation with the ground truth; both limited to the same region."""
    n_segmented, n_lesion = int(segmented_HW.sum()), int(truth_HW.sum())
    both = int((segmented_HW & truth_HW).sum())
    total = n_segmented + n_lesion
    return Overlap(2 * both / total if total else None, n_segmented, n_lesion, both)


def best_overlap(
    score_HW: NDArray[np.float32], truth_HW: NDArray[np.bool_], mask_HW: NDArray[np.bool_]
) -> tuple[float, float] | None:
    """The highest Dice that any threshold reaches on a slice, and that threshold.

    Returns:
        ``(dice, threshold)``, or None if the region has no lesion pixel.
    """
    scores, truth = score_HW[mask_HW], truth_HW[mask_HW]
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    both = np.cumsum(truth[order])
    n_lesion = int(truth.sum())
    if not n_lesion:
        return None
    dice = 2 * both / (np.arange(1, len(ranked) + 1) + n_lesion)
    # Pixels of one score fall on the same side of every threshold.
    dice[np.flatnonzero(np.diff(ranked) == 0)] = -1
    best = int(np.argmax(dice))
    return float(dice[best]), float(ranked[best])


_REACH = 5.0


def score_range(
    maps: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]],
) -> tuple[float, float]:
    """One colour range for all maps of a score: its 0.5th to 99.5th percentile.

    A few huge values, such as normalised errors at the brain's border have, would leave the rest
    dark: an end is at most five times as far from the median as the outer tenth begins.

    Args:
        maps: Score maps with the masks of the pixels that count.
    """
    pooled = [score_HW[mask_HW] for score_HW, mask_HW in maps]
    values = np.concatenate(pooled) if pooled else np.zeros(0)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    percentiles = np.percentile(values, (0.5, 10, 50, 90, 99.5))
    low, tenth, median, ninetieth, high = (float(v) for v in percentiles)
    if tenth < median < ninetieth:
        low = max(low, median - _REACH * (median - tenth))
        high = min(high, median + _REACH * (ninetieth - median))
    return (low, high) if high > low else (low, low + 1.0)


def outline(mask_HW: NDArray[np.bool_]) -> tuple[list[float | None], list[float | None]]:
    """The border of a mask along the pixels' edges, as x and y of a broken line.

    Pixel (row r, column c) covers x from c - 0.5 to c + 0.5 and y from r - 0.5 to r + 0.5.
    """
    padded = np.pad(mask_HW, 1)
    x: list[float | None] = []
    y: list[float | None] = []
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    for r, row in enumerate(across):
        for start, stop in _runs(row):
            x += [start - 0.5, stop - 0.5, None]
            y += [r - 0.5, r - 0.5, None]
    down = padded[1:-1, 1:] != padded[1:-1, :-1]
    for c, column in enumerate(down.T):
        for start, stop in _runs(column):
            x += [c - 0.5, c - 0.5, None]
            y += [start - 0.5, stop - 0.5, None]
    return x, y


def neighbours(positions: Sequence[tuple[str, int]], here: tuple[str, int]) -> tuple[int, int]:
    """Indices of the positions before and after this one; the ends stay where they are."""
    at = positions.index(here)
    return max(at - 1, 0), min(at + 1, len(positions) - 1)


def _runs(line: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and stop of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
