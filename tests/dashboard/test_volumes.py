"""Slices as a volume: where they lie, what their codes stand for, and what the browser is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dashboard.viewer.payload import Scene, ScoreVolume, Side, packed
from dashboard.volumes import (
    LAST_CODE,
    LETTERS,
    NOT_FINITE,
    PLANES,
    Grid,
    coded,
    grid_of,
    missing_planes,
    placed,
    start_of,
)
from datasets.nifti import load_volume
from datasets.preprocess import SliceGeometry, preprocess
from datasets.settings import SIZE, PreprocessSettings

GEOMETRY = SliceGeometry(
    shape_XYZ=(100, 120, 50),
    affine=(2, 0, 0, -90, 0, 2, 0, -110, 0, 0, 3, -60, 0, 0, 0, 1),
    spacing_mm=(2.0, 2.0, 3.0),
    crop_box=(10, 90, 8, 112),
    pixel_mm=1.7,
)


def _grid(*indices: int) -> Grid:
    return grid_of(np.array(indices), GEOMETRY)


def _mask(shape: tuple[int, int, int], *boxes: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[box] = True
    return mask


def test_slices_stand_at_their_index_and_missing_ones_are_blank() -> None:
    indices = np.array([7, 4, 5])  # in any order
    maps = np.arange(3 * SIZE * SIZE, dtype=np.float32).reshape(3, SIZE, SIZE) + 1
    grid = grid_of(indices, GEOMETRY)
    volume = placed(maps, indices, grid)
    assert (grid.first, grid.n_planes) == (4, 4)
    for index, of_slice in zip(indices, maps, strict=True):
        np.testing.assert_array_equal(volume[index - 4, ::-1], of_slice)
    assert not volume[2].any()
    assert missing_planes(indices, grid) == [2]


@pytest.mark.parametrize("axes", ["RAS", "LAS", "PIR", "SPL"])
def test_letters_are_those_of_the_patient_however_the_file_is_turned(
    axes: str, tmp_path: Path
) -> None:
    """A mark to the right, in front and on top is found there, and its mm are those of the file."""
    ras = np.zeros((60, 72, 40), np.float32)
    ras[6:54, 5:66, 4:36] = np.random.default_rng(0).normal(100, 5, (48, 61, 32))
    mark = (45, 55, 30)  # well to the patient's right, anterior, superior
    ras[43:48, 53:58, 29:32] = 900.0
    affine = np.array([[2.0, 0, 0, -60], [0, 2, 0, -80], [0, 0, 3, -50], [0, 0, 0, 1]])
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )
    image = nib.Nifti1Image(ras, affine).as_reoriented(turn)
    assert "".join(nib.aff2axcodes(image.affine)) == axes
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = load_volume(tmp_path / "scan.nii.gz")
    brain = volume.data_XYZ > 0
    stack = preprocess(volume, brain, volume.data_XYZ > 500, PreprocessSettings())
    grid = grid_of(stack.slice_index_S, stack.geometry)
    bright = placed(stack.images_SHW.astype(np.float32), stack.slice_index_S, grid)
    lesion = placed(stack.lesion_SHW, stack.slice_index_S, grid)
    start = start_of(lesion, placed(stack.brain_SHW, stack.slice_index_S, grid), grid)
    assert bright[start[::-1]] > 5
    middle = (SIZE / 2, SIZE / 2, grid.n_planes / 2)
    ends = [letters[v > m] for letters, v, m in zip(LETTERS, start, middle, strict=True)]
    assert ends == ["R", "A", "S"]
    in_file = affine @ [*mark, 1]
    np.testing.assert_allclose(grid.mm(*start), in_file[:3], atol=grid.pixel_mm / 2 + 0.01)
    np.testing.assert_allclose(grid.scan_voxel(*start), mark, atol=0.5)


def test_high_end_of_every_axis_is_where_its_letter_says() -> None:
    grid = _grid(4, 40)
    low = np.array(grid.mm(0, 0, 0))
    for axis, step in enumerate(np.eye(3)):
        moved = np.array(grid.mm(*step)) - low
        assert moved[axis] > 0
        assert LETTERS[axis][1] == "RAS"[axis]


def test_planes_show_each_axis_as_the_names_of_the_planes_say() -> None:
    assert {plane.name: plane.through for plane in PLANES} == {
        "axial": 2,
        "coronal": 1,
        "sagittal": 0,
    }
    for plane in PLANES:
        assert {plane.across, plane.down, plane.through} == {0, 1, 2}


NUMBERS = st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0])


@settings(max_examples=200, deadline=None)
@given(arrays(np.float32, st.integers(0, 200), elements=NUMBERS))
def test_codes_are_off_by_at_most_half_a_step_and_keep_the_order(
    values: NDArray[np.float32],
) -> None:
    found = coded(values)
    is_finite = np.isfinite(values)
    np.testing.assert_array_equal(found.codes_V == NOT_FINITE, ~is_finite)
    np.testing.assert_array_equal(np.isnan(found.values()), ~is_finite)
    numbers, codes = values[is_finite].astype(np.float64), found.codes_V[is_finite]
    if not len(numbers):
        return
    piece = np.searchsorted(found.scale.values, numbers).clip(1, len(found.scale.values) - 1) - 1
    bound = np.array(found.scale.half_steps)[piece] + np.abs(numbers) * 2**-23
    assert (np.abs(found.values()[is_finite] - numbers) <= bound * (1 + 1e-9)).all()
    order = np.argsort(numbers, kind="stable")
    assert (np.diff(codes[order].astype(int)) >= 0).all()


def test_a_few_huge_scores_leave_the_others_their_digits() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(0.5, 0.5, 300_000).astype(np.float32)
    values[:100] = rng.uniform(100, 4000, 100)
    found = coded(values)
    inner = values < np.percentile(values, 99)
    assert np.abs(found.values() - values)[inner].max() < 1e-4
    outer = values > 100
    assert (np.abs(found.values() - values) / values)[outer].max() < 0.01
    one_line = (values.max() - values.min()) / (LAST_CODE - 1) / 2
    assert one_line > 0.01  # what the same codes would be off by on one straight line


def test_crosshair_begins_in_the_largest_piece_even_where_its_centre_is_not_lesion() -> None:
    shape = (9, SIZE, SIZE)
    ring = _mask(shape, (slice(4, 5), slice(40, 60), slice(40, 60)))
    ring[4, 43:57, 43:57] = False
    ball = _mask(shape, (slice(1, 4), slice(90, 96), slice(90, 96)))
    brain = np.ones(shape, bool)
    x, y, z = start_of(ring | ball, brain, _grid(0, 8))
    assert ring.sum() > ball.sum()
    assert ring[z, y, x]


def test_pieces_that_touch_at_a_corner_are_one_lesion() -> None:
    shape = (9, SIZE, SIZE)
    low, high = slice(20, 24), slice(24, 28)
    halves = _mask(shape, (slice(2, 4), low, low), (slice(4, 6), high, high))
    other = _mask(shape, (slice(2, 5), slice(80, 84), slice(80, 84)))
    assert halves.sum() / 2 < other.sum() < halves.sum()
    x, y, z = start_of(halves | other, np.ones(shape, bool), _grid(0, 8))
    assert halves[z, y, x]


def test_crosshair_begins_in_the_brain_where_there_is_no_lesion() -> None:
    shape = (9, SIZE, SIZE)
    brain = _mask(shape, (slice(2, 7), slice(30, 90), slice(50, 100)))
    nothing = np.zeros(shape, bool)
    assert start_of(nothing, brain, _grid(0, 8)) == (74, 59, 4)
    x, y, z = start_of(nothing, nothing, _grid(0, 8))
    assert 0 <= x < SIZE
    assert 0 <= y < SIZE
    assert 0 <= z < 9


def test_browser_is_told_every_voxel_of_the_brain() -> None:
    rng = np.random.default_rng(1)
    grid = _grid(3, 5)
    brain = rng.random((3, SIZE, SIZE)) < 0.4
    lesion = rng.random((3, SIZE, SIZE)) < 0.1
    values = rng.normal(size=brain.shape).astype(np.float32)
    values[0, 3, 5] = np.nan
    brain[0, 3, 5] = True
    score = ScoreVolume("k", "E <b>", coded(values[brain]), -1.0, 2.0, None, (-1.0, 2.0))
    image = coded(rng.random(int(brain.sum())).astype(np.float32))
    scene = Scene(
        key="abc",
        name="atlas/one",
        grid=grid,
        brain_ZYX=brain,
        lesion_ZYX=lesion,
        missing=[1],
        image=image,
        window=(0.0, 1.0),
        start=(1, 2, 0),
        sides=[Side("left", [score]), Side("right", [replace(score, key="m", threshold=0.5)])],
    )
    data = packed(scene)
    length = int.from_bytes(data[:4], "little")
    told = json.loads(data[4 : 4 + length])
    assert (4 + length) % 8 == 0

    def array(name: str) -> bytes:
        at, size = told["arrays"][name]
        assert at % 8 == 0
        return data[4 + length + at :][:size]

    for name, mask in (("brain", brain), ("lesion", lesion)):
        bits = np.unpackbits(np.frombuffer(array(name), np.uint8), count=mask.size)
        np.testing.assert_array_equal(bits.reshape(mask.shape).astype(bool), mask)
    side = told["sides"][1]["scores"][0]
    codes = np.frombuffer(array(side["array"]), "<u2")
    volume = np.zeros(brain.shape, np.float32)
    volume[brain] = np.interp(codes, side["scale"]["codes"], side["scale"]["values"])
    bound = max(score.coded.scale.half_steps) + 1e-6
    is_finite = brain & np.isfinite(values)
    assert np.abs(volume - values)[is_finite].max() <= bound
    assert codes[np.flatnonzero(brain.reshape(-1)).searchsorted(3 * SIZE + 5)] == NOT_FINITE
    assert told["shape"] == [SIZE, SIZE, 3]
    assert (side["key"], side["threshold"]) == ("m", 0.5)
