from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage

from trainables.evaluate import evaluate
from trainables.models.intensity import Model as Intensity
from trainables.postprocess import (
    MEDIAN,
    MEDIAN_AND_COMPONENTS,
    Postprocessing,
    median,
    opened,
)
from trainables.slices import Slices
from trainables.volumes import scored


def _volumes(n: int, most: int):
    """Small score maps with brains of all kinds, every other one with many equal scores."""
    rng = np.random.default_rng(7)
    for number in range(n):
        shape = tuple(rng.integers(1, most, 3))
        ties = rng.integers(-4, 5, shape)
        map_SHW = (ties if number % 2 else rng.normal(size=shape)).astype(np.float32)
        yield map_SHW, rng.random(shape) < (0.3, 0.7, 1.0)[number % 3], rng


def _opened_at_every_threshold(map_SHW, brain_SHW, n_voxels):
    """By the definition: at each threshold, label the components and drop the small ones."""
    result = map_SHW.copy()
    result[brain_SHW] = map_SHW[brain_SHW].min()
    for threshold in np.unique(map_SHW[brain_SHW]):
        number_SHW, _ = ndimage.label(brain_SHW & (map_SHW >= threshold), np.ones((3, 3, 3)))
        is_large = np.bincount(number_SHW.ravel()) >= n_voxels
        is_large[0] = False
        result[is_large[number_SHW]] = threshold
    return result


def test_opening_is_removing_small_components_at_every_threshold():
    n_changed = 0
    for map_SHW, brain_SHW, rng in _volumes(120, 7):
        if brain_SHW.any():
            n_voxels = int(rng.integers(1, 28))
            expected = _opened_at_every_threshold(map_SHW, brain_SHW, n_voxels)
            np.testing.assert_array_equal(opened(map_SHW, brain_SHW, n_voxels), expected)
            n_changed += not np.array_equal(expected, map_SHW)
    assert n_changed > 60


def test_a_median_is_that_of_the_brain_voxels_of_its_cube_alone():
    for map_SHW, brain_SHW, _ in _volumes(60, 8):
        result = median(map_SHW, brain_SHW)
        for s, h, w in np.argwhere(brain_SHW):
            cube = tuple(slice(max(0, i - 2), i + 3) for i in (s, h, w))
            inside = np.sort(map_SHW[cube][brain_SHW[cube]])
            assert result[s, h, w] == inside[(len(inside) - 1) // 2]


@pytest.mark.parametrize("change", [lambda m: median(m[0], m[1]), lambda m: opened(m[0], m[1], 5)])
def test_nothing_outside_the_brain_is_read_or_changed(change):
    for map_SHW, brain_SHW, rng in _volumes(30, 7):
        other_SHW = np.where(brain_SHW, map_SHW, rng.normal(size=map_SHW.shape))
        result, other = change((map_SHW, brain_SHW)), change((other_SHW.astype("f4"), brain_SHW))
        np.testing.assert_array_equal(result[brain_SHW], other[brain_SHW])
        np.testing.assert_array_equal(result[~brain_SHW], map_SHW[~brain_SHW])


def test_opening_of_an_opened_map_changes_nothing_more():
    for map_SHW, brain_SHW, _ in _volumes(30, 8):
        once = opened(map_SHW, brain_SHW, 6)
        np.testing.assert_array_equal(opened(once, brain_SHW, 6), once)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValidationError, match="odd side, not 4"):
        Postprocessing(median_voxels=4)
    with pytest.raises(ValueError, match="28 voxels: 1 to 27"):
        opened(np.zeros((1, 2, 2), np.float32), np.ones((1, 2, 2), bool), 28)


def _two_scans(make_slices) -> Slices:
    """One subject with two scans, the first of which lacks a slice in its middle."""
    slices = make_slices(11, seed=3).between(0, 1)
    n = len(slices)
    index_N = np.arange(n, dtype=np.int32)
    index_N[2:] += 1
    half = n // 2 + 1
    index_N[half:] = np.arange(n - half)
    return replace(slices, slice_index_N=index_N, scan_N=(np.arange(n) >= half).astype(np.int32))


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_each_scan_is_a_volume_of_its_own_with_its_gaps(make_slices, batch_size):
    slices = _two_scans(make_slices)
    n, images = len(slices), slices.images_NHW.astype(np.float32)
    rows = slice(0, n)
    assert n >= 4, "too few slices to have two scans and a gap"
    found = list(
        scored(slices, rows, batch_size, lambda b: {"s": torch.from_numpy(b.images_BHW)}, MEDIAN)
    )
    assert [row for some in found for row in some.rows] == list(range(n))
    got = torch.cat([some.maps["s"] for some in found]).numpy()
    brain = slices.batch(rows).brain_BHW
    half = int(np.count_nonzero(slices.scan_N == 0))
    first = np.insert(images[:half], 2, 0, axis=0)
    with_gap = median(first, np.insert(brain[:half], 2, False, axis=0))
    np.testing.assert_array_equal(got[:half], np.delete(with_gap, 2, axis=0))
    np.testing.assert_array_equal(got[half:], median(images[half:], brain[half:]))


def test_figures_are_those_of_the_post_processed_maps(make_slices):
    slices = make_slices(14, seed=1)
    detector = Intensity(Intensity.Params(), seed=0)

    class Filtered(Intensity):
        """Gives the post-processed maps itself; a batch is a subject's only scan."""

        def score(self, images_BHW, brain_BHW):
            maps = super().score(images_BHW, brain_BHW)
            return {n: MEDIAN_AND_COMPONENTS.applied(m, brain_BHW) for n, m in maps.items()}

    result = evaluate(detector, slices, postprocessing=MEDIAN_AND_COMPONENTS)
    expected = evaluate(Filtered(Filtered.Params(), seed=0), slices)
    assert result.metrics.equals(expected.metrics)
    assert result.subjects.equals(expected.subjects)
    assert result.heatmaps.equals(expected.heatmaps)
    assert not result.subjects.equals(evaluate(detector, slices).subjects)
