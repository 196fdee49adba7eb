"""What the choice of the best of several cells on the test set adds to its figure.

The highest of many figures is too high, for it is partly the luckiest. Two figures without that:

- bootstrap bias correction (Tsamardinos et al., Machine Learning 2018): subjects are drawn with
  repetition, the best cell is chosen on those drawn and measured on those that were not; the mean
  over the draws is what a choice made in this way is worth;
- repeated splits: chosen on one half of the subjects, measured on the other.

Both need the AUC of all cells for any weights of subjects at once. The Mann-Whitney matrix of a
cell has, for subjects i and j, how many pairs of a lesion pixel of i and another pixel of j are in
the right order, ties counting half; so with weights w the pooled AUC is (w M w) / ((w P) (w N)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.report.statistics import Array, Binned

N_DRAWS = 200
N_SPLITS = 100

_SEED = 20_210_113
"""Draws are the same each time, so that a report does not change when it is made again."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """What the pooled AUC of any weights of subjects needs of a cell.

    Attributes:
        right: (N, N) float32 Mann-Whitney matrix; the mean over its seeds where a cell has several.
        positives: (N,) lesion pixels.
        negatives: (N,) other pixels.
    """

    right: NDArray[np.float32]
    positives: Array
    negatives: Array


@dataclass(frozen=True)
class Honest:
    """What the best of some cells is worth.

    Attributes:
        naive: The highest figure, measured where it was chosen.
        selected: By bootstrap bias correction.
        low: Lower end of its interval of 95 %, which is a wide one.
        high: Upper end.
        split: By repeated splits.
    """

    naive: float
    selected: float
    low: float
    high: float
    split: float

    @property
    def optimism(self) -> float:
        """By how much the highest figure is too high."""
        return self.naive - self.selected


def pairs_of(counts: Binned) -> Pairs:
    """The pairs of a trial."""
    above = np.cumsum(counts.positives, axis=1) - counts.positives / 2
    right = (above @ counts.negatives.T).astype(np.float32)
    return Pairs(right, counts.positives.sum(1), counts.negatives.sum(1))


def mean_pairs(seeds: Sequence[Pairs]) -> Pairs:
    """The pairs of a setting, from those of its seeds on the same subjects."""
    if len(seeds) == 1:
        return seeds[0]
    right: Array = np.asarray(np.mean([one.right for one in seeds], axis=0, dtype=np.float64))
    return Pairs(right.astype(np.float32), seeds[0].positives, seeds[0].negatives)


def weighted_auc(cell: Pairs, weights: NDArray[np.float64]) -> Array:
    """Pooled AUCs of a cell, (B,) for (B, N) weights of subjects; NaN where one is undefined."""
    right = np.einsum("bi,bi->b", weights @ cell.right.astype(np.float64), weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        auc: Array = right / ((weights @ cell.positives) * (weights @ cell.negatives))
    return auc


def honest(
    cells: Sequence[Pairs], n_draws: int = N_DRAWS, n_splits: int = N_SPLITS
) -> Honest | None:
    """What the best of some cells is worth; None where no draw tells.

    Args:
        cells: All that were chosen from, on the same subjects in the same order.
        n_draws: Bootstraps for the correction.
        n_splits: Splits into halves.
    """
    n = len(cells[0].positives)
    rng = np.random.default_rng(_SEED)
    bags = rng.multinomial(n, np.full(n, 1 / n), size=n_draws).astype(np.float64)
    halves = np.zeros((n_splits, n))
    for row in halves:
        row[rng.permutation(n)[: n // 2]] = 1
    naive = [float(weighted_auc(cell, np.ones((1, n)))[0]) for cell in cells]
    drawn = _chosen_elsewhere(cells, bags, (bags == 0).astype(np.float64))
    split = _chosen_elsewhere(cells, halves, 1 - halves)
    if not len(drawn) or not len(split) or not np.isfinite(naive).any():
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Honest(
        float(np.nanmax(naive)), float(drawn.mean()), float(low), float(high), float(split.mean())
    )


def _chosen_elsewhere(cells: Sequence[Pairs], chosen_on: Array, measured_on: Array) -> Array:
    """The figures, where others chose the cell, of those draws that have one."""
    there = np.array([weighted_auc(cell, chosen_on) for cell in cells])
    here = np.array([weighted_auc(cell, measured_on) for cell in cells])
    usable = np.isfinite(there).any(0) & np.isfinite(here).all(0)
    there, here = there[:, usable], here[:, usable]
    if not there.size:
        return np.empty(0)
    best = np.nanargmax(there, axis=0)
    figures: Array = here[best, np.arange(here.shape[1])]
    return figures
