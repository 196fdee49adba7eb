"""Figures by subject against scikit-learn, and intervals against test sets whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.coverage import bias_of_choice, coverage, false_claims
from benchmarks.simulated import DISEASES, Cells, draw
from study.report.comparisons import Comparison, by_holm, compare, in_sequence
from study.report.selection import honest, mean_pairs, pairs_of, weighted_auc
from study.report.statistics import (
    Binned,
    all_intervals,
    is_approximate,
    left_out,
    mean_interval,
    n_effective,
    n_with_lesion,
    pooled,
    shared_bins,
)
from trainables.counting import rank

N = 12


def scores_of(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.random(n) < 0.03 * rng.random()
    scores = rng.normal(0.8 * labels + 0.2 * rng.normal(), 1).astype(np.float32)
    return np.round(scores, 2), labels


@pytest.fixture(scope="module")
def subjects() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [scores_of(rng, int(rng.integers(20_000, 60_000))) for _ in range(N)]


@pytest.fixture(scope="module")
def counts(subjects: list[tuple[np.ndarray, np.ndarray]]) -> Binned:
    compact = [rank(scores, labels).compact() for scores, labels in subjects]
    return shared_bins(*zip(*compact, strict=True))


def dice(scores: np.ndarray, labels: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    last = np.append(scores[order][1:] != scores[order][:-1], True)
    tp = np.cumsum(labels[order])[last]
    marked = np.arange(1, len(scores) + 1)[last]
    return float((2 * tp / (marked + labels.sum())).max())


@pytest.mark.parametrize("left", [None, *range(0, N, 3)])
def test_pooled_and_leave_one_out_figures_are_those_of_all_pixels(
    subjects: list[tuple[np.ndarray, np.ndarray]], counts: Binned, left: int | None
) -> None:
    kept = [pair for i, pair in enumerate(subjects) if i != left]
    scores, labels = (np.concatenate(some) for some in zip(*kept, strict=True))
    ours = pooled(counts) if left is None else left_out(counts)
    figure = {k: float(v if left is None else v[left]) for k, v in ours.named().items()}
    assert figure["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-4)
    assert figure["average_precision"] == pytest.approx(
        average_precision_score(labels, scores), abs=2e-4
    )
    assert figure["best_dice"] == pytest.approx(dice(scores, labels), abs=1e-3)


def test_weights_of_subjects_give_the_figure_of_subjects_so_often(counts: Binned) -> None:
    rng = np.random.default_rng(1)
    bags = rng.multinomial(N, np.full(N, 1 / N), size=5).astype(float)
    ours = weighted_auc(pairs_of(counts), bags)
    for weights, auc in zip(bags, ours, strict=True):
        drawn = counts.take(np.repeat(np.arange(N), weights.astype(int)))
        assert auc == pytest.approx(float(pooled(drawn).auc), abs=1e-6)


def test_no_interval_is_told_of_too_few_subjects(counts: Binned) -> None:
    with_lesion = np.flatnonzero(counts.positives.sum(1) > 0)
    one = counts.take(with_lesion[:1])
    assert all(found is None for found in all_intervals(one).values())
    none = Binned(np.zeros_like(counts.positives), counts.negatives)
    assert n_with_lesion(none) == n_effective(none) == 0
    assert all(found is None for found in all_intervals(none).values())
    assert mean_interval([0.5]) is None


def test_a_perfect_score_has_an_interval_within_its_range() -> None:
    positives = np.zeros((6, 4))
    negatives = np.zeros((6, 4))
    positives[:, 0], negatives[:, 3] = 10, 1000
    found = all_intervals(Binned(positives, negatives))["auc"]
    assert found is not None
    assert 0.9 < found.low <= found.high <= 1


def test_empty_counts_make_one_empty_bin() -> None:
    none = np.zeros(0)
    counts = shared_bins(
        [none.astype(np.float32)] * 2, [none.astype(int)] * 2, [none.astype(int)] * 2
    )
    assert counts.positives.shape == (2, 1)
    assert np.isnan(pooled(counts).auc)


@pytest.mark.parametrize("disease", DISEASES)
def test_intervals_of_the_auc_hold(disease: str) -> None:
    found = coverage(DISEASES[disease], 30, 300, n_truth=20_000)
    assert 0.91 <= found["auc"] <= 0.985  # .95 and three standard errors of 300 runs
    assert found["auc approximate"] == 0


def test_the_corrections_take_away_what_the_choice_of_a_cell_adds() -> None:
    """Only differences of the three are asserted: the subjects drawn move all of them alike."""
    off = bias_of_choice(DISEASES["strokes"], 100, 25, n_truth=1_000)
    assert 0.003 < off["naive"] - off["BBC"] < 0.04
    assert 0.003 < off["naive"] - off["splits"] < 0.04


def test_equal_rows_are_seldom_told_apart() -> None:
    claims = false_claims(DISEASES["strokes"], 30, 60)
    assert claims["sequence"] <= 0.12
    assert claims["Holm"] <= 0.12


def test_one_cell_needs_no_correction(counts: Binned) -> None:
    found = honest([pairs_of(counts)])
    assert found is not None
    assert found.naive == pytest.approx(float(pooled(counts).auc), abs=1e-6)
    assert abs(found.optimism) < 0.01


def test_seeds_of_a_cell_are_averaged_not_chosen_from() -> None:
    rng = np.random.default_rng(3)
    seeds = [
        Binned(rng.poisson(30, (20, 8)).astype(float), rng.poisson(900, (20, 8)).astype(float))
        for _ in range(5)
    ]
    same = [Binned(seeds[0].positives, some.negatives) for some in seeds]
    mean = np.mean([float(pooled(some).auc) for some in same])
    ours = weighted_auc(mean_pairs([pairs_of(some) for some in same]), np.ones((1, 20)))[0]
    assert ours == pytest.approx(mean, abs=0.005)


def _pair(p: float, difference: float = 0.1) -> Comparison:
    return Comparison("a", "b", difference, 0.0, 0.2, p)


def test_a_fixed_sequence_ends_at_the_first_that_does_not_hold() -> None:
    tested = in_sequence([_pair(0.01), _pair(0.2), _pair(0.001)])
    assert [one is not None and one.is_separated for one in tested] == [True, False, False]
    wrong = in_sequence([_pair(0.001, -0.1), None])
    assert [one is not None and one.is_separated for one in wrong] == [False, False]


def test_holm_divides_the_level_by_those_that_are_left() -> None:
    tested = by_holm([_pair(0.04), _pair(0.001), _pair(0.03)])
    assert [one.is_separated for one in tested] == [False, True, False]


def test_a_row_does_not_differ_from_itself(counts: Binned) -> None:
    found = compare("a", "b", {"a": [counts], "b": [counts]})
    assert found is not None
    assert (found.difference, found.p) == (0, 1)


def test_seeds_count_by_their_mean_and_a_lucky_one_decides_nothing() -> None:
    rng = np.random.default_rng(4)
    low, high = draw(DISEASES["tumours"], 30, rng, Cells(np.array([-0.3, 0.3])))
    one_way = compare("a", "b", {"a": [low, high], "b": [high, low]})
    assert one_way is not None
    assert one_way.difference == pytest.approx(0, abs=1e-12)
    mixed = compare("a", "b", {"a": [low, low], "b": [low, high]})
    alone = compare("a", "b", {"a": [low], "b": [high]})
    assert mixed is not None
    assert alone is not None
    assert mixed.difference == pytest.approx(alone.difference / 2)


def test_what_is_approximate_follows_a_rule_of_n_and_n_eff() -> None:
    assert not is_approximate("auc", 10, 3.0)
    assert is_approximate("average_precision", 10, 8.0)
    assert is_approximate("best_dice", 500, 120.0)
    assert not is_approximate("best_dice", 30, 18.0)
    assert not is_approximate("average_precision", 500, 320.0)
