"""The paper's pixel scores of a Gaussian likelihood, and others, as pure functions.

Shape legend: any shape, the same for all arguments, or B images of a batch of H by W pixels; x is
the image, mean its reconstruction, and log_variance the natural logarithm of the likelihood's
variance. All are float32 tensors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)

SSIM_RADIUS = 5
"""The window is 11 by 11 pixels."""

SSIM_SIGMA = 1.5
"""Standard deviation of the window's Gaussian, in pixels."""

SSIM_RANGE = 2.0
"""Range of intensities: from 0 to twice the median of a brain, where nearly all of them lie."""


def squared_error(x: Tensor, mean: Tensor) -> Tensor:
    """SE, the squared error (mean - x)^2."""
    return (mean - x).square()


def log_variance(log_variance: Tensor) -> Tensor:
    """U, the uncertainty term 1/2 log(2 pi s2) of the negative log-likelihood."""
    return 0.5 * log_variance + HALF_LOG_TWO_PI


def normalized_error(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """E, the normalised error (mean - x)^2 / (2 s2): the paper's proposal."""
    return 0.5 * squared_error(x, mean) * (-log_variance).exp()


def nll(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """L, the negative log-likelihood: U + E.

    The paper's equation 3 prints it without its minus sign.
    """
    return 0.5 * log_variance + HALF_LOG_TWO_PI + normalized_error(x, mean, log_variance)


def of_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> dict[str, Tensor]:
    """SE, L, U and E by name: the same bits as one by one, with what they share computed once."""
    error = (mean - x).square_()
    uncertainty = (0.5 * log_variance).add_(HALF_LOG_TWO_PI)
    normalized = (-log_variance).exp_().mul_(0.5 * error)
    return {
        "squared_error": error,
        "nll": uncertainty + normalized,
        "log_variance": uncertainty,
        "normalized_error": normalized,
    }


def ssim_residual(x_B1HW: Tensor, mean_B1HW: Tensor) -> Tensor:
    """1 - SSIM of an image and its reconstruction, in [0, 2].

    SSIM as in equation 13 of Wang, Bovik, Sheikh and Simoncelli 2004, "Image Quality Assessment:
    From Error Visibility to Structural Similarity", with its constants K1 = .01 and K2 = .03 and
    its Gaussian window. Beyond its borders an image is mirrored.
    """
    c1, c2 = (0.01 * SSIM_RANGE) ** 2, (0.03 * SSIM_RANGE) ** 2
    mu_x, mu_y = _window_mean(x_B1HW), _window_mean(mean_B1HW)
    var_x = _window_mean(x_B1HW.square()) - mu_x.square()
    var_y = _window_mean(mean_B1HW.square()) - mu_y.square()
    covariance = _window_mean(x_B1HW * mean_B1HW) - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + c1) / (mu_x.square() + mu_y.square() + c1)
    structure = (2 * covariance + c2) / (var_x.clamp(min=0) + var_y.clamp(min=0) + c2)
    return (1 - luminance * structure).clamp(0, 2)


def _window_mean(image_B1HW: Tensor) -> Tensor:
    """Mean of each pixel's window, weighted by the Gaussian."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, device=image_B1HW.device)
    weights = (-0.5 * (offsets / SSIM_SIGMA).square()).exp()
    weights = (weights / weights.sum()).to(image_B1HW.dtype)
    padded = pad(image_B1HW, [SSIM_RADIUS] * 4, mode="reflect")
    return conv2d(conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
