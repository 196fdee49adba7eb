"""One trial from start to record: fit, checkpoint, evaluate. Knows the store, not Ray."""

from __future__ import annotations

from collections.abc import Iterator

from datasets.storage import DamagedFileError, StorageError
from study.progress.events import Event
from study.records.halving import Stop
from study.records.parts import read_state, state_bytes, table_bytes
from study.records.provenance import provenance
from study.records.studies import StudyStore, TrialStore, utc_now
from study.records.types import Failure, FitRecord, FitStatus, Part
from study.trials.checkpoints import FitProgress, TrialCheckpoints, kept_progress, resume
from study.trials.evaluation import evaluate_and_record, record_failed_evaluations, recorded
from study.trials.failures import failure_of, is_out_of_memory, lost_worker
from study.trials.order import TrialData, TrialOrder
from trainables.detector import Detector, EpochMetrics, NonFiniteLossError
from trainables.registry import detector_class

TELL_S = 1.0
"""A fit tells about so often how far it is, in seconds."""


def run_trial(order: TrialOrder, data: TrialData, study: StudyStore) -> Iterator[Event]:
    """Do what is left of a trial, yielding every second, after each epoch and each evaluation.

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
        yield _failed(error, is_crowded)
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


def record_stop(order: TrialOrder, study: StudyStore, stop: Stop) -> None:
    """Record that a network was stopped early; its checkpoint stays, for whoever completes it.

    Args:
        order: The trial.
        study: Where its records go.
        stop: Why.

    Raises:
        StorageError: If the store cannot be read or written.
    """
    trial = study.trial(order.work.trial.trial_id)
    if _finished_fit(order, trial) is not None:
        return  # another driver has gone on
    n = order.spec.detector().n_parameters
    record = _fit_record(order, n, kept_progress(trial), {}, stop=stop)
    trial.write_unfinished(record, keep_checkpoint=True)


def _record_failure(order: TrialOrder, trial: TrialStore, failure: Failure) -> None:
    """Record a failure outside of training: that of the fit, or of what is to be evaluated."""
    if _finished_fit(order, trial) is not None:
        record_failed_evaluations(order, trial, failure)
        return
    try:
        checkpoint = trial.checkpoint()
    except DamagedFileError:
        checkpoint = None
    progress = FitProgress()
    if checkpoint is not None:
        progress = FitProgress(attempts=checkpoint.attempts, wall_s=checkpoint.wall_s)
    trial.write_unfinished(_fit_record(order, 0, progress, {}, failure), keep_checkpoint=True)


def _finished_fit(order: TrialOrder, trial: TrialStore) -> FitRecord | None:
    """The record of a fit that has all the epochs asked for."""
    try:
        record = trial.fit()
    except DamagedFileError:
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
    except DamagedFileError:
        return False
    return True


def _fit(
    order: TrialOrder, detector: Detector, data: TrialData, trial: TrialStore
) -> Iterator[Event]:
    kept = TrialCheckpoints(trial, order.spec.epochs)
    progress = FitProgress()
    try:
        train, validation = data.train().split(order.spec.validation_fraction)
        progress = resume(trial, detector, len(train), order.spec.epochs)
        yield from _rungs_passed(order, progress)
        kept.begin(progress)
        told_slices, n_slices = False, 0
        every_s = min(TELL_S, order.checkpoint_s)
        for metrics in detector.fit(train, validation, order.spec.epochs, every_s=every_s):
            if isinstance(metrics, EpochMetrics):
                progress.epoch_done(metrics)
                if metrics.epoch < order.spec.epochs:
                    kept.write(detector, progress)
                n_slices = 0 if told_slices else metrics.n_slices
                told_slices = False
                if metrics.epoch < order.spec.epochs:
                    yield _epoch_event(order, metrics, n_slices)
            else:
                progress.piece_done(metrics)
                if kept.age_s() >= order.checkpoint_s and metrics.share < 1:
                    kept.write(detector, progress)
                told_slices = True
                share, loss = metrics.share, metrics.train_loss
                yield Event("fit", metrics.epoch, metrics.n_slices, share, loss)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - a trial that fails is a record, not a crash
        is_crowded = is_out_of_memory(error) and not order.alone
        if not is_crowded:
            n = detector.n_parameters
            record = _fit_record(order, n, progress, {}, failure_of(error))
            may_go_on = not isinstance(error, NonFiniteLossError)
            trial.write_unfinished(record, keep_checkpoint=may_go_on)
        yield _failed(error, is_crowded)
        return
    kept.keep_continuation(detector, progress)
    parts = progress.continuation | kept.attempt.put_all(
        {
            "spec.json": order.spec.model_dump_json(indent=1).encode(),
            "history.parquet": table_bytes(progress.history()),
            "model.safetensors": state_bytes(detector.weights()),
            "state.safetensors": state_bytes(detector.state()),
        }
    )
    record = _fit_record(order, detector.n_parameters, progress, parts)
    if not trial.has_longer_fit(record.spec.epochs):  # another driver may have gone on
        trial.write_fit(record)
    yield Event("fit", order.spec.epochs, n_slices, loss=progress.last.get("train_loss"))


def _epoch_event(order: TrialOrder, metrics: EpochMetrics, n_slices: int) -> Event:
    """What is told of an epoch that is not the last."""
    is_rung = metrics.epoch in order.rungs
    return Event(
        "fit",
        metrics.epoch,
        n_slices,
        loss=metrics.train_loss,
        validation_loss=metrics.validation_loss if is_rung else None,
    )


def _rungs_passed(order: TrialOrder, progress: FitProgress) -> Iterator[Event]:
    """Tell again of the rungs that a fit has passed: perhaps nobody has heard of the last one."""
    for row in progress.rows:
        if row["epoch"] in order.rungs and row["validation_loss"] is not None:
            loss, held_out = row["train_loss"], row["validation_loss"]
            yield Event("fit", row["epoch"], loss=loss, validation_loss=held_out)


def _failed(error: Exception, is_crowded: bool) -> Event:
    """What is told of a fit that raised something."""
    reason = f"{type(error).__name__}: {error}"
    return Event("fit", failed=not is_crowded, crowded=is_crowded, reason=reason)


def _fit_record(
    order: TrialOrder,
    n_parameters: int,
    progress: FitProgress,
    parts: dict[str, Part],
    failure: Failure | None = None,
    stop: Stop | None = None,
) -> FitRecord:
    last = progress.last
    status: FitStatus = "stopped" if stop else "failed" if failure else "done"
    return FitRecord(
        trial_id=order.work.trial.trial_id,
        status=status,
        spec=order.spec,
        train_cohorts=order.train_cohorts,
        train_keys=order.train_keys,
        search=order.work.trial.search,
        recipe_version=detector_class(order.spec.model).VERSION,
        parts=parts,
        n_parameters=n_parameters,
        attempts=max(1, progress.attempts),
        wall_s=progress.wall_s,
        steps=last.get("steps", 0),
        train_loss=last.get("train_loss"),
        validation_loss=last.get("validation_loss"),
        failure=failure,
        stopped=stop,
        provenance=provenance(order.device),
        finished=utc_now(),
    )
