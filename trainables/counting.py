"""Pixels counted by bin, region and label, subject by subject: no pixel is sorted.

The first subject decides the bins (see :mod:`trainables.bins`), and the pool is the sum of the
subjects. The counts bound their own error; where the bound is too large, because others score
otherwise, the pixels are counted once more in bins that suit all of them.

A score of few distinct values has bins of many pixels, which would make the bound large although
they are ties. Where that is so, each bin remembers the first key that it was given, and whether it
was given another one.

Shape legend: P pixels of some slices, K bins, L lesion pixels among P, R regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.bins import Bins, Counts, Keys, prefix_counts
from trainables.keys import HIGHEST, scores_of
from trainables.roc import Ranking
from trainables.slices import Batch

TOLERANCE = 5e-5
"""A score whose AUC may be off by more is counted again."""

_AUC_ERROR, _PRECISION_ERROR = 2e-6, 3e-5
"""And one whose AUC or average precision has a larger standard error."""

PASSES = 3
"""So often pixels are counted at most: by then bins suit whatever there is."""

_CROWDED = 4e-5  # where the AUC of the first subject may be off by more, other bins are taken
_MOST_BEYOND = 1e-5  # of the pixels, the most that lie beyond the bins
_WHOLE = 16  # so many prefixes at most have a bin for every key
_FEW = 2**17  # so many pixels are sorted at once in next to no time
_PART = 2**21  # pixels of the first subject that are kept until there are bins
_BLOCK = 2**20
_COMPARED = 2**15  # pixels at a time, in the processor's cache
_UNSET = -(2**31)  # no score has this key


@dataclass(frozen=True, eq=False)
class Pixels:
    """What is known of some pixels beside their scores.

    Attributes:
        region_P: int32, 1 in the brain and 0 outside.
        lesion_L: int64 places of the lesion pixels among P.
    """

    region_P: Tensor
    lesion_L: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Pixels:
        """Those of a batch of slices, one slice after the other."""
        region_P = torch.from_numpy(batch.brain_BHW.reshape(-1)).to(device).to(torch.int32)
        lesion_L = torch.from_numpy(np.flatnonzero(batch.lesion_BHW)).to(device)
        return cls(region_P, lesion_L)


@dataclass(frozen=True, eq=False)
class _Counted:
    """How many pixels of each region lie in each bin.

    Attributes:
        positives_RK: int64 positives: of what is outside the brain, of the brain.
        all_RK: int64, all pixels.
        lowest: The lowest key of a pixel; the first bin may begin far below.
    """

    positives_RK: Counts
    all_RK: Counts
    lowest: int


class _Ties:
    """Which bins were given pixels of one score alone."""

    def __init__(self, n_bins: int, device: torch.device) -> None:
        self._keys = torch.full((n_bins,), _UNSET, dtype=torch.int32, device=device)
        self._is_mixed = torch.zeros(n_bins, dtype=torch.bool, device=device)

    def see(self, keys_P: Tensor, bin_P: Tensor) -> None:
        """Note the first key of every bin, and which bins are given others."""
        for start in range(0, len(keys_P), _COMPARED):
            key, place = keys_P[start : start + _COMPARED], bin_P[start : start + _COMPARED]
            other = torch.nonzero(self._keys.index_select(0, place) != key).squeeze(1)
            if not len(other):
                continue
            key, place = key.index_select(0, other), place.index_select(0, other)
            is_new = self._keys.index_select(0, place) == _UNSET
            self._keys[place[is_new]] = key[is_new]
            self._is_mixed[place[self._keys.index_select(0, place) != key]] = True

    def found(self) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """The first key of each bin, and whether it was given others."""
        return self._keys.cpu().numpy(), self._is_mixed.cpu().numpy()


class Tally:
    """Pixels counted in bins that are decided, subject by subject.

    Not thread-safe. Given the same calls it counts the same.
    """

    def __init__(self, bins: Bins, device: torch.device, *, has_ties: bool = False) -> None:
        self.bins = bins
        self._device = device
        self._ties = _Ties(len(bins), device) if has_ties else None
        self._pooled: dict[str, Ranking] | None = None
        shape = (2, len(bins))
        self._pool = _Counted(np.zeros(shape, np.int64), np.zeros(shape, np.int64), HIGHEST)
        self._begin()

    def _begin(self) -> None:
        shape = 2 * len(self.bins)
        self._all = torch.zeros(shape, dtype=torch.int64, device=self._device)
        self._lowest = HIGHEST
        self._lesions = [torch.zeros(0, dtype=torch.int32, device=self._device)]

    def add(self, keys: Keys, pixels: Pixels) -> None:
        """Count some pixels of the subject.

        Args:
            keys: Of their scores.
            pixels: Where they are, and which are in a lesion.
        """
        bin_P = self.bins.find(keys)
        self._lowest = min(self._lowest, keys.lowest)
        if self._ties is not None:
            self._ties.see(keys.keys_P, bin_P)
        bin_P.add_(pixels.region_P, alpha=len(self.bins))
        self._all += torch.bincount(bin_P, minlength=len(self._all))
        if len(pixels.lesion_L):
            self._lesions.append(bin_P.index_select(0, pixels.lesion_L))

    def subject(self) -> dict[str, Ranking]:
        """The rankings of what has been counted of the subject, by region."""
        return self._rankings(self._counted())

    def end_subject(self) -> dict[str, Ranking]:
        """The same; what is counted next is another's."""
        counted = self._counted()
        self._pool.positives_RK[:] += counted.positives_RK
        self._pool.all_RK[:] += counted.all_RK
        self._pool = replace(self._pool, lowest=min(self._pool.lowest, counted.lowest))
        self._pooled = None
        self._begin()
        return self._rankings(counted)

    def emptied(self) -> Tally:
        """One that counts alike and has counted nothing."""
        return Tally(self.bins, self._device, has_ties=self._ties is not None)

    def _counted(self) -> _Counted:
        marked = torch.bincount(torch.cat(self._lesions), minlength=len(self._all))
        positives_RK, all_RK = (c.cpu().numpy().reshape(2, -1) for c in (marked, self._all))
        return _Counted(positives_RK, all_RK, self._lowest)

    def pooled(self) -> dict[str, Ranking]:
        """The rankings of all subjects that have ended, by region."""
        if self._pooled is None:
            self._pooled = self._rankings(self._pool)
        return self._pooled

    def refined(self) -> Tally | None:
        """In what bins all pixels have to be counted again; None if these will do."""
        all_K = self._pool.all_RK.sum(axis=0)
        is_beyond = all_K[-1] > _MOST_BEYOND * all_K.sum()
        if not is_beyond and not any(_is_coarse(ranking) for ranking in self.pooled().values()):
            return None
        bins, positives_K = self.bins, self._pool.positives_RK.sum(axis=0)
        negatives_K = self._pool.all_RK.sum(axis=0) - positives_K
        # Where most of the pairs are whose order is not known, every key has a bin.
        pairs = bins.by_prefix(positives_K.astype(np.float64) * negatives_K * self._is_wide())
        share = pairs / max(int(positives_K.sum()) * int(negatives_K.sum()), 1)
        heaviest = np.argsort(-pairs, kind="stable")[:_WHOLE]
        finer = Bins.by_share(
            bins.by_prefix(positives_K),
            bins.by_prefix(negatives_K),
            self._device,
            whole=heaviest[share[heaviest] > TOLERANCE / _WHOLE],
        )
        return Tally(finer, self._device, has_ties=True)

    def _is_wide(self) -> NDArray[np.bool_]:
        """Which bins may have pixels of several scores."""
        wide = self.bins.is_wide
        return wide if self._ties is None else wide & self._ties.found()[1]

    def _rankings(self, counted: _Counted) -> dict[str, Ranking]:
        all_K = counted.all_RK[0] + counted.all_RK[1]
        rows = np.ascontiguousarray(np.flatnonzero(all_K > 0)[::-1])  # a third or two of the bins
        interval, lowest = self._is_wide().take(rows), self.bins.lowest_scores.take(rows)
        middle = self.bins.middle_scores.take(rows)
        if self._ties is not None:
            only = scores_of(self._ties.found()[0][rows])
            lowest, middle = np.where(interval, (lowest, middle), only)
        if len(rows) and rows[-1] == 0:
            lowest[-1] = middle[-1] = scores_of(np.array([counted.lowest], np.int32))[0]
        positives = [positives_K.take(rows) for positives_K in counted.positives_RK]
        n_brain, n_slice = counted.all_RK[1].take(rows), all_K.take(rows)
        marked = positives[0] + positives[1]
        used = np.flatnonzero(n_brain > 0)
        return {
            "brain": Ranking(
                lowest.take(used),
                middle.take(used),
                positives[1].take(used),
                (n_brain - positives[1]).take(used),
                interval.take(used),
            ),
            "slice": Ranking(lowest, middle, marked, n_slice - marked, interval),
        }


class Counter:
    """Counts the pixels of one score, in bins that the first subject decides.

    Not thread-safe. Given the same calls it counts the same.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        self._tally = tally
        self._waiting: list[tuple[Keys, Pixels]] = []

    def add(self, scores_P: Tensor, pixels: Pixels) -> None:
        """Count some pixels of a subject.

        Args:
            scores_P: float32 scores without NaN.
            pixels: Where they are, and which are in a lesion.
        """
        keys = Keys.of(scores_P)
        if self._tally is not None:
            self._tally.add(keys, pixels)
            return
        self._waiting.append((keys, pixels))
        if sum(len(keys.keys_P) for keys, _ in self._waiting) >= _PART:
            self._decided()

    def end_subject(self) -> dict[str, Ranking]:
        """The rankings of the subject, by region; what is counted next is another's."""
        return self._decided().end_subject()

    def pooled(self) -> dict[str, Ranking]:
        """The rankings of all subjects that have ended, by region."""
        return self._decided().pooled()

    def refined(self) -> Counter | None:
        """A counter by which all pixels have to be counted again; None if this one will do."""
        finer = self._decided().refined()
        return None if finer is None else Counter(finer)

    def _decided(self) -> Tally:
        """What counts, from now on; what has waited is counted."""
        if self._tally is None:
            waiting, self._waiting = self._waiting, []
            self._tally = _first_tally(waiting)
        return self._tally


class ScoreCounters:
    """A :class:`Counter` for each of some scores. Not thread-safe."""

    def __init__(self, counters: Mapping[str, Counter]) -> None:
        self._counters = counters

    def add(self, batch: Batch, maps: Mapping[str, Tensor], pixels: Pixels) -> None:
        """Count a batch of the subject's slices.

        Args:
            batch: The slices.
            maps: Their (B, H, W) score maps by name.
            pixels: What is known of them besides.
        """
        for score, counter in self._counters.items():
            counter.add(maps[score].reshape(-1), pixels)

    def end_subject(self) -> dict[str, dict[str, Ranking]]:
        """The rankings of the subject, by score and region; what is counted next is another's."""
        return {score: counter.end_subject() for score, counter in self._counters.items()}

    def pooled(self) -> dict[str, dict[str, Ranking]]:
        """The rankings of all subjects that have ended, by score and region."""
        return {score: counter.pooled() for score, counter in self._counters.items()}

    def refined(self) -> ScoreCounters | None:
        """Counters of those scores that have to be counted again; None if there is none."""
        refined = {score: counter.refined() for score, counter in self._counters.items()}
        left = {score: counter for score, counter in refined.items() if counter is not None}
        return ScoreCounters(left) if left else None


def _first_tally(waiting: Sequence[tuple[Keys, Pixels]]) -> Tally:
    """Some pixels, counted in bins that suit them."""
    device = waiting[0][0].keys_P.device
    marked = [prefix_counts(keys.among(pixels.lesion_L)) for keys, pixels in waiting]
    positives = np.sum(marked, axis=0)
    everything = np.sum([prefix_counts(keys.keys_P) for keys, _ in waiting], axis=0)
    negatives = everything - positives
    bins = Bins.equal(positives, negatives)
    if bins is not None and bins.least_shared(everything) / 2 <= _CROWDED:
        equal = _counted_in(Tally(bins, device), waiting)
        if not _is_crowded(equal):
            return equal
    by_share = _counted_in(Tally(Bins.by_share(positives, negatives, device), device), waiting)
    if not _is_crowded(by_share):
        return by_share
    return _counted_in(Tally(by_share.bins, device, has_ties=True), waiting)


def _counted_in(tally: Tally, waiting: Sequence[tuple[Keys, Pixels]]) -> Tally:
    for keys, pixels in waiting:
        tally.add(keys, pixels)
    return tally


def _is_crowded(tally: Tally) -> bool:
    """Whether bins have too many of a subject's pixels together."""
    return max(_crowd(ranking) for ranking in tally.subject().values()) > _CROWDED


def _crowd(ranking: Ranking) -> float:
    """How far the AUC might be off if lesions were where all pixels are, or are where they are."""
    pixels = (ranking.positives_E + ranking.negatives_E) * ranking.interval_E
    total = ranking.n_positive + ranking.n_negative
    return max(int((pixels**2).sum()) / 2 / max(total, 1) ** 2, ranking.auc_bound or 0.0)


def _is_coarse(ranking: Ranking) -> bool:
    return (
        (ranking.auc_bound or 0.0) > TOLERANCE
        or ranking.auc_error > _AUC_ERROR
        or ranking.average_precision_error > _PRECISION_ERROR
    )


def rank(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> Ranking:
    """Rank pixels that are all at hand.

    AUC is within 1e-5 and average precision within 1e-4 of scikit-learn's, and both are exact of
    up to 131,072 pixels.

    Args:
        scores: Anomaly scores of any shape and range; infinities are extreme ranks, and -0.0
            equals 0.0.
        positive: Labels of the same shape.

    Raises:
        ValueError: If a score is NaN, or dtypes or shapes do not fit.
    """
    if scores.dtype != np.float32 or positive.dtype != np.bool_:
        raise ValueError(
            f"scores are {scores.dtype} and labels {positive.dtype}; give float32 and bool"
        )
    if scores.shape != positive.shape:
        raise ValueError(f"{scores.shape} scores do not match {positive.shape} labels")
    if scores.size and np.isnan(scores.min()):
        raise ValueError("a score is NaN: it has no rank")
    flat, labels = scores.reshape(-1), positive.reshape(-1)
    if flat.size <= _FEW:
        return _sorted(flat, labels)
    sample = slice(None, None, -(-flat.size // _PART))
    finer: Tally | None = _first_tally([_part(flat[sample], labels[sample])]).emptied()
    for _ in range(PASSES):
        if finer is None:
            break
        tally = finer
        for start in range(0, flat.size, _BLOCK):
            tally.add(*_part(flat[start : start + _BLOCK], labels[start : start + _BLOCK]))
        ranking = tally.end_subject()["brain"]
        finer = tally.refined()
    return ranking


def _part(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> tuple[Keys, Pixels]:
    lesion = torch.from_numpy(np.flatnonzero(positive))
    region = torch.ones(len(scores), dtype=torch.int32)
    return Keys.of(torch.from_numpy(np.ascontiguousarray(scores))), Pixels(region, lesion)


def _sorted(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> Ranking:
    """The exact ranking of a few pixels."""
    values, place = np.unique(scores + np.float32(0), return_inverse=True)
    positives = np.bincount(place[positive], minlength=len(values))[::-1]
    negatives = np.bincount(place[~positive], minlength=len(values))[::-1]
    values = values[::-1]
    return Ranking(values, values, positives, negatives, np.zeros(len(values), bool))
