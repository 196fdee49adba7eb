"""Running trials on Ray Tune: one process per CPU thread or GPU share, reused from trial to trial.

Tune gets exactly what the store does not have and forgets everything at the end: its own
experiment state is not used to resume. A worker that is lost makes Tune begin the trial again,
which goes on from its last checkpoint in the store. What found too little memory, or lost its
workers again and again, has a last try at the end, with nothing beside it.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray import tune

from datasets.storage import StorageError, UnwritableError
from study.cluster.memory import keep_freed, release
from study.progress.events import EVENTS, Event
from study.records.studies import StudyStore
from study.records.types import PlannedTrial
from study.trials.data import StudySlices
from study.trials.halving import Rungs
from study.trials.node import NodeSlices
from study.trials.order import TrialOrder
from study.trials.outcome import Outcome
from study.trials.places import Places
from study.trials.search import LambdaSearch
from study.trials.searcher import ORDER, OfThisProcess, PlanSearcher
from study.trials.session import Session
from study.trials.trial import run_trial
from study.trials.watch import Watch
from trainables.slices import Slices

LOST_WORKER_RETRIES = 3
"""How often a trial is begun again after its worker was lost; NaN or an exception is a record."""

STEP_S = 0.2
"""Seconds of work after which a worker tells the driver how far it is."""


@dataclass(frozen=True)
class _NodeData:
    """The slices that one trial may ask for, mapped when it does."""

    sets: StudySlices
    modality: str
    node: NodeSlices

    def train(self) -> Slices:
        return self.node.slices(self.sets.train[self.modality])

    def test(self, cohort: str) -> Slices:
        return self.node.slices(self.sets.test[cohort, self.modality])

    def lesion_outside_brain_share(self, cohort: str) -> float | None:
        return self.sets.outside.get((cohort, self.modality))


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """A worker process that does one trial after another."""

    _events: Iterator[Event]
    _fault: str

    def setup(
        self, config: dict[str, Any], sets: StudySlices, node: NodeSlices, study: str
    ) -> None:
        """Prepare the process, then the first trial."""
        import torch

        torch.set_num_threads(1)  # one CPU trial = one thread
        keep_freed()
        self._sets, self._node = sets, node
        self._study = StudyStore.open(node.store, study)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turn to another trial without a new process."""
        order = ORDER.validate_json(new_config["order"])
        self._fault = _why_unusable(order.device)
        data = _NodeData(self._sets, order.spec.modality, self._node)
        self._events = run_trial(order, data, self._study)
        release()  # the last trial's
        return True

    def step(self) -> dict[str, Any]:
        """Go on until some time has passed; at least to the next event, if there is one.

        Each step costs a round trip to the driver, which tiny trials would wait for most of all.
        """
        if self._fault:  # of this node, and none of the trial's
            return _report_events([], done=True) | {"lost": self._fault, "unwritable": False}
        events: list[Event] = []
        began = time.monotonic()
        try:
            while time.monotonic() - began < STEP_S:
                event = next(self._events, None)
                if event is None:
                    return _report_events(events, done=True)
                events.append(event)
                # The driver decides at a rung whether the fit goes on.
                if event.is_last or event.validation_loss is not None:
                    return _report_events(events, done=event.is_last)
        except StorageError as error:  # no record can be written: the driver has to say so
            lost = {"lost": str(error), "unwritable": isinstance(error, UnwritableError)}
            return _report_events(events, done=True) | lost
        return _report_events(events, done=False)


def _why_unusable(device: str) -> str:
    """Why a device of this node cannot be used, such as that of a node that has joined later."""
    if device == "cpu":
        return ""
    import torch

    if torch.cuda.is_available():
        return ""
    return (
        f"Ray counts a GPU on {socket.gethostname()} that torch there cannot use; mend its driver "
        "or torch, or start that node with --num-gpus=0"
    )


def _report_events(events: list[Event], *, done: bool) -> dict[str, Any]:
    return {"done": done, "events": EVENTS.dump_json(events).decode()}


@dataclass(frozen=True)
class TuneRun:
    """Everything one Tune run needs.

    Attributes:
        orders: The known trials, in the order they shall start.
        searches: The searches.
        order_of: Makes an order of a search's trial.
        session: Where it takes place.
        sets: The slices.
        node: How a node gets at them.
        places: Where trials run.
        rungs: What networks have reached so far; None where none is stopped early.
    """

    orders: Sequence[TrialOrder]
    searches: Sequence[LambdaSearch]
    order_of: Callable[[PlannedTrial], TrialOrder]
    session: Session
    sets: StudySlices
    node: NodeSlices
    places: Places
    rungs: Rungs | None = None


class _Stopper(OfThisProcess, tune.Stopper):  # type: ignore[misc]
    """Ends networks that others have left behind, and a run whose results could not be kept."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._watch.must_stop(trial_id, result)

    def stop_all(self) -> bool:
        return self._watch.unwritable


def run_trials(run: TuneRun) -> Outcome:
    """Run all trials to their records."""
    total = len(run.orders) + sum(search.left for search in run.searches)
    first = _tune(run, PlanSearcher(run.orders, run.searches, run.order_of, run.places), total)
    watches = [first]
    if first.alone and not first.unwritable:
        alone = PlanSearcher(first.alone, (), run.order_of, run.places, one_by_one=True)
        watches.append(_tune(run, alone, len(first.alone), begin_again=0))
    return Outcome(
        lost=tuple(sentence for watch in watches for sentence in watch.lost),
        unwritable=any(watch.unwritable for watch in watches),
        needs_cleanup=any(watch.workers_lost or watch.unwritable for watch in watches),
    )


def _tune(
    run: TuneRun, searcher: PlanSearcher, count: int, begin_again: int = LOST_WORKER_RETRIES
) -> Watch:
    """Run the trials of a searcher, beginning them again so often after a lost worker."""
    session = run.session
    watch = Watch(searcher, run.searches, session, run.places, run.rungs)
    actor = tune.with_parameters(TrialActor, sets=run.sets, node=run.node, study=session.study.name)
    with tempfile.TemporaryDirectory(prefix="anomaly-study-") as scratch, _uncounted(), _plain():
        tune.Tuner(
            tune.with_resources(actor, _resources),
            tune_config=tune.TuneConfig(search_alg=searcher, num_samples=count, reuse_actors=True),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                callbacks=[watch],
                stop=_Stopper(watch),
                failure_config=tune.FailureConfig(max_failures=begin_again),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
                verbose=1 if session.verbose else 0,
            ),
        ).fit()
    return watch


@contextmanager
def _uncounted() -> Iterator[None]:
    """Keep Tune from counting which of its own callbacks it is given.

    It does so for telemetry, which is off, and loads seconds of MLflow and wandb to compare.
    """
    from ray.air._internal import usage

    count = usage.tag_callbacks
    usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = count


@contextmanager
def _plain() -> Iterator[None]:
    """Let Tune's actors have the environment of all workers.

    It gives them a variable that PyTorch Lightning reads, and Ray a process of its own to each
    environment: those that it has started already would stand by idly.
    """
    from ray.tune.execution import class_cache

    before = class_cache.DEFAULT_ENV_VARS
    class_cache.DEFAULT_ENV_VARS = {}
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS = before


def _resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What Ray reserves for a trial."""
    return tune.PlacementGroupFactory([config["resources"]])
