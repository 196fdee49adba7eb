"""What a benchmark reports, and how two ways of doing something are timed against each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
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
        name: What ``results.json`` calls it; empty if it is not kept there.
        spread: Lowest and highest ratio of the runs; None if there was one run.
    """

    claim: str
    ours: float
    unit: str
    peer: str
    peers: float
    ratio: float
    wanted: float | None = None
    name: str = ""
    spread: tuple[float, float] | None = None


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


def cpu_seconds(function: Callable[[], object]) -> float:
    """CPU seconds of this process in one call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def compared(
    name: str,
    claim: str,
    peer: str,
    ours: Callable[[], object],
    peers: Callable[[], object],
    *,
    wanted: float | None = None,
    pairs: int = 5,
) -> Measurement:
    """Median CPU seconds of both, called in turn after one call each, with the ratios' spread."""
    ours()
    peers()
    times = [(cpu_seconds(ours), cpu_seconds(peers)) for _ in range(pairs)]
    return of_pairs(name, claim, peer, times, wanted)


def of_pairs(
    name: str,
    claim: str,
    peer: str,
    times: Sequence[tuple[float, float]],
    wanted: float | None = None,
) -> Measurement:
    """Medians of pairs of CPU seconds, ours and the peer's, and their ratios' spread."""
    ratios = [theirs / own for own, theirs in times]
    return Measurement(
        claim,
        statistics.median(own for own, _ in times),
        "CPU s",
        peer,
        statistics.median(theirs for _, theirs in times),
        statistics.median(ratios),
        wanted,
        name,
        (min(ratios), max(ratios)),
    )
