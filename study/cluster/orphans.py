"""What a killed driver leaves running on this machine: agents of Ray without their raylet.

Ray's processes watch each other and end with their driver, but its agents do not all see it when
they are just starting up, and then stay for good. An agent whose parent is no raylet serves
nobody, so the next command ends it. Where there is no ``/proc`` (it is Linux's), nothing is found.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from study.cluster.processes import RAYLET, command_line, is_running, parents

_AGENTS = (
    b"ray::DashboardAgent",
    b"ray::RuntimeEnvAgent",
    b"/ray/dashboard/agent.py",
    b"/ray/_private/runtime_env/agent/main.py",
)
_WAIT_S, _LOOK_S = 5.0, 0.02


def end_orphans() -> None:
    """End the agents on this machine whose raylet has died."""
    orphans = [child for child, parent in parents().items() if _is_orphan(child, parent)]
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


def _is_orphan(process: int, parent: int) -> bool:
    line = command_line(process)
    # the raylet's own command line names its agents' programs too
    is_agent = RAYLET not in line and any(name in line for name in _AGENTS)
    owner = Path(f"/proc/{process}")
    try:
        is_mine = owner.stat().st_uid == os.getuid()
    except OSError:
        return False
    return is_agent and is_mine and RAYLET not in command_line(parent)
