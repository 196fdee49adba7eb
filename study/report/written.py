"""Files that a report makes, put into a folder of the user's: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from datasets.local_tree import put_file
from study.errors import UsageError


def make_folder(folder: Path, what: str) -> None:
    """Make a folder before the work for it begins.

    Args:
        folder: The folder; one that is there stays as it is.
        what: What will be written there, for the sentence of an error.

    Raises:
        UsageError: If it cannot be made.
    """
    with _told(folder, what):
        folder.mkdir(parents=True, exist_ok=True)


def write_files(files: Mapping[str, bytes], folder: Path, what: str) -> None:
    """Write files into a folder, each aside and then renamed; what has their names is replaced.

    Args:
        files: Their content by path below the folder.
        folder: Where to; made if it is not there.
        what: What they are, for the sentence of an error.

    Raises:
        UsageError: If the folder cannot be made or written.
    """
    with _told(folder, what):
        for name, data in sorted(files.items()):
            put_file(folder / name, data)


@contextmanager
def _told(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {what} to {folder}: {error.strerror}; name a folder that can be written"
        ) from error
