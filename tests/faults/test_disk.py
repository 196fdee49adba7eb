"""A store on a real small filesystem that is full, or read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import Command
from tests.faults.kills import STUDY, Arena
from tests.stores import open_study, study_content, unnamed

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place))
    if mounted:
        pytest.skip(f"no filesystem can be mounted here: {mounted}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(*words: str) -> str:
    """Mount something; returns why it could not be done, or nothing."""
    if shutil.which("mount") is None:
        return "there is no mount"
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    return done.stderr.strip()


def _fill(disk: Path, leave: int) -> Path:
    """Take all of a disk but so many bytes."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - leave))
    return filler


def test_a_disk_that_takes_nothing_stops_the_study_cleanly_and_one_that_does_lets_it_finish(
    arena: Arena, disk: Path, until: Callable[..., None]
) -> None:
    """Read-only; full at once, when the first trials write, and in the middle of the networks."""
    store = disk / "store"
    shutil.copytree(arena.undisturbed / "shards", store / "shards")
    assert not _mount("-o", "remount,ro", str(disk))
    _stops(arena, store, "Read-only file system", until)
    assert not _mount("-o", "remount,rw", str(disk))
    for leave in (0, 150_000, 4_000_000):
        filler = _fill(disk, leave)
        command = _stops(arena, store, "No space left on device", until)
        if leave:
            assert "The store takes nothing any more" in command.out
            assert "No record: " in command.out
        filler.unlink()
    again = arena.start(store)
    assert again.wait() == 0, again.describe()
    ours = study_content(open_study(store, STUDY))
    assert ours == study_content(open_study(arena.undisturbed, STUDY))
    assert unnamed(store) == []


def _stops(arena: Arena, store: Path, reason: str, until: Callable[..., None]) -> Command:
    """A study that ends with a sentence, and leaves no process."""
    command = arena.start(store)
    assert command.wait() == 1, command.describe()
    assert reason in command.out + command.err
    assert "Traceback" not in command.out + command.err
    assert len(command.err.strip().splitlines()) <= 1
    until(lambda: not command.left_over(), "no process is left")
    return command
