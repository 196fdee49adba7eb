import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture

from trainables.counting import rank
from trainables.detector import NonFiniteLossError, score_names
from trainables.mixture import (
    TAILS,
    Histogram,
    Mixture,
    accelerated_step,
    em_step,
    initial_mixture,
)
from trainables.models.gmm import GMMParams, Model, best_mixture
from trainables.slices import Slices

MEANS = np.array([0.25, 0.6, 0.95, 1.3])
STDS = np.array([0.05, 0.06, 0.05, 0.04])
WEIGHTS = np.array([0.1, 0.25, 0.4, 0.25])


def _pixels(n: int, outliers: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    part = rng.choice(4, size=n, p=WEIGHTS)
    pixels = rng.normal(MEANS[part], STDS[part])
    far = rng.random(n) < outliers
    pixels[far] = rng.uniform(1.8, 4, size=far.sum())
    return pixels


def _slices(pixels: np.ndarray, dark_background: bool = False) -> Slices:
    """Pixels laid out as slices whose brain is the upper half where there is a background."""
    brain = np.ones((128, 128), dtype=bool)
    if dark_background:
        brain[64:] = False
    n = len(pixels) // int(brain.sum())
    images = np.zeros((n, 128, 128), dtype=np.float16)
    images[:, brain] = pixels[: n * brain.sum()].reshape(n, -1)
    return Slices(
        images_NHW=images,
        brain_bits_NK=np.tile(np.packbits(brain), (n, 1)),
        lesion_bits_NK=np.zeros((n, 2048), dtype=np.uint8),
        subject_N=np.zeros(n, dtype=np.int32),
        slice_index_N=np.arange(n, dtype=np.int32),
        subjects=("mixture/one",),
    )


def _model(seed: int = 0, **params) -> Model:
    return Model(Model.Params(**{"gmm_lambda": 0.01, **params}), seed=seed)


@pytest.mark.parametrize("gmm_lambda", [0.1, 0.01, 0.001, 0.0001])
@pytest.mark.parametrize("outliers", [0.0, 0.03])
def test_em_recovers_the_means_of_a_known_mixture(gmm_lambda, outliers):
    model = _model(gmm_lambda=gmm_lambda)
    (metrics,) = model.fit(_slices(_pixels(500_000, outliers)), None, 1)
    assert metrics.train_loss is not None
    if outliers == 0 or gmm_lambda >= 0.001:
        np.testing.assert_allclose(model.mixture.means, MEANS, rtol=0.02)
        np.testing.assert_allclose(model.mixture.weights, WEIGHTS, atol=0.02)
    assert model.mixture.weights.sum() == pytest.approx(1, abs=1e-12)


def test_a_mixture_without_the_uniform_class_is_led_astray_by_the_same_outliers():
    pixels = _pixels(100_000, 0.03)
    plain = GaussianMixture(4, random_state=0).fit(pixels[:, None])
    assert np.abs(np.sort(plain.means_[:, 0]) / MEANS - 1).max() > 0.02


@pytest.mark.parametrize("gmm_lambda", [0.1, 0.0001])
@pytest.mark.parametrize("outliers", [0.0, 0.2])
def test_the_log_likelihood_never_falls(gmm_lambda, outliers):
    histogram = Histogram.of(_slices(_pixels(50_000, outliers), dark_background=True), "slice")
    rng = np.random.default_rng(0)
    starts = [initial_mixture(histogram, 4, gmm_lambda, 0)]
    for _ in range(3):
        means, variances = rng.uniform(0, 2, 4), rng.uniform(1e-4, 1, 4)
        starts.append(Mixture(means, variances, rng.dirichlet(np.ones(4)), gmm_lambda))
    for mixture in starts:
        before = mixture.mean_log_likelihood(histogram)
        for _ in range(60):
            mixture = em_step(mixture, histogram)
            after = mixture.mean_log_likelihood(histogram)
            assert after >= before - 1e-12
            before = after


TISSUES = {"T1w": (0.35, 0.75, 1.1), "T2w": (2.2, 1.05, 0.8)}
"""Fluid, grey and white matter; in T1w they overlap so far that EM creeps."""


def _brain(modality: str, seed: int) -> Histogram:
    """A brain's intensities: tissues, voxels of two tissues, shading, noise, dark rims, outliers.

    In steps of .02, so that EM can be run to its very end.
    """
    rng = np.random.default_rng(seed)
    n = 400_000
    means = np.array(TISSUES[modality]) * rng.uniform(0.95, 1.05, 3)
    one, other = (rng.choice(means, size=n, p=(0.15, 0.45, 0.4)) for _ in range(2))
    share = np.where(rng.random(n) < 0.3, rng.random(n), 1.0)
    x = (share * one + (1 - share) * other) * (1 + 0.08 * np.sin(rng.uniform(0, 2 * np.pi, n)))
    x += rng.normal(0, rng.uniform(0.03, 0.08), n)
    rim, outlier = rng.random((2, n)) < 0.02
    x[rim] = np.abs(rng.normal(0, 0.08, rim.sum()))
    x[outlier] = rng.gamma(3, 0.5, outlier.sum())
    values, counts = np.unique(np.round(np.abs(x) / np.median(x) / 0.02), return_counts=True)
    return Histogram(values * 0.02, counts.astype(np.float64))


def _to_the_end(mixture: Mixture, histogram: Histogram) -> Mixture:
    """Plain EM until its means stand still."""
    for _ in range(300_000):
        before, mixture = mixture, em_step(mixture, histogram)
        if np.abs(mixture.means - before.means).max() < 1e-9:
            return mixture
    raise AssertionError("EM does not end")


@pytest.mark.parametrize("gmm_lambda", [0.1, 0.01, 0.001, 0.0001])
@pytest.mark.parametrize("brain", [("T1w", 2), ("T1w", 4), ("T2w", 0), ("T2w", 2)])
def test_the_means_are_where_em_comes_to_in_the_end(brain, gmm_lambda):
    histogram = _brain(*brain)
    starts = [initial_mixture(histogram, 4, gmm_lambda, 0, tail) for tail in TAILS]
    ends = [_to_the_end(start, histogram) for start in starts]
    optimum = max(ends, key=lambda mixture: mixture.mean_log_likelihood(histogram))
    mixture, likelihood, _ = best_mixture(histogram, GMMParams(gmm_lambda=gmm_lambda), 0)
    np.testing.assert_allclose(mixture.means, np.sort(optimum.means), rtol=0, atol=0.005)
    assert likelihood == pytest.approx(mixture.mean_log_likelihood(histogram), abs=1e-12)


@pytest.mark.parametrize("gmm_lambda", [0.1, 0.0001])
def test_an_accelerated_step_is_worth_two_plain_ones_or_more(gmm_lambda):
    histogram = _brain("T1w", 2)
    mixture = initial_mixture(histogram, 4, gmm_lambda, 0)
    for _ in range(200):
        two = em_step(em_step(mixture, histogram), histogram).mean_log_likelihood(histogram)
        mixture, likelihood = accelerated_step(mixture, histogram)
        assert likelihood == mixture.mean_log_likelihood(histogram) >= two
        assert mixture.weights.sum() == pytest.approx(1, abs=1e-12)


def test_the_objective_is_that_of_the_pixels_themselves():
    slices = _slices(_pixels(40_000, 0.05))
    model = _model(gmm_lambda=0.1)
    (metrics,) = model.fit(slices, slices, 1)
    x = slices.images_NHW.astype(np.float64).reshape(-1)
    m = model.mixture
    density = 0.1 + sum(
        w * norm.pdf(x, mean, np.sqrt(v))
        for w, mean, v in zip(m.weights, m.means, m.variances, strict=True)
    )
    assert metrics.train_loss == pytest.approx(-np.log(density).mean(), rel=1e-10)
    assert metrics.validation_loss == pytest.approx(metrics.train_loss, rel=1e-10)


def test_scores_are_the_formulae_of_the_paper(make_slices):
    slices = make_slices(6)
    model = _model()
    list(model.fit(slices, None, 1))
    batch = slices.batch(slice(0, 2))
    maps = model.score(batch.images_BHW, batch.brain_BHW)
    m, x = model.mixture, batch.images_BHW.astype(np.float64)
    f = [norm.pdf(x, mean, np.sqrt(v)) for mean, v in zip(m.means, m.variances, strict=True)]
    mixed = sum(w * f_k for w, f_k in zip(m.weights, f, strict=True))
    assert tuple(maps) == score_names(Model)
    expected_sum = sum(0.01 / (f_k + 0.01) for f_k in f)
    np.testing.assert_allclose(maps["outlier_sum"], expected_sum, rtol=1e-6)
    np.testing.assert_allclose(maps["outlier_posterior"], 0.01 / (mixed + 0.01), rtol=1e-6)


def test_far_intensities_are_outliers_and_scores_stay_finite():
    model = _model()
    list(model.fit(_slices(_pixels(100_000, 0.0)), None, 1))
    x = np.full((1, 128, 128), 0.95, dtype=np.float32)
    x[0, 0, :3] = [1e30, -1e30, 3]
    maps = model.score(x, np.ones_like(x, dtype=bool))
    np.testing.assert_allclose(maps["outlier_posterior"][0, 0, :3], 1, rtol=1e-6)
    np.testing.assert_allclose(maps["outlier_sum"][0, 0, :3], 4, rtol=1e-6)
    assert maps["outlier_posterior"][0, 1, 1] < 0.01


def test_the_background_counts_only_in_the_region_slice():
    slices = _slices(_pixels(100_000, 0.0), dark_background=True)
    brain, whole = _model(), _model(region="slice")
    list(brain.fit(slices, None, 1))
    list(whole.fit(slices, None, 1))
    np.testing.assert_allclose(brain.mixture.means, MEANS, rtol=0.02)
    assert whole.mixture.means[0] == pytest.approx(0, abs=1e-3)
    assert whole.mixture.weights[0] == pytest.approx(0.5, abs=0.05)


def test_the_same_seed_gives_the_same_bits_and_state_restores_them(make_slices):
    slices = make_slices(6)
    batch = slices.batch(slice(0, 2))
    first, second, third = _model(seed=3), _model(seed=3), _model(seed=4)
    list(first.fit(slices, None, 1))
    list(second.fit(slices, None, 1))
    third.load_state(first.state())
    assert list(third.fit(slices, None, 1)) == []
    expected = first.score(batch.images_BHW, batch.brain_BHW)
    for model in (second, third):
        maps = model.score(batch.images_BHW, batch.brain_BHW)
        for name, map_BHW in expected.items():
            np.testing.assert_array_equal(maps[name], map_BHW)


def test_pixels_that_do_not_suffice_are_refused(make_slices):
    with pytest.raises(ValueError, match="2 distinct intensities"):
        list(_model().fit(_slices(np.tile([0.5, 1.0], 20_000)), None, 1))
    with pytest.raises(ValueError, match="no pixels"):
        list(_model().fit(make_slices(0), None, 1))
    with pytest.raises(NonFiniteLossError):
        list(_model().fit(_slices(np.tile([0.5, np.nan], 20_000)), None, 1))


def test_a_state_of_another_size_is_refused():
    with pytest.raises(ValueError, match="n_gaussians = 4"):
        _model().load_state(_model(n_gaussians=3).state())
    with pytest.raises(ValueError, match=r"model\.means"):
        _model().load_state({"epoch": np.ones(1)})


def test_scores_looked_up_by_value_are_those_of_the_density(make_slices):
    slices = make_slices(4)
    model = _model(gmm_lambda=0.0001)
    batch = slices.batch(slice(0, 4))
    before = model.score(batch.images_BHW, batch.brain_BHW)
    list(model.fit(slices, None, 1))
    found = model.score(batch.images_BHW, batch.brain_BHW)
    for name, scores in model._scores_of(batch.images_BHW.astype(np.float64)).items():
        np.testing.assert_allclose(found[name], scores, rtol=1e-6)
        assert not np.array_equal(found[name], before[name])


@pytest.mark.parametrize("name", score_names(Model))
def test_roc_figures_of_real_scores_agree_with_sklearn(make_slices, name):
    slices = make_slices(70)
    model = _model(gmm_lambda=0.0001)
    list(model.fit(slices, None, 1))
    batch = slices.batch(slice(0, 70))
    rng = np.random.default_rng(0)
    x = batch.images_BHW + rng.normal(0, 0.01, batch.images_BHW.shape).astype(np.float32)
    lesion = np.zeros(x.shape, dtype=bool)
    lesion[:, 50:60, 50:70] = rng.random((70, 10, 20)) < 0.5
    x[lesion] += 0.3
    scores = model.score(x, batch.brain_BHW)[name]
    positive, scores = lesion.reshape(-1), scores.reshape(-1)
    made = rank(scores, positive)
    assert made.auc == pytest.approx(roc_auc_score(positive, scores), abs=1e-5)
    expected = average_precision_score(positive, scores)
    assert made.average_precision == pytest.approx(expected, abs=1e-4)
