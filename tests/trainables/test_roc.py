import tracemalloc
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from trainables.ranking import scores_of
from trainables.roc import RocAccumulator

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


def _counted(scores: Scores, positive: Labels, *, cuts: int = 1) -> RocAccumulator:
    made = RocAccumulator()
    for s, p in zip(np.array_split(scores, cuts), np.array_split(positive, cuts), strict=True):
        made.update(s, p)
    return made


def _merged(scores: Scores, positive: Labels, parts: int, seed: int) -> RocAccumulator:
    """Counts of random parts, some of them asked for figures, merged in a random tree."""
    rng = np.random.default_rng(seed)
    owner = rng.integers(parts, size=len(scores))
    heap = [_counted(scores[owner == i], positive[owner == i]) for i in range(parts)]
    for part in heap[::2]:
        part.curve()
    while len(heap) > 1:
        one = heap.pop(int(rng.integers(len(heap))))
        heap[int(rng.integers(len(heap)))].merge(one)
    return heap[0]


def _assert_as_sklearn(made: RocAccumulator, scores: Scores, positive: Labels) -> None:
    assert made.n_positive == positive.sum()
    assert made.n_negative == (~positive).sum()
    assert made.auc() == pytest.approx(roc_auc_score(positive, scores), abs=1e-5)
    expected = average_precision_score(positive, scores)
    assert made.average_precision() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("prevalence", PREVALENCES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [10, 1_000, 100_000])
def test_figures_are_exact_while_there_are_few_pixels(shape, n, prevalence):
    scores, positive = _sample(shape, n, prevalence)
    for made in (_counted(scores, positive, cuts=7), _merged(scores, positive, 5, seed=n)):
        assert made.auc() == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
        expected = average_precision_score(positive, scores)
        assert made.average_precision() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "prevalence"),
    [
        *((shape, "usual") for shape in SHAPES),
        *((s, p) for s in ("uniform", "zeros_and_wide", "many_ties") for p in ("balanced", "ten")),
    ],
)
def test_a_million_pixels_agree_with_sklearn_merged_in_any_order(shape, prevalence):
    scores, positive = _sample(shape, 1_000_000, prevalence)
    _assert_as_sklearn(_merged(scores, positive, 3, seed=1), scores, positive)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "prevalence"),
    [("cauchy_squared", "usual"), ("zeros_and_near_one", "balanced"), ("many_ties", "ten")],
)
def test_ten_million_pixels_agree_with_sklearn(shape, prevalence):
    scores, positive = _sample(shape, 10_000_000, prevalence)
    made = _merged(scores, positive, 4, seed=2)
    made.merge(RocAccumulator())
    _assert_as_sklearn(made, scores, positive)


@pytest.fixture(scope="module")
def spread():
    return _sample("cauchy_squared", 600_000, "usual")


@settings(max_examples=5, deadline=None, derandomize=True)
@given(parts=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_any_merge_tree_agrees_with_sklearn(spread, parts, seed):
    _assert_as_sklearn(_merged(*spread, parts, seed), *spread)


@pytest.mark.parametrize("direction", [1, -1])
def test_scores_that_arrive_sorted_agree_with_sklearn(spread, direction):
    order = np.argsort(spread[0])[::direction]
    scores, positive = spread[0][order], spread[1][order]
    made = RocAccumulator()
    for s, p in zip(np.array_split(scores, 6), np.array_split(positive, 6), strict=True):
        part = _counted(s, p)
        part.curve()
        made.merge(part)
    _assert_as_sklearn(made, scores, positive)


@pytest.mark.parametrize("band", [0.0, 1e-6])
def test_positives_in_a_narrow_band_inside_others_groups(band):
    """The worst case of grouping: everything that comes later falls into one group."""
    rng = np.random.default_rng(3)
    negative = rng.normal(size=600_000).astype(np.float32)
    counted = _counted(negative, np.zeros(len(negative), dtype=bool))
    ordered = np.sort(negative)
    for centre in rng.normal(size=40):
        late = (centre + band * rng.normal(size=2_000)).astype(np.float32)
        made = deepcopy(counted)
        made.merge(_counted(late, np.ones(len(late), dtype=bool)))
        below = np.searchsorted(ordered, late, "left") + np.searchsorted(ordered, late, "right")
        assert made.auc() == pytest.approx(below.mean() / 2 / len(negative), abs=1.5e-5)


def test_average_precision_of_a_few_positives_at_the_top_of_a_long_ranking():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=1_000_000).astype(np.float32)
        positive = np.zeros(len(scores), dtype=bool)
        positive[::100_000] = True
        scores[positive] += 4.5
        made = _merged(scores, positive, 3, seed)
        expected = average_precision_score(positive, scores)
        assert expected > 0.05
        assert made.average_precision() == pytest.approx(expected, abs=1e-4)


def test_a_frequent_score_stays_a_tie_when_its_key_was_in_a_group():
    rng = np.random.default_rng(4)
    scores = rng.normal(size=600_000).astype(np.float32)
    positive = rng.random(600_000) < 0.01
    made = _counted(scores, positive)
    made.curve()
    entries = made._settled()
    inside = np.flatnonzero(entries.interval)[1000]
    many = np.full(1_000_000, scores_of(entries.keys[[inside]])[0])
    labels = rng.random(1_000_000) < 0.3
    made.merge(_counted(many, labels))
    _assert_as_sklearn(made, np.concatenate([scores, many]), np.concatenate([positive, labels]))


def test_one_pixel_at_a_time_gives_the_figures_of_all_at_once():
    scores, positive = _sample("cauchy_squared", 300, "usual")
    assert _counted(scores, positive, cuts=300).curve().thresholds.tolist() == (
        _counted(scores, positive).curve().thresholds.tolist()
    )


def test_the_same_calls_give_the_same_bits(spread):
    first, second = (_merged(*spread, 5, seed=9) for _ in range(2))
    for name, array in asdict(first._settled()).items():
        np.testing.assert_array_equal(array, asdict(second._settled())[name])
    assert first.auc() == second.auc()


@pytest.mark.parametrize(
    ("shape", "prevalence"),
    [("uniform", "balanced"), ("uniform", "usual")],
)
@pytest.mark.parametrize("n_scores", [None, 130_000, 250_000])
def test_memory_stays_below_32_mb(shape, prevalence, n_scores):
    scores, positive = _sample(shape, 4_000_000, prevalence)
    if n_scores is not None:
        scores = np.floor(n_scores * scores).astype(np.float32)
    other = _counted(scores[:3_000_000], positive[:3_000_000])
    other.curve()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        made = RocAccumulator()
        made.update(scores, positive)
        made.merge(other)
        made.auc(), made.average_precision(), made.best_dice(), made.compact(), made.curve()
        peak = tracemalloc.get_traced_memory()[1] - before
        rest = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert peak < 32e6
    assert rest < 7e6


def test_without_positives_figures_are_null():
    made = _counted(np.arange(5, dtype=np.float32), np.zeros(5, dtype=bool))
    assert (made.auc(), made.average_precision(), made.best_dice()) == (None, None, None)
    assert made.curve().false_positives.tolist() == [0, 1, 2, 3, 4, 5]
    assert made.compact().negatives.sum() == 5


def test_without_negatives_only_auc_is_null():
    made = _counted(np.arange(5, dtype=np.float32), np.ones(5, dtype=bool))
    assert made.auc() is None
    assert made.average_precision() == 1
    assert made.best_dice() == (1, 0)


def test_nothing_counted_is_null_everywhere():
    made = RocAccumulator()
    assert (made.auc(), made.average_precision(), made.best_dice()) == (None, None, None)
    assert made.curve().thresholds.tolist() == [np.inf]
    assert len(made.compact().thresholds) == 0


def test_nan_is_refused_and_nothing_is_counted():
    made = RocAccumulator()
    with pytest.raises(ValueError, match="NaN"):
        made.update(np.array([1, np.nan], dtype=np.float32), np.array([True, False]))
    assert made.n_positive == made.n_negative == 0


@pytest.mark.parametrize(
    ("scores", "positive"),
    [
        (np.zeros(3), np.zeros(3, dtype=bool)),
        (np.zeros(3, dtype=np.float32), np.zeros(3, dtype=np.uint8)),
        (np.zeros(3, dtype=np.float32), np.zeros(2, dtype=bool)),
    ],
)
def test_wrong_arrays_are_refused(scores, positive):
    with pytest.raises(ValueError):
        RocAccumulator().update(scores, positive)


def test_infinities_are_extreme_ranks_and_zeros_have_no_sign():
    scores = np.array([-np.inf, -0.0, 0.0, np.inf, -1e38, 1e-45], dtype=np.float32)
    positive = np.array([False, True, False, True, False, False])
    made = _counted(scores, positive)
    finite = np.array([-4, 0, 0, 4, -3, 1])
    assert made.auc() == pytest.approx(roc_auc_score(positive, finite), abs=1e-15)
    assert made.curve().thresholds.tolist()[:2] == [np.inf, np.inf]


def test_best_dice_is_the_best_of_all_thresholds():
    scores, positive = _sample("uniform", 3_000, "usual")
    made = _counted(scores, positive).best_dice()
    assert made is not None
    dices = []
    for threshold in np.unique(scores)[::-1]:
        called = scores >= threshold
        dices.append(2 * (called & positive).sum() / (called.sum() + positive.sum()))
    assert made[0] == pytest.approx(max(dices), abs=1e-15)
    assert made[1] == np.unique(scores)[::-1][int(np.argmax(dices))]


def test_best_dice_threshold_gives_that_dice_on_grouped_counts(spread):
    scores, positive = spread
    made = _merged(scores, positive, 3, seed=5).best_dice()
    assert made is not None
    called = scores >= made[1]
    dice = 2 * (called & positive).sum() / (called.sum() + positive.sum())
    assert made[0] == pytest.approx(dice, abs=1e-4)


def test_curve_is_monotonic_bounded_and_dense_at_low_false_positive_rates(spread):
    scores, positive = spread
    made = _counted(scores, positive)
    curve, best = made.curve(), made.best_dice()
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
    assert area / made.n_positive / made.n_negative == pytest.approx(made.auc(), abs=1e-4)


def test_curve_counts_are_those_of_its_thresholds():
    scores, positive = _sample("cauchy_squared", 100_000, "usual")
    curve = _counted(scores, positive).curve(50)
    for threshold, tp, fp in zip(*curve, strict=True):
        if np.isfinite(threshold):
            called = scores >= threshold
            assert (tp, fp) == ((called & positive).sum(), (called & ~positive).sum())


@pytest.mark.parametrize("prevalence", PREVALENCES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("max_entries", [16, 512])
def test_compact_counts_are_few_and_lose_no_pixel(shape, prevalence, max_entries):
    scores, positive = _sample(shape, 20_000, prevalence)
    for made in (_counted(scores, positive), _merged(scores, positive, 3, seed=0)):
        compact = made.compact(max_entries)
        assert 1 <= len(compact.thresholds) <= max_entries
        assert compact.thresholds.dtype == np.float32
        assert np.all(np.diff(compact.thresholds) < 0)
        assert compact.positives.sum() == positive.sum()
        assert compact.negatives.sum() == (~positive).sum()


@pytest.mark.parametrize("shape", SHAPES)
def test_compact_counts_of_subjects_give_the_pooled_figures_of_a_resampling(shape):
    rng = np.random.default_rng(6)
    pooled = RocAccumulator()
    scores, labels = [], []
    for seed, times in enumerate(rng.integers(0, 3, size=12)):
        s, p = _sample(shape, 30_000, "usual", seed=seed)
        counts = _counted(s, p).compact()
        drawn = counts._replace(
            positives=counts.positives * times, negatives=counts.negatives * times
        )
        pooled.merge(RocAccumulator.from_compact(drawn))
        scores += [s] * times
        labels += [p] * times
    positive, all_scores = np.concatenate(labels), np.concatenate(scores)
    assert pooled.auc() == pytest.approx(roc_auc_score(positive, all_scores), abs=1e-4)
    expected = average_precision_score(positive, all_scores)
    assert pooled.average_precision() == pytest.approx(expected, abs=1e-3)


def test_merging_leaves_the_other_as_it_is_and_takes_itself():
    scores, positive = _sample("uniform", 2_000, "usual")
    other = _counted(scores, positive)
    expected = other.auc()
    made = _counted(scores[::2], positive[::2])
    made.merge(other)
    assert (other.auc(), other.n_positive) == (expected, positive.sum())
    other.merge(other)
    assert other.n_positive == 2 * positive.sum()
    assert other.auc() == pytest.approx(expected, abs=1e-12)
