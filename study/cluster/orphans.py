"""What a killed driver leaves running on this machine: agents of Ray without their raylet.

Ray's processes watch each other and end with their driver, but its agents do not all see it when
they are just starting up, and then stay for good. An agent whose parent is no raylet serves
nobody, so the next command ends it.
"""

from __future__ import annotations

import psutil

from study.cluster.processes import RAYLET, command_line, kill, own_processes, terminate

_AGENTS = (
    "ray::DashboardAgent",
    "ray::RuntimeEnvAgent",
    "/ray/dashboard/agent.py",
    "/ray/_private/runtime_env/agent/main.py",
)


def end_orphans() -> None:
    """End the agents on this machine whose raylet has died."""
    orphans = [process.pid for process in own_processes() if _is_orphan(process)]
    kill(orphans)
    terminate(orphans)


def _is_orphan(process: psutil.Process) -> bool:
    line = command_line(process.pid)
    # the raylet's own command line names its agents' programs too
    if RAYLET in line or not any(name in line for name in _AGENTS):
        return False
    try:
        parent = process.ppid()
    except psutil.Error:
        return False
    return RAYLET not in command_line(parent)
