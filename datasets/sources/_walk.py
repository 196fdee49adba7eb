"""Looking at every name below a folder, at a cost that is bounded whatever links there are."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.errors import SourceError
from datasets.formats import header_suffix
from datasets.scan import Skipped
from datasets.sources._names import image_problem, image_stem, left_out_as

MAX_NAMES = 1_000_000
"""More files and folders than this are no data set's: ten thousand scans come with a tenth."""


@dataclass(frozen=True)
class Entry:
    """A file whose name is that of an image.

    Attributes:
        path: Where it lies.
        stem: Its name without the ending.
        problem: Why it cannot be read as a file; ``None`` if it can.
        place: The folder that it stands in by its name, if that is not the one it lies in: some
            unpack ``case_t1.nii.gz`` as a folder ``case_t1.nii`` with one file in it.
    """

    path: Path
    stem: str
    problem: str | None = None
    place: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder that its name belongs to."""
        return self.place or self.path.parent


@dataclass(frozen=True)
class Tree:
    """The files below a folder.

    Attributes:
        root: The folder.
        entries: Those that are images by their names, sorted by path.
        skipped: All others, and folders that cannot be entered.
        n_files: How many files there are in all: every name that is no folder's.
        texts: Those that describe others: ``.json`` and ``.tsv``.
        headers: Headers of pairs, which belong to the images beside them.
    """

    root: Path
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]
    n_files: int
    texts: frozenset[Path] = frozenset()
    headers: frozenset[Path] = frozenset()


def walk(root: Path, layout: str, leave_out: frozenset[str] = frozenset()) -> Tree:
    """Look at every name below a folder; links to folders are followed, loops are not.

    Args:
        root: The folder.
        layout: What was expected in it, for the error message.
        leave_out: Names of folders in which files are counted and not looked at.

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
    look = _Walk(leave_out)
    for number, item in enumerate(look.items(root)):
        if number >= MAX_NAMES:
            raise SourceError(
                f"{root} holds more than {MAX_NAMES:,} files and folders: expected the folder of "
                f"one data set, with {layout}"
            )
        if isinstance(item, Entry):
            entries.append(item)
        elif item is not None:
            skipped.append(item)
    skipped.extend(look.groups.values())
    entries.sort(key=lambda entry: entry.path)
    return Tree(
        root,
        tuple(entries),
        tuple(sorted(skipped)),
        len(entries) + len(look.headers) + sum(item.n_files for item in skipped),
        frozenset(look.texts),
        frozenset(look.headers),
    )


@dataclass(frozen=True)
class _Folder:
    """A folder to look into.

    Attributes:
        path: Where it lies.
        above: What the folders above it are, by device and number.
        n_links: How many links to folders its path goes through.
        stem: The image's name that it has, without the ending; else empty.
    """

    path: Path
    above: frozenset[tuple[int, int]]
    n_links: int
    stem: str = ""


class _Walk:
    """Folders as they lie first, then what links lead to, then what is linked from there.

    A folder may be reached by its own path and by links to it. Where links lead to links, the ways
    to a folder can be more than anybody can list, so behind a second link no folder is looked into
    again.

    Attributes:
        groups: What is left out for its name, by reason and, of images and of folders that are not
            looked into, by folder.
        texts: Files that describe others.
        headers: Those of pairs.
    """

    def __init__(self, leave_out: frozenset[str]) -> None:
        self.groups: dict[tuple[str, Path | None], Skipped] = {}
        self.texts: list[Path] = []
        self.headers: list[Path] = []
        self._leave_out = leave_out
        self._seen: set[tuple[int, int]] = set()
        self._linked: deque[_Folder] = deque()

    def items(self, root: Path) -> Iterator[Entry | Skipped | None]:
        """Files named as images, what is left out, and None for every other name."""
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
            yield Skipped(folder.path, f"the folder cannot be entered: {error.strerror}", 0)
            return
        identity = (here.st_dev, here.st_ino)
        if identity in folder.above:
            yield Skipped(folder.path, "a link back to a folder above it", 0)
            return
        if folder.n_links > 1 and identity in self._seen:
            yield Skipped(folder.path, "a folder that was looked into already, behind two links", 0)
            return
        self._seen.add(identity)
        above = folder.above | {identity}
        inside: list[Entry] = []
        for item in items:
            there = _Folder(folder.path / item.name, above, folder.n_links)
            found_item = self._item(item, there, waiting)
            if folder.stem and isinstance(found_item, Entry):
                inside.append(found_item)
                found_item = None
            yield found_item
        if folder.stem:
            yield from _named_as_image(folder, inside)

    def _item(
        self, item: os.DirEntry[str], there: _Folder, waiting: list[_Folder]
    ) -> Entry | Skipped | None:
        """What a name is; folders are noted, to be looked into later."""
        stem, path = image_stem(item.name), there.path
        try:
            is_folder, is_link = item.is_dir(), item.is_symlink()
        except OSError as error:
            return Skipped(path, f"cannot be looked at: {error.strerror}")
        if is_folder:
            if item.name.startswith("."):
                self._count(path, "in a hidden folder")
            elif item.name in self._leave_out:
                self._count(path, f"in folders called {item.name!r}, which are not looked into")
            else:
                there = replace(there, stem=stem or "", n_links=there.n_links + is_link)
                (self._linked if is_link else waiting).append(there)
            return None
        if stem is not None:
            if item.name.startswith("."):
                return Skipped(path, "hidden file")
            return Entry(path, stem, image_problem(path))
        if header_suffix(item.name) and not item.name.startswith("."):
            self.headers.append(path)
            return None
        if item.name.endswith((".json", ".tsv")):
            self.texts.append(path)
        reason, is_image = left_out_as(item.name)
        self._group(path, reason, 1, path.parent if is_image else None)
        return None

    def _count(self, folder: Path, reason: str) -> None:
        """Count the files below a folder that is not looked into; links are not followed."""
        n_files = 0
        for _, _, names in os.walk(folder):
            n_files += len(names)
            if n_files > MAX_NAMES:
                reason += f"; more than {MAX_NAMES:,}, not counted to the end"
                break
        if n_files:
            self._group(folder, reason, n_files, folder)

    def _group(self, path: Path, reason: str, n_files: int, folder: Path | None = None) -> None:
        before = self.groups.get((reason, folder))
        if before is None:
            self.groups[reason, folder] = Skipped(path, reason, n_files)
        else:
            first = min(before.path, path)
            self.groups[reason, folder] = Skipped(first, reason, before.n_files + n_files)


def _named_as_image(folder: _Folder, inside: list[Entry]) -> Iterator[Entry | Skipped]:
    """A folder with an image's name stands for the one image in it."""
    if len(inside) == 1:
        yield replace(inside[0], stem=folder.stem, place=folder.path.parent)
        return
    several = f", which holds {len(inside)}" if inside else ""
    yield Skipped(folder.path, f"a folder with the name of an image{several}", 0)
    yield from inside
