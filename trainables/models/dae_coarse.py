"""Denoising autoencoder with coarse noise: a U-Net that takes smooth patches of noise away.

Kascenas, Pugeault and O'Neil 2022, "Denoising Autoencoders for Unsupervised Anomaly Detection in
Brain MRI" (MIDL). Noise of 16 by 16 numbers is enlarged to the image, shifted at random and added
to the foreground, whatever is above 0. The objective is the squared error of the foreground, a mean
over all pixels; the score is the absolute error. What the publication does to its score afterwards,
an eroded foreground and a median filter, is not done here.

As published: the U-Net of four levels with weight standardisation, SiLU and group norm, 64 channels
at first, the noise and its strength, the learning rate, weight decay and batch size. Not as
published: intensities are in units of the brain's median, not of its 99th percentile; Adam without
AMSGrad, with this project's schedule; zeros instead of mirrored pixels beyond the borders, since
the gradient of those is not the same to the last bit every time on a GPU; 8 groups at every level;
and each image's noise is shifted by itself.

Shape legend: B images of a batch, C channels, H = W = 128 pixels, h = w = 16 numbers of noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from trainables import scores
from trainables.arithmetic import Precision
from trainables.description import Score, Setting
from trainables.detector import Params
from trainables.network import Network, autocast
from trainables.network_detector import AnyNetworkDetector, TrainingParams

SIZE = 128
LEVELS = 4
GROUPS = 8


class CoarseDAEParams(TrainingParams):
    """Settings of the DAE with coarse noise.

    Attributes:
        n_c: Channels of the first level; each of the other levels has twice as many as the one
            above it.
        noise_std: Standard deviation of the noise, in units of the brain's median intensity.
        noise_size: Numbers of noise along each side of an image.
    """

    batch_size: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=1e-5, ge=0, allow_inf_nan=False)
    n_c: int = Field(default=64, gt=0)
    noise_std: float = Field(default=0.2, ge=0, allow_inf_nan=False)
    noise_size: int = Field(default=16, ge=1, le=SIZE)


class Model(AnyNetworkDetector):
    """The detector ``dae_coarse``."""

    Params: ClassVar[type[Params]] = CoarseDAEParams
    LABEL: ClassVar[str] = "DAE, coarse noise"
    SHORT_LABEL: ClassVar[str] = "DAE coarse"
    PLACE: ClassVar[int] = 7
    SCORES: ClassVar[tuple[Score, ...]] = (
        Score("absolute_error", "absolute error", "AbsE", "#44AA99"),
    )
    SETTINGS: ClassVar[tuple[Setting, ...]] = (Setting("n_c", "N_c", "channels"),)

    @classmethod
    def smallest(cls) -> CoarseDAEParams:
        """See :meth:`trainables.detector.Detector.smallest`."""
        return CoarseDAEParams(n_c=2, batch_size=4)

    def _build(self) -> Network:
        p = cast("CoarseDAEParams", self.params)
        return UNet(p.n_c, p.precision)

    def _loss(self, x_B1HW: Tensor, generator: torch.Generator | None) -> Tensor:
        p = cast("CoarseDAEParams", self.params)
        foreground_B1HW = x_B1HW > 0
        noisy_B1HW = x_B1HW
        if generator is not None:
            noise_B1HW = coarse_noise(len(x_B1HW), p.noise_size, generator)
            noisy_B1HW = x_B1HW + p.noise_std * noise_B1HW * foreground_B1HW
        error_B1HW = scores.squared_error(x_B1HW, self._reconstruct(noisy_B1HW))
        return (error_B1HW * foreground_B1HW).mean()

    def _score(self, x_B1HW: Tensor) -> Mapping[str, Tensor]:
        return {"absolute_error": (x_B1HW - self._reconstruct(x_B1HW)).abs()}

    def _reconstruct(self, x_B1HW: Tensor) -> Tensor:
        output: Tensor = self._network(x_B1HW)
        return output


def coarse_noise(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Gaussian noise (n, 1, H, W) of standard deviation 1 at ``size`` by ``size`` points.

    In between it is interpolated linearly; each image's is shifted around by a random step.
    """
    device = generator.device
    noise_n1hw = torch.randn((n, 1, size, size), generator=generator, device=device)
    noise_n1HW = interpolate(noise_n1hw, size=(SIZE, SIZE), mode="bilinear", align_corners=True)
    shift_2n1 = torch.randint(SIZE, (2, n, 1), generator=generator, device=device)
    row_nH, column_nW = (torch.arange(SIZE, device=device) + shift_2n1).remainder(SIZE)
    image_n11 = torch.arange(n, device=device).view(n, 1, 1)
    return noise_n1HW[image_n11, 0, row_nH[:, :, None], column_nW[:, None, :]].unsqueeze(1)


class StandardizedConv(nn.Conv2d):
    """A convolution whose filters have mean 0 and variance 1 whenever they are used.

    Qiao, Wang, Liu, Shen and Yuille 2019, "Micro-Batch Training with Batch-Channel Normalization
    and Weight Standardization".
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve with the standardised filters."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = (self.weight - mean) * (variance + 1e-5).rsqrt()
        return conv2d(input, weight, self.bias, padding=self.padding)


class UNet(Network):
    """Four levels of two convolutions each, halved by averages, doubled by transposed convolutions.

    The trunk may compute in bfloat16; the layer that ends on the image computes in float32.

    Args:
        n_c: Channels of the first level.
        precision: Arithmetic of the trunk.
    """

    def __init__(self, n_c: int, precision: Precision) -> None:
        super().__init__()
        self.precision = precision
        widths = [n_c * 2**level for level in range(LEVELS)]
        with torch.device("meta"):
            self.down = nn.ModuleList(_level(i, o) for i, o in pairwise([1, *widths]))
            self.enlarge = nn.ModuleList(
                nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairwise(widths[::-1])
            )
            # as many channels come from the level below as from the one beside
            self.up = nn.ModuleList(_level(2 * width, width) for width in widths[-2::-1])
            self.last = nn.Conv2d(n_c, 1, 1)

    def forward(self, x_B1HW: Tensor) -> Tensor:
        """Map images to images (B, 1, H, W) in float32."""
        with autocast(x_B1HW, self.precision):
            hidden = x_B1HW
            beside: list[Tensor] = []
            for level in self.down:
                hidden = level(avg_pool2d(hidden, 2) if beside else hidden)
                beside.append(hidden)
            for enlarge, level, other in zip(self.enlarge, self.up, beside[-2::-1], strict=True):
                hidden = level(torch.cat([enlarge(hidden), other], dim=1))
        output: Tensor = self.last(hidden.float())
        return output

    def flops(self) -> float:
        """Floating-point operations of one forward pass, per image."""
        # a convolution is applied at each pixel of its level, a transposed one of the level below
        sides = [SIZE // 2**level for level in range(LEVELS)]
        levels = [*zip(self.down, sides, strict=True), *zip(self.up, sides[-2::-1], strict=True)]
        levels += [*zip(self.enlarge, sides[:0:-1], strict=True), (self.last, SIZE)]
        return float(
            sum(
                2 * layer.weight.numel() * side * side
                for level, side in levels
                for layer in level.modules()
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
            )
        )


def _level(n_in: int, n_out: int) -> nn.Sequential:
    """Two convolutions, each followed by SiLU and group norm."""
    layers: list[nn.Module] = []
    for channels in (n_in, n_out):
        layers += [
            StandardizedConv(channels, n_out, 3, padding=1),
            nn.SiLU(),
            nn.GroupNorm(math.gcd(GROUPS, n_out), n_out),
        ]
    return nn.Sequential(*layers)
