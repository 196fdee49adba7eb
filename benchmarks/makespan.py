"""How long the paper's grid takes on so many cards, by a model of the scheduler that runs it.

The model hands out trials with the classes that a study uses (``PlanSearcher``, ``Places``), starts
any of those that wait, as Tune does, and lets trials that share a card slow each other down. It is
compared with the same where what waits starts in the order of the plan, the longest first. Times of
a card are arithmetic until one is measured: see :data:`CARD_FLOPS`. ``check_against`` compares the
model with a run that has taken place.

    python -m benchmarks.makespan STORE STUDY PLACES
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from benchmarks.measurement import Measurement
from benchmarks.paper_grid import COHORTS, ONLY_T1W
from datasets.storage import Storage
from study.cluster.nodes import Node, NodeReport
from study.grids._grid import load_grid
from study.plan.cost import PER_TRIAL_S, Pace, longest_first, size, work_cost
from study.plan.done import Work
from study.plan.plan import build_plan
from study.records.studies import StudyStore
from study.records.types import CohortInfo, PlannedTrial
from study.trials.order import TrialOrder
from study.trials.places import Place, Places
from study.trials.searcher import PlanSearcher
from trainables.spec import TrialSpec

CARD_FLOPS = 120e12
"""Operations a second that a card of the H100's kind does of these small convolutions: an eighth of
what it is sold for. A guess until it is measured; the ratios below hardly move with it."""

LAUNCH_S = 180 * 4e-6
"""Seconds in which a process launches the kernels of one training step: by counting."""

KERNEL_S = 180 * 1e-6
"""Seconds that these keep a card from other processes even where they have nothing to do."""

COUNT_S = 2e-4
"""Seconds of a thread to count a slice's pixels for one score."""

CARDS = (1, 8, 64)


@dataclass
class Job:
    """A trial as the model sees it.

    Attributes:
        name: The trial.
        alone_s: Seconds if nothing shares its card.
        card_s: Seconds of them in which the card does nothing else.
    """

    name: str
    alone_s: float
    card_s: float


class Nodes:
    """What Ray tells of nodes that have one card and sixteen threads each."""

    def __init__(self, cards: int, threads: int) -> None:
        self._cards, self._threads = cards, threads

    def nodes(self) -> list[dict[str, Any]]:
        """As ``ray.nodes``."""
        have = {"CPU": 16.0, "GPU": 1.0} if self._cards else {"CPU": float(self._threads)}
        return [
            {"NodeID": f"n{i}", "NodeManagerAddress": f"n{i}", "Alive": True, "Resources": have}
            for i in range(self._cards or 1)
        ]


def measure() -> list[Measurement]:
    """The paper's grid on 1, 8 and 64 cards, against starting the longest first."""
    found = []
    work, jobs = _paper()
    for cards in CARDS:
        ours = simulate(work, jobs, cards=cards, in_order=False)
        longest = simulate(work, jobs, cards=cards, in_order=True)
        found.append(
            Measurement(
                claim=f"paper grid on {cards} cards, {len(work)} trials",
                ours=ours / 60,
                unit="min",
                peer="longest first, to the letter",
                peers=longest / 60,
                ratio=longest / ours,
                wanted=0.9,
            )
        )
    return found


def _paper() -> tuple[list[Work], dict[str, Job]]:
    """The work of the paper's grid on the paper's data, the longest first."""
    cohorts = tuple(
        CohortInfo(
            name=name,
            role=role,  # type: ignore[arg-type]
            modality=modality,  # type: ignore[arg-type]
            source=name,
            key=f"{name}-{modality}",
            synthetic=False,
            n_scans=scans,
            n_subjects=scans,
            n_slices=scans * slices,
            n_quarantined=0,
        )
        for name, role, scans, slices in COHORTS
        for modality in ("T1w", "T2w")
        if modality == "T1w" or name not in ONLY_T1W
    )
    plan = build_plan(load_grid("paper"), cohorts, seeds=(0,), epochs=None)
    work = [Work(trial, trial.evals, fit=True) for trial in plan.trials]
    pace = Pace(_step_s(plan.trials), COUNT_S)
    costs = {w.trial.trial_id: work_cost(w, cohorts, pace) for w in work}
    jobs = {}
    for w in work:
        spec, cost = w.trial.spec, costs[w.trial.trial_id]
        flops = size(spec).flops_per_slice
        steps = cost.fit_slices / 32
        on_card = steps * (KERNEL_S + 32 * flops / CARD_FLOPS) if flops else 0.0
        jobs[w.trial.trial_id] = Job(w.trial.trial_id, cost.total_s, on_card)
    return longest_first(work, costs), jobs


def _step_s(trials: Sequence[PlannedTrial]) -> tuple[tuple[float, float], ...]:
    """Seconds of a step a slice, on a card of one's own, by operations of the step a slice."""
    specs: list[TrialSpec] = [trial.spec for trial in trials]
    flops = sorted({size(spec).flops_per_slice for spec in specs} - {0.0})
    return tuple((f, max(LAUNCH_S, KERNEL_S + 32 * f / CARD_FLOPS) / 32) for f in flops)


def simulate(
    work: Sequence[Work],
    jobs: dict[str, Job],
    *,
    cards: int = 0,
    threads: int = 1,
    in_order: bool,
    seed: int = 0,
) -> float:
    """Seconds until all trials are done.

    Args:
        work: The trials, in the order of the plan.
        jobs: How long they take.
        cards: How many nodes with a card there are; with 0, one node with threads alone.
        threads: How many of these.
        in_order: Whether what waits is started in the order of the plan; Tune starts any.
        seed: Of which one Tune starts.
    """
    rng = random.Random(seed)
    orders = [TrialOrder(w, (), ()) for w in work]
    searcher = PlanSearcher(orders, [], _no_order, _places(cards, threads))
    waiting: dict[Place, list[str]] = {}
    running: dict[str, tuple[Place, int, float]] = {}
    free: dict[Place, list[int]] = {}
    now, number = 0.0, 0
    while True:
        while isinstance(config := searcher.suggest(f"t{number}"), dict):
            place = next(p for p in searcher.waiting if dict(p.resources) == config["resources"])
            free.setdefault(place, [n % max(1, cards) for n in range(place.count)])
            waiting.setdefault(place, []).append(f"t{number}")
            number += 1
        for place, names in waiting.items():
            while names and free[place]:
                name = names.pop(0 if in_order else rng.randrange(len(names)))
                # Ray fills the node that has most room.
                card = min(free[place], key=lambda c: _sharing(running, place, c))
                free[place].remove(card)
                searcher.started(name)
                running[name] = (place, card, 0.0)
        if not running:
            return now
        rates = _rates({n: jobs[searcher.order(n).work.trial.trial_id] for n in running}, running)
        step = min((1 - done) / rates[name] for name, (_, _, done) in running.items())
        now += step
        for name, (place, card, done) in list(running.items()):
            left = done + step * rates[name]
            running[name] = (place, card, left)
            if left > 1 - 1e-9:
                del running[name]
                free[place].append(card)
                searcher.over(name)


def _sharing(running: dict[str, tuple[Place, int, float]], place: Place, card: int) -> int:
    return sum(p == place and c == card for p, c, _ in running.values())


def _rates(jobs: dict[str, Job], running: dict[str, tuple[Place, int, float]]) -> dict[str, float]:
    """Share of each trial done in a second: a card that is asked for too much slows all on it."""
    asked: dict[tuple[Place, int], float] = {}
    for name, (place, card, _) in running.items():
        share = jobs[name].card_s / jobs[name].alone_s if place.gpu else 0.0
        asked[place, card] = asked.get((place, card), 0.0) + share
    return {
        name: 1 / jobs[name].alone_s / max(1.0, asked[place, card])
        for name, (place, card, _) in running.items()
    }


def _places(cards: int, threads: int) -> Places:
    def ask(ray: Any, nodes: Sequence[Node], *, cards: bool) -> list[NodeReport]:
        return [NodeReport(node, "bfloat16", card_gib=80.0 if node.gpus else 0.0) for node in nodes]

    return Places(Nodes(cards, threads), "auto", may_grow=bool(cards), ask=ask)


def _no_order(trial: PlannedTrial) -> TrialOrder:
    raise ValueError(f"there is no search that could ask for {trial.trial_id}")


def check_against(uri: str, study: str, threads: int) -> tuple[float, float]:
    """Seconds that the trials of a finished run took, and that the model gives them.

    Args:
        uri: The store.
        study: A study of CPU trials that ran without a break.
        threads: How many ran at once.
    """
    store = StudyStore.open(Storage.open(uri), study)
    record = store.study()
    if record is None:
        raise ValueError(f"there is no study {study!r} in {uri!r}")
    jobs, ends, begins = {}, [], []
    for trial in record.trials:
        fit = store.trial(trial.trial_id).fit()
        evaluations = [store.trial(trial.trial_id).evaluation(e.eval_id) for e in trial.evals]
        if fit is None or None in evaluations:
            raise ValueError(f"trial {trial.trial_id} is not done")
        records = [fit, *(e for e in evaluations if e is not None)]
        last = max(datetime.fromisoformat(r.finished) for r in records)
        wall_s = sum(r.wall_s for r in records)
        ends.append(last)
        begins.append(last - timedelta(seconds=wall_s))
        jobs[trial.trial_id] = Job(trial.trial_id, wall_s + PER_TRIAL_S, 0.0)
    work = sorted(
        (Work(trial, trial.evals, fit=True) for trial in record.trials),
        key=lambda w: -jobs[w.trial.trial_id].alone_s,
    )
    modelled = simulate(work, jobs, threads=threads, in_order=False)
    return (max(ends) - min(begins)).total_seconds(), modelled


if __name__ == "__main__":
    took, modelled = check_against(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    print(f"took {took:.1f} s, the model gives {modelled:.1f} s: {modelled / took:.3f}")
