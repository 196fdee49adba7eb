"""Preparation: from scans to shards, a Ray task per scan that has none yet.

The store is the memory: a scan is done when its record is there. So a run that was killed goes on
where it was, and a changed, added or removed scan redoes only itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from datasets.checksums import ChecksumCache
from datasets.extractors import ExtractorError
from datasets.manifest import (
    CohortManifest,
    ScanRecord,
    manifest_path,
    read_record,
    record_path,
    write_manifest,
    write_record,
)
from datasets.retries import read_retries, retried_key, write_retries
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.shards import process_scan
from datasets.sources import phantom
from datasets.storage import ChecksumError, Storage, StorageError
from study.cluster.connection import RAY_DIED, card_gib, core_count
from study.cluster.memory import hand_back, keep_freed
from study.errors import PreparationError
from study.prepare.cohorts import Cohort
from study.prepare.limits import Limits, guarded
from study.prepare.listing import CohortListing, ScanTask, Surveyor, is_written, scan_name
from study.progress.tracker import Tracker

SCAN_GIB = 2.0
"""Memory that Ray sets aside for a scan, so that no more run at once than a node can hold. deepbet
takes 1.1 GiB, a scan of 256x256x256 voxels half a GiB beside it."""

CARD_GIB = 4.0
"""The same on a GPU, where there is one."""

_TICK_S = 2.0
_HOPELESS = 4
"""So many broken scans and not one that was not broken speak against the machine."""


@dataclass
class Preparation:
    """Brings shards up to date; belongs to the driver's main thread.

    Attributes:
        cohorts: The cohorts.
        store: Where the shards go.
        settings: Of preprocessing.
        connect: Gives Ray; called only if there is something to do.
        tracker: Told how far it is.
        changed: Called after every change of the tracker, with whether it is worth a line.
        say: Told in a sentence what a person should know.
        limits: Of one scan.
        foreseen: Told what there is, once, before any scan of it is prepared.
        prepared: Number of scans that were prepared, not found.
    """

    cohorts: Sequence[Cohort]
    store: Storage
    settings: PreprocessSettings
    connect: Callable[[], Any]
    tracker: Tracker
    changed: Callable[[bool], None]
    say: Callable[[str], None] = lambda sentence: None
    limits: Limits = field(default_factory=Limits)
    foreseen: Callable[[Sequence[CohortListing]], None] = lambda listings: None
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
        self.stage("checking files", 0)
        retries = read_retries(self.store)
        surveyor = Surveyor(self.store, self.settings, cache, retries, self._looked, self.say)
        listings = surveyor.survey(self.cohorts)
        self._foresee(listings)
        if not all(is_written(cohort) for cohort in self.cohorts):
            self._write_phantoms()
            listings = surveyor.survey(self.cohorts)
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
        return [self._complete(listing) for listing in listings]

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
        self.say(f"{len(back)} of {len(again)} scans that were set aside came through now")
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
            self.store.delete(record_path(key).rpartition("/")[0])

    def _prepare(self, tasks: Sequence[ScanTask], *, works: bool) -> None:
        """Prepare scans, with Ray if there are any."""
        self.stage("prepare", len(tasks))
        if tasks:
            _Scans(self, self.connect()).run(tasks, works=works)
            self.prepared += len(tasks)

    def mend(self, listings: Sequence[CohortListing]) -> list[CohortListing]:
        """Check every byte of some prepared cohorts, and prepare again what is damaged or gone.

        Raises:
            Errors as :meth:`run`.
        """
        parts = [(x, record) for x in listings for record in x.records if record.part]
        self.stage("verifying shards", len(parts))
        damaged = []
        for listing, record in parts:
            fault = self._fault(record)
            if fault:
                self.say(f"{fault}; preparing {_name(record)} again")
                damaged.append((listing, record))
            self.step()
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
        except (ChecksumError, FileNotFoundError) as error:
            return str(error)
        return ""

    def _complete(self, listing: CohortListing) -> CohortListing:
        """Write the manifest of a cohort whose scans all have a record."""
        if listing.manifest is not None:
            return listing
        records = [read_record(self.store, task.key) for task in listing.tasks]
        if None in records:
            lost = [t.name for t, r in zip(listing.tasks, records, strict=True) if r is None]
            raise PreparationError(
                f"the shards of {lost[0]} and {len(lost) - 1} others have vanished from the store "
                "while others were prepared; the same command prepares them again"
            )
        manifest = CohortManifest(
            key=listing.key,
            cohort=listing.cohort.name,
            modality=listing.modality,
            role=listing.cohort.role,
            source=listing.cohort.source,
            synthetic=listing.cohort.synthetic,
            settings=self.settings,
            preprocess_version=PREPROCESS_VERSION,
            records=tuple(record for record in records if record is not None),
            skipped=listing.skipped,
        )
        write_manifest(self.store, manifest)
        return replace(listing, manifest=manifest)

    def _write_phantoms(self) -> None:
        for cohort in self.cohorts:
            if cohort.options is not None:
                run_all = partial(self._run_all, f"writing phantom {cohort.name}")
                phantom.ensure(cohort.root, cohort.options, run_all)

    def _run_all(self, stage: str, task: Callable[[int], None], indices: Sequence[int]) -> None:
        ray = self.connect()
        remote = ray.remote(_call)
        self.stage(stage, len(indices))
        left = [remote.remote(task, index) for index in indices]
        while left:
            done, left = ray.wait(left)
            ray.get(done)
            self.step(len(done))

    def _looked(self, done: int, total: int) -> None:
        self.tracker.stage_done, self.tracker.stage_total = done, total
        self.changed(False)

    def stage(self, stage: str, total: int) -> None:
        """Tell that a stage begins.

        Args:
            stage: Its name.
            total: How many scans or files it has; 0 where that is not known yet.
        """
        self.tracker.stage = stage
        self.tracker.stage_done, self.tracker.stage_total = 0, total
        if total:
            self.changed(True)

    def step(self, count: int = 1) -> None:
        """Tell that some of a stage's work is done."""
        self.tracker.stage_done += count
        self.changed(False)


class _Scans:
    """Runs scans as Ray tasks, a bounded number at once, and outlives broken workers."""

    def __init__(self, preparation: Preparation, ray: Any) -> None:
        self._preparation = preparation
        self._store = preparation.store
        self._ray = ray
        # Ray gives a task of one CPU one thread. One core a scan beats all cores for one scan:
        # only the network of deepbet would use them, and it scales badly.
        self._remote = ray.remote(num_cpus=1, max_retries=0, **_needs(ray))(_process)

    def run(self, tasks: Sequence[ScanTask], *, works: bool) -> None:
        """Prepare all scans; each has a record at the end.

        What breaks its worker, or ends in an error that is not the file's, is tried once more
        with nothing beside it, for it may be a neighbour that took the memory; what fails again is
        set aside.

        Args:
            tasks: The scans.
            works: Whether the machine is known to prepare scans.

        Raises:
            PreparationError: If not one of many came through, and the machine may be to blame.
        """
        broken = self._pass(tasks, 2 * core_count(self._ray))
        if not works and len(broken) == len(tasks) >= _HOPELESS:
            raise PreparationError(
                f"every scan failed, the first of them so: {broken[0][1]}; the fault lies with the "
                "machine or its Ray cluster, and no scan was set aside"
            )
        for task, _ in broken:
            for _, fault in self._pass([task], 1):
                reason = f"it failed twice, the second time with nothing beside it: {fault}"
                write_record(self._store, task.set_aside(reason))
                self._preparation.step()

    def _pass(self, tasks: Iterable[ScanTask], at_once: int) -> list[tuple[ScanTask, str]]:
        """Run scans once; returns those that failed for no reason found in their files, and how."""
        waiting = deque(tasks)
        running: dict[Any, ScanTask] = {}
        broken = []
        while waiting or running:
            while waiting and len(running) < at_once:
                task = waiting.popleft()
                order = (task, self._preparation.settings, self._store.uri)
                running[self._remote.remote(*order, self._preparation.limits)] = task
            done, _ = self._ray.wait(list(running), timeout=_TICK_S)
            self._preparation.changed(False)
            for ref in done:
                task = running.pop(ref)
                fault = self._collect(ref, task)
                if fault:
                    broken.append((task, fault))
                else:
                    self._preparation.step()
        return broken

    def _collect(self, ref: Any, task: ScanTask) -> str:
        """Take a finished scan; returns how it failed if its files are not the reason."""
        exceptions = self._ray.exceptions
        try:
            self._ray.get(ref)
        except (
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
        ) as error:
            # A scan that went over a limit has left word before its worker ended.
            return "" if read_record(self._store, task.key) else _fault_name(error)
        except exceptions.LocalRayletDiedError as error:
            raise ConnectionError(RAY_DIED) from error
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, StorageError | ExtractorError):
                raise cause from error
            if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
                return "the memory was not enough"
            if isinstance(cause, OSError) and cause.strerror:
                return f"{cause.strerror}: {cause.filename or 'no file named'}"
            words = f"an error, please report it: {type(cause).__name__}: {cause}"
            return " ".join(words.split())
        return ""


def _fault_name(error: Exception) -> str:
    names = {
        "WorkerCrashedError": "its worker process died",
        "OutOfMemoryError": "the machine ran out of memory",
        "NodeDiedError": "its machine was lost",
    }
    return names.get(type(error).__name__, type(error).__name__)


def _needs(ray: Any) -> dict[str, Any]:
    """What a scan reserves: memory, and a share of a GPU where there is one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = max((int(node.get("memory", 0)) for node in nodes), default=0)
    needs: dict[str, Any] = {"memory": min(int(SCAN_GIB * 2**30), most)}
    if any(node.get("GPU") for node in nodes):
        gib = card_gib(ray)
        needs["num_gpus"] = 1.0 / max(1, int(gib // CARD_GIB))
    return needs


def _process(task: ScanTask, settings: PreprocessSettings, uri: str, limits: Limits) -> None:
    """Prepare one scan in a worker process."""
    store = Storage.open(uri)

    def last_word(reason: str) -> None:
        write_record(store, task.set_aside(reason))

    keep_freed()
    try:
        with guarded(limits, last_word):
            process_scan(task.scan, task.cohort, task.role, settings, task.key, store)
    finally:
        hand_back()


def _name(record: ScanRecord) -> str:
    return scan_name(record.cohort, record.subject, record.session, record.modality)


def _call(task: Callable[[int], None], index: int) -> None:
    task(index)
