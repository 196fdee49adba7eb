"""Looking at every name below a folder, at a cost that is bounded whatever links there are."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.errors import SourceError
from datasets.formats import header_beside, image_suffix
from datasets.scan import Skipped

MAX_NAMES = 1_000_000
"""More files and folders than this are no data set's: ten thousand scans come with a tenth."""


@dataclass(frozen=True)
class Entry:
    """Something with the name of an image, see :mod:`datasets.formats`.

    Attributes:
        path: Where it lies.
        stem: Its name without that ending.
        problem: Why it cannot be read as a file; ``None`` if it can.
    """

    path: Path
    stem: str
    problem: str | None = None


@dataclass(frozen=True)
class Tree:
    """The NIfTI files below a folder.

    Attributes:
        root: The folder.
        entries: Sorted by path.
        skipped: Hidden files and folders that cannot be entered.
    """

    root: Path
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]


def nifti_stem(name: str) -> str | None:
    """An image's name without its ending, see :mod:`datasets.formats`; ``None`` for others."""
    suffix = image_suffix(name)
    return name[: -len(suffix)] if suffix else None


def walk(root: Path, layout: str, leave_out: frozenset[str] = frozenset()) -> Tree:
    """Look at every name below a folder; links to folders are followed, loops are not.

    Args:
        root: The folder.
        layout: What was expected in it, for the error message.
        leave_out: Names of folders that are not entered.

    Raises:
        SourceError: If the folder does not exist, is no folder, cannot be entered, or holds more
            names than a data set has.
    """
    try:
        is_folder = stat.S_ISDIR(os.stat(root).st_mode)
        if is_folder:
            os.listdir(root)
    except FileNotFoundError as error:
        raise SourceError(f"{root} does not exist: expected a folder with {layout}") from error
    except OSError as error:
        raise SourceError(f"{root} cannot be entered: {error.strerror}") from error
    except ValueError as error:  # a NUL, or half a character
        raise SourceError(f"{str(root)!r} cannot be the name of a folder") from error
    if not is_folder:
        raise SourceError(f"{root} is no folder: expected one that holds {layout}")
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    for number, item in enumerate(_Walk(leave_out).items(root)):
        if number >= MAX_NAMES:
            raise SourceError(
                f"{root} holds more than {MAX_NAMES:,} files and folders: expected the folder of "
                f"one data set, with {layout}"
            )
        if isinstance(item, Entry):
            entries.append(item)
        elif item is not None:
            skipped.append(item)
    return Tree(root, tuple(sorted(entries, key=lambda e: e.path)), tuple(sorted(skipped)))


@dataclass(frozen=True)
class _Folder:
    """A folder to look into.

    Attributes:
        path: Where it lies.
        above: What the folders above it are, by device and number.
        n_links: How many links to folders its path goes through.
    """

    path: Path
    above: frozenset[tuple[int, int]]
    n_links: int


class _Walk:
    """Folders as they lie first, then what links lead to, then what is linked from there.

    A folder may be reached by its own path and by links to it. Where links lead to links, the ways
    to a folder can be more than anybody can list, so behind a second link no folder is looked into
    again.
    """

    def __init__(self, leave_out: frozenset[str]) -> None:
        self._leave_out = leave_out
        self._seen: set[tuple[int, int]] = set()
        self._linked: deque[_Folder] = deque()

    def items(self, root: Path) -> Iterator[Entry | Skipped | None]:
        """Files named as NIfTI, what is left out, and None for every other name."""
        self._linked.append(_Folder(root, frozenset(), 0))
        while self._linked:
            waiting = [self._linked.popleft()]
            while waiting:
                yield from self._look_into(waiting.pop(), waiting)

    def _look_into(
        self, folder: _Folder, waiting: list[_Folder]
    ) -> Iterator[Entry | Skipped | None]:
        try:
            here = os.stat(folder.path)
            with os.scandir(folder.path) as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError as error:
            yield Skipped(folder.path, f"the folder cannot be entered: {error.strerror}")
            return
        identity = (here.st_dev, here.st_ino)
        if identity in folder.above:
            yield Skipped(folder.path, "a link back to a folder above it")
            return
        if folder.n_links > 1 and identity in self._seen:
            yield Skipped(folder.path, "a folder that was looked into already, behind two links")
            return
        self._seen.add(identity)
        above = folder.above | {identity}
        for item in items:
            there = _Folder(folder.path / item.name, above, folder.n_links)
            yield self._item(item, there, waiting)

    def _item(
        self, item: os.DirEntry[str], there: _Folder, waiting: list[_Folder]
    ) -> Entry | Skipped | None:
        """What a name is; folders are noted, to be looked into later."""
        stem = nifti_stem(item.name)
        if item.name.startswith("."):
            return None if stem is None else Skipped(there.path, "hidden file")
        if stem is not None:
            return Entry(there.path, stem, _problem_of_image(there.path))
        if item.name in self._leave_out:
            return None
        try:
            is_folder, is_link = item.is_dir(), item.is_symlink()
        except OSError as error:
            return Skipped(there.path, f"cannot be looked at: {error.strerror}")
        if is_folder and is_link:
            self._linked.append(replace(there, n_links=there.n_links + 1))
        elif is_folder:
            waiting.append(there)
        return None


def _problem_of_image(path: Path) -> str | None:
    """Why an image cannot be read as a file, or as the two files of a pair."""
    header = header_beside(path)
    problem = _problem(path)
    if header is None or problem is not None:
        return problem
    if not os.path.lexists(header):
        return f"half of a pair: no {header.name} beside it"
    fault = _problem(header)
    return None if fault is None else f"its header {header.name}: {fault}"


def _problem(path: Path) -> str | None:
    """Why a path cannot be read as a file, from its metadata alone."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "a link to a file that does not exist"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "a folder with the name of an image"
    if not stat.S_ISREG(mode):
        return "no regular file"
    effective = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK, effective_ids=effective):
        return "no permission to read it"
    return None
