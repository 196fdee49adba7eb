"""The records of a study: what every JSON file of the store says, validated where it is read.

A reader trusts only what a manifest names. Fields may be added; none changes its meaning without
``STORE_VERSION`` being raised.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from datasets.collector import disable_gc
from datasets.scan import Modality, Role
from datasets.selfdigest import has_changed
from datasets.storage import NewerFileError
from study.errors import DamagedError
from trainables.arithmetic import Precision
from trainables.description import DetectorInfo
from trainables.spec import TrialSpec

STORE_VERSION = 1
"""Layout of the store; a store of a newer version is refused, never misread."""

OLDEST_STORE_VERSION = 1
"""The oldest layout that this version still reads; what is older is refused as well."""

Status = Literal["done", "failed"]

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A number of things, as tables can hold it."""


class Record(BaseModel):
    """Base of all records: frozen; unknown fields of a later minor version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    store_version: Count = STORE_VERSION


class Part(BaseModel):
    """One immutable file that a manifest names.

    Attributes:
        path: Path below the manifest's own folder: a file of an attempt, and nothing else.
        sha256: Checksum of its bytes.
        size: Number of its bytes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: Annotated[str, StringConstraints(pattern=r"^attempts/[\w-]+/\w[\w.-]*$")]
    sha256: str
    size: Count


class Failure(BaseModel):
    """Why a trial or an evaluation failed.

    Attributes:
        kind: Name of the exception, such as ``NonFiniteLossError``.
        message: Its message.
        traceback: The whole traceback as text.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    message: str
    traceback: str


class Provenance(BaseModel):
    """Where and with what a record was made; no part of any identity."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    git_revision: str | None = None
    host: str = ""
    device: str = "cpu"
    cpu: str = ""
    python: str = ""
    packages: dict[str, str] = Field(default_factory=dict)


class FitRecord(Record):
    """A finished or failed fit: ``trials/<trial_id>/manifest.json``.

    Attributes:
        trial_id: Identity of the fit.
        status: ``done`` or ``failed``.
        spec: What was trained, with the epochs it has reached.
        train_cohorts: Names of the cohorts it was trained on.
        train_keys: Keys of their shards.
        search: Identity of the search that asked for it, if one did; others may know it as well.
        recipe_version: The detector's ``VERSION``.
        parts: ``spec.json``, ``history.parquet``, ``model.safetensors`` (what scoring needs),
            ``state.safetensors`` (the state at the end) and, where a fit of more epochs goes on
            from another state, ``continuation.safetensors``. Those of a failed fit are of the
            shorter one that it went on from, if it did.
        epochs_kept: Epochs of that shorter fit; 0 if there is none.
        n_parameters: Number of trained numbers.
        attempts: How many processes worked on it.
        wall_s: Seconds of training, over all attempts.
        steps: Optimiser steps or EM iterations.
        train_loss: Of the last epoch.
        validation_loss: Of the last epoch.
        failure: Why it failed, if it did.
        finished: UTC time, ISO 8601.
    """

    trial_id: str
    status: Status
    spec: TrialSpec
    train_cohorts: tuple[str, ...]
    train_keys: tuple[str, ...]
    search: str | None = None
    recipe_version: Count
    parts: dict[str, Part] = Field(default_factory=dict)
    epochs_kept: Count = 0
    n_parameters: Count = 0
    attempts: Count = 1
    wall_s: float = 0.0
    steps: Count = 0
    train_loss: float | None = None
    validation_loss: float | None = None
    failure: Failure | None = None
    provenance: Provenance = Provenance()
    finished: str


class Checkpoint(Record):
    """An unfinished fit that can go on: ``trials/<trial_id>/checkpoint.json``.

    Attributes:
        trial_id: Identity of the fit.
        epochs: Epochs asked for; 0 in records that do not tell.
        epoch: Epochs complete.
        steps: Steps taken, those of an epoch under way included.
        share: How much of the epoch under way is done, in [0, 1).
        attempts: How many processes have worked on it.
        wall_s: Seconds of training, over all attempts.
        epoch_wall_s: Those of the epoch under way.
        parts: ``state.safetensors``, ``history.parquet`` and, once a fit of more epochs would go
            on from another state, ``continuation.safetensors``.
    """

    trial_id: str
    epochs: Count = 0
    epoch: Count
    steps: Count
    share: float = 0.0
    attempts: Count
    wall_s: float
    epoch_wall_s: float = 0.0
    parts: dict[str, Part]


class EvalRecord(Record):
    """A finished or failed evaluation: ``trials/<trial_id>/eval/<eval_id>/manifest.json``.

    Attributes:
        eval_id: Identity of the evaluation.
        trial_id: The fit it belongs to.
        epochs: Epochs of the fit when it was evaluated.
        cohort: Name of the test cohort.
        test_key: Key of its shards.
        parts: ``metrics.parquet``, ``roc.parquet``, ``subjects.parquet``, ``heatmaps.parquet``.
    """

    eval_id: str
    trial_id: str
    status: Status
    epochs: Count
    cohort: str
    modality: Modality
    test_key: str
    eval_version: Count
    parts: dict[str, Part] = Field(default_factory=dict)
    wall_s: float = 0.0
    failure: Failure | None = None
    provenance: Provenance = Provenance()
    finished: str


class CohortInfo(BaseModel):
    """A cohort's data of one modality, as a study uses it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    role: Role
    modality: Modality
    source: str
    key: str
    synthetic: bool
    n_scans: Count
    n_subjects: Count
    n_slices: Count
    n_quarantined: Count


class PlannedEval(BaseModel):
    """An evaluation that a plan asks for."""

    model_config = ConfigDict(frozen=True)

    eval_id: str
    cohort: str
    test_key: str


class PlannedTrial(BaseModel):
    """A trial that a plan asks for: one fit and its evaluations."""

    model_config = ConfigDict(frozen=True)

    trial_id: str
    spec: TrialSpec
    evals: tuple[PlannedEval, ...]
    search: str | None = None


class PlannedSearch(BaseModel):
    """A search over one parameter, led by Optuna.

    Attributes:
        search_id: Identity: the specification without the searched parameter, the data, and the
            objective's cohort.
        spec: The trial without the searched parameter's value (its default stands in).
        parameter: Name of the searched parameter.
        points: The grid, for a grid search; empty for a continuous one.
        low: Lower end of a continuous search, on a log scale.
        high: Upper end.
        n_trials: How many trials it makes in all.
        objective: Name of the test cohort whose AUC is maximised.
        objective_score: The score whose AUC is meant, in the region ``brain``.
    """

    model_config = ConfigDict(frozen=True)

    search_id: str
    spec: TrialSpec
    parameter: str
    points: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    n_trials: Count
    objective: str
    objective_score: str


class DescribedStudy(BaseModel):
    """What ``study.json`` says of the study's detectors and data; the rest is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    detectors: dict[str, DetectorInfo] = Field(default_factory=dict)
    cohorts: tuple[CohortInfo, ...] = ()


class CopyRecord(Record):
    """What a node has copied of the store, for nothing but to be looked at.

    Attributes:
        host: The node.
        slices: Name of the set of slices, made of the checksums of its shards.
        cohorts: Keys of the cohorts' shards.
        n_slices: Slices of the set.
        n_bytes: Bytes read from the store.
        wall_s: Seconds it took.
        finished: When, in UTC.
    """

    host: str
    slices: str
    cohorts: tuple[str, ...]
    n_slices: Count
    n_bytes: Count
    wall_s: float
    finished: str


class StudyRecord(Record):
    """``study.json``: the grid, the data and the plan of a study; replaced by every run.

    Attributes:
        study: Name of the study.
        grid: Name of the grid.
        synthetic: Whether any cohort is the phantom.
        precision: Arithmetic of its networks, decided when the study began; None in the records
            of versions that did not decide it.
        detectors: What its detectors say of themselves, by model, so that it can be read where one
            is not installed; models that are missing are of versions that did not tell it.
        cohorts: The data, one entry a cohort and modality.
        trials: Every trial with a known specification.
        searches: Searches whose trials are asked for one by one.
        created: UTC time of the first run, ISO 8601.
        updated: UTC time of the latest run.
    """

    study: str
    grid: str
    synthetic: bool
    precision: Precision | None = None
    detectors: dict[str, DetectorInfo] = Field(default_factory=dict)
    cohorts: tuple[CohortInfo, ...]
    trials: tuple[PlannedTrial, ...]
    searches: tuple[PlannedSearch, ...] = ()
    provenance: Provenance = Provenance()
    created: str
    updated: str


R = TypeVar("R", bound=Record)


def parse_record(kind: type[R], data: bytes, where: str) -> R:
    """Validate a record's JSON.

    Args:
        kind: The record type.
        data: The file's bytes.
        where: What to call the file in an error.

    Raises:
        DamagedError: If it is damaged.
        NewerFileError: If it was written by a newer version of this software, or by one so old
            that its records cannot be read any more.
    """
    if has_changed(data):
        raise DamagedError(f"{where} is damaged: its content is not what was written")
    try:
        with disable_gc():
            record = kind.model_validate_json(data)
    except ValidationError as error:
        _check_claimed_version(data, where)
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        raise DamagedError(f"{where} is damaged: {place or 'JSON'}: {first['msg']}") from error
    _check_version(record, where)
    return record


def _check_claimed_version(data: bytes, where: str) -> None:
    """Refuse what is of another version before its fields look damaged."""
    try:
        record = Record.model_validate_json(data)
    except ValidationError:
        return  # no record at all
    _check_version(record, where)


def _check_version(record: Record, where: str) -> None:
    """Refuse a record of another version before it is misread."""
    version = record.store_version
    if "store_version" not in record.model_fields_set:
        raise DamagedError(f"{where} is damaged: store_version: Field required")
    if version > STORE_VERSION:
        raise NewerFileError(
            f"{where} was written by a newer version of this software (store version {version}, "
            f"this one reads up to {STORE_VERSION}); upgrade to read it"
        )
    if version < OLDEST_STORE_VERSION:
        raise NewerFileError(
            f"{where} was written by an older version of this software (store version {version}, "
            f"this one reads from {OLDEST_STORE_VERSION}); read it with the version that wrote it, "
            "or begin another store"
        )
