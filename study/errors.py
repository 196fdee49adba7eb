"""What commands and wings raise for each other, and the exit statuses of the commands."""

from __future__ import annotations

from datasets.storage import DamagedFileError

EXIT_BROKE = 1
"""A command could not do what it is for, or what it looks at is damaged."""

EXIT_USAGE = 2
"""A wrong option, path, file or address: nothing was begun."""

EXIT_SOME_FAILED = 3
"""A command has done all there is to do, and some trials or scans failed, which is recorded."""

EXIT_INTERRUPTED = 130
"""Ctrl-C, SIGTERM, a terminal that was closed, or a job that was stopped."""


class UsageError(ValueError):
    """A wrong option, path or file; the message is one sentence for the user."""


class CohortsError(ValueError):
    """A cohorts file that cannot be used; the message is one sentence for the user."""


class PlanError(ValueError):
    """A study that cannot be planned; the message says what is missing."""


class PreparationError(RuntimeError):
    """Scans that cannot be prepared for a reason that lies not in them."""


class TakenOverError(RuntimeError):
    """Another process has taken this study over; this one has to stop."""


class DamagedError(DamagedFileError):
    """A record or part that is not what was written: it may be made again, and nothing is lost."""


class ForeignError(DamagedError):
    """A record that belongs to another place: a copy, a backup, or one that was exchanged."""
