"""What a killed driver has left running on this machine, found by what it has inherited.

Ray's processes watch each other and end with their driver, but not all of them in time: some
agents that are just starting up when the driver is killed stay for good. So the next command ends
them. Where there is no ``/proc`` (it is Linux's), nothing is found.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from study.guard import command_line, is_running

_NAME = "ANOMALY_STUDY_DRIVER"
_WAIT_S, _LOOK_S = 5.0, 0.02


def mark_children() -> None:
    """Let all processes that this one starts from now on say whose they are."""
    os.environ[_NAME] = _identity(os.getpid())


def end_orphans() -> None:
    """End Ray's processes on this machine whose driver is dead."""
    orphans = [int(f.name) for f in Path("/proc").glob("[0-9]*") if _is_orphan(f)]
    for process in orphans:
        _kill(process)
    see_off(orphans)


def see_off(processes: Iterable[int]) -> None:
    """Wait for processes to end, some of which take a second; then end them."""
    left = list(processes)
    for _ in range(int(_WAIT_S / _LOOK_S)):
        left = [process for process in left if is_running(process)]
        if not left:
            return
        time.sleep(_LOOK_S)
    for process in left:
        _kill(process)


def _kill(process: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)


def _is_orphan(folder: Path) -> bool:
    """Whether a process is Ray's, and was started by a driver that lives no more."""
    try:
        variables = (folder / "environ").read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or of another user
        return False
    prefix = f"{_NAME}=".encode()
    driver = next((v.removeprefix(prefix).decode() for v in variables if v.startswith(prefix)), "")
    pid = driver.partition("-")[0]
    if not pid.isdecimal() or _identity(int(pid)) == driver:
        return False
    line = command_line(int(folder.name))
    return line.startswith(b"ray::") or b"/ray/" in line


def _identity(process: int) -> str:
    """A process's number and when it began, since numbers are given again."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{process}-{fields[19]}" if fields[0] not in "ZX" else ""
