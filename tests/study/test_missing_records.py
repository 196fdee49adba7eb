"""Records that others need: missed where they are gone, and what they name is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from datasets import retries
from datasets.manifest import (
    CohortManifest,
    ScanRecord,
    cohort_key,
    manifest_path,
    record_path,
    write_manifest,
    write_record,
)
from datasets.retries import retried_key, write_retries
from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study.records.identities import Problem
from study.records.studies import StudyStore
from study.records.types import CohortInfo, PlannedTrial, StudyRecord
from study.report.report import make_report
from study.store.check import Finding, check_store
from study.store.repair import repair_store
from study.store.sweep import sweep
from trainables.registry import describe

Put = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def study(finished_study: StudyStore) -> StudyStore:
    return finished_study


def study_record(
    study: StudyStore, cohorts: tuple[CohortInfo, ...], trials: tuple[PlannedTrial, ...]
) -> StudyRecord:
    """What is in a study of the baseline."""
    return StudyRecord(
        study=study.name,
        grid="g",
        synthetic=False,
        detectors={"intensity": describe("intensity")},
        cohorts=cohorts,
        trials=trials,
        created="2026-01-02T03:04:05.678+00:00",
        updated="2026-01-02T03:04:05.678+00:00",
    )


def findings(store: Path) -> list[Finding]:
    return [f for f in check_store(Storage.open(str(store))) if isinstance(f, Finding)]


def test_a_record_that_another_one_needs_is_missed(study: StudyStore, store: Path) -> None:
    (store / "studies/a-study/study.json").unlink()
    path = "studies/a-study/study.json"
    (missing,) = (f for f in findings(store) if f.path == path)
    assert missing.problem is Problem.DAMAGED
    assert "the next run of that study writes it again" in missing.message


def test_shards_that_a_study_used_are_noted_and_not_wrong(study: StudyStore, store: Path) -> None:
    found = [f for f in findings(store) if f.path.startswith("shards/")]
    assert {f.path.split("/")[1] for f in found} == {
        "key-of-atlas-T1w",
        "key-of-brats-T1w",
        "key-of-brats-T2w",
        "key-of-ixi-T1w",
        "key-of-ixi-T2w",
    }
    assert {f.problem for f in found} == {None}


@pytest.mark.parametrize("name", ["manifest.json", "eval/*/manifest.json"])
def test_gc_keeps_the_parts_of_a_record_that_another_one_lies_in_place_of(
    study: StudyStore, store: Path, name: str
) -> None:
    folders = sorted((store / "studies/a-study/trials").iterdir())
    mine, theirs = (sorted(folder.glob(name))[0] for folder in folders)
    before = {p for p in store.rglob("*") if p.is_file()}
    mine.write_bytes(theirs.read_bytes())
    assert sweep(Storage.open(str(store)), study).paths == []
    assert {p for p in before if p.exists()} == before


def test_a_trial_that_has_failed_in_a_part_and_lacks_another_is_not_settled(
    local_study: StudyStore,
    paper_cohorts: tuple[CohortInfo, ...],
    make_trial: Callable[..., PlannedTrial],
    put_trial: Put,
) -> None:
    trial = make_trial("intensity", "T1w")
    put_trial(local_study, trial, {"intensity": 0.7}, failed_evals=("atlas",))
    record = study_record(local_study, paper_cohorts, (trial,))
    assert make_report(local_study, record).trials.failed == 1
    done = next(e for e in trial.evals if e.cohort == "brats")
    mine = local_study.trial(trial.trial_id)
    mine.evaluation_storage(done.eval_id).delete("manifest.json")
    counts = make_report(local_study, record).trials
    assert (counts.planned, counts.done, counts.failed) == (1, 0, 0)


def _scan(storage: Storage, key: str, status: Literal["ok", "quarantined"]) -> ScanRecord:
    """The record of a scan, which is written, with its slices."""
    part = f"shards/scans/{key}/slices-{key}.parquet" if status == "ok" else ""
    sha256 = storage.put(part, b"slices") if part else ""
    record = ScanRecord(
        key=key,
        status=status,
        cohort="atlas",
        role="test",
        subject="s",
        session="",
        modality="T1w",
        image="s.nii.gz",
        part=part,
        sha256=sha256,
    )
    write_record(storage, record)
    return record


def _cohort(storage: Storage, scan: ScanRecord) -> str:
    """The manifest of a cohort of one scan; its key."""
    key = cohort_key("atlas", "T1w", [scan.key])
    manifest = CohortManifest(
        key=key,
        cohort="atlas",
        modality="T1w",
        role="test",
        source="bids",
        synthetic=False,
        settings=PreprocessSettings(),
        preprocess_version=1,
        records=(scan,),
    )
    write_manifest(storage, manifest)
    return key


def test_a_scans_record_that_is_gone_is_made_again_with_its_cohort(store: Path) -> None:
    storage = Storage.open(str(store))
    scan = _scan(storage, "0123456789abcdef0123", "ok")
    cohort = manifest_path(_cohort(storage, scan))
    (store / record_path(scan.key)).unlink()
    (found,) = findings(store)
    assert (found.path, found.problem) == (record_path(scan.key), Problem.DAMAGED)
    (repaired,) = repair_store(storage)
    assert repaired.taken == (cohort,)
    assert (store / scan.part).exists()


@pytest.mark.parametrize("damage", ["gone", "cut", "a folder"])
def test_what_came_through_when_it_was_tried_again_is_known_after_repair(
    store: Path, damage: str
) -> None:
    storage = Storage.open(str(store))
    first = "0123456789abcdef0123"
    _scan(storage, first, "quarantined")
    _cohort(storage, _scan(storage, retried_key(first, 1), "ok"))
    write_retries(storage, {first: 1})
    assert findings(store) == []
    path = store / retries.PATH
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[:-9])
    if damage == "a folder":
        (path / "within").mkdir(parents=True)
    (found,) = findings(store)
    assert (found.path, found.problem) == (retries.PATH, Problem.DAMAGED)
    (repaired,) = repair_store(storage)
    assert repaired.fault == ""
    assert path.read_bytes() == whole
    assert findings(store) == []


@pytest.mark.parametrize("folder", ["trial", "attempts", "eval"])
@pytest.mark.parametrize("instead", ["nothing", "itself", "the user's", "a file", "a pipe"])
def test_what_is_in_place_of_a_folder_is_taken_out_and_nothing_behind_it(
    study: StudyStore, store: Path, tmp_path: Path, folder: str, instead: str
) -> None:
    trial = sorted((store / "studies/a-study/trials").iterdir())[0]
    place = {"trial": trial, "attempts": trial / "attempts", "eval": trial / "eval"}[folder]
    mine = tmp_path / "mine"
    (mine / ("f" * 32)).mkdir(parents=True)
    (mine / ("f" * 32) / "state.safetensors").write_text("mine")
    shutil.rmtree(place)
    if instead == "a file":
        place.write_text("notes")
    elif instead == "a pipe":
        os.mkfifo(place)
    else:
        place.symlink_to({"nothing": "gone", "itself": place, "the user's": mine}[instead])
    path = str(place.relative_to(store))
    (found,) = (f for f in findings(store) if f.path == path)
    assert (found.problem, found.records) == (Problem.DAMAGED, (path,))
    list(repair_store(Storage.open(str(store))))
    assert not os.path.lexists(place)
    assert (mine / ("f" * 32) / "state.safetensors").read_text() == "mine"


@pytest.mark.parametrize("folder", ["trial", "attempts", "eval", "studies"])
def test_a_folder_that_was_moved_and_linked_is_no_damage(
    study: StudyStore, store: Path, tmp_path: Path, folder: str
) -> None:
    trial = sorted((store / "studies/a-study/trials").iterdir())[0]
    places = {
        "trial": trial,
        "attempts": trial / "attempts",
        "eval": trial / "eval",
        "studies": store / "studies",
    }
    place = places[folder]
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    found = [f for f in findings(store) if f.path == str(place.relative_to(store))]
    assert {f.problem for f in found} <= {None}
