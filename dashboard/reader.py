"""A study as the store shows it now: read in the background, handed out whole.

Reading ten thousand records takes a walk over all their folders, so a view is first made from the
index as last written (one read), then from the records themselves as soon as they have been looked
through; a page never waits longer than :data:`PATIENCE_S` when it has something to show. Nothing
here knows Streamlit, and nothing here writes.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from datasets.storage import Storage, StorageError
from study.index import SCHEMA, load_index, stored_index
from study.records import Progress, StudyRecord
from study.store import StudyStore
from study.table import TrialCounts, count_trials, plan_rows

T = TypeVar("T")

FEW_ROWS = 5_000
"""An index of at most that many rows is checked against the records before it is first shown."""

REST_S = 2.0
"""How long a larger one is shown before the walk over the records begins, which would slow the
first page down."""

PATIENCE_S = 0.3
"""How long a page waits for news when it has an older view to show."""

STALE_AFTER = timedelta(seconds=45)
"""A driver whose heartbeat is older has died or lost its store."""

_EMPTY: pa.Table = SCHEMA.empty_table()
_NOTHING = TrialCounts(0, 0, 0, 0)


@dataclass(frozen=True)
class StudyView:
    """What is known of a study at one moment; all of it from one look at the store.

    Attributes:
        name: Name of the study's folder.
        record: The study's record, or None if it is missing or cannot be read.
        progress: The last heartbeat, or None.
        index: All records, as :data:`study.index.SCHEMA`.
        results: The finished evaluation rows of the study's current plan.
        counts: How far it is.
        problems: What could not be read, one sentence each.
        version: Changes whenever the index or the plan does; caches are keyed by it.
    """

    name: str
    record: StudyRecord | None = None
    progress: Progress | None = None
    index: pa.Table = field(default_factory=lambda: _EMPTY)
    results: pa.Table = field(default_factory=lambda: _EMPTY)
    counts: TrialCounts = _NOTHING
    problems: tuple[str, ...] = ()
    version: str = ""

    @property
    def fits(self) -> pa.Table:
        """The rows of the index that are fits."""
        return self.index.filter(pc.equal(self.index["kind"], "fit"))


def heartbeat_age(progress: Progress, now: datetime | None = None) -> timedelta:
    """How old a heartbeat is; an unreadable time counts as very old."""
    try:
        then = datetime.fromisoformat(progress.updated)
    except ValueError:
        return timedelta.max
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return (now or datetime.now(UTC)) - then


def is_live(progress: Progress | None, now: datetime | None = None) -> bool:
    """Whether a driver is at work on the study."""
    if progress is None or progress.stage in ("done", "interrupted"):
        return False
    return heartbeat_age(progress, now) < STALE_AFTER


@dataclass(frozen=True)
class _Scan:
    """One look at all records."""

    view: StudyView
    marks: tuple[str, ...]
    took_s: float


class StudyReader:
    """Keeps the latest view of one study; safe to share between threads and sessions."""

    def __init__(self, store: Storage, name: str) -> None:
        """Open a study for reading.

        Raises:
            ValueError: If the name is not safe as a folder name.
        """
        self._study = StudyStore.open(store, name)
        self._name = name
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="study-reader")
        self._scan: _Scan | None = None
        self._first: StudyView | None = None
        self._pending: Future[_Scan] | None = None
        self._finished_s = 0.0
        self._number = 0
        self._identity = uuid.uuid4().hex

    @property
    def study(self) -> StudyStore:
        """The study's store."""
        return self._study

    def view(self) -> StudyView:
        """The study as it is now, or as it was a moment ago while a look at it goes on."""
        progress, problem = _attempt(self._study.progress)
        with self._lock:
            new = self._scan is None and self._first is None
        if new:
            first = self._from_stored_index()
            with self._lock:
                self._first = first
        pending = self._look(self._marks(), live=is_live(progress))
        if pending is not None:
            wait_for([pending], timeout=self._patience_s())
            self._take(pending)
        with self._lock:
            base = self._scan.view if self._scan else self._first
        base = base or StudyView(self._name)
        problems = (*base.problems, problem) if problem else base.problems
        running = len(progress.running) if progress is not None and is_live(progress) else 0
        return replace(
            base,
            progress=progress,
            counts=replace(base.counts, running=running),
            problems=problems,
        )

    def _look(self, marks: tuple[str, ...], live: bool) -> Future[_Scan] | None:
        """Begin a look at the records if one is due; the one under way, if any."""
        with self._lock:
            if self._pending is not None:
                return self._pending
            if self._scan is not None:
                rest = (2.0 if live else 10.0) + 10.0 * self._scan.took_s
                changed = marks != self._scan.marks
                if changed:
                    rest = min(rest, 1.0 + 3.0 * self._scan.took_s)
                if time.monotonic() - self._finished_s < rest and not (
                    changed and self._scan.took_s < PATIENCE_S
                ):
                    return None
            rest_s = REST_S if self._scan is None and self._has_many() else 0.0
            self._pending = self._pool.submit(self._read, marks, rest_s)
            return self._pending

    def _has_many(self) -> bool:
        shown = self._scan.view if self._scan else self._first
        return shown is not None and shown.index.num_rows > FEW_ROWS

    def _patience_s(self) -> float | None:
        """How long to wait for a look that is under way; None waits for its end."""
        if self._scan is None and self._first is None:
            return None
        return 0.0 if self._has_many() else PATIENCE_S

    def _take(self, pending: Future[_Scan]) -> None:
        with self._lock:
            if self._pending is not pending or not pending.done():
                return
            self._pending = None
            self._finished_s = time.monotonic()
            self._scan = pending.result()

    def _read(self, marks: tuple[str, ...], rest_s: float) -> _Scan:
        time.sleep(rest_s)
        began = time.monotonic()
        index, problem = _attempt(lambda: load_index(self._study))
        view = self._build(_EMPTY if index is None else index, problem)
        return _Scan(view, marks, time.monotonic() - began)

    def _from_stored_index(self) -> StudyView | None:
        index, _ = _attempt(lambda: stored_index(self._study))
        if index is None or not index.num_rows:
            return None
        return self._build(index, "")

    def _build(self, index: pa.Table, problem: str) -> StudyView:
        before = self._scan.view if self._scan else self._first
        record, record_problem = _attempt(self._study.study)
        problems = [text for text in (record_problem, problem) if text]
        damaged = index.filter(pc.equal(index["kind"], "damaged"))
        problems += [text for text in damaged["failure_message"].to_pylist() if text]
        if (
            before is not None
            and before.record == record
            and before.problems == tuple(problems)
            and before.index.equals(index)
        ):
            return before
        with self._lock:
            self._number += 1
            version = f"{self._identity}-{self._number}"
        if record is None:
            return StudyView(self._name, index=index, problems=tuple(problems), version=version)
        results = plan_rows(record, index)
        return StudyView(
            name=self._name,
            record=record,
            index=index,
            results=results.filter(pc.equal(results["status"], "done")),
            counts=count_trials(record, index),
            problems=tuple(problems),
            version=version,
        )

    def _marks(self) -> tuple[str, ...]:
        """What changes when the study's own files do."""
        storage = self._study.storage
        paths = [storage.full(name) for name in ("study.json", "index.parquet", "progress.json")]
        infos, _ = _attempt(lambda: storage.filesystem.get_file_info(paths))
        return tuple(f"{i.type}:{i.size}:{i.mtime_ns}" for i in infos or ())


def _attempt(read: Callable[[], T]) -> tuple[T | None, str]:
    """A value and no problem, or None and the problem in one sentence."""
    try:
        return read(), ""
    except (StorageError, OSError, ValueError, pa.ArrowException) as error:
        return None, " ".join(str(error).split())
