"""What all detectors that are networks share; a model file adds its loss and its scores.

Shape legend: B images of a batch, H = W = 128 pixels, O output channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from trainables.arithmetic import Precision
from trainables.description import Setting
from trainables.detector import Declared, EpochMetrics, State, StepMetrics
from trainables.detector import Params as DetectorParams
from trainables.fit import Settings, Training, leads_to
from trainables.network import Autoencoder
from trainables.schedule import Schedule
from trainables.slices import Slices

Rate = Annotated[float, Field(ge=0, lt=1)]


class NetworkParams(DetectorParams):
    """Settings of every network.

    Attributes:
        n_c: N_c, channels of the first convolution.
        n_z: N_z, length of the encoder's code, a multiple of 4.
        batch_size: Slices a step.
        learning_rate: Adam's step size.
        betas: Adam's decay rates.
        weight_decay: L2 penalty inside Adam.
        schedule: What becomes of the learning rate, see :mod:`trainables.schedule`.
        reestimate_batch_norm: Whether scoring uses statistics of batch norm that are taken anew
            over all training images, see :mod:`trainables.batchnorm`.
        precision: Arithmetic of the inner layers; losses, statistics, log-variances, the latent
            code and the output are float32 either way. A plan sets it for a whole study, see
            :mod:`trainables.arithmetic`.
    """

    n_c: int = Field(gt=0)
    n_z: int = Field(gt=0, multiple_of=4)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    weight_decay: float = Field(default=1e-4, ge=0, allow_inf_nan=False)
    schedule: Schedule = "decay"
    reestimate_batch_norm: bool = True
    precision: Precision = "float32"


class NetworkDetector(Declared, ABC):
    """Base of the network detectors: trains by :class:`trainables.fit.Training`.

    Not thread-safe. The network comes into being when it is first used, so that a plan can ask
    many detectors for their size.
    """

    Params: ClassVar[type[DetectorParams]] = NetworkParams
    SETTINGS: ClassVar[tuple[Setting, ...]] = (
        Setting("n_c", "N_c", "channels"),
        Setting("n_z", "N_z", "size of the latent vector"),
    )
    TRAINS_BY_EPOCHS: ClassVar[bool] = True
    CODE_PER_LATENT: ClassVar[int] = 1
    """Numbers of the code that make one latent number."""
    N_OUT: ClassVar[int] = 1
    """Channels O of the decoder's output."""

    @classmethod
    def smallest(cls) -> DetectorParams:
        """See :meth:`trainables.detector.Detector.smallest`."""
        return cls.Params.model_validate({"n_c": 2, "n_z": 8, "batch_size": 4})

    def __init__(self, params: DetectorParams, *, seed: int, device: str = "cpu") -> None:
        self.params = cast("NetworkParams", self.Params.model_validate(params))
        self._seed = seed
        self._device = device
        self._network = Autoencoder(
            self.params.n_c,
            self.params.n_z,
            self.params.n_z // self.CODE_PER_LATENT,
            self.N_OUT,
            precision=self.params.precision,
        )

    @abstractmethod
    def _loss(self, x_B1HW: Tensor, generator: torch.Generator | None) -> Tensor:
        """The objective; see :class:`trainables.fit.Objective`."""

    @abstractmethod
    def _score(self, x_B1HW: Tensor) -> Mapping[str, Tensor]:
        """Score maps (B, 1, H, W) by name."""

    @abstractmethod
    def _reconstruct(self, x_B1HW: Tensor) -> Tensor:
        """Reconstruction (B, 1, H, W)."""

    @cached_property
    def _training(self) -> Training:
        self._network.materialise(self._seed, self._device)
        return Training(self._network, self._settings, seed=self._seed)

    @property
    def _settings(self) -> Settings:
        p = self.params
        return Settings(
            batch_size=p.batch_size,
            learning_rate=p.learning_rate,
            betas=p.betas,
            weight_decay=p.weight_decay,
            schedule=p.schedule,
            reestimate_batch_norm=p.reestimate_batch_norm,
        )

    @property
    def n_parameters(self) -> int:
        """Number of trained numbers."""
        return sum(p.numel() for p in self._network.parameters())

    def flops_per_slice(self) -> float:
        """Floating-point operations of one training step, per slice.

        Backward counts twice as much as forward: one product for the weights' gradient and one for
        the input's.
        """
        return 3 * self._network.flops()

    def fit(
        self,
        train: Slices,
        validation: Slices | None,
        epochs: int,
        *,
        every_s: float | None = None,
    ) -> Iterator[EpochMetrics | StepMetrics]:
        """See :meth:`trainables.detector.Detector.fit` and :meth:`trainables.fit.Training.run`."""
        return self._training.run(self._loss, train, validation, epochs, every_s=every_s)

    def state(self) -> State:
        """See :meth:`trainables.detector.Detector.state`."""
        return self._training.state()

    def weights(self) -> State:
        """See :meth:`trainables.detector.Detector.weights`."""
        return self._training.weights()

    def continuation(self) -> State | None:
        """See :meth:`trainables.detector.Detector.continuation`: where the decay began."""
        return self._training.before_decay()

    def leads_to(self, state: State, n_slices: int, epochs: int) -> bool:
        """See :meth:`trainables.detector.Detector.leads_to`."""
        return leads_to(state, n_slices, epochs, self._settings)

    def load_state(self, state: State) -> None:
        """See :meth:`trainables.detector.Detector.load_state`."""
        self._training.load_state(state)

    def score(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """See :meth:`trainables.detector.Detector.score`; the brain mask is not used."""
        maps = self._apply(self._score, images_BHW)
        return {score.name: maps[score.name] for score in self.SCORES}

    def pictures(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """The ``reconstruction`` of each slice."""
        return self._apply(lambda x: {"reconstruction": self._reconstruct(x)}, images_BHW)

    @torch.no_grad()
    def _apply(
        self, function: Callable[[Tensor], Mapping[str, Tensor]], images_BHW: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Map images batch by batch, so that memory does not grow with their number."""
        self._training.network.eval()
        size = self.params.batch_size
        parts: dict[str, list[NDArray[np.float32]]] = {}
        for start in range(0, max(1, len(images_BHW)), size):
            # a copy, because the images may be read-only
            batch = torch.from_numpy(np.array(images_BHW[start : start + size], np.float32))
            for name, value in function(batch.to(self._device).unsqueeze(1)).items():
                parts.setdefault(name, []).append(value.squeeze(1).cpu().contiguous().numpy())
        return {name: np.concatenate(maps) for name, maps in parts.items()}
