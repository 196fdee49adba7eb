"""The paper's pixel scores of a Gaussian likelihood, as pure functions.

Shape legend: any shape, the same for all arguments; x is the image, mean its reconstruction, and
log_variance the natural logarithm of the likelihood's variance. All are float32 tensors.
"""

from __future__ import annotations

import math

from torch import Tensor

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


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
