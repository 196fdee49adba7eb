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
from contextlib import contextmanager
from dataclasses import dataclass

from study.cluster.processes import descendants, kill, private_gib

_TICK_S = 0.1
_GRACE_S = 30.0


@dataclass(frozen=True)
class Limits:
    """What one scan may take.

    Attributes:
        time_s: Wall-clock seconds from its start.
        memory_gib: Private memory of the worker process.
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
    kill(descendants(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)
