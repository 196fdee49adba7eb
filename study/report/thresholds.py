"""Thresholds without test labels: scores that a known share of healthy brain pixels reaches.

A threshold that is chosen on the test set needs its ground truth. One that marks 5 % of the brain
pixels of healthy subjects needs none, and says what it costs: its name is ``healthy:5%``. All
pixels of the reference subjects are pooled. It is worked out from the compact counts of
``subjects.parquet``, whose entries near these shares hold at most .4 % of a subject's pixels; in
an entry scores are taken to be spread evenly, so that what a threshold marks of the reference is
within about .1 % of what it is meant to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.keys import HIGHEST, LOWEST, scores_of
from trainables.roc import are_intervals

SHARES = (0.01, 0.05, 0.1)
"""Shares of healthy brain pixels for which there are thresholds."""

USUAL = 0.05
"""The share of the threshold that figures show."""

FEW = 10
"""Below this many reference subjects a threshold is uncertain, and every output says so."""

Array = NDArray[np.float64]


def threshold_name(share: float) -> str:
    """What a threshold is called: ``healthy:5%``."""
    return f"healthy:{share:.0%}"


@dataclass(frozen=True, eq=False)
class SubjectCounts:
    """How many pixels of a subject reach a score.

    Attributes:
        scores_K: Ascending scores.
        positives_K: Lesion pixels at or above each.
        negatives_K: Other pixels at or above each.
        n_positive: All lesion pixels.
        n_negative: All other pixels.
    """

    scores_K: Array
    positives_K: Array
    negatives_K: Array
    n_positive: int
    n_negative: int

    @classmethod
    def of(
        cls,
        thresholds: NDArray[np.float32],
        positives: NDArray[np.int64],
        negatives: NDArray[np.int64],
    ) -> SubjectCounts:
        """From compact counts, by descending score."""
        scores = np.asarray(thresholds, dtype=np.float64)
        interval = are_intervals(positives, negatives)
        # An interval's own score is its middle: half of its pixels reach it. All of a tie do, and
        # none of them reaches the next higher number.
        tied = ~interval
        higher = np.nextafter(np.asarray(thresholds[tied], np.float32), np.float32(np.inf))
        knots = np.concatenate([scores, higher.astype(np.float64)])
        order = np.lexsort((np.concatenate([np.zeros(len(scores)), np.ones(len(higher))]), knots))

        def reaching(counts: NDArray[np.int64]) -> Array:
            above = np.cumsum(counts) - counts
            at = above + np.where(interval, counts / 2, counts)
            values: Array = np.concatenate([at, above[tied]]).astype(np.float64)[order]
            return values

        n_positive, n_negative = int(positives.sum()), int(negatives.sum())
        return cls(knots[order], reaching(positives), reaching(negatives), n_positive, n_negative)

    def reached(self, scores: Array) -> tuple[Array, Array]:
        """Lesion pixels, and other pixels, at or above some scores."""
        if not len(self.scores_K):
            return np.zeros(len(scores)), np.zeros(len(scores))
        found = (
            np.interp(scores, self.scores_K, reached, left=total, right=0.0)
            for reached, total in (
                (self.positives_K, self.n_positive),
                (self.negatives_K, self.n_negative),
            )
        )
        positive, negative = found
        return positive, negative


def thresholds(reference: Sequence[SubjectCounts], shares: Sequence[float] = SHARES) -> Array:
    """The lowest scores that at most some shares of the reference's pixels reach.

    Pixels that are called lesions there count as well: the reference is healthy.

    Args:
        reference: Subjects without lesions; their pixels are pooled.
        shares: Of their pixels.

    Returns:
        A float32 number for each share, as float64; a pixel is marked if its score is at least it.

    Raises:
        ValueError: If there is no pixel.
    """
    n = sum(one.n_positive + one.n_negative for one in reference)
    if not n:
        raise ValueError("no pixel of a healthy subject is there to choose a threshold by")
    wanted = np.asarray(shares) * n
    low = np.full(len(shares), LOWEST, np.int64)
    high = np.full(len(shares), HIGHEST, np.int64)
    while (high - low > 0).any():
        middle = (low + high) // 2
        will_do = _pooled(reference, _scores(middle)) <= wanted
        low, high = np.where(will_do, low, middle + 1), np.where(will_do, middle, high)
    return _scores(high)


def marked_share(subjects: Sequence[SubjectCounts], score: float) -> float | None:
    """Share of all pixels of some healthy subjects that reach a score; None without a pixel."""
    n = sum(one.n_positive + one.n_negative for one in subjects)
    return float(_pooled(subjects, np.array([score]))[0]) / n if n else None


def marked_sd(subjects: Sequence[SubjectCounts], score: float) -> float | None:
    """How much subjects differ in the share of their pixels that reaches a score.

    That, and not the number of pixels, decides how well a threshold holds on others.

    Args:
        subjects: Healthy subjects.
        score: The threshold.

    Returns:
        The standard deviation over subjects; None of fewer than two with pixels.
    """
    shares = [marked_share([one], score) for one in subjects]
    known = [share for share in shares if share is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def _scores(keys: NDArray[np.int64]) -> Array:
    return scores_of(keys.astype(np.int32)).astype(np.float64)


def _pooled(subjects: Sequence[SubjectCounts], scores: Array) -> Array:
    total = np.zeros(len(scores))
    for one in subjects:
        positive, negative = one.reached(scores)
        total += positive + negative
    return total
