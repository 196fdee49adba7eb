"""Files below one folder of a local disk, listed and deleted without going through a link.

Whoever may write into a store can put a link there: to a folder of somebody else, to the folder
itself, to a neighbour. What lies behind a link is not ours. So a listing tells links as such and
does not descend into them, and deletion opens one folder after the other by its descriptor, which
no link and no renaming in the meantime can lead elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.layout import unfinished_name

_PUT_TRIES = 3


class LinkedError(OSError):
    """A path that leads through a link."""


@dataclass(frozen=True)
class Entry:
    """What lies at a path, without what a link leads to.

    Attributes:
        path: Path below the folder that was listed.
        is_file: Whether it is a regular file, or a link to one.
        is_folder: Whether it is a folder itself, no link to one.
        is_link: Whether it is a link.
        size: Bytes of a regular file, or of the one that a link leads to; else 0.
        mtime_ns: When that was last written; 0 for a link that leads nowhere.
        fault: Why a folder could not be listed.
    """

    path: str
    is_file: bool
    is_folder: bool = False
    is_link: bool = False
    size: int = 0
    mtime_ns: int = 0
    fault: str = ""


def leads_nowhere(error: OSError) -> bool:
    """Whether a path could not be followed because nothing is there: a link may lead to itself."""
    is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    return is_missing or error.errno == errno.ELOOP


def walk(folder: str, *, recursive: bool, below: str = "") -> Iterator[Entry]:
    """What lies in a folder, unsorted; nothing if it is missing. What vanishes is left out.

    A folder within it that cannot be listed is told with the fault.

    Args:
        folder: The folder; a link to it is followed.
        recursive: Whether at any depth.
        below: What the paths begin with.

    Raises:
        OSError: If the folder itself cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except FileNotFoundError:
        return
    for item in entries:
        entry = _entry(item, f"{below}{item.name}")
        if entry is None:
            continue
        if not (recursive and entry.is_folder):
            yield entry
            continue
        inner = walk(item.path, recursive=True, below=f"{entry.path}/")
        try:
            first = next(inner, None)
        except OSError as error:
            yield replace(entry, fault=str(error))
            continue
        yield entry
        if first is not None:
            yield first
            yield from inner


def _entry(item: os.DirEntry[str], path: str) -> Entry | None:
    is_link = item.is_symlink()
    try:
        status = item.stat()
    except FileNotFoundError:
        return Entry(path, is_file=False, is_link=True) if is_link else None
    except OSError:
        if is_link:  # to itself, or into a folder that may not be entered
            return Entry(path, is_file=False, is_link=True)
        raise
    is_file = stat.S_ISREG(status.st_mode)
    return Entry(
        path,
        is_file=is_file,
        is_folder=stat.S_ISDIR(status.st_mode) and not is_link,
        is_link=is_link,
        size=status.st_size if is_file else 0,
        mtime_ns=status.st_mtime_ns,
    )


def delete_file(root: str, path: str) -> None:
    """Delete a file below a folder, or a link, which is removed itself; missing is fine.

    Args:
        root: The folder; a link to it is followed.
        path: Path below it.

    Raises:
        LinkedError: If the path leads through a link.
        IsADirectoryError: If it is a folder.
        OSError: If it cannot be deleted.
    """
    try:
        with _parent(root, path) as (folder, name):
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except PermissionError as error:
        # Some systems refuse to unlink a folder with this error.
        if os.path.isdir(f"{root}/{path}") and not os.path.islink(f"{root}/{path}"):
            raise IsADirectoryError(errno.EISDIR, "is a folder", path) from error
        raise


def delete_empty_folder(root: str, path: str) -> bool:
    """Delete a folder below another one if nothing is in it; returns whether it is gone.

    Args:
        root: As for :func:`delete_file`.
        path: Path below it.

    Raises:
        OSError: If it cannot be deleted for another reason than that it is none, or not empty.
    """
    try:
        with _parent(root, path) as (folder, name):
            os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except (LinkedError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
            return False
        raise
    return True


@contextmanager
def _parent(root: str, path: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that a path lies in, reached without links, and its name."""
    *folders, name = path.split("/")
    if not all(part not in ("", ".", "..") for part in (*folders, name)):
        raise ValueError(f"{path!r} is no path below a folder")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            inner = _open_folder(here, part, path)
            os.close(here)
            here = inner
        yield here, name
    finally:
        os.close(here)


def _open_folder(parent: int, name: str, path: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            text = f"{name!r} is a link, and nothing behind a link is touched"
            raise LinkedError(errno.ELOOP, text, path) from error
        raise


def put_file(target: Path, data: bytes) -> None:
    """Write a file beside its place, flush it to the disk, rename it over what is there.

    What lies aside may be taken for a leftover and removed by another process: then once more.
    """
    for _ in range(_PUT_TRIES - 1):
        with suppress(FileNotFoundError):
            return _put_once(target, data)
    _put_once(target, data)


def _put_once(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(unfinished_name(target.name))
    try:
        with aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
