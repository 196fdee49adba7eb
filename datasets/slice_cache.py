"""A node's own copy of slices: shards unpacked once into files that all processes there map.

Images in shards are compressed, and a training step wants some of them in any order; a cohort may
be larger than memory. So the first process of a node that wants a set of slices unpacks it into a
folder of the cache, under a lock, and every one maps the files: the kernel keeps in memory what is
used, once for all of them, and drops the rest.

A set is addressed by its content, the order of its scans included. Its ``manifest.json`` is written
last and has the checksum of every file; each run checks them once.

Shape legend: N slices of a set, H = W = 128 pixels, K = 2048 bytes of bits.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import shutil
import socket
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from datasets.shards import IMAGE_BYTES
from datasets.slice_files import (
    FILES,
    SLICE_BYTES,
    SetManifest,
    SetMember,
    file_sha256,
    has_right_sizes,
    map_file,
    read_set,
    unpack,
    write_set,
)
from datasets.storage import Storage, StorageError

_CHECKED, _USED = "checked-", "used"
_NAME = re.compile(r"(?P<key>[0-9a-f]{20})(?P<rest>\.[0-9a-f]{32})?")
_NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


class CacheError(StorageError):
    """The folder of a node's own copies cannot be used; the message says what would help."""


@dataclass(frozen=True)
class Copied:
    """What it took to copy a set to a node.

    Attributes:
        n_slices: Slices of the set.
        n_bytes: Bytes read from the store.
        wall_s: Seconds.
    """

    n_slices: int
    n_bytes: int
    wall_s: float


@dataclass(frozen=True)
class MappedSlices:
    """The arrays of a set, mapped read-only; the set is not removed while one of these lives.

    Attributes:
        images_NHW: float16 images.
        brain_bits_NK: Packed brain masks.
        lesion_bits_NK: Packed lesion masks.
        subject_N: int32 index into ``subjects``.
        slice_index_N: int32 index of the axial slice in its RAS volume.
        subjects: ``cohort/subject`` names.
        scan_N: int32 number of the scan in the set.
        voxel_ml_N: float64 volume of a pixel in ml.
        copied: What it took, if this call has copied the set.
    """

    images_NHW: NDArray[np.float16]
    brain_bits_NK: NDArray[np.uint8]
    lesion_bits_NK: NDArray[np.uint8]
    subject_N: NDArray[np.int32]
    slice_index_N: NDArray[np.int32]
    subjects: tuple[str, ...]
    scan_N: NDArray[np.int32]
    voxel_ml_N: NDArray[np.float64]
    copied: Copied | None
    _images: mmap.mmap | None
    _use: _Use

    def prefetch(self, rows: Iterable[int]) -> None:
        """Let the kernel read some images while one does something else.

        Without it each image that is not in memory is waited for, a few pages at a time.
        """
        if self._images is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        for row in rows:
            self._images.madvise(mmap.MADV_WILLNEED, int(row) * IMAGE_BYTES, IMAGE_BYTES)


def default_cache() -> Path:
    """Where this machine's user keeps copies unless told otherwise.

    That is below the user's home; where that may not be written, a folder of the user's own among
    the temporary files.
    """
    usual = platformdirs.user_cache_path("anomaly-study") / "slices"
    there = next((path for path in usual.parents if path.exists()), usual)
    if os.access(there, os.W_OK | os.X_OK) or not hasattr(os, "getuid"):
        return usual
    own = Path(tempfile.gettempdir()) / f"anomaly-study-{os.getuid()}"
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        status = own.lstat()
    except OSError:
        return usual
    # Anybody may have made a folder of that name there.
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return own / "slices" if is_ours else usual


@dataclass(frozen=True)
class SliceCache:
    """The copies of one folder.

    Attributes:
        folder: The folder; made when it is needed.
        run: Name of the run that wants slices: what it has checked it does not check again.
    """

    folder: Path
    run: str

    def open(
        self,
        key: str,
        members: Callable[[], Sequence[SetMember]],
        store: Storage,
        cohorts: Sequence[str],
    ) -> MappedSlices:
        """Map a set, which is copied from the store first if this node has none, or a damaged one.

        Args:
            key: The set's name: the same only for the same scans in the same order.
            members: Gives its scans, those of a subject together; asked for a copy only.
            store: Where their shards lie.
            cohorts: Keys of their cohorts, for those who tidy up.

        Raises:
            CacheError: If the folder cannot be written, or has too little room.
            FileNotFoundError: If a shard is gone.
            ChecksumError: If a shard is damaged.
            StorageError: If the store cannot be read.
        """
        try:
            found = self._find(key)
            if found is not None:
                return found
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(self.folder / f"{key}.lock"):
                found = self._find(key)  # another process may have been faster
                if found is not None:
                    return found
                copied = self._copy(key, members(), store, tuple(cohorts))
                found = self._find(key)
        except StorageError:
            raise
        except FileNotFoundError as error:
            if error.filename is None:  # a shard, as the store tells it
                raise
            raise self._cannot(error) from error
        except OSError as error:
            raise self._cannot(error) from error
        if found is None:
            raise CacheError(
                f"the slices copied to {str(self.folder)!r} vanished or changed at once"
            )
        return replace(found, copied=copied)

    def prune(
        self, is_needed: Callable[[SetManifest, float], bool], *, dry_run: bool = False
    ) -> list[Path]:
        """Remove sets that are needed no more and that no process uses, and what was not finished.

        Args:
            is_needed: Whether a set is, by its manifest and the time of its last use in seconds
                since the epoch.
            dry_run: Only tell.

        Returns:
            The folders that are gone, or would be.
        """
        gone = []
        for place in sorted(self.folder.glob("*")) if self.folder.is_dir() else ():
            found = _NAME.fullmatch(place.name)
            if found is None or place.is_symlink() or not place.is_dir():
                continue
            with suppress(OSError), _locked(self.folder / f"{found['key']}.lock", wait=False):
                manifest = None if found["rest"] else read_set(place)
                if manifest is not None:
                    if is_needed(manifest, (place / _USED).stat().st_mtime):
                        continue
                    with _locked(place / _USED, wait=False):
                        _remove(place, dry_run=dry_run)
                else:
                    _remove(place, dry_run=dry_run)
                gone.append(place)
        return gone

    def _find(self, key: str) -> MappedSlices | None:
        """Map a set whose files are what they were, or None; they are read once by each run."""
        place = self.folder / key
        manifest = read_set(place)
        if manifest is None:
            return None
        use = _Use(place / _USED)
        if not has_right_sizes(place, manifest):
            return None
        checked = place / f"{_CHECKED}{self.run}"
        if not checked.is_file():
            if any(
                file_sha256(place / name) != file.sha256 for name, file in manifest.files.items()
            ):
                return None
            checked.touch()
        mapped = [map_file(place / name, manifest.n_slices) for name in FILES]
        images, brain, lesion, subject, index = (array for array, _ in mapped)
        counts = [scan.n_slices for scan in manifest.scans]
        return MappedSlices(
            images,
            brain,
            lesion,
            subject,
            index,
            manifest.subjects,
            np.repeat(np.arange(len(counts), dtype=np.int32), counts),
            np.repeat([scan.voxel_ml for scan in manifest.scans], counts),
            None,
            mapped[0][1],
            use,
        )

    def _copy(
        self, key: str, members: Sequence[SetMember], store: Storage, cohorts: tuple[str, ...]
    ) -> Copied:
        """Unpack the shards of a set beside its place, then put it there."""
        began = time.perf_counter()
        count = sum(member.record.n_slices for member in members)
        for left in self.folder.glob(f"{key}.*"):  # of a process that was killed
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        self._check_room(count)
        aside = self.folder / f"{key}.{uuid.uuid4().hex}"
        aside.mkdir()
        try:
            subjects = tuple(name for name, _ in groupby(members, key=lambda m: m.subject))
            files, scans, n_bytes = unpack(aside, members, store)
            manifest = SetManifest(
                n_slices=count,
                subjects=subjects,
                scans=tuple(scans),
                store=store.uri,
                cohorts=cohorts,
                files=files,
            )
            (aside / f"{_CHECKED}{self.run}").touch()
            (aside / _USED).touch()
            write_set(aside, manifest)
            place = self.folder / key
            if place.exists():  # damaged; who has mapped it keeps what it has
                place.rename(self.folder / f"{key}.{uuid.uuid4().hex}")
            aside.rename(place)
        finally:
            for left in self.folder.glob(f"{key}.*"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
        return Copied(count, n_bytes, time.perf_counter() - began)

    def _check_room(self, n_slices: int) -> None:
        needed, free = n_slices * SLICE_BYTES, shutil.disk_usage(self.folder).free
        if free < needed:
            raise CacheError(
                f"the slices need {needed / 2**30:.2f} GiB in {str(self.folder)!r}, which has "
                f"{free / 2**30:.2f} GiB left; make room there, or name another folder with --cache"
            )

    def _cannot(self, error: OSError) -> CacheError:
        return CacheError(
            f"the slices cannot be copied to {str(self.folder)!r} on {socket.gethostname()}: "
            f"{error.strerror or error}; make room there, or name another folder with --cache"
        )


class _Use:
    """A lock that says that a set is in use, for as long as this lives."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _lock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Nobody else has this lock meanwhile.

    Raises:
        BlockingIOError: If others have it and one shall not wait.
    """
    with path.open("ab") as handle:
        _lock(handle.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def _lock(descriptor: int, how: int) -> None:
    """Lock a file; on a filesystem without locks two may do the same work, and the last wins."""
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _remove(place: Path, *, dry_run: bool) -> None:
    if not dry_run:
        shutil.rmtree(place)
