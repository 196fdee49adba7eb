from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from datasets.errors import ScanChangedError
from datasets.manifest import (
    CohortManifest,
    ScanRecord,
    cohort_key,
    manifest_path,
    read_manifest,
    read_record,
    record_path,
    write_manifest,
)
from datasets.scan import Role, Scan
from datasets.settings import PREPROCESS_VERSION, SIZE
from datasets.shards import process_scan, read_slices
from datasets.storage import ChecksumError, Storage, StorageError
from tests.ellipsoids import (
    AFFINE,
    BRAIN,
    LESION,
    SETTINGS,
    SHAPE,
    ellipsoid,
    key_of,
    make_scan,
    save,
)
from tests.stores import digested_anew


def run(scan: Scan, storage: Storage, role: Role = "test") -> ScanRecord:
    return process_scan(scan, "stroke", role, SETTINGS, key_of(scan, role), storage)


def test_a_scan_becomes_rows_that_read_back_with_its_lesions(
    tmp_path: Path, storage: Storage
) -> None:
    scan = make_scan(tmp_path, (LESION, ellipsoid((3, 3, 3), (8, 20, 18))))
    record = run(scan, storage)
    assert (record.status, record.reason) == ("ok", "")
    assert record.shape == SHAPE
    assert record.brain_tool == "already stripped"
    assert record.brain_volume_ml == pytest.approx(BRAIN.sum() * 0.064)
    union = LESION | ellipsoid((3, 3, 3), (8, 20, 18))
    assert record.lesion_volume_ml == pytest.approx(union.sum() * 0.064)
    outside = (union & ~BRAIN).sum() / union.sum()
    assert outside > 0
    assert record.lesion_outside_brain_share == pytest.approx(outside)
    slices = read_slices(storage, record)
    assert slices.images_NHW.shape == (record.n_slices, SIZE, SIZE)
    assert slices.images_NHW.dtype == np.float16
    brain = np.unpackbits(slices.brain_bits_NK, axis=1).reshape(-1, SIZE, SIZE).astype(bool)
    lesion = np.unpackbits(slices.lesion_bits_NK, axis=1).reshape(-1, SIZE, SIZE).astype(bool)
    assert not slices.images_NHW[~brain].any()
    pixel_ml = slices.geometry.pixel_mm**2 * 4 / 1000
    assert lesion.sum() * pixel_ml == pytest.approx(record.lesion_volume_ml, rel=0.1)
    kept = union[:, :, slices.slice_index_N].sum() * 0.064
    share = record.lesion_lost_by_resizing_share
    assert share == pytest.approx(1 - lesion.sum() * pixel_ml / kept)
    assert record.lesion_in_dropped_slices_share == pytest.approx(1 - kept / (union.sum() * 0.064))
    assert (np.diff(slices.slice_index_N) == 1).all()
    np.testing.assert_array_equal(np.reshape(slices.geometry.affine, (4, 4)), AFFINE)


def test_lesion_in_slices_with_too_little_brain_is_counted(
    tmp_path: Path, storage: Storage
) -> None:
    lesion = np.zeros(SHAPE, bool)
    top = int(np.flatnonzero(BRAIN.any(axis=(0, 1)))[-1])
    x, y = np.argwhere(BRAIN[:, :, top])[0]
    lesion[x, y, top] = True
    lesion[20:24, 20:24, SHAPE[2] // 2] = True
    record = run(make_scan(tmp_path, (lesion,)), storage)
    assert record.lesion_in_dropped_slices_share == pytest.approx(1 / 17)
    record = run(make_scan(tmp_path / "b", (np.zeros(SHAPE, bool),)), storage)
    assert record.lesion_in_dropped_slices_share is None
    assert record.lesion_lost_by_resizing_share is None


def test_what_resizing_changes_of_a_small_lesion_is_recorded(
    tmp_path: Path, storage: Storage
) -> None:
    lesion = np.zeros(SHAPE, bool)
    lesion[20, 20:24, SHAPE[2] // 2] = True
    record = run(make_scan(tmp_path, (lesion,)), storage)
    assert record.lesion_lost_by_resizing_share is not None
    assert abs(record.lesion_lost_by_resizing_share) > 0.02
    assert record.lesion_in_dropped_slices_share == 0


def test_a_part_is_a_table_anybody_can_read(tmp_path: Path, storage: Storage) -> None:
    record = run(make_scan(tmp_path, (LESION,)), storage)
    rows = pq.read_table(storage.full(record.part)).to_pylist()
    assert len(rows) == record.n_slices
    assert {(r["cohort"], r["subject"], r["session"], r["modality"]) for r in rows} == {
        ("stroke", "01", "a", "T1w")
    }
    assert len(rows[0]["image"]) == 2 * SIZE * SIZE
    image = np.frombuffer(rows[0]["image"], "<f2").reshape(SIZE, SIZE)
    np.testing.assert_array_equal(image, read_slices(storage, record).images_NHW[0])
    assert rows[0]["brain_volume_ml"] == record.brain_volume_ml
    assert rows[0]["spacing_mm"] == [4.0, 4.0, 4.0]


def test_the_same_scan_gives_the_same_bytes(tmp_path: Path, storage: Storage) -> None:
    scan = make_scan(tmp_path, (LESION,))
    first, second = run(scan, storage), run(scan, storage)
    assert first.part == second.part
    assert first.sha256 == second.sha256
    assert first.model_dump(exclude={"part", "wall_s"}) == second.model_dump(
        exclude={"part", "wall_s"}
    )


@pytest.mark.parametrize(
    ("role", "lesions", "reason"),
    [
        ("test", (), "unlabelled"),
        ("train", (LESION,), "not healthy: a train scan must have no lesion"),
        ("healthy", (LESION,), "not healthy: a healthy scan must have no lesion"),
        ("healthy", (np.zeros(SHAPE),), ""),
        ("healthy", (), ""),
        ("test", (LESION,), ""),
        ("test", (np.zeros(SHAPE),), ""),
        ("train", (np.zeros(SHAPE),), ""),
        ("train", (), ""),
    ],
)
def test_labels_decide_what_may_train_and_what_may_test(
    tmp_path: Path, storage: Storage, role: Role, lesions: tuple[Any, ...], reason: str
) -> None:
    record = run(make_scan(tmp_path, lesions), storage, role)
    assert record.status == ("quarantined" if reason else "ok")
    assert reason in record.reason
    assert read_record(storage, record.key) == record
    if record.status == "ok" and not any(np.any(m) for m in lesions):
        assert record.lesion_volume_ml == (0 if lesions else None)
        assert record.lesion_outside_brain_share is None


def test_files_that_cannot_be_used_are_set_aside_with_their_reason(
    tmp_path: Path, storage: Storage
) -> None:
    good = make_scan(tmp_path / "good", (LESION,))
    text = tmp_path / "text.nii.gz"
    text.write_bytes(b"no image at all")
    other_grid = save(tmp_path / "grid.nii.gz", np.pad(LESION, 9))
    pipe = tmp_path / "pipe.nii.gz"
    os.mkfifo(pipe)
    broken = [
        replace(good, image=text),
        replace(good, image=tmp_path / "missing.nii.gz"),
        replace(good, image=tmp_path),
        replace(good, image=pipe),
        replace(good, lesion_masks=(text,)),
    ]
    records = [run(scan, storage) for scan in broken]
    assert {r.status for r in records} == {"quarantined"}
    assert all(r.reason and "\n" not in r.reason for r in records)
    assert "missing.nii.gz" in records[1].reason
    assert len({r.key for r in records}) == len(broken)
    fallback = run(replace(good, brain_mask=other_grid), storage)
    assert fallback.status == "ok"
    assert fallback.notes[0].startswith("tried before: given mask (as it is): ")
    with pytest.raises(ValueError, match="quarantined"):
        read_slices(storage, records[0])


def test_a_name_that_is_no_utf_8_is_spelled_out_in_the_reason(
    tmp_path: Path, storage: Storage
) -> None:
    image = tmp_path / os.fsdecode(b"M\xfcller_T1.nii.gz")
    image.write_bytes(b"no image at all")
    record = run(replace(make_scan(tmp_path, (LESION,)), image=image), storage)
    assert record.status == "quarantined"
    assert "M\\udcfcller_T1.nii.gz is no NIfTI file" in record.reason


def test_a_bug_is_not_mistaken_for_a_bad_scan(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = make_scan(tmp_path, (LESION,))

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("datasets.shards.preprocess", broken)
    with pytest.raises(KeyError, match="a bug"):
        run(scan, storage)
    assert read_record(storage, key_of(scan)) is None


def test_a_store_that_cannot_be_written_is_no_fault_of_the_scan(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        run(make_scan(tmp_path, (LESION,)), Storage.open(str(tmp_path / "file")))


def test_a_flipped_byte_is_found_named_and_mended_by_preparing_the_scan_again(
    tmp_path: Path, storage: Storage
) -> None:
    scan = make_scan(tmp_path, (LESION,))
    record = run(scan, storage)
    path = Path(storage.full(record.part))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChecksumError, match=path.name):
        read_slices(storage, record)
    mended = run(scan, storage)
    assert mended.sha256 == record.sha256
    assert len(read_slices(storage, mended).slice_index_N) == record.n_slices


def test_only_a_whole_record_with_its_part_counts_as_finished(
    tmp_path: Path, storage: Storage
) -> None:
    scan = make_scan(tmp_path, (LESION,))
    key = key_of(scan)
    assert read_record(storage, key) is None
    record = run(scan, storage)
    assert read_record(storage, key) == record
    text = storage.read(record_path(key))
    storage.put(record_path(key), text[:-20])
    assert read_record(storage, key) is None
    newer = text.replace(b'"version": 1', b'"version": 99')
    storage.put(record_path(key), newer)
    assert read_record(storage, key) is None  # its digest tells that this is a damage
    storage.put(record_path(key), digested_anew(newer))
    with pytest.raises(StorageError, match="newer version"):
        read_record(storage, key)
    storage.put(record_path(key), text)
    storage.delete(record.part)
    assert read_record(storage, key) is None


def manifest_of(*records: ScanRecord) -> CohortManifest:
    return CohortManifest(
        key=cohort_key("stroke", "T1w", [r.key for r in records]),
        cohort="stroke",
        modality="T1w",
        role="test",
        source="bids",
        synthetic=False,
        settings=SETTINGS,
        preprocess_version=PREPROCESS_VERSION,
        records=records,
        skipped=(("notes.txt", "no image"),),
    )


def test_a_manifest_reads_back_and_its_key_ignores_order(tmp_path: Path, storage: Storage) -> None:
    records = (
        run(make_scan(tmp_path / "a", (LESION,)), storage),
        run(make_scan(tmp_path / "b"), storage),
    )
    manifest = manifest_of(*records)
    assert manifest.key == manifest_of(*reversed(records)).key
    assert manifest.key != manifest_of(records[0]).key
    assert manifest.key != cohort_key("stroke", "T2w", [r.key for r in records])
    assert read_manifest(storage, manifest.key) is None
    write_manifest(storage, manifest)
    assert read_manifest(storage, manifest.key) == manifest


def test_a_damaged_foreign_or_newer_manifest_is_refused_by_name(
    tmp_path: Path, storage: Storage
) -> None:
    manifest = manifest_of(run(make_scan(tmp_path, (LESION,)), storage))
    write_manifest(storage, manifest)
    path = manifest_path(manifest.key)
    good = storage.read(path)
    for data, words in (
        (good[:-30], "damaged"),
        (b"[]", "damaged"),
        (good.replace(b'"role": "test"', b'"role": "exam"'), "not what was written"),
        (digested_anew(good.replace(b'"role": "test"', b'"role": "exam"')), "damaged: role"),
        (
            digested_anew(good.replace(b'"cohort": "stroke"', b'"cohort": "strike"')),
            "does not describe",
        ),
        (digested_anew(good.replace(b'"version": 1', b'"version": 2')), "newer version"),
    ):
        assert data != good
        storage.put(path, data)
        with pytest.raises(StorageError, match=words) as error:
            read_manifest(storage, manifest.key)
        assert path in str(error.value)


@pytest.mark.parametrize("changed", ["image", "mask", "cut off"])
def test_a_scan_that_changed_since_its_key_was_made_gets_no_record(
    changed: str, tmp_path: Path, storage: Storage
) -> None:
    scan = make_scan(tmp_path, (LESION,))
    key = key_of(scan)
    if changed == "image":
        make_scan(tmp_path, (LESION,), seed=1)
    elif changed == "mask":
        make_scan(tmp_path, (ellipsoid((3, 3, 3), (8, 20, 18)),))
    else:
        scan.image.write_bytes(scan.image.read_bytes()[:1000])
    with pytest.raises(ScanChangedError, match=r"image\.nii\.gz"):
        process_scan(scan, "stroke", "test", SETTINGS, key, storage, content_key=key)
    assert storage.files() == ()
    now = key_of(scan)
    record = process_scan(scan, "stroke", "test", SETTINGS, now, storage, content_key=now)
    assert record.status == ("quarantined" if changed == "cut off" else "ok")
