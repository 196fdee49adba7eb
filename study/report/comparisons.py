"""Which differences between rows of table 1 the subjects bear out.

Two rows on the same subjects differ by the jackknife of the difference of their logits. The primary
family is the paper's claim, in a fixed sequence: U below SE, SE below L, L below E for each cohort;
the first that does not hold ends it. All other pairs are secondary, with Holm's correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from study.report.statistics import (
    Array,
    Binned,
    jackknife,
    left_out,
    logit,
    pooled,
    t_probability,
    t_quantile,
)

ALPHA = 0.05

CLAIM = ("U", "SE", "L", "E")
"""The paper's order of the VAE's scores, the lowest first."""


@dataclass(frozen=True)
class Comparison:
    """The difference of two rows' AUCs on the same subjects.

    Attributes:
        lower: Name of the row that is expected to be lower.
        higher: Name of the other.
        difference: Higher minus lower.
        low: Lower end of its interval of 95 %, to first order.
        high: Upper end.
        p: Two-sided p-value.
        is_separated: Whether the difference holds within its family of tests.
    """

    lower: str
    higher: str
    difference: float
    low: float
    high: float
    p: float
    is_separated: bool = False


def compare(lower: str, higher: str, counts: Mapping[str, Sequence[Binned]]) -> Comparison | None:
    """The difference of two rows, each the mean over its seeds; None where it cannot be told.

    Args:
        lower: Name of the row that is expected to be lower.
        higher: Name of the other.
        counts: By name, the counts of each seed, of the same subjects in the same order.
    """
    one, other = counts[lower], counts[higher]
    aucs = _mean_auc(one), _mean_auc(other)
    if not np.isfinite(aucs).all():
        return None
    others = logit(_mean_without_one(other)) - logit(_mean_without_one(one))
    spread = jackknife(others, one[0])
    if spread is None:
        return None
    logits = logit(np.array(aucs))
    between = float(logits[1] - logits[0])
    difference = aucs[1] - aucs[0]
    # The slope of a share by its logit, at the middle of the two.
    middle = 1 / (1 + np.exp(-logits.mean()))
    half = t_quantile(spread.df) * spread.error * float(middle * (1 - middle))
    if spread.error > 0:
        p = t_probability(between / spread.error, spread.df)
    else:
        p = 1.0 if between == 0 else 0.0
    return Comparison(lower, higher, difference, difference - half, difference + half, p)


def _mean_auc(seeds: Sequence[Binned]) -> float:
    return float(np.mean([pooled(counts).auc for counts in seeds]))


def _mean_without_one(seeds: Sequence[Binned]) -> Array:
    """(N,) the mean over the seeds of the AUC without each subject."""
    mean: Array = np.mean([left_out(counts).auc for counts in seeds], axis=0)
    return mean


def in_sequence(comparisons: Sequence[Comparison | None]) -> list[Comparison | None]:
    """A family whose members are tested one after the other, each at the full level.

    A member holds if its difference is above 0 and all before it hold.
    """
    holds = True
    tested: list[Comparison | None] = []
    for one in comparisons:
        holds = holds and one is not None and one.p <= ALPHA and one.difference > 0
        tested.append(None if one is None else _marked(one, holds))
    return tested


def by_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """A family of which none is expected: Holm's correction, whatever the sign."""
    order = sorted(range(len(comparisons)), key=lambda i: comparisons[i].p)
    marked = list(comparisons)
    holds = True
    for place, index in enumerate(order):
        one = comparisons[index]
        holds = holds and one.p <= ALPHA / (len(order) - place)
        marked[index] = _marked(one, holds)
    return marked


def _marked(one: Comparison, is_separated: bool) -> Comparison:
    return Comparison(one.lower, one.higher, one.difference, one.low, one.high, one.p, is_separated)
