"""Variational autoencoder (VAE) with a Gaussian likelihood of its own variance per pixel.

The negative log-likelihood of a pixel splits into an uncertainty term and a normalised error. The
objective is the negative evidence lower bound (ELBO) of an image in nats: the divergence of the
latent posterior from N(0, I), plus the negative log-likelihood summed over pixels; one z is sampled
per image. Validation and scoring take the posterior's mean as z.

Where it is asked for, ``kl_gradient`` tells how strongly a pixel moves that divergence: the
absolute gradient with respect to the image, as in Zimmerer et al. 2019, "Unsupervised Anomaly
Localization using Variational Auto-Encoders". It is neither smoothed nor multiplied with an error.

Shape legend: B images of a batch, H = W = 128 pixels, D = N_z / 2 latent numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from trainables import scores
from trainables.description import Score
from trainables.detector import Params
from trainables.network_detector import NetworkDetector, NetworkParams


class VAEParams(NetworkParams):
    """Settings of the VAE.

    Attributes:
        n_z: N_z, length of the encoder's code: twice the latent numbers, a multiple of 8.
        log_variance_floor: Lower bound of a pixel's log-variance. Without one, a background of
            exact zeros has a likelihood without bound.
    """

    n_z: int = Field(gt=0, multiple_of=8)
    log_variance_floor: float = Field(default=-10.0, allow_inf_nan=False)


class Model(NetworkDetector):
    """The detector ``vae``."""

    Params: ClassVar[type[Params]] = VAEParams
    LABEL: ClassVar[str] = "VAE"
    PLACE: ClassVar[int] = 4
    VERSION: ClassVar[int] = 2
    SCORES: ClassVar[tuple[Score, ...]] = (
        Score("squared_error", "squared error (SE)", "SE", "#CC79A7"),
        Score("nll", "neg. log-likelihood (L)", "L", "#2F7FC1", "dash"),
        Score("log_variance", "log-variance (U)", "U", "#2F7FC1", "dot"),
        Score("normalized_error", "normalised error (E)", "E", "#D55E00", width_px=3.0),
    )
    MORE_SCORES: ClassVar[tuple[Score, ...]] = (
        *NetworkDetector.MORE_SCORES,
        Score("kl_gradient", "gradient of the divergence (|dKL/dx|)", "dKL"),
    )
    FIRST_SCORES: ClassVar[tuple[str, ...]] = (
        *("squared_error", "nll", "log_variance", "normalized_error"),
    )
    CODE_PER_LATENT: ClassVar[int] = 2
    N_OUT: ClassVar[int] = 2

    def _loss(self, x_B1HW: Tensor, generator: torch.Generator | None) -> Tensor:
        mean_BD, log_variance_BD = self._posterior(x_B1HW)
        z_BD = mean_BD
        if generator is not None:
            noise = torch.randn(z_BD.shape, generator=generator, device=z_BD.device)
            z_BD = mean_BD + noise * (0.5 * log_variance_BD).exp()
        nll_B1HW = scores.nll(x_B1HW, *self._likelihood(z_BD))
        divergence_B = kl_divergence(mean_BD, log_variance_BD).sum(dim=1)
        return (divergence_B + nll_B1HW.sum(dim=(1, 2, 3))).mean()

    def _score(self, x_B1HW: Tensor) -> Mapping[str, Tensor]:
        mean, log_variance = self._likelihood(self._posterior(x_B1HW)[0])
        return scores.of_likelihood(x_B1HW, mean, log_variance)

    def _more_scores(self, x_B1HW: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
        found = dict(super()._more_scores(x_B1HW, names))
        if "kl_gradient" in names:
            with torch.enable_grad():
                image_B1HW = x_B1HW.detach().requires_grad_()
                divergence = kl_divergence(*self._posterior(image_B1HW)).sum()
                (gradient_B1HW,) = torch.autograd.grad(divergence, image_B1HW)
            found["kl_gradient"] = gradient_B1HW.abs()
        return found

    def _reconstruct(self, x_B1HW: Tensor) -> Tensor:
        return self._likelihood(self._posterior(x_B1HW)[0])[0]

    def _posterior(self, x_B1HW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, D) of z given an image.

        The divergence itself pulls the log-variance back: it stayed within -8 and 4 from the first
        step on, at every size tried, so it has no bound.
        """
        mean_BD, log_variance_BD = self._network.encoder(x_B1HW).chunk(2, dim=1)
        return mean_BD, log_variance_BD

    def _likelihood(self, z_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, 1, H, W) of an image given z."""
        mean, raw = self._network.decoder(z_BD).split(1, dim=1)
        return mean, floored(raw, cast("VAEParams", self.params).log_variance_floor)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of N(mean, exp(log_variance)) from N(0, 1) in nats, elementwise."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def floored(raw: Tensor, floor: float) -> Tensor:
    """Bound a log-variance from below, smoothly.

    Far above the floor it is ``raw`` itself. A clamp would stop the gradient of every pixel that
    once fell below, and such a pixel could never come back.
    """
    return floor + softplus(raw - floor)
