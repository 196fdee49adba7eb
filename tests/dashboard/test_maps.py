from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.synthetic_records import SCORES, Maps
from dashboard.maps import (
    best_overlap,
    neighbours,
    outline,
    overlap,
    region_mask,
    score_range,
    segment,
)
from study.records.showcase import decode_showcase

_MASKS = arrays(bool, (9, 7))


@given(_MASKS, _MASKS)
def test_dice_is_twice_the_overlap_over_the_sum(a: np.ndarray, b: np.ndarray) -> None:
    found = overlap(a, b)
    total = a.sum() + b.sum()
    assert found.dice == (pytest.approx(2 * (a & b).sum() / total) if total else None)


@given(
    arrays(np.float32, (6, 6), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
    arrays(bool, (6, 6)),
    arrays(bool, (6, 6)),
)
def test_best_overlap_is_the_best_of_all_thresholds(
    score: np.ndarray, truth: np.ndarray, brain: np.ndarray
) -> None:
    truth = truth & brain
    tried = {
        float(t): overlap(segment(score, brain, "brain", float(t)), truth).dice
        for t in np.unique(score[brain])
    }
    found = best_overlap(score, truth, brain)
    if not truth.any():
        assert found is None
        return
    assert found is not None
    assert found[0] == pytest.approx(max(d for d in tried.values() if d is not None))
    assert tried[found[1]] == pytest.approx(found[0])


@given(_MASKS)
def test_outline_is_as_long_as_the_border(mask: np.ndarray) -> None:
    padded = np.pad(mask, 1).astype(int)
    border = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    x, y = outline(mask)
    length = 0.0
    for i in range(0, len(x), 3):
        a, b, c, d = x[i], x[i + 1], y[i], y[i + 1]
        assert None not in (a, b, c, d)
        length += abs(b - a) + abs(d - c)  # type: ignore[operator]
    assert length == border


def test_outline_of_one_pixel_surrounds_it() -> None:
    mask = np.zeros((4, 4), bool)
    mask[2, 1] = True
    x, y = outline(mask)
    assert {v for v in x if v is not None} == {0.5, 1.5}
    assert {v for v in y if v is not None} == {1.5, 2.5}


def test_brain_region_leaves_the_rest_out() -> None:
    score = np.ones((3, 3), np.float32)
    brain = np.eye(3, dtype=bool)
    assert segment(score, brain, "brain", 0.5).sum() == 3
    assert segment(score, brain, "slice", 0.5).sum() == 9
    assert region_mask(brain, "slice").all()


def test_score_range_ignores_what_does_not_count() -> None:
    score = np.full((4, 4), np.nan, np.float32)
    score[0] = [1, 2, 3, 1000]
    mask = np.isfinite(score)
    mask[0, 3] = False
    low, high = score_range([(score, mask)])
    assert 1 <= low < high <= 3
    assert score_range([]) == (0.0, 1.0)


def test_few_huge_scores_do_not_darken_the_others() -> None:
    score = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
    everything = np.ones_like(score, bool)
    plain = score_range([(score, everything)])
    assert plain == pytest.approx((0.005, 0.995), abs=1e-3)
    score[-1] = 500.0
    assert score_range([(score, everything)])[1] < 3.0
    half = np.where(score < 0.5, 0.0, 1.0).astype(np.float32)  # most values are the same
    assert score_range([(half, everything)]) == (0.0, 1.0)


def test_first_and_last_slice_have_no_further_neighbour() -> None:
    places = [("a", 1), ("a", 2), ("b", 1)]
    assert neighbours(places, ("a", 1)) == (0, 1)
    assert neighbours(places, ("b", 1)) == (1, 2)


def test_stored_maps_come_back_as_they_were_written(synthetic: ModuleType) -> None:
    maps = Maps(np.random.default_rng(0))
    spec = next(s for s in synthetic.specs(80) if s.model == "vae")
    found = decode_showcase(maps.table("atlas", spec, np.random.default_rng(1)))
    assert [s.slice_index for s in found] == [60, 67, 74]
    assert (found[0].brain_HW == maps.brain).all()
    assert (found[1].lesion_HW == maps.lesions[1]).all()
    assert set(found[0].scores) == set(SCORES["vae"])
    assert np.allclose(found[0].pictures["reconstruction"], maps.image, atol=1e-3)
