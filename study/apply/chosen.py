"""Which fit of a study is used on scans: the one that was named, or the best for a test cohort."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets.manifest import read_manifest
from datasets.scan import Modality
from datasets.storage import Storage, StorageError
from datasets.tables import read_table
from study.apply.model import COUNTS, AppliedModel, ModelDescription, installed
from study.errors import UsageError
from study.plan.done import plan_rows
from study.plan.plan import train_keys
from study.records.index import load_index
from study.records.studies import StudyStore
from study.records.types import FitRecord, StudyRecord
from study.report.choice import Row
from study.report.operating import REGION, choosing
from study.report.table import result_rows, table_columns
from trainables.spec import trial_id


@dataclass(frozen=True)
class Choice:
    """What was asked for.

    Attributes:
        trial: Identity of a fit, or its beginning.
        cohort: The test cohort whose best cell of table 1 is meant.
        score: The score that maps are to show; by default that of the best cell.
        modality: Of the scans, where a cohort has several.
    """

    trial: str | None = None
    cohort: str | None = None
    score: str | None = None
    modality: Modality | None = None


def model_of_study(
    store: Storage, study: StudyStore, record: StudyRecord, choice: Choice
) -> AppliedModel:
    """The model that was asked for, with what it takes from the store.

    Args:
        store: The store.
        study: The study in it.
        record: The study's record.
        choice: What was asked for; a trial goes before a cohort.

    Raises:
        UsageError: If there is no such trial, cohort or score, or more than one that is meant; or
            this installation has another version of the detector.
        StorageError: If the store lacks it or cannot be read.
    """
    index = load_index(study)
    rows = [row for row in result_rows(record, index) if row["region"] == REGION]
    row = _of_trial(rows, record, choice) if choice.trial else _best(rows, choice)
    trial = study.trial(row["trial_id"])
    fit = trial.fit()
    if fit is None or fit.status != "done":
        raise UsageError(f"trial {row['trial_id']} has no finished fit")
    weights = trial.read_part(fit, "model.safetensors")
    reference, healthy = _reference(study, record, index, row["trial_id"])
    description = _description(store, record, fit, row["score"], reference)
    sink = io.BytesIO()
    pq.write_table(healthy, sink, compression="zstd")
    return AppliedModel(description, weights, sink.getvalue())


def _description(
    store: Storage, record: StudyRecord, fit: FitRecord, score: str, reference: Sequence[str]
) -> ModelDescription:
    spec, provenance = fit.spec, fit.provenance
    keys = train_keys(spec.modality, record.cohorts)
    manifest = read_manifest(store, keys[0]) if keys else None
    if manifest is None:
        raise StorageError(
            f"the store {store.uri!r} has lost the cohorts that trial {fit.trial_id} was trained "
            "on, and with them the settings that scans have to be prepared by"
        )
    name = f"trial {fit.trial_id}"
    version = installed(name, spec).VERSION
    if trial_id(spec, keys) != fit.trial_id:
        raise UsageError(
            f"{name} was fitted by another version of the detector {spec.model!r} than is "
            "installed here"
        )
    return ModelDescription(
        study=record.study,
        trial_id=fit.trial_id,
        spec=spec,
        version=version,
        score=score,
        settings=manifest.settings,
        preprocess_version=manifest.preprocess_version,
        reference=tuple(reference),
        packages=provenance.packages,
        git_revision=provenance.git_revision,
    )


def _best(rows: Sequence[Row], choice: Choice) -> Row:
    """The best row of a column of table 1, of its seeds the first."""
    columns = table_columns(rows)
    wanted = [
        (cohort, modality)
        for cohort, modality in columns
        if choice.cohort in (None, cohort) and choice.modality in (None, modality)
    ]
    named = ", ".join(f"{cohort} {modality}" for cohort, modality in columns)
    if not wanted:
        what = " ".join(text for text in (choice.cohort, choice.modality) if text)
        raise UsageError(
            f"the study has no results on {what or 'any test cohort'}; it has: {named}"
        )
    if len(wanted) > 1:
        raise UsageError(
            "say which detector is meant, by --best COHORT, with --modality where it has several, "
            f"or by --trial ID; the study has results on: {named}"
        )
    found = [
        row
        for row in rows
        if (row["cohort"], row["modality"]) == wanted[0]
        and row["best"]
        and row["auc"] is not None
        and choice.score in (None, row["score"])
    ]
    if not found:
        score = f" of a score {choice.score!r}" if choice.score else ""
        raise UsageError(f"the study has no AUC{score} on {wanted[0][0]} {wanted[0][1]}")
    by_cell: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        by_cell.setdefault((row["model"], row["score"]), []).append(row)
    best = max(by_cell.values(), key=lambda seeds: sum(r["auc"] for r in seeds) / len(seeds))
    return min(best, key=lambda row: row["seed"])


def _of_trial(rows: Sequence[Row], record: StudyRecord, choice: Choice) -> Row:
    """A row of the trial that was named: of the score, or of the one with the highest AUC."""
    wanted = choice.trial or ""
    known = sorted({trial.trial_id for trial in record.trials} | {row["trial_id"] for row in rows})
    found = [name for name in known if name.startswith(wanted)]
    if len(found) != 1:
        which = f"{len(found)} trials whose identity begins with" if found else "no trial"
        raise UsageError(f"the study {record.study!r} has {which} {wanted!r}")
    here = [row for row in rows if row["trial_id"] == found[0]]
    if choice.modality is not None and any(row["modality"] != choice.modality for row in here):
        raise UsageError(
            f"trial {found[0]} was trained on {here[0]['modality']} scans, not on {choice.modality}"
        )
    scores = sorted({row["score"] for row in here})
    if choice.score is not None and choice.score not in scores:
        raise UsageError(
            f"trial {found[0]} has no results of a score {choice.score!r}; it has: "
            f"{', '.join(scores) or 'none'}"
        )
    known_auc = [
        row for row in here if choice.score in (None, row["score"]) and row["auc"] is not None
    ]
    if not known_auc:
        raise UsageError(f"trial {found[0]} has no results")
    return max(known_auc, key=lambda row: row["auc"])


def _reference(
    study: StudyStore, record: StudyRecord, index: pa.Table, fit_id: str
) -> tuple[tuple[str, ...], pa.Table]:
    """The healthy cohorts that choose a fit's thresholds, and the counts of their subjects."""
    rows = plan_rows(record, index, "healthy")
    rows = rows.filter(
        pc.and_(
            pc.and_(pc.equal(rows["status"], "done"), pc.equal(rows["region"], REGION)),
            pc.equal(rows["trial_id"], fit_id),
        )
    )
    evaluations = {row["eval_id"]: row for row in rows.to_pylist()}
    trial, tables, cohorts = study.trial(fit_id), [_SCHEMA.empty_table()], []
    for row in choosing(list(evaluations.values())):
        evaluation = trial.evaluation(row["eval_id"])
        if evaluation is None:
            raise StorageError(f"the evaluation {row['eval_id']} of trial {fit_id} has vanished")
        data = trial.read_part(evaluation, "subjects.parquet")
        table = read_table(data)
        tables.append(table.filter(pc.equal(table["region"], REGION)).select(COUNTS))
        cohorts.append(row["cohort"])
    return tuple(sorted(cohorts)), pa.concat_tables(tables)


_SCHEMA = pa.schema(
    [
        ("subject", pa.string()),
        ("score", pa.string()),
        ("n_scans", pa.int64()),
        ("voxel_ml", pa.float64()),
        ("n_positive", pa.int64()),
        ("top_mean", pa.float64()),
        ("thresholds", pa.list_(pa.float32())),
        ("positives", pa.list_(pa.int64())),
        ("negatives", pa.list_(pa.int64())),
    ]
)
