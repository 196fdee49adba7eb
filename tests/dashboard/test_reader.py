from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from dashboard import reader
from dashboard.reader import StudyReader
from datasets.storage import Storage
from study.plan.done import count_trials
from study.plan.plan import planned_trial
from study.progress.liveness import is_alive
from study.records.heartbeats import Progress
from study.records.index import load_index
from study.records.studies import StudyStore, utc_now


@pytest.fixture
def study(synthetic: ModuleType, tmp_path: Path) -> StudyStore:
    wanted = synthetic.Wanted(trials=12, unfinished=2, full=False)
    found: StudyStore = synthetic.write_store(tmp_path, "running", wanted)
    return found


@pytest.fixture
def read(study: StudyStore, tmp_path: Path) -> StudyReader:
    return StudyReader(Storage.open(str(tmp_path)), "running")


def _progress(stage: str, age: timedelta) -> Progress:
    then = (datetime.now(UTC) - age).isoformat()
    return Progress(driver="d", host="h", pid=1, stage=stage, started=then, updated=then)


def test_view_counts_as_the_report_does(study: StudyStore, read: StudyReader) -> None:
    view = read.view()
    record = study.study()
    assert record is not None
    expected = count_trials(record, load_index(study), running=2)
    assert view.counts == expected
    assert (view.counts.done, view.counts.failed, view.counts.planned) == (9, 1, 12)


def test_view_is_kept_until_something_changes(
    study: StudyStore, read: StudyReader, synthetic: ModuleType
) -> None:
    first = read.view()
    assert read.view().version == first.version
    record = study.study()
    assert record is not None
    unfinished = planned_trial(record.trials[-1].spec, record.cohorts)
    synthetic.write_fit(study, unfinished, synthetic.np.random.default_rng(0))
    progress = study.progress()
    assert progress is not None
    study.write_progress(progress.model_copy(update={"updated": utc_now(), "done": 10}))
    second = read.view()
    assert second.version != first.version
    assert second.index.num_rows == first.index.num_rows + 1


def test_long_walk_over_the_records_does_not_keep_a_page_waiting(
    study: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    release = threading.Event()
    real = reader.load_index

    def slow(opened: StudyStore) -> object:
        release.wait(60)
        return real(opened)

    monkeypatch.setattr(reader, "load_index", slow)
    monkeypatch.setattr(reader, "PATIENCE_S", 0.01)
    patient = StudyReader(Storage.open(str(tmp_path)), "running")
    view = patient.view()
    assert not release.is_set()
    assert view.counts.done == 9
    release.set()


def test_missing_index_is_waited_for(study: StudyStore, tmp_path: Path) -> None:
    study.storage.delete("index.parquet")
    assert StudyReader(Storage.open(str(tmp_path)), "running").view().counts.done == 9


def test_reading_writes_nothing(study: StudyStore, read: StudyReader, tmp_path: Path) -> None:
    study.storage.delete("index.parquet")
    before = {p: p.stat().st_mtime_ns for p in sorted(tmp_path.rglob("*"))}
    read.view()
    assert {p: p.stat().st_mtime_ns for p in sorted(tmp_path.rglob("*"))} == before


def test_damaged_trial_is_named_and_the_rest_is_there(study: StudyStore, tmp_path: Path) -> None:
    trial = study.storage.names("trials")[0]
    study.storage.put(f"trials/{trial}/manifest.json", b'{"half": ')
    view = StudyReader(Storage.open(str(tmp_path)), "running").view()
    assert len(view.problems) == 1
    assert trial in view.problems[0]
    assert view.counts.done >= 8


def test_newer_study_is_refused_with_a_sentence(study: StudyStore, tmp_path: Path) -> None:
    study.storage.put("study.json", b'{"store_version": 99, "study": {"new": true}}')
    view = StudyReader(Storage.open(str(tmp_path)), "running").view()
    assert view.record is None
    assert "newer version" in view.problems[0]


def test_vanished_store_is_a_view_without_a_record(study: StudyStore, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "studies")
    view = StudyReader(Storage.open(str(tmp_path)), "running").view()
    assert view.record is None
    assert view.counts.planned == 0


@pytest.mark.parametrize("name", ["../../etc", "<script>alert(1)</script>", "", "a/b", ".."])
def test_no_name_leads_out_of_the_store(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no study name"):
        StudyReader(Storage.open(str(tmp_path)), name)


def test_driver_is_live_while_its_heart_beats() -> None:
    now = timedelta(seconds=1)
    assert is_alive(_progress("trials", now))
    assert is_alive(_progress("prepare", now))
    assert not is_alive(_progress("trials", timedelta(minutes=5)))
    assert not is_alive(_progress("done", now))
    assert not is_alive(_progress("interrupted", now))
    assert not is_alive(_progress("stopped", now))
    assert not is_alive(None)
    assert not is_alive(_progress("trials", -timedelta(minutes=5)))  # a clock that was wrong
