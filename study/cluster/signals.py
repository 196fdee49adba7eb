"""Signals that come while Ray starts or ends, of which neither bears an exception in its middle.

Both set up threads of native code. An interrupt that is raised there leaves some of them at work,
and the process then dies of a segmentation fault at its end.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_PUT_HANDLERS = "_ZN3ray6RayLog27InstallFailureSignalHandlerEPKcb"
"""``ray::RayLog::InstallFailureSignalHandler(const char*, bool)``."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_held() -> Iterator[list[int]]:
    """Note the signals that end a command while it is in here, and act upon them right after.

    A second SIGINT or SIGTERM ends the process at once. Only the main thread is ever interrupted;
    in others nothing is done. Ray's own handlers of SIGTERM are left out.

    Yields:
        The signals that have come so far.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    _load_native_handlers()
    before = {int(number): signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        # What is ignored stays so, and what ends the process at once does.
        signal.signal(number, note if callable(handler) else handler)
    try:
        with _rays_handler_left_out():
            yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in noted[:1]:
            signal.raise_signal(number)


def _load_native_handlers() -> None:
    """Let Ray's native code put its handlers now, which it does once in a process.

    It would put them in the middle of its start. That of SIGTERM writes a stack to standard error
    and ends the process within 3 s, whatever else is to be done. Those of Python are put over it.
    """
    import ray

    library = ctypes.CDLL(ray._raylet.__file__)
    with suppress(AttributeError):  # another version, which may call it otherwise
        library[_PUT_HANDLERS](None, ctypes.c_bool(False))


@contextmanager
def _rays_handler_left_out() -> Iterator[None]:
    from ray._private import utils

    theirs = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs
