"""Running trials on Ray Tune: one process per CPU thread or GPU share, reused from trial to trial.

Tune gets exactly what the store does not have and forgets everything at the end: its own
experiment state is not used to resume. A worker that is lost makes Tune begin the trial again,
which goes on from its last checkpoint in the store.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import ray
from pydantic import TypeAdapter
from ray import tune
from ray.tune.search import Searcher

from datasets.storage import Storage, StorageError
from study.cost import evaluation_flops, training_flops
from study.records import PlannedTrial
from study.search import LambdaSearch
from study.store import StudyStore
from study.tracker import Tracker, spec_label
from study.trial import Event, TrialOrder, run_trial
from trainables.slices import Slices

LOST_WORKER_RETRIES = 3
"""How often a trial is begun again after its worker was lost; NaN or an exception is a record."""

_ORDER = TypeAdapter(TrialOrder)


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
        slices: Slices = ray.get(self.refs.train[self.modality])
        return slices

    def test(self, cohort: str) -> Slices:
        slices: Slices = ray.get(self.refs.test[cohort, self.modality])
        return slices

    def lesion_outside_brain_share(self, cohort: str) -> float | None:
        return self.refs.outside.get((cohort, self.modality))


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """A worker process that does one trial after another, a step an epoch or an evaluation."""

    _events: Iterator[Event]

    def setup(self, config: dict[str, Any], refs: DataRefs, uri: str, study: str) -> None:
        """Prepare the process, then the first trial."""
        import torch

        torch.set_num_threads(1)  # one CPU trial = one thread
        self._refs = refs
        self._study = StudyStore.open(Storage.open(uri), study)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turn to another trial without a new process."""
        order = _ORDER.validate_json(new_config["order"])
        data = _WorkerData(self._refs, order.spec.modality)
        self._events = run_trial(order, data, self._study)
        return True

    def step(self) -> dict[str, Any]:
        """Do one epoch or one evaluation."""
        try:
            event = next(self._events, None)
        except StorageError as error:  # no record can be written: the driver has to say so
            return {"done": True, "event": None, "lost": str(error)}
        if event is None:
            return {"done": True, "event": None}
        return {"done": event.failed, "event": TypeAdapter(Event).dump_json(event).decode()}


class _OfThisProcess:
    """Something that Tune wants to save and copy, and that is worth neither."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class PlanSearcher(_OfThisProcess, Searcher):  # type: ignore[misc]
    """Hands Tune the plan: known trials in the given order, then the searches' points."""

    def __init__(
        self,
        orders: Sequence[TrialOrder],
        searches: Sequence[LambdaSearch],
        order_of: Callable[[PlannedTrial], TrialOrder],
    ) -> None:
        super().__init__()
        self._orders = list(reversed(orders))
        self._searches = list(searches)
        self._order_of = order_of
        self.by_tune_id: dict[str, TrialOrder] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's configuration."""
        order = self._next()
        if order is None:
            return str(Searcher.FINISHED)
        self.by_tune_id[trial_id] = order
        return {"order": _ORDER.dump_json(order).decode(), "device": order.device}

    def _next(self) -> TrialOrder | None:
        if self._orders:
            return self._orders.pop()
        for search in self._searches:
            if search.left:
                return self._order_of(search.ask())
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn here: the driver's callback tells the searches."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is kept: the store is the truth."""


class _Watch(_OfThisProcess, tune.Callback):  # type: ignore[misc]
    """Tells tracker, searches and view what happens."""

    def __init__(
        self,
        searcher: PlanSearcher,
        searches: Sequence[LambdaSearch],
        tracker: Tracker,
        changed: Callable[[bool], None],
    ) -> None:
        self._searcher = searcher
        self._searches = searches
        self._tracker = tracker
        self._changed = changed
        self._failed: set[str] = set()
        self.lost: list[str] = []

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        order = self._searcher.by_tune_id[trial.trial_id]
        self._tracker.trial_started(order.work.trial.trial_id, order.spec, time.monotonic())
        self._changed(False)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        order = self._searcher.by_tune_id[trial.trial_id]
        if result.get("lost"):
            self.lost.append(f"{spec_label(order.spec)}: {result['lost']}")
            self._failed.add(order.work.trial.trial_id)
        text = result.get("event")
        if text is None:
            return
        event = Event(**json.loads(text))
        trial_id = order.work.trial.trial_id
        is_fit = event.stage == "fit"
        flops = training_flops if is_fit else evaluation_flops
        cost = flops(order.spec) * event.n_slices
        self._tracker.trial_moved(
            trial_id, event.stage, event.epoch, event.n_slices, cost, time.monotonic()
        )
        if event.failed:
            self._failed.add(trial_id)
        if not is_fit:
            column = f"{event.cohort} {order.spec.modality}"
            self._tracker.evaluated(column, spec_label(order.spec), event.auc)
            for search in self._searches:
                search.evaluated(trial_id, event.cohort, event.auc)
        self._changed(False)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial, failed=True)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._changed(False)

    def _ended(self, trial: Any, *, failed: bool) -> None:
        order = self._searcher.by_tune_id[trial.trial_id]
        trial_id = order.work.trial.trial_id
        failed = failed or trial_id in self._failed
        self._tracker.trial_ended(trial_id, failed=failed)
        for search in self._searches:
            search.ended(trial_id)
        self._changed(True)


@dataclass(frozen=True)
class TuneRun:
    """Everything one Tune run needs.

    Attributes:
        orders: The known trials, in the order they shall start.
        searches: The searches.
        order_of: Makes an order of a search's trial.
        study: Where the records go.
        refs: The slices.
        tracker: Told how far it is.
        changed: Called after every change of the tracker, with whether a trial ended.
        device: ``cpu`` or ``cuda``.
        share: CPUs and GPUs of one trial.
        verbose: Whether Ray and Tune may print.
    """

    orders: Sequence[TrialOrder]
    searches: Sequence[LambdaSearch]
    order_of: Callable[[PlannedTrial], TrialOrder]
    study: StudyStore
    store: Storage
    refs: DataRefs
    tracker: Tracker
    changed: Callable[[bool], None]
    share: dict[str, float] = field(default_factory=lambda: {"cpu": 1.0})
    verbose: bool = False


def run_trials(run: TuneRun) -> list[str]:
    """Run all trials to their records.

    Returns:
        One sentence for each trial that ended without a record, such as one whose worker was lost
        again and again, or that found the store's disk full.
    """
    searcher = PlanSearcher(run.orders, run.searches, run.order_of)
    watch = _Watch(searcher, run.searches, run.tracker, run.changed)
    actor = tune.with_parameters(TrialActor, refs=run.refs, uri=run.store.uri, study=run.study.name)
    total = len(run.orders) + sum(search.left for search in run.searches)
    with tempfile.TemporaryDirectory(prefix="anomaly-study-") as scratch:
        results = tune.Tuner(
            tune.with_resources(actor, run.share),
            tune_config=tune.TuneConfig(search_alg=searcher, num_samples=total, reuse_actors=True),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                callbacks=[watch],
                failure_config=tune.FailureConfig(max_failures=LOST_WORKER_RETRIES),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
                verbose=1 if run.verbose else 0,
            ),
        ).fit()
    return watch.lost + [_sentence(error) for error in results.errors]


def _sentence(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
