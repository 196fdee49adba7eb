"""Autoencoder that predicts a variance too (AE-U): the VAE without its divergence and its sampling.

Mao, Xue, Wang, Zhang, Zheng and Zheng 2020, "Abnormality Detection in Chest X-Ray Images Using
Uncertainty Prediction Autoencoders" (MICCAI). Whatever a VAE finds better than this is owed to what
is variational in it; whatever this finds as well is owed to the variance.

The objective is the negative log-likelihood, by default summed over pixels as in the VAE; that of
the publication is twice its mean, without a constant. Its score, (mean - x)^2 / s2, is twice the
normalised error and ranks pixels as that does. The latent vector is the encoder's code: N_z
numbers, where the VAE's has N_z / 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from trainables import scores
from trainables.description import Score
from trainables.detector import Params
from trainables.models.vae import floored
from trainables.network_detector import NetworkDetector, NetworkParams


class AEUParams(NetworkParams):
    """Settings of the AE-U.

    Attributes:
        reduction: Whether the negative log-likelihoods of an image's pixels are summed, as in the
            VAE, or averaged, as published; what a scale does beside weight decay, see the AE's.
        log_variance_floor: Lower bound of a pixel's log-variance, as in the VAE.
    """

    reduction: Literal["mean", "sum"] = "sum"
    log_variance_floor: float = Field(default=-10.0, allow_inf_nan=False)


class Model(NetworkDetector):
    """The detector ``aeu``."""

    Params: ClassVar[type[Params]] = AEUParams
    LABEL: ClassVar[str] = "AE-U"
    PLACE: ClassVar[int] = 5
    SCORES: ClassVar[tuple[Score, ...]] = (
        Score("squared_error", "squared error (SE)", "SE", "#AA4499"),
        Score("nll", "neg. log-likelihood (L)", "L", "#117733", "dash"),
        Score("log_variance", "log-variance (U)", "U", "#117733", "dot"),
        Score("normalized_error", "normalised error (E)", "E", "#882255", width_px=3.0),
    )
    N_OUT: ClassVar[int] = 2

    def _loss(self, x_B1HW: Tensor, generator: torch.Generator | None) -> Tensor:
        nll_B1HW = scores.nll(x_B1HW, *self._likelihood(x_B1HW))
        if cast("AEUParams", self.params).reduction == "sum":
            return nll_B1HW.sum(dim=(1, 2, 3)).mean()
        return nll_B1HW.mean()

    def _score(self, x_B1HW: Tensor) -> Mapping[str, Tensor]:
        return scores.of_likelihood(x_B1HW, *self._likelihood(x_B1HW))

    def _reconstruct(self, x_B1HW: Tensor) -> Tensor:
        return self._likelihood(x_B1HW)[0]

    def _likelihood(self, x_B1HW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, 1, H, W) of the likelihood of an image."""
        mean, raw = self._network.decoder(self._network.encoder(x_B1HW)).split(1, dim=1)
        return mean, floored(raw, cast("AEUParams", self.params).log_variance_floor)
