"""What a fit has to show so far, how it is kept, and where an interrupted one goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from datasets.storage import DamagedFileError
from datasets.tables import read_table
from study.records.parts import read_state, state_bytes, table_bytes
from study.records.studies import Attempt, TrialStore
from study.records.types import Checkpoint, FitRecord, Part
from trainables.detector import Detector, EpochMetrics, State, StepMetrics

STATE, CONTINUATION = "state.safetensors", "continuation.safetensors"

HISTORY_SCHEMA = pa.schema(
    [
        ("epoch", pa.int64()),
        ("steps", pa.int64()),
        ("n_slices", pa.int64()),
        ("train_loss", pa.float64()),
        ("validation_loss", pa.float64()),
        ("wall_s", pa.float64()),
        ("attempt", pa.int64()),
    ]
)
"""Of ``history.parquet``: a row an epoch."""


@dataclass
class FitProgress:
    """What a fit has to show so far, over all its attempts.

    Attributes:
        rows: A row an epoch, of :data:`HISTORY_SCHEMA`.
        attempts: How many processes have worked on it, this one included.
        wall_s: Seconds of training.
        epoch_wall_s: Those of the epoch under way.
        steps: Steps taken.
        share: How much of the epoch under way is done.
        continuation: The part that a fit of more epochs goes on from, once there is one.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 0
    wall_s: float = 0.0
    epoch_wall_s: float = 0.0
    steps: int = 0
    share: float = 0.0
    continuation: dict[str, Part] = field(default_factory=dict)
    _clock: float = field(default_factory=time.perf_counter)

    @property
    def last(self) -> dict[str, Any]:
        """The last complete epoch's row; empty before there is one."""
        return self.rows[-1] if self.rows else {}

    def start_clock(self) -> None:
        """Count the seconds from now on."""
        self._clock = time.perf_counter()

    def piece_done(self, metrics: StepMetrics) -> None:
        """Take in a piece of an epoch."""
        # A fit that has gone back to an earlier state trains the epochs after it again.
        self.rows = [row for row in self.rows if row["epoch"] <= metrics.epoch]
        self._count_time()
        self.steps, self.share = metrics.steps, metrics.share

    def epoch_done(self, metrics: EpochMetrics) -> None:
        """Take in an epoch."""
        self.rows = [row for row in self.rows if row["epoch"] < metrics.epoch]
        self._count_time()
        row = {name: getattr(metrics, name) for name in HISTORY_SCHEMA.names[:5]}
        self.rows.append({**row, "wall_s": self.epoch_wall_s, "attempt": self.attempts})
        self.steps, self.share, self.epoch_wall_s = metrics.steps, 0.0, 0.0

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.wall_s += now - self._clock
        self.epoch_wall_s += now - self._clock
        self._clock = now

    def history(self) -> pa.Table:
        """The rows as a table."""
        return pa.Table.from_pylist(self.rows, schema=HISTORY_SCHEMA)


class TrialCheckpoints:
    """Keeps an unfinished fit in the store, in place of what was kept of it before.

    Args:
        trial: Where.
        epochs: Epochs asked for.

    Attributes:
        attempt: The folder of this process's parts.
    """

    def __init__(self, trial: TrialStore, epochs: int) -> None:
        self._epochs = epochs
        self.attempt: Attempt = trial.attempt()
        self._trial = trial
        self._written = time.monotonic()

    def begin(self, progress: FitProgress) -> None:
        """Training begins now."""
        progress.start_clock()
        self._written = time.monotonic()

    def age_s(self) -> float:
        """Seconds of work that would be lost with this process."""
        return time.monotonic() - self._written

    def write(self, detector: Detector, progress: FitProgress) -> None:
        """Keep a fit as it is now.

        Raises:
            StorageError: If the store cannot be written.
        """
        self.keep_continuation(detector, progress)
        number = progress.steps
        state = self.attempt.put(f"state-{number}.safetensors", state_bytes(detector.state()))
        history = self.attempt.put(f"history-{number}.parquet", table_bytes(progress.history()))
        self._trial.write_checkpoint(
            Checkpoint(
                trial_id=self._trial.trial_id,
                epochs=self._epochs,
                epoch=len(progress.rows),
                steps=progress.steps,
                share=progress.share,
                attempts=progress.attempts,
                wall_s=progress.wall_s,
                epoch_wall_s=progress.epoch_wall_s,
                parts={STATE: state, "history.parquet": history, **progress.continuation},
            )
        )
        self._written = time.monotonic()

    def keep_continuation(self, detector: Detector, progress: FitProgress) -> None:
        """Write the state that a longer fit goes on from, if the detector came by there now."""
        state = detector.continuation()
        if state is not None and not progress.continuation:
            part = self.attempt.put(CONTINUATION, state_bytes(state))
            progress.continuation = {CONTINUATION: part}


def kept_progress(trial: TrialStore) -> FitProgress:
    """What an unfinished fit has to show by its checkpoint; nothing if that is damaged or gone.

    Raises:
        StorageError: If the store cannot be read.
    """
    try:
        checkpoint = trial.checkpoint()
        if checkpoint is None:
            return FitProgress()
        data = trial.read_part(checkpoint, "history.parquet")
    except DamagedFileError:
        return FitProgress()
    return FitProgress(
        rows=read_table(data).to_pylist(),
        attempts=checkpoint.attempts,
        wall_s=checkpoint.wall_s,
        steps=checkpoint.steps,
    )


@dataclass(frozen=True)
class _Candidate:
    """A state that a fit may go on from, and whose it is."""

    source: FitRecord | Checkpoint
    name: str
    state: State

    @property
    def epoch(self) -> int:
        return int(np.asarray(self.state["epoch"]).item())

    @property
    def steps(self) -> int:
        return int(np.asarray(self.state.get("steps", 0)).item())


def resume(trial: TrialStore, detector: Detector, n_slices: int, epochs: int) -> FitProgress:
    """Let a detector go on from the furthest state that the store has of this fit, if any.

    A state that a fit of so many epochs does not pass through is of no use. What is damaged counts
    as missing, and the fit begins where the next best is, or again: the end is the same.

    Args:
        trial: The trial's store.
        detector: A fresh detector.
        n_slices: Slices to train on.
        epochs: Epochs asked for.

    Raises:
        StorageError: If the store cannot be read, or was written by a newer version.
    """
    sources, attempts = _sources(trial)
    candidates = [c for source in sources for c in _candidates(trial, source)]
    for found in sorted(candidates, key=lambda c: (c.steps, c.epoch), reverse=True):
        if found.epoch > epochs or not detector.leads_to(found.state, n_slices, epochs):
            continue
        try:
            history = read_table(trial.read_part(found.source, "history.parquet"))
        except DamagedFileError:
            continue
        detector.load_state(found.state)
        progress = FitProgress(
            rows=[row for row in history.to_pylist() if row["epoch"] <= found.epoch],
            attempts=attempts + 1,
            wall_s=found.source.wall_s,
            steps=found.steps,
        )
        if found.name == STATE:
            kept = found.source.parts.get(CONTINUATION)
            progress.continuation = {CONTINUATION: kept} if kept else {}
            if isinstance(found.source, Checkpoint):
                progress.epoch_wall_s = found.source.epoch_wall_s
                progress.share = found.source.share
        return progress
    return FitProgress(attempts=attempts + 1)


def _sources(trial: TrialStore) -> tuple[list[FitRecord | Checkpoint], int]:
    """The records that name states, and how many attempts they tell of."""
    sources: list[FitRecord | Checkpoint] = []
    attempts = 0
    for read in (trial.checkpoint, trial.fit):
        try:
            source = read()
        except DamagedFileError:
            attempts = max(attempts, 1)
            continue
        if source is not None:
            attempts = max(attempts, source.attempts)
            sources.append(source)
    return sources, attempts


def _candidates(trial: TrialStore, source: FitRecord | Checkpoint) -> list[_Candidate]:
    """The states of a record that can be read."""
    found = []
    for name in (STATE, CONTINUATION):
        if name not in source.parts:
            continue
        try:
            state = read_state(trial.read_part(source, name))
        except DamagedFileError:
            continue
        if "epoch" in state:
            found.append(_Candidate(source, name, state))
    return found
