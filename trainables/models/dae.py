"""Denoising autoencoder (DAE): an autoencoder that learns to take Gaussian noise away.

The target is the clean image; validation and scoring add no noise.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor

from trainables.description import Score
from trainables.detector import Params
from trainables.models import ae


class DAEParams(ae.AEParams):
    """Settings of the DAE.

    Attributes:
        noise_std: Standard deviation of the noise, in units of the brain's median intensity.
    """

    noise_std: float = Field(default=0.5, ge=0, allow_inf_nan=False)


class Model(ae.Model):
    """The detector ``dae``."""

    Params: ClassVar[type[Params]] = DAEParams
    LABEL: ClassVar[str] = "DAE"
    PLACE: ClassVar[int] = 3
    VERSION: ClassVar[int] = 2
    SCORES: ClassVar[tuple[Score, ...]] = (
        Score("squared_error", "squared error (SE)", "SE", "#009E73"),
    )
    FIRST_SCORES: ClassVar[tuple[str, ...]] = ("squared_error",)

    def _loss(self, x_B1HW: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            return super()._loss(x_B1HW, None)
        noise = torch.randn(x_B1HW.shape, generator=generator, device=x_B1HW.device)
        std = cast("DAEParams", self.params).noise_std
        noisy_B1HW = noise.mul_(std).add_(x_B1HW)
        return self._error(x_B1HW, self._reconstruct(noisy_B1HW))
