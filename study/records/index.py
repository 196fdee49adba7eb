"""The index of a study: all records compacted into one table, so that reading is one file.

A trial whose manifests have not changed since the last compaction is taken over as it is; the
others are read again. The index is a cache: deleting it loses nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets.collector import disable_gc
from datasets.storage import StorageError
from study.records.names import Names
from study.records.studies import StudyStore, TrialStore
from study.records.types import EvalRecord, FitRecord, parse_record
from trainables.evaluate import METRICS_SCHEMA

INDEX_VERSION = 2

_MANIFESTS = ("*/manifest.json", "*/eval/*/manifest.json")
"""Where records lie below ``trials``; the many parts beside them need not be looked at."""

METRIC_FIELDS = tuple((field.name, field.type) for field in METRICS_SCHEMA)

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # fit, evaluation or damaged
        ("trial_id", pa.string()),
        ("signature", pa.string()),
        ("status", pa.string()),
        ("model", pa.string()),
        ("modality", pa.string()),
        ("setting", pa.string()),  # what people read, such as (8, 64)
        ("seed", pa.int64()),
        ("epochs", pa.int64()),
        ("spec", pa.string()),
        ("search", pa.string()),
        ("steps", pa.int64()),
        ("attempts", pa.int64()),
        ("n_parameters", pa.int64()),
        ("train_loss", pa.float64()),
        ("validation_loss", pa.float64()),
        ("wall_s", pa.float64()),
        ("finished", pa.string()),
        ("failure_kind", pa.string()),
        ("failure_message", pa.string()),
        ("eval_id", pa.string()),
        ("cohort", pa.string()),
        ("test_key", pa.string()),
        *METRIC_FIELDS,
    ],
    metadata={b"index_version": str(INDEX_VERSION).encode()},
)


def load_index(study: StudyStore) -> pa.Table:
    """The index of a study as its manifests are now; reads only, writes nothing.

    Returns:
        A table of :data:`SCHEMA`: a row for each fit, a row for each score x region of each
        finished evaluation, a row for each failed evaluation, and a row of kind ``damaged`` for
        each manifest that cannot be read. Sorted by trial.
    """
    table, _ = _compact(study)
    return table


def refresh_index(study: StudyStore) -> pa.Table:
    """The same as :func:`load_index`, and ``index.parquet`` is brought up to date.

    Raises:
        StorageError: If the index cannot be written.
    """
    table, changed = _compact(study)
    if changed:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        study.storage.put("index.parquet", sink.getvalue().to_pybytes())
    return table


def _compact(study: StudyStore) -> tuple[pa.Table, bool]:
    old = stored_index(study)
    with disable_gc():
        signatures = _signatures(study)
        ids, marks = (old[c].to_pylist() for c in ("trial_id", "signature"))
        known = dict(zip(ids, marks, strict=True))
    fresh = [t for t, mark in signatures.items() if known.get(t) != mark]
    stale = [t for t, mark in known.items() if signatures.get(t) != mark]
    if not fresh and not stale:
        return old, False
    kept = old.filter(pc.invert(pc.is_in(old["trial_id"], pa.array(stale, pa.string()))))
    names = Names(study.detectors()) if fresh else Names()
    rows = [row for t in fresh for row in _trial_rows(study.trial(t), t, signatures[t], names)]
    table = pa.concat_tables([kept, pa.Table.from_pylist(rows, schema=SCHEMA)])
    keys = [(name, "ascending") for name in ("trial_id", "kind", "cohort", "eval_id")]
    return table.sort_by(keys).combine_chunks(), True


def stored_index(study: StudyStore) -> pa.Table:
    """The index as last written, in one read; an empty one if none fits this version."""
    empty: pa.Table = SCHEMA.empty_table()
    try:
        data = study.storage.read("index.parquet")
        table = pq.read_table(pa.BufferReader(data))
    except (FileNotFoundError, pa.ArrowInvalid):
        return empty
    return table if table.schema.equals(SCHEMA, check_metadata=True) else empty


def _signatures(study: StudyStore) -> dict[str, str]:
    """A mark per trial that changes when any of its manifests does."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, size, mtime_ns in study.storage.matching("trials", _MANIFESTS):
        below = path.removeprefix("trials/")
        found[below.split("/", 1)[0]].append(f"{below}:{size}:{mtime_ns}")
    return {
        trial: hashlib.sha256("|".join(sorted(marks)).encode()).hexdigest()[:16]
        for trial, marks in sorted(found.items())
    }


def _trial_rows(
    trial: TrialStore, trial_id: str, signature: str, names: Names
) -> list[dict[str, Any]]:
    common: dict[str, Any] = {"trial_id": trial_id, "signature": signature}
    rows: list[dict[str, Any]] = []
    try:
        fit = trial.fit()
    except StorageError as error:
        fit = None
        rows.append({**common, "kind": "damaged", "failure_message": str(error)})
    if fit is not None:
        common |= _spec_columns(fit, names)
        rows.append({**common, **_fit_columns(fit)})
    for name in trial.storage.names("eval"):
        rows += _eval_rows(trial, name, common)
    if any(row["kind"] == "damaged" for row in rows):
        # Looked at again next time: what could not be read may be mended, or be made again.
        rows = [row | {"signature": ""} for row in rows]
    return rows


def _spec_columns(fit: FitRecord, names: Names) -> dict[str, Any]:
    return {
        "model": fit.spec.model,
        "modality": fit.spec.modality,
        "setting": names.chosen(fit.spec.model, fit.spec.params).text,
        "seed": fit.spec.seed,
        "spec": json.dumps(fit.spec.model_dump(mode="json"), sort_keys=True),
        "search": fit.search,
        "n_parameters": fit.n_parameters,
    }


def _fit_columns(fit: FitRecord) -> dict[str, Any]:
    return {
        "kind": "fit",
        "status": fit.status,
        "epochs": fit.spec.epochs,
        "steps": fit.steps,
        "attempts": fit.attempts,
        "train_loss": fit.train_loss,
        "validation_loss": fit.validation_loss,
        "wall_s": fit.wall_s,
        "finished": fit.finished,
        "failure_kind": fit.failure.kind if fit.failure else None,
        "failure_message": fit.failure.message if fit.failure else None,
    }


def _eval_rows(trial: TrialStore, name: str, common: dict[str, Any]) -> list[dict[str, Any]]:
    folder = trial.evaluation_storage(name)
    try:
        data = folder.read("manifest.json")
        record = parse_record(EvalRecord, data, f"{folder.uri}/manifest.json")
        metrics: list[dict[str, Any]] = [{}]
        if record.status == "done":
            part = trial.read_part(record, "metrics.parquet")
            metrics = pq.read_table(pa.BufferReader(part)).to_pylist()
    except FileNotFoundError:
        return []  # an attempt without a manifest: no record
    except (StorageError, pa.ArrowInvalid) as error:
        message = str(error)
        return [{**common, "kind": "damaged", "eval_id": name, "failure_message": message}]
    columns = {
        "kind": "evaluation",
        "status": record.status,
        "epochs": record.epochs,
        "wall_s": record.wall_s,
        "finished": record.finished,
        "failure_kind": record.failure.kind if record.failure else None,
        "failure_message": record.failure.message if record.failure else None,
        "eval_id": record.eval_id,
        "cohort": record.cohort,
        "test_key": record.test_key,
    }
    fields = [field for field, _ in METRIC_FIELDS]
    return [{**common, **columns, **{f: row.get(f) for f in fields}} for row in metrics]
