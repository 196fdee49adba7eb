"""Processes of this machine, as Linux tells of them in ``/proc``."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

RAYLET = b"/raylet/raylet"
"""What the command line of Ray's central process on a machine has."""


def private_gib(process: int | None = None) -> float:
    """Memory that only a process holds, by default this one, in GiB; 0 where it cannot be told."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{process or 'self'}/statm").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") / 2**30


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie; false where there is no ``/proc``."""
    with suppress(OSError, IndexError):
        state = (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


def command_line(process: int) -> bytes:
    """What a process was started with; empty where it cannot be told."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""


def parents() -> dict[int, int]:
    """Each process of this machine and its parent; empty where there is no ``/proc``."""
    found: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # The name in brackets may hold anything, so what follows its last bracket counts.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            found[int(folder.name)] = int(fields[1])
    return found


def descendants(parent: int) -> list[int]:
    """Processes below a process, at any depth; none where there is no ``/proc``."""
    above = parents()
    found = [parent]
    for process in found:
        found += sorted(child for child, its in above.items() if its == process)
    return found[1:]


def process_identity(process: int) -> str:
    """A process's number and when it began, since numbers are given again; empty if it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{process}-{fields[19]}" if fields[0] not in "ZX" else ""
