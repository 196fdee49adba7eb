from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasets.errors import ScanError
from datasets.nifti import Volume
from datasets.preprocess import preprocess, to_slices, to_volume
from datasets.resample import interpolation_matrix, resample
from datasets.settings import SIZE, PreprocessSettings

SETTINGS = PreprocessSettings()


def ellipsoid(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    radii_mm: tuple[float, float, float],
    offset_mm: tuple[float, float, float] = (0, 0, 0),
) -> NDArray[np.bool_]:
    axes = [
        ((np.arange(n) - (n - 1) / 2) * d - o) / r
        for n, d, o, r in zip(shape, spacing, offset_mm, radii_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.asarray(x**2 + y**2 + z**2 <= 1)


def volume_of(data: NDArray[np.float32], spacing: tuple[float, float, float]) -> Volume:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-90.0, -126.0, -72.0)
    return Volume(np.asarray(data, dtype=np.float32), affine, spacing)


def head(
    shape: tuple[int, int, int] = (45, 54, 40),
    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0),
    seed: int = 0,
) -> tuple[Volume, NDArray[np.bool_], NDArray[np.bool_]]:
    brain = ellipsoid(shape, spacing, (66, 82, 60), (4, -6, 3))
    lesion = ellipsoid(shape, spacing, (16, 18, 14), (30, 20, 10))
    data = 100 + 20 * np.random.default_rng(seed).standard_normal(shape)
    return volume_of(data + 60 * lesion, spacing), brain, lesion


@pytest.mark.parametrize("shape", [(45, 54, 40), (44, 53, 40)])
def test_a_flipped_volume_gives_exactly_the_flipped_slices(shape: tuple[int, int, int]) -> None:
    volume, brain, lesion = head(shape, (3.7, 4.1, 4.0))
    plain = preprocess(volume, brain, lesion, SETTINGS)
    for axis, slice_axis in ((0, 2), (1, 1)):
        flipped_volume = volume_of(np.flip(volume.data_XYZ, axis), volume.spacing_mm)
        flipped = preprocess(flipped_volume, np.flip(brain, axis), np.flip(lesion, axis), SETTINGS)
        for name in ("images_SHW", "brain_SHW", "lesion_SHW"):
            expected = np.flip(getattr(plain, name), slice_axis)
            np.testing.assert_array_equal(getattr(flipped, name), expected)


def test_memory_layout_changes_nothing() -> None:
    volume, brain, lesion = head()
    plain = preprocess(volume, brain, lesion, SETTINGS)
    fortran = Volume(np.asfortranarray(volume.data_XYZ), volume.affine, volume.spacing_mm)
    other = preprocess(fortran, np.asfortranarray(brain), np.asfortranarray(lesion), SETTINGS)
    np.testing.assert_array_equal(plain.images_SHW.view("u2"), other.images_SHW.view("u2"))
    np.testing.assert_array_equal(plain.brain_SHW, other.brain_SHW)


def test_a_round_brain_stays_round_whatever_the_voxels() -> None:
    shape, spacing = (70, 110, 20), (2.4, 1.5, 8.0)
    brain = ellipsoid(shape, spacing, (70, 70, 60))
    stack = preprocess(volume_of(brain * 1.0, spacing), brain, np.zeros_like(brain), SETTINGS)
    middle = stack.brain_SHW[len(stack.brain_SHW) // 2]
    height, width = np.flatnonzero(middle.any(1)), np.flatnonzero(middle.any(0))
    assert abs(len(height) - len(width)) <= 2
    assert middle.sum() == pytest.approx(np.pi / 4 * len(height) * len(width), rel=0.02)


def test_row_0_is_anterior_and_column_0_is_left() -> None:
    volume, brain, _ = head()
    # Patient's left front: low x, high y.
    lesion = ellipsoid(brain.shape, volume.spacing_mm, (12, 12, 12), (-26, 30, 0))
    stack = preprocess(volume, brain, lesion, SETTINGS)
    rows, columns = np.nonzero(stack.lesion_SHW.any(0))
    assert rows.size
    assert rows.max() < SIZE // 2
    assert columns.max() < SIZE // 2
    assert stack.slice_index_S.tolist() == sorted(stack.slice_index_S.tolist())


@pytest.mark.parametrize("normalisation", ["slice", "volume"])
def test_the_median_brain_intensity_is_one(normalisation: str) -> None:
    volume, brain, lesion = head()
    chosen = PreprocessSettings.model_validate({"normalisation": normalisation})
    stack = preprocess(volume, brain, lesion, chosen)
    medians = [np.median(i[b]) for i, b in zip(stack.images_SHW, stack.brain_SHW, strict=True)]
    pooled = np.median(stack.images_SHW[stack.brain_SHW])
    if normalisation == "slice":
        np.testing.assert_allclose(np.array(medians, float), 1, atol=1e-3)
    else:
        assert float(pooled) == pytest.approx(1, abs=1e-3)
        assert np.ptp(medians) > 1e-3
    assert not stack.images_SHW[~stack.brain_SHW].any()


def test_the_unit_of_the_intensities_does_not_matter() -> None:
    volume, brain, lesion = head()
    scaled = volume_of(volume.data_XYZ * np.float32(1024), volume.spacing_mm)
    plain = preprocess(volume, brain, lesion, SETTINGS)
    np.testing.assert_array_equal(
        plain.images_SHW, preprocess(scaled, brain, lesion, SETTINGS).images_SHW
    )


def test_only_slices_with_enough_brain_are_kept() -> None:
    volume, brain, lesion = head()
    few = preprocess(volume, brain, lesion, PreprocessSettings(min_brain_fraction=0.4))
    many = preprocess(volume, brain, lesion, PreprocessSettings(min_brain_fraction=0.01))
    assert few.brain_SHW.mean(axis=(1, 2)).min() >= 0.4
    assert set(few.slice_index_S) < set(many.slice_index_S)
    with pytest.raises(ScanError, match="95%"):
        preprocess(volume, brain, lesion, PreprocessSettings(min_brain_fraction=0.95))


def test_slices_without_a_positive_median_are_left_out_and_named() -> None:
    volume, brain, lesion = head()
    data = volume.data_XYZ.copy()
    data[:, :, 20] = -5
    by_slice = PreprocessSettings(normalisation="slice")
    stack = preprocess(volume_of(data, volume.spacing_mm), brain, lesion, by_slice)
    assert 20 not in stack.slice_index_S
    assert stack.notes == ("left out slices whose median brain intensity is not positive: 20",)
    with pytest.raises(ScanError, match="positive"):
        preprocess(volume_of(np.minimum(data, 0), volume.spacing_mm), brain, lesion, SETTINGS)


def test_images_that_were_standardised_are_refused() -> None:
    volume, brain, lesion = head()
    values = volume.data_XYZ[brain]
    standardised = volume_of((volume.data_XYZ - values.mean()) / values.std(), volume.spacing_mm)
    with pytest.raises(ScanError, match=r"\d\d% of the brain is below zero"):
        preprocess(standardised, brain, lesion, SETTINGS)


def test_extreme_voxels_stay_finite_and_are_reported() -> None:
    volume, brain, lesion = head()
    data = np.full_like(volume.data_XYZ, 1e-20)
    data[20:24, 25:29, 18:22] = np.finfo(np.float32).max
    data[26:28, 25:29, 18:22] = -np.finfo(np.float32).max
    stack = preprocess(volume_of(data, volume.spacing_mm), brain, lesion, SETTINGS)
    assert np.isfinite(stack.images_SHW).all()
    assert stack.images_SHW.min() == -65504
    assert "clipped" in stack.notes[0]


def test_an_empty_brain_and_unequal_shapes_are_refused() -> None:
    volume, brain, lesion = head()
    with pytest.raises(ScanError, match="empty"):
        preprocess(volume, np.zeros_like(brain), lesion, SETTINGS)
    with pytest.raises(ValueError, match="one shape"):
        preprocess(volume, brain[:-1], lesion, SETTINGS)


def test_a_mask_comes_back_to_its_own_voxels() -> None:
    shape, spacing = (110, 130, 30), (1.6, 1.4, 5.0)
    brain = ellipsoid(shape, spacing, (66, 82, 60), (4, -6, 3))
    lesion = ellipsoid(shape, spacing, (16, 18, 14), (30, 20, 10))
    stack = preprocess(volume_of(brain + 0.5, spacing), brain, lesion, SETTINGS)
    back = to_volume(stack.lesion_SHW.astype(float), stack.slice_index_S, stack.geometry) >= 0.5
    assert 2 * (back & lesion).sum() / (back.sum() + lesion.sum()) > 0.97


def test_a_score_map_comes_back_where_it_was() -> None:
    volume, brain, lesion = head((90, 110, 40), (2.0, 1.8, 4.0))
    stack = preprocess(volume, brain, lesion, SETTINGS)
    x, y, _ = np.meshgrid(*(np.arange(n) for n in brain.shape), indexing="ij")
    ramp = (3.0 * x - 2.0 * y + 7.0).astype(np.float32)
    maps = to_slices(ramp[:, :, stack.slice_index_S], stack.geometry)
    back = to_volume(maps, stack.slice_index_S, stack.geometry, fill=-1.0)
    inside = brain.copy()
    inside[:, :, np.setdiff1d(np.arange(40), stack.slice_index_S)] = False
    # A tenth of a voxel's step.
    np.testing.assert_allclose(back[inside], ramp[inside], atol=0.3)
    assert back[0, 0, 0] == -1.0


def test_shrinking_averages_and_enlarging_interpolates() -> None:
    shrink = interpolation_matrix(16, 8.0, 128, 1.0)
    np.testing.assert_allclose(shrink[1:-1].sum(axis=1), 1)
    stripes = np.tile([0.0, 1.0], 64)
    np.testing.assert_allclose((shrink @ stripes)[1:-1], 0.5, atol=1e-6)
    assert (shrink.sum(axis=0) > 0.05).all(), "every voxel counts"
    enlarge = interpolation_matrix(21, 0.5, 11, 1.0)
    np.testing.assert_allclose(enlarge @ np.arange(11.0), np.arange(0, 10.5, 0.5), atol=1e-12)


@pytest.mark.parametrize("slices", [0, 1, 150])
def test_every_slice_is_resized_as_by_the_whole_matrices(slices: int) -> None:
    stack = np.random.default_rng(0).random((slices, 9, 11)).astype(np.float32)
    rows = interpolation_matrix(7, 1.3, 9, 1.0, 0.4)
    columns = interpolation_matrix(16, 0.6, 11, 1.0, -3.0)
    expected = rows @ stack.astype(np.float64) @ columns.T
    np.testing.assert_allclose(resample(stack, rows, columns), expected, rtol=0, atol=1e-14)


def test_the_weights_of_mirrored_grids_are_mirrored_to_the_bit() -> None:
    for offset in (0.0, 1.85, -24.05):
        matrix = interpolation_matrix(128, 1.3713, 45, 0.37, offset)
        mirrored = interpolation_matrix(128, 1.3713, 45, 0.37, -offset)
        np.testing.assert_array_equal(matrix[::-1, ::-1], mirrored)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(8, 70), st.integers(8, 70), st.integers(3, 12)),
    spacing=st.tuples(st.floats(0.4, 6), st.floats(0.4, 6), st.floats(0.5, 8)),
    seed=st.integers(0, 1000),
)
def test_every_grid_gives_finite_slices_that_show_the_whole_brain(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    brain = np.zeros(shape, bool)
    brain[1:-1, 2:-1, 1:-1] = True
    data = rng.uniform(50, 100, shape)
    loose = PreprocessSettings(min_brain_fraction=1e-6)
    sides_mm = ((shape[0] - 2) * spacing[0], (shape[1] - 3) * spacing[1])
    # The edge of a sliver a few pixels wide is a large part of its area.
    assume(max(sides_mm) < 10 * min(sides_mm))
    stack = preprocess(volume_of(data, spacing), brain, np.zeros_like(brain), loose)
    assert stack.images_SHW.shape == (shape[2] - 2, SIZE, SIZE)
    assert np.isfinite(stack.images_SHW).all()
    area_mm2 = stack.brain_SHW.sum(axis=(1, 2)) * stack.geometry.pixel_mm**2
    np.testing.assert_allclose(area_mm2, sides_mm[0] * sides_mm[1], rtol=0.15)
