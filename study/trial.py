"""One trial from start to record: fit, checkpoint, evaluate. Knows the store, not Ray."""

from __future__ import annotations

import io
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.numpy

from datasets.storage import ChecksumError, StorageError
from study.plan import Work
from study.provenance import provenance
from study.records import (
    Checkpoint,
    DamagedError,
    EvalRecord,
    Failure,
    FitRecord,
    Part,
    PlannedEval,
)
from study.store import Attempt, StudyStore, TrialStore, utc_now
from trainables.detector import Detector, State
from trainables.evaluate import evaluate
from trainables.slices import Slices
from trainables.spec import EVAL_VERSION, RECIPE_VERSION, TrialSpec

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
    """

    work: Work
    train_cohorts: tuple[str, ...]
    train_keys: tuple[str, ...]
    device: str = "cpu"

    @property
    def spec(self) -> TrialSpec:
        """The trial's specification."""
        return self.work.trial.spec


@dataclass(frozen=True)
class Event:
    """A step of a trial that is complete and, if it has a result, recorded.

    Attributes:
        stage: ``fit`` after an epoch, ``evaluate`` after a test cohort.
        epoch: Epochs complete.
        n_slices: Slices worked on in this step.
        wall_s: Seconds this step took.
        failed: Whether the trial has failed; no more events follow.
        auc: After an evaluation, the brain region's AUC by score.
    """

    stage: str
    epoch: int = 0
    n_slices: int = 0
    wall_s: float = 0.0
    failed: bool = False
    cohort: str = ""
    auc: Mapping[str, float | None] = field(default_factory=dict)


def run_trial(order: TrialOrder, data: TrialData, study: StudyStore) -> Iterator[Event]:
    """Do what is left of a trial, yielding after each epoch and each evaluation.

    Whatever the detector raises ends in a record with its traceback, not in an exception.

    Raises:
        StorageError: If the store cannot be written.
    """
    trial = study.trial(order.work.trial.trial_id)
    detector = order.spec.detector(order.device)
    if order.work.fit:
        failed = False
        for event in _fit(order, detector, data, trial):
            failed = event.failed
            yield event
        if failed:
            return
    else:
        record = trial.fit()
        if record is None:
            raise StorageError(f"the fit of trial {trial.trial_id} has vanished from the store")
        detector.load_state(_load(trial.read_part(record, "model.safetensors")))
    for planned in order.work.evals:
        yield _evaluate(order, planned, detector, data, trial)


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
        trial.write_fit(_fit_record(order, detector, progress, {}, _failure(error)))
        yield Event("fit", failed=True)
        return
    parts = attempt.put_all(
        {
            "spec.json": order.spec.model_dump_json(indent=1).encode(),
            "history.parquet": table_bytes(_history(progress)),
            "model.safetensors": _dump(_weights(detector.state())),
            "state.safetensors": _dump(detector.state()),
        }
    )
    trial.write_fit(_fit_record(order, detector, progress, parts, None))
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
        detector.load_state(_load(data))
        return _Progress(history.to_pylist(), attempts + 1, source.wall_s)
    return _Progress(attempts=attempts + 1)


def _epoch(source: FitRecord | Checkpoint) -> int:
    """Epochs that a state has complete; a failed fit has none."""
    if isinstance(source, Checkpoint):
        return source.epoch
    return source.spec.epochs if source.status == "done" else 0


def _write_checkpoint(
    attempt: Attempt, detector: Detector, progress: _Progress, trial: TrialStore
) -> None:
    epoch = progress.last["epoch"]
    parts = {
        "state.safetensors": attempt.put(f"state-{epoch}.safetensors", _dump(detector.state())),
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
    detector: Detector,
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
        n_parameters=detector.n_parameters,
        attempts=max(1, progress.attempts),
        wall_s=progress.wall_s,
        steps=last.get("steps", 0),
        train_loss=last.get("train_loss"),
        validation_loss=last.get("validation_loss"),
        failure=failure,
        provenance=provenance(order.device),
        finished=utc_now(),
    )


def _evaluate(
    order: TrialOrder,
    planned: PlannedEval,
    detector: Detector,
    data: TrialData,
    trial: TrialStore,
) -> Event:
    clock = time.perf_counter()
    parts: dict[str, Part] = {}
    failure, auc, n_slices = None, {}, 0
    try:
        test = data.test(planned.cohort)
        n_slices = len(test)
        outside = data.lesion_outside_brain_share(planned.cohort)
        result = evaluate(detector, test, lesion_outside_brain_share=outside)
        rows = result.metrics.to_pylist()
        auc = {row["score"]: row["auc"] for row in rows if row["region"] == "brain"}
        attempt = Attempt(trial.evaluation_storage(planned.eval_id))
        names = ("metrics", "roc", "subjects", "heatmaps")
        parts = attempt.put_all(
            {f"{name}.parquet": table_bytes(getattr(result, name)) for name in names}
        )
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - an evaluation that fails is a record, not a crash
        failure = _failure(error)
    wall_s = time.perf_counter() - clock
    trial.write_evaluation(
        EvalRecord(
            eval_id=planned.eval_id,
            trial_id=trial.trial_id,
            status="failed" if failure else "done",
            epochs=order.spec.epochs,
            cohort=planned.cohort,
            modality=order.spec.modality,
            test_key=planned.test_key,
            eval_version=EVAL_VERSION,
            parts=parts,
            wall_s=wall_s,
            failure=failure,
            provenance=provenance(order.device),
            finished=utc_now(),
        )
    )
    failed = failure is not None
    return Event("evaluate", order.spec.epochs, n_slices, wall_s, failed, planned.cohort, auc)


def _failure(error: Exception) -> Failure:
    text = "".join(traceback.format_exception(error))
    return Failure(kind=type(error).__name__, message=str(error), traceback=text)


def _history(progress: _Progress) -> pa.Table:
    return pa.Table.from_pylist(progress.history, schema=HISTORY_SCHEMA)


def table_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file, zstd compressed."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _weights(state: State) -> State:
    return {name: array for name, array in state.items() if name.startswith("model.")}


def _dump(state: State) -> bytes:
    # not ascontiguousarray: that gives a single number a dimension
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    data: bytes = safetensors.numpy.save(arrays)
    return data


def _load(data: bytes) -> State:
    """Read named arrays; safetensors holds nothing but arrays, so no code can hide in it.

    Raises:
        StorageError: If the bytes are no safetensors file.
    """
    try:
        state: State = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise StorageError(f"a part is no safetensors file: {error}") from error
    return state
