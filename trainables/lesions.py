"""What a test set's slices and lesions tell beside its pixels: how high each of them is scored.

Thresholds are chosen later and on other subjects, so what is kept holds for any of them: the mean
of a slice's highest brain pixels, and of each connected lesion the scores that tell how much of it
is reached.

Shape legend: S slices of a subject, B of a batch, H = W = 128 pixels, L pixels of a lesion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.slices import Batch, Slices
from trainables.tables import LESIONS_SCHEMA, SLICES_SCHEMA

_GROUP = 32  # values whose highest one is looked at first
_MINUS_INFINITY = -0x800000  # the bits of its float32, as an int32

TOP_SHARE = 0.01
"""Of a slice's or subject's brain pixels, the highest that its score is the mean of."""


def n_top(n_pixels: int) -> int:
    """How many pixels the highest 1 % of so many are: rounded down, and at least one."""
    return max(1, int(n_pixels * TOP_SHARE))


def top_means(
    maps: Mapping[str, Tensor], brain_BHW: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Means of the highest 1 % of each slice's brain pixels, at least one.

    Args:
        maps: (B, H, W) float32 score maps by name.
        brain_BHW: Brain masks.

    Returns:
        By score (B,) means; NaN of a slice without a brain.
    """
    n_B = _count_marked(brain_BHW)
    top_B = np.maximum(1, (n_B * TOP_SHARE).astype(np.int64))
    last = np.arange(len(n_B)), top_B - 1
    n_most = int(top_B.max(initial=1))
    # 0 in the brain, minus infinity outside; chosen by a mask it takes 4 to 20 times as long
    box = (slice(None), *_box(brain_BHW))
    outside = torch.from_numpy(brain_BHW[box]).to(torch.int32) - 1
    beyond = (outside & _MINUS_INFINITY).view(torch.float32)
    values = torch.empty(beyond.shape)
    found = {}
    for score, map_BHW in maps.items():
        torch.add(map_BHW[box].cpu(), beyond, out=values)
        highest = _highest(values.flatten(1), n_most).astype(np.float64)
        if highest.shape[1] < n_most:
            highest = np.pad(highest, ((0, 0), (0, n_most - highest.shape[1])))
        found[score] = np.where(n_B > 0, np.cumsum(highest, axis=1)[last] / top_B, np.nan)
    return found


def _highest(values_BP: Tensor, n: int) -> NDArray[np.float32]:
    """The highest finite values of each row in descending order, at least n if there are so many.

    The n-th highest of the maxima of groups has n values at or above it, and few more: those alone
    are sorted.

    Args:
        values_BP: Values; minus infinity does not count.
        n: How many are wanted of a row.

    Returns:
        (B, C) values; behind the last one of a row minus infinity.
    """
    values = values_BP.numpy()
    lowest = np.full(len(values), np.finfo(np.float32).min)
    n_groups = values.shape[1] // _GROUP
    if n_groups >= n:
        groups = values_BP[:, : n_groups * _GROUP].view(-1, _GROUP, n_groups).amax(dim=1).numpy()
        place = n_groups - n
        lowest = np.maximum(lowest, np.partition(groups, place, axis=1)[:, place])
    high = np.flatnonzero(values >= lowest[:, None])
    ends_B = np.searchsorted(high, values.shape[1] * np.arange(1, len(values) + 1))
    n_high_B = np.diff(ends_B, prepend=0)
    highest = np.full((len(values), int(n_high_B.max(initial=0))), -np.inf, np.float32)
    is_there = np.arange(highest.shape[1]) < n_high_B[:, None]
    highest[is_there] = values.reshape(-1).take(high)
    return np.sort(highest, axis=1)[:, ::-1]


def _count_marked(marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many are marked of each of the first axis, four times as fast as numpy by axis."""
    return np.array([np.count_nonzero(one) for one in marked], np.int64)


def _box(marked_SHW: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The rows and columns in which a pixel of any slice is marked."""
    found = (np.flatnonzero(marked_SHW.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    rows, columns = (slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 0) for at in found)
    return rows, columns


def reached_by(scores_L: NDArray[np.float32], share: float) -> float:
    """The highest threshold that at least this share of some pixels reaches.

    Args:
        scores_L: Scores of the pixels, at least one.
        share: Of them, above 0 and at most 1.
    """
    n = max(1, int(np.ceil(share * len(scores_L))))
    return float(np.partition(scores_L, len(scores_L) - n)[len(scores_L) - n])


@dataclass(frozen=True, eq=False)
class Lesions:
    """The connected lesions of a subject within its brain masks.

    Pixels are connected to their 26 neighbours, within a scan and over slices that follow each
    other; a slice that was left out parts what lies on either side.

    Attributes:
        number_SHW: Number of the lesion of each pixel of the subject's slices, from 1; 0 elsewhere.
            Only the slices from the first with a lesion to the last.
        first: The first of these slices.
        volumes_ml: By lesion; None where the size of a pixel is not known.
    """

    number_SHW: NDArray[np.int32]
    first: int
    volumes_ml: tuple[float, ...] | None
    n_lesions: int

    def in_batch(self, start: int, n_slices: int) -> NDArray[np.int32]:
        """The numbers of a batch's pixels.

        Args:
            start: The batch's first slice among the subject's.
            n_slices: How many slices it has.
        """
        shape = (n_slices, *self.number_SHW.shape[1:])
        number_BHW = np.zeros(shape, np.int32)
        begin = max(start, self.first)
        end = min(start + n_slices, self.first + len(self.number_SHW))
        if begin < end:
            number_BHW[begin - start : end - start] = self.number_SHW[
                begin - self.first : end - self.first
            ]
        return number_BHW


def find_lesions(test: Slices, rows: slice) -> Lesions:
    """Label the connected lesions of a subject.

    Args:
        test: The test set.
        rows: The subject's.
    """
    lesion_bits = test.lesion_bits_NK[rows] & test.brain_bits_NK[rows]
    marked = np.flatnonzero(lesion_bits.any(axis=1))
    none = np.zeros((0, *test.images_NHW.shape[1:]), np.int32)
    if not len(marked):
        return Lesions(none, 0, (), 0)
    import cc3d  # a borrowed machine that only measures its card may lack it

    first, last = int(marked[0]), int(marked[-1]) + 1
    bits = lesion_bits[first:last]
    shape = (len(bits), *test.images_NHW.shape[1:])
    lesion_SHW = np.unpackbits(bits, axis=-1, count=shape[1] * shape[2]).reshape(shape)
    number_SHW = np.zeros(shape, np.int32)
    ends = np.append(_breaks(test, slice(rows.start + first, rows.start + last)), len(bits))
    start = n_lesions = 0
    box = _box(lesion_SHW.astype(bool))
    for end in ends:
        part = (slice(start, end), *box)
        # Numbered by first pixel, as by scipy.ndimage.label, which takes .3 s to import. What is a
        # view of a larger array, cc3d may read as if it were none.
        found, count = cc3d.connected_components(
            np.ascontiguousarray(lesion_SHW[part]), connectivity=26, return_N=True
        )
        number_SHW[part] = np.where(found, found.astype(np.int32) + n_lesions, 0)
        n_lesions += count
        start = end
    volumes = None
    if test.voxel_ml_N is not None:
        voxel_ml_S = test.voxel_ml_N[rows][first:last]
        sizes = np.zeros(n_lesions + 1)
        for number_HW, voxel_ml in zip(number_SHW[(slice(None), *box)], voxel_ml_S, strict=True):
            sizes += voxel_ml * np.bincount(number_HW.reshape(-1), minlength=n_lesions + 1)
        volumes = tuple(sizes[1:].tolist())
    return Lesions(number_SHW, first, volumes, n_lesions)


def _breaks(test: Slices, rows: slice) -> NDArray[np.intp]:
    """Where, among some slices, one does not lie right above the one before it."""
    index_S = test.slice_index_N[rows]
    apart = np.diff(index_S) != 1
    if test.scan_N is not None:
        apart |= np.diff(test.scan_N[rows]) != 0
    return np.flatnonzero(apart) + 1


class Details:
    """Gathers slices and lesions while a test set is scored, subject by subject."""

    def __init__(self, test: Slices) -> None:
        self._test = test
        self._slices, self._lesions = [SLICES_SCHEMA.empty_table()], [LESIONS_SCHEMA.empty_table()]
        self._n_lesion = self._n_outside = 0
        self._subject = ""
        self._first = 0
        self._found = Lesions(np.zeros((0, 0, 0), np.int32), 0, (), 0)
        self._numbers: list[NDArray[np.int32]] = []
        self._scores: dict[str, list[NDArray[np.float32]]] = {}

    def begin(self, subject: str, rows: slice) -> None:
        """Begin a subject.

        Args:
            subject: ``cohort/subject``.
            rows: Its slices in the test set.
        """
        self._subject, self._first = subject, rows.start
        self._found = find_lesions(self._test, rows)
        self._numbers, self._scores = [], {}

    def keep(self, rows: range, batch: Batch, maps: Mapping[str, Tensor]) -> None:
        """Take in a batch of the subject; batches come in ascending order.

        Args:
            rows: The batch's rows in the test set.
            batch: The slices.
            maps: Its (B, H, W) score maps.
        """
        brain_BHW, lesion_BHW = batch.brain_BHW, batch.lesion_BHW & batch.brain_BHW
        n_positive_B = _count_marked(lesion_BHW)
        n_lesion = int(np.count_nonzero(batch.lesion_BHW))
        self._n_lesion += n_lesion
        self._n_outside += n_lesion - int(n_positive_B.sum())
        n_pixels_B = _count_marked(brain_BHW)
        tops = top_means(maps, brain_BHW)
        n_scores, n_slices = len(maps), len(brain_BHW)
        means = np.stack(list(tops.values()), axis=1).reshape(-1)
        arrays = [
            pa.repeat(self._subject, n_slices * n_scores),
            np.repeat(self._test.slice_index_N[rows.start : rows.stop], n_scores),
            pa.array(list(maps)).take(pa.array(np.tile(np.arange(n_scores), n_slices))),
            np.repeat(n_pixels_B, n_scores),
            np.repeat(n_positive_B, n_scores),
            pa.array(means, from_pandas=True),  # NaN is null
        ]
        self._slices.append(pa.table(arrays, names=SLICES_SCHEMA.names).cast(SLICES_SCHEMA))
        if n_positive_B.any():
            number_BHW = self._found.in_batch(rows.start - self._first, n_slices)
            self._numbers.append(number_BHW[lesion_BHW])
            for score, values in _picked(maps, lesion_BHW).items():
                self._scores.setdefault(score, []).append(values)

    def end(self) -> None:
        """End the subject."""
        rows = list(self._lesion_rows())
        self._lesions.append(pa.Table.from_pylist(rows, schema=LESIONS_SCHEMA))

    def outside_brain_share(self) -> float | None:
        """Share of the lesion pixels that is outside the brain masks; None without a lesion."""
        return self._n_outside / self._n_lesion if self._n_lesion else None

    def slices(self) -> pa.Table:
        """A row a slice and score, of what was taken in (``SLICES_SCHEMA``)."""
        return pa.concat_tables(self._slices)

    def lesions(self) -> pa.Table:
        """A row a lesion and score, of the subjects that have ended (``LESIONS_SCHEMA``)."""
        return pa.concat_tables(self._lesions)

    def _lesion_rows(self) -> Iterator[dict[str, Any]]:
        if not self._numbers:
            return
        numbers = np.concatenate(self._numbers)
        order = np.argsort(numbers, kind="stable")
        ends = np.cumsum(np.bincount(numbers, minlength=self._found.n_lesions + 1))
        volumes = self._found.volumes_ml
        scores = {score: np.concatenate(parts)[order] for score, parts in self._scores.items()}
        for lesion in range(1, self._found.n_lesions + 1):
            pixels = slice(int(ends[lesion - 1]), int(ends[lesion]))
            for score, values in scores.items():
                scores_L = values[pixels]
                yield {
                    "subject": self._subject,
                    "lesion": lesion,
                    "score": score,
                    "n_pixels": len(scores_L),
                    "volume_ml": None if volumes is None else volumes[lesion - 1],
                    "highest": float(scores_L.max()),
                    "tenth": reached_by(scores_L, 0.1),
                    "half": reached_by(scores_L, 0.5),
                }


def _picked(
    maps: Mapping[str, Tensor], chosen_BHW: NDArray[np.bool_]
) -> dict[str, NDArray[np.float32]]:
    """The scores of some pixels of the maps."""
    at = torch.from_numpy(np.flatnonzero(chosen_BHW))
    return {
        score: map_BHW.reshape(-1).index_select(0, at.to(map_BHW.device)).cpu().numpy()
        for score, map_BHW in maps.items()
    }
