"""Pixels counted by their intensity, for scores that depend on nothing else.

Images are float16, so a pixel has one of 65,536 values, and its score follows from it. One count of
the values serves all such scores, and their rankings are exact.

Shape legend: V float16 values by their bits, R regions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.counting import Pixels
from trainables.halves import to_float16
from trainables.roc import Counts, Ranking
from trainables.slices import Batch

N_VALUES = 2**16


def every_value() -> NDArray[np.float16]:
    """All float16 values by their bits; what is not finite is the nearest number."""
    return np.nan_to_num(np.arange(N_VALUES, dtype=np.uint16).view(np.float16))


class ValueCounter:
    """Counts pixels by value, region and label, subject by subject. Not thread-safe.

    Args:
        scores: By name, the (V,) float32 scores of every value.
    """

    def __init__(self, scores: Mapping[str, NDArray[np.float32]]) -> None:
        self._scores = {
            name: np.unique(scores_V + np.float32(0), return_inverse=True)
            for name, scores_V in scores.items()
        }
        self._pool = np.zeros((2, 2, N_VALUES), np.int64)
        self._subject = np.zeros_like(self._pool)

    def add(self, batch: Batch, maps: Mapping[str, Tensor], pixels: Pixels) -> None:
        """Count a batch of the subject's slices; its images say all."""
        bits = to_float16(batch.images_BHW).view(np.uint16).reshape(-1)
        place_P = torch.from_numpy(bits.astype(np.int32)).add_(
            pixels.region_P.cpu(), alpha=N_VALUES
        )
        marked_L = place_P.index_select(0, pixels.lesion_L.cpu())
        for row, place in enumerate((marked_L, place_P)):
            counts = torch.bincount(place, minlength=2 * N_VALUES)
            self._subject[row] += counts.numpy().reshape(2, N_VALUES)

    def end_subject(self) -> dict[str, dict[str, Ranking]]:
        """The rankings of the subject, by score and region; what is counted next is another's."""
        counted, self._subject = self._subject, np.zeros_like(self._subject)
        self._pool += counted
        return self._rankings(counted)

    def pooled(self) -> dict[str, dict[str, Ranking]]:
        """The rankings of all subjects that have ended, by score and region."""
        return self._rankings(self._pool)

    def refined(self) -> None:
        """Nothing: the rankings are exact."""

    def _rankings(self, counted: Counts) -> dict[str, dict[str, Ranking]]:
        regions = {"brain": counted[:, 1], "slice": counted.sum(axis=1)}
        return {
            name: {region: _ranking(*some, *distinct) for region, some in regions.items()}
            for name, distinct in self._scores.items()
        }


def _ranking(
    positives_V: Counts, all_V: Counts, scores: NDArray[np.float32], place_V: NDArray[np.intp]
) -> Ranking:
    """The ranking by distinct scores, of which each value has the one at its place."""
    seen = np.flatnonzero(all_V > 0)
    positives, everything = (
        np.bincount(place_V[seen], counts[seen], len(scores)).astype(np.int64)
        for counts in (positives_V, all_V)
    )
    rows = np.flatnonzero(everything > 0)[::-1]
    found, n = scores[rows], len(rows)
    return Ranking(found, found, positives[rows], (everything - positives)[rows], np.zeros(n, bool))
