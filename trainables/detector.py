"""What a file in ``trainables/models`` provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from trainables.description import LAST_PLACE, Score, Setting
from trainables.slices import Slices

if TYPE_CHECKING:  # planning needs no torch
    from torch import Tensor

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

    Not thread-safe; owned by one trial. Construction is cheap and needs no data. What it says of
    itself has defaults in :class:`Declared`, the base of both kinds of detectors that there are.
    """

    Params: ClassVar[type[AnyParams]]
    SCORES: ClassVar[tuple[Score, ...]]
    MORE_SCORES: ClassVar[tuple[Score, ...]]
    FIRST_SCORES: ClassVar[tuple[str, ...]]
    SETTINGS: ClassVar[tuple[Setting, ...]]
    VERSION: ClassVar[int]
    TRAINS_BY_EPOCHS: ClassVar[bool]
    """Whether more epochs go on training. If not, a fit is one epoch whatever is asked."""
    USES_GPU: ClassVar[bool]
    """Whether a GPU makes it faster. If not, its trials run on CPUs and leave GPUs to others."""

    @classmethod
    def smallest(cls) -> AnyParams:
        """The smallest settings that suffice for the contract tests."""

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
            validation: Slices of held-out healthy subjects, for a loss that changes nothing in the
                fit.
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
        """Anomaly score maps, higher is more anomalous; keys are those of ``SCORES``, in order.

        Args:
            images_BHW: Preprocessed slices.
            brain_BHW: Their brain masks.
        """

    def more_scores(
        self,
        names: Sequence[str],
        images_BHW: NDArray[np.float32],
        brain_BHW: NDArray[np.bool_],
    ) -> dict[str, NDArray[np.float32]]:
        """Maps of those of ``MORE_SCORES`` that are asked for, as those of :meth:`score`.

        Args:
            names: Of the scores, in any order; the maps are in this order.
            images_BHW: Preprocessed slices.
            brain_BHW: Their brain masks.
        """

    def maps(
        self,
        asked: Sequence[str],
        images_BHW: NDArray[np.float32],
        brain_BHW: NDArray[np.bool_],
    ) -> Mapping[str, NDArray[np.float32] | Tensor]:
        """The maps of :meth:`score` and :meth:`more_scores` together, to be counted.

        A tensor stays where it was made, such as a GPU.

        Args:
            asked: Those of ``MORE_SCORES`` that are asked for.
            images_BHW: Preprocessed slices.
            brain_BHW: Their brain masks.
        """

    def by_value(self) -> Mapping[str, NDArray[np.float32]] | None:
        """The scores of every intensity, where they depend on a pixel's intensity alone.

        Returns:
            Of each of ``SCORES`` the scores of all float16 numbers by their bits, as of
            :func:`trainables.byvalue.every_value`; None where a score depends on more.
        """

    def pictures(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """Pictures that explain the scores, such as ``reconstruction``; empty if there are none.

        Args:
            images_BHW: Preprocessed slices.
            brain_BHW: Their brain masks.
        """


class Declared(ABC):
    """What a detector says of itself, with defaults; a model file overrides what it needs."""

    Params: ClassVar[type[AnyParams]]

    LABEL: ClassVar[str] = ""
    """What people read for the model; by default its file name. Not inherited."""

    SHORT_LABEL: ClassVar[str] = ""
    """The same in legends; by default the label. Not inherited."""

    PLACE: ClassVar[int] = LAST_PLACE
    """Where it stands in tables; of equal ones by name. Not inherited."""

    SCORES: ClassVar[tuple[Score, ...]] = ()
    """Its scores, in the order of tables."""

    MORE_SCORES: ClassVar[tuple[Score, ...]] = ()
    """Scores that are computed only where a grid asks for them, and stand behind the others."""

    FIRST_SCORES: ClassVar[tuple[str, ...]] = ()
    """Names of the scores of evaluations whose identity does not tell them, which are older than
    names of scores in identities. Nothing but the record of a past: it never changes, and a new
    model has none."""

    SETTINGS: ClassVar[tuple[Setting, ...]] = ()
    """The settings that people compare, in the order they are told."""

    VERSION: ClassVar[int] = 2
    """Raised whenever the same specification and data would fit to other weights than before. It
    begins with 2, the last value of the number that all models once shared."""

    USES_GPU: ClassVar[bool] = True
    """Whether a GPU makes it faster."""

    @classmethod
    def smallest(cls) -> AnyParams:
        """The smallest settings that suffice for the contract tests; by default the defaults."""
        return cls.Params()

    def more_scores(
        self,
        names: Sequence[str],
        images_BHW: NDArray[np.float32],
        brain_BHW: NDArray[np.bool_],
    ) -> dict[str, NDArray[np.float32]]:
        """See :meth:`Detector.more_scores`; by default there are none."""
        return {}

    def by_value(self) -> Mapping[str, NDArray[np.float32]] | None:
        """See :meth:`Detector.by_value`; by default they depend on more."""
        return None

    @abstractmethod
    def score(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """See :meth:`Detector.score`."""

    def maps(
        self,
        asked: Sequence[str],
        images_BHW: NDArray[np.float32],
        brain_BHW: NDArray[np.bool_],
    ) -> Mapping[str, NDArray[np.float32] | Tensor]:
        """See :meth:`Detector.maps`."""
        return self.score(images_BHW, brain_BHW) | (
            self.more_scores(asked, images_BHW, brain_BHW) if asked else {}
        )


def score_names(detector: Detector | type[Detector], asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the scores that an evaluation has, in order.

    Args:
        detector: A detector.
        asked: Those of its ``MORE_SCORES`` that are asked for.

    Raises:
        ValueError: If it does not have one of them.
    """
    more = tuple(score.name for score in detector.MORE_SCORES)
    unknown = sorted(set(asked) - set(more))
    if unknown:
        raise ValueError(
            f"there is no score {unknown[0]!r} to ask for; choose from: {', '.join(more) or 'none'}"
        )
    return (*(s.name for s in detector.SCORES), *(name for name in more if name in asked))


def scores_by_value(detector: Detector) -> Mapping[str, NDArray[np.float32]] | None:
    """What :meth:`Detector.by_value` gives, unless it is of other scores.

    A model that takes over another's class and computes other scores need not know of it.
    """
    for owner in type(detector).__mro__:
        if "by_value" in vars(owner):
            return detector.by_value()
        if "score" in vars(owner):
            return None
    return None


class FitsAtOnce(Declared):
    """Base of detectors whose fit is a single epoch: nothing of it is ever continued."""

    TRAINS_BY_EPOCHS: ClassVar[bool] = False
    USES_GPU: ClassVar[bool] = False

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
