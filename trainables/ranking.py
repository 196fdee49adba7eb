"""A ranking of pixels in bounded memory: entries of neighbouring scores, merged and grouped.

How it works. Every float32 score becomes a uint32 key whose order is that of descending scores.
Sorted keys become a list of *entries* (key, positives, negatives) in that order, and such lists are
merged. As long as there are at most ``EXACT_ENTRIES`` distinct scores every entry is one
score, and every figure is exact. Beyond that, neighbouring entries are grouped. With P and N the
totals and c the number of pixels from the top of the ranking down to some score, the *height*

    S / 2 * (positives so far / P + negatives so far / N) + L * log2(c)

grows along the ranking, and entries whose middle falls in the same unit of height become one
group. So

- a group holds at most 4 / S of the positives and of the negatives, which bounds what forgetting
  the order inside it can change in the AUC, whatever the distribution; the errors of thousands of
  groups mostly cancel;
- from its beginning to its end c grows by at most a factor 1 + 2 / L, and so does
  any precision, even among the first few pixels of 10^7, which bounds the average precision;
- an entry more than a unit high (a frequent score, a positive among few) is never joined to others.

Both bounds survive merging: totals only grow, so an old group's share only shrinks, and the groups
of one generation do not overlap. A group remembers that it is an interval of scores, not a tie:
average precision is interpolated inside an interval, and takes one step across a tie, as in
scikit-learn. No assumption is made on the scores: neither a range nor a first sample fixes bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

EXACT_ENTRIES = 2**17
"""Up to this many distinct scores nothing is grouped and every figure is exact."""

BLOCK = 2**15
"""Raw keys are looked at in pieces of this size, which stay in the processor's cache."""

_SIGN = np.uint32(0x80000000)
_ALL_BUT_SIGN = np.uint32(0x7FFFFFFF)
_LAST_KEY = np.uint32(0xFFFFFFFF)  # a NaN's, so no score has it

_Number = TypeVar("_Number", np.uint32, np.int64)

Keys = NDArray[np.uint32]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Entries:
    """Parts of a ranking; keys strictly ascending (scores descending) once merged.

    Attributes:
        keys: The key of a score, or one within an interval of scores.
        positives: Positive pixels in the entry.
        negatives: Negative pixels in the entry.
        interval: Whether the entry's pixels lie in an interval of scores; else they are tied.
    """

    keys: Keys
    positives: Counts
    negatives: Counts
    interval: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def concatenate(cls, parts: Sequence[Entries]) -> Entries:
        """Entries one after the other, in no order; at least one part."""
        return cls(
            np.concatenate([p.keys for p in parts]),
            np.concatenate([p.positives for p in parts]),
            np.concatenate([p.negatives for p in parts]),
            np.concatenate([p.interval for p in parts]),
        )

    def between(self, start: int, stop: int) -> Entries:
        """A view of some rows."""
        rows = slice(start, stop)
        return Entries(
            self.keys[rows], self.positives[rows], self.negatives[rows], self.interval[rows]
        )

    @classmethod
    def empty(cls) -> Entries:
        """No entries."""
        none = np.empty(0, dtype=np.int64)
        return cls(none.astype(np.uint32), none, none, none.astype(bool))


@dataclass(frozen=True)
class Scale:
    """Turns cumulative counts into heights; a group spans about one unit of height.

    Attributes:
        per_positive: Height of a positive.
        per_negative: Height of a negative.
        per_octave: Height of twice as many pixels from the top (L above).
    """

    per_positive: float
    per_negative: float
    per_octave: float

    @classmethod
    def of(cls, n_positive: int, n_negative: int, shares: float, per_octave: float) -> Scale:
        """The scale for known totals; ``shares`` is S above."""
        return cls(shares / 2 / max(n_positive, 1), shares / 2 / max(n_negative, 1), per_octave)

    def heights(self, positives: Counts, negatives: Counts) -> NDArray[np.float64]:
        """Heights at cumulative counts; 0 at the very top."""
        # A float's bits read as an integer are its logarithm, linear within each octave: cheap,
        # monotonic, and the same to the last bit everywhere, which no math library promises.
        bits = (positives + negatives).astype(np.float64).view(np.int64)
        height: NDArray[np.float64] = bits * np.float64(self.per_octave / 2.0**52)
        height += positives * self.per_positive
        height += negatives * self.per_negative
        return height

    def alone(self, entries: Entries) -> NDArray[np.bool_]:
        """Which entries are so heavy by their shares that they are never joined to others."""
        share = entries.positives * self.per_positive + entries.negatives * self.per_negative
        heavy: NDArray[np.bool_] = share >= 1
        return heavy


def keys_of(scores: NDArray[np.float32]) -> Keys:
    """Keys that ascend as scores descend."""
    bits = (scores + np.float32(0)).view(np.uint32)  # -0.0 + 0.0 is 0.0
    negative = (bits.view(np.int32) >> 31).view(np.uint32)
    keys: Keys = bits ^ (_ALL_BUT_SIGN & ~negative)
    return keys


def scores_of(keys: Keys) -> NDArray[np.float32]:
    """The scores that have these keys."""
    return np.where(keys & _SIGN, keys, keys ^ _ALL_BUT_SIGN).astype(np.uint32).view(np.float32)


def sorted_unique(values: NDArray[_Number]) -> NDArray[_Number]:
    """What ``numpy.unique`` gives, which goes by hashes and takes 30 times as long."""
    values = np.sort(values)
    kept = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=kept[1:])
    return values[kept]


def merge(sources: Sequence[Entries], scale: Scale | None) -> Entries | None:
    """Merge rankings, block by block from the top, and group neighbours.

    Blocks are cut at keys that split every source into pieces of at most ``BLOCK``, so temporary
    arrays stay small (and in the processor's cache) however much there is to merge. Groups end
    where a block does, which costs a few groups more than needed.

    Args:
        sources: Rankings of different pixels.
        scale: What a unit of height is; without one nothing is grouped.

    Returns:
        The merged ranking; None if, without a scale, it is longer than ``EXACT_ENTRIES``.
    """
    samples = [s.keys[BLOCK - 1 :: BLOCK] for s in sources]
    cuts = sorted_unique(np.concatenate([*samples, np.array([_LAST_KEY])]))
    ends = [np.searchsorted(s.keys, cuts, side="right").tolist() for s in sources]
    done: list[Entries] = []
    tp = fp = n_done = 0
    for block in range(len(cuts)):
        atoms = Entries.concatenate(
            [
                s.between(end[block - 1] if block else 0, end[block])
                for s, end in zip(sources, ends, strict=True)
            ]
        )
        if not len(atoms):
            continue
        atoms = _in_order(atoms)
        done.append(atoms if scale is None else group(atoms, (tp, fp), scale))
        tp += int(done[-1].positives.sum())
        fp += int(done[-1].negatives.sum())
        n_done += len(done[-1])
        if scale is None and n_done > EXACT_ENTRIES:
            return None
    return Entries.concatenate(done) if done else Entries.empty()


def _in_order(atoms: Entries) -> Entries:
    """Sort entries and join those of the same key."""
    order = np.argsort(atoms.keys, kind="stable")  # merges runs that are sorted already
    keys = atoms.keys[order]
    last = np.append(np.flatnonzero(keys[1:] != keys[:-1]), len(keys) - 1)
    positives = np.diff(np.cumsum(atoms.positives[order])[last], prepend=0)
    negatives = np.diff(np.cumsum(atoms.negatives[order])[last], prepend=0)
    interval = np.zeros(len(last), dtype=bool)
    if atoms.interval.any():
        # A tie of many pixels stays one though an interval of few happens to have its key.
        loose = np.where(atoms.interval, atoms.positives + atoms.negatives, 0)
        of_intervals = np.diff(np.cumsum(loose[order])[last], prepend=0)
        interval = 2 * of_intervals > positives + negatives
    return Entries(keys[last], positives, negatives, interval)


def group(atoms: Entries, before: tuple[int, int], scale: Scale) -> Entries:
    """Join neighbours whose middle falls in the same unit of height.

    Args:
        atoms: Entries in order, at least one.
        before: Positives and negatives that rank above them.
        scale: What a unit of height is.
    """
    tp = np.cumsum(np.concatenate([before[:1], atoms.positives]))
    fp = np.cumsum(np.concatenate([before[1:], atoms.negatives]))
    height = scale.heights(tp, fp)
    # By its middle: by its end, a positive among few would mostly be the first of its group.
    cell = np.floor((height[1:] + height[:-1]) / 2)
    alone = np.diff(height) >= 1
    closed = alone.copy()
    closed[:-1] |= alone[1:] | (cell[1:] != cell[:-1])
    closed[-1] = True
    last = np.flatnonzero(closed)
    first = np.concatenate([[0], last[:-1] + 1])
    # The middle, rounded up and down by turns, so that later merges are not biased.
    middle = (first + last + np.arange(len(last)) % 2) // 2
    return Entries(
        atoms.keys[middle],
        np.diff(tp[last + 1], prepend=before[0]),
        np.diff(fp[last + 1], prepend=before[1]),
        (last > first) | atoms.interval[last],
    )
