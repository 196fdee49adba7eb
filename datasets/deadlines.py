"""A time limit on every request to a filesystem that has none of its own.

Arrow's clients of Google's and Microsoft's stores and of HDFS wait for minutes, or for ever, for a
server that accepts a connection and never answers. Here every request runs in a thread of its own,
which is left behind when its time is over; what is read and written goes in blocks, so that large
files may take longer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from datasets.uris import without_secrets

LIMIT_S = 25.0
"""Seconds until a request is given up."""

_BLOCK = 4 << 20

_LONGEST = 300

T = TypeVar("T")

_left_behind: list[threading.Thread] = []


def sentence(error: BaseException) -> str:
    """The first line of what Arrow has to say, which may be a page."""
    words = without_secrets(" ".join((str(error).splitlines() or [""])[0].split()))
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def within(limit_s: float, work: Callable[[], T]) -> T:
    """What a function returns, if it does so in time.

    Args:
        limit_s: Seconds.
        work: The function; if it takes longer, it goes on in a thread that nobody waits for.

    Raises:
        TimeoutError: If it takes longer.
        OSError: What it raises, whatever kind of error Arrow makes of a refused request.
    """
    outcome: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised below, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="request", daemon=True)
    thread.start()
    thread.join(limit_s)
    if errors:
        if isinstance(errors[0], pa.ArrowException) and not isinstance(errors[0], ValueError):
            raise OSError(sentence(errors[0])) from errors[0]
        raise errors[0]
    if not outcome:
        _left_behind.append(thread)
        raise TimeoutError(f"no answer within {limit_s:g} s")
    return outcome[0]


def n_given_up() -> int:
    """How many requests of this process were given up so far."""
    return len(_left_behind)


def is_waiting(since: int = 0) -> bool:
    """Whether a request that was given up is still under way.

    At its end a process would wait for it: Arrow's client of S3 does when it is shut down.

    Args:
        since: How many had been given up before those that are asked for.
    """
    return any(thread.is_alive() for thread in _left_behind[since:])


class WithDeadline(pafs.FileSystemHandler):  # type: ignore[misc]
    """A filesystem whose every request ends in time, for :class:`pyarrow.fs.PyFileSystem`."""

    def __init__(self, filesystem: pafs.FileSystem, limit_s: float = LIMIT_S) -> None:
        self.filesystem = filesystem
        self.limit_s = limit_s

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WithDeadline) and bool(self.filesystem == other.filesystem)

    def __hash__(self) -> int:
        return hash((WithDeadline, self.filesystem.type_name))

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        method = getattr(self.filesystem, name)
        return within(self.limit_s, lambda: method(*arguments, **options))

    def get_type_name(self) -> str:
        """Name of the kind of filesystem."""
        return str(self.filesystem.type_name)

    def normalize_path(self, path: str) -> str:
        """A path in the filesystem's own form."""
        return str(self.filesystem.normalize_path(path))

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """What lies at some paths."""
        found: list[pafs.FileInfo] = self._ask("get_file_info", paths)
        return found

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """What lies below a folder."""
        found: list[pafs.FileInfo] = self._ask("get_file_info", selector)
        return found

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder."""
        self._ask("create_dir", path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        """Delete a folder with all below it."""
        self._ask("delete_dir", path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Delete all below a folder."""
        self._ask("delete_dir_contents", path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        """Delete everything: never."""
        raise OSError("a whole filesystem is not deleted")

    def delete_file(self, path: str) -> None:
        """Delete a file."""
        self._ask("delete_file", path)

    def move(self, src: str, dest: str) -> None:
        """Move a file or folder."""
        self._ask("move", src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        """Copy a file."""
        self._ask("copy_file", src, dest)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """The content of a file, read whole."""
        # Looking first: where a login fails, Arrow's Azure client raises when it looks, but ends
        # the whole process when it reads.
        self._ask("get_file_info", path)
        stream = self._ask("open_input_stream", path)
        blocks = []
        while block := within(self.limit_s, lambda: stream.read(_BLOCK)):
            blocks.append(block)
        return pa.BufferReader(b"".join(blocks))

    def open_input_file(self, path: str) -> pa.NativeFile:
        """The content of a file, read whole."""
        return self.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: dict[str, str]) -> pa.NativeFile:
        """A file to write."""
        stream = self._ask("open_output_stream", path, metadata=metadata)
        return pa.PythonFile(_Writer(stream, self.limit_s), mode="w")

    def open_append_stream(self, path: str, metadata: dict[str, str]) -> pa.NativeFile:
        """A file to write on: what is written once is never added to."""
        raise OSError(f"{path} is not added to")


class _Writer:
    """A stream that is written to in blocks, each of them in time."""

    def __init__(self, stream: pa.NativeFile, limit_s: float) -> None:
        self._stream = stream
        self._limit_s = limit_s
        self.closed = False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: bytes) -> int:
        for begin in range(0, len(data), _BLOCK):
            block = data[begin : begin + _BLOCK]
            within(self._limit_s, lambda block=block: self._stream.write(block))  # type: ignore[misc]
        return len(data)

    def flush(self) -> None:
        within(self._limit_s, self._stream.flush)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            within(self._limit_s, self._stream.close)
