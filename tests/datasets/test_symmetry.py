"""Dark lesions are found by the other side, whichever way the head is turned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from datasets import repair
from datasets.repair import MOST_ADDED_ML, MOST_ADDED_SHARE, WIDENING_MM, widen_at_lesions
from datasets.symmetry import (
    CORE_MM,
    Midplane,
    _linear,
    _thick_pieces,
    darker_than_mirror_image,
    find_midplane,
    mirrored,
)

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


@pytest.mark.parametrize("side", [-1, 1])
def test_looking_at_the_boxes_of_lesions_alone_adds_the_same(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, whole = image(), brain()
    distance_mm = ndimage.distance_transform_edt(whole, sampling=SPACING)
    lesion = ball(side * 60, 0, 20, 45) & whole & (distance_mm <= 25)
    data[lesion] = 80
    cut = whole & ~(lesion & (distance_mm <= 9))
    fine = [values.repeat(2, axis=0).repeat(2, axis=1) for values in (cut, data)]
    spacing = (1.25, 1.25, 2.5)
    boxed = widen_at_lesions(fine[0], fine[1], spacing)

    def not_cropped(
        mask: NDArray[np.bool_], reach_mm: float, spacing: tuple[float, float, float]
    ) -> tuple[slice, ...]:
        # The brain's own box decides which voxels the coarse grid has.
        return around(mask, reach_mm, spacing) if mask is fine[0] else (slice(None),) * 3

    around = repair._around
    monkeypatch.setattr(repair, "_around", not_cropped)
    np.testing.assert_array_equal(boxed, widen_at_lesions(fine[0], fine[1], spacing))
    assert (boxed & ~fine[0]).any()


def test_a_value_is_reflected_to_the_place_that_the_plane_says() -> None:
    values = np.random.default_rng(0).random((12, 14, 10)).astype(np.float32)
    spacing = (2.0, 1.5, 3.0)
    normal = np.array([0.98, 0.15, -0.1])
    normal /= np.linalg.norm(normal)
    plane = Midplane((11.0, 10.0, 13.0), (normal[0], normal[1], normal[2]), 0.7)
    points_mm = np.argwhere(np.ones_like(values)) * spacing
    heights_mm = (points_mm - plane.centre_mm) @ normal - plane.shift_mm
    at = ((points_mm - 2 * heights_mm[:, None] * normal) / spacing).T
    expected = ndimage.map_coordinates(values, at, order=1).reshape(values.shape)
    found = mirrored(values, spacing, plane)
    assert (expected > 0).mean() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_overlap_is_interpolated_as_scipy_does() -> None:
    values = np.random.default_rng(0).random((5, 6, 4))
    at = np.random.default_rng(1).uniform(-1.5, 6.5, (3, 4000))
    on_voxels = np.indices((6, 7, 5)).reshape(3, -1).astype(float)  # some beyond the last
    for index in (at, on_voxels):
        expected = ndimage.map_coordinates(values, index, order=1)
        np.testing.assert_allclose(_linear(values, index), expected, atol=1e-6)


def test_pieces_are_opened_each_as_all_at_once() -> None:
    mask = np.zeros((40, 40, 40), dtype=bool)
    mask[2:9, 2:20, 2:20] = True  # thick
    mask[9:30, 5:7, 5:7] = True  # a bridge too thin to be kept
    mask[30:37, 2:9, 2:9] = True  # thick as well
    mask[0:12, 30:39, 30:39] = True  # at the border, apart
    mask[20:23, 30:33, 30:33] = True  # large enough for a ball, and too small to be meant
    core = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=SPACING) > CORE_MM
    opened = ndimage.distance_transform_edt(~core, sampling=SPACING)[1:-1, 1:-1, 1:-1] <= CORE_MM
    opened &= mask
    opened[20:23, 30:33, 30:33] = False
    assert 0 < opened.sum() < mask.sum() - 27
    np.testing.assert_array_equal(_thick_pieces(mask, SPACING), opened)


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
