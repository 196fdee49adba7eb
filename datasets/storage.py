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
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs


class StorageError(OSError):
    """A store that cannot be opened, read or written; the message names the place."""


class UnwritableError(StorageError):
    """A store that takes nothing any more: its disk is full, over its quota, or read-only."""


class ChecksumError(StorageError):
    """A file whose bytes are not those that its manifest promises."""


_PUT_TRIES = 3

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
    """

    filesystem: pafs.FileSystem
    root: str
    uri: str

    @classmethod
    def open(cls, uri: str) -> Storage:
        """Open a local path or a URI such as ``s3://bucket/folder``; nothing is created.

        Raises:
            StorageError: If the URI names no filesystem that pyarrow knows.
        """
        try:
            if "://" in uri:
                filesystem, root = pafs.FileSystem.from_uri(uri)
            else:
                uri = root = str(Path(uri).expanduser().absolute())
                filesystem = pafs.LocalFileSystem()
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(f"cannot open the store {uri!r}: {error}") from error
        return cls(filesystem, root.rstrip("/"), uri)

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's own file tree."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def sub(self, path: str) -> Storage:
        """The storage of a folder below this one."""
        return Storage(self.filesystem, self.full(path), f"{self.uri.rstrip('/')}/{path}")

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
                _put_local(Path(full), data)
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
            StorageError: If it cannot be read.
        """
        full = self.full(path)
        try:
            with self.filesystem.open_input_stream(full) as stream:
                data: bytes = stream.read()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"no {path!r} in the store {self.uri!r}") from error
        except OSError as error:
            raise StorageError(
                f"cannot read {path!r} in the store {self.uri!r}: {error}"
            ) from error
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
        return bool(self._kind(self.full(path)) == pafs.FileType.File)

    def names(self, path: str = "") -> tuple[str, ...]:
        """Sorted names of the files and folders directly below a folder; empty if it is missing.

        Raises:
            StorageError: If the store cannot be reached.
        """
        return tuple(sorted(info.base_name for info in self.infos(path, recursive=False)))

    def files(self, path: str = "") -> tuple[str, ...]:
        """Sorted paths, relative to the root, of all files below a folder, at any depth.

        Raises:
            StorageError: If the store cannot be reached.
        """
        infos = self.infos(path, recursive=True)
        found = (info.path for info in infos if info.type == pafs.FileType.File)
        return tuple(sorted(p[len(self.root) + 1 :] for p in found))

    def infos(self, path: str = "", *, recursive: bool) -> list[pafs.FileInfo]:
        """What lies below a folder, with sizes and times, unsorted; empty if it is missing.

        Args:
            path: The folder.
            recursive: Whether at any depth.

        Raises:
            StorageError: If the store cannot be reached.
        """
        base = self.full(path) if path else self.root
        selector = pafs.FileSelector(base, allow_not_found=True, recursive=recursive)
        try:
            found: list[pafs.FileInfo] = self.filesystem.get_file_info(selector)
        except OSError as error:
            raise StorageError(
                f"cannot list {path!r} in the store {self.uri!r}: {error}"
            ) from error
        return found

    def matching(self, folder: str, patterns: Sequence[str]) -> list[FileMark]:
        """The files below a folder whose paths follow a pattern, unsorted; none if it is missing.

        On a local disk only folders that a ``*`` stands in are listed, so what lies beside the
        wanted files costs nothing; object stores list everything below the folder in one go.

        Args:
            folder: The folder.
            patterns: Paths below it, in which a part ``*`` stands for any one name.

        Raises:
            StorageError: If the store cannot be reached.
        """
        base = self.full(folder)
        if not self.is_local:
            pattern = re.compile("|".join(_as_expression(pattern) for pattern in patterns))
            infos = self.infos(folder, recursive=True)
            found = ((info, info.path[len(base) + 1 :]) for info in infos if info.is_file)
            return [
                FileMark(f"{folder}/{path}", info.size, info.mtime_ns or 0)
                for info, path in found
                if pattern.fullmatch(path)
            ]
        try:
            return [
                FileMark(f"{folder}/{path}", stat.st_size, stat.st_mtime_ns)
                for pattern in patterns
                for path, stat in _walk_local(base, "", pattern.split("/"))
            ]
        except OSError as error:
            raise StorageError(
                f"cannot list {folder!r} in the store {self.uri!r}: {error}"
            ) from error

    def delete(self, path: str) -> None:
        """Delete a file or a folder with all below it; missing is fine.

        Raises:
            StorageError: If it cannot be deleted.
        """
        full = self.full(path)
        kind = self._kind(full)
        try:
            if kind == pafs.FileType.Directory:
                self.filesystem.delete_dir(full)
            elif kind != pafs.FileType.NotFound:
                self.filesystem.delete_file(full)
        except FileNotFoundError:
            return  # another process was faster
        except OSError as error:
            raise StorageError(f"cannot delete {path!r} in {self.uri!r}: {error}") from error

    def _kind(self, full: str) -> pafs.FileType:
        try:
            return self.filesystem.get_file_info(full).type
        except OSError as error:
            raise StorageError(
                f"cannot reach {full!r} in the store {self.uri!r}: {error}"
            ) from error


def _as_expression(pattern: str) -> str:
    return "/".join("[^/]+" if part == "*" else re.escape(part) for part in pattern.split("/"))


def _walk_local(
    base: str, below: str, parts: Sequence[str]
) -> Iterator[tuple[str, os.stat_result]]:
    """The files of a pattern and their state; what vanishes meanwhile is left out."""
    fixed = parts.index("*") if "*" in parts else len(parts)
    here = "/".join([below, *parts[:fixed]] if below else parts[:fixed])
    try:
        if fixed == len(parts):
            yield here, os.stat(f"{base}/{here}")
            return
        names = os.listdir(f"{base}/{here}" if here else base)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        yield from _walk_local(base, f"{here}/{name}" if here else name, parts[fixed + 1 :])


def _put_local(target: Path, data: bytes) -> None:
    """Write aside, flush to disk, rename over the target.

    What lies aside may be taken for a leftover and removed by another process: then once more.
    """
    for _ in range(_PUT_TRIES - 1):
        with suppress(FileNotFoundError):
            return _put_once(target, data)
    _put_once(target, data)


def _put_once(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
