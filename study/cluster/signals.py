"""Signals that come while Ray starts or ends, of which neither bears an exception in its middle.

Both set up threads of native code. An interrupt that is raised there leaves some of them at work,
and the process then dies of a segmentation fault at its end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_held() -> Iterator[list[int]]:
    """Note the signals that end a command while it is in here, and act upon them right after.

    A second SIGINT or SIGTERM ends the process at once. Only the main thread is ever interrupted;
    in others nothing is done. Ray's own handler of SIGTERM, which would raise, is left out.

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

    before = {int(number): signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if callable(handler):  # else it is ignored, or ends the process at once
            signal.signal(number, note)
    try:
        with _rays_handler_left_out():
            yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # Ray's native code has put one of its own there
        for number in noted[:1]:
            signal.raise_signal(number)


@contextmanager
def _rays_handler_left_out() -> Iterator[None]:
    from ray._private import utils

    theirs = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs
