from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from trainables.detector import EpochMetrics, score_names
from trainables.evaluate import evaluate
from trainables.models.gmm import Model as Mixture
from trainables.models.intensity import Model as Intensity
from trainables.models.vae import Model as Variational
from trainables.showcase import showcase_rows
from trainables.slices import Slices
from trainables.tables import METRICS_SCHEMA, REGIONS, ROC_SCHEMA, SUBJECTS_SCHEMA


def _with_lesions(slices: Slices, sizes: dict[int, int], column: int = 60) -> Slices:
    """Lesions of some pixels a side in some rows, from the given column on."""
    lesion = np.zeros((len(slices), 128, 128), dtype=bool)
    images = slices.images_NHW.copy()
    for row, size in sizes.items():
        lesion[row, 60 : 60 + size, column : column + size] = True
    images[lesion] += np.float16(0.5)
    return replace(
        slices,
        images_NHW=images,
        lesion_bits_NK=np.packbits(lesion.reshape(len(slices), -1), axis=1),
    )


@pytest.fixture
def held_out(make_slices) -> Slices:
    return _with_lesions(make_slices(14, seed=1), {1: 5, 2: 9, 5: 12, 8: 3})


def _intensity() -> Intensity:
    return Intensity(Intensity.Params(), seed=0)


class Spoiled(Intensity):
    """Intensity with one pixel of one subject spoiled."""

    def score(self, images_BHW, brain_BHW):
        maps = super().score(images_BHW, brain_BHW)
        maps["negative_intensity"][-1, 64, 64] = np.inf
        return maps


class Blown(Intensity):
    """Intensity beyond what float16 can hold."""

    def score(self, images_BHW, brain_BHW):
        return {n: 1e6 * m for n, m in super().score(images_BHW, brain_BHW).items()}

    def pictures(self, images_BHW, brain_BHW):
        return {"doubled": 2 * images_BHW}


def _row(table, **key):
    rows = [r for r in table.to_pylist() if all(r[k] == v for k, v in key.items())]
    assert len(rows) == 1
    return rows[0]


def test_tables_have_their_schemas_and_rows(held_out):
    result = evaluate(_intensity(), held_out, n_showcase=2)
    assert result.metrics.schema == METRICS_SCHEMA
    assert result.roc.schema == ROC_SCHEMA
    assert result.subjects.schema == SUBJECTS_SCHEMA
    keys = [(r["score"], r["region"]) for r in result.metrics.to_pylist()]
    assert keys == [(s, r) for s in score_names(Intensity) for r in REGIONS]
    assert result.subjects.num_rows == 4 * 4
    assert result.heatmaps.num_rows == 2


@pytest.mark.parametrize("batch_size", [3, 64])
@pytest.mark.parametrize("region", REGIONS)
def test_figures_are_sklearns_on_the_pixels_of_the_region(held_out, region, batch_size):
    result = evaluate(_intensity(), held_out, batch_size=batch_size)
    batch = held_out.batch(slice(None))
    counts = batch.brain_BHW if region == "brain" else np.ones_like(batch.brain_BHW)
    scores, positive = batch.images_BHW[counts], batch.lesion_BHW[counts]
    row = _row(result.metrics, score="intensity", region=region)
    assert row["n_subjects"] == 4
    assert row["n_slices"] == 14
    assert row["n_pixels"] == counts.sum()
    assert row["n_positive"] == positive.sum()
    assert row["auc"] == pytest.approx(roc_auc_score(positive, scores), abs=1e-5)
    assert row["average_precision"] == pytest.approx(
        average_precision_score(positive, scores), abs=1e-4
    )
    assert row["chance_average_precision"] == pytest.approx(positive.mean())
    called = scores >= row["best_dice_threshold"]
    dice = 2 * (called & positive).sum() / (called.sum() + positive.sum())
    assert row["best_dice"] == pytest.approx(dice)
    turned = _row(result.metrics, score="negative_intensity", region=region)
    assert turned["auc"] == pytest.approx(1 - row["auc"], abs=1e-9)


def test_subjects_add_up_to_the_whole_and_undefined_ones_are_null(held_out):
    result = evaluate(_intensity(), held_out)
    aucs = []
    for index, (subject, rows) in enumerate(held_out.by_subject()):
        batch = held_out.batch(rows)
        row = _row(result.subjects, subject=subject, score="intensity", region="brain")
        positive = batch.lesion_BHW[batch.brain_BHW]
        assert sum(row["positives"]) == row["n_positive"] == positive.sum()
        assert sum(row["positives"]) + sum(row["negatives"]) == row["n_pixels"]
        assert row["thresholds"] == sorted(row["thresholds"], reverse=True)
        if index < 3:
            expected = roc_auc_score(positive, batch.images_BHW[batch.brain_BHW])
            assert row["auc"] == pytest.approx(expected, abs=1e-5)
            aucs.append(row["auc"])
        else:
            assert row["auc"] is None
            assert row["average_precision"] is None
    metrics = _row(result.metrics, score="intensity", region="brain")
    assert metrics["mean_subject_auc"] == pytest.approx(np.mean(aucs))


def test_a_test_set_without_lesions_has_null_figures(make_slices):
    result = evaluate(_intensity(), make_slices(6))
    names = ["auc", "average_precision", "chance_average_precision", "best_dice"]
    names += ["best_dice_threshold", "mean_subject_auc", "lesion_outside_brain_share"]
    for row in result.metrics.to_pylist():
        assert [row[name] for name in names] == [None] * len(names)
    assert result.heatmaps.num_rows == 2


def test_lesion_outside_the_brain_counts_in_the_slice_alone(make_slices):
    test = _with_lesions(make_slices(4), {0: 10, 1: 10}, column=118)
    result = evaluate(_intensity(), test)
    assert _row(result.metrics, score="intensity", region="brain")["n_positive"] == 0
    whole = _row(result.metrics, score="intensity", region="slice")
    assert whole["n_positive"] == 200
    assert whole["lesion_outside_brain_share"] == 1
    given = evaluate(_intensity(), test, lesion_outside_brain_share=0.25)
    assert given.metrics["lesion_outside_brain_share"].to_pylist() == [0.25] * 4


def test_curves_end_at_all_pixels_and_are_short(held_out):
    result = evaluate(_intensity(), held_out)
    for score in score_names(Intensity):
        for region in REGIONS:
            key = {"score": score, "region": region}
            metrics = _row(result.metrics, **key)
            rows = [r for r in result.roc.to_pylist() if {k: r[k] for k in key} == key]
            assert 2 <= len(rows) <= 400
            assert rows[-1]["true_positives"] == metrics["n_positive"]
            negatives = metrics["n_pixels"] - metrics["n_positive"]
            assert rows[-1]["false_positives"] == negatives


def test_showcase_holds_the_largest_lesion_of_evenly_spread_subjects(held_out, make_slices):
    assert showcase_rows(held_out, 4) == (2, 5, 8)
    assert showcase_rows(held_out, 2) == (2, 8)
    assert showcase_rows(held_out, 1) == (5,)
    assert showcase_rows(held_out, 0) == ()
    assert showcase_rows(make_slices(14), 2) == (6, 13)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_heatmaps_hold_the_slice_and_its_maps(held_out, batch_size):
    rows = evaluate(Blown(Blown.Params(), seed=0), held_out, batch_size=batch_size).heatmaps
    assert rows["subject"].to_pylist() == [f"ellipses/{i:03d}" for i in range(3)]
    assert rows["slice_index"].to_pylist() == [2, 1, 0]
    for row, index in zip(rows.to_pylist(), (2, 5, 8), strict=True):
        image = np.frombuffer(row["image"], dtype="<f2").reshape(128, 128)
        np.testing.assert_array_equal(image, held_out.images_NHW[index])
        assert row["brain"] == held_out.brain_bits_NK[index].tobytes()
        assert row["lesion"] == held_out.lesion_bits_NK[index].tobytes()
        score = np.frombuffer(row["score.intensity"], dtype="<f2").reshape(128, 128)
        assert score.max() == np.finfo(np.float16).max
        doubled = np.frombuffer(row["picture.doubled"], dtype="<f2").reshape(128, 128)
        np.testing.assert_array_equal(doubled, 2 * image)


def test_scores_that_are_not_finite_are_refused_by_name(held_out):
    with pytest.raises(ValueError, match=r"negative_intensity of subject ellipses/000"):
        evaluate(Spoiled(Spoiled.Params(), seed=0), held_out)


def test_an_empty_test_set_is_refused(make_slices):
    with pytest.raises(ValueError, match="no slices"):
        evaluate(_intensity(), make_slices(0))


@pytest.mark.parametrize("name", ["gmm", "vae"])
def test_figures_of_trained_detectors_are_sklearns_and_repeat_to_the_bit(make_slices, name):
    if name == "gmm":
        detector = Mixture(Mixture.Params(gmm_lambda=0.001), seed=0)
    else:
        detector = Variational(Variational.Params(n_c=8, n_z=8), seed=0)
    assert all(isinstance(m, EpochMetrics) for m in detector.fit(make_slices(12), None, 1))
    test = _with_lesions(make_slices(24, seed=2), dict.fromkeys(range(0, 24, 2), 20))
    first, second = (evaluate(detector, test) for _ in range(2))
    assert first == second
    batch = test.batch(slice(None))
    maps = detector.score(batch.images_BHW, batch.brain_BHW)
    for score in score_names(detector):
        for region in REGIONS:
            counts = batch.brain_BHW if region == "brain" else np.ones_like(batch.brain_BHW)
            x, positive = maps[score][counts], batch.lesion_BHW[counts]
            row = _row(first.metrics, score=score, region=region)
            assert row["auc"] == pytest.approx(roc_auc_score(positive, x), abs=1e-5)
            expected = average_precision_score(positive, x)
            assert row["average_precision"] == pytest.approx(expected, abs=1e-4)


def test_scores_that_are_asked_for_are_measured_beside_the_others(make_slices):
    detector = Variational(Variational.smallest(), seed=0)
    slices = make_slices(4)
    plain = evaluate(detector, slices)
    more = evaluate(detector, slices, asked=("kl_gradient",))
    rows = plain.metrics.num_rows
    assert more.metrics.slice(0, rows).equals(plain.metrics)
    assert more.metrics["score"].to_pylist()[rows:] == ["kl_gradient"] * len(REGIONS)
    assert "score.kl_gradient" in more.heatmaps.column_names
    assert set(more.subjects["score"].to_pylist()) == set(score_names(detector, ["kl_gradient"]))


class Smoothed(Intensity):
    """Takes over the intensity baseline, and scores otherwise."""

    def score(self, images_BHW, brain_BHW):
        scores = super().score(images_BHW, brain_BHW)
        return {name: np.roll(score, 1, axis=2) for name, score in scores.items()}


@pytest.mark.parametrize("make", [Intensity, Mixture, Smoothed])
def test_counting_by_intensity_gives_the_figures_of_counting_by_score(held_out, monkeypatch, make):
    params = {"gmm_lambda": 0.001} if make is Mixture else {}
    detector = make(make.Params(**params), seed=0)
    found = evaluate(detector, held_out)
    monkeypatch.setattr("trainables.evaluate.scores_by_value", lambda detector: None)
    expected = evaluate(detector, held_out)
    for name in ("auc", "average_precision", "best_dice", "n_positive", "n_pixels"):
        ours, theirs = (table[name].to_numpy() for table in (found.metrics, expected.metrics))
        np.testing.assert_allclose(ours, theirs, atol=1e-5 if name == "auc" else 1e-4, err_msg=name)
    assert (make is Smoothed) == found.metrics.equals(expected.metrics)
    if make is not Smoothed:
        assert set(found.metrics["auc_bound"].to_pylist()) == {0}
