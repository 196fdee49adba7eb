"""Signals while Ray starts: the command ends in order, whatever Ray was doing."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.cluster.signals import signals_held
from study.errors import EXIT_INTERRUPTED
from study.interrupts import SENTENCE
from tests.commands import Command

Start = Callable[..., Command]
Until = Callable[..., None]

CODE = """
from study import cli
from study.cluster import connection

app = cli.new_app()


@app.command()
def main() -> None:
    cli.end_in_order_on_signals()
    connection.configure(verbose=False)
    with connection.connected(None, verbose=False):
        print("was not interrupted")


cli.run(app)
"""

_CONNECTED = "as-*/r/session_latest/logs/python-core-driver*"

MOMENTS = {
    "its folder is made": (signal.SIGHUP, "as-*/r"),
    "the driver connects": (signal.SIGINT, _CONNECTED),
    "the driver connects, and a scheduler ends it": (signal.SIGTERM, _CONNECTED),
}
"""A signal, and what is then there of Ray's files."""


@pytest.fixture
def _terminal() -> Iterator[None]:
    """What is started in here hears that its terminal is closed, even if these tests do not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder in which Ray's sockets can be."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_while_ray_starts_ends_in_order(
    moment: str, start: Start, until: Until, short_folder: Path
) -> None:
    number, pattern = MOMENTS[moment]
    command = start("-c", CODE, TMPDIR=str(short_folder))

    def is_there() -> bool:
        return command.status is not None or any(short_folder.glob(pattern))

    until(is_there, moment)
    os.kill(command.process.pid, number)
    assert command.wait() == EXIT_INTERRUPTED, command.describe()
    assert (command.out, command.err) == ("", f"{SENTENCE}\n")
    assert command.left_over() == []
    assert list(short_folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_acted_upon_at_the_end_of_what_may_not_be_interrupted(number: int) -> None:
    came: list[str] = []
    before = signal.signal(number, lambda *_: came.append("acted upon"))
    try:
        with signals_held() as noted:
            signal.raise_signal(number)
            came.append(f"noted {noted == [number]}")
        assert came == ["noted True", "acted upon"]
        signal.raise_signal(number)
        assert came[2:] == ["acted upon"]
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_held() as noted:
            signal.raise_signal(signal.SIGHUP)
        assert noted == []
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_takes_the_place_of_the_failure_that_it_has_caused() -> None:
    def start() -> None:
        with signals_held():
            signal.raise_signal(signal.SIGINT)
            raise ConnectionError("a process of Ray, which the same signal has ended")

    with pytest.raises(KeyboardInterrupt):
        start()
