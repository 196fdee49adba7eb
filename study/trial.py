"""One trial from start to record: fit, checkpoint, evaluate. Knows the store, not Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.storage import ChecksumError, StorageError
from study.evaluation import evaluate_and_record, record_failed_evaluations, recorded
from study.failures import failure_of, is_out_of_memory, lost_worker
from study.order import Event, TrialData, TrialOrder
from study.parts import read_state, state_bytes, table_bytes
from study.provenance import provenance
from study.records import Checkpoint, DamagedError, Failure, FitRecord, Part
from study.store import Attempt, StudyStore, TrialStore, utc_now
from trainables.detector import Detector, NonFiniteLossError, State
from trainables.spec import RECIPE_VERSION

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


def run_trial(order: TrialOrder, data: TrialData, study: StudyStore) -> Iterator[Event]:
    """Do what is left of a trial, yielding after each epoch and each evaluation.

    What the store has by now is not done again, whatever the order says: the worker that had the
    order before may have been lost after it had written a record. Whatever the detector raises
    ends in a record with its traceback, not in an exception.

    Raises:
        StorageError: If the store cannot be read or written.
    """
    trial = study.trial(order.work.trial.trial_id)
    try:
        detector = order.spec.detector(order.device)
        is_fitted = _load_fit(order, detector, trial)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - a trial that fails is a record, not a crash
        is_crowded = is_out_of_memory(error) and not order.alone
        if not is_crowded:
            _record_failure(order, trial, failure_of(error))
        yield Event("fit", failed=not is_crowded, crowded=is_crowded)
        return
    if not is_fitted:
        for event in _fit(order, detector, data, trial):
            yield event
            if event.is_last:
                return
    for planned in order.work.evals:
        event = recorded(order, planned, trial) or evaluate_and_record(
            order, planned, detector, data, trial
        )
        yield event
        if event.is_last:
            return


def record_loss(order: TrialOrder, study: StudyStore, reason: str) -> None:
    """Record that a trial's worker was lost more often than it is begun again.

    Args:
        order: The trial.
        study: Where its records go.
        reason: What Ray had to say.

    Raises:
        StorageError: If the store cannot be written.
    """
    _record_failure(order, study.trial(order.work.trial.trial_id), lost_worker(reason))


def _record_failure(order: TrialOrder, trial: TrialStore, failure: Failure) -> None:
    """Record a failure outside of training: that of the fit, or of what is to be evaluated."""
    if _finished_fit(order, trial) is not None:
        record_failed_evaluations(order, trial, failure)
        return
    try:
        checkpoint = trial.checkpoint()
    except DamagedError:
        checkpoint = None
    progress = _Progress()
    if checkpoint is not None:
        progress = _Progress(attempts=checkpoint.attempts, wall_s=checkpoint.wall_s)
    trial.write_failure(_fit_record(order, 0, progress, {}, failure), keep_checkpoint=True)


def _finished_fit(order: TrialOrder, trial: TrialStore) -> FitRecord | None:
    """The record of a fit that has all the epochs asked for."""
    try:
        record = trial.fit()
    except DamagedError:
        return None
    is_finished = record and record.status == "done" and record.spec.epochs == order.spec.epochs
    return record if is_finished else None


def _load_fit(order: TrialOrder, detector: Detector, trial: TrialStore) -> bool:
    """Take over the weights of a finished fit; False if there are none, or damaged ones."""
    record = _finished_fit(order, trial)
    if record is None:
        return False
    try:
        detector.load_state(read_state(trial.read_part(record, "model.safetensors")))
    except (ChecksumError, DamagedError):
        return False
    return True


@dataclass
class _Progress:
    """What a fit has to show so far, over all its attempts."""

    history: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 0
    wall_s: float = 0.0

    @property
    def last(self) -> dict[str, Any]:
        return self.history[-1] if self.history else {}


def _fit(
    order: TrialOrder, detector: Detector, data: TrialData, trial: TrialStore
) -> Iterator[Event]:
    attempt = trial.attempt()
    progress = _Progress()
    try:
        progress = _resume(order, detector, trial)
        train, validation = data.train().split(order.spec.validation_fraction)
        clock = time.perf_counter()
        for metrics in detector.fit(train, validation, order.spec.epochs):
            now = time.perf_counter()
            row = {name: getattr(metrics, name) for name in HISTORY_SCHEMA.names[:5]}
            progress.history.append({**row, "wall_s": now - clock, "attempt": progress.attempts})
            progress.wall_s += now - clock
            if metrics.epoch < order.spec.epochs:
                _write_checkpoint(attempt, detector, progress, trial)
                yield Event("fit", metrics.epoch, metrics.n_slices, now - clock)
            clock = time.perf_counter()
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - a trial that fails is a record, not a crash
        is_crowded = is_out_of_memory(error) and not order.alone
        if not is_crowded:
            n = detector.n_parameters
            record = _fit_record(order, n, progress, {}, failure_of(error))
            may_go_on = not isinstance(error, NonFiniteLossError)
            trial.write_failure(record, keep_checkpoint=may_go_on)
        yield Event("fit", failed=not is_crowded, crowded=is_crowded)
        return
    parts = attempt.put_all(
        {
            "spec.json": order.spec.model_dump_json(indent=1).encode(),
            "history.parquet": table_bytes(_history(progress)),
            "model.safetensors": state_bytes(_weights(detector.state())),
            "state.safetensors": state_bytes(detector.state()),
        }
    )
    record = _fit_record(order, detector.n_parameters, progress, parts, None)
    if not trial.has_longer_fit(record.spec.epochs):  # another driver may have gone on
        trial.write_fit(record)
    last = progress.last
    yield Event("fit", order.spec.epochs, last.get("n_slices", 0), last.get("wall_s", 0.0))


def _resume(order: TrialOrder, detector: Detector, trial: TrialStore) -> _Progress:
    """Take over the furthest state the store has of this fit, if it has one.

    A state beyond the epochs asked for is of no use. What is damaged counts as missing, and the
    fit begins where the next best is, or again: the end is the same.
    """
    sources: list[FitRecord | Checkpoint] = []
    attempts = 0
    for read in (trial.checkpoint, trial.fit):
        try:
            source = read()
        except DamagedError:
            attempts = max(attempts, 1)
            continue
        if source is not None:
            attempts = max(attempts, source.attempts)
            sources.append(source)
    for source in sorted(sources, key=_epoch, reverse=True):
        if not 0 < _epoch(source) <= order.spec.epochs:
            continue
        try:
            data = trial.read_part(source, "state.safetensors")
            history = pq.read_table(pa.BufferReader(trial.read_part(source, "history.parquet")))
        except (ChecksumError, DamagedError):
            continue
        detector.load_state(read_state(data))
        return _Progress(history.to_pylist(), attempts + 1, source.wall_s)
    return _Progress(attempts=attempts + 1)


def _epoch(source: FitRecord | Checkpoint) -> int:
    """Epochs that a state has complete; a failed fit has those of a shorter one, or none."""
    if isinstance(source, Checkpoint):
        return source.epoch
    return source.spec.epochs if source.status == "done" else source.epochs_kept


def _write_checkpoint(
    attempt: Attempt, detector: Detector, progress: _Progress, trial: TrialStore
) -> None:
    epoch = progress.last["epoch"]
    state = state_bytes(detector.state())
    parts = {
        "state.safetensors": attempt.put(f"state-{epoch}.safetensors", state),
        "history.parquet": attempt.put(f"history-{epoch}.parquet", table_bytes(_history(progress))),
    }
    trial.write_checkpoint(
        Checkpoint(
            trial_id=trial.trial_id,
            epoch=epoch,
            steps=progress.last["steps"],
            attempts=progress.attempts,
            wall_s=progress.wall_s,
            parts=parts,
        )
    )


def _fit_record(
    order: TrialOrder,
    n_parameters: int,
    progress: _Progress,
    parts: dict[str, Part],
    failure: Failure | None,
) -> FitRecord:
    last = progress.last
    return FitRecord(
        trial_id=order.work.trial.trial_id,
        status="failed" if failure else "done",
        spec=order.spec,
        train_cohorts=order.train_cohorts,
        train_keys=order.train_keys,
        search=order.work.trial.search,
        recipe_version=RECIPE_VERSION,
        parts=parts,
        n_parameters=n_parameters,
        attempts=max(1, progress.attempts),
        wall_s=progress.wall_s,
        steps=last.get("steps", 0),
        train_loss=last.get("train_loss"),
        validation_loss=last.get("validation_loss"),
        failure=failure,
        provenance=provenance(order.device),
        finished=utc_now(),
    )


def _history(progress: _Progress) -> pa.Table:
    return pa.Table.from_pylist(progress.history, schema=HISTORY_SCHEMA)


def _weights(state: State) -> State:
    return {name: array for name, array in state.items() if name.startswith("model.")}
