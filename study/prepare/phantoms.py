"""Where the built-in phantoms lie: in a folder, or in the store where that is no folder.

Nodes of a cluster share nothing but the store. If it is no folder, each subject is written by some
node into the store, and whoever needs its files copies them from there: this process to list the
scans, the node that prepares a scan those of that scan.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets.errors import SourceError
from datasets.local_tree import put_file, walk
from datasets.phantom import writer
from datasets.phantom.settings import MARKER, PhantomOptions, marker_bytes
from datasets.scan import Scan
from datasets.storage import Storage
from study.cluster.environment import load_sent
from study.prepare.cohorts import Cohort
from study.prepare.listing import ScanTask, is_written

RunAll = Callable[[str, Callable[[int], None], Sequence[int]], None]
"""Calls a task for each number, in any process, and shows a caption meanwhile."""


def write_phantoms(cohorts: Sequence[Cohort], store: Storage, run_all: RunAll) -> None:
    """Write those of some cohorts that are phantoms and not there yet.

    Args:
        cohorts: The cohorts; those of real scans are passed over.
        store: The store.
        run_all: Runs the writing of subjects.

    Raises:
        SourceError: If a phantom's folder holds anything else, or cannot be written.
        StorageError: If the store cannot be read or written.
    """
    for cohort in cohorts:
        if cohort.options is None or is_written(cohort, store):
            continue
        run = partial(run_all, f"writing phantom {cohort.name}")
        if cohort.stored_below(store):
            _write_into_store(cohort, cohort.options, store, run)
            _copy_from_store(cohort, store)
        else:
            writer.ensure(cohort.root, cohort.options, run)


@contextmanager
def scan_files(task: ScanTask, store: Storage) -> Iterator[Scan]:
    """A scan whose files lie on this machine, copied from the store if they lie there.

    Raises:
        StorageError: If they cannot be read.
    """
    scan = task.scan
    if task.stored is None:
        yield scan
        return
    below, root = task.stored
    with tempfile.TemporaryDirectory(prefix="anomaly-study-") as folder:

        def local(path: Path) -> Path:
            name = path.relative_to(root).as_posix()
            copy = Path(folder, name)
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(store.read(f"{below}/{name}"))
            return copy

        yield replace(
            scan,
            image=local(scan.image),
            lesion_masks=tuple(local(path) for path in scan.lesion_masks),
            brain_mask=local(scan.brain_mask) if scan.brain_mask else None,
        )


def _write_into_store(
    cohort: Cohort, options: PhantomOptions, store: Storage, run: writer.Run
) -> None:
    below = cohort.stored_below(store)
    if store.exists(f"{below}/{MARKER}"):
        return
    left = [
        number
        for number in range(options.subjects)
        if not store.exists(f"{below}/{writer.last_file(options, number)}")
    ]
    run(partial(_write_subject, store.uri, below, options), left)
    store.put(f"{below}/{MARKER}", marker_bytes(options))


def _write_subject(uri: str, below: str, options: PhantomOptions, number: int) -> None:
    """Write the files of a subject into the store; runs on a node."""
    load_sent()
    store, last = Storage.open(uri), writer.last_file(options, number)
    with tempfile.TemporaryDirectory(prefix="anomaly-study-") as folder:
        writer.write_subject(Path(folder), options, number)
        files = [e.path for e in walk(folder, recursive=True) if e.is_file and e.path != last]
        for name in (*sorted(files), last):
            store.put(f"{below}/{name}", Path(folder, name).read_bytes())


def _copy_from_store(cohort: Cohort, store: Storage) -> None:
    """Copy a phantom to this machine, whose folder is this store's own."""
    below = cohort.stored_below(store)
    try:
        for path in store.files(below):
            name = path.removeprefix(f"{below}/")
            if name != MARKER and not (cohort.root / name).is_file():
                _put(cohort.root / name, store.read(path))
        _put(cohort.root / MARKER, store.read(f"{below}/{MARKER}"))
    except FileNotFoundError as error:
        raise SourceError(f"the phantom {cohort.name!r} vanished while it was copied") from error


def _put(path: Path, data: bytes) -> None:
    try:
        put_file(path, data)
    except OSError as error:
        raise SourceError(f"cannot write the phantom below {path.parent}: {error}") from error
