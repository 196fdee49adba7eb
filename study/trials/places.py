"""Where trials run: CPU threads and shares of GPUs, and how many of them there are now.

A detector that needs no GPU never takes one, so mixtures and baselines run on CPUs while networks
train on cards. How many trials share a card follows from its own memory. A cluster may grow: a few
trials more than there is room for wait at Ray, where an autoscaler sees them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from study.cluster.nodes import Node, NodeReport, ask_nodes, nodes_of
from study.plan.cost import MOST_TRIALS_PER_GPU
from trainables.arithmetic import DeviceChoice, Precision

GPU_GIB_PER_TRIAL = 3.0
"""What the largest cell of the paper's grid needs at a batch of 64, CUDA's own share included."""

FEWEST_WAITING = 8
"""So many trials wait at Ray even where one has room: what an autoscaler is asked for at least."""

ASK_AGAIN_S = 600.0
"""After so long a node is asked again that did not answer, such as one whose cards others use."""

REFRESH_S = 20.0
"""How often a cluster is asked which nodes it has by now."""


class Ask(Protocol):
    """How nodes are asked what they are, see :func:`study.cluster.nodes.ask_nodes`."""

    def __call__(self, ray: Any, nodes: Sequence[Node], *, cards: bool) -> list[NodeReport]:
        """What some nodes tell, their cards included if that is wanted."""


@dataclass(frozen=True)
class Place:
    """A kind of place for a trial.

    Attributes:
        device: What torch calls it: ``cpu`` or ``cuda``.
        resources: What Ray reserves of a node, by Ray's names.
        count: How many such places the cluster has now.
    """

    device: str
    resources: tuple[tuple[str, float], ...]
    count: int = field(compare=False)

    @property
    def gpu(self) -> float:
        """Share of a card."""
        return dict(self.resources).get("GPU", 0.0)

    def whole(self) -> Place:
        """The same with a card of its own."""
        resources = tuple((n, 1.0 if n == "GPU" else v) for n, v in self.resources)
        return replace(self, resources=resources)


def cpu_places(nodes: Sequence[Node]) -> Place:
    """Places of one thread each."""
    return Place("cpu", (("CPU", 1.0),), sum(int(node.cpus) for node in nodes))


def card_places(reports: Sequence[NodeReport], *, device: str = "cuda") -> list[Place]:
    """Places on cards that torch can use, as many a card as its memory holds.

    Where cards differ, each type of them is a kind of its own.

    Args:
        reports: Of the nodes that have cards.
        device: What torch calls them.
    """
    usable = [r for r in reports if r.card_gib]
    fitting = {r.node.node_id: trials_a_card(r.card_gib) for r in usable}
    types: dict[str, list[NodeReport]] = {}
    for report in usable:
        types.setdefault(report.node.card_type, []).append(report)
    least = {name: min(fitting[r.node.node_id] for r in group) for name, group in types.items()}
    if len(set(least.values())) <= 1 or "" in types:
        # All alike, or cards whose type Ray does not know: the smallest speaks for them.
        types, least = {"": usable}, {"": min(least.values(), default=1)}
    found = []
    for name, group in sorted(types.items()):
        if not group:
            continue
        share = 1.0 / least[name]
        resources = [("CPU", 1.0), ("GPU", share)] + ([(name, 0.001)] if name else [])
        count = sum(int(min(r.node.cpus, r.node.gpus * least[name])) for r in group)
        found.append(Place(device, tuple(resources), count))
    return found


def trials_a_card(gib: float) -> int:
    """How many trials a card of so much memory holds at once."""
    return max(1, min(MOST_TRIALS_PER_GPU, math.floor(gib / GPU_GIB_PER_TRIAL)))


@dataclass(frozen=True)
class CardFault:
    """A card that Ray believes in and torch cannot use.

    Attributes:
        host: Of its node.
        why: Why not.
    """

    host: str
    why: str

    @property
    def words(self) -> str:
        """A sentence without its full stop."""
        return f"Ray counts a GPU on {self.host} that torch there cannot use ({self.why})"


class Places:
    """The places of a cluster as it is now; belongs to the driver's main thread.

    Attributes:
        kinds: The kinds of places, those with a card first.
        reports: What the nodes told.
        faults: Cards that cannot be used.
        may_grow: Whether nodes may join, so that some trials wait at Ray for more room.
    """

    def __init__(
        self, ray: Any, device: DeviceChoice, *, may_grow: bool, ask: Ask = ask_nodes
    ) -> None:
        """Look at the nodes.

        Args:
            ray: Ray.
            device: What networks train on: ``auto`` takes cards where there are any.
            may_grow: Whether nodes may join.
            ask: Lets nodes tell what they are.

        Raises:
            ConnectionError: If a card cannot be used that is to be, or no node answers.
        """
        self.kinds: list[Place] = []
        self.reports: dict[str, NodeReport] = {}
        self.faults: list[CardFault] = []
        self.may_grow = may_grow
        self._ray, self._ask = ray, ask
        self._device = device
        self._looked = -math.inf
        self._asked: dict[str, float] = {}
        self.refresh()
        if device == "cuda" and not self.has_cards:
            raise ConnectionError("this machine has no GPU; use --device cpu or auto")

    @property
    def has_cards(self) -> bool:
        """Whether networks train on cards."""
        return any(kind.gpu for kind in self.kinds)

    @property
    def count(self) -> int:
        """How many trials have room at once, at least one."""
        cards = sum(kind.count for kind in self.kinds if kind.gpu)
        threads = sum(kind.count for kind in self.kinds if not kind.gpu)
        return max(1, cards, threads)

    @property
    def precisions(self) -> list[Precision]:
        """The faster arithmetic of each node on which networks train."""
        found = list(self.reports.values())
        cards = [r for r in found if r.card_gib]
        return [r.precision for r in cards or found]

    def refresh(self) -> None:
        """Take note of nodes that have joined or left, at most now and then.

        Raises:
            ConnectionError: If a card cannot be used that is to be, the first time.
        """
        if time.monotonic() - self._looked < REFRESH_S:
            return
        nodes = nodes_of(self._ray)
        living = {node.node_id for node in nodes}
        new = [node for node in nodes if self._is_to_be_asked(node)]
        wants_cards = self._device != "cpu" and any(node.gpus for node in new)
        if (new and self.may_grow) or wants_cards:
            self._asked |= dict.fromkeys((node.node_id for node in new), time.monotonic())
            for report in self._ask(self._ray, new, cards=self._device != "cpu"):
                self.reports[report.node.node_id] = report
                if report.card_fault:
                    self._take_fault(CardFault(report.node.host, report.card_fault))
        self.reports = {key: r for key, r in self.reports.items() if key in living}
        cards = card_places([r for r in self.reports.values() if r.node.gpus])
        if not cards and self._device == "cuda" and self.may_grow:
            cards = [Place("cuda", (("CPU", 1.0), ("GPU", 1.0)), 0)]  # an autoscaler may bring one
        self.kinds = [*cards, cpu_places(nodes)]
        self._looked = time.monotonic()

    def _is_to_be_asked(self, node: Node) -> bool:
        """Whether a node is new, or has not answered for long: trials wait while one asks."""
        since = time.monotonic() - self._asked.get(node.node_id, -math.inf)
        return node.node_id not in self.reports and since > ASK_AGAIN_S

    def _take_fault(self, fault: CardFault) -> None:
        """On one's own machine a card that fails is told; a cluster's is its operator's to mend.

        One that joins while trials run stops none of them.

        Raises:
            ConnectionError: If cards were asked for, or a cluster has such a one.
        """
        self.faults.append(fault)
        is_first_look = self._looked == -math.inf
        if is_first_look and (self._device == "cuda" or self.may_grow):
            raise ConnectionError(
                f"{fault.words}; mend its driver or torch, start that node with --num-gpus=0, or "
                "run the study with --device cpu"
            )

    def rooms(self, waiting: Mapping[Place, int], running: Mapping[Place, int]) -> list[Place]:
        """The kinds of places that may take another trial now.

        Args:
            waiting: Trials that were handed to Ray and have not started, by kind.
            running: Trials that run, by kind.
        """
        found = []
        for kind in self.kinds:
            ahead = max(FEWEST_WAITING, kind.count) if self.may_grow else 0
            taken = waiting.get(kind, 0) + running.get(kind, 0)
            if taken < kind.count or (waiting.get(kind, 0) < ahead and taken < kind.count + ahead):
                found.append(kind)
        return found
