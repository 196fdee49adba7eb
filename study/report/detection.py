"""What a test set says at a threshold, and how well its scores tell who and which slice is ill.

Pure functions on the parts of evaluations; which threshold is meant is said by
:mod:`study.report.thresholds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.report.counts import lists_of
from study.report.thresholds import SubjectCounts


@dataclass(frozen=True, eq=False)
class Subjects:
    """The subjects of an evaluation by one score, over brain pixels.

    Attributes:
        names: ``cohort/subject``.
        counts: How many pixels of each reach a score.
        is_ill: Whether each has lesion pixels.
        top_mean: The mean of each one's highest 1 % of pixels; NaN without a pixel.
        voxel_ml: Volume of a pixel of each in ml; NaN where it is not known.
        n_scans: Scans of all together.
    """

    names: tuple[str, ...]
    counts: tuple[SubjectCounts, ...]
    is_ill: NDArray[np.bool_]
    top_mean: NDArray[np.float64]
    voxel_ml: NDArray[np.float64]
    n_scans: int

    @classmethod
    def of(cls, table: pa.Table) -> Subjects:
        """From the rows of ``subjects.parquet`` of one score and region."""
        lists = (lists_of(table, name) for name in ("thresholds", "positives", "negatives"))
        counts = tuple(SubjectCounts.of(*some) for some in zip(*lists, strict=True))
        return cls(
            tuple(table["subject"].to_pylist()),
            counts,
            table["n_positive"].to_numpy() > 0,
            _floats(table, "top_mean"),
            _floats(table, "voxel_ml"),
            int(sum(table["n_scans"].to_pylist())),
        )


@dataclass(frozen=True)
class AtThreshold:
    """What a test set's pixels and lesions are at a threshold; None where it is undefined.

    Attributes:
        sensitivity: Share of the lesion pixels that are marked.
        dice: 2 TP / (TP + FP + P) over the pixels of all subjects.
        false_positive_ml: Volume of marked pixels without a lesion, in ml a scan.
        lesions_half: Share of the connected lesions of which at least half is marked.
        lesions_any: Share of them of which any pixel is marked.
    """

    sensitivity: float | None
    dice: float | None
    false_positive_ml: float | None
    lesions_half: float | None
    lesions_any: float | None


def at_threshold(subjects: Subjects, lesions: pa.Table, threshold: float) -> AtThreshold:
    """Mark all pixels that reach a threshold.

    Args:
        subjects: Of the test set.
        lesions: The rows of its ``lesions.parquet`` of the same score.
        threshold: The score.
    """
    reached = [one.reached(np.array([threshold])) for one in subjects.counts]
    true_positives = float(sum(positive[0] for positive, _ in reached))
    false_positives = np.array([negative[0] for _, negative in reached])
    n_positive = sum(one.n_positive for one in subjects.counts)
    marked = true_positives + float(false_positives.sum())
    return AtThreshold(
        sensitivity=true_positives / n_positive if n_positive else None,
        dice=2 * true_positives / (marked + n_positive) if n_positive else None,
        false_positive_ml=_per_scan(false_positives, subjects),
        lesions_half=_detected(lesions, "half", threshold),
        lesions_any=_detected(lesions, "highest", threshold),
    )


def marked_ml(subjects: Subjects, threshold: float) -> float | None:
    """Volume of all pixels of healthy subjects that reach a threshold, in ml a scan."""
    reached = [one.reached(np.array([threshold])) for one in subjects.counts]
    return _per_scan(np.array([float(p[0] + n[0]) for p, n in reached]), subjects)


def slice_auc(slices: pa.Table) -> float | None:
    """How well the highest pixels of a slice tell slices with lesion pixels from those without.

    Args:
        slices: The rows of ``slices.parquet`` of one score.
    """
    return ranked_auc(_floats(slices, "top_mean"), slices["n_positive"].to_numpy() > 0)


def subject_auc(test: Subjects, healthy: Sequence[Subjects]) -> float | None:
    """How well the highest pixels of a subject tell those with lesion pixels from those without.

    Args:
        test: The test set; subjects without a lesion are among the negatives.
        healthy: Subjects of other cohorts, all of them negatives.
    """
    none = [np.zeros(len(one.names), bool) for one in healthy]
    return ranked_auc(
        np.concatenate([test.top_mean, *(one.top_mean for one in healthy)]),
        np.concatenate([test.is_ill, *none]),
    )


def ranked_auc(values: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve of single values, ties counting half.

    NaNs are left out. None without positives or without negatives.
    """
    known = ~np.isnan(values)
    values, is_positive = values[known], is_positive[known]
    n_positive = int(is_positive.sum())
    n_negative = len(values) - n_positive
    if not n_positive or not n_negative:
        return None
    negatives = np.sort(values[~is_positive])
    below = np.searchsorted(negatives, values[is_positive], side="left").astype(np.float64)
    not_above = np.searchsorted(negatives, values[is_positive], side="right")
    return float((below + not_above).sum() / 2 / n_positive / n_negative)


def _per_scan(pixels: NDArray[np.float64], subjects: Subjects) -> float | None:
    """The volume of some pixels of each subject, in ml a scan; None where it is not known."""
    volume_ml = float((pixels * subjects.voxel_ml).sum())
    return volume_ml / subjects.n_scans if subjects.n_scans and np.isfinite(volume_ml) else None


def _detected(lesions: pa.Table, column: str, threshold: float) -> float | None:
    """Share of the lesions whose value in a column reaches a threshold; None without any."""
    if not lesions.num_rows:
        return None
    return float((_floats(lesions, column) >= threshold).mean())


def _floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = table[name].to_numpy().astype(np.float64)
    return values
