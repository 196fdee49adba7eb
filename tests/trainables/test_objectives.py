"""What networks are trained to minimise."""

import numpy as np
import pytest
import torch

from tests.networks import build


@pytest.mark.parametrize("model", ["ae", "dae"])
def test_the_error_of_an_image_may_be_summed(make_slices, model):
    x = torch.from_numpy(make_slices(3).images(slice(0, 3))).float().unsqueeze(1)
    losses = []
    for reduction in ("mean", "sum"):
        detector = build(model, reduction=reduction)
        detector.state()
        detector._network.eval()
        losses.append(detector._loss(x, None).item())
    assert losses[1] == pytest.approx(128 * 128 * losses[0], rel=1e-5)


@pytest.mark.parametrize("model", ["dae", "vae"])
def test_noise_differs_between_steps_and_is_absent_without_a_generator(make_slices, model):
    detector = build(model)
    detector.state()
    x = torch.from_numpy(make_slices(2).images([0, 1])).float().unsqueeze(1)

    def loss(seed: int | None) -> float:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        detector._network.train()
        return detector._loss(x, generator).item()

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)
    assert loss(None) == loss(None)
    assert loss(None) != loss(1)


def test_denoising_has_the_set_noise_and_a_clean_target(make_slices, monkeypatch):
    detector = build("dae", noise_std=0.5)
    detector.state()
    x = torch.from_numpy(make_slices(4).images(slice(0, 4))).float().unsqueeze(1)
    given = []
    monkeypatch.setattr(detector, "_reconstruct", lambda noisy: given.append(noisy) or x)
    assert detector._loss(x, torch.Generator().manual_seed(0)).item() == 0
    noise = given[0] - x
    assert noise.std().item() == pytest.approx(0.5, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_mean_squared_error_is_over_pixels_and_batch(make_slices):
    detector = build("ae")
    slices = make_slices(3)
    batch = slices.batch(slice(0, 3))
    picture = detector.pictures(batch.images_BHW, batch.brain_BHW)["reconstruction"]
    x = torch.from_numpy(batch.images_BHW).unsqueeze(1)
    detector._network.eval()
    expected = np.mean((picture - batch.images_BHW) ** 2)
    assert detector._loss(x, None).item() == pytest.approx(expected, rel=1e-5)


def test_elbo_sums_the_nll_over_pixels_and_adds_the_divergence(make_slices):
    detector = build("vae", precision="float32")
    slices = make_slices(3)
    batch = slices.batch(slice(0, 3))
    nll = detector.score(batch.images_BHW, batch.brain_BHW)["nll"].sum(axis=(1, 2))
    x = torch.from_numpy(batch.images_BHW).unsqueeze(1)
    mean, log_variance = detector._posterior(x)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    divergence = torch.distributions.kl_divergence(posterior, prior).sum(dim=1)
    expected = float(np.mean(nll) + divergence.mean().item())
    assert detector._loss(x, None).item() == pytest.approx(expected, rel=1e-5)
