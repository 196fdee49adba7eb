"""The learning rate over the steps of a training: pure functions of their number."""

from __future__ import annotations

from typing import Literal

Schedule = Literal["decay", "constant"]
"""``decay``: constant, then linearly to 0 over the last third of all steps; ``constant``: never
less. The paper states a rate of 1e-3 and no schedule; with a constant one the noise of the last
steps decides a table's figures."""


def steps_before_decay(total: int, schedule: Schedule) -> int:
    """How many of a training's steps are taken at the full rate.

    Args:
        total: Steps of the whole training.
        schedule: What becomes of the rate.
    """
    return total if schedule == "constant" else 2 * total // 3


def learning_rate(step: int, total: int, schedule: Schedule) -> float:
    """The rate of a step as a share of the full one, in (0, 1].

    Args:
        step: Number of the step, from 0.
        total: Steps of the whole training.
        schedule: What becomes of the rate.
    """
    full = steps_before_decay(total, schedule)
    return 1.0 if step < full else (total - step) / (total - full)
