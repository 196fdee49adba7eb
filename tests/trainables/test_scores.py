import pytest
import torch
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
