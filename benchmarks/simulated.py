"""Simulated test sets whose true figures are known, for intervals and for the choice of cells.

A subject has a lesion of heavy-tailed volume, a brain, and scores of both kinds of pixels from
normal distributions whose places vary from subject to subject; scores of small lesions are worse.
Neighbouring pixels are not independent: counts are Poisson of a thirtieth of the pixels, scaled up.
Counts are drawn on bins of score directly, so that thousands of test sets take minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtr

from study.report.statistics import Binned, Figures, figures
from trainables.tables import SUBJECTS_SCHEMA

PIXELS_PER_ML = 450
CORRELATED = 30
"""So many neighbouring pixels count as one."""

_EDGES = np.concatenate([np.linspace(9.0, -5.0, 512)[:-1], [-np.inf]])
"""Lower edges of the bins, from the highest scores on."""

TRUTH_SUBJECTS = 300_000
_CHUNK = 5_000


@dataclass(frozen=True)
class Disease:
    """A kind of lesion.

    Attributes:
        median_ml: Of its volume ...
        spread: ... which is log-normal with this standard deviation ...
        max_ml: ... up to this.
        none_share: Share of subjects without any.
        brain_ml: Mean and standard deviation of the brain's volume.
        shift: How much higher lesion pixels score: in the middle ...
        by_volume: ... for each standard deviation of the logarithm of the volume ...
        by_subject: ... and how much it varies between subjects.
    """

    median_ml: float
    spread: float
    max_ml: float
    none_share: float
    brain_ml: tuple[float, float]
    shift: float
    by_volume: float
    by_subject: float


DISEASES = {
    "strokes": Disease(8, 1.5, 300, 0.08, (1250, 130), 0.45, 0.25, 0.7),
    "tumours": Disease(80, 0.65, 350, 0.0, (1350, 140), 1.15, 0.15, 0.6),
}


@dataclass(frozen=True, eq=False)
class Cells:
    """How several cells of a table differ on the same subjects.

    Attributes:
        shifts: (C,) what each adds to the shift of lesion pixels.
        own_share: Share of the variance between subjects that is each cell's own.
    """

    shifts: NDArray[np.float64]
    own_share: float = 0.3


ONE = Cells(np.zeros(1), 0.0)


def draw(disease: Disease, n: int, rng: np.random.Generator, cells: Cells = ONE) -> list[Binned]:
    """The counts of a test set of n subjects, for each cell."""
    return [
        Binned(*(CORRELATED * rng.poisson(some / CORRELATED).astype(np.float64) for some in both))
        for both in _expected(disease, n, rng, cells)
    ]


@cache
def truth(disease: Disease, cells: Cells = ONE, n: int = TRUTH_SUBJECTS) -> list[Figures]:
    """The pooled figures of very many subjects, without the noise of pixels, for each cell."""
    rng = np.random.default_rng(1)
    sums: list[list[NDArray[np.float64]]] = []
    for start in range(0, n, _CHUNK):
        some = _expected(disease, min(_CHUNK, n - start), rng, cells)
        sums.append([np.stack([p.sum(0), m.sum(0)]) for p, m in some])
    totals = [np.sum([part[c] for part in sums], axis=0) for c in range(len(cells.shifts))]
    return [figures(*total) for total in totals]


def _expected(
    disease: Disease, n: int, rng: np.random.Generator, cells: Cells
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    z = rng.standard_normal(n)
    lesion_ml = np.minimum(disease.median_ml * np.exp(disease.spread * z), disease.max_ml)
    lesion_ml = np.where(rng.random(n) < disease.none_share, 0.0, lesion_ml)
    brain_ml = np.maximum(rng.normal(*disease.brain_ml, n), 700.0)
    place, scale = rng.standard_normal(n), np.exp(0.12 * rng.standard_normal(n))
    tail, like_others = rng.beta(4, 60, n), rng.beta(3, 5, n)
    effect, width = rng.standard_normal(n), 1.15 * np.exp(0.15 * rng.standard_normal(n))
    common, own = np.sqrt(1 - cells.own_share), np.sqrt(cells.own_share)
    found = []
    for shift in cells.shifts:
        b = 0.25 * (common * place + own * rng.standard_normal(n))
        varied = common * effect + own * rng.standard_normal(n)
        mu = disease.shift + shift + disease.by_volume * z + disease.by_subject * varied
        others = _mixed(tail, _bins(b, scale), _bins(b + 2.2, np.full(n, 1.1)))
        lesions = _bins(b + 0.8 * mu + np.maximum(mu, 0.0), width)
        lesions = _mixed(like_others, lesions, others)
        positives = PIXELS_PER_ML * lesion_ml[:, None] * lesions
        negatives = PIXELS_PER_ML * np.maximum(brain_ml - lesion_ml, 100.0)[:, None] * others
        found.append((positives, negatives))
    return found


def _mixed(
    share: NDArray[np.float64], one: NDArray[np.float64], other: NDArray[np.float64]
) -> NDArray[np.float64]:
    mixed: NDArray[np.float64] = (1 - share)[:, None] * one + share[:, None] * other
    return mixed


def _bins(mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K) share of normal scores in each bin."""
    below = ndtr((_EDGES - mean[:, None]) / scale[:, None])
    shares: NDArray[np.float64] = np.concatenate(
        [1 - below[:, :1], below[:, :-1] - below[:, 1:]], axis=1
    )
    return shares


def subjects_table(by_score: Mapping[tuple[str, str], Binned]) -> pa.Table:
    """Counts as the part ``subjects.parquet`` of an evaluation has them.

    Args:
        by_score: Counts by score and region, of the same subjects in the same order.
    """
    thresholds = np.append(_EDGES[:-1], -6.0).astype(np.float32)
    rows = []
    for (score, region), counts in by_score.items():
        aucs = figures(counts.positives, counts.negatives).auc
        for number, (positives, negatives) in enumerate(
            zip(counts.positives, counts.negatives, strict=True)
        ):
            seen = (positives + negatives) > 0
            rows.append(
                {
                    "subject": f"c/s{number:03d}",
                    "score": score,
                    "region": region,
                    "n_pixels": int(positives.sum() + negatives.sum()),
                    "n_positive": int(positives.sum()),
                    "auc": float(aucs[number]) if np.isfinite(aucs[number]) else None,
                    "average_precision": None,
                    "thresholds": thresholds[seen],
                    "positives": positives[seen].astype(np.int64),
                    "negatives": negatives[seen].astype(np.int64),
                }
            )
    return pa.Table.from_pylist(rows, schema=SUBJECTS_SCHEMA)
