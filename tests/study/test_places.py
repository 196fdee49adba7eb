"""Where trials run: cards for what uses them, threads for the rest, and a little queue at Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from study.cluster.nodes import Node, NodeReport, check_alike
from study.plan.done import Work
from study.records.types import PlannedTrial
from study.trials.order import TrialOrder
from study.trials.places import FEWEST_WAITING, Place, Places, card_places
from study.trials.searcher import PlanSearcher
from tests.nodes import Cluster
from trainables.spec import TrialSpec

A100, T4 = "accelerator_type:A100", "accelerator_type:T4"


def report(name: str, gib: float, *, cpus: int = 16, gpus: int = 1, kind: str = "") -> NodeReport:
    return NodeReport(Node(name, name, cpus, gpus, kind), "bfloat16", card_gib=gib)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Memory of the nodes' cards in GiB by node; where it is 0 torch cannot use the card."""
    found: dict[str, float] = {}

    def ask(ray: Any, nodes: list[Node], *, cards: bool) -> list[NodeReport]:
        return [
            NodeReport(
                node,
                "float32",
                card_gib=found.get(node.node_id, 0.0) if cards else 0.0,
                card_fault="its driver is old" if cards and found.get(node.node_id) == 0 else "",
            )
            for node in nodes
        ]

    monkeypatch.setattr(Places.__init__, "__kwdefaults__", {"ask": ask})
    return found


@pytest.fixture
def orders() -> Callable[[str], list[TrialOrder]]:
    """Orders of models named in a row, each of another trial."""

    def make(models: str) -> list[TrialOrder]:
        found = []
        for seed, model in enumerate(models.split()):
            spec = TrialSpec(model=model, modality="T1w", seed=seed)
            trial = PlannedTrial(trial_id=f"trial-{seed}", spec=spec, evals=())
            found.append(TrialOrder(Work(trial, (), fit=True), ("ixi",), ("key",)))
        return found

    return make


@pytest.mark.parametrize(
    ("gib", "trials"), [(80, 8), (24, 8), (16, 5), (12, 4), (6, 2), (4, 1), (1, 1)]
)
def test_a_card_takes_as_many_trials_as_its_memory_holds(gib: float, trials: int) -> None:
    (place,) = card_places([report("a", gib)])
    assert place.gpu == 1 / trials
    assert place.count == trials


def test_cards_that_differ_are_kinds_of_their_own() -> None:
    small, large = report("a", 16, kind=T4), report("b", 80, kind=A100)
    assert [(p.gpu, p.count, p.resources[-1][0]) for p in card_places([small, large])] == [
        (1 / 8, 8, A100),
        (1 / 5, 5, T4),
    ]


def test_cards_of_unknown_type_are_all_taken_for_the_smallest() -> None:
    (place,) = card_places([report("a", 16), report("b", 80), report("c", 80, kind=A100)])
    assert (place.gpu, place.count) == (1 / 5, 15)


def test_threads_bound_the_trials_of_a_node_with_cards() -> None:
    (place,) = card_places([report("a", 80, cpus=3, gpus=4)])
    assert place.count == 3


def test_a_cluster_has_a_queue_for_the_autoscaler_and_a_machine_alone_has_none(
    reports: dict[str, float],
) -> None:
    def handed(*, may_grow: bool) -> int:
        places = Places(Cluster({"CPU": 2.0}), "auto", may_grow=may_grow)
        waiting: Counter[Place] = Counter()
        while rooms := places.rooms(waiting, Counter()):
            waiting[rooms[0]] += 1
        return waiting.total()

    assert handed(may_grow=False) == 2
    assert handed(may_grow=True) == FEWEST_WAITING


def test_the_queue_stays_while_trials_run(reports: dict[str, float]) -> None:
    places = Places(Cluster({"CPU": 20.0}), "auto", may_grow=True)
    (kind,) = places.kinds
    waiting = Counter({kind: 0})
    while places.rooms(waiting, Counter({kind: 20})):
        waiting[kind] += 1
    assert waiting[kind] == 20


def test_nodes_that_join_later_are_used(
    reports: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.trials.places.REFRESH_S", 0.0)
    cluster = Cluster({"CPU": 2.0})
    places = Places(cluster, "auto", may_grow=True)
    assert (places.has_cards, places.count) == (False, 2)
    reports["n1"] = 80.0
    cluster.resources.append({"CPU": 16.0, "GPU": 1.0})
    places.refresh()
    assert [(kind.device, kind.count) for kind in places.kinds] == [("cuda", 8), ("cpu", 18)]
    assert places.has_cards
    cluster.resources.pop()
    places.refresh()
    assert not places.has_cards


def test_a_node_that_does_not_answer_is_not_asked_again_and_again(
    reports: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.trials.places.REFRESH_S", 0.0)
    asked: list[str] = []

    def silent(ray: Any, nodes: Sequence[Node], *, cards: bool) -> list[NodeReport]:
        asked.extend(node.node_id for node in nodes)
        return []

    places = Places(Cluster({"CPU": 2.0}), "auto", may_grow=True, ask=silent)
    for _ in range(3):
        places.refresh()
    assert asked == ["n0"]


def test_a_card_that_fails_on_a_node_that_joins_later_stops_nothing_and_is_told(
    reports: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.trials.places.REFRESH_S", 0.0)
    cluster = Cluster({"CPU": 2.0})
    places = Places(cluster, "auto", may_grow=True)
    reports["n1"] = 0.0
    cluster.resources.append({"CPU": 16.0, "GPU": 1.0})
    places.refresh()
    places.refresh()
    assert [fault.host for fault in places.faults] == ["10.0.0.1"]
    assert [(kind.device, kind.count) for kind in places.kinds] == [("cpu", 18)]


def test_with_device_cuda_a_cluster_is_asked_for_a_card_that_it_does_not_have_yet(
    reports: dict[str, float],
) -> None:
    places = Places(Cluster({"CPU": 2.0}), "cuda", may_grow=True)
    assert [(kind.device, kind.gpu, kind.count) for kind in places.kinds] == [
        ("cuda", 1.0, 0),
        ("cpu", 0.0, 2),
    ]
    with pytest.raises(ConnectionError, match="has no GPU; use --device cpu or auto"):
        Places(Cluster({"CPU": 2.0}), "cuda", may_grow=False)


def test_a_card_that_torch_cannot_use_is_an_error_on_a_cluster_and_a_note_on_ones_own_machine(
    reports: dict[str, float],
) -> None:
    cluster = Cluster({"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0})
    reports["n1"] = 0.0
    for device in ("auto", "cuda"):
        with pytest.raises(ConnectionError, match=r"10\.0\.0\.1.*its driver is old.*--device cpu"):
            Places(cluster, device, may_grow=True)  # type: ignore[arg-type]
    assert not Places(cluster, "cpu", may_grow=True).has_cards
    places = Places(cluster, "auto", may_grow=False)
    assert [fault.host for fault in places.faults] == ["10.0.0.1"]
    assert [kind.device for kind in places.kinds] == ["cpu"]


def test_what_uses_no_card_runs_on_threads_while_networks_have_the_cards(
    reports: dict[str, float], orders: Callable[[str], list[TrialOrder]]
) -> None:
    reports["n1"] = 6.0
    cluster = Cluster({"CPU": 1.0}, {"CPU": 2.0, "GPU": 1.0})
    planned = orders("vae gmm vae intensity vae")
    searcher = PlanSearcher(planned, [], _no_order, Places(cluster, "auto", may_grow=False))
    handed = []
    for number in range(10):
        config = searcher.suggest(f"t{number}")
        if isinstance(config, dict):
            model = searcher.order(f"t{number}").spec.model
            handed.append((model, config["device"], config["resources"].get("GPU", 0)))
    assert handed == [
        ("vae", "cuda", 0.5),
        ("vae", "cuda", 0.5),
        ("gmm", "cpu", 0),
        ("intensity", "cpu", 0),
    ]
    searcher.over("t0")
    config = searcher.suggest("t10")
    assert isinstance(config, dict)
    assert (searcher.order("t10").spec.model, config["device"]) == ("vae", "cuda")
    assert searcher.suggest("t11") == "FINISHED"


def test_without_cards_all_stand_in_one_line_in_the_order_of_the_plan(
    reports: dict[str, float], orders: Callable[[str], list[TrialOrder]]
) -> None:
    planned = orders("vae gmm ae intensity vae")
    places = Places(Cluster({"CPU": 5.0}), "auto", may_grow=False)
    searcher = PlanSearcher(planned, [], _no_order, places)
    for number, order in enumerate(planned):
        searcher.suggest(f"t{number}")
        assert searcher.order(f"t{number}").spec == order.spec


def test_a_trial_that_lost_its_worker_waits_again_and_is_counted_once(
    reports: dict[str, float], orders: Callable[[str], list[TrialOrder]]
) -> None:
    places = Places(Cluster({"CPU": 1.0}), "auto", may_grow=False)
    searcher = PlanSearcher(orders("vae vae"), [], _no_order, places)
    searcher.suggest("t0")
    for _ in range(3):
        searcher.started("t0")
        assert (searcher.waiting.total(), searcher.running.total()) == (0, 1)
        searcher.lost("t0")
        assert (searcher.waiting.total(), searcher.running.total()) == (1, 0)
    assert searcher.suggest("t1") is None
    searcher.over("t0")
    assert (searcher.waiting.total(), searcher.running.total()) == (0, 0)
    assert isinstance(searcher.suggest("t1"), dict)


def test_a_last_try_has_a_card_and_the_cluster_to_itself(
    reports: dict[str, float], orders: Callable[[str], list[TrialOrder]]
) -> None:
    reports["n0"] = 80.0
    places = Places(Cluster({"CPU": 8.0, "GPU": 1.0}), "auto", may_grow=True)
    planned = orders("vae vae")
    searcher = PlanSearcher(planned, [], _no_order, places, one_by_one=True)
    config = searcher.suggest("t0")
    assert isinstance(config, dict)
    assert config["resources"]["GPU"] == 1.0
    assert searcher.suggest("t1") is None


@pytest.mark.parametrize(
    ("versions", "plugins", "needed", "words"),
    [
        ((("torch", "1.0.0"),), (), (), r"torch 1\.0\.0, and this machine"),
        ((("Python", "3.9"),), (), (), r"Python 3\.9, and this machine"),
        ((), ("anomaly_study.models:ours",), ("anomaly_study.models:theirs",), "lacks the plug-in"),
    ],
)
def test_a_node_that_would_compute_something_else_is_named(
    versions: tuple[tuple[str, str], ...],
    plugins: tuple[str, ...],
    needed: tuple[str, ...],
    words: str,
) -> None:
    node = Node("id", "box", 1, 0)
    other = NodeReport(node, "float32", versions=versions, plugins=plugins)
    with pytest.raises(ConnectionError, match=f"the node box .*{words}"):
        check_alike([other], needed)
    check_alike([NodeReport(node, "float32", plugins=needed)], needed)


def _no_order(trial: object) -> TrialOrder:
    raise AssertionError(f"no search is there that could ask for {trial}")
