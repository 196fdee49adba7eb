"""Standard output and error as they may be: closed, full, or with nobody who reads them.

Nothing heavy may be imported here: commands call this before they load anything else.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


class OutputError(OSError):
    """What a command prints cannot be written: nobody reads it any more, or a disk is full."""


class _Output(io.RawIOBase):
    """What is written to a descriptor.

    Args:
        descriptor: 1 or 2.
        may_be_lost: Whether it is no fault if what is written reaches nobody.
    """

    def __init__(self, descriptor: int, *, may_be_lost: bool) -> None:
        self._raw = io.FileIO(descriptor, "w", closefd=False)
        self.may_be_lost = may_be_lost

    def writable(self) -> bool:
        """Whether one can write to it."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._raw.isatty()

    def write(self, data: Any, /) -> int | None:
        """Write bytes; returns how many.

        Raises:
            OutputError: If they cannot be written and may not be lost.
        """
        try:
            return self._raw.write(data)
        except OSError as error:
            if not self.may_be_lost:
                raise OutputError(error.errno, error.strerror) from error
            return memoryview(data).nbytes


def open_outputs() -> None:
    """Make standard output and error usable whatever the shell has done with them.

    A descriptor that is closed is opened on nothing: else the next file that is opened, such as a
    record, would be what every process below prints into. What goes to standard error may be lost.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - stays open
    sys.stdout = _stream(sys.stdout, 1, may_be_lost=False)
    sys.stderr = _stream(sys.stderr, 2, may_be_lost=True)


def go_on_without_reader() -> None:
    """From now on, what is printed may be lost: the work goes on, and its result lies elsewhere."""
    raw = _raw(sys.stdout)
    if isinstance(raw, _Output):
        raw.may_be_lost = True


def _stream(before: TextIO | None, descriptor: int, *, may_be_lost: bool) -> TextIO:
    """The stream that takes a stream's place; a stream that is no file stays as it is."""
    if before is not None and not isinstance(_raw(before), io.FileIO):
        return before
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, may_be_lost=may_be_lost)),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=getattr(before, "line_buffering", True),
        write_through=getattr(before, "write_through", False),
    )


def _raw(stream: TextIO | None) -> object:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)
