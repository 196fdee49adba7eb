"""Drivers that meet, and drivers that are asked to stop."""

from __future__ import annotations

import os
import shlex
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from study.records.studies import StudyStore
from tests.commands import Command
from tests.faults.kills import STUDY, Arena
from tests.stores import open_study, study_content, unnamed

pytestmark = pytest.mark.slow

Until = Callable[..., None]


def _training(store: Path, command: Command) -> Callable[[], bool]:
    """Whether a fit has a new checkpoint and no manifest."""
    folder = store / "studies" / STUDY / "trials"

    def found() -> dict[Path, int]:
        paths = folder.glob("*/checkpoint.json")
        return {p: p.stat().st_mtime_ns for p in paths if not p.with_name("manifest.json").exists()}

    before = found()

    def is_training() -> bool:
        assert command.status is None, command.describe()
        return bool(found().items() - before.items())

    return is_training


def _is_like_undisturbed(arena: Arena, store: Path) -> bool:
    studies = (open_study(place, STUDY) for place in (store, arena.undisturbed))
    ours, undisturbed = (study_content(study) for study in studies)
    return ours == undisturbed


def _alive(study: StudyStore) -> bool:
    progress = study.progress()
    return progress is not None and not progress.has_ended


def test_a_second_driver_is_told_who_runs_the_study_and_may_take_it_over(
    arena: Arena, until: Until
) -> None:
    store = arena.prepared("drivers")
    first = arena.start(store)
    until(_training(store, first), "a fit has a checkpoint")
    first.process.send_signal(signal.SIGSTOP)  # it holds the study, and comes no further
    progress = open_study(store, STUDY).progress()
    assert progress is not None

    second = arena.start(store)
    assert second.wait() == 2
    (line,) = second.err.strip().splitlines()
    for word in (str(first.process.pid), socket.gethostname(), progress.started, "--take-over"):
        assert word in line

    third = arena.start(store, "--take-over")
    assert third.wait() == 0, third.describe()
    assert _is_like_undisturbed(arena, store)

    first.process.send_signal(signal.SIGCONT)
    assert first.wait() == 1
    assert f"was taken over by process {third.process.pid}" in first.out
    assert "Traceback" not in first.err
    until(lambda: not first.left_over(), "nothing is left of the first driver")
    assert _is_like_undisturbed(arena, store)

    last = arena.start(store)  # sweeps up what the two have left
    assert last.wait() == 0
    assert unnamed(store) == []


def test_an_interrupted_study_says_how_to_go_on_and_does(
    arena: Arena, start: Callable[..., Command], until: Until
) -> None:
    """Interrupted by a scheduler, by a terminal, and twice within a moment."""
    store = arena.prepared("interrupted")
    command = arena.start(store)
    for number in (signal.SIGTERM, signal.SIGINT):
        until(_training(store, command), "a fit has a checkpoint of this run")
        if number == signal.SIGINT:
            os.killpg(command.process.pid, number)  # as a terminal does
        else:
            command.process.send_signal(number)  # as a scheduler does
        assert command.wait() == 130
        assert command.left_over() == []
        assert command.err == ""
        assert not _alive(open_study(store, STUDY))
        assert unnamed(store) == []
        head, told = command.out.strip().splitlines()[-2:]
        assert head.startswith("Interrupted; every finished epoch is kept, ")
        assert "Traceback" not in command.out
        command = start(*shlex.split(told)[1:])

    until(_training(store, command), "a fit has a checkpoint of this run")
    for interrupt in (signal.SIGINT, signal.SIGSTOP, signal.SIGINT, signal.SIGCONT):
        command.process.send_signal(interrupt)
    until(lambda: command.status is not None, "the driver has ended")
    until(lambda: not command.left_over(), "its processes have ended")
    again = arena.start(store)
    assert again.wait() == 0, again.describe()
    assert again.left_over() == []
    assert _is_like_undisturbed(arena, store)
    assert unnamed(store) == []
