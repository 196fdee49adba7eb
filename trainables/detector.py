"""What a file in ``trainables/models`` provides, and how it is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from datasets.plugins import load_plugin, plugin_names
from trainables import models
from trainables.slices import Slices

State = Mapping[str, NDArray[np.generic]]
"""Named arrays: what safetensors stores. Scalars are 0-d or 1-element arrays, a random generator's
state is its bytes. Weights that scoring needs are named ``model.*``."""


class Params(BaseModel):
    """Base of a detector's own settings: frozen, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyParams: TypeAlias = Params


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch of fitting reports.

    Attributes:
        epoch: Epochs completed, counted from 1.
        steps: Optimiser steps (or EM iterations) completed in all.
        n_slices: Slices seen in this epoch.
        train_loss: Mean objective over the epoch, or None where there is none.
        validation_loss: The same on the held-out healthy subjects, or None.
    """

    epoch: int
    steps: int
    n_slices: int
    train_loss: float | None
    validation_loss: float | None


class Detector(Protocol):
    """An unsupervised anomaly detector: fits on healthy slices, scores every pixel.

    Not thread-safe; owned by one trial. Construction is cheap and needs no data.
    """

    Params: ClassVar[type[AnyParams]]
    SCORES: ClassVar[tuple[str, ...]]
    TRAINS_BY_EPOCHS: ClassVar[bool]
    """Whether more epochs go on training. If not, a fit is one epoch whatever is asked."""

    def __init__(self, params: AnyParams, *, seed: int, device: str = "cpu") -> None: ...

    @property
    def n_parameters(self) -> int:
        """Number of trained numbers."""

    def flops_per_slice(self) -> float:
        """Floating-point operations of one training step, per slice; 0 if next to nothing."""

    def fit(self, train: Slices, validation: Slices | None, epochs: int) -> Iterator[EpochMetrics]:
        """Train until ``epochs`` epochs are complete, yielding after each.

        Starts where :meth:`load_state` left off: with k epochs already complete it yields
        ``epochs - k`` times. Given the same state, data and seed, on the same kind of device and
        one thread, the numbers are the same to the last bit.

        Raises:
            NonFiniteLossError: If the objective stops being a finite number.
        """

    def state(self) -> State:
        """The full training state as copies: weights, optimiser, random generators, epoch."""

    def load_state(self, state: State) -> None:
        """Take over a full training state, or the ``model.*`` part alone for scoring.

        Raises:
            ValueError: If names or shapes do not fit this detector's settings.
        """

    def score(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Anomaly score maps, higher is more anomalous; keys are ``SCORES`` in that order.

        Args:
            images_BHW: Preprocessed slices.
            brain_BHW: Their brain masks.
        """

    def pictures(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Pictures that explain the scores, such as ``reconstruction``; empty if there are none.

        Args:
            images_BHW: Preprocessed slices.
            brain_BHW: Their brain masks.
        """


class NonFiniteLossError(ArithmeticError):
    """Training ran off: the objective is NaN or infinite."""


def model_names() -> tuple[str, ...]:
    """Names of all detectors, sorted."""
    return plugin_names(models)


@cache
def detector_class(name: str) -> type[Detector]:
    """The detector of a model file.

    Raises:
        ValueError: If there is no such model.
    """
    return cast("type[Detector]", load_plugin(models, name, "model").Model)
