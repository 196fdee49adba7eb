"""The figures of a ranking are scikit-learn's, and the bound of its AUC is one."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from trainables.bins import Bins, Keys, prefix_counts
from trainables.counting import Counter, Pixels, rank
from trainables.roc import Ranking

Scores = NDArray[np.float32]
Labels = NDArray[np.bool_]


def _near_one(x, rng):
    return 1 - 1e-4 / (1 + np.exp(x))


def _zeros_and_near_one(x, rng):
    return np.where(rng.random(len(x)) < 0.5, 0.0, _near_one(x, rng))


SHAPES: dict[str, Callable[..., NDArray[np.float64]]] = {
    "uniform": lambda x, rng: 1 / (1 + np.exp(-x)),
    "cauchy_squared": lambda x, rng: (x + rng.standard_cauchy(len(x))) ** 2,
    "near_one": _near_one,
    "zeros_and_near_one": _zeros_and_near_one,
    "zeros_and_wide": lambda x, rng: np.where(rng.random(len(x)) < 0.5, 0.0, np.exp(2 * x)),
    "negative": lambda x, rng: -np.exp(x),
    "tied": lambda x, rng: np.round(20 * x),
    "many_ties": lambda x, rng: np.round(1e5 * x),
    "constant": lambda x, rng: np.full(len(x), 3.5),
    "two_values": lambda x, rng: (x > 0.3).astype(float),
    "denormal": lambda x, rng: 1e-42 * np.exp(x),
    "infinities": lambda x, rng: np.where(np.abs(x) > 2, np.inf * x, x),
    "half_precision": lambda x, rng: (1 + 0.2 * x).astype(np.float16),
    "far_from_zero": lambda x, rng: 1000 + 0.01 * x,
    "both_signs": lambda x, rng: np.sign(x) * np.exp(6 * np.abs(x)),
    "log_density": lambda x, rng: 30 * x**2 - 1,
    "any_float": lambda x, rng: np.sign(x) * 2.0 ** rng.uniform(-149, 99, len(x)),
    "later_ones_higher": lambda x, rng: x + 1e4 * (np.arange(len(x)) > len(x) // 2),
}
PREVALENCES = {"balanced": 0.5, "usual": 0.02, "ten": None}


def _sample(shape: str, n: int, prevalence: str, seed: int = 0) -> tuple[Scores, Labels]:
    rng = np.random.default_rng(seed)
    share = PREVALENCES[prevalence]
    n_positive = min(10, n // 2) if share is None else max(1, int(share * n))
    positive = np.zeros(n, dtype=bool)
    positive[rng.choice(n, n_positive, replace=False)] = True
    x = rng.normal(size=n) + 0.8 * positive
    return SHAPES[shape](x, rng).astype(np.float32), positive


def _sklearn(scores: Scores, positive: Labels) -> tuple[float, float]:
    finite = np.clip(scores, np.float32(-1e30), np.float32(1e30))
    return roc_auc_score(positive, finite), average_precision_score(positive, finite)


def _by_subject(scores: Scores, positive: Labels, n_subjects: int) -> Ranking:
    """The pool of several subjects, in and outside the brain, counted as an evaluation does."""
    counter: Counter | None = Counter()
    while counter is not None:
        used = counter
        cuts = np.array_split(np.arange(len(scores)), n_subjects)
        for rows in cuts:
            for part in np.array_split(rows, 3):
                region = torch.from_numpy((part % 4 > 0).astype(np.int32))
                lesion = torch.from_numpy(np.flatnonzero(positive[part]))
                counter.add(torch.from_numpy(scores[part]), Pixels(region, lesion))
            counter.end_subject()
        counter = counter.refined()
    return used.pooled()["slice"]


@pytest.mark.parametrize("prevalence", PREVALENCES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [10, 1_000, 100_000])
def test_figures_of_few_pixels_are_exact(shape, n, prevalence):
    scores, positive = _sample(shape, n, prevalence)
    made = rank(scores, positive)
    auc, average_precision = _sklearn(scores, positive)
    assert made.auc == pytest.approx(auc, abs=1e-12)
    assert made.average_precision == pytest.approx(average_precision, abs=1e-12)
    assert made.auc_bound == 0


@pytest.mark.parametrize(
    ("shape", "prevalence"),
    [
        *((shape, "usual") for shape in SHAPES),
        *((s, p) for s in ("uniform", "tied", "far_from_zero") for p in ("balanced", "ten")),
    ],
)
def test_a_million_pixels_agree_with_sklearn_at_once_and_by_subject(shape, prevalence):
    scores, positive = _sample(shape, 1_000_000, prevalence)
    auc, average_precision = _sklearn(scores, positive)
    for made in (rank(scores, positive), _by_subject(scores, positive, 5)):
        assert (made.n_positive, made.n_negative) == (positive.sum(), (~positive).sum())
        assert made.auc == pytest.approx(auc, abs=1e-5)
        assert abs(made.auc - auc) <= made.auc_bound + 1e-12
        assert made.auc_bound <= 5e-5
        assert made.average_precision == pytest.approx(average_precision, abs=1e-4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    scores=arrays(
        np.float32,
        st.integers(2, 300),
        elements=st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1.5]),
    ),
    seed=st.integers(0, 99),
    n_subjects=st.integers(1, 4),
)
def test_the_bound_is_never_below_the_error_whatever_the_scores(scores, seed, n_subjects):
    positive = np.random.default_rng(seed).random(len(scores)) < 0.4
    positive[:2] = (True, False)
    exact = rank(scores, positive)
    made = _by_subject(scores, positive, min(n_subjects, len(scores)))
    assert abs(made.auc - exact.auc) <= made.auc_bound + 1e-12
    assert made.auc_bound <= 0.5


@pytest.mark.parametrize("late", ["higher", "lower", "in a narrow band", "of one score"])
def test_subjects_unlike_the_first_are_counted_in_bins_of_their_own(late):
    rng = np.random.default_rng(3)
    first = rng.normal(size=300_000).astype(np.float32)
    others = {
        "higher": rng.normal(1e6, 10, 600_000),
        "lower": -np.exp(rng.normal(20, 3, 600_000)),
        "in a narrow band": 0.1 + 1e-5 * rng.normal(size=600_000),
        "of one score": np.where(rng.random(600_000) < 0.5, 0.125, rng.normal(size=600_000)),
    }[late].astype(np.float32)
    scores = np.concatenate([first, others])
    positive = rng.random(len(scores)) < np.where(scores > np.median(scores), 0.02, 0.01)
    auc, average_precision = _sklearn(scores, positive)
    made = _by_subject(scores, positive, 3)
    assert made.auc == pytest.approx(auc, abs=1e-5)
    assert made.average_precision == pytest.approx(average_precision, abs=1e-4)
    assert made.auc_bound <= 5e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_lowest_threshold_is_a_score_that_all_pixels_reach(shape):
    scores, positive = _sample(shape, 300_000, "usual")
    made = _by_subject(scores, positive, 2)
    assert made.curve().thresholds[-1] <= scores.min()
    if np.isfinite(scores).all():
        assert np.isfinite(made.lowest_E).all()
        assert np.isfinite(made.middle_E).all()
        span = float(scores.max()) - float(scores.min())
        assert made.lowest_E[-1] >= scores.min() - 0.01 * span
    assert np.all(np.diff(made.middle_E) < 0)


def test_a_first_subject_without_lesions_does_not_spoil_those_that_have_them():
    scores, positive = _sample("cauchy_squared", 600_000, "usual")
    positive[:200_000] = False
    auc, average_precision = _sklearn(scores, positive)
    made = _by_subject(scores, positive, 3)
    assert made.auc == pytest.approx(auc, abs=1e-5)
    assert made.average_precision == pytest.approx(average_precision, abs=1e-4)


def test_average_precision_of_a_few_positives_at_the_top_of_a_long_ranking():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=1_000_000).astype(np.float32)
        positive = np.zeros(len(scores), dtype=bool)
        positive[::100_000] = True
        scores[positive] += 4.5
        expected = average_precision_score(positive, scores)
        assert expected > 0.05
        for made in (rank(scores, positive), _by_subject(scores, positive, 3)):
            assert made.average_precision == pytest.approx(expected, abs=1e-4)


def test_the_same_calls_give_the_same_bits():
    sample = _sample("cauchy_squared", 600_000, "usual")
    first, second = (_by_subject(*sample, 5) for _ in range(2))
    for name, array in asdict(first).items():
        np.testing.assert_array_equal(array, asdict(second)[name])
    assert first.auc == second.auc


def test_without_positives_figures_are_null():
    made = rank(np.arange(5, dtype=np.float32), np.zeros(5, dtype=bool))
    assert (made.auc, made.auc_bound, made.average_precision, made.best_dice) == (None,) * 4
    assert made.curve().false_positives.tolist() == [0, 1, 2, 3, 4, 5]
    assert made.compact().negatives.sum() == 5


def test_without_negatives_only_auc_is_null():
    made = rank(np.arange(5, dtype=np.float32), np.ones(5, dtype=bool))
    assert made.auc is None
    assert made.average_precision == 1
    assert made.best_dice == (1, 0)


def test_nothing_counted_is_null_everywhere():
    made = rank(np.zeros(0, np.float32), np.zeros(0, bool))
    assert (made.auc, made.average_precision, made.best_dice) == (None, None, None)
    assert made.curve().thresholds.tolist() == [np.inf]
    assert len(made.compact().thresholds) == 0


@pytest.mark.parametrize(
    ("scores", "positive", "message"),
    [
        (np.array([1, np.nan], np.float32), np.zeros(2, bool), "NaN"),
        (np.zeros(3), np.zeros(3, dtype=bool), "float64"),
        (np.zeros(3, dtype=np.float32), np.zeros(3, dtype=np.uint8), "uint8"),
        (np.zeros(3, dtype=np.float32), np.zeros(2, dtype=bool), "do not match"),
    ],
)
def test_wrong_arrays_are_refused(scores, positive, message):
    with pytest.raises(ValueError, match=message):
        rank(scores, positive)


def test_infinities_are_extreme_ranks_and_zeros_have_no_sign():
    scores = np.array([-np.inf, -0.0, 0.0, np.inf, -1e38, 1e-45], dtype=np.float32)
    positive = np.array([False, True, False, True, False, False])
    made = rank(scores, positive)
    finite = np.array([-4, 0, 0, 4, -3, 1])
    assert made.auc == pytest.approx(roc_auc_score(positive, finite), abs=1e-15)
    assert made.curve().thresholds.tolist()[:2] == [np.inf, np.inf]


def test_best_dice_is_the_best_of_all_thresholds():
    scores, positive = _sample("uniform", 3_000, "usual")
    made = rank(scores, positive).best_dice
    assert made is not None
    dices = []
    for threshold in np.unique(scores)[::-1]:
        called = scores >= threshold
        dices.append(2 * (called & positive).sum() / (called.sum() + positive.sum()))
    assert made[0] == pytest.approx(max(dices), abs=1e-15)
    assert made[1] == np.unique(scores)[::-1][int(np.argmax(dices))]


def test_best_dice_threshold_gives_that_dice_on_grouped_counts():
    scores, positive = _sample("cauchy_squared", 600_000, "usual")
    made = _by_subject(scores, positive, 3).best_dice
    assert made is not None
    called = scores >= made[1]
    dice = 2 * (called & positive).sum() / (called.sum() + positive.sum())
    assert made[0] == pytest.approx(dice, abs=1e-4)


def test_curve_is_monotonic_bounded_and_dense_at_low_false_positive_rates():
    scores, positive = _sample("cauchy_squared", 600_000, "usual")
    made = rank(scores, positive)
    curve, best = made.curve(), made.best_dice
    assert best is not None
    assert len(curve.thresholds) <= 400
    assert np.all(np.diff(curve.thresholds) <= 0)
    assert np.all(np.diff(curve.true_positives) >= 0)
    assert np.all(np.diff(curve.false_positives) >= 0)
    assert (curve.true_positives[0], curve.false_positives[0]) == (0, 0)
    assert curve.true_positives[-1] == made.n_positive
    assert curve.false_positives[-1] == made.n_negative
    dice = 2 * curve.true_positives
    dice = dice / (curve.true_positives + curve.false_positives + made.n_positive)
    assert dice.max() == pytest.approx(best[0], abs=1e-6)
    for low, high in [(1e-5, 1e-4), (1e-4, 1e-3), (1e-3, 1e-2), (0.5, 0.9)]:
        rate = curve.false_positives / made.n_negative
        assert ((rate > low) & (rate < high)).sum() >= 10
    area = np.trapezoid(curve.true_positives, curve.false_positives)
    assert area / made.n_positive / made.n_negative == pytest.approx(made.auc, abs=1e-4)


def test_curve_counts_are_those_of_its_thresholds():
    scores, positive = _sample("cauchy_squared", 100_000, "usual")
    curve = rank(scores, positive).curve(50)
    for threshold, tp, fp in zip(*curve, strict=True):
        if np.isfinite(threshold):
            called = scores >= threshold
            assert (tp, fp) == ((called & positive).sum(), (called & ~positive).sum())


@pytest.mark.parametrize("prevalence", PREVALENCES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("max_entries", [16, 512])
def test_compact_counts_are_few_and_lose_no_pixel(shape, prevalence, max_entries):
    scores, positive = _sample(shape, 20_000, prevalence)
    for made in (rank(scores, positive), _by_subject(scores, positive, 3)):
        compact = made.compact(max_entries)
        assert 1 <= len(compact.thresholds) <= max_entries
        assert compact.thresholds.dtype == np.float32
        assert np.all(np.diff(compact.thresholds) < 0)
        assert compact.positives.sum() == positive.sum()
        assert compact.negatives.sum() == (~positive).sum()


@pytest.mark.parametrize("kind", ["normal", "heavy", "positive", "few values"])
def test_bins_share_at_least_as_many_pixels_as_counts_by_prefix_promise(kind: str) -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(200_000).astype(np.float32)
    if kind == "heavy":
        scores = rng.standard_cauchy(200_000).astype(np.float32)
    elif kind == "positive":
        scores = np.abs(scores) + np.float32(0.1)
    elif kind == "few values":
        scores = np.round(np.abs(scores), 1) + np.float32(1)
    keys = Keys.of(torch.from_numpy(scores))
    counts = prefix_counts(keys.keys_P)
    by_share = Bins.by_share(counts, counts)
    equal = Bins.equal(counts, counts)
    assert (equal is None) == (kind in ("normal", "heavy"))  # keys far apart on both sides of 0
    for bins in [by_share] if equal is None else [by_share, equal]:
        in_bins = np.bincount(bins.find(keys).numpy()).astype(np.float64)
        shared = float((in_bins**2).sum()) / len(scores) ** 2
        assert 0 < bins.least_shared(counts) <= shared
        if kind == "positive":
            assert shared < 2 * bins.least_shared(counts)
