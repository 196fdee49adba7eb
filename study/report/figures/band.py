"""How far a ROC curve would move with other subjects: a band of 95 % at each false positive rate.

It is the jackknife of ``study.report.statistics`` on the true positive rate at a false positive
rate. Its scale is the arcsine of the root, for rates go to 0 and 1 at the ends of a curve, where a
logit has no bound. Each rate has its own interval: a band that all of a curve lies in would be
wider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from study.report.statistics import (
    Array,
    Binned,
    jackknife,
    shared_bins,
    t_quantile,
)


@dataclass(frozen=True, eq=False)
class Band:
    """A band about a curve.

    Attributes:
        fpr: (G,) false positive rates, ascending.
        low: (G,) lower ends of the true positive rate.
        high: (G,) upper ends.
    """

    fpr: Array
    low: Array
    high: Array


def band_of(seeds: Sequence[pa.Table], fpr: Array) -> Band | None:
    """The band about the mean curve of some seeds.

    Args:
        seeds: For each seed, a row a subject with columns ``subject``, ``thresholds``,
            ``positives`` and ``negatives``.
        fpr: (G,) false positive rates, ascending.

    Returns:
        None where it cannot be told: fewer than two subjects with lesions, one without whom there
        is no curve, or seeds on different subjects.
    """
    if len({tuple(table["subject"].to_pylist()) for table in seeds}) != 1:
        return None
    counts = [_binned(table) for table in seeds]
    whole = np.mean([_rates(one, fpr) for one in counts], axis=0)
    others = np.mean([_rates_without_each(one, fpr) for one in counts], axis=0)
    low, high = np.empty_like(whole), np.empty_like(whole)
    for place, rate in enumerate(whole):
        spread = jackknife(_angle(others[:, place]), counts[0])
        if spread is None:
            return None
        half = t_quantile(spread.df) * spread.error
        ends = _angle(rate) + np.array([-half, half])
        low[place], high[place] = np.sin(np.clip(ends, 0, np.pi / 2)) ** 2
    return Band(fpr, low, high)


def _binned(table: pa.Table) -> Binned:
    def lists(name: str, kind: type) -> list[np.ndarray[tuple[int], np.dtype[np.generic]]]:
        return [np.array(values, kind) for values in table[name].to_pylist()]

    return shared_bins(
        lists("thresholds", np.float32),  # type: ignore[arg-type]
        lists("positives", np.int64),  # type: ignore[arg-type]
        lists("negatives", np.int64),  # type: ignore[arg-type]
    )


def _rates(counts: Binned, fpr: Array) -> Array:
    """(G,) true positive rates of all subjects together."""
    return _at(counts.positives.sum(0), counts.negatives.sum(0), fpr)


def _rates_without_each(counts: Binned, fpr: Array) -> Array:
    """(N, G) those of all subjects but one."""
    positives = counts.positives.sum(0) - counts.positives
    negatives = counts.negatives.sum(0) - counts.negatives
    return np.array([_at(p, m, fpr) for p, m in zip(positives, negatives, strict=True)])


def _at(positives: Array, negatives: Array, fpr: Array) -> Array:
    """True positive rates at some false positive rates; NaN where there is no curve."""
    if not positives.sum() or not negatives.sum():
        return np.full(len(fpr), np.nan)
    true = np.concatenate([[0.0], np.cumsum(positives) / positives.sum()])
    false = np.concatenate([[0.0], np.cumsum(negatives) / negatives.sum()])
    rates: Array = np.interp(fpr, false, true)
    return rates


def _angle(rates: Array | np.float64) -> Array:
    angles: Array = np.arcsin(np.sqrt(rates))
    return angles
