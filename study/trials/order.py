"""What a trial is ordered to do, what it may ask for, and what it tells on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from study.plan.done import Work
from trainables.slices import Slices
from trainables.spec import TrialSpec

CHECKPOINT_S = 60.0
"""A fit is kept at the end of each epoch, and so often within a long one."""


class TrialData(Protocol):
    """The slices a trial may ask for."""

    def train(self) -> Slices:
        """The pooled healthy slices of the trial's modality."""

    def test(self, cohort: str) -> Slices:
        """The slices of a test or healthy cohort in the trial's modality."""

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
        rungs: Epochs after which its validation loss is compared with others', ascending.
        alone: Whether nothing else runs beside it, so that too little memory is its own failure.
    """

    work: Work
    train_cohorts: tuple[str, ...]
    train_keys: tuple[str, ...]
    device: str = "cpu"
    checkpoint_s: float = CHECKPOINT_S
    rungs: tuple[int, ...] = ()
    alone: bool = False

    @property
    def spec(self) -> TrialSpec:
        """The trial's specification."""
        return self.work.trial.spec
