"""The detectors beside the paper's, against other arithmetic that says the same."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from scipy.stats import percentileofscore
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from trainables.models import aeu, dae_coarse, equalized, vae, vae_fixed
from trainables.registry import detector_class


@pytest.fixture
def images(make_slices) -> torch.Tensor:
    return torch.from_numpy(make_slices(3).batch(slice(0, 3)).images_BHW)[:, None]


def fresh(model, **params):
    detector = model(model.smallest().model_copy(update=params), seed=1)
    detector.state()  # brings the weights into being
    detector._network.eval()
    return detector


@pytest.mark.parametrize(
    ("name", "changes"),
    [("aeu", {}), ("vae_fixed", {"variance": 0.01}), ("dae_coarse", {})],
)
def test_training_lowers_the_loss(name, changes, make_slices):
    model = detector_class(name)
    params = model.smallest().model_copy(update={"learning_rate": 3e-3} | changes)
    losses = [m.train_loss for m in model(params, seed=0).fit(make_slices(24), None, 6)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_aeus_loss_is_the_likelihood_of_its_own_prediction(images, reduction):
    detector = fresh(aeu.Model, reduction=reduction)
    mean, raw = _output(detector, images)
    log_variance = -10 + torch.log1p((raw + 10).exp())
    nll = -Normal(mean, (0.5 * log_variance).exp()).log_prob(images)
    expected = nll.sum() / len(images) if reduction == "sum" else nll.mean()
    noise = torch.Generator().manual_seed(3)
    for generator in (None, noise):  # nothing is sampled
        torch.testing.assert_close(detector._loss(images, generator), expected)
    published = ((images - mean).square() / log_variance.exp() + log_variance).mean()
    torch.testing.assert_close(2 * nll.mean() - np.log(2 * np.pi), published)


def test_the_aeus_normalized_error_is_the_error_over_the_variance(images):
    detector = fresh(aeu.Model)
    mean, raw = _output(detector, images)
    maps = detector._score(images)
    variance = (-10 + torch.log1p((raw + 10).exp())).exp()
    torch.testing.assert_close(maps["normalized_error"], (images - mean) ** 2 / (2 * variance))
    torch.testing.assert_close(maps["nll"], maps["log_variance"] + maps["normalized_error"])


def test_the_fixed_vaes_loss_is_the_elbo_with_that_variance(images):
    detector = fresh(vae_fixed.Model, variance=0.25)
    mean_z, log_variance_z = detector._network.encoder(images).chunk(2, dim=1)
    posterior = Normal(mean_z, (0.5 * log_variance_z).exp())
    divergence = kl_divergence(posterior, Normal(torch.zeros_like(mean_z), 1.0)).sum(dim=1)
    likelihood = Normal(detector._network.decoder(mean_z), 0.5)
    expected = (divergence - likelihood.log_prob(images).sum(dim=(1, 2, 3))).mean()
    torch.testing.assert_close(detector._loss(images, None), expected)
    sampled = detector._loss(images, torch.Generator().manual_seed(3))
    assert sampled != expected  # z is drawn


def test_the_controls_have_the_vaes_encoder_and_differ_where_they_say():
    plain, fixed, without = (
        fresh(m.Model, n_z=n)._network for m, n in ((vae, 16), (vae_fixed, 16), (aeu, 8))
    )
    for other in (fixed, without):
        assert len(other.encoder.trunk) == len(plain.encoder.trunk)
        assert other.decoder.trunk[0][0].weight.shape == plain.decoder.trunk[0][0].weight.shape
    assert [n.decoder.last.out_channels for n in (plain, fixed, without)] == [2, 1, 2]
    assert [n.encoder.last.out_channels * 4 for n in (plain, fixed, without)] == [16, 16, 8]


def test_an_equalized_pixel_is_the_share_of_its_brain_that_is_no_brighter(make_slices):
    batch = make_slices(2).batch(slice(0, 2))
    detector = equalized.Model(equalized.Model.smallest(), seed=0)
    maps = detector.score(batch.images_BHW, batch.brain_BHW)
    for image, brain, found in zip(
        batch.images_BHW, batch.brain_BHW, maps["equalized"], strict=True
    ):
        expected = percentileofscore(image[brain], image[brain], kind="weak") / 100
        np.testing.assert_allclose(found[brain], expected, rtol=1e-6)
        assert not found[~brain].any()
    np.testing.assert_array_equal(maps["negative_equalized"], -maps["equalized"])
    again = detector.score(3 * batch.images_BHW**2, batch.brain_BHW)  # ranks alone count
    np.testing.assert_array_equal(again["equalized"], maps["equalized"])


def test_the_u_net_is_that_of_plain_operations(images):
    detector = fresh(dae_coarse.Model, n_c=4)
    network = detector._network.double()
    network.last.float()  # it gets float32 whatever the trunk computes in
    w = {name: value.double() for name, value in network.state_dict().items()}

    def level(name: str, h: torch.Tensor) -> torch.Tensor:
        for i in (0, 3):
            kernel = w[f"{name}.{i}.weight"]
            kernel = kernel - kernel.mean((1, 2, 3), keepdim=True)
            kernel /= (kernel.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()
            h = functional.conv2d(h, kernel, w[f"{name}.{i}.bias"], padding=1)
            h = h * torch.sigmoid(h)
            groups = h.reshape(len(h), 4 if h.shape[1] == 4 else 8, -1)
            groups = groups - groups.mean(2, keepdim=True)
            groups /= (groups.square().mean(2, keepdim=True) + 1e-5).sqrt()
            scale, shift = (w[f"{name}.{i + 2}.{k}"][:, None, None] for k in ("weight", "bias"))
            h = groups.reshape(h.shape) * scale + shift
        return h

    beside = [level("down.0", images.double())]
    for i in (1, 2, 3):
        b, c, y, x = beside[-1].shape
        halved = beside[-1].reshape(b, c, y // 2, 2, x // 2, 2).mean((3, 5))
        beside.append(level(f"down.{i}", halved))
    h = beside[-1]
    for i in (0, 1, 2):
        kernel, bias = w[f"enlarge.{i}.weight"], w[f"enlarge.{i}.bias"]
        h = functional.conv_transpose2d(h, kernel, bias, stride=2)
        h = level(f"up.{i}", torch.cat([h, beside[2 - i]], dim=1))
    h = torch.einsum("bcyx,oc->boyx", h, w["last.weight"][:, :, 0, 0]) + w["last.bias"]
    torch.testing.assert_close(network(images.double()).double(), h, rtol=1e-5, atol=1e-5)


def test_coarse_noise_is_enlarged_linearly_and_shifted():
    found = dae_coarse.coarse_noise(3, 16, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    small = torch.randn(3, 1, 16, 16, generator=generator)
    shifts = torch.randint(128, (2, 3, 1), generator=generator)
    assert len(set(shifts.flatten().tolist())) > 2
    points = np.stack(np.meshgrid(*[np.linspace(0, 15, 128)] * 2, indexing="ij"), axis=-1)
    for i in range(3):
        large = RegularGridInterpolator((np.arange(16),) * 2, small[i, 0].numpy())(points)
        expected = np.roll(large, (-int(shifts[0, i]), -int(shifts[1, i])), (0, 1))
        np.testing.assert_allclose(found[i, 0], expected, atol=1e-5)


def test_coarse_noise_is_added_to_the_foreground_alone_and_the_clean_image_is_the_target(images):
    detector = fresh(dae_coarse.Model, noise_std=0.5)
    seen = []
    detector._reconstruct = lambda x: seen.append(x) or torch.zeros_like(x)
    loss = detector._loss(images, torch.Generator().manual_seed(1))
    background = images == 0
    assert background.any()
    assert not seen[0][background].any()
    assert 0.2 < (seen[0] - images)[~background].std() < 0.5
    torch.testing.assert_close(loss, images.square().mean())
    detector._loss(images, None)
    torch.testing.assert_close(seen[1], images)


def _output(detector, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    network = detector._network
    return network.decoder(network.encoder(images)).split(1, dim=1)
