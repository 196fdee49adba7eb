"""Where the trials of a run take place, and how."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from datasets.storage import Storage
from study.cluster.patience import WAIT_S
from study.progress.monitor import Monitor
from study.records.halving import Halving
from study.records.studies import StudyStore
from study.trials.order import CHECKPOINT_S
from study.trials.places import Places


@dataclass(frozen=True)
class Session:
    """What all trials of a run share; belongs to the driver's main thread.

    Attributes:
        study: Where the records go.
        store: Where the shards lie.
        connect: Gives Ray; called only if there is something to do.
        places: Gives where trials run; called once Ray is there.
        monitor: Told how far it is.
        retry_failed: Whether trials that failed run again.
        checkpoint_s: How often a fit is kept within a long epoch, in seconds.
        verbose: Whether Ray and Tune may print.
        cache: Folder of each node for its copies of slices, or None for the user's own.
        run: Name of this run.
        halving: How networks are stopped early; None for not at all.
        wait_s: How long to wait for a node with room, in seconds.
    """

    study: StudyStore
    store: Storage
    connect: Callable[[], Any]
    places: Callable[[], Places]
    monitor: Monitor
    retry_failed: bool = False
    checkpoint_s: float = CHECKPOINT_S
    verbose: bool = False
    cache: str | None = None
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    wait_s: float = WAIT_S
    halving: Halving | None = None
