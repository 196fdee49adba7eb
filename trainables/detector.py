"""What a file in ``trainables/models`` provides, and how it is found."""

from __future__ import annotations

from abc import ABC, abstractmethod
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


@dataclass(frozen=True)
class StepMetrics:
    """What is told of an epoch under way.

    Attributes:
        epoch: Epochs complete.
        steps: Optimiser steps taken in all.
        n_slices: Slices seen since this was last told.
        share: How much of the epoch under way is done, in (0, 1].
        train_loss: Mean objective over the epoch so far.
    """

    epoch: int
    steps: int
    n_slices: int
    share: float
    train_loss: float


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

    def fit(
        self,
        train: Slices,
        validation: Slices | None,
        epochs: int,
        *,
        every_s: float | None = None,
    ) -> Iterator[EpochMetrics | StepMetrics]:
        """Train until ``epochs`` epochs are complete, yielding after each.

        Starts where :meth:`load_state` left off: with k epochs already complete it yields
        ``epochs - k`` times, or more if it goes back to its :meth:`continuation`. Given the same
        state, data and seed, on the same kind of device and one thread, the numbers are the same
        to the last bit.

        Args:
            train: Healthy slices.
            validation: Slices of held-out healthy subjects, for a loss that decides nothing.
            epochs: Epochs in all.
            every_s: Tell about every so many seconds how far an epoch is; without it, or by a
                detector whose epochs are short, only epochs are told.

        Raises:
            NonFiniteLossError: If the objective stops being a finite number.
        """

    def state(self) -> State:
        """The full training state as copies: weights, optimiser, random generators, ``epoch``."""

    def weights(self) -> State:
        """What scoring needs, as copies; all of its names begin with ``model.``."""

    def continuation(self) -> State | None:
        """The state that a fit of more epochs goes on from, if it is not :meth:`state` itself.

        A fit that ends in a way of its own, such as a learning rate that decays to 0, is left
        there by a longer one. None as well if this detector was loaded beyond that state.
        """

    def leads_to(self, state: State, n_slices: int, epochs: int) -> bool:
        """Whether a fit of so many epochs passes through a full training state.

        Args:
            state: From :meth:`state` or :meth:`continuation`, with no more than ``epochs`` epochs.
            n_slices: Slices to train on.
            epochs: Epochs in all.
        """

    def load_state(self, state: State) -> None:
        """Take over a full training state, or :meth:`weights` alone for scoring.

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


class FitsAtOnce(ABC):
    """Base of detectors whose fit is a single epoch: nothing of it is ever continued."""

    TRAINS_BY_EPOCHS: ClassVar[bool] = False

    @abstractmethod
    def state(self) -> State:
        """See :meth:`Detector.state`."""

    def weights(self) -> State:
        """See :meth:`Detector.weights`."""
        return {name: value for name, value in self.state().items() if name.startswith("model.")}

    def continuation(self) -> State | None:
        """See :meth:`Detector.continuation`."""
        return None

    def leads_to(self, state: State, n_slices: int, epochs: int) -> bool:
        """See :meth:`Detector.leads_to`."""
        return True


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
