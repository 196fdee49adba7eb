"""What a trial is ordered to do, what it may ask for, and what it tells on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import TypeAdapter

from study.plan import Work
from trainables.slices import Slices
from trainables.spec import TrialSpec

CHECKPOINT_S = 60.0
"""A fit is kept at the end of each epoch, and so often within a long one."""


class TrialData(Protocol):
    """The slices a trial may ask for."""

    def train(self) -> Slices:
        """The pooled healthy slices of the trial's modality."""

    def test(self, cohort: str) -> Slices:
        """The slices of a test cohort in the trial's modality."""

    def lesion_outside_brain_share(self, cohort: str) -> float | None:
        """Share of a test cohort's lesion voxels that lie outside the brain masks."""


@dataclass(frozen=True)
class TrialOrder:
    """A trial to work on, with everything its records say besides the results.

    Attributes:
        work: What is left of the trial.
        train_cohorts: Names of the cohorts it trains on.
        train_keys: Keys of their shards.
        device: ``cpu`` or ``cuda``.
        checkpoint_s: Longest time of training that a lost process costs, in seconds.
        alone: Whether nothing else runs beside it, so that too little memory is its own failure.
    """

    work: Work
    train_cohorts: tuple[str, ...]
    train_keys: tuple[str, ...]
    device: str = "cpu"
    checkpoint_s: float = CHECKPOINT_S
    alone: bool = False

    @property
    def spec(self) -> TrialSpec:
        """The trial's specification."""
        return self.work.trial.spec


@dataclass(frozen=True)
class Event:
    """How far a trial is: a piece of an epoch, an epoch, or a test cohort, recorded if it can be.

    Attributes:
        stage: ``fit`` within an epoch and after it, ``evaluate`` after a test cohort.
        epoch: Epochs complete.
        n_slices: Slices worked on since the last event; 0 if a result was there already.
        share: How much of an epoch under way is done; 0 between two epochs.
        loss: Mean training loss of that epoch so far, or None.
        failed: Whether it has failed; after a fit that did, no more events follow.
        reason: Why it has failed, in a sentence.
        crowded: Whether there was too little memory beside others: nothing is recorded, no more
            events follow, and the trial is to be tried alone.
        cohort: The test cohort of an evaluation.
        auc: After an evaluation, the brain region's AUC by score.
    """

    stage: str
    epoch: int = 0
    n_slices: int = 0
    share: float = 0.0
    loss: float | None = None
    failed: bool = False
    reason: str = ""
    crowded: bool = False
    cohort: str = ""
    auc: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        """Whether no more events follow, whatever is left of the trial."""
        return self.crowded or (self.failed and self.stage == "fit")


EVENTS = TypeAdapter(list[Event])
"""How events travel to the driver: as JSON in a trial's result."""
