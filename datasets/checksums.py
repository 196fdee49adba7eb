"""What the files of a scan hold, and the scan's key made from it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets.brain import brain_source
from datasets.formats import files_of
from datasets.identity import digest
from datasets.scan import Role, Scan
from datasets.selfdigest import has_changed, json_with_digest
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.storage import DamagedFileError, Storage

CACHE_PATH = "shards/checksums.json"

_CACHE_VERSION = 1
_SETTLED_NS = 2_000_000_000
_BLOCK = 1 << 20

Stamp = tuple[int, int, int]
"""Size, modification time and change time (ns) of a file."""


@dataclass
class ChecksumCache:
    """Checksums of source files by path and time stamp, so that resuming reads no gigabytes.

    An entry counts only while the file's size, modification and change time are the same. Belongs
    to one process; not for sharing between threads.
    """

    entries: dict[str, tuple[Stamp, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, storage: Storage) -> ChecksumCache:
        """Read the cache of a store; one that is missing or damaged counts as empty.

        Raises:
            StorageError: If the store cannot be read.
        """
        try:
            return cls(_entries(storage.read(CACHE_PATH)))
        except (FileNotFoundError, DamagedFileError):
            return cls()  # nothing but time is lost with it

    def save(self, storage: Storage) -> None:
        """Write the cache into a store.

        Raises:
            StorageError: If it cannot be written.
        """
        content = {"version": _CACHE_VERSION, "entries": self.entries}
        storage.put(CACHE_PATH, json_with_digest(json.dumps(content, sort_keys=True).encode()))


def check_cache(storage: Storage) -> None:
    """Find out whether the cache of a store is what was written.

    Raises:
        FileNotFoundError: If there is none.
        DamagedFileError: If it is not.
        StorageError: If it cannot be read.
    """
    _entries(storage.read(CACHE_PATH))


def _entries(data: bytes) -> dict[str, tuple[Stamp, str]]:
    """The entries of a cache file; none of one that is of another version."""
    sentence = f"{CACHE_PATH!r} is damaged; it is made again"
    if has_changed(data):
        raise DamagedFileError(sentence)
    try:
        raw = json.loads(data)
        if raw["version"] != _CACHE_VERSION:
            return {}
        return {str(k): (_stamp_of(v[0]), str(v[1])) for k, v in raw["entries"].items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DamagedFileError(sentence) from error


def source_checksum(path: Path, cache: ChecksumCache | None = None) -> str:
    """SHA-256 of a source file's content, 64 hexadecimal digits.

    Args:
        path: A regular file, or a link to one.
        cache: Consulted first, and told the result.

    Raises:
        OSError: If the file cannot be read or is no regular file.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as stream:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        name, stamp = str(path.absolute()), _stamp(before)
        if cache is not None and name in cache.entries and cache.entries[name][0] == stamp:
            return cache.entries[name][1]
        sha256 = hashlib.sha256()
        while block := stream.read(_BLOCK):
            sha256.update(block)
        # A file that was touched just now may change again within one tick of its clock.
        settled = time.time_ns() - max(before.st_mtime_ns, before.st_ctime_ns) > _SETTLED_NS
        if cache is not None and settled and _stamp(os.fstat(descriptor)) == stamp:
            cache.entries[name] = (stamp, sha256.hexdigest())
    return sha256.hexdigest()


def scan_checksums(scan: Scan, cache: ChecksumCache | None = None) -> dict[Path, str]:
    """Checksums of all files of a scan.

    An image in two files has one, made from both. A file that cannot be read gets ``unreadable:
    REASON`` for a checksum, so that the scan has a key under which it is set aside, and another
    one as soon as the file can be read.
    """
    checksums: dict[Path, str] = {}
    for path in scan.images:
        try:
            found = [source_checksum(file, cache) for file in files_of(path)]
            checksums[path] = found[0] if len(found) == 1 else digest(found)
        except OSError as error:
            checksums[path] = f"unreadable: {errno.errorcode.get(error.errno or 0, 'unknown')}"
    return checksums


def scan_key(
    scan: Scan,
    cohort: str,
    role: Role,
    settings: PreprocessSettings,
    checksums: Mapping[Path, str],
) -> str:
    """Identity of a scan's slices: 20 hexadecimal digits.

    Covers the content and part of every file, the scan's labels, cohort and role, the settings,
    the version of preprocessing, and the tool that tells the brain with its version; not where
    the files lie.

    Args:
        scan: The scan.
        cohort: Name of its cohort.
        role: Of the cohort.
        settings: Of preprocessing.
        checksums: Of the scan's files, as from :func:`scan_checksums`.

    Raises:
        ExtractorError: If brain extraction needs a tool that is not there.
        KeyError: If the checksum of a file is missing.
    """
    brain_mask = None if scan.brain_mask is None else checksums[scan.brain_mask]
    # What few scans have is left out of the others' keys, which are older than it.
    more: dict[str, object] = {} if scan.volume is None else {"volume": scan.volume}
    if scan.lesion_labels:
        labels = [[checksums[path], list(values)] for path, values in scan.lesion_labels]
        more["lesion_labels"] = sorted(labels)
    return digest(
        {
            "preprocess_version": PREPROCESS_VERSION,
            "settings": settings.model_dump(mode="json"),
            "cohort": cohort,
            "role": role,
            "subject": scan.subject,
            "session": scan.session,
            "modality": scan.modality,
            "stripped": scan.stripped,
            "image": checksums[scan.image],
            "lesion_masks": sorted(checksums[path] for path in scan.lesion_masks),
            "brain_mask": brain_mask,
            "brain_source": brain_source(scan, settings.brain_extractor),
            **more,
        }
    )


def _stamp(status: os.stat_result) -> Stamp:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _stamp_of(value: list[int]) -> Stamp:
    size, modified, changed = value
    return (int(size), int(modified), int(changed))
