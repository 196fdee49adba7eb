"""The curve of one result row, read from its evaluation."""

from __future__ import annotations

from typing import Any

from dashboard.curves import OperatingPoints, operating_points
from dashboard.data import evaluation_table, rows_of
from dashboard.frame import Frame


def points_of(frame: Frame, row: dict[str, Any]) -> OperatingPoints:
    """The points of a result row's ROC curve.

    Args:
        frame: The study that it is of.
        row: With the fields of a result row.

    Raises:
        StorageError: If what is stored of it is missing or damaged.
    """
    where = (frame.uri, frame.study, row["trial_id"], row["eval_id"])
    table = evaluation_table(*where, "roc.parquet")
    table = rows_of(table, score=row["score"], region=row["region"])
    n_positive = row["n_positive"]
    return operating_points(table, n_positive, row["n_pixels"] - n_positive)
