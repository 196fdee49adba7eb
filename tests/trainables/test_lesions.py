"""Slices and lesions of an evaluation are what the maps themselves say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from trainables.counting import rank
from trainables.evaluate import Evaluation, evaluate
from trainables.lesions import find_lesions, reached_by, top_means
from trainables.models.intensity import Model as Intensity
from trainables.slices import Slices
from trainables.testing import healthy_slices

VOXEL_ML = 0.0125


@pytest.fixture
def test_set() -> Slices:
    """Three subjects of eight slices; two have lesions, one of which leaves the brain."""
    healthy = healthy_slices(24, seed=3, slices_per_subject=8)
    lesion_NHW = np.zeros((24, 128, 128), bool)
    lesion_NHW[2:5, 60:66, 60:70] = True
    lesion_NHW[5, 66, 70] = True  # touches the one below by a corner alone: the same lesion
    lesion_NHW[2, 40:43, 40:43] = True
    lesion_NHW[18:20, 30:70, 100:128] = True
    images = healthy.images_NHW.copy()
    rng = np.random.default_rng(0)
    images[lesion_NHW] += rng.uniform(0, 1, int(lesion_NHW.sum())).astype(np.float16)
    return replace(
        healthy,
        images_NHW=images,
        lesion_bits_NK=np.packbits(lesion_NHW.reshape(24, -1), axis=1),
        scan_N=np.repeat([0, 1, 2], 8).astype(np.int32),
        voxel_ml_N=np.full(24, VOXEL_ML),
    )


@pytest.fixture
def evaluation(test_set: Slices) -> Evaluation:
    # Batches of three slices part the lesions.
    return evaluate(Intensity(Intensity.Params(), seed=0), test_set, batch_size=3)


def test_lesions_are_those_of_whole_volumes_with_their_scores(
    test_set: Slices, evaluation: Evaluation
) -> None:
    batch = test_set.batch(slice(None))
    expected = []
    for number, subject in enumerate(test_set.subjects):
        rows = slice(8 * number, 8 * number + 8)
        inside = batch.lesion_BHW[rows] & batch.brain_BHW[rows]
        labels, count = ndimage.label(inside, structure=np.ones((3, 3, 3)))
        for lesion in range(1, count + 1):
            values = batch.images_BHW[rows][labels == lesion]
            for name, sign in (("intensity", 1), ("negative_intensity", -1)):
                ranked = np.sort(sign * values)[::-1]
                expected.append(
                    {
                        "subject": subject,
                        "lesion": lesion,
                        "score": name,
                        "n_pixels": len(values),
                        "volume_ml": pytest.approx(len(values) * VOXEL_ML),
                        "highest": float(ranked[0]),
                        "tenth": float(ranked[int(np.ceil(len(values) / 10)) - 1]),
                        "half": float(ranked[int(np.ceil(len(values) / 2)) - 1]),
                    }
                )
    assert len(expected) == 3 * 2
    assert evaluation.lesions.to_pylist() == expected


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5)),
    share=st.sampled_from([0.1, 0.3, 0.5, 1.0]),
    gaps=st.lists(st.integers(1, 3), min_size=6, max_size=6),
    corner=st.tuples(st.integers(0, 123), st.integers(0, 123)),
    seed=st.integers(0, 2**16),
)
def test_lesions_of_any_shape_are_the_connected_ones(
    shape: tuple[int, int, int], share: float, gaps: list[int], corner: tuple[int, int], seed: int
) -> None:
    """Down to a single pixel, and over slices of which some were left out."""
    n, (y, x) = shape[0], corner
    index_N = np.cumsum([0, *gaps])[:n]
    lesion_NHW = np.zeros((n, 128, 128), bool)
    marked = np.random.default_rng(seed).random(shape) < share
    lesion_NHW[:, y : y + shape[1], x : x + shape[2]] = marked
    bits_NK = np.packbits(lesion_NHW.reshape(n, -1), axis=1)
    test = replace(
        healthy_slices(n, slices_per_subject=n),
        brain_bits_NK=np.full_like(bits_NK, 255),
        lesion_bits_NK=bits_NK,
        slice_index_N=index_N.astype(np.int32),
        voxel_ml_N=np.full(n, VOXEL_ML),
    )
    in_space = np.zeros((index_N[-1] + 1, 128, 128), bool)
    in_space[index_N] = lesion_NHW
    number_NHW, count = ndimage.label(in_space, structure=np.ones((3, 3, 3)))
    found = find_lesions(test, slice(0, n))
    assert found.n_lesions == count
    assert found.volumes_ml == pytest.approx(
        [VOXEL_ML * size for size in np.bincount(number_NHW.reshape(-1))[1:]]
    )
    np.testing.assert_array_equal(found.in_batch(0, n), number_NHW[index_N])


def test_slices_have_the_mean_of_their_highest_brain_pixels(
    test_set: Slices, evaluation: Evaluation
) -> None:
    batch = test_set.batch(slice(None))
    rows = evaluation.slices.to_pylist()
    assert [r["score"] for r in rows[:2]] == ["intensity", "negative_intensity"]
    assert len(rows) == 24 * 2
    for number, row in enumerate(r for r in rows if r["score"] == "intensity"):
        brain = batch.brain_BHW[number]
        values = np.sort(batch.images_BHW[number][brain])[::-1]
        assert row["subject"] == test_set.subjects[number // 8]
        assert row["slice_index"] == number % 8
        assert row["n_pixels"] == len(values)
        assert row["n_positive"] == (batch.lesion_BHW[number] & brain).sum()
        assert row["top_mean"] == pytest.approx(values[: len(values) // 100].mean(), rel=1e-6)


def test_slices_with_lesions_are_told_from_others_as_by_the_maps(evaluation: Evaluation) -> None:
    from study.report.detection import slice_auc

    table = evaluation.slices.filter(pc.field("score") == "intensity")
    is_ill = table["n_positive"].to_numpy() > 0
    assert 0 < is_ill.sum() < len(is_ill)
    expected = roc_auc_score(is_ill, table["top_mean"].to_numpy())
    assert slice_auc(table) == pytest.approx(expected, abs=1e-12)


def test_subjects_have_their_scans_volumes_and_highest_pixels(
    test_set: Slices, evaluation: Evaluation
) -> None:
    batch = test_set.batch(slice(None))
    for row in evaluation.subjects.to_pylist():
        rows = slice(8 * test_set.subjects.index(row["subject"]), None)
        rows = slice(rows.start, rows.start + 8)
        brain = batch.brain_BHW[rows] if row["region"] == "brain" else np.ones((8, 128, 128), bool)
        sign = 1 if row["score"] == "intensity" else -1
        values = np.sort(sign * batch.images_BHW[rows][brain])[::-1]
        assert (row["n_scans"], row["voxel_ml"]) == (1, pytest.approx(VOXEL_ML))
        assert row["top_mean"] == pytest.approx(values[: len(values) // 100].mean(), rel=1e-3)


@pytest.mark.parametrize("n_pixels", [100_000, 3_000_000])
def test_the_mean_of_the_highest_pixels_is_theirs(n_pixels: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, n_pixels).astype(np.float32)
    ranking = rank(values, rng.random(n_pixels) < 0.01)
    pixels = np.sort(values)[::-1]
    for n in (1, 7, n_pixels // 100, n_pixels):
        expected = pytest.approx(pixels[:n].mean(dtype=np.float64), rel=4e-3, abs=1e-4)
        assert ranking.top_mean(n) == expected


def test_a_lesion_ends_with_its_scan_and_where_a_slice_was_left_out(test_set: Slices) -> None:
    subject = slice(0, 8)
    assert find_lesions(test_set, subject).n_lesions == 2
    other_scan = test_set.scan_N.copy()
    other_scan[4:8] = 5
    assert find_lesions(replace(test_set, scan_N=other_scan), subject).n_lesions == 3
    index = test_set.slice_index_N.copy()
    index[4:8] += 1
    assert find_lesions(replace(test_set, slice_index_N=index), subject).n_lesions == 3


def test_a_healthy_set_has_slices_no_lesions_and_no_auc() -> None:
    healthy = healthy_slices(8, seed=5)
    found = evaluate(Intensity(Intensity.Params(), seed=0), healthy)
    assert found.lesions.num_rows == 0
    assert found.slices.num_rows == 8 * 2
    assert set(found.metrics["auc"].to_pylist()) == {None}
    assert set(found.subjects["voxel_ml"].to_pylist()) == {None}


@pytest.mark.parametrize("n", [1, 2, 9, 10, 101])
def test_what_is_told_of_a_lesion_decides_for_any_threshold(n: int) -> None:
    values = np.random.default_rng(n).integers(0, 9, n).astype(np.float32)
    for share in (0.1, 0.5, 1.0):
        told = reached_by(values, share)
        for threshold in range(10):
            assert (told >= threshold) == ((values >= threshold).sum() >= share * n)


def test_a_slice_of_a_pixel_has_its_score_and_one_without_brain_has_none() -> None:
    scores = torch.arange(3 * 128 * 128, dtype=torch.float32).reshape(3, 128, 128)
    brain = np.zeros((3, 128, 128), bool)
    brain[0, 5, 6] = brain[1, 60:, :] = True
    found = top_means({"s": scores}, brain)["s"]
    assert found[0] == scores[0, 5, 6]
    highest = np.sort(scores[1].numpy()[brain[1]])[::-1][: int(brain[1].sum() * 0.01)]
    assert found[1] == pytest.approx(highest.mean(dtype=np.float64))
    assert np.isnan(found[2])
    assert np.isnan(top_means({"s": scores}, np.zeros_like(brain))["s"]).all()


@pytest.mark.parametrize("kind", ["scattered", "tied", "constant", "at the brain's end"])
def test_the_highest_of_a_slice_are_those_of_a_sort(kind: str) -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:128, :128]
    radii = np.array([0, 1, 4, 20, 45, 62])
    brain = (x - 64) ** 2 + (y - 64) ** 2 < radii[:, None, None] ** 2
    scores = {
        "scattered": rng.normal(size=brain.shape),
        "tied": rng.integers(0, 3, brain.shape),
        "constant": np.full(brain.shape, -2.5),
        "at the brain's end": (y * 128 + x)[None] * np.ones((len(radii), 1, 1)),
    }[kind].astype(np.float32)
    found = top_means({"s": torch.from_numpy(scores)}, brain)["s"]
    assert np.isnan(found[0])
    for told, of_slice, inside in zip(found[1:], scores[1:], brain[1:], strict=True):
        ordered = np.sort(of_slice[inside].astype(np.float64))[::-1]
        assert told == pytest.approx(ordered[: max(1, len(ordered) // 100)].mean(), rel=1e-12)
