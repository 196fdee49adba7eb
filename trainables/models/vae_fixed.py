"""Variational autoencoder whose likelihood has one fixed variance for all pixels.

What the VAE finds better than this is owed to the variance that it predicts. Objective, sampling
and latent vector are those of the VAE; the decoder ends in the mean alone. With a fixed variance
the negative log-likelihood and the normalised error rank pixels exactly as the squared error does,
so that is the score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor

from trainables import scores
from trainables.description import Score, Setting
from trainables.detector import Params
from trainables.models import vae
from trainables.network_detector import NetworkDetector, NetworkParams


class FixedVAEParams(NetworkParams):
    """Settings of the VAE with a fixed variance.

    Attributes:
        n_z: N_z, length of the encoder's code: twice the latent numbers, a multiple of 8.
        variance: s2 of every pixel, in units of the brain's median intensity, squared. The smaller
            it is, the more the error outweighs the divergence.
    """

    n_z: int = Field(gt=0, multiple_of=8)
    variance: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class Model(vae.Model):
    """The detector ``vae_fixed``."""

    Params: ClassVar[type[Params]] = FixedVAEParams
    LABEL: ClassVar[str] = "VAE, fixed variance"
    SHORT_LABEL: ClassVar[str] = "VAE fixed"
    PLACE: ClassVar[int] = 6
    VERSION: ClassVar[int] = 2
    SCORES: ClassVar[tuple[Score, ...]] = (
        Score("squared_error", "squared error (SE)", "SE", "#999933"),
    )
    FIRST_SCORES: ClassVar[tuple[str, ...]] = ()
    SETTINGS: ClassVar[tuple[Setting, ...]] = (
        *NetworkDetector.SETTINGS,
        Setting("variance", "s2", "variance of a pixel", scale="log", is_aside=True),
    )
    N_OUT: ClassVar[int] = 1

    def _score(self, x_B1HW: Tensor) -> Mapping[str, Tensor]:
        return {"squared_error": scores.squared_error(x_B1HW, self._reconstruct(x_B1HW))}

    def _likelihood(self, z_BD: Tensor) -> tuple[Tensor, Tensor]:
        mean_B1HW: Tensor = self._network.decoder(z_BD)
        variance = cast("FixedVAEParams", self.params).variance
        return mean_B1HW, torch.full_like(mean_B1HW, math.log(variance))
