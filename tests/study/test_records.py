"""Records read what they wrote, refuse what is newer, and name what is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from datasets.storage import StorageError
from study.errors import DamagedError
from study.records.heartbeats import Progress, RunningTrial
from study.records.parsing import parse_record
from study.records.types import (
    STORE_VERSION,
    Checkpoint,
    CopyRecord,
    EvalRecord,
    Failure,
    FitRecord,
    Part,
    PlannedSearch,
    PlannedTrial,
    Provenance,
    Record,
    StudyRecord,
)
from trainables.spec import TrialSpec

_PART = Part(path="attempts/a/x.parquet", sha256="0" * 64, size=3)
_FAILURE = Failure(kind="NonFiniteLossError", message="nan at step 3", traceback="Traceback: λ")
_SPEC = TrialSpec(model="vae", modality="T2w", params={"n_c": 8, "betas": [0.9, 0.999]}, epochs=7)
_PROVENANCE = Provenance(git_revision="abc", host="h", packages={"torch": "2"})


@pytest.fixture
def records(make_trial: Callable[..., PlannedTrial]) -> dict[str, Record]:
    """One of every kind, with every field set to something that is not its default."""
    search = PlannedSearch(
        search_id="s",
        spec=_SPEC,
        parameter="gmm_lambda",
        points=(0.1, 0.001),
        n_trials=2,
        objective="atlas",
        objective_score="outlier_posterior",
    )
    running = RunningTrial(trial_id="t", label="vae", stage="fit", epoch=2, epochs=4)
    found: list[Record] = [
        FitRecord(
            trial_id="t",
            status="failed",
            spec=_SPEC,
            train_cohorts=("a", "b"),
            train_keys=("ka", "kb"),
            search="s",
            recipe_version=3,
            parts={"spec.json": _PART},
            epochs_kept=3,
            n_parameters=5,
            attempts=2,
            wall_s=1.25,
            steps=9,
            train_loss=0.1,
            validation_loss=0.2,
            failure=_FAILURE,
            provenance=_PROVENANCE,
            finished="2026",
        ),
        Checkpoint(trial_id="t", epoch=1, steps=2, attempts=3, wall_s=4.0, parts={"state": _PART}),
        EvalRecord(
            eval_id="e",
            trial_id="t",
            status="failed",
            epochs=4,
            cohort="atlas",
            modality="T1w",
            test_key="k",
            eval_version=2,
            parts={"roc.parquet": _PART},
            wall_s=0.5,
            failure=_FAILURE,
            provenance=_PROVENANCE,
            finished="2026",
        ),
        StudyRecord(
            study="s",
            grid="paper",
            synthetic=True,
            cohorts=(),
            trials=(make_trial("vae", n_c=8, n_z=16),),
            searches=(search,),
            provenance=_PROVENANCE,
            created="2026",
            updated="2027",
        ),
        Progress(
            driver="d",
            host="h",
            pid=7,
            stage="trials",
            process="7-123",
            took_over=("c",),
            needs_cleanup=True,
            started="2026",
            updated="2027-01-02T03:04:05.678+00:00",
            planned=3,
            done=1,
            failed=1,
            running=(running,),
            slices_per_s=1.5,
            seconds_left=2.5,
            best={"atlas T1w": 0.7},
        ),
        CopyRecord(
            host="h",
            slices="k",
            cohorts=("a", "b"),
            n_slices=7,
            n_bytes=8,
            wall_s=0.5,
            finished="2026",
        ),
    ]
    return {type(record).__name__: record for record in found}


def test_every_kind_of_record_survives_writing_and_reading(records: dict[str, Record]) -> None:
    assert {kind.__name__ for kind in Record.__subclasses__()} == set(records)
    for record in records.values():
        assert parse_record(type(record), record.model_dump_json().encode(), "x") == record


def test_a_newer_store_is_refused_with_a_sentence(records: dict[str, Record]) -> None:
    for record in records.values():
        newer = record.model_copy(update={"store_version": STORE_VERSION + 1})
        with pytest.raises(StorageError, match=r"here\.json was written by a newer version.*upgra"):
            parse_record(type(record), newer.model_dump_json().encode(), "here.json")


def test_a_newer_store_of_another_shape_is_called_newer_not_damaged(
    records: dict[str, Record],
) -> None:
    text = json.dumps({"store_version": STORE_VERSION + 1, "everything": "else"})
    for record in records.values():
        with pytest.raises(StorageError, match="newer version"):
            parse_record(type(record), text.encode(), "here.json")


def test_a_field_added_later_is_ignored(records: dict[str, Record]) -> None:
    for record in records.values():
        content = json.loads(record.model_dump_json()) | {"joined_later": 1}
        assert parse_record(type(record), json.dumps(content).encode(), "x") == record


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"trial_id": 3}'])
def test_damaged_json_is_named(records: dict[str, Record], data: bytes) -> None:
    for record in records.values():
        with pytest.raises(StorageError, match=r"here\.json is damaged: \S+"):
            parse_record(type(record), data, "here.json")


@pytest.mark.parametrize("updated", ["not a date", "2026-01-02T03:04:05"])
def test_a_heartbeat_whose_time_says_nothing_is_damage(
    records: dict[str, Record], updated: str
) -> None:
    content = json.loads(records["Progress"].model_dump_json()) | {"updated": updated}
    with pytest.raises(DamagedError, match="updated"):
        parse_record(Progress, json.dumps(content).encode(), "here.json")


@pytest.mark.parametrize(("version", "kind"), [(0, StorageError), (None, DamagedError)])
def test_a_record_of_an_older_version_or_of_none_is_never_read(
    records: dict[str, Record], version: int | None, kind: type[Exception]
) -> None:
    for record in records.values():
        content = json.loads(record.model_dump_json()) | {"store_version": version}
        if version is None:
            del content["store_version"]
        with pytest.raises(kind, match=r"older version|store_version"):
            parse_record(type(record), json.dumps(content).encode(), "here.json")


def test_every_truncation_of_a_record_is_damage(records: dict[str, Record]) -> None:
    data = records["FitRecord"].model_dump_json().encode()
    for length in range(0, len(data), 37):
        with pytest.raises(StorageError, match="is damaged"):
            parse_record(FitRecord, data[:length], "x")


def test_a_missing_field_is_named(records: dict[str, Record]) -> None:
    content = json.loads(records["EvalRecord"].model_dump_json())
    del content["cohort"]
    with pytest.raises(StorageError, match=r"x is damaged: cohort: "):
        parse_record(EvalRecord, json.dumps(content).encode(), "x")
