"""Scans as Ray tasks, each prepared in a worker process of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from datasets.errors import ExtractorError, ScanChangedError
from datasets.manifest import read_record, write_record
from datasets.settings import PreprocessSettings
from datasets.shards import process_scan
from datasets.storage import Storage, StorageError
from study.cluster.connection import RAY_DIED
from study.cluster.environment import load_sent
from study.cluster.memory import keep_freed, release
from study.cluster.nodes import core_count
from study.cluster.patience import WAIT_S, Patience
from study.cluster.tasks import each_ended
from study.errors import PreparationError
from study.prepare.limits import Limits, guarded
from study.prepare.listing import ScanTask
from study.prepare.phantoms import scan_files
from study.progress.monitor import Monitor

SCAN_GIB = 2.0
"""Memory that Ray sets aside for a scan, so that no more run at once than a node can hold. deepbet
takes 1.1 GiB, a scan of 256x256x256 voxels half a GiB beside it."""

_HOPELESS = 4
"""So many broken scans and not one that was not broken speak against the machine."""


class ScanRunner:
    """Runs scans as Ray tasks, a bounded number at once, and outlives broken workers."""

    def __init__(
        self,
        ray: Any,
        store: Storage,
        settings: PreprocessSettings,
        limits: Limits,
        monitor: Monitor,
        wait_s: float = WAIT_S,
    ) -> None:
        self._store = store
        self._settings = settings
        self._limits = limits
        self._monitor = monitor
        self._ray = ray
        self._patience = Patience(monitor.say, wait_s)
        self._changed: list[str] = []
        # Ray gives a task of one CPU one thread. One core a scan beats all cores for one scan:
        # only the network of deepbet would use them, and it scales badly.
        self._remote = ray.remote(num_cpus=1, max_retries=0, **needs(ray))(_process)

    def run(self, tasks: Sequence[ScanTask], *, works: bool) -> None:
        """Prepare all scans; each has a record at the end.

        What breaks its worker, or ends in an error that is not the file's, is tried once more
        with nothing beside it, for it may be a neighbour that took the memory; what fails again is
        set aside.

        Args:
            tasks: The scans.
            works: Whether the machine is known to prepare scans.

        Raises:
            PreparationError: If not one of many came through, and the machine may be to blame; or
                if files have changed meanwhile, once all other scans are prepared.
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
                self._monitor.step()
        if self._changed:
            more = f" and {len(self._changed) - 1} more" if len(self._changed) > 1 else ""
            raise PreparationError(
                f"the files of {self._changed[0]}{more} changed while they were prepared; the same "
                "command prepares them as they are now"
            )

    def _pass(self, tasks: Iterable[ScanTask], at_once: int) -> list[tuple[ScanTask, str]]:
        """Run scans once; returns those that failed for no reason found in their files, and how."""
        broken = []
        for task, ref in each_ended(self._ray, self._submit, tasks, at_once, self._tick):
            fault = self._collect(ref, task)
            if fault:
                broken.append((task, fault))
            else:
                self._monitor.step()
        return broken

    def _submit(self, task: ScanTask) -> Any:
        return self._remote.remote(task, self._settings, self._store.uri, self._limits)

    def _tick(self) -> None:
        self._monitor.check()
        self._patience.check(moves=bool(self._ray.cluster_resources().get("CPU")))
        self._monitor.update()

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
            return "" if read_record(self._store, task.key) else fault_name(error)
        except exceptions.LocalRayletDiedError as error:
            raise ConnectionError(RAY_DIED) from error
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, StorageError | ExtractorError):
                raise cause from error
            if isinstance(cause, ScanChangedError):
                self._changed.append(task.name)
                return ""
            if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
                return "the memory was not enough"
            if isinstance(cause, OSError) and cause.strerror:
                return f"{cause.strerror}: {cause.filename or 'no file named'}"
            words = f"an error, please report it: {type(cause).__name__}: {cause}"
            return " ".join(words.split())
        return ""


def fault_name(error: Exception) -> str:
    """How Ray lost a task, for people."""
    names = {
        "WorkerCrashedError": "its worker process died",
        "OutOfMemoryError": "the machine ran out of memory",
        "NodeDiedError": "its machine was lost",
    }
    return names.get(type(error).__name__, type(error).__name__)


def needs(ray: Any) -> dict[str, Any]:
    """What a scan reserves beside a CPU: memory.

    No GPU, so that scans get the same masks on every node, and none waits while CPUs are idle.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = max((int(node.get("memory", 0)) for node in nodes if node.get("CPU")), default=0)
    return {"memory": min(int(SCAN_GIB * 2**30), most)} if most else {}


def _process(task: ScanTask, settings: PreprocessSettings, uri: str, limits: Limits) -> None:
    """Prepare one scan in a worker process."""
    load_sent()
    store = Storage.open(uri)

    def last_word(reason: str) -> None:
        write_record(store, task.set_aside(reason))

    keep_freed()
    try:
        with scan_files(task, store) as scan, guarded(limits, last_word):
            process_scan(
                scan,
                task.cohort,
                task.role,
                settings,
                task.key,
                store,
                task.content_key,
                image=task.scan.image,
            )
    finally:
        release()
