"""From counts to curves: the points of a ROC and of a precision-recall curve. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class OperatingPoints:
    """A score's curve, from the strictest threshold to the loosest.

    Attributes:
        fpr: False positive rates; begins at 0.
        tpr: True positive rates; begins at 0.
        notes: The threshold of each point of the ROC curve, as text.
        recall: True positive rates, without the first point, which has no precision.
        precision: Share of lesion pixels among those segmented.
    """

    fpr: list[float]
    tpr: list[float]
    notes: list[str]
    recall: list[float]
    precision: list[float]


def operating_points(roc: pa.Table, n_positive: int, n_negative: int) -> OperatingPoints:
    """The curve of one score in one region.

    Args:
        roc: Columns ``threshold``, ``true_positives``, ``false_positives``.
        n_positive: Lesion pixels of the region; at least 1.
        n_negative: Its other pixels; at least 1.
    """
    ordered = roc.sort_by([("threshold", "descending")])
    names = ("threshold", "true_positives", "false_positives")
    threshold, tp, fp = (ordered[name].to_numpy() for name in names)
    keep = (tp + fp) > 0
    threshold, tp, fp = threshold[keep], tp[keep].astype(float), fp[keep].astype(float)
    tpr = tp / max(n_positive, 1)
    return OperatingPoints(
        fpr=np.concatenate([[0.0], fp / max(n_negative, 1)]).tolist(),
        tpr=np.concatenate([[0.0], tpr]).tolist(),
        notes=["above all", *(f"{t:.5g}" for t in threshold)],
        recall=tpr.tolist(),
        precision=(tp / (tp + fp)).tolist(),
    )
