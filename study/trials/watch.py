"""What happens in a Tune run, told to tracker, searches and view; and who is to be tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ray import tune

from datasets.storage import StorageError, UnwritableError
from study.cluster.patience import Patience
from study.progress.events import EVENTS, Event
from study.records.halving import Stop
from study.records.names import spec_label
from study.trials.halving import Rungs, group_of
from study.trials.order import TrialOrder
from study.trials.places import Places
from study.trials.search import LambdaSearch
from study.trials.searcher import OfThisProcess, PlanSearcher
from study.trials.session import Session
from study.trials.trial import record_loss, record_stop

_LONGEST = 200
"""Characters of a reason that are shown while a study runs."""


class Watch(OfThisProcess, tune.Callback):  # type: ignore[misc]
    """Follows a Tune run in the driver's process.

    Attributes:
        lost: A sentence for each trial that has no record because none could be written.
        alone: Orders of trials that are to be tried once more with nothing beside them: they
            found too little memory, or their workers were lost again and again.
        workers_lost: How often a worker was lost, whatever became of its trial.
        unwritable: Whether the store takes nothing any more.
    """

    def __init__(
        self,
        searcher: PlanSearcher,
        searches: Sequence[LambdaSearch],
        session: Session,
        places: Places,
        rungs: Rungs | None = None,
    ) -> None:
        monitor = session.monitor
        self._study = session.study
        self._places = places
        self._faults_told = len(places.faults)
        self._patience = Patience(monitor.say, session.wait_s)
        self._searcher = searcher
        self._searches = searches
        self._monitor = monitor
        self._tracker = monitor.tracker
        self._rungs = rungs
        self._failed: set[str] = set()
        self._stops: dict[str, Stop] = {}
        self._over: list[Any] = []
        self.lost: list[str] = []
        self.alone: list[TrialOrder] = []
        self.workers_lost = 0
        self.unwritable = False

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial begins, or begins again on another worker."""
        order = self._order(trial)
        self._searcher.started(trial.trial_id)
        self._tracker.trial_started(order.work.trial.trial_id, order.spec, time.monotonic())
        self._monitor.update()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has lost its worker and waits for another."""
        self.workers_lost += 1
        self._searcher.lost(trial.trial_id)

    def must_stop(self, tune_id: str, result: dict[str, Any]) -> bool:
        """Whether a network ends at the rung that it has come to; Tune asks before it tells."""
        if self._rungs is None:
            return False
        order = self._searcher.order(tune_id)
        trial_id = order.work.trial.trial_id
        for event in EVENTS.validate_json(result.get("events") or "[]"):
            if event.validation_loss is not None and trial_id not in self._stops:
                stop = self._rungs.compare(
                    group_of(order.spec), event.epoch, trial_id, event.validation_loss
                )
                if stop is not None:
                    self._stops[trial_id] = stop
        return trial_id in self._stops

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has done epochs and evaluations, or cannot go on."""
        order = self._order(trial)
        if result.get("lost"):
            self.lost.append(f"{spec_label(order.spec)}: {result['lost']}")
            self._failed.add(order.work.trial.trial_id)
            self.unwritable |= result["unwritable"]
        for event in EVENTS.validate_json(result.get("events") or "[]"):
            self._handle_event(order, event)
        stop = self._stops.get(order.work.trial.trial_id)
        if stop is not None:
            self._write(order, lambda: record_stop(order, self._study, stop))
        self._monitor.update()

    def _handle_event(self, order: TrialOrder, event: Event) -> None:
        """Take in what a worker has done."""
        if event.crowded:
            self._try_alone(order)
            return
        trial_id = order.work.trial.trial_id
        self._tracker.trial_moved(trial_id, event, time.monotonic())
        if event.failed:
            self._fail(order, event.reason)
        if event.stage == "evaluate":
            column = f"{event.cohort} {order.spec.modality}"
            self._tracker.evaluated(column, spec_label(order.spec), event.auc)
            for search in self._searches:
                search.evaluated(trial_id, event.cohort, event.auc)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended."""
        self._over.append(trial)
        self._ended(self._order(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has lost its worker more often than it is begun again."""
        order = self._order(trial)
        self._over.append(trial)
        self.workers_lost += 1
        if order.alone:
            self._give_up(order, trial.get_error() or "its worker process was lost")
        else:
            self._try_alone(order)
        self._ended(order)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune has gone around once more; here alone it lets errors through as they are."""
        for trial in self._over:
            self._searcher.over(trial.trial_id)
            _forget(trial)
        self._over.clear()
        self._monitor.check()
        self._places.refresh()
        for fault in self._places.faults[self._faults_told :]:
            self._monitor.say(f"{fault.words}; trials that Ray puts there are not run.")
        self._faults_told = len(self._places.faults)
        waiting = self._searcher.waiting
        self._patience.check(
            moves=self._searcher.running.total() > 0 or not waiting.total(),
            needs_card=any(place.gpu for place, count in waiting.items() if count),
        )
        self._monitor.update()

    def _order(self, trial: Any) -> TrialOrder:
        return self._searcher.order(trial.trial_id)

    def _fail(self, order: TrialOrder, reason: str) -> None:
        """Take in that a trial has failed, and say so as it happens."""
        self._failed.add(order.work.trial.trial_id)
        self._monitor.say(f"failed: {spec_label(order.spec)}: {_first_line(reason)}")

    def _give_up(self, order: TrialOrder, reason: str) -> None:
        self._fail(order, f"its worker was lost again and again: {_first_line(reason)}")
        self._write(order, lambda: record_loss(order, self._study, reason))

    def _write(self, order: TrialOrder, write: Callable[[], None]) -> None:
        """Write a record of a trial; where that cannot be done, the trial is lost."""
        try:
            write()
        except StorageError as error:
            self.lost.append(f"{spec_label(order.spec)}: {error}")
            self._failed.add(order.work.trial.trial_id)
            self.unwritable |= isinstance(error, UnwritableError)

    def _try_alone(self, order: TrialOrder) -> None:
        self.alone.append(replace(order, alone=True))

    def _ended(self, order: TrialOrder) -> None:
        trial_id = order.work.trial.trial_id
        if any(other.work.trial.trial_id == trial_id for other in self.alone):
            self._tracker.trial_postponed(trial_id)
            return
        failed = trial_id in self._failed
        stopped = trial_id in self._stops and not failed
        self._tracker.trial_ended(trial_id, failed=failed, stopped=stopped)
        for search in self._searches:
            search.ended(trial_id)
        self._monitor.milestone()


def _first_line(text: object) -> str:
    """What fits into a line; the whole of it is in the trial's record."""
    lines = str(text).strip().splitlines() or [""]
    return lines[0] if len(lines[0]) <= _LONGEST else f"{lines[0][: _LONGEST - 1]}…"


def _forget(trial: Any) -> None:
    """Drop the statistics that Tune keeps of a finished trial: 30 KB each, and asked by nobody."""
    trial.run_metadata.metric_analysis.clear()
    trial.run_metadata.metric_n_steps.clear()
