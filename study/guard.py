"""Limits of one scan, kept inside the worker process that prepares it.

The clock starts when the scan does, however long it waited in a queue. A scan that breaks a limit
cannot be talked to (it may sit in a library's loop, or wait for a program that hangs), so its
whole process ends; before that, word is left of why.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

RAYLET = b"/raylet/raylet"
"""What the command line of Ray's central process on a machine has."""

_TICK_S = 0.1
_GRACE_S = 30.0


@dataclass(frozen=True)
class Limits:
    """What one scan may take.

    Attributes:
        time_s: Wall-clock seconds from its start.
        memory_gib: Private memory of the worker process. Looked at where there is a ``/proc``
            (Linux); elsewhere Ray's own watch over the whole machine remains.
    """

    time_s: float = 900.0
    memory_gib: float = 12.0


@contextmanager
def guarded(limits: Limits, last_word: Callable[[str], None]) -> Iterator[None]:
    """Run a block under limits; breaking one ends this process, and the programs it started.

    Args:
        limits: The limits.
        last_word: Called with the reason, from another thread, before the process ends.
    """
    over = threading.Event()
    lock = threading.Lock()
    watch = threading.Thread(target=_watch, args=(limits, last_word, over, lock), daemon=True)
    # The watching thread needs the interpreter's lock; this ends the process even without it.
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(limits.time_s + _GRACE_S, exit=True, file=nowhere)
        watch.start()
        try:
            yield
        finally:
            with lock:
                over.set()
            faulthandler.cancel_dump_traceback_later()


def private_gib(process: int | None = None) -> float:
    """Memory that only a process holds, by default this one, in GiB; 0 where it cannot be told."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{process or 'self'}/statm").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") / 2**30


def _watch(
    limits: Limits, last_word: Callable[[str], None], over: threading.Event, lock: threading.Lock
) -> None:
    started = time.monotonic()
    while not over.wait(_TICK_S):
        if time.monotonic() - started > limits.time_s:
            reason = f"it took longer than {limits.time_s:g} s"
        elif private_gib() > limits.memory_gib:
            reason = f"it took more than {limits.memory_gib:g} GiB of memory"
        else:
            continue
        with lock:
            if over.is_set():
                return
            try:
                last_word(reason)
            finally:
                _end()


def _end() -> None:
    for child in descendants(os.getpid()):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


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
