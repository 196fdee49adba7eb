import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.distributions import Normal, kl_divergence

from trainables import scores
from trainables.models import vae


@pytest.fixture
def pixels() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image, mean and log-variance, from the variance floor up."""
    generator = torch.Generator().manual_seed(3)
    x, mean = (torch.rand(2, 1, 64, 64, generator=generator) * 3 for _ in range(2))
    log_variance = torch.rand(2, 1, 64, 64, generator=generator) * 14 - 10
    return x, mean, log_variance


def test_nll_equals_the_normal_distributions(pixels):
    x, mean, log_variance = pixels
    expected = -Normal(mean.double(), (0.5 * log_variance.double()).exp()).log_prob(x.double())
    torch.testing.assert_close(
        scores.nll(x, mean, log_variance).double(), expected, rtol=1e-5, atol=1e-5
    )


def test_nll_is_uncertainty_plus_normalized_error(pixels):
    x, mean, log_variance = pixels
    total = scores.log_variance(log_variance) + scores.normalized_error(x, mean, log_variance)
    torch.testing.assert_close(scores.nll(x, mean, log_variance), total, rtol=3e-7, atol=3e-7)


def test_uncertainty_is_the_nll_of_a_perfect_reconstruction(pixels):
    x, _, log_variance = pixels
    torch.testing.assert_close(scores.log_variance(log_variance), scores.nll(x, x, log_variance))


def test_normalized_error_is_half_the_squared_error_over_the_variance(pixels):
    x, mean, log_variance = pixels
    expected = scores.squared_error(x, mean) / (2 * log_variance.exp())
    torch.testing.assert_close(scores.normalized_error(x, mean, log_variance), expected)
    torch.testing.assert_close(scores.squared_error(x, mean), (mean - x) * (mean - x))


def test_kl_equals_its_closed_form(pixels):
    _, mean, log_variance = pixels
    posterior = Normal(mean.double(), (0.5 * log_variance.double()).exp())
    expected = kl_divergence(posterior, Normal(torch.tensor(0.0), torch.tensor(1.0)).expand([1]))
    torch.testing.assert_close(
        vae.kl_divergence(mean, log_variance).double(), expected, rtol=1e-5, atol=1e-5
    )


def test_variance_floor_is_respected_and_its_gradient_alive():
    raw = torch.linspace(-60, 60, 1001, requires_grad=True)
    bounded = vae.floored(raw, -10.0)
    bounded.sum().backward()
    assert bounded.min() >= -10
    assert raw.grad is not None
    assert raw.grad.min() > 0
    torch.testing.assert_close(bounded[raw > 5], raw[raw > 5], rtol=1e-6, atol=0)


def test_ssim_residual_equals_the_definition_in_double_precision(make_slices):
    x, y = (make_slices(1, seed=i).batch(slice(0, 1)).images_BHW[0].astype(float) for i in (1, 2))

    def mean(image):
        return gaussian_filter(image, 1.5, radius=5, mode="mirror")

    var_x, var_y = (mean(i * i) - mean(i) ** 2 for i in (x, y))
    covariance = mean(x * y) - mean(x) * mean(y)
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    ssim = (2 * mean(x) * mean(y) + c1) * (2 * covariance + c2)
    ssim /= (mean(x) ** 2 + mean(y) ** 2 + c1) * (var_x + var_y + c2)
    given = (torch.from_numpy(i).float()[None, None] for i in (x, y))
    found = scores.ssim_residual(*given)[0, 0].double().numpy()
    assert np.ptp(1 - ssim) > 0.5
    np.testing.assert_allclose(found, 1 - ssim, atol=2e-4)


def test_an_image_has_no_ssim_residual_with_itself(pixels):
    x, _, _ = pixels
    torch.testing.assert_close(scores.ssim_residual(x, x), torch.zeros_like(x), atol=1e-6, rtol=0)


def test_kl_gradient_equals_finite_differences(make_slices):
    model = vae.Model(vae.Model.smallest(), seed=3)
    list(model.fit(make_slices(8, seed=1), None, 2))  # a background of zeros is a kink before
    batch = make_slices(1).batch(slice(0, 1))
    maps = model.more_scores(["kl_gradient"], batch.images_BHW, batch.brain_BHW)
    found = maps["kl_gradient"][0]
    network = model._network.double()
    image = torch.from_numpy(batch.images_BHW).double()[None]
    assert found.min() >= 0
    strongest_first = np.argsort(-found, axis=None)[:2000:300]

    def divergence(image):
        code = network.encoder.last(network.encoder.trunk(image)).flatten(1)
        mean, log_variance = code.chunk(2, dim=1)
        posterior = Normal(mean, (0.5 * log_variance).exp())
        return kl_divergence(posterior, Normal(torch.zeros_like(mean), 1.0)).sum().item()

    for y, x in zip(*np.unravel_index(strongest_first, found.shape), strict=True):
        step = torch.zeros_like(image)
        step[0, 0, y, x] = 1e-6
        expected = abs(divergence(image + step) - divergence(image - step)) / 2e-6
        assert found[y, x] == pytest.approx(expected, rel=1e-3)
