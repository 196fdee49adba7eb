"""Whether a store may be listed, written, read and deleted in, tried before hours of work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from datasets.layout import unfinished_name
from datasets.storage import Storage, StorageError, UnwritableError

T = TypeVar("T")


def check_access(storage: Storage, folders: Sequence[str] = ("shards",)) -> None:
    """List some folders of a store, and write, read and delete one small file in each.

    The file has the name of one that was being written, so that ``study.store gc`` removes it
    should this process be killed in between.

    Args:
        storage: The store.
        folders: Where rights are needed; they are made if they are missing.

    Raises:
        UnwritableError: If the store is full or read-only.
        StorageError: If a right is missing; the message says which, and why.
    """
    for folder in folders:
        _check(storage, folder, f"{folder}/{unfinished_name('access')}")


def _check(storage: Storage, folder: str, path: str) -> None:
    data = os.urandom(16)
    _try("list", storage, folder, lambda: storage.names(folder))
    _try("write", storage, folder, lambda: storage.put(path, data))
    try:
        found = _try("read", storage, folder, lambda: storage.read(path))
    except StorageError:
        with suppress(StorageError):
            storage.delete(path)
        raise
    _try("delete", storage, folder, lambda: storage.delete(path))
    if found != data:
        raise StorageError(
            f"the store {storage.uri!r} gives back other bytes than were written in {folder!r}"
        )


def _try(right: str, storage: Storage, folder: str, act: Callable[[], T]) -> T:
    try:
        return act()
    except UnwritableError:
        raise
    except OSError as error:
        raise StorageError(
            f"this user has no right to {right} files in {folder!r} of the store "
            f"{storage.uri!r}, or it cannot be reached: {error}"
        ) from error
