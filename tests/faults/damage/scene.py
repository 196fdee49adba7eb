"""What a damage acts on: a copy of the store, a user's folder beside it, and what is drawn."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """What a damage did.

    Attributes:
        words: In words, with the paths below the store.
        is_readable: Whether everything can still be read where it was, through a link.
        is_others: Whether what lies there now is another one of its kind, whole.
        foreign: Where there is a record now at a place that is not its own; empty if nowhere.
    """

    words: str
    is_readable: bool = False
    is_others: bool = False
    foreign: str = ""


@dataclass(frozen=True)
class Scene:
    """A damage under way.

    Attributes:
        root: The copy of the store; its files are shared with the original and never written to.
        outside: A folder of the user's, outside the store.
        kind: What is damaged, a kind of :mod:`tests.faults.damage.places`.
        members: Paths below the store of all files or folders of that kind.
        rng: What is drawn from.
        nth: Which damage of its kind this is; variants take turns.
    """

    root: Path
    outside: Path
    kind: str
    members: tuple[str, ...]
    rng: random.Random
    nth: int

    def one(self) -> str:
        """One of the members."""
        return self.rng.choice(self.members)

    def two(self) -> tuple[str, str] | None:
        """Two members of different content, none of the same record of two studies, or None."""
        return self._pair(lambda first, second: True)

    def two_apart(self) -> tuple[str, str] | None:
        """The same of different folders, the second of which has nothing of the first's name."""
        return self._pair(
            lambda first, second: not os.path.lexists(self.root / beside(second, first))
        )

    def _pair(self, fits: Callable[[str, str], bool]) -> tuple[str, str] | None:
        ordered = self.rng.sample(self.members, len(self.members))
        for first, second in itertools.permutations(ordered, 2):
            is_other = _below_study(first) != _below_study(second)
            if is_other and fits(first, second) and self._differ(first, second):
                return first, second
        return None

    def _differ(self, first: str, second: str) -> bool:
        one, other = self.root / first, self.root / second
        return one.is_dir() or one.read_bytes() != other.read_bytes()

    def variant(self, *choices: str) -> str:
        """One of some variants, by turns."""
        return choices[self.nth % len(choices)]

    def write(self, path: str, data: bytes) -> None:
        """Put other bytes in a file's place; its times stay in half of the cases."""
        full = self.root / path
        before = full.stat()
        full.unlink()
        full.write_bytes(data)
        if self.rng.random() < 0.5:  # as when a disk loses a bit
            os.utime(full, ns=(before.st_atime_ns, before.st_mtime_ns))

    def clear(self, path: str) -> None:
        """Remove a file or a folder."""
        remove(self.root / path)

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file or folder; its times stay in half of the cases."""
        how = shutil.copy2 if self.rng.random() < 0.5 else shutil.copyfile
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, copy_function=how)
        else:
            how(source, target)

    def name_like(self, path: str) -> str:
        """A name for something beside a path: a person's, or one as the project gives."""
        name = path.rpartition("/")[2]
        made = f"{self.rng.getrandbits(80):020x}" if len(name) <= 20 else self._uuid()
        return self.variant(f"{name}.bak", f"{name}-old", f"{name} (copy)", made)

    def _uuid(self) -> str:
        return f"{self.rng.getrandbits(128):032x}"

    def link_name(self) -> str:
        """A name for a link: a person's, an attempt's or a key's."""
        return self.rng.choice(("linked", self._uuid(), f"{self.rng.getrandbits(80):020x}"))


def beside(path: str, name: str) -> str:
    """The path of something that lies beside a path and has the last name of another one."""
    return f"{path.rpartition('/')[0]}/{name.rpartition('/')[2]}".lstrip("/")


def _below_study(path: str) -> str:
    """A path without its study: studies may have records of the same identity."""
    parts = path.split("/")
    return "/".join(parts[2:]) if len(parts) > 3 and parts[0] == "studies" else path


def remove(path: Path) -> None:
    """Remove a file, a link itself, or a folder with all below it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
