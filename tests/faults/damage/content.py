"""What a study's plan has in its store, as digests; called in a worker."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq

from datasets.manifest import read_manifest
from datasets.storage import Storage, StorageError
from study.records.studies import StudyStore, TrialStore
from study.records.types import EvalRecord, FitRecord
from tests.stores import lasting


def study_digests(store: str, name: str) -> dict[str, str]:
    """A digest of each fit, evaluation and cohort that a study's plan needs, by what it is.

    Times, hosts, attempts and tracebacks do not count. Of what cannot be read it is the reason.
    """
    storage = Storage.open(store)
    study = StudyStore.open(storage, name)
    record = study.study()
    if record is None:
        return {}
    found: dict[str, str] = {}
    for planned in record.trials:
        trial = study.trial(planned.trial_id)
        found[f"fit {planned.trial_id}"] = _digest(lambda t=trial: _of_record(t, t.fit()))
        for wanted in planned.evals:
            found[f"evaluation {wanted.eval_id} of {planned.trial_id}"] = _digest(
                lambda t=trial, e=wanted.eval_id: _of_record(t, t.evaluation(e))
            )
    for cohort in record.cohorts:
        found[f"cohort {cohort.name}"] = _digest(lambda k=cohort.key: _of_cohort(storage, k))
    return found


def _of_record(trial: TrialStore, record: FitRecord | EvalRecord | None) -> Any:
    """What a record says, and all that its parts hold."""
    if record is None:
        return None
    content = lasting(record.model_dump(mode="json"))
    if record.failure:
        del content["failure"]["traceback"]
    parts = {name: trial.read_part(record, name) for name in sorted(record.parts)}
    if "history.parquet" in parts:
        history = pq.read_table(io.BytesIO(parts["history.parquet"])).to_pydict()
        parts["history.parquet"] = {k: v for k, v in history.items() if k not in _OF_ATTEMPTS}
    return content, parts


_OF_ATTEMPTS = ("wall_s", "attempt")


def _of_cohort(storage: Storage, key: str) -> Any:
    """What a cohort's manifest says, and its slices."""
    manifest = read_manifest(storage, key)
    if manifest is None:
        return None
    content = lasting(manifest.model_dump(mode="json", exclude={"skipped"}))
    parts = [storage.read(r.part, r.sha256) for r in manifest.records if r.part]
    return content, parts


def _digest(read: Callable[[], Any]) -> str:
    try:
        content = read()
    except (StorageError, FileNotFoundError) as error:
        return str(error)
    text = json.dumps(content, default=lambda data: hashlib.sha256(data).hexdigest())
    return hashlib.sha256(text.encode()).hexdigest()
