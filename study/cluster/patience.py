"""Waiting for a node that has room: told after half a minute, ended after a quarter of an hour."""

from __future__ import annotations

import time
from collections.abc import Callable

from study.terminal import duration

WAIT_S = 900.0
"""How long a cluster may take to offer a place: an autoscaler needs minutes to bring up a node."""

TELL_S = 30.0
"""After so long one is told what is waited for."""


class Patience:
    """Sees whether anything moves, says so if nothing does, and gives up in the end.

    Args:
        say: Told in a sentence what is waited for.
        wait_s: How long nothing may move, in seconds.
        count: Gives how many CPUs and GPUs the cluster offers now.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        wait_s: float = WAIT_S,
        count: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        self._say = say
        self._wait_s = wait_s
        self._count = count or _cluster_resources
        self._since: float | None = None
        self._has_told = False

    def check(self, *, moves: bool, needs_card: bool = False) -> None:
        """Take note of how it is now.

        Args:
            moves: Whether anything runs, or nothing has to.
            needs_card: Whether a GPU is wanted.

        Raises:
            ConnectionError: If nothing has moved for too long.
        """
        now = time.monotonic()
        if moves or self._since is None:
            self._since, self._has_told = (None if moves else now), False
            return
        waited = now - self._since
        if waited >= self._wait_s:
            raise ConnectionError(
                f"{self._what(needs_card)} ({duration(waited)} by now); add nodes, or free some, "
                "and run the same command again: it goes on from here (--wait-for-nodes waits "
                "longer)"
            )
        if not self._has_told and waited >= min(TELL_S, self._wait_s / 2):
            self._has_told = True
            left = duration(self._wait_s - waited)
            what = self._what(needs_card)
            self._say(f"{what[0].upper()}{what[1:]}; waiting up to {left} more.")

    def _what(self, needs_card: bool) -> str:
        have = self._count()
        if needs_card and not have.get("GPU"):
            return "no node of the cluster has a GPU"
        if not have.get("CPU"):
            return "no node of the cluster has a CPU"
        return "nothing has begun: others use the cluster's nodes, or they are slow to start"


def _cluster_resources() -> dict[str, float]:
    import ray

    found: dict[str, float] = ray.cluster_resources()
    return found
