"""Preparation: from scans to shards, a Ray task per scan that has none yet.

The store is the memory: a scan is done when its record is there. So a run that was killed goes on
where it was, and a changed, added or removed scan redoes only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datasets.checksums import ChecksumCache
from datasets.errors import SourceError
from datasets.manifest import (
    CohortManifest,
    ScanRecord,
    manifest_path,
    read_record,
    record_path,
    write_manifest,
)
from datasets.retries import read_retries, retried_key, write_retries
from datasets.scan import Listing
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.storage import DamagedFileError, Storage, StorageError
from study.cluster.patience import WAIT_S, Patience
from study.errors import PreparationError
from study.prepare.accounts import count_files, named
from study.prepare.cohorts import Cohort
from study.prepare.found import list_cohort
from study.prepare.limits import Limits
from study.prepare.listing import CohortListing, ScanTask, Surveyor, is_written, scan_name
from study.prepare.phantoms import write_phantoms
from study.prepare.scans import ScanRunner
from study.progress.monitor import Monitor
from study.records.heartbeats import Stage

_TICK_S = 2.0


@dataclass
class Preparation:
    """Brings shards up to date; belongs to the driver's main thread.

    Attributes:
        cohorts: The cohorts.
        store: Where the shards go.
        settings: Of preprocessing.
        connect: Gives Ray; called only if there is something to do.
        monitor: Told how far it is.
        limits: Of one scan.
        foreseen: Told what there is, once, before any scan of it is prepared.
        wait_s: How long to wait for a node with room, in seconds.
        find: Tells what is in a cohort's folders.
        prepared: Number of scans that were prepared, not found.
    """

    cohorts: Sequence[Cohort]
    store: Storage
    settings: PreprocessSettings
    connect: Callable[[], Any]
    monitor: Monitor
    limits: Limits = field(default_factory=Limits)
    foreseen: Callable[[Sequence[CohortListing]], None] = lambda listings: None
    wait_s: float = WAIT_S
    find: Callable[[Cohort], Listing] = list_cohort
    prepared: int = 0
    _set_aside_now: set[str] = field(default_factory=set)
    _has_foreseen: bool = False

    def run(self) -> list[CohortListing]:
        """Prepare what is not prepared; each listing comes back with its manifest.

        Raises:
            SourceError: If a cohort's folder cannot be read as what it was declared to be.
            ExtractorError: If brain extraction needs a tool that is not there.
            PreparationError: If scans cannot be prepared on this machine or cluster.
            StorageError: If the store cannot be read or written.
        """
        cache = ChecksumCache.load(self.store)
        self._begin(caption="checking files")
        retries = read_retries(self.store)
        surveyor = Surveyor(
            self.store, self.settings, cache, retries, self._looked, self.monitor.say, self.find
        )
        listings = surveyor.survey(self.cohorts)
        self._foresee(listings)
        if not all(is_written(cohort, self.store) for cohort in self.cohorts):
            write_phantoms(self.cohorts, self.store, self._run_all)
            listings = surveyor.survey(self.cohorts)
        while self._prepare_listed(listings, cache):
            # Where an image was set aside, the next best one of its subject is listed now.
            listings = surveyor.survey(self.cohorts)
        return self._complete(listings)

    def _prepare_listed(self, listings: Sequence[CohortListing], cache: ChecksumCache) -> bool:
        """Prepare the scans without a record; tells whether another choice of scans may follow."""
        unfinished = [listing for listing in listings if listing.manifest is None]
        if unfinished:
            cache.save(self.store)
        done = [record for listing in listings for record in listing.records]
        todo: dict[str, ScanTask] = {}
        for task in (task for listing in unfinished for task in listing.tasks):
            record = read_record(self.store, task.key)
            if record is None:
                todo[task.key] = task
            else:
                done.append(record)
        # Where others came through, it is not the machine that fails those that are left.
        works = any(record.status == "ok" for record in done)
        self._prepare(list(todo.values()), works=works)
        self._set_aside_now |= todo.keys()
        chosen = [task for task in todo.values() if task.has_others]
        return any(not self._came_through(task) for task in chosen)

    def retry(self, listings: Sequence[CohortListing]) -> list[CohortListing]:
        """Prepare again what earlier runs have set aside, such as for a limit that was too low.

        What comes through gets another key, and so does its cohort; the rest stays as it was. An
        interrupted retry goes on where it was.

        Raises:
            Errors as :meth:`run`.
        """
        retries = read_retries(self.store)
        again: list[ScanTask] = []
        for listing in listings:
            for task, record in zip(listing.tasks, listing.records, strict=True):
                if record.status == "quarantined" and record.key not in self._set_aside_now:
                    count = retries.get(task.content_key, 0) + 1
                    again.append(replace(task, key=retried_key(task.content_key, count)))
        if not again:
            return list(listings)
        left = [task for task in again if not self._came_through(task)]
        self._forget(task.key for task in left)
        self._prepare(left, works=True)
        back = [task for task in again if self._came_through(task)]
        self._forget(task.key for task in again if task not in back)
        self.monitor.say(f"{len(back)} of {len(again)} scans that were set aside came through now")
        if not back:
            return list(listings)
        counts = {task.content_key: retries.get(task.content_key, 0) + 1 for task in back}
        write_retries(self.store, read_retries(self.store) | counts)
        return self.run()

    def _foresee(self, listings: Sequence[CohortListing]) -> None:
        if not self._has_foreseen:
            self._has_foreseen = True
            self.foreseen(listings)

    def _came_through(self, task: ScanTask) -> bool:
        record = read_record(self.store, task.key)
        return record is not None and record.status == "ok"

    def _forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.store.delete(record_path(key))

    def _prepare(self, tasks: Sequence[ScanTask], *, works: bool) -> None:
        """Prepare scans, with Ray if there are any."""
        self._begin(len(tasks))
        if tasks:
            runner = ScanRunner(
                self.connect(), self.store, self.settings, self.limits, self.monitor, self.wait_s
            )
            runner.run(tasks, works=works)
            self.prepared += len(tasks)

    def mend(self, listings: Sequence[CohortListing]) -> list[CohortListing]:
        """Check every byte of some prepared cohorts, and prepare again what is damaged or gone.

        Raises:
            Errors as :meth:`run`.
        """
        parts = [(x, record) for x in listings for record in x.records if record.part]
        self._begin(len(parts), "verifying shards")
        damaged = []
        for listing, record in parts:
            fault = self._fault(record)
            if fault:
                self.monitor.say(f"{fault}; preparing {_name(record)} again")
                damaged.append((listing, record))
            self._step()
        if not damaged:
            return list(listings)
        # Forgetting them makes them scans like any other that is not prepared. The manifests go
        # first: a manifest vouches for the records below it.
        for key in sorted({listing.key for listing, _ in damaged}):
            self.store.delete(manifest_path(key))
        self._forget(record.key for _, record in damaged)
        return self.run()

    def _fault(self, record: ScanRecord) -> str:
        try:
            self.store.read(record.part, record.sha256)
        except (DamagedFileError, FileNotFoundError) as error:
            return str(error)
        return ""

    def _complete(self, listings: Sequence[CohortListing]) -> list[CohortListing]:
        """Write the manifests of cohorts whose scans all have a record."""
        records = {id(listing): self._records(listing) for listing in listings}
        complete = []
        for listing in listings:
            same = [x for x in listings if x.cohort.name == listing.cohort.name]
            paths, stand_for = named(listing.skipped, listing.cohort.root)
            manifest = CohortManifest(
                key=listing.key,
                cohort=listing.cohort.name,
                modality=listing.modality,
                role=listing.cohort.role,
                source=listing.cohort.source,
                synthetic=listing.cohort.synthetic,
                settings=self.settings,
                preprocess_version=PREPROCESS_VERSION,
                records=records[id(listing)],
                skipped=paths,
                stand_for=stand_for,
                files=count_files(same, [records[id(x)] for x in same]),
                subjects=listing.subjects,
                notes=tuple(f"{name}: {note}" if name else note for note, name in listing.notes),
            )
            self._write(listing, manifest)
            complete.append(replace(listing, manifest=manifest))
        return complete

    def _records(self, listing: CohortListing) -> tuple[ScanRecord, ...]:
        if listing.manifest is not None:
            by_key = {record.key: record for record in listing.manifest.records}
            return tuple(by_key[task.key] for task in listing.tasks)
        records = [read_record(self.store, task.key) for task in listing.tasks]
        if None in records:
            lost = [t.name for t, r in zip(listing.tasks, records, strict=True) if r is None]
            raise PreparationError(
                f"the shards of {lost[0]} and {len(lost) - 1} others have vanished from the store "
                "while others were prepared; the same command prepares them again"
            )
        return tuple(record for record in records if record is not None)

    def _write(self, listing: CohortListing, manifest: CohortManifest) -> None:
        """Write a manifest that is new, or says what one that is there does not say yet."""
        if listing.manifest == manifest:
            return
        try:
            write_manifest(self.store, manifest)
        except StorageError:
            if listing.manifest is None:
                raise
            # What the store has is enough to read the slices, and it may only be read.

    def _run_all(self, caption: str, task: Callable[[int], None], indices: Sequence[int]) -> None:
        ray = self.connect()
        remote = ray.remote(_call)
        self._begin(len(indices), caption)
        left = [remote.remote(task, index) for index in indices]
        patience = Patience(self.monitor.say, self.wait_s)
        while left:
            done, left = ray.wait(left, timeout=_TICK_S)
            patience.check(moves=bool(done or ray.cluster_resources().get("CPU")))
            try:
                ray.get(done)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, StorageError):
                    raise error.cause from error
                if isinstance(error.cause, OSError):
                    raise SourceError(f"cannot write the phantom: {error.cause}") from error
                raise
            except ray.exceptions.RayError as error:
                reason = " ".join(str(error).split())
                raise ConnectionError(
                    f"a node was lost that wrote the phantom: {reason}"
                ) from error
            self._step(len(done))

    def _looked(self, done: int, total: int) -> None:
        self.monitor.tracker.stage_done, self.monitor.tracker.stage_total = done, total
        self._step(0)

    def _begin(self, total: int = 0, caption: str = "") -> None:
        self.monitor.check()
        self.monitor.begin(Stage.PREPARE, total, caption)

    def _step(self, count: int = 1) -> None:
        self.monitor.check()
        self.monitor.step(count)


def _name(record: ScanRecord) -> str:
    return scan_name(record.cohort, record.subject, record.session, record.modality)


def _call(task: Callable[[int], None], index: int) -> None:
    task(index)
