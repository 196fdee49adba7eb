"""Limits of this shell with which Ray hangs while it starts, told before it does."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

import psutil

ADDRESSES_GIB = 7.0
"""Of each process: a worker that has loaded torch reserves 6.1 GiB, most of it never touched."""

THREADS, THREADS_A_WORKER = 250, 25
"""Of Ray's own processes while they start, and of each worker."""

FILES, FILES_A_WORKER = 128, 8
"""Open in Ray's central process."""

FILE_GIB = 1.0
"""Of one file: Ray's memory of objects is one, and so is each of its logs."""


def check_limits(n_workers: int) -> None:
    """Refuse to start Ray where it could only hang.

    Args:
        n_workers: How many worker processes it will have.

    Raises:
        ConnectionError: If a limit is too low; the message says which, and how to raise it.
    """
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= addresses < ADDRESSES_GIB * 2**30:
        raise ConnectionError(
            f"Ray cannot start: a process may have {addresses / 2**30:.1f} GiB of addresses here, "
            f"and its own have {ADDRESSES_GIB:g}; raise the limit with: ulimit -v unlimited"
        )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES + FILES_A_WORKER * n_workers
    if 0 <= most < needed:  # Ray raises the softer limit itself
        raise ConnectionError(
            f"Ray cannot start: a process may open {most} files here, and with {n_workers} workers "
            f"its own open {needed}; raise the limit with: ulimit -n {needed}"
        )
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if 0 <= size < FILE_GIB * 2**30:  # the kernel ends whoever writes more
        raise ConnectionError(
            f"Ray cannot start: a file may have {size / 2**30:.1f} GiB here, and its memory of "
            f"objects is one of {FILE_GIB:g}; raise the limit with: ulimit -f unlimited"
        )
    threads, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    needed = THREADS + THREADS_A_WORKER * n_workers
    if os.geteuid() == 0 or threads < 0:
        return  # root is not held to it
    used = _threads_of_this_user() if threads < 2**16 else 0
    if threads < used + needed:
        raise ConnectionError(
            f"Ray cannot start: this user may have {threads} threads and has {used}, and with "
            f"{n_workers} workers Ray has {needed}; raise the limit with: "
            f"ulimit -u {used + needed}"
        )


def _threads_of_this_user() -> int:
    user, count = os.getuid(), 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real == user:
                count += process.num_threads()
    return count
