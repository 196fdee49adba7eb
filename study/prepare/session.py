"""What commands that work scan by scan share: progress, Ray once it is needed, an end in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from study import cli
from study.cluster import connection
from study.cluster.orphans import end_orphans
from study.errors import EXIT_INTERRUPTED
from study.progress.live import View
from study.progress.monitor import Monitor
from study.progress.tracker import Tracker
from study.terminal import PlainConsole


@contextmanager
def at_work(
    console: PlainConsole, address: str | None, *, verbose: bool
) -> Iterator[tuple[Monitor, Callable[[], Any]]]:
    """Show how far the work is; gives the monitor, and what starts Ray when there is work for it.

    Args:
        console: Where progress is shown.
        address: Of a Ray cluster, or None for one of this process alone.
        verbose: Whether Ray may print.
    """
    tracker = Tracker()
    view = View(tracker, console)
    monitor = Monitor(tracker, view)
    with ExitStack() as stack, view:

        def connect() -> Any:
            ray = stack.enter_context(connection.connected(address, verbose=verbose))
            if monitor.watch_ray is None:
                monitor.watch_ray = stack.enter_context(connection.watched(ray))
            return ray

        yield monitor, connect


def status_of(work: Callable[[], int], console: PlainConsole) -> int:
    """Do work that keeps every finished scan; the exit status, also if it was interrupted."""
    cli.end_in_order_on_signals()
    end_orphans()  # also where there is nothing left to do that needs Ray
    try:
        return work()
    except KeyboardInterrupt:
        console.print(
            "Interrupted; every finished scan is kept. The same command goes on from here."
        )
        return EXIT_INTERRUPTED
