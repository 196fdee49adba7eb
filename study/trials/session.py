"""Where the trials of a run take place, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datasets.storage import Storage
from study.progress.monitor import Monitor
from study.records.studies import StudyStore
from study.trials.order import CHECKPOINT_S


@dataclass(frozen=True)
class Session:
    """What all trials of a run share; belongs to the driver's main thread.

    Attributes:
        study: Where the records go.
        store: Where the shards lie.
        connect: Gives Ray; called only if there is something to do.
        monitor: Told how far it is.
        retry_failed: Whether trials that failed run again.
        checkpoint_s: How often a fit is kept within a long epoch, in seconds.
        verbose: Whether Ray and Tune may print.
    """

    study: StudyStore
    store: Storage
    connect: Callable[[], Any]
    monitor: Monitor
    retry_failed: bool = False
    checkpoint_s: float = CHECKPOINT_S
    verbose: bool = False
