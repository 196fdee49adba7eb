"""The records of a study: what every JSON file of the store says, validated where it is read.

A reader trusts only what a manifest names. Fields may be added; none changes its meaning without
``STORE_VERSION`` being raised.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from datasets.scan import Modality, Role
from study.records.halving import Halving, Stop
from trainables.arithmetic import Precision
from trainables.description import DetectorInfo
from trainables.postprocess import Postprocessing
from trainables.spec import TrialSpec

STORE_VERSION = 1
"""Layout of the store; a store of a newer version is refused, never misread."""

OLDEST_STORE_VERSION = 1
"""The oldest layout that this version still reads; what is older is refused as well."""

Status = Literal["done", "failed"]

FitStatus = Literal["done", "failed", "stopped"]
"""``stopped`` is a network that ASHA has ended early, and no failure."""

EvalRole = Literal["test", "healthy"]
"""What an evaluation is for: figures of table 1, or false alarms where there is no lesion."""

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A number of things, as tables can hold it."""


def _is_none(value: object) -> bool:
    """Whether a field is left out of a record: as it was before there was such a field."""
    return value is None


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
    """A finished, failed or stopped fit: ``trials/<trial_id>/manifest.json``.

    Attributes:
        trial_id: Identity of the fit.
        status: ``done``, ``failed`` or ``stopped``.
        spec: What was trained, with the epochs it has reached; of one that has not reached its
            end, with those asked for.
        train_cohorts: Names of the cohorts it was trained on.
        train_keys: Keys of their shards.
        search: Identity of the search that asked for it, if one did; others may know it as well.
        recipe_version: The detector's ``VERSION``.
        parts: ``spec.json``, ``history.parquet``, ``model.safetensors`` (what scoring needs),
            ``state.safetensors`` (the state at the end) and, where a fit of more epochs goes on
            from another state, ``continuation.safetensors``. Those of a failed or stopped fit are
            of the shorter one that it went on from, if it did.
        epochs_kept: Epochs of that shorter fit; 0 if there is none.
        n_parameters: Number of trained numbers.
        attempts: How many processes worked on it.
        wall_s: Seconds of training, over all attempts.
        steps: Optimiser steps or EM iterations.
        train_loss: Of the last epoch.
        validation_loss: Of the last epoch.
        failure: Why it failed, if it did.
        stopped: Why it was stopped, if it was; its state is that of the checkpoint beside it.
        finished: UTC time, ISO 8601.
    """

    trial_id: str
    status: FitStatus
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
    stopped: Stop | None = Field(default=None, exclude_if=_is_none)
    provenance: Provenance = Provenance()
    finished: str

    @model_validator(mode="after")
    def _tells_why_stopped(self) -> Self:
        if (self.status == "stopped") != (self.stopped is not None):
            raise ValueError("a stopped fit, and no other, says why it was stopped")
        return self

    @property
    def epochs_reached(self) -> int:
        """Epochs of its training: those asked for, or fewer where it was stopped."""
        return self.spec.epochs if self.stopped is None else self.stopped.epoch


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
        cohort: Name of the test or healthy cohort, or ``trainables.spec.HELD_OUT``.
        role: ``test``, or ``healthy`` of scans without lesions; all are ``test`` in records that do
            not tell.
        test_key: Key of its shards.
        postprocessing: What was done to the score maps first, if anything.
        parts: ``metrics.parquet``, ``roc.parquet``, ``subjects.parquet``, ``slices.parquet``,
            ``lesions.parquet``, ``heatmaps.parquet``; of version 1 not the slices and lesions.
    """

    eval_id: str
    trial_id: str
    status: Status
    epochs: Count
    cohort: str
    role: EvalRole = "test"
    modality: Modality
    test_key: str
    eval_version: Count
    postprocessing: Postprocessing | None = None
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
    """An evaluation that a plan asks for.

    Attributes:
        eval_id: Identity of the evaluation.
        cohort: Name of the test or healthy cohort, or ``trainables.spec.HELD_OUT``.
        test_key: Key of its shards.
        asked: Names of scores that the grid asks for besides those that are always computed.
        role: ``test``, or ``healthy`` of scans without lesions.
        postprocessing: What is done to the score maps first, if anything.
    """

    model_config = ConfigDict(frozen=True)

    eval_id: str
    cohort: str
    test_key: str
    asked: tuple[str, ...] = ()
    role: EvalRole = "test"
    postprocessing: Postprocessing | None = None

    @property
    def place(self) -> str:
        """What tells it from a trial's other evaluations while the trial is at work."""
        done = self.postprocessing
        return self.cohort if done is None else f"{self.cohort}, {done.label}"


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
        eval_version: Of evaluation, when it was planned; 1 in records that do not tell.
        detectors: What its detectors say of themselves, by model, so that it can be read where one
            is not installed; models that are missing are of versions that did not tell it.
        cohorts: The data, one entry a cohort and modality.
        trials: Every trial with a known specification.
        searches: Searches whose trials are asked for one by one.
        halving: How the latest run stopped networks early; None if it did not.
        created: UTC time of the first run, ISO 8601.
        updated: UTC time of the latest run.
    """

    study: str
    grid: str
    synthetic: bool
    precision: Precision | None = None
    eval_version: Count = 1
    detectors: dict[str, DetectorInfo] = Field(default_factory=dict)
    cohorts: tuple[CohortInfo, ...]
    trials: tuple[PlannedTrial, ...]
    searches: tuple[PlannedSearch, ...] = ()
    halving: Halving | None = Field(default=None, exclude_if=_is_none)
    provenance: Provenance = Provenance()
    created: str
    updated: str
