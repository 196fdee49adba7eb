"""Who runs a study: a driver's heartbeat, and what the next driver makes of it.

This is advice, no lock: object stores have none. Two drivers that run side by side all the same
do some work twice and harm nothing, since records are whole and the same whoever writes them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from datasets.storage import DamagedFileError, StorageError
from study.cluster.processes import process_identity, process_space
from study.errors import TakenOverError, UsageError
from study.progress.liveness import STALE_AFTER, heartbeat_age
from study.progress.tracker import Tracker
from study.records.heartbeats import Progress
from study.records.studies import StudyStore

BEAT_S = 2.0

_LOOK_S = 0.5

_SHORTEST_WATCH_S = 6.0
"""How long a heartbeat of elsewhere is watched even if it seems to be old: clocks differ."""


def last_progress(study: StudyStore) -> Progress | None:
    """The last heartbeat of a study's latest driver; a damaged one counts as none.

    Raises:
        StorageError: If it cannot be read, or is of a newer version.
    """
    try:
        return study.progress()
    except DamagedFileError:
        return None


def holder(study: StudyStore, say: Callable[[str], None] | None = None) -> Progress | None:
    """The driver that is running a study, or None.

    A process number means something only where it was given. The heartbeat of a driver of
    elsewhere, another machine or another container of this one, is watched for as long as a living
    driver may be silent; that takes up to 45 seconds.

    Args:
        study: The study.
        say: Told that one has to wait.

    Raises:
        StorageError: If its heartbeat cannot be read.
    """
    progress = last_progress(study)
    if progress is None or progress.has_ended:
        return None
    if progress.space == process_space():
        return progress if is_there(progress) else None
    return progress if _beats(study, progress, say) else None


def check_free(study: StudyStore, say: Callable[[str], None] | None = None) -> None:
    """Refuse to run beside another driver of the same study.

    Args:
        study: The study.
        say: Told that one has to wait.

    Raises:
        UsageError: If another driver is running it.
        StorageError: If its heartbeat cannot be read.
    """
    other = holder(study, say)
    if other is not None:
        raise UsageError(
            f"study {study.name!r} is being run by process {other.pid} on {other.host} since "
            f"{other.started}; wait for it, stop it, or add --take-over, which makes it stop"
        )


class Heartbeat:
    """Tells others every two seconds how far a driver is, from :meth:`begin` on; a context manager.

    A thread of its own beats, so that work that takes long is not taken for a dead driver. A
    heartbeat that cannot be written stops nothing.

    Attributes:
        fault: Why the last heartbeat could not be written; empty if it could.
    """

    def __init__(self, study: StudyStore, tracker: Tracker) -> None:
        self.fault = ""
        self._study = study
        self._tracker = tracker
        self._successor: Progress | None = None
        self._has_begun = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        return self

    def begin(self) -> None:
        """Begin, if it has not begun: before, a run that is refused leaves no trace."""
        if not self._has_begun:
            self._has_begun = True
            self._beat()
            self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._has_begun:
            return
        self._over.set()
        self._thread.join()
        if self._successor is None:
            self._beat()

    def check(self) -> None:
        """Find out whether this driver is still to run the study.

        Raises:
            TakenOverError: If another one has taken over.
        """
        other = self._successor
        if other is not None:
            raise TakenOverError(
                f"study {self._study.name!r} was taken over by process {other.pid} on "
                f"{other.host}; this one has stopped, and every finished epoch is kept"
            )

    def _run(self) -> None:
        while not self._over.wait(BEAT_S):
            other = self._latest()
            if other is not None and self._has_to_yield(other):
                self._successor = other
                return
            self._beat()

    def _latest(self) -> Progress | None:
        try:
            return last_progress(self._study)
        except StorageError:
            return None  # writing will fail as well, and say why

    def is_owner(self) -> bool:
        """Whether no other driver has written a heartbeat since this one's last."""
        other = self._latest()
        return other is not None and other.driver == self._tracker.driver

    def _has_to_yield(self, other: Progress) -> bool:
        mine = self._tracker
        if mine.driver in other.took_over:
            return True
        if other.driver == mine.driver or other.driver in mine.took_over or other.has_ended:
            return False
        # Without a take-over both have begun at the same moment: one of them has to give way.
        return other.driver < mine.driver

    def _beat(self) -> None:
        try:
            self._study.write_progress(self._tracker.heartbeat(time.monotonic()))
        except StorageError as error:
            self.fault = str(error)
        else:
            self.fault = ""


def _beats(study: StudyStore, progress: Progress, say: Callable[[str], None] | None = None) -> bool:
    """Whether a heartbeat is renewed while one looks, by this process's own clock."""
    age_s = heartbeat_age(progress).total_seconds()
    longest = STALE_AFTER.total_seconds()
    # What its time stamp says is believed as far as it only shortens the wait.
    watch_s = max(_SHORTEST_WATCH_S, longest - age_s if age_s > 0 else longest)
    if say is not None:
        say(
            f"Process {progress.pid} on {progress.host} was running study {study.name!r}; "
            f"waiting up to {watch_s:.0f} s to see whether it still does."
        )
    end = time.monotonic() + watch_s
    while time.monotonic() < end:
        time.sleep(_LOOK_S)
        now = last_progress(study)
        if now is not None and (now.driver, now.updated) != (progress.driver, progress.updated):
            return not now.has_ended
    return False


def is_there(progress: Progress) -> bool:
    """Whether the driver of a heartbeat lives, at work or suspended; True where it can't be told.

    Only where its process number means anything here can that be told.
    """
    if progress.space != process_space():
        return True
    return process_identity(progress.pid) == progress.process
