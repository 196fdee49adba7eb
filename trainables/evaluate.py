"""One pass over a test set: every score of a detector, every region, every figure.

Regions: ``brain`` is the pixels of the brain mask, ``slice`` all 128x128 of every slice. Lesion
pixels outside the brain mask count in ``slice`` alone; their share is recorded.

Shape legend: B slices of a batch, H = W = 128 pixels, P = B H W.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.byvalue import ValueCounter
from trainables.counting import PASSES, Counter, Pixels, ScoreCounters
from trainables.detector import Detector, score_names, scores_by_value
from trainables.lesions import Details, n_top
from trainables.postprocess import Postprocessing
from trainables.roc import Ranking
from trainables.showcase import Showcase, showcase_rows
from trainables.slices import Batch, Slices
from trainables.tables import METRICS_SCHEMA, ROC_SCHEMA, SUBJECTS_SCHEMA
from trainables.volumes import ScoredBatch, scored


@dataclass(frozen=True)
class Evaluation:
    """What one detector does on one test set, as tables ready to be stored.

    Attributes:
        metrics: A row per score x region (``METRICS_SCHEMA``). Undefined figures are null;
            ``auc_bound`` is how far ``auc`` may be off, as pixels are counted in bins, and
            ``chance_average_precision`` is the prevalence, what a random score would get.
        roc: At most 400 points of each ROC curve by descending threshold (``ROC_SCHEMA``); the
            first is (0, 0) at +inf.
        subjects: A row per subject x score x region (``SUBJECTS_SCHEMA``), with the compact counts
            of :meth:`trainables.roc.Ranking.compact`. ``top_mean`` is the mean of the
            highest 1 % of the pixels (see :mod:`trainables.lesions`), ``voxel_ml`` the volume of a
            pixel: the mean over the subject's slices, whose scans may differ.
        slices: A row per slice x score over brain pixels
            (``SLICES_SCHEMA``).
        lesions: A row per connected lesion x score over brain pixels
            (``LESIONS_SCHEMA``).
        heatmaps: A row per showcase slice (see :mod:`trainables.showcase`).
    """

    metrics: pa.Table
    roc: pa.Table
    subjects: pa.Table
    slices: pa.Table
    lesions: pa.Table
    heatmaps: pa.Table


def evaluate(
    detector: Detector,
    test: Slices,
    *,
    batch_size: int = 64,
    n_showcase: int = 4,
    asked: Sequence[str] = (),
    lesion_outside_brain_share: float | None = None,
    postprocessing: Postprocessing | None = None,
) -> Evaluation:
    """Score a test set and measure every score in every region.

    Slices are scored once as a rule, and again where the counts of a score were too coarse (see
    :mod:`trainables.counting`). Memory does not grow with the number of slices: pooled counts take
    a few MB per score.

    Args:
        detector: A fitted detector.
        test: Slices with ground truth.
        batch_size: Most slices to score at once; a batch never holds two subjects.
        n_showcase: Most slices to keep pictures of.
        asked: Scores to compute besides those that the detector always gives.
        lesion_outside_brain_share: Share of the lesion outside the brain mask where it is known
            better, from the volumes; else that of the pixels of the slices is recorded.
        postprocessing: What is done to the maps of each scan before they are measured; by default
            nothing.

    Raises:
        ValueError: If there are no slices, or a score map is not finite, or not a float32 map of
            the slices' shape, or not one of the detector's scores.
    """
    if not len(test):
        raise ValueError("the test set has no slices: there is nothing to evaluate")
    names = score_names(detector, asked)
    test_set = _TestSet(detector, test, names, asked, batch_size, postprocessing)
    details = Details(test)
    showcase = Showcase(detector, test, showcase_rows(test, n_showcase), names)
    counters = _counters(detector, names, asked, postprocessing)
    rows = _count(test_set, counters, details, showcase)
    pooled = counters.pooled()
    for _ in range(PASSES - 1):
        finer = counters.refined()
        if finer is None:
            break
        counters = finer
        rows |= _count(test_set, counters)
        pooled |= counters.pooled()
    if lesion_outside_brain_share is None:
        lesion_outside_brain_share = details.outside_brain_share()
    by_subject = zip(*rows.values(), strict=True)
    subject_rows = [row for scores in by_subject for regions in scores for row in regions]
    metrics, roc = _tables(pooled, subject_rows, len(test), lesion_outside_brain_share)
    return Evaluation(
        metrics=metrics,
        roc=roc,
        subjects=pa.Table.from_pylist(subject_rows, schema=SUBJECTS_SCHEMA),
        slices=details.slices(),
        lesions=details.lesions(),
        heatmaps=showcase.table(),
    )


def _counters(
    detector: Detector,
    names: Sequence[str],
    asked: Sequence[str],
    postprocessing: Postprocessing | None,
) -> ScoreCounters | ValueCounter:
    """What counts the scores' pixels: by intensity where nothing else decides."""
    by_value = None if asked or postprocessing else scores_by_value(detector)
    if by_value is not None:
        return ValueCounter(by_value)
    return ScoreCounters({score: Counter() for score in names})


@dataclass(frozen=True)
class _TestSet:
    """A test set whose slices are scored batch by batch."""

    detector: Detector
    slices: Slices
    names: tuple[str, ...]
    asked: Sequence[str]
    batch_size: int
    postprocessing: Postprocessing | None

    def batches(self, subject: str, rows: slice) -> Iterator[ScoredBatch]:
        """The batches of a subject, in order."""
        score = partial(self._maps, subject)
        return scored(self.slices, rows, self.batch_size, score, self.postprocessing)

    def _maps(self, subject: str, batch: Batch) -> dict[str, Tensor]:
        images_BHW = batch.images_BHW
        maps = dict(self.detector.maps(self.asked, images_BHW, batch.brain_BHW))
        if tuple(maps) != self.names:
            raise ValueError(f"the detector gave scores {tuple(maps)}, not {self.names}")
        return {s: _checked(m, images_BHW.shape, s, subject) for s, m in maps.items()}


def _checked(
    given: Tensor | NDArray[Any], shape: tuple[int, ...], score: str, subject: str
) -> Tensor:
    """A score map as a tensor.

    Raises:
        ValueError: If it is none.
    """
    map_BHW = given if isinstance(given, Tensor) else torch.from_numpy(given)
    if map_BHW.shape != shape or map_BHW.dtype != torch.float32:
        kind = str(map_BHW.dtype).removeprefix("torch.")
        raise ValueError(
            f"score {score} is a {kind} array of shape {tuple(map_BHW.shape)}; "
            f"a float32 one of shape {shape} is right"
        )
    lowest, highest = map_BHW.aminmax()  # NaN if one pixel is
    if not bool(torch.isfinite(highest - lowest)) and not bool(torch.isfinite(map_BHW).all()):
        raise ValueError(f"score {score} of subject {subject} has pixels that are not finite")
    return map_BHW


def _count(
    test_set: _TestSet,
    counters: ScoreCounters | ValueCounter,
    details: Details | None = None,
    showcase: Showcase | None = None,
) -> dict[str, list[list[dict[str, Any]]]]:
    """Count the whole test set.

    Returns:
        By score, for each subject its rows of ``SUBJECTS_SCHEMA``, a row a region.
    """
    found: dict[str, list[list[dict[str, Any]]]] = {}
    for subject, rows in test_set.slices.by_subject():
        if rows.start == rows.stop:
            continue
        if details is not None:
            details.begin(subject, rows)
        for batch in test_set.batches(subject, rows):
            pixels = Pixels.of(batch.batch, next(iter(batch.maps.values())).device)
            counters.add(batch.batch, batch.maps, pixels)
            if details is not None:
                details.keep(*batch)
            if showcase is not None:
                showcase.keep(batch.rows, batch.maps)
        if details is not None:
            details.end()
        scans = {"subject": subject, **_scans(test_set.slices, rows)}
        for score, regions in counters.end_subject().items():
            of_subject = [scans | _subject_row(score, *one) for one in regions.items()]
            found.setdefault(score, []).append(of_subject)
    return found


def _scans(test: Slices, rows: slice) -> dict[str, Any]:
    """What the rows of a subject say of its scans."""
    scan_S = None if test.scan_N is None else test.scan_N[rows]
    voxel_ml_S = None if test.voxel_ml_N is None else test.voxel_ml_N[rows]
    return {
        "n_scans": 1 if scan_S is None else int(np.count_nonzero(np.diff(scan_S))) + 1,
        "voxel_ml": None if voxel_ml_S is None else float(voxel_ml_S.mean()),
    }


def _subject_row(score: str, region: str, ranking: Ranking) -> dict[str, Any]:
    compact = ranking.compact()
    n_pixels = ranking.n_positive + ranking.n_negative
    return {
        "score": score,
        "region": region,
        "n_pixels": n_pixels,
        "n_positive": ranking.n_positive,
        "auc": ranking.auc,
        "average_precision": ranking.average_precision,
        "top_mean": ranking.top_mean(n_top(n_pixels)) if n_pixels else None,
        "thresholds": compact.thresholds,
        "positives": compact.positives,
        "negatives": compact.negatives,
    }


def _tables(
    pooled: Mapping[str, Mapping[str, Ranking]],
    subject_rows: Sequence[dict[str, Any]],
    n_slices: int,
    lesion_outside_brain_share: float | None,
) -> tuple[pa.Table, pa.Table]:
    metrics: list[dict[str, Any]] = []
    curves: list[pa.Table] = []
    for score, regions in pooled.items():
        for region, ranking in regions.items():
            rows = [r for r in subject_rows if (r["score"], r["region"]) == (score, region)]
            aucs = [r["auc"] for r in rows if r["auc"] is not None]
            n_pixels = ranking.n_positive + ranking.n_negative
            dice = ranking.best_dice
            metrics.append(
                {
                    "score": score,
                    "region": region,
                    "n_subjects": len(rows),
                    "n_slices": n_slices,
                    "n_pixels": n_pixels,
                    "n_positive": ranking.n_positive,
                    "auc": ranking.auc,
                    "auc_bound": ranking.auc_bound,
                    "average_precision": ranking.average_precision,
                    "chance_average_precision": (
                        ranking.n_positive / n_pixels if ranking.n_positive else None
                    ),
                    "best_dice": None if dice is None else dice[0],
                    "best_dice_threshold": None if dice is None else dice[1],
                    "mean_subject_auc": float(np.mean(aucs)) if aucs else None,
                    "lesion_outside_brain_share": lesion_outside_brain_share,
                }
            )
            curves.append(_curve_table(score, region, ranking))
    return pa.Table.from_pylist(metrics, schema=METRICS_SCHEMA), pa.concat_tables(curves)


def _curve_table(score: str, region: str, ranking: Ranking) -> pa.Table:
    curve = ranking.curve()
    n = len(curve.thresholds)
    columns = [[score] * n, [region] * n, *curve]
    return pa.table(
        [pa.array(c, type=f.type) for c, f in zip(columns, ROC_SCHEMA, strict=True)],
        schema=ROC_SCHEMA,
    )
