"""Modified Gaussian mixture model (GMM): how likely a pixel's intensity is an outlier.

After Van Leemput et al. 2001, "Automated segmentation of multiple sclerosis lesions by model
outlier detection"; :mod:`trainables.mixture` has the model and its fit.

Shape legend: K Gaussians, B images of a batch, H = W = 128 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from trainables.byvalue import every_value
from trainables.description import Score, Setting
from trainables.detector import EpochMetrics, FitsAtOnce, State
from trainables.detector import Params as DetectorParams
from trainables.halves import to_float16, to_float32
from trainables.mixture import TAILS, Floats, Histogram, Mixture, converged, initial_mixture
from trainables.slices import Slices


class GMMParams(DetectorParams):
    """Settings of the modified GMM.

    Attributes:
        gmm_lambda: Density of the uniform class, per unit of normalised intensity.
        n_gaussians: K; the paper's 4 are white matter, grey matter, CSF and background.
        region: Pixels to fit on: those of the brain masks, or all of the slices.
        tolerance: EM ends when the mean log-likelihood grows by less, in nats per pixel. With the
            default the means are within .005 of where EM would come to in the end.
        max_iterations: EM from one start ends after so many iterations in any case.
    """

    gmm_lambda: float = Field(gt=0, allow_inf_nan=False)
    n_gaussians: int = Field(default=4, ge=1)
    region: Literal["brain", "slice"] = "brain"
    tolerance: float = Field(default=1e-10, gt=0, allow_inf_nan=False)
    max_iterations: int = Field(default=20_000, ge=1)


def best_mixture(histogram: Histogram, params: GMMParams, seed: int) -> tuple[Mixture, float, int]:
    """EM from several starts, since a Gaussian that starts on outliers may stay there.

    Returns:
        The mixture of the highest mean log-likelihood, by ascending means; that likelihood; the
        iterations of all starts together.

    Raises:
        ValueError: If there are fewer distinct intensities than Gaussians.
    """
    best: Mixture | None = None
    highest, steps = -np.inf, 0
    for tail in TAILS:
        start = initial_mixture(histogram, params.n_gaussians, params.gmm_lambda, seed, tail)
        end = converged(start, histogram, params.tolerance, params.max_iterations)
        mixture, likelihood, taken = end
        steps += taken
        if best is None or likelihood > highest:
            best, highest = mixture, likelihood
    assert best is not None, "there is more than one start"
    order = np.argsort(best.means, kind="stable")
    mixture = Mixture(best.means[order], best.variances[order], best.weights[order], best.uniform)
    return mixture, highest, steps


class Model(FitsAtOnce):
    """The detector ``gmm``."""

    Params: ClassVar[type[DetectorParams]] = GMMParams
    LABEL: ClassVar[str] = "modified GMM"
    SHORT_LABEL: ClassVar[str] = "GMM"
    PLACE: ClassVar[int] = 1
    VERSION: ClassVar[int] = 2
    SCORES: ClassVar[tuple[Score, ...]] = (
        Score("outlier_posterior", "outlier posterior", "posterior", "#E69F00"),
        Score("outlier_sum", "outlier sum", "sum", "#E69F00", "dot"),
    )
    FIRST_SCORES: ClassVar[tuple[str, ...]] = ("outlier_sum", "outlier_posterior")
    SETTINGS: ClassVar[tuple[Setting, ...]] = (
        Setting("gmm_lambda", "λ", "density of the outlier class", scale="log"),
        Setting(
            "n_gaussians", "N_z", "its number of Gaussians as the paper counts it", is_aside=True
        ),
    )

    @classmethod
    def smallest(cls) -> DetectorParams:
        """See :meth:`trainables.detector.Detector.smallest`."""
        return cls.Params.model_validate({"gmm_lambda": 0.01})

    def __init__(self, params: DetectorParams, *, seed: int, device: str = "cpu") -> None:
        self.params = GMMParams.model_validate(params)
        self._seed = seed
        self._epoch = 0
        n = self.params.n_gaussians
        self._by_value: dict[str, NDArray[np.float32]] | None = None  # of every float16
        self._mixture = Mixture(
            means=(np.arange(n) + 0.5) * 2 / n,
            variances=np.full(n, 1 / n**2),
            weights=np.full(n, 1 / n),
            uniform=self.params.gmm_lambda,
        )

    @property
    def mixture(self) -> Mixture:
        """The mixture as it is fitted."""
        return self._mixture

    @mixture.setter
    def mixture(self, mixture: Mixture) -> None:
        self._mixture, self._by_value = mixture, None

    @property
    def n_parameters(self) -> int:
        """Number of trained numbers."""
        return 3 * self.params.n_gaussians

    def flops_per_slice(self) -> float:
        """Next to nothing: the fit works on a histogram."""
        return 0.0

    def fit(
        self,
        train: Slices,
        validation: Slices | None,
        epochs: int,
        *,
        every_s: float | None = None,
    ) -> Iterator[EpochMetrics]:
        """See :meth:`trainables.detector.Detector.fit`; one epoch, whatever is asked.

        The losses are negative mean log-likelihoods in nats per pixel; steps are EM iterations.

        Raises:
            NonFiniteLossError: If a training pixel is not a finite number.
            ValueError: If there are too few distinct intensities.
        """
        if self._epoch:
            return
        p = self.params
        histogram = Histogram.of(train, p.region)
        self.mixture, likelihood, steps = best_mixture(histogram, p, self._seed)
        self._epoch = 1
        validation_loss = None
        if validation is not None and len(validation):
            held_out = Histogram.of(validation, p.region)
            validation_loss = -self.mixture.mean_log_likelihood(held_out)
        yield EpochMetrics(
            epoch=1,
            steps=steps,
            n_slices=len(train),
            train_loss=-likelihood,
            validation_loss=validation_loss,
        )

    def state(self) -> State:
        """See :meth:`trainables.detector.Detector.state`."""
        return {
            "model.means": self.mixture.means.copy(),
            "model.variances": self.mixture.variances.copy(),
            "model.weights": self.mixture.weights.copy(),
            "epoch": np.array([self._epoch], dtype=np.int64),
        }

    def load_state(self, state: State) -> None:
        """See :meth:`trainables.detector.Detector.load_state`."""
        names = ("model.means", "model.variances", "model.weights")
        if set(state) - {"epoch"} != set(names):
            raise ValueError(f"state has {sorted(state)}; a GMM's has {', '.join(names)}, epoch")
        arrays = {name: np.array(state[name], dtype=np.float64) for name in names}
        for name, array in arrays.items():
            if array.shape != (self.params.n_gaussians,):
                raise ValueError(
                    f"{name} has shape {array.shape}; with n_gaussians = "
                    f"{self.params.n_gaussians} it is ({self.params.n_gaussians},)"
                )
        means, variances, weights = arrays.values()
        self.mixture = Mixture(means, variances, weights, self.params.gmm_lambda)
        self._epoch = int(np.asarray(state.get("epoch", np.ones(1))).reshape(-1)[0])

    def score(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """See :meth:`trainables.detector.Detector.score`; the brain mask is not used.

        ``outlier_sum`` is sum_k lambda / (f_k + lambda), the paper's text; ``outlier_posterior`` is
        lambda / (sum_k pi_k f_k + lambda), the posterior of the uniform class and the paper's
        table.
        """
        values = to_float16(np.require(images_BHW, np.float32, ["C", "W"]))
        if np.array_equal(to_float32(values), images_BHW):  # as preprocessed images are
            rows = values.view(np.uint16)
            return {name: np.take(scores, rows) for name, scores in self.by_value().items()}
        return self._scores_of(images_BHW.astype(np.float64))

    def by_value(self) -> dict[str, NDArray[np.float32]]:
        """See :meth:`trainables.detector.Detector.by_value`."""
        if self._by_value is None:
            self._by_value = self._scores_of(every_value().astype(np.float64))
        return self._by_value

    def _scores_of(self, x: Floats) -> dict[str, NDArray[np.float32]]:
        """Both scores of some intensities."""
        uniform = self.mixture.uniform
        f = self.mixture.densities(x)
        mixed = np.tensordot(self.mixture.weights, f, axes=1)
        return {
            "outlier_posterior": (uniform / (mixed + uniform)).astype(np.float32),
            "outlier_sum": (uniform / (f + uniform)).sum(axis=0).astype(np.float32),
        }

    def pictures(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """No pictures: an intensity has no reconstruction."""
        return {}
