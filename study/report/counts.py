"""The counts by subject that evaluations store, read from ``subjects.parquet``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.report.parts import ERRORS, Parts
from study.report.statistics import Binned, shared_bins

_PART = "subjects.parquet"
_COUNTED = ["subject", "score", "region", "auc", "thresholds", "positives", "negatives"]


@dataclass(frozen=True, eq=False)
class Counted:
    """The counts of a row, with the subjects they are of and their own AUCs."""

    subjects: tuple[str, ...]
    counts: Binned
    aucs: tuple[float, ...]


def read_counts(parts: Parts, trial_id: str, eval_id: str) -> dict[tuple[str, str], Counted]:
    """The counts of an evaluation by score and region; none where they cannot be read."""
    table = parts.read(trial_id, eval_id, _PART)
    if table is None:
        return {}
    try:
        return _by_score(table.select(_COUNTED).combine_chunks())
    except ERRORS:
        parts.refuse(trial_id, eval_id, _PART)
        return {}


def _by_score(table: pa.Table) -> dict[tuple[str, str], Counted]:
    scores, regions = table["score"].to_pylist(), table["region"].to_pylist()
    rows: dict[tuple[str, str], list[int]] = {}
    for number, place in enumerate(zip(scores, regions, strict=True)):
        rows.setdefault(place, []).append(number)
    found = {}
    for place, numbers in rows.items():
        some = table.take(pa.array(numbers))
        counts = shared_bins(
            lists_of(some, "thresholds"), lists_of(some, "positives"), lists_of(some, "negatives")
        )
        aucs = tuple(value for value in some["auc"].to_pylist() if value is not None)
        found[place] = Counted(tuple(some["subject"].to_pylist()), counts, aucs)
    return found


def lists_of(table: pa.Table, name: str) -> list[NDArray[Any]]:
    """A column of lists as an array a row."""
    column = table[name].combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))
    return np.split(values, ends[:-1])
