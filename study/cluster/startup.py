"""Why Ray has not started, in a sentence: what it raised, and what its processes have logged."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

_LOGS = "session_latest/logs"
_MOST_BYTES = 200_000
_LONGEST = 300

_FATAL = re.compile(r"^\[.* [CF] \d+ \d+\] (?:\([^)]*\) )?\S+:\d+: +(?P<words>.+)$")
"""A line with which a process of Ray ends itself."""

_RAISED = re.compile(r"^(?P<words>[\w.]*(?:Error|Exception|Interrupt): .+)$")
"""The last line of a traceback."""

_EMPTY = re.compile(r"An unexpected system state has occurred\..*?fix it\. |Check failed: ")
"""What Ray says before what it means."""


def why_not_started(error: Exception, folder: Path) -> str:
    """A sentence for the user.

    Args:
        error: What Ray has raised.
        folder: Ray's folder, in which its processes have their logs.
    """
    said = _first_line(str(error)) or type(error).__name__
    logged = fault_in_logs(folder)
    words = f"{said}; its log says: {logged}" if logged else said
    return f"Ray cannot start on this machine: {words}"


def fault_in_logs(folder: Path) -> str:
    """The first thing for which a process of Ray has ended itself; empty if none says."""
    for pattern in (_FATAL, _RAISED):
        for path in sorted((folder / _LOGS).glob("*")):
            for line in _lines(path):
                found = pattern.match(line)
                words = _first_line(_EMPTY.sub("", found["words"])) if found else ""
                if words:
                    return words
    return ""


def _lines(path: Path) -> list[str]:
    with suppress(OSError), path.open("rb") as stream:
        return stream.read(_MOST_BYTES).decode(errors="replace").splitlines()
    return []


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line[:_LONGEST].rstrip(" .")
