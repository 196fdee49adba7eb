"""Many tasks for Ray, of which a bounded number waits or runs at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Task = TypeVar("Task")

TICK_S = 2.0


def each_ended(
    ray: Any,
    submit: Callable[[Task], Any],
    tasks: Iterable[Task],
    at_once: int,
    tick: Callable[[], None],
) -> Iterator[tuple[Task, Any]]:
    """Run tasks; yields each with Ray's reference to what it gave, once it has ended.

    Args:
        ray: Ray.
        submit: Hands a task to Ray and returns the reference.
        tasks: The tasks.
        at_once: How many may be with Ray at once.
        tick: Called every few seconds and before what has ended is told.
    """
    waiting = deque(tasks)
    running: dict[Any, Task] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            task = waiting.popleft()
            running[submit(task)] = task
        ended, _ = ray.wait(list(running), timeout=TICK_S)
        tick()
        for reference in ended:
            yield running.pop(reference), reference
