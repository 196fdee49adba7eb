"""One pass over a test set: every score of a detector, every region, every figure.

Regions: ``brain`` is the pixels of the brain mask, ``slice`` all 128x128 of every slice. Lesion
pixels outside the brain mask count in ``slice`` alone; their share is recorded.

Shape legend: B slices of a batch, H = W = 128 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainables.detector import Detector, score_names
from trainables.roc import RocAccumulator
from trainables.showcase import Showcase, showcase_rows
from trainables.slices import Batch, Slices

REGIONS = ("brain", "slice")

_KEY = [("score", pa.string()), ("region", pa.string())]

METRICS_SCHEMA = pa.schema(
    [
        *_KEY,
        ("n_subjects", pa.int64()),
        ("n_slices", pa.int64()),
        ("n_pixels", pa.int64()),
        ("n_positive", pa.int64()),
        ("auc", pa.float64()),
        ("average_precision", pa.float64()),
        ("chance_average_precision", pa.float64()),
        ("best_dice", pa.float64()),
        ("best_dice_threshold", pa.float64()),
        ("mean_subject_auc", pa.float64()),
        ("lesion_outside_brain_share", pa.float64()),
    ]
)

ROC_SCHEMA = pa.schema(
    [
        *_KEY,
        ("threshold", pa.float64()),
        ("true_positives", pa.int64()),
        ("false_positives", pa.int64()),
    ]
)

SUBJECTS_SCHEMA = pa.schema(
    [
        ("subject", pa.string()),
        *_KEY,
        ("n_pixels", pa.int64()),
        ("n_positive", pa.int64()),
        ("auc", pa.float64()),
        ("average_precision", pa.float64()),
        ("thresholds", pa.list_(pa.float32())),
        ("positives", pa.list_(pa.int64())),
        ("negatives", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True)
class Evaluation:
    """What one detector does on one test set, as tables ready to be stored.

    Attributes:
        metrics: A row per score x region (``METRICS_SCHEMA``). Undefined figures are null;
            ``chance_average_precision`` is the prevalence, what a random score would get.
        roc: At most 400 points of each ROC curve by descending threshold (``ROC_SCHEMA``); the
            first is (0, 0) at +inf.
        subjects: A row per subject x score x region (``SUBJECTS_SCHEMA``), with the compact counts
            of :meth:`trainables.roc.RocAccumulator.compact`.
        heatmaps: A row per showcase slice (see :mod:`trainables.showcase`).
    """

    metrics: pa.Table
    roc: pa.Table
    subjects: pa.Table
    heatmaps: pa.Table


def evaluate(
    detector: Detector,
    test: Slices,
    *,
    batch_size: int = 64,
    n_showcase: int = 4,
    lesion_outside_brain_share: float | None = None,
) -> Evaluation:
    """Score a test set once and measure every score in every region.

    Memory does not grow with the number of slices: pooled counts take a few MB per score.

    Args:
        detector: A fitted detector.
        test: Slices with ground truth.
        batch_size: Most slices to score at once; a batch never holds two subjects.
        n_showcase: Most slices to keep pictures of.
        lesion_outside_brain_share: Share of the lesion outside the brain mask where it is known
            better, from the volumes; else that of the pixels of the slices is recorded.

    Raises:
        ValueError: If there are no slices, or a score map is not finite, or not a float32 map of
            the slices' shape, or not one of the detector's scores.
    """
    if not len(test):
        raise ValueError("the test set has no slices: there is nothing to evaluate")
    pooled = {score: _Regions() for score in score_names(detector)}
    subject_rows: list[dict[str, Any]] = []
    lesion = np.zeros(2, dtype=np.int64)
    showcase = Showcase(detector, test, showcase_rows(test, n_showcase))
    for subject, rows in test.by_subject():
        if rows.start == rows.stop:
            continue
        counts = {score: _Regions() for score in score_names(detector)}
        for start in range(rows.start, rows.stop, batch_size):
            batch_rows = range(start, min(start + batch_size, rows.stop))
            batch = test.batch(slice(batch_rows.start, batch_rows.stop))
            maps = _score(detector, batch, subject)
            _count(counts, maps, batch)
            showcase.keep(batch_rows, batch, maps)
            lesion += (batch.lesion_BHW.sum(), (batch.lesion_BHW & ~batch.brain_BHW).sum())
        for score, regions in counts.items():
            subject_rows.extend(_subject_rows(subject, score, regions))
            pooled[score].merge(regions)
    if lesion_outside_brain_share is None and lesion[0]:
        lesion_outside_brain_share = float(lesion[1] / lesion[0])
    metrics, roc = _tables(pooled, subject_rows, len(test), lesion_outside_brain_share)
    return Evaluation(
        metrics=metrics,
        roc=roc,
        subjects=pa.Table.from_pylist(subject_rows, schema=SUBJECTS_SCHEMA),
        heatmaps=showcase.table(),
    )


@dataclass
class _Regions:
    """Counts of the brain and of what is outside it: each pixel is sorted once."""

    brain: RocAccumulator = field(default_factory=RocAccumulator)
    outside: RocAccumulator = field(default_factory=RocAccumulator)

    def merge(self, other: _Regions) -> None:
        self.brain.merge(other.brain)
        self.outside.merge(other.outside)

    def by_name(self) -> Iterator[tuple[str, RocAccumulator]]:
        yield "brain", self.brain
        whole = RocAccumulator()
        whole.merge(self.brain)
        whole.merge(self.outside)
        yield "slice", whole


def _score(detector: Detector, batch: Batch, subject: str) -> dict[str, NDArray[np.float32]]:
    maps = detector.score(batch.images_BHW, batch.brain_BHW)
    if tuple(maps) != score_names(detector):
        raise ValueError(f"the detector gave scores {tuple(maps)}, not {score_names(detector)}")
    for score, map_BHW in maps.items():
        if map_BHW.shape != batch.images_BHW.shape or map_BHW.dtype != np.float32:
            raise ValueError(
                f"score {score} is a {map_BHW.dtype} array of shape {map_BHW.shape}; "
                f"a float32 one of shape {batch.images_BHW.shape} is right"
            )
        if not np.isfinite(map_BHW).all():
            raise ValueError(f"score {score} of subject {subject} has pixels that are not finite")
    return maps


def _count(counts: dict[str, _Regions], maps: dict[str, NDArray[np.float32]], batch: Batch) -> None:
    brain, outside = batch.brain_BHW, ~batch.brain_BHW
    lesion_in, lesion_out = batch.lesion_BHW[brain], batch.lesion_BHW[outside]
    for score, map_BHW in maps.items():
        counts[score].brain.update(map_BHW[brain], lesion_in)
        counts[score].outside.update(map_BHW[outside], lesion_out)


def _subject_rows(subject: str, score: str, regions: _Regions) -> Iterator[dict[str, Any]]:
    for region, counted in regions.by_name():
        compact = counted.compact()
        yield {
            "subject": subject,
            "score": score,
            "region": region,
            "n_pixels": counted.n_positive + counted.n_negative,
            "n_positive": counted.n_positive,
            "auc": counted.auc(),
            "average_precision": counted.average_precision(),
            "thresholds": compact.thresholds,
            "positives": compact.positives,
            "negatives": compact.negatives,
        }


def _tables(
    pooled: dict[str, _Regions],
    subject_rows: Sequence[dict[str, Any]],
    n_slices: int,
    lesion_outside_brain_share: float | None,
) -> tuple[pa.Table, pa.Table]:
    metrics: list[dict[str, Any]] = []
    curves: list[pa.Table] = []
    for score, regions in pooled.items():
        for region, counted in regions.by_name():
            rows = [r for r in subject_rows if (r["score"], r["region"]) == (score, region)]
            aucs = [r["auc"] for r in rows if r["auc"] is not None]
            n_pixels = counted.n_positive + counted.n_negative
            dice = counted.best_dice()
            metrics.append(
                {
                    "score": score,
                    "region": region,
                    "n_subjects": len(rows),
                    "n_slices": n_slices,
                    "n_pixels": n_pixels,
                    "n_positive": counted.n_positive,
                    "auc": counted.auc(),
                    "average_precision": counted.average_precision(),
                    "chance_average_precision": (
                        counted.n_positive / n_pixels if counted.n_positive else None
                    ),
                    "best_dice": None if dice is None else dice[0],
                    "best_dice_threshold": None if dice is None else dice[1],
                    "mean_subject_auc": float(np.mean(aucs)) if aucs else None,
                    "lesion_outside_brain_share": lesion_outside_brain_share,
                }
            )
            curves.append(_curve_table(score, region, counted))
    return pa.Table.from_pylist(metrics, schema=METRICS_SCHEMA), pa.concat_tables(curves)


def _curve_table(score: str, region: str, counted: RocAccumulator) -> pa.Table:
    curve = counted.curve()
    n = len(curve.thresholds)
    columns = [[score] * n, [region] * n, *curve]
    return pa.table(
        [pa.array(c, type=f.type) for c, f in zip(columns, ROC_SCHEMA, strict=True)],
        schema=ROC_SCHEMA,
    )
