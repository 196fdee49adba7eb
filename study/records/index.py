"""The index of a study: all records compacted into one table, so that reading is one file.

A trial whose manifests have not changed since the last compaction is taken over as it is; the
others are read again. The index is a cache: deleting it loses nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets.collector import disable_gc
from datasets.manifest import as_text
from datasets.selfdigest import BLANK, fill_in, is_intact
from datasets.storage import StorageError
from datasets.tables import read_all
from study.errors import DamagedError
from study.records.identities import check_evaluation, check_fit, problem_of
from study.records.names import Names
from study.records.studies import StudyStore, TrialStore
from study.records.types import FitRecord
from trainables.tables import METRICS_SCHEMA, REGIONS

INDEX_VERSION = 4

_MANIFESTS = ("*/manifest.json", "*/eval/*/manifest.json")
"""Where records lie below ``trials``; the many parts beside them need not be looked at."""

PROBLEM = "problem"
"""The kind of the rows that tell of a record that does not count."""

_VERSION = b"index_version"
_DIGEST = b"sha256"
_WITHOUT_DIGEST = (b"1", b"2")
"""Versions of the index that carried no digest; they are built anew."""

_MOST_METRICS = 10_000

METRIC_FIELDS = tuple((field.name, field.type) for field in METRICS_SCHEMA)

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # fit, evaluation or problem
        ("trial_id", pa.string()),
        ("signature", pa.string()),
        ("status", pa.string()),  # done, failed or stopped; of a problem, which
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
        ("postprocessing", pa.string()),  # what people read for it; null of maps as they are
        *METRIC_FIELDS,
    ],
    metadata={_VERSION: str(INDEX_VERSION).encode()},
)


def load_index(study: StudyStore) -> pa.Table:
    """The index of a study as its manifests are now; reads only, writes nothing.

    Returns:
        A table of :data:`SCHEMA`: a row for each fit, a row for each score x region of each
        finished evaluation, a row for each failed evaluation, and a row of kind ``problem`` for
        each record that does not count. Sorted by trial.
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
        study.storage.put("index.parquet", index_bytes(table))
    return table


def index_bytes(table: pa.Table) -> bytes:
    """An index as a Parquet file that carries its digest in its key-value metadata."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_DIGEST: BLANK})
    return fill_in(sink.getvalue())


def _compact(study: StudyStore) -> tuple[pa.Table, bool]:
    old = stored_index(study)
    with disable_gc():
        signatures = _signatures(study)
        ids, marks = (old[c].to_pylist() for c in ("trial_id", "signature"))
        seen = dict(zip(ids, marks, strict=True))
    fresh = [t for t, mark in signatures.items() if seen.get(t) != mark]
    stale = [t for t, mark in seen.items() if signatures.get(t) != mark]
    if not fresh and not stale:
        return old, False
    kept = old.filter(pc.invert(pc.is_in(old["trial_id"], pa.array(stale, pa.string()))))
    known = _Known.of(study) if fresh else _Known(Names(), {})
    rows = [row for t in fresh for row in _trial_rows(study.trial(t), t, signatures[t], known)]
    table = pa.concat_tables([kept, pa.Table.from_pylist(rows, schema=SCHEMA)])
    keys = [(name, "ascending") for name in ("trial_id", "kind", "cohort", "eval_id")]
    return table.sort_by(keys).combine_chunks(), True


def stored_index(study: StudyStore) -> pa.Table:
    """The index as last written, in one read; an empty one if none fits this version.

    One that is damaged counts as none, and so does one that cannot be read: it is a cache.
    """
    empty: pa.Table = SCHEMA.empty_table()
    try:
        table = _read_index(study)
    except (FileNotFoundError, StorageError):
        return empty
    version = (table.schema.metadata or {}).get(_VERSION)
    if version != SCHEMA.metadata[_VERSION] or not table.schema.equals(SCHEMA):
        return empty
    return table.replace_schema_metadata(SCHEMA.metadata)


def verify_index(study: StudyStore) -> None:
    """Find out whether the index is what was written.

    Raises:
        FileNotFoundError: If there is none.
        DamagedError: If it is not.
        StorageError: If it cannot be read.
    """
    _read_index(study)


def _read_index(study: StudyStore) -> pa.Table:
    data = study.storage.read("index.parquet")
    where = f"{study.storage.uri}/index.parquet"
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        table = read_all(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedError(f"{where} is damaged: {error}") from error
    digest = (file.metadata.metadata or {}).get(_DIGEST)
    version = (table.schema.metadata or {}).get(_VERSION)
    if digest is None and version in _WITHOUT_DIGEST:
        return table
    if digest is None or len(digest) != len(BLANK) or not is_intact(data, digest):
        raise DamagedError(f"{where} is damaged: its content is not what was written")
    return table


def _signatures(study: StudyStore) -> dict[str, str]:
    """A mark per trial that changes when any of its manifests does."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, size, mtime_ns in study.storage.matching("trials", _MANIFESTS):
        below = path.removeprefix("trials/")
        found[below.split("/", 1)[0]].append(f"{below}:{size}:{mtime_ns}")
    return {
        trial: hashlib.sha256(os.fsencode("|".join(sorted(marks)))).hexdigest()[:16]
        for trial, marks in sorted(found.items())
    }


@dataclass(frozen=True)
class _Known:
    """What the study's record tells, to compare the trials' records with."""

    names: Names
    cohorts: Mapping[str, str]

    @classmethod
    def of(cls, study: StudyStore) -> _Known:
        told = study.described()
        return cls(Names(told.detectors), {c.key: c.name for c in told.cohorts})


def _trial_rows(
    trial: TrialStore, trial_id: str, signature: str, known: _Known
) -> list[dict[str, Any]]:
    common: dict[str, Any] = {"trial_id": as_text(trial_id), "signature": signature}
    rows: list[dict[str, Any]] = []
    try:
        fit = trial.fit()
        if fit is not None:
            check_fit(fit, known.names, f"{trial.storage.uri}/manifest.json")
    except StorageError as error:
        fit = None
        rows.append(_problem(common, error))
    if fit is not None:
        common |= _spec_columns(fit, known.names)
        rows.append({**common, **_fit_columns(fit)})
    try:
        names = trial.storage.names("eval")
    except StorageError as error:
        names = ()
        rows.append(_problem(common, error))
    for name in names:
        rows += _eval_rows(trial, name, common, known)
    if any(row["kind"] == PROBLEM for row in rows):
        # Looked at again next time: what could not be read may be mended, or be made again.
        rows = [row | {"signature": ""} for row in rows]
    return rows


def _problem(
    common: dict[str, Any], error: Exception, eval_id: str | None = None
) -> dict[str, Any]:
    """The row of a record that does not count."""
    return {
        **common,
        "kind": PROBLEM,
        "status": problem_of(error).value,
        "eval_id": eval_id,
        "failure_message": as_text(str(error)),
    }


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
        "epochs": fit.epochs_reached,
        "steps": fit.steps,
        "attempts": fit.attempts,
        "train_loss": fit.train_loss,
        "validation_loss": fit.validation_loss,
        "wall_s": fit.wall_s,
        "finished": fit.finished,
        "failure_kind": fit.failure.kind if fit.failure else None,
        "failure_message": fit.failure.message if fit.failure else None,
    }


def _eval_rows(
    trial: TrialStore, name: str, common: dict[str, Any], known: _Known
) -> list[dict[str, Any]]:
    where = f"{trial.evaluation_storage(name).uri}/manifest.json"
    try:
        record = trial.evaluation(name)
        if record is None:
            return []  # an attempt without a manifest: no record
        metrics: list[dict[str, Any]] = [{}]
        if record.status == "done":
            metrics = read_metrics(trial.read_part(record, "metrics.parquet"), where)
        scores = {row["score"] for row in metrics if row}
        check_evaluation(record, scores, known.cohorts, where)
    except StorageError as error:
        return [_problem(common, error, as_text(name))]
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
        "postprocessing": record.postprocessing.label if record.postprocessing else None,
    }
    fields = [field for field, _ in METRIC_FIELDS]
    return [{**common, **columns, **{f: row.get(f) for f in fields}} for row in metrics]


def read_metrics(data: bytes, where: str) -> list[dict[str, Any]]:
    """The rows of an evaluation's ``metrics.parquet``, at least one.

    Args:
        data: The part.
        where: What to call its record in an error.

    Raises:
        DamagedError: If it is no such table.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if not 0 < file.metadata.num_rows <= _MOST_METRICS:
            raise ValueError(f"it has {file.metadata.num_rows} rows")
        table = read_all(file)
        known = {field.name: field.type for field in METRICS_SCHEMA}
        if any(known.get(field.name, field.type) != field.type for field in table.schema):
            raise ValueError("its columns are others")
        table.validate(full=True)
        rows: list[dict[str, Any]] = table.to_pylist()
        if any(not row["score"] or row["region"] not in REGIONS for row in rows):
            raise ValueError("it has a row without score or region")
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DamagedError(f"{where} names a damaged metrics.parquet: {error}") from error
    return rows
