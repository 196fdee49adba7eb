"""Preparation: from the cohorts file to shards, a Ray task per scan that has none yet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datasets.checksums import ChecksumCache, scan_checksums, scan_key
from datasets.manifest import (
    CohortManifest,
    ScanRecord,
    cohort_key,
    read_manifest,
    read_record,
    write_manifest,
    write_record,
)
from datasets.scan import Modality, Role, Scan, SourceError
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.shards import process_scan
from datasets.sources import phantom
from datasets.storage import Storage
from study.cluster import core_count
from study.cohorts import Cohort
from study.records import CohortInfo
from study.tracker import Tracker

SCAN_TIMEOUT_S = 900.0
"""A scan that takes longer is set aside."""

SCAN_TRIES = 2
"""A scan that breaks its worker process this often is set aside."""


@dataclass(frozen=True)
class ScanTask:
    """One scan to prepare.

    Attributes:
        scan: The scan.
        cohort: Name of its cohort.
        role: Of the cohort.
        key: The scan's key.
    """

    scan: Scan
    cohort: str
    role: Role
    key: str


@dataclass(frozen=True)
class CohortListing:
    """The scans of a cohort in one modality, with the keys they have or will have.

    Attributes:
        cohort: The cohort.
        modality: The modality.
        key: Key of the cohort's shards; empty for a phantom that is not written yet.
        tasks: Its scans.
        skipped: What the source left out, and why.
        n_expected: Number of scans, also where they are not written yet.
        manifest: The manifest, if all is prepared.
    """

    cohort: Cohort
    modality: Modality
    key: str
    tasks: tuple[ScanTask, ...]
    skipped: tuple[tuple[str, str], ...]
    n_expected: int
    manifest: CohortManifest | None = None

    def info(self) -> CohortInfo:
        """What a study records of it."""
        records = self.manifest.records if self.manifest else ()
        usable = [r for r in records if r.status == "ok"]
        return CohortInfo(
            name=self.cohort.name,
            role=self.cohort.role,
            modality=self.modality,
            source=self.cohort.source,
            key=self.key,
            synthetic=self.cohort.synthetic,
            n_scans=len(usable) if self.manifest else self.n_expected,
            n_subjects=len({r.subject for r in usable}),
            n_slices=sum(r.n_slices for r in usable),
            n_quarantined=len(records) - len(usable),
        )


def survey(
    cohorts: Sequence[Cohort], store: Storage, settings: PreprocessSettings
) -> list[CohortListing]:
    """List all scans and find out which are prepared; writes nothing.

    Raises:
        SourceError: If a cohort's folder cannot be read as what it was declared to be.
        StorageError: If the store cannot be read.
    """
    cache = ChecksumCache.load(store)
    return _survey(cohorts, store, settings, cache)


def _survey(
    cohorts: Sequence[Cohort],
    store: Storage,
    settings: PreprocessSettings,
    cache: ChecksumCache,
) -> list[CohortListing]:
    found = []
    for cohort in cohorts:
        if cohort.options is not None and not _is_written(cohort):
            found += [
                CohortListing(cohort, modality, "", (), (), cohort.options.subjects)
                for modality in cohort.modalities
            ]
        else:
            found += _list_cohort(cohort, store, settings, cache)
    return found


def _list_cohort(
    cohort: Cohort, store: Storage, settings: PreprocessSettings, cache: ChecksumCache
) -> list[CohortListing]:
    try:
        listing = cohort.module.list_scans(cohort.root, cohort.modalities)
    except SourceError as error:
        raise SourceError(f"cohort {cohort.name!r}: {error}") from error
    skipped = tuple((str(s.path), s.reason) for s in listing.skipped)
    found = []
    for modality in cohort.modalities:
        tasks = tuple(
            ScanTask(
                scan,
                cohort.name,
                cohort.role,
                scan_key(scan, cohort.name, cohort.role, settings, scan_checksums(scan, cache)),
            )
            for scan in listing.scans
            if scan.modality == modality
        )
        if tasks:
            key = cohort_key(cohort.name, modality, (task.key for task in tasks))
            manifest = read_manifest(store, key)
            found.append(CohortListing(cohort, modality, key, tasks, skipped, len(tasks), manifest))
    return found


def prepare(
    cohorts: Sequence[Cohort],
    store: Storage,
    settings: PreprocessSettings,
    connect: Callable[[], Any],
    tracker: Tracker,
    changed: Callable[[bool], None],
) -> list[CohortListing]:
    """Bring every cohort's shards up to date; each listing comes back with its manifest.

    Args:
        cohorts: The cohorts.
        store: Where the shards go.
        settings: Of preprocessing.
        connect: Gives Ray; called only if there is something to do.
        tracker: Told how far it is.
        changed: Called after every change of the tracker, with whether it is worth a line.

    Raises:
        SourceError: If a cohort's folder cannot be read as what it was declared to be.
        StorageError: If the store cannot be read or written.
    """
    _write_phantoms(cohorts, connect, tracker, changed)
    cache = ChecksumCache.load(store)
    listings = _survey(cohorts, store, settings, cache)
    if any(listing.manifest is None for listing in listings):
        cache.save(store)
    todo = [
        task
        for listing in listings
        if listing.manifest is None
        for task in listing.tasks
        if read_record(store, task.key) is None
    ]
    if todo:
        tracker.stage_total, tracker.stage_done = len(todo), 0
        changed(True)
        _Preparation(store, settings, connect(), tracker, changed).run(todo)
    return [_complete(listing, store, settings) for listing in listings]


def _complete(
    listing: CohortListing, store: Storage, settings: PreprocessSettings
) -> CohortListing:
    """Write the manifest of a cohort whose scans all have a record."""
    if listing.manifest is not None:
        return listing
    records = (read_record(store, task.key) for task in listing.tasks)
    manifest = CohortManifest(
        key=listing.key,
        cohort=listing.cohort.name,
        modality=listing.modality,
        role=listing.cohort.role,
        source=listing.cohort.source,
        synthetic=listing.cohort.synthetic,
        settings=settings,
        preprocess_version=PREPROCESS_VERSION,
        records=tuple(record for record in records if record is not None),
        skipped=listing.skipped,
    )
    write_manifest(store, manifest)
    return replace(listing, manifest=manifest)


def _write_phantoms(
    cohorts: Sequence[Cohort],
    connect: Callable[[], Any],
    tracker: Tracker,
    changed: Callable[[bool], None],
) -> None:
    def run_all(task: Callable[[int], None], indices: Sequence[int]) -> None:
        ray = connect()
        remote = ray.remote(_call)
        tracker.stage_total, tracker.stage_done = len(indices), 0
        left = [remote.remote(task, index) for index in indices]
        while left:
            done, left = ray.wait(left)
            ray.get(done)
            tracker.stage_done += len(done)
            changed(False)

    for cohort in cohorts:
        if cohort.options is not None:
            tracker.stage = f"writing phantom {cohort.name}"
            phantom.ensure(cohort.root, cohort.options, run_all)
    tracker.stage = "prepare"


def _is_written(cohort: Cohort) -> bool:
    return not cohort.synthetic or (cohort.root / phantom.MARKER).is_file()


class _Preparation:
    """Runs scan tasks on Ray, a bounded number at once, and outlives broken workers."""

    def __init__(
        self,
        store: Storage,
        settings: PreprocessSettings,
        ray: Any,
        tracker: Tracker,
        changed: Callable[[bool], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._ray = ray
        self._tracker = tracker
        self._changed = changed
        self._remote = ray.remote(num_cpus=1, max_retries=0)(_process)
        self._tries: dict[str, int] = {}

    def run(self, tasks: Sequence[ScanTask]) -> None:
        """Prepare all scans; each has a record at the end."""
        waiting = deque(tasks)
        running: dict[Any, tuple[ScanTask, float]] = {}
        limit = 2 * core_count(self._ray)
        while waiting or running:
            while waiting and len(running) < limit:
                task = waiting.popleft()
                self._tries[task.key] = self._tries.get(task.key, 0) + 1
                ref = self._remote.remote(task, self._settings, self._store.uri)
                running[ref] = (task, time.monotonic())
            done, _ = self._ray.wait(list(running), timeout=5.0)
            for ref in done:
                task, _ = running.pop(ref)
                if not self._collect(ref, task):
                    waiting.append(task)
            self._stop_overdue(running)

    def _collect(self, ref: Any, task: ScanTask) -> bool:
        """Take a finished task; False if it is to be tried again."""
        exceptions = self._ray.exceptions
        try:
            self._ray.get(ref)
        except (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError) as error:
            if self._tries[task.key] < SCAN_TRIES:
                return False
            reason = f"it broke its worker process {SCAN_TRIES} times: {type(error).__name__}"
            self._quarantine(task, reason)
        except exceptions.TaskCancelledError:
            self._quarantine(task, f"it took longer than {SCAN_TIMEOUT_S:.0f} s")
        except exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        self._tracker.stage_done += 1
        self._changed(False)
        return True

    def _stop_overdue(self, running: dict[Any, tuple[ScanTask, float]]) -> None:
        now = time.monotonic()
        for ref, (task, started) in list(running.items()):
            if now - started > 2 * SCAN_TIMEOUT_S:  # waits in Ray's queue for half of it at most
                self._ray.cancel(ref, force=True)
                del running[ref]
                self._quarantine(task, f"it took longer than {SCAN_TIMEOUT_S:.0f} s")
                self._tracker.stage_done += 1

    def _quarantine(self, task: ScanTask, reason: str) -> None:
        scan = task.scan
        write_record(
            self._store,
            ScanRecord(
                key=task.key,
                status="quarantined",
                reason=reason,
                cohort=task.cohort,
                role=task.role,
                subject=scan.subject,
                session=scan.session,
                modality=scan.modality,
                image=str(scan.image),
            ),
        )


def _process(task: ScanTask, settings: PreprocessSettings, uri: str) -> None:
    """Prepare one scan in a worker process."""
    store = Storage.open(uri)
    process_scan(task.scan, task.cohort, task.role, settings, task.key, store)


def _call(task: Callable[[int], None], index: int) -> None:
    task(index)
