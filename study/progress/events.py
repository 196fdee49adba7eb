"""What a trial tells on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter


@dataclass(frozen=True)
class Event:
    """How far a trial is: a piece of an epoch, an epoch, or a test cohort, recorded if it can be.

    Attributes:
        stage: ``fit`` within an epoch and after it, ``evaluate`` after a test cohort.
        epoch: Epochs complete.
        n_slices: Slices worked on since the last event; 0 if a result was there already.
        share: How much of an epoch under way is done; 0 between two epochs.
        loss: Mean training loss of that epoch so far, or None.
        validation_loss: After an epoch at which networks are compared; else None.
        failed: Whether it has failed; after a fit that did, no more events follow.
        reason: Why it has failed, in a sentence.
        crowded: Whether there was too little memory beside others: nothing is recorded, no more
            events follow, and the trial is to be tried alone.
        cohort: The ``place`` of an evaluation: its test cohort, and what was done to the maps.
        auc: After an evaluation of maps as they are, the brain region's AUC by score.
    """

    stage: str
    epoch: int = 0
    n_slices: int = 0
    share: float = 0.0
    loss: float | None = None
    validation_loss: float | None = None
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
