"""One prepared scan: its score maps, and what they come to in the scan's own voxels.

Slices are scored as in an evaluation, and a voxel has the score of the pixel that it lies in. So a
map is no finer than the slices, whose pixels are as long as the brain's box divided by 128, and a
threshold that was chosen on pixels marks as much of the voxels. A map that is smooth between pixels
would look finer, and its scores would be others: averages of neighbours have fewer high ones.

Shape legend: S slices, H = W = 128 pixels, XYZ voxels on RAS axes, V some voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.preprocess import spread
from datasets.settings import SIZE
from datasets.shards import SliceColumns
from study.report.thresholds import SubjectCounts
from trainables.detector import Detector

BATCH = 64
"""Slices that are scored at once."""


@dataclass(frozen=True, eq=False)
class ScanMaps:
    """What a detector says of a scan, by voxels.

    Attributes:
        score_XYZ: float32 scores; 0 where there is none.
        scored_XYZ: Whether a voxel has a score: the brain, in slices that have enough of it.
        share_XYZ: float32, the share of healthy brain pixels with a lower score, 0 to 1; None where
            no healthy subjects were kept out of training.
        lesion_XYZ: Whether a voxel's score reaches the threshold.
    """

    score_XYZ: NDArray[np.float32]
    scored_XYZ: NDArray[np.bool_]
    share_XYZ: NDArray[np.float32] | None
    lesion_XYZ: NDArray[np.bool_]


@dataclass(frozen=True)
class Piece:
    """A connected piece of what reaches the threshold; voxels touch by a face, edge or corner.

    Attributes:
        voxels: How many.
        ml: Its volume.
        peak: Its highest score.
        peak_share: The share of healthy brain pixels with a lower score than that.
        peak_mm: Where that is, x to the right, y to anterior, z to superior.
        centre_mm: Its centre of mass.
    """

    voxels: int
    ml: float
    peak: float
    peak_share: float | None
    peak_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float]


def scan_maps(
    detector: Detector,
    score: str,
    slices: SliceColumns,
    threshold: float,
    healthy: HealthyPixels | None,
) -> ScanMaps:
    """Score the slices of a scan and put the maps back.

    Args:
        detector: A fitted detector.
        score: Which of its scores.
        slices: The scan's slices.
        threshold: The score that a voxel has to reach.
        healthy: Pixels of healthy subjects, for the shares; None where there are none.
    """
    brain_SHW = _unpacked(slices.brain_bits_NK)
    score_SHW = _scored(detector, score, slices.images_NHW, brain_SHW)
    where = (slices.slice_index_N, slices.geometry)
    scored_XYZ = spread(brain_SHW, *where)
    score_XYZ = np.where(scored_XYZ, spread(score_SHW, *where), np.float32(0))
    share_XYZ = None
    if healthy is not None:
        share_XYZ = np.zeros_like(score_XYZ)
        share_XYZ[scored_XYZ] = healthy.share_below(score_XYZ[scored_XYZ])
    return ScanMaps(score_XYZ, scored_XYZ, share_XYZ, scored_XYZ & (score_XYZ >= threshold))


@dataclass(frozen=True, eq=False)
class HealthyPixels:
    """The brain pixels of healthy subjects, pooled.

    Attributes:
        scores_K: Ascending scores.
        below_K: The share of the pixels with a lower score than each.
    """

    scores_K: NDArray[np.float64]
    below_K: NDArray[np.float64]

    @classmethod
    def of(cls, subjects: Sequence[SubjectCounts]) -> HealthyPixels:
        """Those of some subjects, at least one."""
        knots = np.unique(np.concatenate([one.scores_K for one in subjects]))
        reached = np.zeros(len(knots))
        for one in subjects:
            positive, negative = one.reached(knots)
            reached += positive + negative
        n = sum(one.n_positive + one.n_negative for one in subjects)
        return cls(knots, 1 - reached / n)

    def share_below(self, scores_V: NDArray[np.float32]) -> NDArray[np.float32]:
        """The share of the pixels with a lower score than some."""
        scores = scores_V.astype(np.float64)
        found = np.interp(scores, self.scores_K, self.below_K, left=0.0, right=1.0)
        return found.astype(np.float32)


def pieces(maps: ScanMaps, affine: NDArray[np.float64], voxel_ml: float) -> list[Piece]:
    """The connected pieces of what reaches the threshold, the largest first.

    Args:
        maps: Of a scan.
        affine: (4, 4), from voxel indices on RAS axes to mm.
        voxel_ml: Volume of a voxel.
    """
    from scipy import ndimage  # takes a while to import

    number_XYZ, count = ndimage.label(maps.lesion_XYZ, structure=np.ones((3, 3, 3), bool))
    if not count:
        return []
    numbers = np.arange(1, count + 1)
    sizes = np.bincount(number_XYZ.reshape(-1), minlength=count + 1)[1:]
    peaks = ndimage.maximum_position(maps.score_XYZ, number_XYZ, numbers)
    centres = ndimage.center_of_mass(maps.lesion_XYZ, number_XYZ, numbers)
    found = []
    for size, peak, centre in zip(sizes.tolist(), peaks, centres, strict=True):
        share = None if maps.share_XYZ is None else float(maps.share_XYZ[peak])
        found.append(
            Piece(
                size,
                size * voxel_ml,
                float(maps.score_XYZ[peak]),
                share,
                _in_mm(affine, peak),
                _in_mm(affine, centre),
            )
        )
    return sorted(found, key=lambda piece: (-piece.voxels, piece.centre_mm))


def _in_mm(affine: NDArray[np.float64], voxel: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = affine[:3, :3] @ np.asarray(voxel, np.float64) + affine[:3, 3]
    return round(float(x), 2), round(float(y), 2), round(float(z), 2)


def _unpacked(bits_NK: NDArray[np.uint8]) -> NDArray[np.bool_]:
    flat = np.unpackbits(bits_NK, axis=1, count=SIZE * SIZE)
    return flat.reshape(-1, SIZE, SIZE).astype(np.bool_)


def _scored(
    detector: Detector,
    score: str,
    images_SHW: NDArray[np.float16],
    brain_SHW: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """The maps of a score, a few slices at a time."""
    asked = (score,) if score in {one.name for one in detector.MORE_SCORES} else ()
    found = []
    for start in range(0, len(images_SHW), BATCH):
        some = slice(start, start + BATCH)
        images = images_SHW[some].astype(np.float32)
        map_BHW = detector.maps(asked, images, brain_SHW[some])[score]
        found.append(np.asarray(map_BHW.cpu() if hasattr(map_BHW, "cpu") else map_BHW))
    return np.concatenate(found)
