"""Whole files on any pyarrow filesystem, written once and checked when read.

Nothing here renames across an object store: a file is a single put, and a reader trusts only what
a manifest names, with its SHA-256. On a local disk a put is written aside and renamed, so that a
killed process never leaves half a file under its final name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow.fs as pafs

from datasets.files import RefusedFileError, read_regular
from datasets.filesystems import missing_bucket, open_filesystem
from datasets.local_tree import (
    Entry,
    delete_empty_folder,
    delete_file,
    leads_nowhere,
    put_file,
    walk,
)


class StorageError(OSError):
    """A store that cannot be opened, read or written; the message names the place."""


class UnwritableError(StorageError):
    """A store that takes nothing any more: its disk is full, over its quota, or read-only."""


class DamagedFileError(StorageError):
    """A file that is not what was written: it may be made again, and nothing is lost."""


class ChecksumError(DamagedFileError):
    """A file whose bytes are not those that its manifest promises."""


class NewerFileError(StorageError):
    """A file of another version of this software, which this one must not replace."""


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def sha256_hex(data: bytes | memoryview) -> str:
    """SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class FileMark(NamedTuple):
    """What tells that a file has changed, without reading it.

    Attributes:
        path: Path below the storage's root.
        size: Number of its bytes.
        mtime_ns: When it was last written.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Storage:
    """A folder on a filesystem: local, S3, GCS, HDFS.

    Safe to share between threads and cheap to pickle; holds no open file.

    Attributes:
        filesystem: The pyarrow filesystem.
        root: Path of the folder on that filesystem, without a trailing slash.
        uri: What the user wrote, for messages and for worker processes; a local path is made
            absolute, since workers have other working directories.
        opened: The folder that was opened, of which this one is a part: nothing is deleted by a
            way that leaves it, such as through a link.
    """

    filesystem: pafs.FileSystem
    root: str
    uri: str
    opened: str

    @classmethod
    def open(cls, uri: str) -> Storage:
        """Open a local path or a URI such as ``s3://bucket/folder``; nothing is created.

        Raises:
            StorageError: If the URI names no filesystem that pyarrow knows, or none that answers.
        """
        try:
            filesystem, root, uri = open_filesystem(uri)
        except OSError as error:
            raise StorageError(str(error)) from error
        return cls(filesystem, root, uri, root)

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's own file tree."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def sub(self, path: str) -> Storage:
        """The storage of a folder below this one."""
        uri = f"{self.uri.rstrip('/')}/{path}"
        return Storage(self.filesystem, self.full(path), uri, self.opened)

    def full(self, path: str) -> str:
        """The filesystem's own path of a file below the root.

        Raises:
            StorageError: If the path would leave the root.
        """
        parts = path.split("/")
        if (
            not path
            or path.startswith("/")
            or "\\" in path
            or any(p in ("", ".", "..") for p in parts)
        ):
            raise StorageError(f"{path!r} is no path inside the store {self.uri!r}")
        return f"{self.root}/{path}"

    def put(self, path: str, data: bytes) -> str:
        """Write a whole file and return its SHA-256; missing folders are made.

        Raises:
            UnwritableError: If the disk is full or read-only.
            StorageError: If it cannot be written for another reason.
        """
        full = self.full(path)
        try:
            if self.is_local:
                put_file(Path(full), data)
            else:
                with self.filesystem.open_output_stream(full) as stream:
                    stream.write(data)
        except OSError as error:
            kind = UnwritableError if error.errno in _UNWRITABLE else StorageError
            raise kind(f"cannot write {path!r} in the store {self.uri!r}: {error}") from error
        return sha256_hex(data)

    def read(self, path: str, sha256: str | None = None) -> bytes:
        """Read a whole file.

        Args:
            path: Path below the root.
            sha256: The checksum that a manifest promises, if one does.

        Raises:
            FileNotFoundError: If there is no such file.
            ChecksumError: If the bytes differ from what the manifest promises.
            DamagedFileError: If something else than a file is in its place.
            StorageError: If it cannot be read.
        """
        full = self.full(path)
        try:
            if self.is_local:
                data = read_regular(full)
            else:
                with self.filesystem.open_input_stream(full) as stream:
                    data = bytes(stream.read())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(f"no {path!r} in the store {self.uri!r}") from error
        except OSError as error:
            if isinstance(error, RefusedFileError) or error.errno == errno.ELOOP:
                # A pipe, a folder or a link to itself is not what was written.
                raise DamagedFileError(str(self._cannot("read", path, error))) from error
            raise self._cannot("read", path, error) from error
        if sha256 is not None and sha256_hex(data) != sha256:
            raise ChecksumError(
                f"{path!r} in the store {self.uri!r} is damaged: its SHA-256 is "
                f"{sha256_hex(data)[:12]}…, its manifest says {sha256[:12]}…"
            )
        return data

    def exists(self, path: str) -> bool:
        """Whether a file lies at that path.

        Raises:
            StorageError: If the store cannot be reached.
        """
        full = self.full(path)
        if not self.is_local:
            return bool(self._kind(full) == pafs.FileType.File)
        try:
            return stat.S_ISREG(os.stat(full).st_mode)
        except OSError as error:
            if leads_nowhere(error):
                return False
            raise self._cannot("reach", path, error) from error

    def is_there(self) -> bool:
        """Whether the root itself is there; a disk that is not mounted takes its folder along.

        Raises:
            StorageError: If the store cannot be reached.
        """
        if self.is_local:
            return os.path.isdir(self.root)
        return bool(self._kind(self.root) != pafs.FileType.NotFound)

    def missing_bucket(self) -> str | None:
        """The name of the bucket that the root lies in, if an object store has none of that name.

        Raises:
            StorageError: If the store cannot be reached.
        """
        try:
            return missing_bucket(self.filesystem, self.root)
        except OSError as error:
            raise StorageError(f"cannot reach the store {self.uri!r}: {error}") from error

    def names(self, path: str = "") -> tuple[str, ...]:
        """Sorted names of the files and folders directly below a folder; empty if it is missing.

        Raises:
            StorageError: If the store cannot be reached.
        """
        if not self.is_local:
            return tuple(sorted(entry.path for entry in self.entries(path, recursive=False)))
        try:
            return tuple(sorted(os.listdir(self.full(path) if path else self.root)))
        except FileNotFoundError:
            return ()
        except OSError as error:
            if path and leads_nowhere(error):
                return ()
            raise self._cannot("list", path, error) from error

    def files(self, path: str = "") -> tuple[str, ...]:
        """Sorted paths, relative to the root, of all files below a folder, at any depth.

        Links to files are among them; folders behind links are not looked into.

        Raises:
            StorageError: If the store cannot be reached.
        """
        entries = self.entries(path, recursive=True)
        prefix = f"{path}/" if path else ""
        return tuple(sorted(f"{prefix}{entry.path}" for entry in entries if entry.is_file))

    def entries(self, path: str = "", *, recursive: bool) -> list[Entry]:
        """What lies below a folder, unsorted, with paths below that folder; empty if it is missing.

        Folders behind links are not looked into.

        Args:
            path: The folder.
            recursive: Whether at any depth.

        Raises:
            StorageError: If the store cannot be reached.
        """
        base = self.full(path) if path else self.root
        try:
            if self.is_local:
                return list(walk(base, recursive=recursive))
            selector = pafs.FileSelector(base, allow_not_found=True, recursive=recursive)
            infos = self.filesystem.get_file_info(selector)
        except OSError as error:
            if self.is_local and path and leads_nowhere(error):
                return []
            raise self._cannot("list", path, error) from error
        return [
            Entry(
                path=info.path[len(base) + 1 :],
                is_file=info.is_file,
                is_folder=info.type == pafs.FileType.Directory,
                size=info.size or 0,
                mtime_ns=info.mtime_ns or 0,
            )
            for info in infos
        ]

    def matching(self, folder: str, patterns: Sequence[str]) -> list[FileMark]:
        """The files below a folder whose paths follow a pattern, unsorted; none if it is missing.

        On a local disk only folders that a ``*`` stands in are listed, so what lies beside the
        wanted files costs nothing; object stores list everything below the folder in one go. A
        folder that cannot be listed is told as a file with a size below 0.

        Args:
            folder: The folder.
            patterns: Paths below it, in which a part ``*`` stands for any one name.

        Raises:
            StorageError: If the store cannot be reached.
        """
        base = self.full(folder)
        if not self.is_local:
            pattern = re.compile("|".join(_as_expression(pattern) for pattern in patterns))
            return [
                FileMark(f"{folder}/{entry.path}", entry.size, entry.mtime_ns)
                for entry in self.entries(folder, recursive=True)
                if entry.is_file and pattern.fullmatch(entry.path)
            ]
        try:
            return [
                FileMark(f"{folder}/{mark.path}", mark.size, mark.mtime_ns)
                for pattern in patterns
                for mark in _walk_local(base, "", pattern.split("/"))
            ]
        except OSError as error:
            raise self._cannot("list", folder, error) from error

    def delete(self, path: str) -> None:
        """Delete one file; missing is fine. Of a link, only the link itself is deleted.

        Raises:
            StorageError: If it cannot be deleted, is a folder, or lies behind a link.
        """
        full = self.full(path)
        try:
            if self.is_local:
                delete_file(self.opened, full[len(self.opened) + 1 :])
            elif self._kind(full) != pafs.FileType.NotFound:
                self.filesystem.delete_file(full)
        except FileNotFoundError:
            return  # another process was faster
        except OSError as error:
            raise self._cannot("delete", path, error) from error

    def delete_folder_if_empty(self, path: str) -> bool:
        """Delete a folder if nothing is in it; returns whether it is gone.

        Raises:
            StorageError: If it cannot be deleted though it is empty.
        """
        full = self.full(path)
        try:
            if self.is_local:
                return delete_empty_folder(self.opened, full[len(self.opened) + 1 :])
            if self._kind(full) != pafs.FileType.Directory:
                return bool(self._kind(full) == pafs.FileType.NotFound)
            if self.names(path):
                return False
            self.filesystem.delete_dir(full)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise self._cannot("delete", path, error) from error
        return True

    def _kind(self, full: str) -> pafs.FileType:
        try:
            return self.filesystem.get_file_info(full).type
        except OSError as error:
            raise StorageError(
                f"cannot reach {full!r} in the store {self.uri!r}: {error}"
            ) from error

    def _cannot(self, act: str, path: str, error: OSError) -> StorageError:
        """What is said where something has failed."""
        place = f"{path!r} in the store {self.uri!r}" if path else f"the store {self.uri!r}"
        return StorageError(f"cannot {act} {place}: {error}")


def _as_expression(pattern: str) -> str:
    return "/".join("[^/]+" if part == "*" else re.escape(part) for part in pattern.split("/"))


def _walk_local(base: str, below: str, parts: Sequence[str]) -> Iterator[FileMark]:
    """The files of a pattern; what vanishes meanwhile is left out.

    What cannot be looked at is told with a size below 0, so that reading it says why.
    """
    fixed = parts.index("*") if "*" in parts else len(parts)
    here = "/".join([below, *parts[:fixed]] if below else parts[:fixed])
    try:
        if fixed == len(parts):
            status = os.stat(f"{base}/{here}")
            yield FileMark(here, status.st_size, status.st_mtime_ns)
            return
        names = os.listdir(f"{base}/{here}" if here else base)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        if not here:
            raise
        yield FileMark(here, -1, 0)
        return
    for name in names:
        yield from _walk_local(base, f"{here}/{name}" if here else name, parts[fixed + 1 :])
