"""Bins of scores: many where pixels are frequent, few where they are rare.

Every float32 score has a *key*, an int32 whose order is that of the scores, and which is about the
logarithm of a positive score. Bins of as many keys each suit most scores. Where they do not, a
table by the key's upper 16 bits, its *prefix*, says where that prefix's bins begin and how many of
the lower 16 bits tell them apart: the more, the larger the prefix's share of the positives or of
the negatives is. So no bin holds much of either, whatever the scores' range and distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.keys import ALL_BUT_SIGN, HIGHEST, LOWEST, scores_of

N_EQUAL = 2**17
"""Most equal bins."""

RESOLUTION = 2**15
"""Unequal bins have at most about 1 / RESOLUTION of the positives and of the negatives each."""

N_PREFIXES = 2**16

_MARGIN = 256  # prefixes, two octaves: as far below the scores seen each prefix has its bins
_HEADROOM = 768  # prefixes, six octaves: as far above the scores seen equal bins go
_MOST_SPANNED = N_PREFIXES // 2  # prefixes of equal bins: differences of their keys are int32
_CUT = 2e-3  # of the pixels the lowest, which share one of the equal bins
_BLOCK = 2**15  # keys at a time, so that temporary arrays stay in the processor's cache

Counts = NDArray[np.int64]
_Number = TypeVar("_Number", np.int64, np.float64)


class Keys(NamedTuple):
    """The keys of some pixels.

    Attributes:
        keys_P: int32, ascending with the scores; not to be written to, for they may be the scores'
            own memory.
        lowest: The lowest of them.
        highest: The highest of them; below the lowest where there is none.
    """

    keys_P: Tensor
    lowest: int
    highest: int

    @classmethod
    def of(cls, scores_P: Tensor) -> Keys:
        """Those of float32 scores without NaN; -0.0 has the key of 0.0."""
        if not scores_P.numel():
            return cls(scores_P.view(torch.int32), HIGHEST, LOWEST)
        ends = torch.stack(scores_P.aminmax())
        lowest, highest = _signed(ends + 0.0).tolist()
        if lowest > 0:
            return cls(scores_P.view(torch.int32), lowest, highest)
        bits_P = scores_P + 0.0
        return cls(_signed(bits_P) if lowest < 0 else bits_P.view(torch.int32), lowest, highest)

    def among(self, places: Tensor) -> Tensor:
        """The keys at some places."""
        return self.keys_P.index_select(0, places)


def _signed(scores: Tensor) -> Tensor:
    """The keys of scores without -0.0, in their memory."""
    bits = scores.view(torch.int32)
    bits ^= (bits >> 31).bitwise_and_(ALL_BUT_SIGN)
    return bits


@dataclass(frozen=True, eq=False)
class Bins:
    """Which keys are counted together.

    Attributes:
        lowest: int32, the lowest key of each bin, ascending.
        widths: int64, how many keys each bin is for; the last one is for all that are higher.
        span: Of equal bins the first key, the last one, and the number of lower bits that do not
            count; keys beyond are in the first bin or the last.
        table: Of unequal bins, (65,536,) int32 by prefix, as a number without sign: 32 times the
            first of its bins, plus the number of lower bits that do not count.
    """

    lowest: NDArray[np.int32]
    widths: Counts
    span: tuple[int, int, int] = (0, 0, 0)
    table: Tensor | None = None

    def __len__(self) -> int:
        return len(self.lowest)

    @cached_property
    def is_wide(self) -> NDArray[np.bool_]:
        """Which bins are for more than one key."""
        wide: NDArray[np.bool_] = self.widths > 1
        return wide

    @cached_property
    def lowest_scores(self) -> NDArray[np.float32]:
        """The lowest score of each bin."""
        return scores_of(self.lowest)

    @cached_property
    def middle_scores(self) -> NDArray[np.float32]:
        """A score in the middle of each bin; of the last one the lowest."""
        return scores_of((self.lowest + (self.widths - 1) // 2).astype(np.int32))

    @classmethod
    def equal(cls, positives: Counts, negatives: Counts) -> Bins | None:
        """Bins of as many keys each, which are found soonest; None if they would be too coarse.

        Args:
            positives: (65536,) positives of each prefix, by ascending scores, of some pixels.
            negatives: (65536,) negatives of each prefix.
        """
        share = np.maximum(_shares(positives), _shares(negatives))
        seen = np.flatnonzero(share)
        if not len(seen):
            return None
        first = max(int(np.searchsorted(np.cumsum(share), _CUT)), int(seen[0]) - _MARGIN)
        last = min(int(seen[-1]) + _HEADROOM, N_PREFIXES - 1)
        if last - first + 1 > _MOST_SPANNED:
            return None
        dropped = max(int(np.ceil(np.log2((last - first + 1) * N_PREFIXES / N_EQUAL))), 0)
        low = (first - N_PREFIXES // 2) << 16
        n = (last - first + 1) << (16 - dropped)
        lowest = low + (np.arange(n) << dropped)
        lowest[0] = LOWEST
        return cls._of(lowest, span=(low, low + (n << dropped) - 1, dropped))

    @classmethod
    def by_share(
        cls,
        positives: Counts,
        negatives: Counts,
        device: str | torch.device = "cpu",
        *,
        whole: NDArray[np.intp] | None = None,
    ) -> Bins:
        """The more bins for a prefix, the larger its share of the positives or the negatives is.

        Args:
            positives: (65536,) positives of each prefix, by ascending scores.
            negatives: (65536,) negatives of each prefix.
            device: Where keys will be.
            whole: Prefixes whose keys have a bin each, where it is known; else the counts are of a
                part of the pixels, and what is far below these has one bin, which will mostly do.
        """
        share = np.maximum(_shares(positives), _shares(negatives))
        wanted = np.ceil(np.log2(np.maximum(share * RESOLUTION, 1)))
        bits = np.minimum(wanted.astype(np.int64), 16)
        if whole is not None:
            bits[whole] = 16
        prefix = np.arange(N_PREFIXES)
        seen = np.flatnonzero(share)
        # Prefixes that share a bin have that of the first of them.
        lower_end = int(seen[0]) - _MARGIN if whole is None and len(seen) else 0
        owner = np.where(prefix < lower_end, 0, prefix)
        size = np.where(owner == prefix, 1 << bits, 0)
        first = (np.cumsum(size) - size)[owner]
        dropped = 16 - bits
        own = size > 0
        step = np.repeat(1 << dropped[own], size[own])
        within = np.arange(int(size.sum())) - np.repeat(first[own], size[own])
        lowest = np.repeat((prefix[own] - N_PREFIXES // 2) << 16, size[own]) + within * step
        table = np.roll(first * 32 + dropped, N_PREFIXES // 2).astype(np.int32)
        return cls._of(lowest, table=torch.from_numpy(table).to(device))

    @classmethod
    def _of(
        cls, lowest: Counts, span: tuple[int, int, int] = (0, 0, 0), table: Tensor | None = None
    ) -> Bins:
        lowest = np.clip(lowest, LOWEST, HIGHEST + 1)
        widths = np.diff(lowest, append=lowest[-1] + 2)
        return cls(lowest.astype(np.int32), widths, span, table)

    def find(self, keys: Keys) -> Tensor:
        """The bin of each key, int32."""
        keys_P = keys.keys_P
        if self.table is None:
            low, high, dropped = self.span
            is_within = low <= keys.lowest and keys.highest <= high
            offset_P = keys_P - low if is_within else keys_P.clamp(low, high).sub_(low)
            return offset_P.bitwise_right_shift_(dropped)
        found_P = torch.empty_like(keys_P)
        block = _BLOCK if keys_P.device.type == "cpu" else max(len(keys_P), 1)
        for start in range(0, len(keys_P), block):
            key = keys_P[start : start + block]
            entry = self.table.index_select(0, (key >> 16).bitwise_and_(N_PREFIXES - 1))
            within = (key & 0xFFFF).bitwise_right_shift_(entry & 31)
            torch.add(entry.bitwise_right_shift_(5), within, out=found_P[start : start + block])
        return found_P

    def least_shared(self, counts: Counts) -> float:
        """The least share of all pairs of some pixels that have one bin.

        It is met where the pixels of a prefix are spread equally over its bins.

        Args:
            counts: (65536,) pixels of each prefix.
        """
        n_bins = self.by_prefix(np.ones(len(self), np.int64))
        squares = counts.astype(np.float64) ** 2 / np.maximum(n_bins, 1)
        return float(squares[n_bins > 0].sum()) / max(int(counts.sum()), 1) ** 2

    def by_prefix(self, values: NDArray[_Number]) -> NDArray[_Number]:
        """Sums over the bins of each prefix, of a number for every bin."""
        prefix = (self.lowest.astype(np.int64) >> 16) + N_PREFIXES // 2
        starts = np.flatnonzero(np.diff(prefix, prepend=-1))
        sums = np.zeros(N_PREFIXES, values.dtype)
        sums[prefix[starts]] = np.add.reduceat(values, starts)
        return sums


def prefix_counts(keys_P: Tensor) -> Counts:
    """How many keys have each prefix, by ascending scores."""
    found = torch.bincount((keys_P >> 16) + N_PREFIXES // 2, minlength=N_PREFIXES)
    counts: Counts = found.cpu().numpy()
    return counts


def _shares(counts: Counts) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / max(int(counts.sum()), 1)
    return shares
