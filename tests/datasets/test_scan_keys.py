"""A scan's key tells apart whatever can change its slices."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from datasets.checksums import ChecksumCache, scan_checksums, scan_key, source_checksum
from datasets.storage import Storage
from tests.ellipsoids import (
    LESION,
    SETTINGS,
    key_of,
    make_scan,
)


def test_a_key_tells_apart_everything_that_can_change_slices(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "a", (LESION,))
    moved = make_scan(tmp_path / "b", (LESION,))
    base = key_of(scan)
    assert len(base) == 20
    assert key_of(moved) == base
    keys = {
        base,
        key_of(make_scan(tmp_path / "c", (LESION,), seed=1)),
        key_of(make_scan(tmp_path / "d", (~LESION,))),
        key_of(replace(scan, lesion_masks=())),
        key_of(replace(scan, brain_mask=scan.lesion_masks[0])),
        key_of(replace(scan, subject="02")),
        key_of(replace(scan, session="b")),
        key_of(replace(scan, modality="T2w")),
        key_of(replace(scan, stripped=True)),
        key_of(replace(scan, stripped=False)),
        key_of(scan, role="train"),
        key_of(scan, min_brain_fraction=0.1),
        key_of(scan, normalisation="slice"),
        key_of(scan, brain_mask="plain"),
        scan_key(scan, "other", "test", SETTINGS, scan_checksums(scan)),
    }
    assert len(keys) == 15


def test_the_version_of_the_tool_is_part_of_the_key_of_whole_heads_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = make_scan(tmp_path, (LESION,))
    stripped = replace(scan, stripped=True)
    before = (key_of(scan), key_of(stripped))
    monkeypatch.setattr("datasets.extractors.version", lambda _: "9.9.9")
    assert key_of(scan) != before[0]
    assert key_of(stripped) == before[1]


def test_a_remembered_checksum_is_used_until_the_file_changes(
    tmp_path: Path, storage: Storage
) -> None:
    path = tmp_path / "file.nii"
    path.write_bytes(b"one")
    os.utime(path, ns=(10**18, 10**18))
    true_sum = source_checksum(path)
    cache = ChecksumCache()
    assert source_checksum(path, cache) == true_sum
    # The change time is of this moment, so the entry is not trusted yet: put it there by hand.
    assert not cache.entries
    status = path.stat()
    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    cache.entries[str(path)] = (stamp, "remembered")
    cache.save(storage)
    again = ChecksumCache.load(storage)
    assert source_checksum(path, again) == "remembered"
    path.write_bytes(b"two")
    os.utime(path, ns=(10**18, 10**18))
    assert source_checksum(path, again) not in ("remembered", true_sum)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"version": 2}', b'{"version":1}'])
def test_a_damaged_cache_is_ignored(storage: Storage, content: bytes) -> None:
    storage.put("shards/checksums.json", content)
    assert ChecksumCache.load(storage).entries == {}
    entry = json.dumps({"version": 1, "entries": {"a": [[1], "x"]}}).encode()
    storage.put("shards/checksums.json", entry)
    assert ChecksumCache.load(storage).entries == {}


def test_a_file_that_becomes_readable_gets_another_key(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "a", (LESION,))
    image = scan.image.rename(tmp_path / "aside")
    missing = key_of(scan)
    scan.image.symlink_to(tmp_path / "nowhere")
    assert key_of(scan) == missing
    scan.image.unlink()
    shutil.copy(image, scan.image)
    assert key_of(scan) != missing
