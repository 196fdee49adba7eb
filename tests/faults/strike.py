"""Killing a process of a running study at a moment that its store shows.

The store is watched through inotify. When a file appears that begins the wanted moment, every
process of the study is stopped; what must not be finished is looked at; only then the victim is
killed and the others go on. A strike that came too late kills nobody and waits for the next file.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inotify_simple import INotify, flags

from tests.commands import Command, lives, wait_until

_TICK_MS = 50
_MOST_S = 300.0
_BUSY_TICKS = 2
"""Clock ticks of 10 ms that a worker must have computed since the file appeared."""


@dataclass(frozen=True)
class Moment:
    """A moment in the life of a study.

    Attributes:
        file: Pattern of the file, below the store, whose appearance begins it; its group is the
            folder of the record that must not be there yet.
        unfinished: Pattern of the record, below that folder.
        busy: Whether the writer has to have gone on computing since.
    """

    file: re.Pattern[str]
    unfinished: str
    busy: bool = False


class Striker:
    """Watches a study's store and its processes."""

    def __init__(self, command: Command, store: Path) -> None:
        self._command = command
        self._store = store
        self._inotify = INotify()
        self._folders: dict[int, Path] = {}
        self._writers: dict[str, int] = {}
        self._pids: dict[int, str] = {}
        store.mkdir(parents=True, exist_ok=True)
        list(self._watch(store))

    def wait(self, moment: Moment, skip: int) -> tuple[str, str, int] | None:
        """Wait for a moment, then stop all processes.

        Args:
            moment: The moment.
            skip: How many such files are let pass before.

        Returns:
            The file, the record that is not there, and the process that wrote the file; None if
            the study ended before.
        """
        for path in self._files():
            name = str(path.relative_to(self._store))
            match = moment.file.fullmatch(name)
            if match is None or skip > 0:
                skip -= match is not None
                if _place(path.relative_to(self._store)) not in self._writers:
                    self._writer(path)  # later files of the same trial come too fast for a look
                continue
            unfinished = f"{match[1]}/{moment.unfinished}"
            if moment.busy and not self._goes_on(self._writer(path)):
                continue
            self._signal(signal.SIGSTOP)
            writer = self._writer(path)
            if writer and lives(writer) and not any(self._store.glob(unfinished)):
                return name, unfinished, writer
            self._signal(signal.SIGCONT)
        return None

    def resume(self) -> None:
        """Let all processes go on that still live, and watch them no more."""
        self._signal(signal.SIGCONT)
        self._inotify.close()

    def raylet(self) -> int:
        """The process that is Ray's own on this machine."""
        return next(pid for pid, name in self._refreshed().items() if "/raylet/raylet" in name)

    def _files(self) -> Iterator[Path]:
        """Files as they appear: created, or moved to their place."""
        waited_ms = 0.0
        while self._command.status is None and waited_ms < 1000 * _MOST_S:
            events = self._inotify.read(timeout=_TICK_MS)
            if not events:
                waited_ms += _TICK_MS
                self._refreshed()
            for event in events:
                path = self._folders[event.wd] / event.name
                if event.mask & flags.ISDIR:
                    yield from self._watch(path)
                else:
                    yield path

    def _watch(self, folder: Path) -> Iterator[Path]:
        """Watch a folder and all below it; what was there before the watch counts as new."""
        with suppress(FileNotFoundError):
            wd = self._inotify.add_watch(folder, flags.CREATE | flags.MOVED_TO)
            self._folders[wd] = folder
            for path in sorted(folder.iterdir()):
                if path.is_dir():
                    yield from self._watch(path)
                else:
                    yield path

    def _writer(self, path: Path) -> int | None:
        """Who writes a file, or wrote the last one of the same trial or scan."""
        place = _place(path.relative_to(self._store))
        for pid, name in self._pids.items():
            if (name.startswith("ray::") or pid == self._command.process.pid) and _opened(
                pid, path
            ):
                self._writers[place] = pid
        return self._writers.get(place)

    def _goes_on(self, writer: int | None) -> bool:
        """Wait until a process has computed something; False if it has ended."""
        if writer is None:
            return False
        before = _ticks(writer)
        return wait_until(
            lambda: _ticks(writer) >= before + _BUSY_TICKS or not lives(writer), 5.0
        ) and lives(writer)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids if number == signal.SIGSTOP else self._refreshed():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _refreshed(self) -> dict[int, str]:
        """All processes of the study, and their names."""
        self._pids = {pid: title(pid) for pid in self._command.left_over()}
        return self._pids


def title(pid: int) -> str:
    """The command line of a process, or nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def _place(path: Path) -> str:
    """The trial or scan that a file of the store belongs to."""
    return "/".join(path.parts[:4] if path.parts[0] == "studies" else path.parts[:3])


def _opened(pid: int, path: Path) -> bool:
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if os.readlink(link) == str(path):
                    return True
    return False


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])
