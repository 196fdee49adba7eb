"""What a driver tells of itself while it runs: ``progress.json``."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from study.records.types import Count, Record


class Stage(StrEnum):
    """What a driver is at; the last three are its end."""

    PREPARE = "prepare"
    TRIALS = "trials"
    REPORT = "report"
    DONE = "done"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"


class RunningTrial(BaseModel):
    """A trial at work, as the heartbeat tells it.

    Attributes:
        trial_id: Identity of the fit.
        label: What people call it.
        stage: ``fit`` or ``evaluate``.
        epoch: Epochs complete.
        share: How much of the epoch under way is done.
        epochs: Epochs asked for.
        loss: Mean training loss of the epoch under way, or of the last one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    trial_id: str
    label: str
    stage: str
    epoch: Count = 0
    share: float = 0.0
    epochs: Count = 1
    loss: float | None = None


def _with_zone(text: str) -> str:
    """A time that can be compared: ISO 8601 with its zone."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("the time has no zone")
    return text


def _known_stage(value: object) -> object:
    """A stage as it is; any other text is a part of preparation."""
    is_other = isinstance(value, str) and value not in set(Stage)
    return Stage.PREPARE if is_other else value


class Progress(Record):
    """``progress.json``: the driver's heartbeat, replaced every few seconds.

    Attributes:
        driver: Random identity of the driver process.
        process: Its process with the time that began, to tell it from a later one of its number.
        space: Where that number means this process: a start of a system and a namespace. Empty in
            the records of earlier versions.
        took_over: Drivers that it and its predecessors have taken over from, which have to stop.
        needs_cleanup: Whether it may leave parts that no manifest names; ``untidy`` in the records
            of earlier versions.
        stage: What it is at. Earlier versions wrote captions there, which count as ``prepare``.
        caption: What people read for a part of a stage, such as ``verifying shards``.
        started: UTC time the driver started.
        updated: UTC time of this heartbeat.
        stopped: Trials stopped early by their validation loss; left out where there are none.
        seconds_left: Estimated, or None when unknown.
        best: Best brain-region AUC so far by ``cohort modality``.
    """

    driver: str
    host: str
    pid: Annotated[int, Field(ge=0, lt=1 << 31)]
    process: str = ""
    space: str = ""
    took_over: tuple[str, ...] = ()
    needs_cleanup: bool = Field(
        default=False, validation_alias=AliasChoices("needs_cleanup", "untidy")
    )
    stage: Annotated[Stage, BeforeValidator(_known_stage)]
    caption: str = ""
    started: str
    updated: Annotated[str, AfterValidator(_with_zone)]
    planned: Count = 0
    done: Count = 0
    failed: Count = 0
    stopped: Count = Field(default=0, exclude_if=lambda count: count == 0)
    running: tuple[RunningTrial, ...] = ()
    slices_per_s: float = 0.0
    seconds_left: float | None = None
    best: dict[str, float] = Field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether the driver has said that it is at its end."""
        return self.stage in (Stage.DONE, Stage.INTERRUPTED, Stage.STOPPED)
