"""Processes of this machine: which there are, what they hold, and how they are ended."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

RAYLET = "/raylet/raylet"
"""What the command line of Ray's central process on a machine has."""

_WAIT_S = 5.0


def private_gib(process: int | None = None) -> float:
    """Memory that only a process holds, by default this one, in GiB; 0 where it cannot be told."""
    try:
        memory = psutil.Process(process).memory_info()
    except psutil.Error:
        return 0.0
    return float(memory.rss - getattr(memory, "shared", 0)) / 2**30


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        status = psutil.Process(process).status()
    except psutil.Error:
        return False
    return status not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def command_line(process: int) -> str:
    """What a process was started with; empty where it cannot be told."""
    try:
        return " ".join(psutil.Process(process).cmdline())
    except psutil.Error:
        return ""


def descendants(parent: int) -> list[int]:
    """Processes below a process, at any depth."""
    try:
        return [child.pid for child in psutil.Process(parent).children(recursive=True)]
    except psutil.Error:
        return []


def kill(processes: Iterable[int]) -> None:
    """End processes at once; those of others and those that are gone are left."""
    for process in processes:
        with suppress(psutil.Error):
            psutil.Process(process).kill()


def terminate(processes: Iterable[int]) -> None:
    """Wait for processes to end, some of which take a second; then end them."""
    waiting = []
    for process in processes:
        with suppress(psutil.Error):
            waiting.append(psutil.Process(process))
    _, left = psutil.wait_procs(waiting, timeout=_WAIT_S)
    kill(process.pid for process in left)


def process_identity(process: int) -> str:
    """A process's number and when it began, since numbers are given again; empty if it is gone.

    Linux counts from its start, so that a clock that is set changes nothing.
    """
    if not is_running(process):
        return ""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return f"{process}-{fields[19]}"
    except OSError:
        pass
    try:
        return f"{process}-{psutil.Process(process).create_time():.2f}"
    except psutil.Error:
        return ""


def process_space() -> str:
    """Where the number of a process means the same one: this start of this system, its namespace.

    Containers have the same host name and count their processes on their own; a system that was
    started again gives all numbers anew.
    """
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{start}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # no Linux: no namespaces
        return f"{socket.gethostname()}:{uuid.getnode():x}:{psutil.boot_time():.0f}"


def user_of(process: psutil.Process) -> int | None:
    """The number of the user whose process it is, where that can be told."""
    with suppress(psutil.Error, AttributeError):
        return int(process.uids().real)
    return None


def own_processes() -> list[psutil.Process]:
    """All processes of this user."""
    return [p for p in psutil.process_iter() if user_of(p) == os.getuid()]
