"""What tests ask of a trial's records."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq

from study.progress.events import Event
from study.records.studies import TrialStore
from study.records.types import FitRecord, PlannedTrial
from study.trials.order import TrialOrder

MakeTrial = Callable[..., PlannedTrial]


OrderOf = Callable[..., TrialOrder]


def record_of(store: TrialStore) -> FitRecord:
    record = store.fit()
    assert record is not None
    return record


def results_of(store: TrialStore, trial: PlannedTrial) -> dict[str, Any]:
    """Everything a finished trial holds that must not depend on how it got there."""
    fit = record_of(store)
    found: dict[str, Any] = {"train_loss": fit.train_loss, "validation_loss": fit.validation_loss}
    found["steps"], found["spec"] = fit.steps, fit.spec
    for name in ("model.safetensors", "state.safetensors", "continuation.safetensors"):
        found[name] = fit.parts[name].sha256
    history = pq.read_table(io.BytesIO(store.read_part(fit, "history.parquet")))
    found["history"] = history.drop_columns(["wall_s", "attempt"]).to_pylist()
    for planned in trial.evals:
        record = store.evaluation(planned.eval_id)
        assert record is not None
        found[planned.cohort] = {name: part.sha256 for name, part in record.parts.items()}
    return found


def attempts_of(store: TrialStore) -> list[int]:
    history = pq.read_table(io.BytesIO(store.read_part(record_of(store), "history.parquet")))
    return list(history["attempt"].to_pylist())


def interrupt(events: Iterator[Event], after: int) -> None:
    """Let a trial finish so many epochs and evaluations, as if its process had died there."""
    for _ in range(after):
        next(event for event in events if not event.share)
    events.close()  # type: ignore[attr-defined]
