"""What lies in a folder, and what a damage or a command has changed of it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.faults.damage.places import below


@dataclass(frozen=True)
class Mark:
    """What tells a file or folder from one that was put in its place.

    Attributes:
        kind: Its type, as ``stat`` has it.
        inode: Its number in the filesystem; 0 of a folder.
        size: Number of its bytes; 0 of a folder.
        mtime_ns: When it was last written; 0 of a folder.
        target: Of a link.
    """

    kind: int
    inode: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: str = ""


State = Mapping[str, Mark]
"""All below a folder, by path."""


def look(root: Path) -> dict[str, Mark]:
    """What lies below a folder; no link is followed."""
    return {path: mark(root / path) for path in below(root) if os.path.lexists(root / path)}


def mark(path: Path) -> Mark:
    """What tells one file or folder from another."""
    found = os.lstat(path)
    kind = stat.S_IFMT(found.st_mode)
    if stat.S_ISDIR(kind):
        return Mark(kind)
    target = os.readlink(path) if stat.S_ISLNK(kind) else ""
    return Mark(kind, found.st_ino, found.st_size, found.st_mtime_ns, target)


def is_file(found: Mark) -> bool:
    """Whether it is a regular file."""
    return stat.S_ISREG(found.kind)


def link_tree(source: Path, target: Path, state: State) -> None:
    """Make a copy of a folder whose files are those of the original: to be replaced, never written.

    Args:
        source: The original.
        target: The copy, which must not be there.
        state: What lies in the original.
    """
    for path, found in state.items():
        if is_file(found):
            os.link(source / path, target / path)
        else:
            (target / path).mkdir()


def digests(root: Path, state: State) -> dict[str, str]:
    """SHA-256 of every regular file, by path."""
    return {
        path: hashlib.sha256((root / path).read_bytes()).hexdigest()
        for path, found in state.items()
        if is_file(found)
    }


@dataclass(frozen=True)
class Effect:
    """What a damage did to a store.

    Attributes:
        same: Paths at which all is as it was.
        changed: Paths at which something else is now.
        gone: Paths at which nothing is now.
    """

    same: frozenset[str]
    changed: frozenset[str]
    gone: frozenset[str]


def effect(before: State, after: State) -> Effect:
    """What has become of each path that was there before."""
    same = {path for path, found in before.items() if after.get(path) == found}
    gone = before.keys() - after.keys()
    return Effect(frozenset(same), frozenset(before.keys() - same - gone), frozenset(gone))


def differences(before: State, after: State) -> list[str]:
    """The paths that differ, each with how, sorted."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            found.append(f"{path} is gone")
        elif path not in before:
            found.append(f"{path} is new")
        elif before[path] != after[path]:
            found.append(f"{path} is another")
    return found
