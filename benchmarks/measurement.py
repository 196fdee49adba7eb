"""What a benchmark reports, and how two ways of doing something are timed against each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One line of the table.

    Attributes:
        claim: What is measured, in words.
        ours: Our figure.
        unit: Its unit.
        peer: The named alternative, measured in the same run.
        peers: The alternative's figure.
        ratio: How many times better ours is.
        wanted: The ratio that is claimed, or None.
    """

    claim: str
    ours: float
    unit: str
    peer: str
    peers: float
    ratio: float
    wanted: float | None = None


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def paired(
    ours: Callable[[], object], peers: Callable[[], object], pairs: int = 3
) -> tuple[float, float]:
    """Median seconds of both, called in turn after one call each, so that drift hits both."""
    ours()
    peers()
    times = [(seconds(ours), seconds(peers)) for _ in range(pairs)]
    return statistics.median(t for t, _ in times), statistics.median(t for _, t in times)
