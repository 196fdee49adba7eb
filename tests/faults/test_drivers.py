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


def _training(store: Path) -> Callable[[], bool]:
    """Whether a fit has a checkpoint and no manifest."""
    folder = store / "studies" / STUDY / "trials"
    return lambda: any(
        not path.with_name("manifest.json").exists() for path in folder.glob("*/checkpoint.json")
    )


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
    until(_training(store), "a fit has a checkpoint")
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_says_how_to_go_on_and_does(
    arena: Arena, start: Callable[..., Command], until: Until, number: signal.Signals
) -> None:
    store = arena.prepared(f"interrupted-{number}")
    first = arena.start(store)
    until(_training(store), "a fit has a checkpoint")
    if number == signal.SIGINT:
        os.killpg(first.process.pid, number)  # as a terminal does
    else:
        first.process.send_signal(number)  # as a scheduler does
    assert first.wait() == 130
    assert first.left_over() == []
    assert first.err == ""
    assert not _alive(open_study(store, STUDY))
    assert unnamed(store) == []
    head, command = first.out.strip().splitlines()[-2:]
    assert head.startswith("Interrupted; every finished epoch is kept, ")
    assert "Traceback" not in first.out

    words = shlex.split(command)
    again = start(*words[1:])
    assert again.wait() == 0, again.describe()
    assert _is_like_undisturbed(arena, store)
    assert unnamed(store) == []


def test_a_second_interrupt_ends_the_study_at_once_and_loses_nothing(
    arena: Arena, until: Until
) -> None:
    store = arena.prepared("twice")
    first = arena.start(store)
    until(_training(store), "a fit has a checkpoint")
    first.process.send_signal(signal.SIGINT)
    first.process.send_signal(signal.SIGSTOP)
    first.process.send_signal(signal.SIGINT)
    first.process.send_signal(signal.SIGCONT)
    until(lambda: first.status is not None, "the driver has ended")
    until(lambda: not first.left_over(), "its processes have ended")
    again = arena.start(store)
    assert again.wait() == 0, again.describe()
    assert again.left_over() == []
    assert _is_like_undisturbed(arena, store)
    assert unnamed(store) == []
