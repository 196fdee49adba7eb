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
