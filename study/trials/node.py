"""What a node of a cluster does for all trials there: it copies the slices of a study once."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.slice_cache import Copied, SliceCache, default_cache
from datasets.storage import Storage
from study.cluster.environment import load_sent
from study.cluster.nodes import nodes_of
from study.records.studies import StudyStore, utc_now
from study.records.types import CopyRecord
from study.trials.data import SliceSet, mapped_slices
from trainables.slices import Slices

_TICK_S = 0.5


@dataclass
class NodeSlices:
    """A study's slices as one process of a node gets at them; travels to it empty-handed.

    Attributes:
        uri: The store.
        study: Name of the study, whose folder there takes note of what was copied.
        cache: Folder for copies, or None for that of the node's user.
        run: Name of this run.
    """

    uri: str
    study: str
    cache: str | None
    run: str
    _opened: dict[str, Slices] = field(default_factory=dict)
    _store: Storage | None = None

    @property
    def store(self) -> Storage:
        """The store, opened once."""
        if self._store is None:
            load_sent()
            self._store = Storage.open(self.uri)
        return self._store

    def slices(self, wanted: SliceSet) -> Slices:
        """The slices of a set, which are copied to this node if it has none.

        Raises:
            DamagedFileError: If a shard is damaged or gone.
            StorageError: If the store or the node's folder cannot be used.
        """
        if wanted.key not in self._opened:
            self.copy(wanted)
        return self._opened[wanted.key]

    def copy(self, wanted: SliceSet) -> int:
        """Make sure that this node has a set; returns the bytes read from the store for it.

        Raises:
            Errors as :meth:`slices`.
        """
        folder = Path(self.cache).expanduser() if self.cache else default_cache()
        found, copied = mapped_slices(SliceCache(folder, self.run), self.store, wanted)
        self._opened[wanted.key] = found
        if copied is None:
            return 0
        self._take_note(wanted, copied)
        return copied.n_bytes

    def _take_note(self, wanted: SliceSet, copied: Copied) -> None:
        record = CopyRecord(
            host=socket.gethostname(),
            slices=wanted.key,
            cohorts=wanted.cohorts,
            n_slices=copied.n_slices,
            n_bytes=copied.n_bytes,
            wall_s=round(copied.wall_s, 3),
            finished=utc_now(),
        )
        StudyStore.open(self.store, self.study).write_copy(record)


@dataclass(frozen=True)
class CopiedSlices:
    """What all nodes have copied.

    Attributes:
        nodes: How many nodes have copied something.
        n_bytes: Bytes that they read from the store together.
        wall_s: Seconds until the last was done.
    """

    nodes: int
    n_bytes: int
    wall_s: float


def copy_to_nodes(
    ray: Any, node_slices: NodeSlices, sets: Sequence[SliceSet], tick: Callable[[], None]
) -> CopiedSlices:
    """Let every node of a cluster copy what it does not have, all at the same time.

    A node that is lost meanwhile is left out; one that joins later copies when it has a trial.

    Args:
        ray: Ray.
        node_slices: How a node gets at the slices.
        sets: What trials will want.
        tick: Called while one waits.

    Raises:
        DamagedFileError: If a shard is damaged or gone.
        StorageError: If the store or a node's folder cannot be used.
    """
    began = time.monotonic()
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    waiting = [
        ray.remote(
            num_cpus=0, max_retries=0, scheduling_strategy=strategy(node.node_id, soft=False)
        )(_copy).remote(node_slices, list(sets))
        for node in nodes_of(ray)
    ]
    nodes = n_bytes = 0
    while waiting:
        done, waiting = ray.wait(waiting, timeout=_TICK_S)
        tick()
        for ref in done:
            try:
                read = ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                if isinstance(cause, OSError):  # of the store, the shards or the node's folder
                    for other in waiting:
                        ray.cancel(other, force=True)
                    raise cause from error
                raise
            except ray.exceptions.RayError:  # its node or process is gone
                continue
            nodes, n_bytes = nodes + bool(read), n_bytes + read
    return CopiedSlices(nodes, n_bytes, time.monotonic() - began)


def _copy(node_slices: NodeSlices, sets: Sequence[SliceSet]) -> int:
    """Copy some sets to this node; returns the bytes that were read from the store."""
    return sum(node_slices.copy(wanted) for wanted in sets)
