"""Dark lesions are found by the other side, whichever way the head is turned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from datasets.repair import MOST_ADDED_ML, MOST_ADDED_SHARE, WIDENING_MM, widen_at_lesions
from datasets.symmetry import darker_than_mirror_image, find_midplane, mirrored

SHAPE = (76, 90, 70)
SPACING = (2.5, 2.5, 2.5)
AXES = [(np.arange(n) - (n - 1) / 2) * 2.5 for n in SHAPE]
X, Y, Z = np.meshgrid(*AXES, indexing="ij")


def turned(degrees: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of a head whose nose points away from the field's middle."""
    a = np.radians(degrees)
    return np.cos(a) * X + np.sin(a) * Y, -np.sin(a) * X + np.cos(a) * Y


def brain(degrees: float = 0.0) -> NDArray[np.bool_]:
    x, y = turned(degrees)
    return np.asarray((x / 64) ** 2 + (y / 80) ** 2 + (Z / 60) ** 2 < 1)


def image(degrees: float = 0.0) -> NDArray[np.float32]:
    """Tissue with dark fissures on both sides, and noise."""
    x, y = turned(degrees)
    data = 300 + 10 * np.random.default_rng(1).standard_normal(SHAPE)
    data[(abs(abs(x) - 45) < 7) & (abs(y) < 30) & (abs(Z) < 7)] = 80
    return data.astype(np.float32)


def ball(x: float, y: float, z: float, radius: float, degrees: float = 0.0) -> NDArray[np.bool_]:
    u, v = turned(degrees)
    return np.asarray((u - x) ** 2 + (v - y) ** 2 + (Z - z) ** 2 < radius**2)


@pytest.mark.parametrize("degrees", [0.0, 8.0, -12.0])
def test_the_midplane_follows_the_head(degrees: float) -> None:
    mask = brain(degrees) & ~ball(20, 70, 0, 18, degrees) & ~ball(-20, 70, 0, 18, degrees)
    plane = find_midplane(mask, SPACING)
    found = np.degrees(np.arctan2(plane.normal[1], plane.normal[0]))
    assert found == pytest.approx(degrees, abs=1.0)
    other = mirrored(mask.astype(np.float32), SPACING, plane) > 0.5
    assert 2 * (other & mask).sum() / (other.sum() + mask.sum()) > 0.97


@pytest.mark.parametrize("degrees", [0.0, 10.0])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_dark_lesion_is_marked_on_its_own_side_and_fissures_are_not(
    side: int, degrees: float
) -> None:
    data, mask = image(degrees), brain(degrees)
    assert not darker_than_mirror_image(data, mask, SPACING)[0].any()
    lesion = ball(side * 48, 20, 30, 16, degrees) & mask
    data[lesion] = 80
    marked, mirror = darker_than_mirror_image(data, mask, SPACING)
    assert 2 * (mirror & mask).sum() / (mirror.sum() + mask.sum()) > 0.97
    assert (marked & lesion).sum() > 0.7 * lesion.sum()
    assert (marked & ~ndimage.binary_dilation(lesion)).sum() == 0


def test_bright_lesions_and_pairs_of_dark_ones_leave_the_mask_as_it_is() -> None:
    data, mask = image(), brain()
    data[ball(48, 20, 30, 16)] = 700
    np.testing.assert_array_equal(widen_at_lesions(mask, data, SPACING), mask)
    for side in (-1, 1):
        data[ball(side * 48, 20, 30, 16)] = 80
    np.testing.assert_array_equal(widen_at_lesions(mask, data, SPACING), mask)


def test_the_rim_that_a_dark_lesion_lost_is_given_back_and_no_more_than_it_may() -> None:
    data, whole = image(), brain()
    lesion = ball(46, 20, 20, 20) & whole
    data[lesion] = 80
    distance_mm = ndimage.distance_transform_edt(whole, sampling=SPACING)
    cut = whole & ~(lesion & (distance_mm <= 3.6))
    assert (lesion & ~cut).sum() > 0.05 * lesion.sum()
    widened = widen_at_lesions(cut, data, SPACING)
    assert (lesion & ~widened).sum() <= 0.01 * lesion.sum()
    added = widened & ~cut
    assert (
        ndimage.distance_transform_edt(~cut, sampling=SPACING)[added].max()
        <= WIDENING_MM + SPACING[0]
    )
    far = ndimage.distance_transform_edt(~lesion, sampling=SPACING) > 12
    assert not (added & far).any()


@pytest.mark.parametrize("side", [-1, 1])
def test_a_lesion_that_was_shaved_off_deeply_is_given_back_by_the_other_side(side: int) -> None:
    data, whole = image(), brain()
    distance_mm = ndimage.distance_transform_edt(whole, sampling=SPACING)
    lesion = ball(side * 60, 0, 20, 45) & whole & (distance_mm <= 25)
    data[lesion] = 80
    cut = whole & ~(lesion & (distance_mm <= 9))
    assert (lesion & ~cut).sum() > 0.35 * lesion.sum()
    widened = widen_at_lesions(cut, data, SPACING)
    beside_mm = ndimage.distance_transform_edt(~cut, sampling=SPACING)
    assert (lesion & ~widened).sum() < 0.9 * (lesion & (beside_mm > WIDENING_MM)).sum()
    added = widened & ~cut
    assert (added & ~ndimage.binary_dilation(whole)).sum() < 0.1 * added.sum()


def test_bone_air_and_fat_beside_a_dark_lesion_stay_outside() -> None:
    data, whole = image(), brain()
    lesion = ball(46, 20, 20, 20) & whole
    data[lesion] = 80
    distance_mm = ndimage.distance_transform_edt(whole, sampling=SPACING)
    cut = whole & ~(lesion & (distance_mm <= 3.6))
    for value in (10, 2000):
        around = np.where(cut, data, np.float32(value))
        np.testing.assert_array_equal(widen_at_lesions(cut, around, SPACING), cut)


def test_what_is_added_is_capped_and_the_nearest_comes_first() -> None:
    data, whole = image(), brain()
    distance_mm = ndimage.distance_transform_edt(whole, sampling=SPACING)
    # A shell so thin that the rim around it is larger than it is.
    lesion = ball(60, 0, 20, 45) & whole & (distance_mm <= 13)
    data[lesion] = 80
    cut = whole & ~(ball(60, 0, 20, 52) & (distance_mm <= 6))
    added = widen_at_lesions(cut, data, SPACING) & ~cut
    voxel_ml = np.prod(SPACING) / 1000
    marked = darker_than_mirror_image(data, cut, SPACING)[0]
    most_ml = min(MOST_ADDED_ML, MOST_ADDED_SHARE * marked.sum() * voxel_ml)
    assert 0 < added.sum() * voxel_ml <= most_ml + voxel_ml
    beside_mm = ndimage.distance_transform_edt(~cut, sampling=SPACING)
    assert beside_mm[added].max() < 6


def test_finer_voxels_give_the_same_brain() -> None:
    data, whole = image(), brain()
    lesion = ball(46, 20, 20, 20) & whole
    data[lesion] = 80
    coarse = widen_at_lesions(whole, data, SPACING)
    fine = [a.repeat(2, 0).repeat(2, 1) for a in (whole, data)]
    widened = widen_at_lesions(fine[0], fine[1], (1.25, 1.25, 2.5))
    assert (widened & ~fine[0]).any()
    expected = coarse.repeat(2, 0).repeat(2, 1)
    assert 2 * (widened & expected).sum() / (widened.sum() + expected.sum()) > 0.99
