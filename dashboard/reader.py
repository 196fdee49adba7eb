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
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from datasets.storage import Storage, StorageError
from study.plan.done import TrialCounts, count_trials, plan_rows
from study.progress.liveness import Watch
from study.records.heartbeats import Progress
from study.records.index import SCHEMA, load_index, stored_index
from study.records.problems import Problems
from study.records.studies import StudyStore
from study.records.types import StudyRecord

T = TypeVar("T")

PATIENCE_S = 0.3
"""How long a page waits for news when it has an older view to show."""

FEW_ROWS = 5_000
"""An index of at most that many rows is checked against the records whenever a page is drawn. A
larger one is believed, since it is written by the driver, and checked now and then."""

FIRST_CHECK_S, LATER_CHECKS_S = 15.0, 60.0
"""When a large index is checked: not at once, which would slow the first pages down."""

_EMPTY: pa.Table = SCHEMA.empty_table()
_NOTHING = TrialCounts(0, 0, 0, 0)


@dataclass(frozen=True)
class StudyView:
    """What is known of a study at one moment; all of it from one look at the store.

    Attributes:
        name: Name of the study's folder.
        record: The study's record, or None if it is missing or cannot be read.
        progress: The last heartbeat, or None.
        index: All records, as :data:`study.records.index.SCHEMA`.
        results: The finished evaluation rows of the study's current plan.
        counts: How far it is.
        problems: What could not be read, one sentence each.
        live: Whether its driver is at work.
        version: Changes whenever the index or the plan does; caches are keyed by it.
    """

    name: str
    record: StudyRecord | None = None
    progress: Progress | None = None
    index: pa.Table = field(default_factory=lambda: _EMPTY)
    results: pa.Table = field(default_factory=lambda: _EMPTY)
    counts: TrialCounts = _NOTHING
    problems: tuple[str, ...] = ()
    live: bool = False
    version: str = ""

    @property
    def fits(self) -> pa.Table:
        """The rows of the index that are fits."""
        return self.index.filter(pc.equal(self.index["kind"], "fit"))


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
        self._watch = Watch()
        self._view: StudyView | None = None
        self._view_marks: tuple[str, ...] = ()
        self._record: tuple[tuple[str, ...], StudyRecord | None, str] | None = None
        self._walk: Future[StudyView] | None = None
        self._walk_marks: tuple[str, ...] = ()
        self._walk_began_s = self._walk_took_s = 0.0
        self._walk_ended_s = time.monotonic() + FIRST_CHECK_S - LATER_CHECKS_S

    @property
    def study(self) -> StudyStore:
        """The study's store."""
        return self._study

    def view(self) -> StudyView:
        """The study as it is now, or as it was a moment ago while a look at it goes on."""
        progress, problem = _attempt(self._study.progress)
        marks = self._marks()
        with self._lock:
            live = self._watch.look(progress, time.monotonic())
            if marks[:2] != self._view_marks:
                self._view_marks = marks[:2]
                written = self._from_stored_index()
                if written is not None and (self._view is None or _is_large(written)):
                    self._view = written
            walk = self._begin_walk(marks, live=live)
        if walk is not None:
            wait_for([walk], timeout=self._patience_s())
            self._take(walk)
        base = self._view or StudyView(self._name)
        running = len(progress.running) if progress is not None and live else 0
        return replace(
            base,
            progress=progress,
            live=live,
            counts=replace(base.counts, running=running),
            problems=(*base.problems, problem) if problem else base.problems,
        )

    def _begin_walk(self, marks: tuple[str, ...], *, live: bool) -> Future[StudyView] | None:
        """Begin to look through the records if that is due; the walk under way, if any."""
        if self._walk is None:
            age_s = time.monotonic() - self._walk_ended_s
            if self._view is not None and _is_large(self._view):
                due = age_s > (5.0 + 10.0 * self._walk_took_s if live else LATER_CHECKS_S)
            else:
                due = marks != self._walk_marks or age_s > (2.0 if live else 10.0)
            if due:
                self._walk_marks = marks
                self._walk_began_s = time.monotonic()
                self._walk = self._pool.submit(self._from_records)
        return self._walk

    def _patience_s(self) -> float | None:
        """How long to wait for a walk that is under way; None waits for its end."""
        if self._view is None:
            return None
        return 0.0 if _is_large(self._view) else PATIENCE_S

    def _take(self, walk: Future[StudyView]) -> None:
        with self._lock:
            if self._walk is walk and walk.done():
                self._walk = None
                self._walk_ended_s = time.monotonic()
                self._walk_took_s = self._walk_ended_s - self._walk_began_s
                self._view = walk.result()

    def _from_records(self) -> StudyView:
        index, problem = _attempt(lambda: load_index(self._study))
        return self._build(_EMPTY if index is None else index, problem)

    def _from_stored_index(self) -> StudyView | None:
        index, _ = _attempt(lambda: stored_index(self._study))
        if index is None or not index.num_rows:
            return None
        return self._build(index, "")

    def _build(self, index: pa.Table, problem: str) -> StudyView:
        before = self._view
        record, record_problem = self._read_record()
        problems = [text for text in (record_problem, problem) if text]
        problems += Problems.of(index).messages
        if (
            before is not None
            and before.record is record
            and before.problems == tuple(problems)
            and before.index.equals(index)
        ):
            return before
        version = uuid.uuid4().hex
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

    def _read_record(self) -> tuple[StudyRecord | None, str]:
        """The study's record; a long one takes a while, so only when its file has changed."""
        mark = self._marks()[:1]
        if self._record is None or self._record[0] != mark:
            self._record = (mark, *_attempt(self._study.study))
        return self._record[1:]

    def _marks(self) -> tuple[str, ...]:
        """What changes when the study's own files do."""
        storage = self._study.storage
        paths = [storage.full(name) for name in ("study.json", "index.parquet", "progress.json")]
        infos, _ = _attempt(lambda: storage.filesystem.get_file_info(paths))
        return tuple(f"{i.type}:{i.size}:{i.mtime_ns}" for i in infos or ())


def _is_large(view: StudyView) -> bool:
    return bool(view.index.num_rows > FEW_ROWS)


def _attempt(read: Callable[[], T]) -> tuple[T | None, str]:
    """A value and no problem, or None and the problem in one sentence."""
    try:
        return read(), ""
    except (StorageError, OSError, ValueError, pa.ArrowException) as error:
        return None, " ".join(str(error).split())
