"""``study.store repair``: damaged records are set aside, so that the next run makes them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from datasets import retries
from datasets.layout import DAMAGED, kind_of
from datasets.manifest import stored_record
from datasets.storage import Storage, StorageError, sha256_hex
from study.store.check import Finding, check_store
from study.store.contents import Item, below


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
        items = [item for item in _items(store, finding.records) if item.path not in gone]
        try:
            if not dry_run:
                _set_aside(store, folder, items)
                if finding.path == retries.PATH:
                    _write_retries(store)
        except (StorageError, FileNotFoundError) as error:
            yield Repaired(finding, fault=str(error))
            continue
        taken = tuple(item.path for item in items)
        gone.update(taken)
        yield Repaired(finding, taken)


def _write_retries(store: Storage) -> None:
    """Write anew which scans came through later: without it, other cohorts would be meant."""
    records = []
    for key in store.names("shards/scans"):
        with suppress(StorageError):  # what is damaged is a finding of its own
            records.append(stored_record(store, key))
    retries.write_retries(store, retries.retries_of(r for r in records if r is not None))


def _items(store: Storage, paths: Iterable[str]) -> Iterator[Item]:
    """What lies at some paths; first what is in it where a folder is in place of a file."""
    for path in paths:
        folder, _, name = path.rpartition("/")
        for entry in store.entries(folder, recursive=False):
            if entry.path == name:
                if entry.is_folder:
                    yield from reversed(below(store, path))
                yield Item(path, kind_of(path), entry)


def _set_aside(store: Storage, folder: str, items: Iterable[Item]) -> None:
    """Copy files, verify the copies, then remove the files: records first, as they are listed.

    A pipe, or a link that leads nowhere, has nothing to copy.
    """
    items = list(items)
    for item in items:
        if item.entry.is_file:
            data = store.read(item.path)
            store.put(f"{folder}/{item.path}", data)
            store.read(f"{folder}/{item.path}", sha256_hex(data))
    for item in items:
        if not item.entry.is_folder:
            store.delete(item.path)
        elif not store.delete_folder_if_empty(item.path):
            raise StorageError(f"the folder {item.path!r} in {store.uri!r} is not empty")
