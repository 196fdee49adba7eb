"""Every wait for a cluster has an end, and a sentence that says what was waited for."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from study.cluster import head, patience
from study.cluster.head import HeadWatch
from study.cluster.patience import Patience
from tests.commands import wait_until


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("have", "needs_card", "words"),
    [
        ({"CPU": 4.0}, True, "no node of the cluster has a GPU"),
        ({}, False, "no node of the cluster has a CPU"),
        ({"CPU": 4.0, "GPU": 1.0}, True, "nothing has begun: others use the cluster's nodes"),
    ],
)
def test_a_wait_is_told_once_and_then_ends(
    clock: Clock, have: dict[str, float], needs_card: bool, words: str
) -> None:
    said: list[str] = []
    waiting = Patience(said.append, 100.0, lambda: have)
    for clock.now in (0.0, 29.0):
        waiting.check(moves=False, needs_card=needs_card)
    assert said == []
    for clock.now in (31.0, 60.0, 99.0):
        waiting.check(moves=False, needs_card=needs_card)
    assert len(said) == 1
    assert said[0].lower().startswith(words.lower())
    assert said[0].endswith("waiting up to 1 min 09 s more.")
    clock.now = 101.0
    with pytest.raises(ConnectionError, match=rf"^{words}.*\(1 min 41 s by now\)"):
        waiting.check(moves=False, needs_card=needs_card)


def test_what_moves_now_and_then_is_waited_for_again(clock: Clock) -> None:
    said: list[str] = []
    waiting = Patience(said.append, 100.0, dict)
    for clock.now in range(0, 1000, 25):
        waiting.check(moves=clock.now % 100 == 0)
    assert len(said) == 10


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOOK_S", 0.05)
    monkeypatch.setattr(head, "_GRACE_S", 60.0)


@pytest.mark.usefixtures("quick")
def test_a_head_that_is_gone_is_told_and_one_that_comes_back_in_time_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watch = HeadWatch(f"127.0.0.1:{port}", lost_s=1.0)
        watch.start()
        watch.check()

    def tells() -> bool:
        try:
            watch.check()
        except ConnectionError as error:
            return f"127.0.0.1:{port} has not answered" in str(error)
        return False

    assert wait_until(tells, 30)
    watch.stop()


WAIT = """
import sys, threading
from study.cluster import head

head.LOOK_S, head._GRACE_S = 0.05, 0.2
head.HeadWatch(sys.argv[1], lost_s=0.3).start()
threading.Event().wait(60)
"""


def test_a_process_whose_main_thread_waits_for_a_head_that_is_gone_ends_with_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    done = subprocess.run(
        [sys.executable, "-c", WAIT, address], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the head of the Ray cluster at {address}")
    assert len(done.stderr.splitlines()) == 1
