"""Preparation on a real Ray: what is redone, what is set aside, what is mended."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.errors import SourceError
from datasets.manifest import manifest_path, read_record
from datasets.retries import retried_key
from datasets.shards import read_slices
from datasets.storage import ChecksumError, Storage
from study.errors import PreparationError
from study.prepare.limits import Limits
from study.prepare.listing import ScanTask
from study.prepare.page import write_reports
from study.prepare.preparation import Preparation
from study.prepare.scans import _process

Prepare = Callable[..., Any]
Head = Callable[..., Path]


@pytest.fixture
def whole_heads(tmp_path: Path, head: Head) -> Callable[..., Path]:
    """Writes whole heads of the given widths in voxels; gives the cohorts file."""

    def write(**widths: int) -> Path:
        for subject, width in widths.items():
            head(tmp_path / "heads", subject, skull=True, shape=(width, 48, 40))
        path = tmp_path / "cohorts.toml"
        path.write_text('[cohorts.heads]\nsource = "bids"\nroot = "heads"\nrole = "train"\n')
        return path

    return write


def test_all_scans_get_a_record_and_a_second_run_does_nothing(
    make_cohorts: Callable[[int, int], Path], prepare: Prepare
) -> None:
    cohorts = make_cohorts(3, 2)
    first = prepare(cohorts)
    assert first.count == 5
    assert {r.status for r in first.records.values()} == {"ok"}
    second = prepare(cohorts)
    assert second.count == 0
    assert second.records == first.records


def test_a_changed_added_or_removed_scan_redoes_only_itself(
    make_cohorts: Callable[[int, int], Path], prepare: Prepare, head: Head, tmp_path: Path
) -> None:
    cohorts = make_cohorts(3, 1)
    first = prepare(cohorts)
    healthy = tmp_path / "scans" / "healthy"
    head(healthy, "h000", seed=99)
    changed = prepare(cohorts)
    assert changed.count == 1
    assert changed.records["h000"].key != first.records["h000"].key
    head(healthy, "h900")
    added = prepare(cohorts)
    assert added.count == 1
    assert len(added.records) == 5
    (healthy / "sub-h001" / "anat" / "sub-h001_T1w.nii.gz").unlink()
    removed = prepare(cohorts)
    assert removed.count == 0
    assert sorted(removed.records) == ["h000", "h002", "h900", "s000"]
    assert removed.records["h002"] == first.records["h002"]


def test_a_scan_that_changes_while_it_is_prepared_is_told_and_prepared_as_it_is_then(
    make_cohorts: Callable[[int, int], Path],
    prepare: Prepare,
    head: Head,
    store: Storage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cohorts = make_cohorts(2, 1)

    def change(self: Preparation, listings: Any) -> None:
        """Between the survey and the preparation of what it found."""
        head(tmp_path / "scans" / "healthy", "h000", seed=99)

    with monkeypatch.context() as patch:
        patch.setattr(Preparation, "_foresee", change)
        with pytest.raises(PreparationError, match="changed while they were prepared"):
            prepare(cohorts)
    assert len(store.names("shards/scans")) == 2, "the others are prepared"
    again = prepare(cohorts)
    assert again.count == 1
    assert {record.status for record in again.records.values()} == {"ok"}


def test_a_cohort_that_loses_and_regains_a_scan_has_its_old_key(
    make_cohorts: Callable[[int, int], Path], prepare: Prepare, tmp_path: Path
) -> None:
    cohorts = make_cohorts(2, 1)
    first = prepare(cohorts)
    scan = tmp_path / "scans" / "healthy" / "sub-h001" / "anat" / "sub-h001_T1w.nii.gz"
    data = scan.read_bytes()
    scan.unlink()
    prepare(cohorts)
    scan.write_bytes(data)
    again = prepare(cohorts)
    assert again.count == 0
    assert [x.key for x in again.listings] == [x.key for x in first.listings]


def test_a_flipped_byte_is_named_and_that_scan_alone_prepared_again(
    make_cohorts: Callable[[int, int], Path], prepare: Prepare, store: Storage
) -> None:
    cohorts = make_cohorts(3, 2)
    first = prepare(cohorts)
    damaged = first.records["h001"]
    good = read_slices(store, damaged)
    _flip(store, damaged.part)
    with pytest.raises(ChecksumError, match=damaged.part):
        read_slices(store, damaged)
    mended = first.preparation.mend(first.listings)
    assert first.count == 5 + 1
    assert len(first.said) == 1
    assert damaged.part in first.said[0]
    assert "healthy h001 T1w" in first.said[0]
    records = {r.subject: r for listing in mended for r in listing.records}
    assert records["h001"].sha256 == damaged.sha256
    assert np.array_equal(read_slices(store, records["h001"]).images_NHW, good.images_NHW)
    assert all(records[s] == r for s, r in first.records.items() if s != "h001")
    assert prepare(cohorts).count == 0


def test_a_damaged_manifest_is_made_again_without_preparing_anything(
    make_cohorts: Callable[[int, int], Path], prepare: Prepare, store: Storage
) -> None:
    cohorts = make_cohorts(2, 1)
    first = prepare(cohorts)
    path = manifest_path(first.listings[0].key)
    whole = store.read(path)
    store.put(path, whole[: len(whole) // 2])
    second = prepare(cohorts)
    assert second.count == 0
    assert store.read(path) == whole
    assert "is damaged" in second.said[0]


def test_a_scan_that_breaks_its_worker_is_set_aside_and_never_tried_again(
    whole_heads: Callable[..., Path], prepare: Prepare, bet: Path
) -> None:
    cohorts = whole_heads(fine=40, breaks=41)
    first = prepare(cohorts, "bet")
    assert first.records["fine"].status == "ok"
    broken = first.records["breaks"]
    assert broken.status == "quarantined"
    assert "it failed twice, the second time with nothing beside it" in broken.reason
    assert "its worker process died" in broken.reason
    assert broken.image.endswith("sub-breaks_T1w.nii.gz")
    assert _calls(bet, 41) == 2
    again = prepare(cohorts, "bet")
    assert again.count == 0
    assert _calls(bet, 41) == 2


def test_what_the_machine_failed_comes_back_when_it_is_asked_for_under_another_key(
    make_cohorts: Callable[[int, int], Path],
    prepare: Prepare,
    store: Storage,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fails(task: ScanTask, *others: Any) -> None:
        raise OSError(28, "No space left on device")

    cohorts = make_cohorts(2, 1)
    damaged = tmp_path / "scans/healthy/sub-h001/anat/sub-h001_T1w.nii.gz"
    damaged.write_bytes(b"no image")
    with monkeypatch.context() as patch:
        patch.setattr("study.prepare.scans._process", fails)
        first = prepare(cohorts)
        # What a run has just set aside it does not try again at once.
        assert first.preparation.retry(first.listings) == first.listings
    assert {r.status for r in first.records.values()} == {"quarantined"}
    second = prepare(cohorts)
    assert second.count == 0
    assert second.records == first.records

    # A retry that was interrupted after its first scan goes on from there.
    task = next(t for x in second.listings for t in x.tasks if t.scan.subject == "h000")
    again = replace(task, key=retried_key(task.content_key, 1))
    _process(again, second.preparation.settings, store.uri, Limits())
    second.listings = second.preparation.retry(second.listings)
    assert second.count == 2
    assert "2 of 3 scans that were set aside came through now" in second.said
    assert {s: r.status for s, r in second.records.items()} == {
        "h000": "ok",
        "h001": "quarantined",
        "s000": "ok",
    }
    healthy, stroke = second.listings
    assert {x.key for x in first.listings}.isdisjoint({healthy.key, stroke.key})
    third = prepare(cohorts)
    assert third.count == 0
    assert [x.key for x in third.listings] == [healthy.key, stroke.key]

    # Nothing comes through any more, so nothing changes.
    third.listings = third.preparation.retry(third.listings)
    assert [x.key for x in third.listings] == [healthy.key, stroke.key]
    assert third.records == second.records


def test_scans_that_fail_again_stay_set_aside_where_others_came_through(
    make_cohorts: Callable[[int, int], Path], prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_on_healthy(task: ScanTask, *others: Any) -> None:
        if task.cohort == "healthy":
            raise ValueError("an error of one reader")
        _process(task, *others)

    monkeypatch.setattr("study.prepare.scans._process", fails_on_healthy)
    cohorts = make_cohorts(4, 1)
    first = prepare(cohorts)
    assert sum(r.status == "quarantined" for r in first.records.values()) == 4
    reason = "beside it: an error, please report it: ValueError: an error of one reader"
    assert first.records["h000"].reason.endswith(reason)
    second = prepare(cohorts)
    assert second.preparation.retry(second.listings) == second.listings
    assert "0 of 4 scans that were set aside came through now" in second.said


def test_a_scan_that_breaks_its_worker_once_arrives(
    whole_heads: Callable[..., Path], prepare: Prepare, bet: Path
) -> None:
    records = prepare(whole_heads(fine=40, second=43), "bet").records
    assert {r.status for r in records.values()} == {"ok"}
    assert (bet / "broken").exists()


def test_when_every_worker_breaks_the_machine_is_blamed_and_no_scan_set_aside(
    whole_heads: Callable[..., Path], prepare: Prepare, store: Storage
) -> None:
    cohorts = whole_heads(a=41, b=41, c=41, d=41)
    with pytest.raises(PreparationError, match="no scan was set aside"):
        prepare(cohorts, "bet")
    assert not [path for path in store.files("shards") if path.endswith("record.json")]


def test_an_error_that_is_not_the_files_is_tried_once_more_and_told(
    make_cohorts: Callable[[int, int], Path],
    prepare: Prepare,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    tries = tmp_path / "tries"

    def fails_on_one(task: ScanTask, *others: Any) -> None:
        if task.scan.subject == "h001":
            with tries.open("a") as file:
                file.write("x")
            raise OSError(28, "No space left on device")
        _process(task, *others)

    monkeypatch.setattr("study.prepare.scans._process", fails_on_one)
    records = prepare(make_cohorts(2, 1)).records
    assert records["h000"].status == "ok"
    assert records["h001"].reason.endswith("beside it: No space left on device: no file named")
    assert tries.read_text() == "xx"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "has no T1w or T2w scan that can be used; left out: "),
        ('modalities = ["T1w", "T2w"]\n', "has no T1w scan that can be used; left out: "),
    ],
)
def test_a_cohort_without_a_usable_image_is_wrong_use(
    make_cohorts: Callable[[int, int], Path],
    prepare: Prepare,
    tmp_path: Path,
    table: str,
    words: str,
) -> None:
    cohorts = make_cohorts(2, 1)
    for path in (tmp_path / "scans/healthy").rglob("*.nii.gz"):
        path.unlink()
        path.symlink_to(tmp_path / "annex" / path.name)  # as where a data set's files are not got
    text = cohorts.read_text()
    cohorts.write_text(text.replace("[cohorts.healthy]\n", "[cohorts.healthy]\n" + table))
    with pytest.raises(SourceError, match=words) as caught:
        prepare(cohorts)
    assert "h000_T1w.nii.gz: a link to a file that does not exist, and 1 more" in str(caught.value)


@pytest.mark.slow
def test_time_counts_from_the_start_of_a_scan_and_what_it_started_ends_with_it(
    whole_heads: Callable[..., Path], prepare: Prepare, bet: Path
) -> None:
    # The last scans wait in the queue for longer than the limit, behind two that reach it.
    cohorts = whole_heads(a1=42, a2=42, b1=40, b2=40, b3=40)
    records = prepare(cohorts, "bet", Limits(time_s=6.0)).records
    for subject in ("a1", "a2"):
        assert records[subject].reason == "it took longer than 6 s"
    for subject in ("b1", "b2", "b3"):
        assert records[subject].status == "ok"
    assert not _runs(int((bet / "hanging").read_text()))


def test_a_scan_that_takes_too_much_memory_is_set_aside(
    whole_heads: Callable[..., Path], prepare: Prepare
) -> None:
    records = prepare(whole_heads(a=42), "bet", Limits(memory_gib=0.01)).records
    assert records["a"].reason == "it took more than 0.01 GiB of memory"


def test_a_reason_of_a_quarantined_scan_is_kept_in_record_and_manifest(
    make_cohorts: Callable[[int, int], Path], prepare: Prepare, store: Storage, tmp_path: Path
) -> None:
    cohorts = make_cohorts(2, 1)
    bad = tmp_path / "scans" / "healthy" / "sub-h001" / "anat" / "sub-h001_T1w.nii.gz"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(4000))
    listing = prepare(cohorts).listings[0]
    record = next(r for r in listing.records if r.subject == "h001")
    assert record.status == "quarantined"
    assert str(bad) in record.reason
    assert read_record(store, record.key) == record
    assert listing.info().n_quarantined == 1
    assert listing.info().n_scans == 1


def test_a_name_that_is_no_text_in_any_encoding_is_spelled_out(
    make_cohorts: Callable[[int, int], Path], prepare: Prepare, store: Storage, tmp_path: Path
) -> None:
    cohorts = make_cohorts(1, 1)
    odd = os.fsdecode(b"sub-caf\xe9")
    folder = tmp_path / "scans" / "healthy" / odd / "anat"
    folder.mkdir(parents=True)
    whole = tmp_path / "scans" / "healthy" / "sub-h000" / "anat" / "sub-h000_T1w.nii.gz"
    shutil.copy(whole, folder / f"{odd}_T1w.nii.gz")
    shutil.copy(whole, folder / ".hidden.nii.gz")
    prepared = prepare(cohorts)
    record = prepared.records["caf\\udce9"]
    assert record.status == "ok"
    assert record.image.endswith("sub-caf\\udce9_T1w.nii.gz")
    assert len(read_slices(store, record).images_NHW) == record.n_slices
    assert prepare(cohorts).count == 0
    pages = write_reports(prepared.listings, store, tmp_path)
    assert "caf\\udce9" in pages[0].read_text(encoding="utf-8")


def _flip(store: Storage, part: str) -> None:
    path = Path(store.full(part))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _calls(bet: Path, width: int) -> int:
    return (bet / "calls").read_text().split().count(str(width))


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
