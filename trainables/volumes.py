"""The score maps of a subject, batch by batch, as they are or post-processed scan by scan.

Shape legend: B slices of a batch, S positions of a scan, H = W = 128 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.postprocess import Postprocessing
from trainables.slices import Batch, Slices

Maps = dict[str, Tensor]


class ScoredBatch(NamedTuple):
    """Some slices of a scan with their score maps.

    Attributes:
        rows: Their rows in the test set.
        batch: The slices.
        maps: (B, H, W) float32 score maps by name.
    """

    rows: range
    batch: Batch
    maps: Maps


def scored(
    test: Slices,
    rows: slice,
    batch_size: int,
    score: Callable[[Batch], Maps],
    postprocessing: Postprocessing | None = None,
) -> Iterator[ScoredBatch]:
    """Score the slices of a subject in order.

    Args:
        test: The test set.
        rows: The subject's.
        batch_size: Most slices to score at once.
        score: Scores a batch.
        postprocessing: What is done to the maps of each scan as a volume; then the maps of one scan
            are in memory at once.
    """
    if postprocessing is None:
        yield from _batches(test, range(rows.start, rows.stop), batch_size, score)
        return
    for scan in _scans(test, rows):
        batches = list(_batches(test, scan, batch_size, score))
        yield from _postprocessed(test, scan, batches, postprocessing)


def _batches(
    test: Slices, rows: range, batch_size: int, score: Callable[[Batch], Maps]
) -> Iterator[ScoredBatch]:
    for start in range(rows.start, rows.stop, batch_size):
        some = range(start, min(start + batch_size, rows.stop))
        batch = test.batch(slice(some.start, some.stop))
        yield ScoredBatch(some, batch, score(batch))


def _scans(test: Slices, rows: slice) -> Iterator[range]:
    """The rows of each scan of a subject."""
    ends = [rows.stop]
    if test.scan_N is not None:
        changes = np.flatnonzero(np.diff(test.scan_N[rows])) + 1
        ends = [*(rows.start + changes).tolist(), rows.stop]
    start = rows.start
    for end in ends:
        yield range(start, end)
        start = end


def _postprocessed(
    test: Slices, scan: range, batches: list[ScoredBatch], postprocessing: Postprocessing
) -> Iterator[ScoredBatch]:
    """The batches of a scan with other maps; a position whose slice was left out has no brain."""
    index_B = test.slice_index_N[scan.start : scan.stop]
    positions_B = index_B - index_B.min()
    brain_BHW = np.concatenate([some.batch.brain_BHW for some in batches])
    brain_SHW = np.zeros((positions_B.max() + 1, *brain_BHW.shape[1:]), bool)
    brain_SHW[positions_B] = brain_BHW
    maps: Maps = {}
    for name in batches[0].maps:
        map_SHW = np.zeros(brain_SHW.shape, np.float32)
        map_SHW[positions_B] = torch.cat([some.maps[name] for some in batches]).cpu().numpy()
        maps[name] = torch.from_numpy(postprocessing.applied(map_SHW, brain_SHW)[positions_B])
    for some in batches:
        of_batch = slice(some.rows.start - scan.start, some.rows.stop - scan.start)
        yield some._replace(maps={name: map_BHW[of_batch] for name, map_BHW in maps.items()})
