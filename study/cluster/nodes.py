"""What the nodes of a cluster are: their processors and cards, and whether they can run trials."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trainables.arithmetic import Precision, fast_precision

LOOK_S = 60.0
"""How long a node may take to tell what it is; torch alone takes some seconds to load."""

_TICK_S = 1.0
_CARD_TYPE = "accelerator_type:"
_PACKAGES = ("torch",)
_PLUGINS = ("anomaly_study.models", "anomaly_study.sources")


@dataclass(frozen=True)
class Node:
    """A machine of a cluster, as Ray has it.

    Attributes:
        node_id: Ray's name of it.
        host: Its address or name.
        cpus: CPU cores that it offers.
        gpus: GPUs that Ray believes it has.
        card_type: Name of the resource that tells the type of its cards; empty if Ray knows none.
    """

    node_id: str
    host: str
    cpus: float
    gpus: float
    card_type: str = ""


@dataclass(frozen=True)
class NodeReport:
    """What a node tells of itself.

    Attributes:
        node: The node.
        precision: The faster arithmetic of what trains there.
        card_gib: Memory of one of its cards in GiB; 0 without one that torch can use.
        card_fault: Why torch cannot use the card that Ray believes in; empty if it can.
        versions: Of Python and torch, which decide on results.
        plugins: Entry points of plug-ins, such as ``anomaly_study.models:ours``.
    """

    node: Node
    precision: Precision
    card_gib: float = 0.0
    card_fault: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    plugins: tuple[str, ...] = ()


def nodes_of(ray: Any) -> list[Node]:
    """The living nodes that offer a CPU or a GPU, sorted by host."""
    found = []
    for node in ray.nodes():
        have = node["Resources"]
        if not node["Alive"] or not (have.get("CPU") or have.get("GPU")):
            continue
        types = sorted(name for name in have if name.startswith(_CARD_TYPE))
        found.append(
            Node(
                node_id=node["NodeID"],
                host=node.get("NodeManagerHostname") or node["NodeManagerAddress"],
                cpus=float(have.get("CPU", 0)),
                gpus=float(have.get("GPU", 0)),
                card_type=types[0] if types else "",
            )
        )
    return sorted(found, key=lambda n: (n.host, n.node_id))


def core_count(ray: Any) -> int:
    """CPU cores that the cluster offers; 1 if it has none yet."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def await_node(ray: Any, check: Callable[[], None], *, card: bool) -> None:
    """Wait until a cluster has a node for trials, and let an autoscaler know that one is wanted.

    Args:
        ray: Ray.
        check: Called while one waits; raises what ends the wait.
        card: Whether the node has to have a GPU.
    """
    if any(node.gpus if card else node.cpus for node in nodes_of(ray)):
        return
    needs = {"num_gpus": 0.01} if card else {}
    wanted = ray.remote(num_cpus=1, **needs)(_nothing).remote()
    done: list[Any] = []
    while not done:
        done, _ = ray.wait([wanted], timeout=_TICK_S)
        if not done:
            check()


def _nothing() -> None:
    pass


def ask_nodes(ray: Any, nodes: Sequence[Node], *, cards: bool) -> list[NodeReport]:
    """Let nodes tell what they are; one that does not answer within a minute is left out.

    Args:
        ray: Ray.
        nodes: Whom to ask.
        cards: Whether to look at the cards of those that have some, for which one has to be free.

    Raises:
        ConnectionError: If this software does not run there.
    """
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    asked = {}
    for node in nodes:
        needs = {"num_gpus": 0.01} if cards and node.gpus else {}
        task = ray.remote(
            num_cpus=0,
            max_retries=1,
            scheduling_strategy=strategy(node.node_id, soft=False),
            **needs,
        )(_report)
        asked[task.remote(node, cards=cards)] = node
    ready, late = (
        ray.wait(list(asked), num_returns=len(asked), timeout=LOOK_S) if asked else ([], [])
    )
    for ref in late:
        ray.cancel(ref, force=True)
    found = []
    for ref in ready:
        try:
            found.append(ray.get(ref))
        except ray.exceptions.RayError as error:
            if isinstance(error, _lost_nodes(ray)):
                continue
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ConnectionError(
                f"the node {asked[ref].host} cannot run this software: {lines[-1].strip()}"
            ) from error
    return found


def _lost_nodes(ray: Any) -> tuple[type[Exception], ...]:
    """How Ray tells that a node is gone, which it lists as alive for some seconds more."""
    found = ray.exceptions
    return (found.NodeDiedError, found.WorkerCrashedError, found.TaskUnschedulableError)


def check_alike(reports: Iterable[NodeReport], plugins: Iterable[str]) -> None:
    """Find out whether nodes would compute what this process would.

    Args:
        reports: Of the nodes.
        plugins: Entry points that the study needs.

    Raises:
        ConnectionError: If one has other versions, or lacks a plug-in; the message says which.
    """
    here, needed = dict(_versions()), set(plugins)
    for report in reports:
        other = [(n, v) for n, v in report.versions if here.get(n, v) != v]
        if other:
            name, found = other[0]
            raise ConnectionError(
                f"the node {report.node.host} has {name} {found}, and this machine {here[name]}; "
                "install the same on all, or submit the study as a job with study.submit"
            )
        lacking = sorted(needed - set(report.plugins))
        if lacking:
            raise ConnectionError(
                f"the node {report.node.host} lacks the plug-in {lacking[0]!r}; install its "
                "package on every node"
            )


def foreign_plugins(models: Iterable[str], sources: Iterable[str]) -> list[str]:
    """The plug-ins of packages of others among some, as :class:`NodeReport` has them."""
    named = [f"{_PLUGINS[0]}:{name}" for name in models]
    named += [f"{_PLUGINS[1]}:{name}" for name in sources]
    return sorted(set(named) & set(_plugins()))


def _report(node: Node, *, cards: bool) -> NodeReport:
    """What this node is; runs there."""
    gib, fault = _card() if cards and node.gpus else (0.0, "")
    return NodeReport(
        node=node,
        precision=fast_precision("cuda" if gib else "cpu"),
        card_gib=gib,
        card_fault=fault,
        versions=_versions(),
        plugins=_plugins(),
    )


def _card() -> tuple[float, str]:
    """Memory of the card that this task was given in GiB, or why torch cannot use it."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return 0.0, "its torch is built for CPUs alone"
    try:
        if not torch.cuda.is_available():
            return 0.0, "torch finds none there"
        return torch.cuda.mem_get_info()[1] / 2**30, ""
    except (RuntimeError, AssertionError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return 0.0, lines[0].rstrip(".")


def _versions() -> tuple[tuple[str, str], ...]:
    found = [("Python", ".".join(platform.python_version_tuple()[:2]))]
    for name in _PACKAGES:
        try:  # a build for CUDA is the same version as that for CPUs
            found.append((name, version(name).partition("+")[0]))
        except PackageNotFoundError:
            continue
    return tuple(found)


def _plugins() -> tuple[str, ...]:
    from importlib.metadata import entry_points

    return tuple(
        sorted({f"{group}:{p.name}" for group in _PLUGINS for p in entry_points(group=group)})
    )
