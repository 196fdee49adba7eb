"""Files that people name or that lie in their folders: regular ones only, never waiting.

Opening a named pipe waits for a writer for ever, ``/dev/zero`` never ends, and opening some devices
does something. Whatever the product reads of a user's own goes through here.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20
_KINDS = (
    (stat.S_ISDIR, "a folder, not a file"),
    (stat.S_ISFIFO, "a named pipe, not a regular file"),
    (stat.S_ISSOCK, "a socket, not a regular file"),
    (stat.S_ISCHR, "a device, not a regular file"),
    (stat.S_ISBLK, "a device, not a regular file"),
)


class RefusedFileError(OSError):
    """A file that is not opened, or not read whole; the message is a sentence that names it."""

    def __str__(self) -> str:
        return str(self.strerror)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading, without ever waiting for anybody.

    Raises:
        RefusedFileError: If it is something else, or its name cannot be one of a file.
        OSError: If it does not exist or cannot be opened.
    """
    try:
        _check_kind(os.stat(path).st_mode, path)  # looking at a pipe or a device does nothing to it
        flags = ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
        number = os.open(path, os.O_RDONLY | sum(getattr(os, flag, 0) for flag in flags))
    except ValueError as error:  # a NUL, or half a character
        raise _refused(errno.EINVAL, f"{str(path)!r} cannot be the name of a file", path) from error
    try:
        _check_kind(os.fstat(number).st_mode, path)  # it may have been replaced in between
    except OSError:
        os.close(number)
        raise
    return os.fdopen(number, "rb")


def read_regular(path: str | Path, limit: int | None = None) -> bytes:
    """Read a whole regular file, or a link to one.

    Args:
        path: The file.
        limit: How many bytes it may have, if there is a limit; no more than that is read.

    Raises:
        RefusedFileError: If it is no regular file, larger than the limit, or its name cannot be
            one of a file.
        OSError: If it does not exist or cannot be read.
    """
    with open_regular(path) as stream:
        if limit is None:
            return stream.read()
        size = os.fstat(stream.fileno()).st_size
        data = bytearray()
        # The size may be wrong: files of /proc say 0, and others grow.
        while size <= limit and len(data) <= limit:
            block = stream.read(min(_BLOCK, limit + 1 - len(data)))
            if not block:
                return bytes(data)
            data += block
    raise _refused(errno.EFBIG, f"{path} is larger than {limit:,} bytes, which is refused", path)


def is_text(path: str | Path) -> bool:
    """Whether a path is text, as records can hold it; Python carries other bytes as surrogates."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_kind(mode: int, path: str | Path) -> None:
    if stat.S_ISREG(mode):
        return
    what = next((words for is_kind, words in _KINDS if is_kind(mode)), "no regular file")
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise _refused(number, f"{path} is {what}", path)


def _refused(number: int, sentence: str, path: str | Path) -> RefusedFileError:
    return RefusedFileError(number, sentence, str(path))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in place of what may be there; it is there as a whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
