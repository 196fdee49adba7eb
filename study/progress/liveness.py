"""Whether a driver is at work, as its heartbeat tells: one answer for all commands and pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from study.records.heartbeats import Progress

STALE_AFTER = timedelta(seconds=45)
"""A driver whose heartbeat is older has died or lost its store; it beats every two seconds."""


def heartbeat_age(progress: Progress, now: datetime | None = None) -> timedelta:
    """How old a heartbeat is; below 0 if it comes from the future."""
    return (now or datetime.now(UTC)) - datetime.fromisoformat(progress.updated)


def is_alive(progress: Progress | None, now: datetime | None = None) -> bool:
    """Whether a heartbeat is that of a driver at work.

    One from the future, left by a clock that was wrong, is as dead as an old one.

    Args:
        progress: The heartbeat, or None if there is none.
        now: The time; by default the present.
    """
    if progress is None or progress.has_ended:
        return False
    return abs(heartbeat_age(progress, now)) < STALE_AFTER


class Watch:
    """Whether a heartbeat goes on, as this process's own clock sees it; one study's.

    At the first look its time stamp is all there is. From the first change on, the driver's clock
    does not matter, which may be wrong by hours or be set back. Not for sharing between threads.
    """

    def __init__(self) -> None:
        self._mark: tuple[str, str] | None = None
        self._changed_s: float | None = None

    def look(self, progress: Progress | None, now_s: float) -> bool:
        """Whether a driver is at work.

        Args:
            progress: Its heartbeat as it is now, or None if there is none.
            now_s: A monotonic time in seconds.
        """
        if progress is None or progress.has_ended:
            return False
        mark = (progress.driver, progress.updated)
        if self._mark is not None and mark != self._mark:
            self._changed_s = now_s
        self._mark = mark
        if self._changed_s is None:
            return is_alive(progress)
        return now_s - self._changed_s < STALE_AFTER.total_seconds()
