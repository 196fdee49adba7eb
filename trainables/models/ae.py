"""Autoencoder (AE): what it cannot reconstruct is anomalous.

Trained on the mean squared error over pixels and batch; the score is the squared error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from trainables import scores
from trainables.network_detector import NetworkDetector


class Model(NetworkDetector):
    """The detector ``ae``; its latent z is the encoder's code."""

    SCORES: ClassVar[tuple[str, ...]] = ("squared_error",)

    def _loss(self, x_B1HW: Tensor, generator: torch.Generator | None) -> Tensor:
        return scores.squared_error(x_B1HW, self._reconstruct(x_B1HW)).mean()

    def _score(self, x_B1HW: Tensor) -> Mapping[str, Tensor]:
        return {"squared_error": scores.squared_error(x_B1HW, self._reconstruct(x_B1HW))}

    def _reconstruct(self, x_B1HW: Tensor) -> Tensor:
        output: Tensor = self._network.decoder(self._network.encoder(x_B1HW))
        return output
