"""The subjects of a test set by one score of one setting: how well each is segmented.

Everything is from the counts by subject that evaluations store; nothing is scored again. A setting
with several seeds has the mean over them, as table 1 has. AUC and average precision are those that
the evaluation worked out on all pixels of a subject; Dice is worked out here, at the threshold
where the whole test set has its highest Dice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite
from typing import Any

import numpy as np
import pyarrow as pa

from datasets.manifest import ScanRecord
from study.report.counts import lists_of
from study.report.thresholds import SubjectCounts

SIZES = ("all", "under 1 ml", "1 to 10 ml", "over 10 ml")
"""What subjects can be narrowed down to by the volume of their lesions."""


@dataclass(frozen=True)
class SubjectFigures:
    """One subject of a test set; None where a figure is undefined or not known.

    Attributes:
        subject: ``cohort/subject``.
        auc: Area under the ROC curve of its pixels, 0 to 1, the mean over the seeds.
        average_precision: Of its pixels, the mean over the seeds.
        dice: 2 TP / (TP + FP + P) of its pixels at the test set's best threshold, the mean over
            the seeds, each at its own threshold.
        n_pixels: Pixels that count.
        n_positive: Lesion pixels among them.
        lesion_ml: Volume of its lesions.
        auc_sd: Standard deviation of the AUC over several seeds.
    """

    subject: str
    auc: float | None
    average_precision: float | None
    dice: float | None
    n_pixels: int
    n_positive: int
    lesion_ml: float | None
    auc_sd: float | None = None

    @property
    def has_lesion(self) -> bool:
        """Whether any pixel that counts is lesion; without one there is no AUC."""
        return self.n_positive > 0


@dataclass(frozen=True, eq=False)
class Seed:
    """What one trial of a setting says of the subjects.

    Attributes:
        subjects: Rows of its ``subjects.parquet`` of one score and region.
        threshold: Where the test set has its highest Dice; None if it has none.
    """

    subjects: pa.Table
    threshold: float | None


def subject_figures(
    seeds: Sequence[Seed], volumes_ml: Mapping[str, float]
) -> tuple[SubjectFigures, ...]:
    """The subjects that all seeds of a setting tested, worst first.

    Args:
        seeds: Of the setting.
        volumes_ml: Lesion volumes by ``cohort/subject``, as measured on the scans. A subject that
            is not named there has its lesion pixels times the volume of a pixel.
    """
    by_seed = [_rows(seed) for seed in seeds]
    if not by_seed:
        return ()
    shared = [name for name in by_seed[0] if all(name in some for some in by_seed)]
    found = [_subject(name, [some[name] for some in by_seed], volumes_ml) for name in shared]
    return tuple(sorted(found, key=worst_first))


def worst_first(one: SubjectFigures) -> tuple[bool, float, str]:
    """What subjects are sorted by: the lowest AUC first, those without one last."""
    return (one.auc is None, one.auc or 0.0, one.subject)


def of_size(subjects: Iterable[SubjectFigures], size: str) -> tuple[SubjectFigures, ...]:
    """The subjects with lesions of some size; one whose volume is not known is of none.

    Args:
        subjects: In any order, which stays.
        size: One of :data:`SIZES`; an end belongs to the smaller of two.

    Raises:
        ValueError: If there is no such size.
    """
    if size not in SIZES:
        raise ValueError(f"there is no size {size!r}; it is one of {', '.join(SIZES)}")
    if size == SIZES[0]:
        return tuple(subjects)
    low, high = {SIZES[1]: (0.0, 1.0), SIZES[2]: (1.0, 10.0), SIZES[3]: (10.0, np.inf)}[size]
    return tuple(s for s in subjects if s.lesion_ml is not None and low < s.lesion_ml <= high)


def volumes_of(scans: Iterable[ScanRecord]) -> dict[str, float]:
    """The lesion volumes of a test set in ml by ``cohort/subject``, over all scans of each."""
    volumes: dict[str, float] = {}
    for scan in scans:
        if scan.status == "ok" and scan.lesion_volume_ml is not None:
            name = f"{scan.cohort}/{scan.subject}"
            volumes[name] = volumes.get(name, 0.0) + scan.lesion_volume_ml
    return volumes


@dataclass(frozen=True)
class _Row:
    auc: float | None
    average_precision: float | None
    dice: float | None
    n_pixels: int
    n_positive: int
    pixel_ml: float


def _rows(seed: Seed) -> dict[str, _Row]:
    table = seed.subjects.combine_chunks()
    if not table.num_rows:
        return {}
    lists = (lists_of(table, name) for name in ("thresholds", "positives", "negatives"))
    names = ("subject", "auc", "average_precision", "n_pixels", "n_positive", "voxel_ml")
    rows: list[dict[str, Any]] = table.select(names).to_pylist()
    return {
        row["subject"]: _Row(
            row["auc"],
            row["average_precision"],
            dice_at(SubjectCounts.of(*counts), seed.threshold),
            row["n_pixels"],
            row["n_positive"],
            float("nan") if row["voxel_ml"] is None else row["voxel_ml"],
        )
        for row, counts in zip(rows, zip(*lists, strict=True), strict=True)
    }


def dice_at(counts: SubjectCounts, threshold: float | None) -> float | None:
    """Dice of a subject's pixels whose score reaches a threshold.

    Args:
        counts: How many of its pixels reach a score.
        threshold: The score; None if there is none.

    Returns:
        None without lesion pixels, or without a threshold.
    """
    if threshold is None or not isfinite(threshold) or not counts.n_positive:
        return None
    positive, negative = (float(some[0]) for some in counts.reached(np.array([threshold])))
    return 2 * positive / (positive + negative + counts.n_positive)


def _subject(name: str, rows: Sequence[_Row], volumes_ml: Mapping[str, float]) -> SubjectFigures:
    first = rows[0]
    pixels_ml = first.n_positive * first.pixel_ml
    aucs = [row.auc for row in rows if row.auc is not None]
    return SubjectFigures(
        subject=name,
        auc=_mean([row.auc for row in rows]),
        average_precision=_mean([row.average_precision for row in rows]),
        dice=_mean([row.dice for row in rows]),
        n_pixels=first.n_pixels,
        n_positive=first.n_positive,
        lesion_ml=volumes_ml.get(name, pixels_ml if isfinite(pixels_ml) else None),
        auc_sd=float(np.std(aucs, ddof=1)) if len(aucs) == len(rows) > 1 else None,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean over the seeds; None if one of them has none."""
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known and len(known) == len(values) else None
