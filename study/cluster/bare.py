"""Ray without the processes that show others what a cluster does.

Even where no dashboard is wanted, Ray starts its server, and waits for it; besides one that asks
an autoscaler for nodes, and one that carries what workers print to the driver. A cluster of one
process has nobody who looks at it, never grows, and its workers' output is mostly not wanted: each
of the three takes a second of a core, which a short study would notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def left_bare(*, keep_output: bool) -> Iterator[None]:
    """Let Ray start without them; only what it starts in here is.

    Args:
        keep_output: Whether the driver is to print what workers print.
    """
    from ray._private import utils
    from ray._private.node import Node

    unwanted = ["start_api_server", "start_monitor"]
    unwanted += [] if keep_output else ["start_log_monitor"]
    with ExitStack() as stack:
        for name in unwanted:
            stack.enter_context(_replaced(Node, name, _start_nothing))
        # Which imports all of its packages to see whether they are there: as they are.
        stack.enter_context(_replaced(utils, "get_dashboard_dependency_error", lambda: None))
        yield


@contextmanager
def _replaced(owner: Any, name: str, by: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _start_nothing(node: Any, **options: Any) -> None:
    pass
