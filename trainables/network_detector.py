"""What all detectors that are networks share; a model file adds its loss and its scores.

:class:`NetworkDetector` has the paper's encoder and decoder, :class:`AnyNetworkDetector` leaves the
network to the model.

Shape legend: B images of a batch, H = W = 128 pixels, O output channels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from trainables import scores
from trainables.arithmetic import Precision, reproducible
from trainables.batches import to_device
from trainables.description import Score, Setting
from trainables.detector import Declared, EpochMetrics, State, StepMetrics, score_names
from trainables.detector import Params as DetectorParams
from trainables.fit import Settings, Training, leads_to
from trainables.network import Autoencoder, Network
from trainables.schedule import Schedule
from trainables.slices import Slices

Rate = Annotated[float, Field(ge=0, lt=1)]


class TrainingParams(DetectorParams):
    """Settings of every training.

    Attributes:
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

    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    weight_decay: float = Field(default=1e-4, ge=0, allow_inf_nan=False)
    schedule: Schedule = "decay"
    reestimate_batch_norm: bool = True
    precision: Precision = "float32"


class AnyNetworkDetector(Declared):
    """Base of detectors with a network of their own: trains by :class:`trainables.fit.Training`.

    Not thread-safe. The network comes into being when it is first used, so that a plan can ask
    many detectors for their size.
    """

    Params: ClassVar[type[DetectorParams]] = TrainingParams
    MORE_SCORES: ClassVar[tuple[Score, ...]] = (
        Score("ssim_residual", "structural dissimilarity (1 - SSIM)", "1-SSIM"),
    )
    TRAINS_BY_EPOCHS: ClassVar[bool] = True

    def __init__(self, params: DetectorParams, *, seed: int, device: str = "cpu") -> None:
        self.params = cast("TrainingParams", self.Params.model_validate(params))
        self._seed = seed
        self._device = device
        self._network = self._build()

    @abstractmethod
    def _build(self) -> Network:
        """The network that ``self.params`` stand for, shapes alone."""

    @abstractmethod
    def _loss(self, x_B1HW: Tensor, generator: torch.Generator | None) -> Tensor:
        """The objective; see :class:`trainables.fit.Objective`."""

    @abstractmethod
    def _score(self, x_B1HW: Tensor) -> Mapping[str, Tensor]:
        """Score maps (B, 1, H, W) by name."""

    def _more_scores(self, x_B1HW: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
        """Maps (B, 1, H, W) of those of ``MORE_SCORES`` that are asked for, by name."""
        if "ssim_residual" not in names:
            return {}
        return {"ssim_residual": scores.ssim_residual(x_B1HW, self._reconstruct(x_B1HW))}

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
        return _arrays(self.maps((), images_BHW, brain_BHW))

    def more_scores(
        self,
        names: Sequence[str],
        images_BHW: NDArray[np.float32],
        brain_BHW: NDArray[np.bool_],
    ) -> dict[str, NDArray[np.float32]]:
        """See :meth:`trainables.detector.Detector.more_scores`; the brain mask is not used."""
        ordered = score_names(self, names)[len(self.SCORES) :]
        maps = self._apply(lambda x: self._more_scores(x, ordered), images_BHW) if ordered else {}
        return _arrays({name: maps[name] for name in ordered})

    def maps(
        self,
        asked: Sequence[str],
        images_BHW: NDArray[np.float32],
        brain_BHW: NDArray[np.bool_],
    ) -> dict[str, Tensor]:
        """See :meth:`trainables.detector.Detector.maps`: they stay on the device."""
        names = score_names(self, asked)
        ordered = names[len(self.SCORES) :]

        def both(x_B1HW: Tensor) -> Mapping[str, Tensor]:
            return {**self._score(x_B1HW), **(self._more_scores(x_B1HW, ordered) if asked else {})}

        maps = self._apply(both, images_BHW)
        return {name: maps[name] for name in names}

    def pictures(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """The ``reconstruction`` of each slice."""
        pictures = self._apply(lambda x: {"reconstruction": self._reconstruct(x)}, images_BHW)
        return _arrays(pictures)

    @torch.no_grad()
    def _apply(
        self, function: Callable[[Tensor], Mapping[str, Tensor]], images_BHW: NDArray[np.float32]
    ) -> dict[str, Tensor]:
        """Map images batch by batch; what comes out is (B, H, W), on the device."""
        self._training.network.eval()
        size, device = self.params.batch_size, torch.device(self._device)
        parts: dict[str, list[Tensor]] = {}
        for start in range(0, max(1, len(images_BHW)), size):
            # a copy, because the images may be read-only
            batch = to_device(np.array(images_BHW[start : start + size], np.float32), device)
            with reproducible():
                maps = function(batch.unsqueeze(1))
            for name, value in maps.items():
                parts.setdefault(name, []).append(value.squeeze(1))
        # Of a single batch nothing is copied.
        return {n: torch.cat(maps) if len(maps) > 1 else maps[0] for n, maps in parts.items()}


def _arrays(maps: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    return {name: map_BHW.cpu().contiguous().numpy() for name, map_BHW in maps.items()}


class NetworkParams(TrainingParams):
    """Settings of the paper's networks.

    Attributes:
        n_c: N_c, channels of the first convolution.
        n_z: N_z, length of the encoder's code, a multiple of 4.
    """

    n_c: int = Field(gt=0)
    n_z: int = Field(gt=0, multiple_of=4)


class NetworkDetector(AnyNetworkDetector):
    """Base of the detectors that have the paper's encoder and decoder."""

    Params: ClassVar[type[DetectorParams]] = NetworkParams
    SETTINGS: ClassVar[tuple[Setting, ...]] = (
        Setting("n_c", "N_c", "channels"),
        Setting("n_z", "N_z", "size of the latent vector"),
    )
    CODE_PER_LATENT: ClassVar[int] = 1
    """Numbers of the code that make one latent number."""
    N_OUT: ClassVar[int] = 1
    """Channels O of the decoder's output."""

    _network: Autoencoder

    @classmethod
    def smallest(cls) -> DetectorParams:
        """See :meth:`trainables.detector.Detector.smallest`."""
        return cls.Params.model_validate({"n_c": 2, "n_z": 8, "batch_size": 4})

    def _build(self) -> Autoencoder:
        p = cast("NetworkParams", self.params)
        n_latent = p.n_z // self.CODE_PER_LATENT
        return Autoencoder(p.n_c, p.n_z, n_latent, self.N_OUT, precision=p.precision)
