"""Running trials on Ray Tune: one process per CPU thread or GPU share, reused from trial to trial.

Tune gets exactly what the store does not have and forgets everything at the end: its own
experiment state is not used to resume. A worker that is lost makes Tune begin the trial again,
which goes on from its last checkpoint in the store. What found too little memory, or lost its
workers again and again, has a last try at the end, with nothing beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray import tune

from datasets.storage import Storage, StorageError, UnwritableError
from study.cluster.memory import keep_freed, release
from study.progress.events import EVENTS, Event
from study.records.studies import StudyStore
from study.records.types import PlannedTrial
from study.trials.order import TrialOrder
from study.trials.outcome import Outcome
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
class DataRefs:
    """Slices in Ray's object store, mapped without a copy by every worker of a node.

    Attributes:
        train: Reference to the pooled healthy slices, by modality.
        test: Reference to a test cohort's slices, by (cohort, modality).
        outside: Share of lesion voxels outside the brain masks, by (cohort, modality).
    """

    train: dict[str, Any] = field(default_factory=dict)
    test: dict[tuple[str, str], Any] = field(default_factory=dict)
    outside: dict[tuple[str, str], float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _WorkerData:
    """The slices that one trial may ask for, fetched when it does."""

    refs: DataRefs
    modality: str

    def train(self) -> Slices:
        return _slices(self.refs.train[self.modality])

    def test(self, cohort: str) -> Slices:
        return _slices(self.refs.test[cohort, self.modality])

    def lesion_outside_brain_share(self, cohort: str) -> float | None:
        return self.refs.outside.get((cohort, self.modality))


def _slices(ref: Any) -> Slices:
    try:
        slices: Slices = ray.get(ref)
    except ray.exceptions.RayError as error:
        raise StorageError(f"the slices in Ray's object store are lost: {error}") from error
    return slices


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """A worker process that does one trial after another."""

    _events: Iterator[Event]

    def setup(self, config: dict[str, Any], refs: DataRefs, uri: str, study: str) -> None:
        """Prepare the process, then the first trial."""
        import torch

        torch.set_num_threads(1)  # one CPU trial = one thread
        keep_freed()
        self._refs = refs
        self._study = StudyStore.open(Storage.open(uri), study)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turn to another trial without a new process."""
        order = ORDER.validate_json(new_config["order"])
        data = _WorkerData(self._refs, order.spec.modality)
        self._events = run_trial(order, data, self._study)
        release()  # the last trial's
        return True

    def step(self) -> dict[str, Any]:
        """Go on until some time has passed; at least to the next event, if there is one.

        Each step costs a round trip to the driver, which tiny trials would wait for most of all.
        """
        events: list[Event] = []
        began = time.monotonic()
        try:
            while time.monotonic() - began < STEP_S:
                event = next(self._events, None)
                if event is None:
                    return _report_events(events, done=True)
                events.append(event)
                if event.is_last:
                    return _report_events(events, done=True)
        except StorageError as error:  # no record can be written: the driver has to say so
            lost = {"lost": str(error), "unwritable": isinstance(error, UnwritableError)}
            return _report_events(events, done=True) | lost
        return _report_events(events, done=False)


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
        refs: The slices.
        share: CPUs and GPUs of one trial.
        at_once: How many trials have room at once, if that is known.
    """

    orders: Sequence[TrialOrder]
    searches: Sequence[LambdaSearch]
    order_of: Callable[[PlannedTrial], TrialOrder]
    session: Session
    refs: DataRefs
    share: dict[str, float] = field(default_factory=lambda: {"cpu": 1.0})
    at_once: int | None = None


class _StopWhenUnwritable(OfThisProcess, tune.Stopper):  # type: ignore[misc]
    """Ends a run whose results could not be kept."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._watch.unwritable


def run_trials(run: TuneRun) -> Outcome:
    """Run all trials to their records."""
    total = len(run.orders) + sum(search.left for search in run.searches)
    first = _tune(run, PlanSearcher(run.orders, run.searches, run.order_of), total)
    watches = [first]
    if first.alone and not first.unwritable:
        share = {**run.share, "gpu": 1.0} if "gpu" in run.share else run.share
        alone = PlanSearcher(first.alone, (), run.order_of)
        last_try = replace(run, share=share, at_once=1)
        watches.append(_tune(last_try, alone, len(first.alone), begin_again=0))
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
    watch = Watch(session.study, searcher, run.searches, session.monitor)
    actor = tune.with_parameters(
        TrialActor, refs=run.refs, uri=session.store.uri, study=session.study.name
    )
    with tempfile.TemporaryDirectory(prefix="anomaly-study-") as scratch:
        tune.Tuner(
            tune.with_resources(actor, run.share),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=count,
                reuse_actors=True,
                max_concurrent_trials=run.at_once,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                callbacks=[watch],
                stop=_StopWhenUnwritable(watch),
                failure_config=tune.FailureConfig(max_failures=begin_again),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
                verbose=1 if session.verbose else 0,
            ),
        ).fit()
    return watch
