"""From sorted keys of single pixels to the entries of a ranking (see :mod:`trainables.ranking`).

After the sort nothing here touches every pixel: where groups should end follows from the ranks, and
binary searches count what lies between.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainables.ranking import BLOCK, Counts, Entries, Keys, Scale, group, sorted_unique

_LAST_KEY = np.uint32(0xFFFFFFFF)


def n_distinct(keys: Keys) -> int:
    """Number of different keys in sorted ones."""
    return int(np.count_nonzero(keys[1:] != keys[:-1])) + min(len(keys), 1)


def every_score(keys: Keys, *, positive: bool) -> Entries:
    """An entry for every different key of sorted pixels of one label."""
    last, counts = _runs(keys)
    none = np.zeros_like(counts)
    interval = np.zeros(len(counts), dtype=bool)
    return Entries(keys[last], counts if positive else none, none if positive else counts, interval)


def every_positive_score(negative: Keys, positive: Keys) -> Entries:
    """Entries that suffice for exact figures: every score that a positive has, and all between.

    Args:
        negative: Sorted keys of the negatives.
        positive: Sorted keys of the positives, not many.
    """
    last, counts = _runs(positive)
    keys = positive[last]
    above = np.searchsorted(negative, keys, side="left")
    down_to = np.searchsorted(negative, keys, side="right")
    n = len(keys)
    ends = np.append(above, len(negative))
    negatives = np.empty(2 * n + 1, dtype=np.int64)
    negatives[0::2] = ends - np.concatenate([[0], down_to])
    negatives[1::2] = down_to - above
    positives = np.zeros(2 * n + 1, dtype=np.int64)
    positives[1::2] = counts
    all_keys = np.empty(2 * n + 1, dtype=np.uint32)
    all_keys[1::2] = keys
    # Of the negatives between two such scores, the lowest stands for all.
    all_keys[0::2] = negative[np.maximum(ends - 1, 0)] if len(negative) else _LAST_KEY
    kept = (positives > 0) | (negatives > 0)
    interval = np.zeros(int(kept.sum()), dtype=bool)
    return Entries(all_keys[kept], positives[kept], negatives[kept], interval)


def grouped(negative: Keys, positive: Keys, scale: Scale, heavy: Keys) -> Entries:
    """Entries grouped by a scale.

    Args:
        negative: Sorted keys of the negatives.
        positive: Sorted keys of the positives.
        scale: What a unit of height is.
        heavy: Keys that no group may hold together with others.
    """
    cuts = sorted_unique(
        np.concatenate(
            [
                _cuts(negative, scale.per_negative, scale.per_octave),
                _cuts(positive, scale.per_positive, scale.per_octave),
                heavy,
                heavy - np.uint32(1),
                np.array([_LAST_KEY]),
            ]
        )
    )
    done = []
    tp = fp = 0
    for atoms in _between_cuts(negative, positive, cuts):
        done.append(group(atoms, (tp, fp), scale))
        tp += int(atoms.positives.sum())
        fp += int(atoms.negatives.sum())
    return Entries.concatenate(done) if done else Entries.empty()


def _runs(keys: Keys) -> tuple[NDArray[np.intp], Counts]:
    """The last index and the length of every run of equal keys."""
    ends = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=ends[:-1])
    last = np.flatnonzero(ends)
    return last, np.diff(last, prepend=-1)


def _ranks(n: int, per_item: float, per_octave: float) -> Counts:
    """Ascending ranks (from 0) at most a unit of height apart, counting pixels of one label."""
    if per_item >= 1:
        return np.arange(n)
    ranks = [(np.arange(int(n * per_item)) / per_item).astype(np.int64)]
    start, step = 0, 1
    while start < n:
        stop = max(int(2 * step * per_octave), start + 1)
        ranks.append(np.arange(start, min(stop, n), step))
        start, step = stop, 2 * step
    return sorted_unique(np.concatenate(ranks))


def _cuts(keys: Keys, per_item: float, per_octave: float) -> Keys:
    """Keys that pixels of one label should be cut at; a cut is below its key, above the next."""
    ranks = _ranks(len(keys), per_item, per_octave)
    chosen = keys[ranks]
    tied = chosen == keys[np.minimum(ranks + 1, len(keys) - 1)]
    tied |= chosen == keys[np.maximum(ranks - 1, 0)]
    single = np.diff(ranks, append=len(keys)) == 1
    # Scores of many pixels, and pixels that count much, are cut out. Others are cut below and
    # above by turns: always below would put one of the same label last in every group.
    by_turns = np.arange(len(ranks)) % 2 == 0
    out = tied | single
    return np.concatenate([chosen[out | by_turns], chosen[out | ~by_turns] - np.uint32(1)])


def _between_cuts(negative: Keys, positive: Keys, cuts: Keys) -> Iterator[Entries]:
    """What lies between successive cuts, in pieces of a block."""
    n_start = p_start = 0
    for start in range(0, len(cuts), BLOCK):
        some = cuts[start : start + BLOCK]
        n_ends = np.searchsorted(negative, some, side="right")
        p_ends = np.searchsorted(positive, some, side="right")
        negatives = np.diff(n_ends, prepend=n_start)
        positives = np.diff(p_ends, prepend=p_start)
        n_start, p_start = int(n_ends[-1]), int(p_ends[-1])
        kept = (negatives > 0) | (positives > 0)
        if kept.any():
            yield _atoms(
                (negative, n_ends[kept], negatives[kept]),
                (positive, p_ends[kept], positives[kept]),
            )


def _atoms(negative: tuple[Keys, Counts, Counts], positive: tuple[Keys, Counts, Counts]) -> Entries:
    """Entries of pixels given as sorted keys, the ends of the entries in them, and their counts."""
    first = np.full(len(negative[1]), _LAST_KEY)
    last = np.zeros(len(negative[1]), dtype=np.uint32)
    middle = first.copy()
    more = np.zeros(len(negative[1]), dtype=np.int64)
    for keys, ends, counts in (negative, positive):
        some = counts > 0
        end, count = ends[some], counts[some]
        first[some] = np.minimum(first[some], keys[end - count])
        last[some] = np.maximum(last[some], keys[end - 1])
        most = counts > more
        middle[most] = keys[ends[most] - (counts[most] + 1) // 2]
        more = np.maximum(more, counts)
    return Entries(middle, positive[2], negative[2], first != last)
