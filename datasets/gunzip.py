"""Unpacking gzip files as a stream, at a cost that the file's size bounds.

Python's own reader takes a header apart byte by byte, so that a name of 60 MB in it costs minutes;
zlib does it in no time. Otherwise it reads the same: several members one after the other, and
checksums are compared. What follows the last member and is none is left aside, as gzip does with a
warning: whoever reads can ask for it.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import BinaryIO

_BLOCK = 1 << 16
_MAGIC = b"\x1f\x8b\x08"
"""Of gzip's header, and its only method: two bytes alone may begin a tail of noise."""
_WITH_GZIP_HEADER = 31
_MAX_MEMBERS = 100_000
"""Packers that work in blocks make one of at least 16 KiB each, and a volume has 2 GiB at most."""


class Unpacked(io.RawIOBase):
    """What a gzip file holds, as a stream; it owns the file below and closes it.

    Attributes:
        has_tail: Whether something that is no part of it follows its end; known when that is
            reached.
    """

    def __init__(self, packed: BinaryIO) -> None:
        super().__init__()
        self.has_tail = False
        self._packed = packed
        self._waiting = b""
        self._members = 0
        self._member = zlib.decompressobj(_WITH_GZIP_HEADER)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer, at least in part unless the end is reached.

        Raises:
            EOFError: If the file ends within a member.
            zlib.error: If it is damaged.
            gzip.BadGzipFile: If it has more members than are read.
        """
        view = memoryview(buffer)  # type: ignore[arg-type]
        while True:
            data = self._more(len(view))
            if data is None:
                return 0
            if data:
                view[: len(data)] = data
                return len(data)

    def _more(self, most: int) -> bytes | None:
        """What the next bytes of the file unpack to; None at its end."""
        if self._member.eof and not self._next_member():
            return None
        packed = self._member.unconsumed_tail or self._take()
        if not packed:
            raise EOFError("it ends before its end-of-stream mark")
        return self._member.decompress(packed, most)

    def _next_member(self) -> bool:
        """Begin the member that follows, if there is one."""
        left = self._member.unused_data
        self._waiting = left.lstrip(b"\0")
        padded = len(left) > len(self._waiting)
        while len(self._waiting) < len(_MAGIC):
            block = self._packed.read(_BLOCK)
            if not block:
                break
            left = self._waiting + block
            self._waiting = left.lstrip(b"\0")
            padded = padded or len(left) > len(self._waiting)
        if self._waiting[: len(_MAGIC)] != _MAGIC:
            self.has_tail = padded or bool(self._waiting)
            return False
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise gzip.BadGzipFile(f"it has more than {_MAX_MEMBERS:,} members")
        self._member = zlib.decompressobj(_WITH_GZIP_HEADER)
        return True

    def _take(self) -> bytes:
        waiting, self._waiting = self._waiting, b""
        return waiting or self._packed.read(_BLOCK)

    def close(self) -> None:
        """Close it and the file below."""
        self._packed.close()
        super().close()


def unpack(packed: BinaryIO) -> BinaryIO:
    """What an open gzip file holds; closing it closes the file."""
    return io.BufferedReader(Unpacked(packed), _BLOCK)


def has_tail(stream: BinaryIO) -> bool:
    """Whether something that is no part of it follows a gzip file that was read to its end."""
    raw = getattr(stream, "raw", None)
    return isinstance(raw, Unpacked) and raw.has_tail
