"""ROC and precision-recall figures of pixels that are counted by score and label.

Pixels come as *entries*, by descending scores: either pixels of one score, which are tied, or those
of a narrow interval of scores, whose order within it is not known. What that can change in the AUC
is bounded by the counts themselves, see :attr:`Ranking.auc_bound`.

Shape legend: E entries of a ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

COMPACT_ENTRIES = 512
"""Usual length of a subject's compact counts."""

Counts = NDArray[np.int64]
Scores = NDArray[np.float32]


class Curve(NamedTuple):
    """Points of an ROC curve; a pixel is called positive if its score >= the threshold.

    Attributes:
        thresholds: float64, descending; the first is +inf, for the point (0, 0).
        true_positives: int64, ascending to the number of positives.
        false_positives: int64, ascending to the number of negatives.
    """

    thresholds: NDArray[np.float64]
    true_positives: Counts
    false_positives: Counts


class CompactCounts(NamedTuple):
    """A ranking in a few hundred entries, by descending score.

    Attributes:
        thresholds: float32, strictly descending; a score within the entry's interval.
        positives: int64 positives within the entry (not cumulative).
        negatives: int64 negatives within the entry.
    """

    thresholds: Scores
    positives: Counts
    negatives: Counts


@dataclass(frozen=True, eq=False)
class Ranking:
    """Pixels by descending score.

    Attributes:
        lowest_E: float32, the lowest score of each entry; strictly descending.
        middle_E: float32, a score in the middle of each entry.
        positives_E: int64 positives of each entry.
        negatives_E: int64 negatives of each entry.
        interval_E: bool, whether the entry's pixels lie in an interval of scores; else they are
            tied.
    """

    lowest_E: Scores
    middle_E: Scores
    positives_E: Counts
    negatives_E: Counts
    interval_E: NDArray[np.bool_]

    @cached_property
    def n_positive(self) -> int:
        """Number of positive pixels."""
        return int(self.positives_E.sum())

    @cached_property
    def n_negative(self) -> int:
        """Number of negative pixels."""
        return int(self.negatives_E.sum())

    @cached_property
    def _reached(self) -> tuple[Counts, Counts]:
        """Positives and negatives from the top down to the end of each entry."""
        return np.cumsum(self.positives_E), np.cumsum(self.negatives_E)

    @cached_property
    def _hit(self) -> NDArray[np.intp]:
        """The entries that have positives: few of them all, as a rule."""
        return np.flatnonzero(self.positives_E > 0)

    @cached_property
    def _unknown(self) -> NDArray[np.intp]:
        """Those of them that are intervals."""
        return self._hit[self.interval_E[self._hit]]

    @cached_property
    def auc(self) -> float | None:
        """Area under the ROC curve; ties count half. None without positives or negatives."""
        if not self.n_positive or not self.n_negative:
            return None
        hit = self._hit
        below = self.n_negative - self._reached[1][hit] + self.negatives_E[hit] / 2
        area = float((self.positives_E[hit] * below).sum())  # the same bits on every processor
        return area / self.n_positive / self.n_negative

    @cached_property
    def auc_bound(self) -> float | None:
        """How far :attr:`auc` is from that of the pixels at most. None where there is none.

        In an interval each pair of a positive and a negative counts half, and may be right or
        wrong; of tied pixels it is neither.
        """
        if not self.n_positive or not self.n_negative:
            return None
        positives, negatives = self.positives_E[self._unknown], self.negatives_E[self._unknown]
        pairs = float((positives.astype(np.float64) * negatives).sum())
        return pairs / 2 / self.n_positive / self.n_negative

    @cached_property
    def auc_error(self) -> float:
        """Standard error of :attr:`auc` where pixels of an interval lie in any order.

        Each positive of an interval is anywhere among its negatives, independently of others.
        """
        unknown = self._unknown
        negatives = self.negatives_E[unknown].astype(np.float64) / max(self.n_negative, 1)
        variance = float((self.positives_E[unknown] * negatives**2).sum()) / 12
        return float(np.sqrt(variance)) / max(self.n_positive, 1)

    @property
    def average_precision(self) -> float | None:
        """Average precision, sum of precision x recall step, as in scikit-learn.

        None without positives.
        """
        if not self.n_positive:
            return None
        hit = self._hit
        positives = self.positives_E[hit].astype(np.float64)
        # Within an interval the k-th of p positives is expected after k / (p + 1) of the
        # negatives; the middle one stands for all.
        inside = self.interval_E[hit]
        tp_at = self._reached[0][hit] - np.where(inside, (positives - 1) / 2, 0.0)
        fp_at = self._reached[1][hit] - np.where(inside, self.negatives_E[hit] / 2, 0.0)
        return float((positives * (tp_at / (tp_at + fp_at))).sum()) / self.n_positive

    @cached_property
    def average_precision_error(self) -> float:
        """Standard error of :attr:`average_precision` where pixels of an interval lie in any order.

        Each positive of an interval is anywhere among its negatives, independently of others.
        """
        hit = self._unknown[self.negatives_E[self._unknown] > 0]
        positives = self.positives_E[hit].astype(np.float64)
        tp_at = self._reached[0][hit] - (positives - 1) / 2
        fp_end = self._reached[1][hit]
        first = tp_at / (tp_at + fp_end - self.negatives_E[hit])
        last = tp_at / (tp_at + fp_end)
        variance = float((positives * (first - last) ** 2).sum()) / 12
        return float(np.sqrt(variance)) / max(self.n_positive, 1)

    @property
    def best_dice(self) -> tuple[float, float] | None:
        """The highest Dice over all thresholds and the highest threshold that gives it.

        None without positives. A pixel is called positive if its score >= the threshold.
        """
        if not self.n_positive:
            return None
        dice = self._dice()
        best = int(np.argmax(dice))
        return float(dice[best]), float(self.lowest_E[best])

    def _dice(self) -> NDArray[np.float64]:
        tp, fp = self._reached
        dice: NDArray[np.float64] = 2 * tp / (tp + fp + self.n_positive)
        return dice

    def top_mean(self, n: int) -> float:
        """Mean of the ``n`` highest scores; the middle of an interval stands for its pixels.

        Args:
            n: How many, from 1 to the number of pixels.
        """
        reached = np.add(*self._reached)
        last = int(np.searchsorted(reached, n))
        taken = np.diff(np.minimum(reached[: last + 1], n), prepend=0)
        return float((taken * self.middle_E[: last + 1].astype(np.float64)).sum()) / n

    def curve(self, max_points: int = 400) -> Curve:
        """Points of the ROC curve, dense also where the false positive rate is very small.

        The first point is (0, 0), the last holds all pixels, the one of best Dice is among them.

        Args:
            max_points: Most points to give, at least 8.

        Raises:
            ValueError: If ``max_points`` is below 8.
        """
        if max_points < 8:
            raise ValueError(f"max_points is {max_points}; it must be at least 8")
        tp, fp = self._reached
        rows = np.arange(len(tp))
        if len(rows) > max_points - 1:
            share = (max_points - 3) // 2
            linear = tp / max(self.n_positive, 1) + fp / max(self.n_negative, 1)
            log = np.log(np.maximum(fp, 1))
            chosen = [
                np.searchsorted(along, np.linspace(along[0], along[-1], share))
                for along in (linear, log)
            ]
            ends = [0, len(rows) - 1, int(np.argmax(self._dice()))]
            # Rounding may put the last search just past the end.
            rows = np.unique(np.minimum(np.concatenate([*chosen, ends]), len(rows) - 1))
        return Curve(
            np.concatenate([[np.inf], self.lowest_E[rows].astype(np.float64)]),
            np.concatenate([[0], tp[rows]]),
            np.concatenate([[0], fp[rows]]),
        )

    def compact(self, max_entries: int = COMPACT_ENTRIES) -> CompactCounts:
        """The ranking in a few hundred entries, to be stored per subject.

        Pooled figures of any selection of subjects, with repetitions, follow from these. With 512
        entries each for a dozen subjects AUC stays within 1e-4 and average precision within 1e-3
        of the figures on all pixels.

        Args:
            max_entries: Most entries to give, at least 16.

        Raises:
            ValueError: If ``max_entries`` is below 16.
        """
        if max_entries < 16:
            raise ValueError(f"max_entries is {max_entries}; it must be at least 16")
        if len(self.middle_E) <= max_entries:
            return CompactCounts(self.middle_E, self.positives_E, self.negatives_E)
        # Entries more than a unit high may split the cells they lie between, so the second, safe
        # try plans for twice as many groups as units of height.
        last = self._group_ends(max_entries - 2)
        if len(last) > max_entries:
            last = self._group_ends((max_entries - 2) // 2)
        first = np.concatenate([[0], last[:-1] + 1])
        positives, negatives = (np.diff(reached[last], prepend=0) for reached in self._reached)
        # The middle, rounded up and down by turns, so that no threshold is biased.
        middle = (first + last + np.arange(len(last)) % 2) // 2
        return CompactCounts(self.middle_E[middle], positives, negatives)

    def _group_ends(self, units: int) -> NDArray[np.intp]:
        """The last entry of each group of neighbours that is about a unit high."""
        scale = _Scale.of(self.n_positive, self.n_negative, units)
        end = scale.heights(*self._reached)
        # By its middle: by its end, a positive among few would mostly be the first of its group.
        cell, height = end / 2, end.copy()
        cell[1:] += end[:-1] / 2
        np.floor(cell, out=cell)
        height[1:] -= end[:-1]
        alone = height >= 1
        closed = alone.copy()
        closed[:-1] |= alone[1:]
        closed[:-1] |= cell[1:] != cell[:-1]
        closed[-1] = True
        return np.flatnonzero(closed)


def are_intervals(
    positives: Counts, negatives: Counts, max_entries: int = COMPACT_ENTRIES
) -> NDArray[np.bool_]:
    """Which entries of compact counts are intervals of scores; the others are tied pixels.

    Args:
        positives: Of each entry, by descending score.
        negatives: Of each entry.
        max_entries: What was given to :meth:`Ranking.compact`.
    """
    scale = _Scale.of(int(positives.sum()), int(negatives.sum()), max_entries - 2)
    height = scale.heights(np.cumsum(positives), np.cumsum(negatives))
    # Groups end within two units of height, so what is higher was one score.
    interval: NDArray[np.bool_] = np.diff(height, prepend=0.0) < 2
    return interval


class _Scale(NamedTuple):
    """Turns cumulative counts into heights; a group of compact counts is about one unit high.

    With P and N the totals and c the number of pixels from the top down, the height is

        units / 4 * (positives so far / P + negatives so far / N)
        + units / 2 * log2(c) / log2(P + N).

    So a group holds at most 8 / units of the positives and of the negatives, and from its beginning
    to its end c grows by a small factor, and so does any precision, even among the first few
    pixels.
    """

    per_positive: float
    per_negative: float
    per_octave: float

    @classmethod
    def of(cls, n_positive: int, n_negative: int, units: int) -> _Scale:
        octaves = max(np.log2(max(n_positive + n_negative, 2)), 1.0)
        per_positive, per_negative = (units / 4 / max(n, 1) for n in (n_positive, n_negative))
        return cls(per_positive, per_negative, units / 2 / octaves)

    def heights(self, positives: Counts, negatives: Counts) -> NDArray[np.float64]:
        """Heights at cumulative counts."""
        # A float's bits read as an integer are its logarithm, linear within each octave: cheap,
        # monotonic, and the same to the last bit everywhere, which no math library promises.
        bits = (positives + negatives).astype(np.float64).view(np.int64)
        height: NDArray[np.float64] = bits * np.float64(self.per_octave / 2.0**52)
        height += positives * self.per_positive
        height += negatives * self.per_negative
        return height
