"""``study.store repair``: damaged records are set aside, so that the next run makes them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from datasets.layout import DAMAGED
from datasets.storage import Storage, StorageError, sha256_hex
from study.store.check import Finding, check_store
from study.store.contents import below


@dataclass(frozen=True)
class Repaired:
    """What became of a finding.

    Attributes:
        finding: It.
        taken: The files that were set aside for it, below the store.
        fault: Why it could not be mended; empty if it was.
    """

    finding: Finding
    taken: tuple[str, ...] = ()
    fault: str = ""


def repair_store(store: Storage, *, dry_run: bool = False) -> Iterator[Repaired]:
    """Set everything aside that does not count and can be made again.

    A file is copied to ``damaged/TIME/`` with its path, read back, and only then removed. What
    cannot be read, or is of a newer version, stays where it is.

    Args:
        store: The store; nobody may be working on its studies.
        dry_run: Only tell.

    Raises:
        StorageError: If the store cannot be listed.
    """
    findings = [f for f in check_store(store) if isinstance(f, Finding) and f.problem is not None]
    folder = f"{DAMAGED}/{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%f}"
    gone: set[str] = set()
    for finding in findings:
        if not finding.records:
            yield Repaired(finding, fault="it is left as it is")
            continue
        paths = [path for path in _files(store, finding.records) if path not in gone]
        try:
            if not dry_run:
                _set_aside(store, folder, paths)
        except (StorageError, FileNotFoundError) as error:
            yield Repaired(finding, fault=str(error))
            continue
        gone.update(paths)
        yield Repaired(finding, tuple(paths))


def _files(store: Storage, paths: Iterable[str]) -> Iterator[str]:
    """The files at some paths; those in it where a folder is in place of a file."""
    for path in paths:
        inner = below(store, path) if _is_folder(store, path) else None
        if inner is None:
            yield path
        else:
            yield from (item.path for item in inner if not item.entry.is_folder)


def _is_folder(store: Storage, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    entries = store.entries(folder, recursive=False)
    return any(entry.path == name and entry.is_folder for entry in entries)


def _set_aside(store: Storage, folder: str, paths: Iterable[str]) -> None:
    """Copy files, verify the copies, then remove the files: records first, as they are listed."""
    paths = list(paths)
    for path in paths:
        if store.exists(path):
            data = store.read(path)
            store.put(f"{folder}/{path}", data)
            store.read(f"{folder}/{path}", sha256_hex(data))
    for path in paths:
        store.delete(path)
