"""Autoencoder (AE): what it cannot reconstruct is anomalous.

Trained on the squared error, a mean over pixels and batch; the score is the squared error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from trainables import scores
from trainables.description import Score
from trainables.detector import Params
from trainables.network_detector import NetworkDetector, NetworkParams


class AEParams(NetworkParams):
    """Settings of the AE.

    Attributes:
        reduction: Whether the squared errors of an image's pixels are averaged, as "MSE" says, or
            summed, as in the VAE's likelihood. Adam itself ignores a loss's scale, but its L2
            weight decay does not: beside a mean it is some 16,384 times as strong.
    """

    reduction: Literal["mean", "sum"] = "mean"


class Model(NetworkDetector):
    """The detector ``ae``; its latent z is the encoder's code."""

    Params: ClassVar[type[Params]] = AEParams
    LABEL: ClassVar[str] = "AE"
    PLACE: ClassVar[int] = 2
    VERSION: ClassVar[int] = 2
    SCORES: ClassVar[tuple[Score, ...]] = (
        Score("squared_error", "squared error (SE)", "SE", "#56B4E9"),
    )
    FIRST_SCORES: ClassVar[tuple[str, ...]] = ("squared_error",)

    def _loss(self, x_B1HW: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._error(x_B1HW, self._reconstruct(x_B1HW))

    def _score(self, x_B1HW: Tensor) -> Mapping[str, Tensor]:
        return {"squared_error": scores.squared_error(x_B1HW, self._reconstruct(x_B1HW))}

    def _error(self, x_B1HW: Tensor, reconstruction_B1HW: Tensor) -> Tensor:
        """The squared error of a batch: a mean over images, and over pixels or their sum."""
        error_B1HW = scores.squared_error(x_B1HW, reconstruction_B1HW)
        if cast("AEParams", self.params).reduction == "sum":
            return error_B1HW.sum(dim=(1, 2, 3)).mean()
        return error_B1HW.mean()

    def _reconstruct(self, x_B1HW: Tensor) -> Tensor:
        output: Tensor = self._network.decoder(self._network.encoder(x_B1HW))
        return output
