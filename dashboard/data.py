"""What the pages read, kept in Streamlit's caches: studies, views, parts, shards.

Parts of a record never change, so they are cached by their checksum; tables made from a view are
cached by the view's version. Everything is bounded, so that a dashboard left open for weeks stays
small.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from numpy.typing import NDArray

from dashboard.reader import StudyReader, StudyView
from datasets.manifest import CohortManifest, ScanRecord, read_manifest
from datasets.storage import Storage, StorageError
from datasets.tables import read_table
from study.plan.done import plan_rows, plan_trials
from study.records.names import Names
from study.records.showcase import ShowcaseMaps, decode_showcase
from study.records.studies import STUDY_NAME, StudyStore, TrialStore
from study.records.types import CohortInfo, EvalRecord, FitRecord
from study.report.best import found_cells, top_rows
from study.report.choice import planned_seeds
from study.report.evidence import Evidence
from study.report.operating import OperatingPoints
from study.report.operating_table import with_operating
from study.report.postprocessed import Postprocessed, postprocessed_cells
from study.report.proof import with_evidence
from study.report.table_one import TableOne, table_one

if TYPE_CHECKING:  # loads nibabel
    from datasets.preprocess import SliceGeometry


@dataclass(frozen=True)
class StoreListing:
    """What lies in a store.

    Attributes:
        studies: Names of its studies, the one that moved last first.
        refused: Folders that are no studies of a safe name, or have no record yet.
        problem: Why the store cannot be read, or empty.
        is_missing: Whether there is nothing at all where it should be.
    """

    studies: tuple[str, ...]
    refused: tuple[str, ...] = ()
    problem: str = ""
    is_missing: bool = False


@st.cache_resource(show_spinner=False)
def open_store(uri: str) -> Storage:
    """The store of a URI given on the command line."""
    return Storage.open(uri)


@st.cache_data(show_spinner=False, ttl=2.0, max_entries=8)
def list_studies(uri: str) -> StoreListing:
    """The studies of a store, looked up at most every two seconds."""
    return find_studies(uri)


def find_studies(uri: str) -> StoreListing:
    """The studies of a store, the one that moved last first."""
    try:
        store = Storage.open(uri)
        if not store.is_there():
            return StoreListing((), is_missing=True)
        names = store.names("studies")
        safe = [name for name in names if STUDY_NAME.fullmatch(name) and ".." not in name]
        moved = {name: _moved(store, name) for name in safe}
    except (StorageError, OSError) as error:
        return StoreListing((), problem=" ".join(str(error).split()))
    found = [name for name in safe if moved[name]]
    found.sort(key=lambda name: (-moved[name], name))
    return StoreListing(tuple(found), tuple(name for name in names if name not in found))


def _moved(store: Storage, name: str) -> int:
    """When a study last moved, in nanoseconds; 0 without a record."""
    paths = [store.full(f"studies/{name}/{file}") for file in ("study.json", "progress.json")]
    record, progress = store.filesystem.get_file_info(paths)
    if not record.is_file:
        return 0
    return max(record.mtime_ns or 1, (progress.mtime_ns or 1) if progress.is_file else 1)


@st.cache_resource(show_spinner=False, max_entries=8)
def open_study(uri: str, name: str) -> StudyReader:
    """The reader of a study, shared by all sessions."""
    return StudyReader(open_store(uri), name)


def trial_store(uri: str, study: str, trial_id: str) -> TrialStore:
    """The store of one trial, whose identity comes from the study's own index.

    Raises:
        StorageError: If the identity is no folder name.
    """
    return StudyStore.open(open_store(uri), study).trial(trial_id)


@st.cache_data(show_spinner=False, max_entries=512)
def fit_record(uri: str, study: str, trial_id: str, version: str) -> FitRecord | None:
    """The record of a fit.

    Raises:
        StorageError: If it cannot be read.
    """
    return trial_store(uri, study, trial_id).fit()


@st.cache_data(show_spinner=False, max_entries=512)
def evaluation_record(
    uri: str, study: str, trial_id: str, eval_id: str, version: str
) -> EvalRecord | None:
    """The record of an evaluation.

    Raises:
        StorageError: If it cannot be read.
    """
    return trial_store(uri, study, trial_id).evaluation(eval_id)


@st.cache_data(show_spinner=False, max_entries=512)
def evaluation_table(uri: str, study: str, trial_id: str, eval_id: str, part: str) -> pa.Table:
    """A Parquet part of an evaluation.

    Raises:
        StorageError: If the record or the part is missing or damaged.
    """
    return _parquet(_evaluation_part(uri, study, trial_id, eval_id, part), part)


@st.cache_data(show_spinner=False, max_entries=48)
def showcase(uri: str, study: str, trial_id: str, eval_id: str) -> tuple[ShowcaseMaps, ...]:
    """The showcase slices of an evaluation, with every score map.

    Raises:
        StorageError: If the record or the part is missing or damaged.
    """
    part = "heatmaps.parquet"
    return decode_showcase(_parquet(_evaluation_part(uri, study, trial_id, eval_id, part), part))


@st.cache_data(show_spinner=False, max_entries=256)
def finished_history(uri: str, study: str, trial_id: str, finished: str) -> pa.Table | None:
    """The epochs of a fit that has ended, or None if its record names none."""
    store = trial_store(uri, study, trial_id)
    record = store.fit()
    if record is not None and record.stopped is not None:
        return running_history(uri, study, trial_id)
    if record is None or "history.parquet" not in record.parts:
        return None
    return _parquet(store.read_part(record, "history.parquet"), "history.parquet")


def running_history(uri: str, study: str, trial_id: str) -> pa.Table | None:
    """The epochs of a fit at work, from its latest checkpoint; None before there is one.

    A checkpoint may be replaced between its record and its parts being read, which counts as none
    this time.
    """
    store = trial_store(uri, study, trial_id)
    try:
        checkpoint = store.checkpoint()
        if checkpoint is None or "history.parquet" not in checkpoint.parts:
            return None
        return _parquet(store.read_part(checkpoint, "history.parquet"), "history.parquet")
    except StorageError:
        return None


def weights(uri: str, study: str, trial_id: str) -> tuple[FitRecord, bytes]:
    """A fit's record and its ``model.safetensors``.

    Raises:
        StorageError: If either is missing or damaged.
    """
    store = trial_store(uri, study, trial_id)
    record = store.fit()
    if record is None:
        raise StorageError(f"trial {trial_id} has no finished fit")
    return record, store.read_part(record, "model.safetensors")


@st.cache_data(show_spinner=False, max_entries=16, ttl=60.0)
def manifest(uri: str, key: str) -> CohortManifest | None:
    """The manifest of a cohort's shards, or None if they are not in this store.

    Raises:
        StorageError: If it is damaged or of a newer version.
    """
    return read_manifest(open_store(uri), key)


@st.cache_data(show_spinner=False, ttl=10.0, max_entries=8)
def prepared(uri: str) -> tuple[CohortInfo, ...]:
    """The cohorts whose scans are prepared in a store, whether a study uses them or not."""
    try:
        found = [manifest(uri, key) for key in open_store(uri).names("shards")]
    except (StorageError, OSError):
        return ()
    return tuple(_info(one) for one in found if one is not None)


def _info(found: CohortManifest) -> CohortInfo:
    usable = [record for record in found.records if record.status == "ok"]
    return CohortInfo(
        name=found.cohort,
        role=found.role,
        modality=found.modality,
        source=found.source,
        key=found.key,
        synthetic=found.synthetic,
        n_scans=len(usable),
        n_subjects=len({record.subject for record in usable}),
        n_slices=sum(record.n_slices for record in usable),
        n_quarantined=len(found.records) - len(usable),
    )


@dataclass(frozen=True)
class ScanSlices:
    """All slices of one scan.

    Attributes:
        images_NHW: float32 images.
        brain_NHW: bool brain masks.
        lesion_NHW: bool lesion masks.
        slice_index_N: Index of each slice in the scan's volume.
        geometry: Where they lie in it.
    """

    images_NHW: NDArray[np.float32]
    brain_NHW: NDArray[np.bool_]
    lesion_NHW: NDArray[np.bool_]
    slice_index_N: NDArray[np.int32]
    geometry: SliceGeometry


@st.cache_resource(show_spinner=False, max_entries=24)
def scan_slices(uri: str, record: ScanRecord) -> ScanSlices:
    """The slices of one scan from the shards; shared, so not to be changed.

    Raises:
        StorageError: If the part is missing, damaged or of another version.
    """
    return read_scan(uri, record)


def read_scan(uri: str, record: ScanRecord) -> ScanSlices:
    """The same, read anew: for what needs a scan once.

    Raises:
        StorageError: If the part is missing, damaged or of another version.
    """
    from datasets.shards import read_slices
    from trainables.slices import Slices

    try:
        columns = read_slices(open_store(uri), record)
    except FileNotFoundError as error:
        raise StorageError(f"the slices of {record.subject!r} are gone: {error}") from error
    n = len(columns.slice_index_N)
    batch = Slices(
        images_NHW=columns.images_NHW,
        brain_bits_NK=columns.brain_bits_NK,
        lesion_bits_NK=columns.lesion_bits_NK,
        subject_N=np.zeros(n, np.int32),
        slice_index_N=columns.slice_index_N,
        subjects=(record.subject,),
    ).batch(slice(None))
    return ScanSlices(
        batch.images_BHW,
        batch.brain_BHW,
        batch.lesion_BHW,
        columns.slice_index_N,
        columns.geometry,
    )


@st.cache_data(show_spinner=False, max_entries=24)
def best_of(
    uri: str, study: str, version: str, metric: str, _view: StudyView
) -> list[dict[str, Any]]:
    """The rows of each cell's best setting in table 1, a row a seed, for a version of a view."""
    if _view.record is None or not _view.results.num_rows:
        return []
    return top_rows(_view.record, _view.index, _view.results, metric)


@st.cache_data(show_spinner=False, max_entries=24)
def table_of(
    uri: str, study: str, version: str, metric: str, region: str, _view: StudyView
) -> TableOne:
    """Table 1 of a metric and region, for a version of a study's view."""
    rows = best_of(uri, study, version, metric, _view)
    record = _view.record
    names = Names(record.detectors if record else {})
    planned = planned_seeds(plan_trials(record, _view.index), rows, names) if record else None
    found = found_cells(_view.results) if rows else ()
    table = table_one(rows, region, metric, planned=planned, found=found, names=names)
    if metric != "auc" or not rows:
        return table
    # What a run or a report has worked out; a page must not wait for it.
    store = StudyStore.open(open_store(uri), study)
    evidence = Evidence(store, _view.index, kept_only=True)
    table = with_evidence(table, rows, _view.results, evidence)
    if record is None:
        return table
    healthy = plan_rows(record, _view.index, "healthy")
    return with_operating(table, rows, OperatingPoints(healthy, evidence))


@st.cache_data(show_spinner=False, max_entries=24)
def postprocessed_of(uri: str, study: str, version: str, _view: StudyView) -> list[Postprocessed]:
    """The best settings after post-processing, for a version of a study's view."""
    record = _view.record
    if record is None:
        return []
    best = best_of(uri, study, version, "auc", _view)
    return postprocessed_cells(plan_trials(record, _view.index), _view.index, best)


def finished_at(view: StudyView, trial_id: str) -> str:
    """When a trial's fit was finished; empty if it was not."""
    fit = rows_of(view.fits, trial_id=trial_id)
    return (fit["finished"][0].as_py() or "") if fit.num_rows else ""


def rows_of(table: pa.Table, **equal: Any) -> pa.Table:
    """The rows whose columns have the given values."""
    masks = [pc.equal(table[name], value) for name, value in equal.items()]
    return table.filter(reduce(pc.and_, masks)) if masks else table


def _evaluation_part(uri: str, study: str, trial_id: str, eval_id: str, part: str) -> bytes:
    store = trial_store(uri, study, trial_id)
    record = store.evaluation(eval_id)
    if record is None:
        raise StorageError(f"evaluation {eval_id} of trial {trial_id} has no record any more")
    return store.read_part(record, part)


def _parquet(data: bytes, name: str) -> pa.Table:
    try:
        return read_table(data)
    except pa.ArrowException as error:
        raise StorageError(f"{name!r} is no Parquet file: {error}") from error
