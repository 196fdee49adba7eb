"""A node's copy of slices: whole, made once, used by all, and never in anyone's way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.synthetic_shards import write_cohort
from datasets.manifest import CohortManifest, manifest_path
from datasets.slice_cache import CacheError, MappedSlices, SliceCache, default_cache
from datasets.slice_files import SLICE_BYTES, SetMember
from datasets.storage import ChecksumError, Storage
from study.store.copies import prune_copies
from tests.commands import wait_until

KEY = "0123456789abcdef0123"

Open = Callable[..., MappedSlices]


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "store"))


@pytest.fixture
def manifest(store: Storage) -> CohortManifest:
    return write_cohort(store, "healthy", "train", subjects=3, slices=2)


def members(manifest: CohortManifest) -> list[SetMember]:
    return [SetMember(f"{r.cohort}/{r.subject}", r) for r in manifest.records]


@pytest.fixture
def open_set(tmp_path: Path, store: Storage, manifest: CohortManifest) -> Open:
    def opened(run: str = "one") -> MappedSlices:
        cache = SliceCache(tmp_path / "cache", run)
        return cache.open(KEY, lambda: members(manifest), store, [manifest.key])

    return opened


def place(tmp_path: Path) -> Path:
    return tmp_path / "cache" / KEY


def test_a_copy_has_every_slice_and_is_made_once(
    open_set: Open, store: Storage, manifest: CohortManifest
) -> None:
    first = open_set()
    assert first.copied is not None
    assert first.copied.n_slices == 6
    assert first.copied.n_bytes == sum(len(store.read(r.part)) for r in manifest.records)
    assert first.subjects == tuple(m.subject for m in members(manifest))
    assert first.subject_N.tolist() == [0, 0, 1, 1, 2, 2]
    assert first.slice_index_N.tolist() == [0, 1] * 3
    assert (first.images_NHW > 0).any(axis=(1, 2)).all()
    second = open_set("two")
    assert second.copied is None
    assert np.array_equal(first.images_NHW, second.images_NHW)


def test_nobody_can_write_into_what_all_map(open_set: Open) -> None:
    with pytest.raises(ValueError, match="read-only"):
        open_set().images_NHW[0, 0, 0] = 1


@pytest.mark.parametrize("name", ["images.f2", "brain.u1", "subject.i4", "manifest.json"])
def test_a_damaged_copy_is_seen_by_the_next_run_and_made_again(
    open_set: Open, tmp_path: Path, name: str
) -> None:
    good = open_set().images_NHW.copy()
    path = place(tmp_path) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x01
    path.write_bytes(data)
    again = open_set("two")
    assert again.copied is not None
    assert np.array_equal(again.images_NHW, good)
    assert open_set("three").copied is None


@pytest.mark.parametrize("harm", ["cut off", "gone", "a folder"])
def test_a_copy_that_lacks_something_is_made_again_even_in_the_same_run(
    open_set: Open, tmp_path: Path, harm: str
) -> None:
    open_set()
    path = place(tmp_path) / "lesion.u1"
    if harm == "cut off":
        os.truncate(path, 10)
    else:
        path.unlink()
    if harm == "a folder":
        path.mkdir()
    assert open_set().copied is not None


def test_who_has_mapped_a_copy_keeps_what_it_has(open_set: Open, tmp_path: Path) -> None:
    first = open_set()
    before = first.images_NHW.copy()
    (place(tmp_path) / "brain.u1").unlink()
    assert open_set("two").copied is not None
    assert np.array_equal(first.images_NHW, before)


def test_a_damaged_shard_leaves_no_copy(
    open_set: Open, store: Storage, manifest: CohortManifest, tmp_path: Path
) -> None:
    part = manifest.records[1].part
    whole = store.read(part)
    store.put(part, whole[:-1] + b"?")
    with pytest.raises(ChecksumError, match=part):
        open_set()
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
    store.delete(part)
    with pytest.raises(FileNotFoundError, match=part):
        open_set()
    store.put(part, whole)
    assert open_set().copied is not None


COPY = """
import sys, threading
from pathlib import Path
from datasets import slice_files
from datasets.manifest import read_manifest
from datasets.slice_cache import SliceCache
from datasets.slice_files import SetMember
from datasets.storage import Storage

store, cache, key, cohort, pause = sys.argv[1:]
store = Storage.open(store)
real = slice_files.slices_of

def slow(*words):
    print("copying", flush=True)
    threading.Event().wait(float(pause))
    return real(*words)

slice_files.slices_of = slow
records = read_manifest(store, cohort).records
members = [SetMember(f"{r.cohort}/{r.subject}", r) for r in records]
found = SliceCache(Path(cache), "one").open(key, lambda: members, store, [cohort])
print("copied" if found.copied else "found", flush=True)
"""


def begin(store: Storage, tmp_path: Path, cohort: str, pause: str) -> subprocess.Popen[str]:
    words = [store.root, str(tmp_path / "cache"), KEY, cohort, pause]
    return subprocess.Popen([sys.executable, "-c", COPY, *words], stdout=subprocess.PIPE, text=True)


def test_processes_that_want_a_set_at_once_make_one_copy(
    store: Storage, tmp_path: Path, manifest: CohortManifest
) -> None:
    processes = [begin(store, tmp_path, manifest.key, "0.1") for _ in range(3)]
    words = [process.communicate()[0].split()[-1] for process in processes]
    assert sorted(words) == ["copied", "found", "found"]


def test_a_copy_whose_process_was_killed_is_made_anew_and_its_leftovers_go(
    store: Storage, tmp_path: Path, manifest: CohortManifest, open_set: Open
) -> None:
    with begin(store, tmp_path, manifest.key, "600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "copying\n"
        process.send_signal(signal.SIGKILL)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert open_set().copied is not None
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [KEY]


def test_too_little_room_is_told_before_anything_is_copied(
    open_set: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real._replace(free=6 * SLICE_BYTES - 1))
    with pytest.raises(CacheError, match="--cache"):
        open_set()
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_a_cache_that_is_a_file_is_told_by_its_name(open_set: Open, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(CacheError, match=rf"{tmp_path}/cache.*--cache"):
        open_set()


def test_pruning_keeps_what_is_needed_or_in_use_and_what_is_no_copy(
    open_set: Open, tmp_path: Path
) -> None:
    cache = SliceCache(tmp_path / "cache", "one")
    used = open_set()
    (tmp_path / "cache" / "mine").mkdir()
    left = tmp_path / "cache" / f"{KEY}.{'0' * 32}"
    left.mkdir()
    assert cache.prune(lambda manifest, used_at: True) == [left]
    assert cache.prune(lambda manifest, used_at: False) == []
    del used
    assert wait_until(lambda: bool(cache.prune(lambda *_: False, dry_run=True)), 5)
    assert cache.prune(lambda manifest, used_at: False) == [place(tmp_path)]
    assert (tmp_path / "cache" / "mine").is_dir()
    assert open_set().copied is not None


def test_gc_removes_copies_of_cohorts_that_the_store_has_no_more_and_of_long_ago(
    open_set: Open, tmp_path: Path, store: Storage, manifest: CohortManifest
) -> None:
    open_set()
    cache, other = str(tmp_path / "cache"), Storage.open(str(tmp_path / "other"))
    assert prune_copies(store, cache) == []
    store.delete(manifest_path(manifest.key))
    assert prune_copies(other, cache) == []
    assert prune_copies(store, cache, dry_run=True) == [place(tmp_path)]
    long_ago = time.time() - 31 * 86_400
    os.utime(place(tmp_path) / "used", (long_ago, long_ago))
    assert prune_copies(other, cache) == [place(tmp_path)]
    assert prune_copies(store, cache) == []


def test_a_home_that_may_not_be_written_is_no_place_for_copies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The user of a container often has none, and a strange folder of the name is not taken."""
    monkeypatch.setenv("HOME", "/proc/1")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith("/proc"))
    own = tmp_path / f"anomaly-study-{os.getuid()}"
    assert default_cache() == own / "slices"
    assert own.stat().st_mode & 0o777 == 0o700
    own.rmdir()
    own.symlink_to(tmp_path)
    assert default_cache() == Path("/proc/1/.cache/anomaly-study/slices")
