"""What every storage must do, and what the trial store makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets.storage import ChecksumError, Storage, StorageError, sha256_hex
from study.errors import DamagedError
from study.records.heartbeats import Progress
from study.records.studies import StudyStore, TrialStore, check_study_name, study_names
from study.records.types import Checkpoint, FitRecord, PlannedTrial, StudyRecord

NOW = "2026-01-02T03:04:05.678+00:00"


class TestStorage:
    """The contract of a storage, whatever filesystem it lies on."""

    def test_what_is_put_is_read(self, storage: Storage) -> None:
        data = bytes(range(256)) * 1000
        checksum = storage.put("a/b/c.bin", data)
        assert checksum == sha256_hex(data)
        assert storage.read("a/b/c.bin", checksum) == data

    def test_a_second_put_replaces_the_first(self, storage: Storage) -> None:
        storage.put("f", b"a longer first version")
        storage.put("f", b"second")
        assert storage.read("f") == b"second"

    def test_empty_files_are_files(self, storage: Storage) -> None:
        storage.put("empty", b"")
        assert storage.exists("empty")
        assert storage.read("empty") == b""

    def test_bytes_other_than_promised_are_refused_by_name(self, storage: Storage) -> None:
        storage.put("part.bin", b"what is there")
        with pytest.raises(ChecksumError, match=r"part\.bin.* is damaged"):
            storage.read("part.bin", sha256_hex(b"what was promised"))

    def test_a_missing_file_is_told_apart_from_a_broken_store(self, storage: Storage) -> None:
        assert not storage.exists("nothing")
        with pytest.raises(FileNotFoundError, match="nothing"):
            storage.read("nothing")

    def test_a_folder_is_no_file(self, storage: Storage) -> None:
        storage.put("folder/file", b"x")
        assert not storage.exists("folder")
        with pytest.raises(OSError, match="folder"):
            storage.read("folder")

    def test_listings_are_sorted_and_relative(self, storage: Storage) -> None:
        for path in ("b/2", "b/1", "a/x/y", "c"):
            storage.put(path, b"x")
        assert storage.names() == ("a", "b", "c")
        assert storage.names("b") == ("1", "2")
        assert storage.files() == ("a/x/y", "b/1", "b/2", "c")
        assert storage.files("a") == ("a/x/y",)
        assert storage.names("missing") == storage.files("missing") == ()

    def test_files_of_a_pattern_are_found_with_their_size(self, storage: Storage) -> None:
        for path in ("t/a/m.json", "t/a/eval/x/m.json", "t/b/parts/m.json", "t/b/eval/y/other"):
            storage.put(path, path.encode())
        storage.put("t/m.json", b"too high up")
        found = storage.matching("t", ("*/m.json", "*/eval/*/m.json"))
        assert sorted((mark.path, mark.size) for mark in found) == [
            ("t/a/eval/x/m.json", len("t/a/eval/x/m.json")),
            ("t/a/m.json", len("t/a/m.json")),
        ]
        assert all(mark.mtime_ns > 0 for mark in found)
        assert storage.matching("nowhere", ("*/m.json",)) == []

    def test_deleting_removes_one_file_and_folders_only_once_they_are_empty(
        self, storage: Storage
    ) -> None:
        for path in ("keep", "folder/a/b", "folder/c", "single"):
            storage.put(path, b"x")
        storage.delete("single")
        storage.delete("never/was/there")
        assert not storage.delete_folder_if_empty("folder/a")
        storage.delete("folder/a/b")
        assert storage.delete_folder_if_empty("folder/a")
        assert storage.delete_folder_if_empty("never/was/there")
        assert storage.files() == ("folder/c", "keep")

    @pytest.mark.parametrize(
        "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\\b", "a/"]
    )
    def test_paths_that_leave_the_store_are_refused(self, storage: Storage, path: str) -> None:
        for act in (storage.read, storage.exists, storage.delete, storage.sub):
            with pytest.raises(StorageError, match="no path inside the store"):
                act(path)
        with pytest.raises(StorageError, match="no path inside the store"):
            storage.put(path, b"x")

    def test_a_subfolder_is_a_storage_of_its_own(self, storage: Storage) -> None:
        storage.sub("x/y").put("z", b"1")
        assert storage.read("x/y/z") == b"1"
        assert storage.sub("x").files() == ("y/z",)

    def test_another_process_opens_the_same_store_by_its_uri(self, storage: Storage) -> None:
        storage.put("a/b", b"1")
        assert Storage.open(storage.uri).read("a/b") == b"1"


def test_a_relative_path_means_the_same_in_a_worker_with_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    uri = Storage.open("runs").uri
    Storage.open(uri).put("a", b"1")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Storage.open(uri).read("a") == b"1"


def test_a_store_that_the_filesystem_refuses_is_a_storage_error_whatever_is_asked(
    tmp_path: Path,
) -> None:
    storage = Storage.open(str(tmp_path)).sub("x" * 300)  # no name may be that long
    for act in (storage.read, storage.exists, storage.names, storage.files, storage.delete):
        with pytest.raises(StorageError, match="xxx"):
            act("a")


def test_an_unknown_kind_of_store_is_named() -> None:
    with pytest.raises(StorageError, match="nosuch://x"):
        Storage.open("nosuch://x")


def test_a_local_put_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "child").touch()
    with pytest.raises(StorageError, match="cannot write 'target'"):
        storage.put("target", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


class TestTrialStore:
    """What readers of a trial's folder see, on every storage."""

    @pytest.fixture
    def trial(self, study: StudyStore) -> TrialStore:
        return study.trial("t1")

    def test_parts_are_invisible_until_a_manifest_names_them(
        self,
        trial: TrialStore,
        make_trial: Callable[..., PlannedTrial],
        make_fit: Callable[..., FitRecord],
    ) -> None:
        part = trial.attempt().put("model.safetensors", b"weights")
        assert trial.fit() is None
        assert trial.checkpoint() is None
        record = make_fit(make_trial(), trial_id="t1", parts={"model.safetensors": part})
        trial.write_fit(record)
        assert trial.fit() == record
        assert trial.read_part(record, "model.safetensors") == b"weights"

    def test_an_orphan_that_writes_on_changes_nothing(
        self,
        trial: TrialStore,
        make_trial: Callable[..., PlannedTrial],
        make_fit: Callable[..., FitRecord],
    ) -> None:
        part = trial.attempt().put("model.safetensors", b"published")
        record = make_fit(make_trial(), trial_id="t1", parts={"model.safetensors": part})
        trial.write_fit(record)
        trial.attempt().put("model.safetensors", b"of an orphan")
        assert trial.fit() == record
        assert trial.read_part(record, "model.safetensors") == b"published"

    def test_a_checkpoint_replaces_the_one_before_and_its_parts(self, trial: TrialStore) -> None:
        attempt = trial.attempt()
        first, second = (_checkpoint(attempt.put(f"state-{n}", b"%d" % n), n) for n in (1, 2))
        trial.write_checkpoint(first)
        trial.write_checkpoint(second)
        assert trial.checkpoint() == second
        assert trial.read_part(second, "state.safetensors") == b"2"
        assert [p for p in trial.storage.files() if "state-" in p] == [second_path(second)]

    def test_a_finished_fit_needs_no_checkpoint(
        self,
        trial: TrialStore,
        make_trial: Callable[..., PlannedTrial],
        make_fit: Callable[..., FitRecord],
    ) -> None:
        attempt = trial.attempt()
        trial.write_checkpoint(_checkpoint(attempt.put("state-1", b"1"), 1))
        record = make_fit(make_trial(), trial_id="t1", parts={"m": attempt.put("m", b"2")})
        trial.write_fit(record)
        assert trial.checkpoint() is None
        assert trial.storage.files() == tuple(sorted([record.parts["m"].path, "manifest.json"]))

    def test_a_part_that_is_missing_or_damaged_or_unknown_is_named(
        self,
        trial: TrialStore,
        make_trial: Callable[..., PlannedTrial],
        make_fit: Callable[..., FitRecord],
    ) -> None:
        attempt = trial.attempt()
        parts = attempt.put_all({"a.parquet": b"a", "b.parquet": b"b"})
        record = make_fit(make_trial(), trial_id="t1", parts=parts)
        trial.storage.delete(parts["a.parquet"].path)
        trial.storage.put(parts["b.parquet"].path, b"B")
        with pytest.raises(StorageError, match=r"a\.parquet.* missing"):
            trial.read_part(record, "a.parquet")
        with pytest.raises(ChecksumError, match=r"b\.parquet"):
            trial.read_part(record, "b.parquet")
        with pytest.raises(StorageError, match=r"names no 'c\.parquet'"):
            trial.read_part(record, "c.parquet")

    @pytest.mark.parametrize(
        "path",
        ["../../../../secret", "/etc/passwd", "manifest.json", "eval", "attempts/../manifest.json"],
    )
    def test_a_manifest_that_names_anything_but_a_part_of_an_attempt_is_damaged(
        self,
        trial: TrialStore,
        make_trial: Callable[..., PlannedTrial],
        make_fit: Callable[..., FitRecord],
        path: str,
    ) -> None:
        part = {"path": path, "sha256": sha256_hex(b"s"), "size": 1}
        record = make_fit(make_trial(), trial_id="t1").model_dump(mode="json")
        forged = json.dumps(record | {"parts": {"state.safetensors": part}}).encode()
        trial.storage.put("manifest.json", forged)
        with pytest.raises(DamagedError, match=r"parts\.state\.safetensors\.path"):
            trial.fit()

    def test_a_record_of_another_trial_is_damaged(
        self,
        study: StudyStore,
        trial: TrialStore,
        make_trial: Callable[..., PlannedTrial],
        make_fit: Callable[..., FitRecord],
    ) -> None:
        study.trial("t2").write_fit(make_fit(make_trial(), trial_id="t2"))
        trial.storage.put("manifest.json", study.trial("t2").storage.read("manifest.json"))
        with pytest.raises(DamagedError, match=r"t1/manifest\.json is a record of trial 't2'"):
            trial.fit()

    def test_evaluations_have_folders_of_their_own(self, study: StudyStore) -> None:
        trial = study.trial("t1")
        assert trial.evaluation("e1") is None
        trial.evaluation_storage("e1").put("attempts/x/metrics.parquet", b"x")
        assert trial.evaluation("e1") is None


def _checkpoint(part: object, epoch: int) -> Checkpoint:
    values = {"epoch": epoch, "steps": epoch, "attempts": 1, "wall_s": 1.0}
    return Checkpoint.model_validate(
        {"trial_id": "t1", "parts": {"state.safetensors": part}, **values}
    )


def second_path(checkpoint: Checkpoint) -> str:
    return checkpoint.parts["state.safetensors"].path


class TestStudyStore:
    """The study's own records, on every storage."""

    def test_records_are_replaced_whole(self, study: StudyStore) -> None:
        assert study.study() is None
        assert study.progress() is None
        record = StudyRecord(
            study="a-study",
            grid="smoke",
            synthetic=True,
            cohorts=(),
            trials=(),
            created="2026",
            updated="2026",
        )
        study.write_study(record)
        study.write_study(record.model_copy(update={"updated": "2027"}))
        progress = Progress(driver="d", host="h", pid=1, stage="trials", started=NOW, updated=NOW)
        study.write_progress(progress)
        assert study.study() == record.model_copy(update={"updated": "2027"})
        assert study.progress() == progress

    def test_studies_are_listed_once_they_have_a_record(self, storage: Storage) -> None:
        assert study_names(storage) == ()
        storage.put("studies/b/study.json", b"{}")
        storage.put("studies/a/study.json", b"{}")
        storage.put("studies/unfinished/trials/x", b"{}")
        assert study_names(storage) == ("a", "b")


@pytest.mark.parametrize("name", ["", "..", "a..b", "a/b", "/a", ".a", "-a", "a b", "x" * 65])
def test_unsafe_study_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no study name"):
        check_study_name(name)
