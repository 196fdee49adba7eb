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
    """A tmpfs of 12 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place))
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


def _check_finishes(arena: Arena, store: Path) -> None:
    again = arena.start(store)
    assert again.wait() == 0, again.describe()
    ours = study_content(open_study(store, STUDY))
    assert ours == study_content(open_study(arena.undisturbed, STUDY))
    assert unnamed(store) == []


@pytest.mark.parametrize("leave", [0, 150_000, 1_500_000])
def test_a_full_disk_stops_the_study_cleanly_and_space_lets_it_finish(
    arena: Arena, disk: Path, leave: int, until: Callable[..., None]
) -> None:
    """The disk is full at once, when the first trials write, and in the middle of the networks."""
    store = disk / "store"
    shutil.copytree(arena.undisturbed / "shards", store / "shards")
    filler = _fill(disk, leave)
    first = arena.start(store)
    assert first.wait() == 1, first.describe()
    _check_said(first, "No space left on device")
    if leave:
        assert "The store takes nothing any more" in first.out
        assert "No record: " in first.out
    until(lambda: not first.left_over(), "no process is left")
    filler.unlink()
    _check_finishes(arena, store)


def test_a_read_only_disk_stops_the_study_with_a_sentence(arena: Arena, disk: Path) -> None:
    store = disk / "store"
    shutil.copytree(arena.undisturbed / "shards", store / "shards")
    assert not _mount("-o", "remount,ro", str(disk))
    first = arena.start(store)
    assert first.wait() == 1, first.describe()
    _check_said(first, "Read-only file system")
    assert not _mount("-o", "remount,rw", str(disk))
    _check_finishes(arena, store)


def _check_said(command: Command, reason: str) -> None:
    assert reason in command.out + command.err
    assert "Traceback" not in command.out + command.err
    assert len(command.err.strip().splitlines()) <= 1
