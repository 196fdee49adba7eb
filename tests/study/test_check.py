"""``study.store`` check, repair and gc: what they find, take and leave."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datasets.layout import unfinished_name
from datasets.manifest import ScanRecord, write_record
from datasets.storage import Storage
from study.errors import DamagedError
from study.records.identities import Problem
from study.records.index import refresh_index
from study.records.studies import StudyStore
from study.report.report import as_json, make_report
from study.store.check import Finding, check_store
from study.store.command import app
from study.store.repair import repair_store
from study.store.sweep import sweep, sweep_shards

Put = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def study(finished_study: StudyStore) -> StudyStore:
    return finished_study


def findings(store: Path) -> list[Finding]:
    return [f for f in check_store(Storage.open(str(store))) if isinstance(f, Finding)]


def trial_folders(store: Path) -> list[Path]:
    return sorted((store / "studies" / "a-study" / "trials").iterdir())


def digestless(path: Path, old: bytes, new: bytes) -> None:
    """Edit a record and take its digest out: a record of an earlier version, changed by a hand."""
    text = path.read_bytes()
    assert old in text
    text = text.replace(old, new)
    path.write_bytes(text[: text.rindex(b',\n "digest"')] + b"\n}")


def test_a_whole_store_is_right(study: StudyStore, store: Path) -> None:
    right = [f for f in check_store(Storage.open(str(store))) if isinstance(f, str)]
    assert not any(f.problem for f in findings(store))
    assert len(right) == len([p for p in store.rglob("*") if p.is_file()])


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("manifest.json", (b'"seed": 0', b'"seed": 7')),
        ("manifest.json", (b'"model": "intensity"', b'"model": "gmm"')),
        ("eval/*/manifest.json", (b'"cohort": "atlas"', b'"cohort": "brats"')),
        ("eval/*/manifest.json", (b'"epochs": 1', b'"epochs": 2')),
    ],
)
def test_an_older_record_that_was_edited_is_told_by_its_identity(
    study: StudyStore, store: Path, name: str, edit: tuple[bytes, bytes]
) -> None:
    path = next(
        p for p in sorted(store.glob(f"studies/*/trials/*/{name}")) if edit[0] in p.read_bytes()
    )
    digestless(path, *edit)
    (found,) = (f for f in findings(store) if f.problem)
    assert found.path == str(path.relative_to(store))
    assert found.problem is Problem.DAMAGED
    record = study.study()
    assert record is not None
    assert make_report(study, record).problems.counts[Problem.DAMAGED] == 1


def test_copies_and_exchanged_folders_count_nowhere_and_are_told(
    study: StudyStore, store: Path
) -> None:
    record = study.study()
    assert record is not None
    before = make_report(study, record)
    first, second = trial_folders(store)
    evaluation = next((first / "eval").iterdir())
    shutil.copytree(evaluation, evaluation.with_name(f"{evaluation.name}.bak"))
    shutil.copytree(first, first.with_name("a..b"))
    theirs = next((second / "eval").iterdir())
    shutil.copytree(theirs, first / "eval" / theirs.name)
    after = make_report(study, record)
    assert after.rows == before.rows
    assert after.trials == before.trials
    # the backup, the copied trial with its four evaluations, and the other trial's evaluation
    assert after.problems.counts == {Problem.FOREIGN: 7}
    assert f"study.store check {store}" in after.problems.words(after.store)
    assert {f.problem for f in findings(store)} - {None} == {Problem.FOREIGN}
    first.rename(first.with_name("aside"))
    second.rename(first)
    first.with_name("aside").rename(second)
    assert make_report(study, record).trials.done == 0
    assert '"foreign": 14' in as_json(make_report(study, record))


def test_repair_sets_a_damaged_part_and_its_record_aside_and_nothing_else(
    study: StudyStore, store: Path
) -> None:
    part = next(store.glob("studies/*/trials/*/eval/*/attempts/*/metrics.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    manifest = part.parents[2] / "manifest.json"
    kept = {p for p in store.rglob("*") if p.is_file()} - {part, manifest}
    damaged = {p: p.read_bytes() for p in (part, manifest)}
    (repaired,) = repair_store(Storage.open(str(store)))
    assert repaired.fault == ""
    assert not part.exists()
    assert not manifest.exists()
    assert all(path.exists() for path in kept)
    copies = {p.name: p.read_bytes() for p in (store / "damaged").rglob("*") if p.is_file()}
    assert copies == {p.name: data for p, data in damaged.items()}
    assert not any(f.problem for f in findings(store))


def test_repair_that_cannot_copy_removes_nothing(
    study: StudyStore, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = trial_folders(store)[0] / "manifest.json"
    manifest.write_bytes(b"{")
    (store / "damaged").write_text("a file where the folder should be")
    (repaired,) = repair_store(Storage.open(str(store)))
    assert "cannot write" in repaired.fault
    assert manifest.read_bytes() == b"{"


@pytest.mark.parametrize("target", ["folder", ".", "neighbour", "itself"])
def test_gc_follows_no_link_and_touches_nothing_behind_it(
    study: StudyStore, store: Path, tmp_path: Path, target: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "state.safetensors").write_text("mine")
    first, second = trial_folders(store)
    before = {p for p in store.rglob("*") if p.is_file()}
    where = {
        "folder": str(mine),
        ".": ".",
        "neighbour": str(second / "attempts"),
        "itself": "f" * 32,
    }[target]
    places = (first / "attempts", next((first / "eval").iterdir()) / "attempts", first / "eval")
    for place in places:
        (place / ("f" * 32)).symlink_to(where)
    result = CliRunner().invoke(app, ["gc", str(store)])
    assert result.exit_code == 0, result.output
    assert {p for p in before if p.exists()} == before
    assert (mine / "state.safetensors").read_text() == "mine"


def test_gc_removes_an_attempt_and_a_link_among_its_files_but_not_a_users_file(
    study: StudyStore, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    attempt = trial_folders(store)[0] / "attempts" / ("e" * 32)
    attempt.mkdir()
    (attempt / "state.safetensors").write_text("left over")
    (attempt / "model.safetensors").symlink_to(tmp_path / "mine.txt")
    swept = sweep(Storage.open(str(store)), study)
    assert len(swept.paths) == 2
    assert not attempt.exists()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    attempt.mkdir()
    (attempt / "notes of mine.txt").write_text("mine")
    assert sweep(Storage.open(str(store)), study).paths == []
    assert attempt.exists()


@pytest.mark.parametrize("content", [b"", b'{"store_version": 99}', "pipe", "link"])
def test_gc_keeps_what_a_record_that_cannot_be_read_may_name(
    study: StudyStore, store: Path, content: bytes | str
) -> None:
    manifest = trial_folders(store)[0] / "manifest.json"
    parts = {p for p in manifest.parent.rglob("attempts/*/*") if p.is_file()}
    manifest.unlink()
    if content == "pipe":
        os.mkfifo(manifest)
    elif content == "link":
        manifest.symlink_to("nowhere")
    elif isinstance(content, bytes):
        manifest.write_bytes(content)
    assert findings(store)[0].path == str(manifest.relative_to(store))
    assert sweep(Storage.open(str(store)), study).paths == []
    assert all(part.exists() for part in parts)


def test_gc_keeps_slices_that_only_a_cohort_names_and_all_beside_an_unclear_one(
    tmp_path: Path,
) -> None:
    storage = Storage.open(str(tmp_path))
    slices = f"shards/scans/{'a' * 20}/slices-{'b' * 20}.parquet"
    storage.put(slices, b"slices")
    storage.put(f"shards/{'c' * 20}/manifest.json", b'{"version": 2, "what": "is that"}')
    assert sweep_shards(storage).paths == []  # a newer cohort may name it
    storage.delete(f"shards/{'c' * 20}/manifest.json")
    storage.put(f"shards/scans/{'a' * 20}/record.json", b"{")
    assert sweep_shards(storage).paths == []  # so may a truncated record
    storage.delete(f"shards/scans/{'a' * 20}/record.json")
    storage.put("shards/scans/of mine/brain.nii", b"mine")
    assert sweep_shards(storage).paths == [slices]
    assert storage.exists("shards/scans/of mine/brain.nii")


def test_links_beside_a_scans_record_are_followed_by_neither_gc_nor_the_writer_of_records(
    tmp_path: Path,
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    names = (f"slices-{'b' * 20}.parquet", "record.json", unfinished_name("record.json"))
    for name in names:
        (mine / name).write_text("mine")
    storage = Storage.open(str(tmp_path / "store"))
    record = ScanRecord(
        key="a" * 20,
        status="quarantined",
        reason="why",
        cohort="c",
        role="test",
        subject="s",
        session="",
        modality="T1w",
        image="i",
    )
    write_record(storage, record)
    folder = tmp_path / "store" / "shards" / "scans" / record.key
    for link, target in (("mine", mine), ("here", "."), (names[2], mine), ("loop", "loop")):
        (folder / link).symlink_to(target)
    (folder.parent / ("c" * 20)).symlink_to(mine)
    write_record(storage, record)  # removes what has the name of an unfinished file, a link here
    sweep_shards(storage)
    assert sorted(p.name for p in folder.iterdir()) == ["here", "loop", "mine", "record.json"]
    assert sorted(p.name for p in mine.iterdir()) == sorted(names)


def test_a_part_of_another_size_than_its_record_says_is_found(
    study: StudyStore, store: Path
) -> None:
    manifest = trial_folders(store)[0] / "manifest.json"
    digestless(manifest, b'"size": 7', b'"size": 8')
    (found,) = (f for f in findings(store) if f.problem)
    assert "has 7 bytes, and its record says 8" in found.message
    trial = study.trial(manifest.parent.name)
    fit = trial.fit()
    assert fit is not None
    with pytest.raises(DamagedError, match="has 7 bytes"):
        trial.read_part(fit, "model.safetensors")


def test_a_damaged_index_is_found_and_built_anew(study: StudyStore, store: Path) -> None:
    index = store / "studies" / "a-study" / "index.parquet"
    good = refresh_index(study)
    data = bytearray(index.read_bytes())
    for place in range(0, len(data), 97):
        flipped = data.copy()
        flipped[place] ^= 16
        index.write_bytes(flipped)
        assert refresh_index(study).equals(good)
        assert any(f.path.endswith("index.parquet") for f in findings(store)) or (
            index.read_bytes() != flipped
        )


def test_links_pipes_and_folders_in_place_of_records_are_told_without_waiting(
    study: StudyStore, store: Path
) -> None:
    first, second = trial_folders(store)
    (first / "manifest.json").unlink()
    os.mkfifo(first / "manifest.json")
    (second / "manifest.json").unlink()
    (second / "manifest.json").symlink_to("manifest.json")
    evaluation = next((second / "eval").iterdir())
    (evaluation / "manifest.json").unlink()
    (evaluation / "manifest.json").mkdir()
    record = study.study()
    assert record is not None
    report = make_report(study, record)
    assert sum(report.problems.counts.values()) == 3
    paths = {f.path.removeprefix("studies/a-study/trials/") for f in findings(store) if f.problem}
    assert f"{first.name}/manifest.json" in paths
    assert f"{second.name}/manifest.json" in paths
    assert f"{second.name}/eval/{evaluation.name}/manifest.json" in paths
    result = CliRunner().invoke(app, ["repair", str(store)])
    assert result.exit_code == 0, result.output
    assert not any(f.problem for f in findings(store))
