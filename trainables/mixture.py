"""Gaussians and a uniform class over pixel intensities, and their fit by EM.

A pixel of intensity x has the density

    sum_k pi_k f_k(x) + lambda,    sum_k pi_k = 1,

with Gaussians f_k and a uniform class of constant density lambda. The uniform class takes part in
every step of the fit by expectation maximisation (EM), so outliers among the training pixels pull
on the Gaussians by little. Images are float16, so the histogram of their at most 65,536 values
loses nothing, and the fit does not depend on how many slices there are.

Where tissues overlap, EM creeps: thousands of iterations bring its means closer by less than .01
each hundred. Such a fit goes on with SQUAREM (Varadhan and Roland 2008, "Simple and globally
convergent methods for accelerating the convergence of any EM algorithm"), to the same optimum.

Shape legend: V distinct intensities, K Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.detector import NonFiniteLossError
from trainables.slices import Slices

Floats = NDArray[np.float64]

MIN_VARIANCE = 1e-6
"""Lower bound of a variance: a standard deviation of float16's step at the brain's median, 1."""

_BATCH = 256

TAILS = (0.005, 0.05, 0.1)

_CREEPING = 1e-7
"""EM whose iteration gains less than this, in nats per pixel, is accelerated from then on."""


@dataclass(frozen=True)
class Mixture:
    """The Gaussians and the uniform class.

    Attributes:
        means: (K,) float64 means.
        variances: (K,) float64 variances.
        weights: (K,) float64 weights pi_k, of sum 1.
        uniform: Density lambda of the uniform class.
    """

    means: Floats
    variances: Floats
    weights: Floats
    uniform: float

    def densities(self, x: Floats) -> Floats:
        """Densities f_k(x), the Gaussians along a new first axis."""
        shape = (-1,) + (1,) * x.ndim
        means, variances = self.means.reshape(shape), self.variances.reshape(shape)
        f: Floats = np.exp(-np.square(x - means) / (2 * variances))
        f /= np.sqrt(2 * np.pi * variances)
        return f

    def mean_log_likelihood(self, histogram: Histogram) -> float:
        """Mean over pixels of log(sum_k pi_k f_k + lambda), in nats: the objective."""
        density_V = self.weights @ self.densities(histogram.values) + self.uniform
        return float(histogram.counts @ np.log(density_V) / histogram.counts.sum())


@dataclass(frozen=True)
class Histogram:
    """How often each intensity occurs.

    Attributes:
        values: (V,) float64 distinct intensities, ascending.
        counts: (V,) float64 numbers of pixels, all positive.
    """

    values: Floats
    counts: Floats

    @classmethod
    def of(cls, slices: Slices, region: Literal["brain", "slice"]) -> Histogram:
        """The histogram of some slices.

        Raises:
            ValueError: If there are no such pixels.
            NonFiniteLossError: If a pixel is not a finite number.
        """
        counts = np.zeros(2**16, dtype=np.int64)
        for start in range(0, len(slices), _BATCH):
            images = slices.images_NHW[start : start + _BATCH]
            if region == "brain":
                images = images[slices.batch(slice(start, start + _BATCH)).brain_BHW]
            counts += np.bincount(images.view(np.uint16).reshape(-1), minlength=2**16)
        values = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
        seen = np.flatnonzero(counts > 0)
        if not len(seen):
            raise ValueError(f"no pixels in the region {region} of {len(slices)} slices")
        if not np.isfinite(values[seen]).all():
            raise NonFiniteLossError("a training pixel is not a finite number")
        order = seen[np.argsort(values[seen], kind="stable")]
        return cls(values[order], counts[order].astype(np.float64))


def initial_mixture(
    histogram: Histogram, n_gaussians: int, uniform: float, seed: int, tail: float = TAILS[0]
) -> Mixture:
    """Where EM starts: k-means of 199 quantiles.

    Args:
        histogram: The training pixels.
        n_gaussians: K.
        uniform: lambda.
        seed: Seed of k-means.
        tail: Share of the pixels left out on both sides, since k-means gives clusters of their own
            to far outliers.

    Raises:
        ValueError: If there are fewer distinct intensities than Gaussians.
    """
    rank = np.cumsum(histogram.counts) / histogram.counts.sum()
    points = histogram.values[np.searchsorted(rank, np.linspace(tail, 1 - tail, 199))]
    values, times = np.unique(points, return_counts=True)
    counts = times.astype(np.float64)
    if len(values) < n_gaussians:
        values, counts = histogram.values, histogram.counts
    if len(values) < n_gaussians:
        raise ValueError(
            f"the pixels have {len(values)} distinct intensities; "
            f"{n_gaussians} Gaussians need at least as many"
        )
    from sklearn.cluster import KMeans  # takes half a second, which planning need not wait for

    kmeans = KMeans(n_gaussians, n_init=4, random_state=seed)
    labels = kmeans.fit_predict(values[:, None], sample_weight=counts)
    member_KV = labels == np.arange(n_gaussians)[:, None]
    return _moments(member_KV * counts, values, uniform)


def em_step(mixture: Mixture, histogram: Histogram) -> Mixture:
    """One iteration of EM; the mean log-likelihood never falls.

    The uniform class has its share of the responsibilities but nothing to be fitted, and the
    weights of the Gaussians sum to 1 by themselves.
    """
    joint_KV = mixture.weights[:, None] * mixture.densities(histogram.values)
    joint_KV *= histogram.counts / (joint_KV.sum(axis=0) + mixture.uniform)
    return _moments(joint_KV, histogram.values, mixture.uniform, before=mixture)


def converged(
    mixture: Mixture, histogram: Histogram, tolerance: float, max_iterations: int
) -> tuple[Mixture, float, int]:
    """EM from one start to its end; the mean log-likelihood never falls.

    Plain EM decides which optimum a start leads to; the rest of the way is accelerated.

    Args:
        mixture: The start.
        histogram: The training pixels.
        tolerance: It ends when the mean log-likelihood grows by less, in nats per pixel.
        max_iterations: It ends after so many iterations, give or take one.

    Returns:
        The mixture, its mean log-likelihood, the iterations.
    """
    likelihood, gain, steps, creeps = mixture.mean_log_likelihood(histogram), np.inf, 0, False
    while gain > tolerance and steps < max_iterations:
        before = likelihood
        if creeps:
            mixture, likelihood = accelerated_step(mixture, histogram)
        else:
            mixture = em_step(mixture, histogram)
            likelihood = mixture.mean_log_likelihood(histogram)
        gain, steps = likelihood - before, steps + 1 + creeps
        creeps = creeps or gain < _CREEPING
    return mixture, likelihood, steps


def accelerated_step(mixture: Mixture, histogram: Histogram) -> tuple[Mixture, float]:
    """One cycle of SQUAREM: two iterations of EM, and further along the curve that they begin.

    Returns:
        The mixture, and its mean log-likelihood, which is that of the two iterations or higher.
    """
    first = em_step(mixture, histogram)
    second = em_step(first, histogram)
    start, middle, end = (_coordinates(m) for m in (mixture, first, second))
    step, bend = middle - start, end - 2 * middle + start
    likelihood, turn = second.mean_log_likelihood(histogram), float(np.linalg.norm(bend))
    length = float(np.linalg.norm(step)) / turn if turn > 0 else 1.0
    while length > 1:  # a length of 1 is where the two iterations lead
        means, log_variances, weights = np.split(start + 2 * length * step + length**2 * bend, 3)
        variances = np.maximum(np.exp(log_variances), MIN_VARIANCE)
        if weights.min() >= 0 and np.isfinite(variances).all():
            # A sum that rounding makes larger than 1 would pass for a likelier mixture.
            further = Mixture(means, variances, weights / weights.sum(), mixture.uniform)
            reached = further.mean_log_likelihood(histogram)
            if reached >= likelihood:
                return further, reached
        length /= 2
    return second, likelihood


def _coordinates(mixture: Mixture) -> Floats:
    """Means, logarithms of the variances, and weights in a row."""
    return np.concatenate([mixture.means, np.log(mixture.variances), mixture.weights])


def _moments(
    mass_KV: Floats, values: Floats, uniform: float, before: Mixture | None = None
) -> Mixture:
    """Weights, means and variances of pixels shared out to the Gaussians."""
    mass_K = mass_KV.sum(axis=1)
    # A Gaussian that nothing belongs to has weight 0, and may stay where it is.
    used = mass_K > 0
    divisor_K = np.where(used, mass_K, 1.0)
    means = mass_KV @ values / divisor_K
    variances = (mass_KV * np.square(values - means[:, None])).sum(axis=1) / divisor_K
    if before is not None:
        means = np.where(used, means, before.means)
        variances = np.where(used, variances, before.variances)
    # The bounded variance still is the best one within the bound, so EM keeps its promise.
    return Mixture(means, np.maximum(variances, MIN_VARIANCE), mass_K / mass_K.sum(), uniform)
