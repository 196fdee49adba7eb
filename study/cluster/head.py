"""Watching the head of a cluster: what Ray would try for a minute, then end this process for."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

LOOK_S = 2.0
"""How often the head is looked at."""

LOST_S = 30.0
"""How long it may not answer: shorter than the minute after which Ray ends this process itself."""

_GRACE_S = 15.0
_REACH_S = 5.0


class HeadWatch:
    """Looks at a cluster's head from a thread of its own, since calls to Ray wait for it.

    Args:
        address: Host and port of the cluster's control service.
        lost_s: How long it may not answer.
    """

    def __init__(self, address: str, lost_s: float = LOST_S) -> None:
        host, _, port = address.rpartition(":")
        self._place = (host.strip("[]"), int(port))
        self._lost_s = lost_s
        self._fault = ""
        self._over = threading.Event()
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, name="head-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join(_REACH_S + LOOK_S)

    def check(self) -> None:
        """Find out whether the head still answers.

        Raises:
            ConnectionError: If it has not for too long.
        """
        if self._fault:
            self._told.set()
            raise ConnectionError(self._fault)

    def _run(self) -> None:
        since = time.monotonic()
        while not self._over.wait(LOOK_S):
            if _answers(self._place):
                since = time.monotonic()
            elif time.monotonic() - since > self._lost_s:
                break
        else:
            return
        host, port = self._place
        self._fault = (
            f"the head of the Ray cluster at {host}:{port} has not answered for "
            f"{self._lost_s:.0f} seconds; nothing that was recorded is lost, and once a cluster is "
            "up again the same command goes on from here"
        )
        if self._told.wait(_GRACE_S) or self._over.is_set():
            return
        # The main thread waits in a call to Ray that may never come back.
        sys.stdout.flush()
        sys.stderr.write(f"error: {self._fault}\n")
        sys.stderr.flush()
        os._exit(1)


def _answers(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, timeout=_REACH_S).close()
    except OSError:
        return False
    return True
