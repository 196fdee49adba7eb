"""Pooled figures over any choice of subjects, and intervals that hold for them.

A figure over all pixels of a test set has its uncertainty from the subjects: a hundred thousand
pixels of one stroke are one patient. All of it is worked out on counts by subject and bin of
descending score, which are made once from ``subjects.parquet`` (:func:`shared_bins`).

The interval leaves one subject out at a time (jackknife), on the logit scale, with Student's t. The
degrees of freedom are those of Satterthwaite, bounded by the effective number of subjects less one,
``n_eff = (sum P)^2 / sum P^2`` over the subjects' lesion pixels: where a few large lesions make up
the pixels, there are not more independent observations than that. ``benchmarks/coverage.py``
measures that it holds, and where it holds only about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

N_BINS = 512

LEVEL = 0.95

FEW_WITH_LESION = 30
"""With fewer lesions the intervals of average precision and best Dice are approximate."""

HEAVY_TAILED = 0.6
"""So they are where the effective number of subjects is less than this share of their number."""

_SMALLEST = 1e-12
"""A figure of 0 or 1 has no logit; it is taken for one so close to it."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Binned:
    """Pixels of some subjects by bins of score that all subjects share.

    Attributes:
        positives: (N, K) lesion pixels by subject and bin, the highest scores first.
        negatives: (N, K) other pixels.
    """

    positives: Array
    negatives: Array

    @property
    def n_subjects(self) -> int:
        """Number of subjects N."""
        return len(self.positives)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Binned:
        """The counts of some subjects, in any order and as often as they are named."""
        return Binned(self.positives[rows], self.negatives[rows])


@dataclass(frozen=True, eq=False)
class Figures:
    """Pooled figures, one for each row of pooled counts; NaN where one is undefined.

    Attributes:
        auc: Area under the ROC curve, ties counting half.
        average_precision: Sum of precision times recall step.
        best_dice: The highest Dice over all thresholds.
    """

    auc: Array
    average_precision: Array
    best_dice: Array

    def named(self) -> dict[str, Array]:
        """The figures by their names."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Interval:
    """A confidence interval of 95 %.

    Attributes:
        estimate: The figure.
        low: Its lower end.
        high: Its upper end.
        df: Degrees of freedom of Student's t.
    """

    estimate: float
    low: float
    high: float
    df: float


def shared_bins(
    thresholds: Sequence[NDArray[np.float32]],
    positives: Sequence[NDArray[np.int64]],
    negatives: Sequence[NDArray[np.int64]],
    n_bins: int = N_BINS,
) -> Binned:
    """Put the compact counts of subjects on bins that all of them share.

    Bins have equal shares of the lesion pixels, of the other pixels and of the logarithm of the
    rank, added up, so that the highest scores are finely told apart; one score never lies in two.

    Args:
        thresholds: For each subject, (E,) scores by descending order.
        positives: For each subject, (E,) lesion pixels of each entry.
        negatives: For each subject, (E,) other pixels of each entry.
        n_bins: Most bins to make.
    """
    n_subjects = len(thresholds)
    lengths = [len(some) for some in thresholds]
    if not sum(lengths):
        return Binned(np.zeros((n_subjects, 1)), np.zeros((n_subjects, 1)))
    owner = np.repeat(np.arange(n_subjects), lengths)
    score = np.concatenate(list(thresholds))
    p = np.concatenate(list(positives)).astype(np.float64)
    m = np.concatenate(list(negatives)).astype(np.float64)
    order = np.argsort(-score, kind="stable")
    owner, score, p, m = owner[order], score[order], p[order], m[order]
    above_p, above_m = np.cumsum(p), np.cumsum(m)
    rank = np.log(np.maximum(above_p + above_m, 1.0))
    height = _share(above_p) + _share(above_m) + _share(rank)
    cell = np.minimum((height / height[-1] * n_bins).astype(np.int64), n_bins - 1)
    # All entries of one score go where the first of them is.
    first = np.flatnonzero(np.concatenate([[True], score[1:] != score[:-1]]))
    cell = np.repeat(cell[first], np.diff(np.append(first, len(score))))
    _, cell = np.unique(cell, return_inverse=True)
    shape = (n_subjects, int(cell[-1]) + 1)
    flat = owner * shape[1] + cell
    size = shape[0] * shape[1]
    return Binned(*(_summed(flat, some, size).reshape(shape) for some in (p, m)))


def _summed(cells: NDArray[np.int64], values: Array, size: int) -> Array:
    return np.bincount(cells, values, size).astype(np.float64)


def _share(heights: Array) -> Array:
    return heights / heights[-1] if heights[-1] > 0 else np.zeros_like(heights)


def figures(positives: Array, negatives: Array) -> Figures:
    """Pooled figures of counts by descending score.

    Args:
        positives: (..., K) lesion pixels in each bin.
        negatives: (..., K) other pixels.
    """
    above_p, above_m = np.cumsum(positives, axis=-1), np.cumsum(negatives, axis=-1)
    n_p, n_m = above_p[..., -1], above_m[..., -1]
    middle_p, middle_m = above_p - positives / 2, above_m - negatives / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        auc = (middle_p * negatives).sum(-1) / (n_p * n_m)
        marked = middle_p + middle_m
        precision = np.divide(middle_p, marked, out=np.zeros_like(marked), where=marked > 0)
        average_precision = (positives * precision).sum(-1) / n_p
        dice = (2 * above_p / (above_p + above_m + n_p[..., None])).max(-1)
    undefined = np.where(n_p > 0, 0.0, np.nan)
    return Figures(auc, average_precision, dice + undefined)


def pooled(counts: Binned) -> Figures:
    """The figures of all subjects together, each an array of no dimension."""
    return figures(counts.positives.sum(0), counts.negatives.sum(0))


def left_out(counts: Binned) -> Figures:
    """The figures of all subjects but one, (N,) for the one that is left out."""
    return figures(
        counts.positives.sum(0) - counts.positives, counts.negatives.sum(0) - counts.negatives
    )


def n_with_lesion(counts: Binned) -> int:
    """How many subjects have lesion pixels."""
    return int((counts.positives.sum(1) > 0).sum())


def n_effective(counts: Binned) -> float:
    """How many subjects with equal lesions would have as much to say; 0 without lesions."""
    per_subject = counts.positives.sum(1)
    squares = float((per_subject**2).sum())
    return float(per_subject.sum() ** 2 / squares) if squares else 0.0


def is_approximate(metric: str, n_lesion: int, n_eff: float) -> bool:
    """Whether an interval of a figure may cover less than it says.

    That of the AUC holds from ten subjects on. Average precision and best Dice are skewed where a
    few lesions make up the pixels, which more subjects hardly mend: their effective number stays a
    small share of them. The simulation that decides is ``benchmarks/coverage.py``.

    Args:
        metric: Name of the figure.
        n_lesion: How many subjects have lesion pixels.
        n_eff: Their effective number.
    """
    if metric == "auc":
        return False
    return n_lesion < FEW_WITH_LESION or n_eff < HEAVY_TAILED * n_lesion


def interval(estimate: float, others: Array, counts: Binned) -> Interval | None:
    """The interval of a pooled figure.

    Args:
        estimate: The figure over all subjects.
        others: (N,) the figure with each of them left out.
        counts: Their counts, for the degrees of freedom.

    Returns:
        None where it cannot be told: fewer than two subjects with lesions, or a figure that is
        undefined without one of them.
    """
    spread = jackknife(logit(others), counts)
    if spread is None or not np.isfinite(estimate):
        return None
    half = t_quantile(spread.df) * spread.error
    centre = float(logit(np.array(estimate)))
    return Interval(estimate, float(expit(centre - half)), float(expit(centre + half)), spread.df)


@dataclass(frozen=True)
class Spread:
    """Standard error of a figure by leaving subjects out, and its degrees of freedom."""

    error: float
    df: float


def jackknife(others: Array, counts: Binned) -> Spread | None:
    """How much a figure varies with the subjects.

    Args:
        others: (N,) the figure, on a scale where it is near normal, with each subject left out.
        counts: The subjects' counts.
    """
    n, n_lesion = len(others), n_with_lesion(counts)
    if n_lesion < 2 or not np.isfinite(others).all():
        return None
    u = others - others.mean()
    squares = float((u**2).sum())
    error = float(np.sqrt((n - 1) / n * squares))
    kurtosis = n * float((u**4).sum()) / squares**2 - 3 if squares > 0 else 0.0
    by_variance = 2 / (2 / (n_lesion - 1) + max(kurtosis, 0.0) / n_lesion)
    return Spread(error, max(1.0, min(by_variance, n_effective(counts) - 1)))


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The interval of the mean of subjects' own figures, by Student's t; None of fewer than two."""
    n = len(values)
    if n < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / n**0.5
    half = t_quantile(float(n - 1)) * error
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half), float(n - 1))


def all_intervals(counts: Binned) -> Mapping[str, Interval | None]:
    """The intervals of AUC, average precision and best Dice by name."""
    whole, others = pooled(counts).named(), left_out(counts).named()
    return {name: interval(float(whole[name]), others[name], counts) for name in whole}


def logit(share: Array) -> Array:
    """Log odds; those of 0 and 1 are large and finite."""
    inside = np.clip(share, _SMALLEST, 1 - _SMALLEST)
    odds: Array = np.log(inside / (1 - inside))
    return odds


def expit(odds: float) -> float:
    """The share that log odds stand for."""
    return float(1 / (1 + np.exp(-np.float64(odds)))) if odds > -700 else 0.0


def t_quantile(df: float) -> float:
    """Student's t that two-sided intervals of :data:`LEVEL` reach."""
    from scipy.special import stdtrit  # takes a while to import, and reports do without

    return float(stdtrit(df, 0.5 + LEVEL / 2))


def t_probability(t: float, df: float) -> float:
    """Two-sided p-value of Student's t."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))
