"""Memory that is wanted again soon after it is freed, kept in a worker process.

glibc hands large blocks to the kernel the moment they are freed, and gets them back page by page,
each cleared anew: a third of the time of a network that makes large images. So workers keep what
they free, and hand it back after each piece of work, so that little is held between two. Other C
libraries than glibc are left as they are.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_MOST = 2**31 - 1
_MOST_OF_OLD_VERSIONS = 32 * 2**20


def keep_freed() -> None:
    """From now on, keep what this process frees until :func:`release`."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_TRIM_THRESHOLD, _MOST)
        # Larger blocks than this are mapped, and unmapped when they are freed.
        libc.mallopt(_MMAP_THRESHOLD, _MOST) or libc.mallopt(_MMAP_THRESHOLD, _MOST_OF_OLD_VERSIONS)


def release() -> None:
    """Give the kernel what this process has freed."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@lru_cache(maxsize=1)
def _glibc() -> Any:
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
