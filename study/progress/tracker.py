"""How far a run is: pure bookkeeping, told by the driver, shown by the live view and heartbeat."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from study.cluster.processes import process_identity, process_space
from study.plan.cost import WorkCost
from study.progress.events import Event
from study.records.heartbeats import Progress, RunningTrial, Stage
from study.records.names import spec_label
from study.records.studies import utc_now
from trainables.spec import TrialSpec

_WINDOW_S = 60.0

_PRIOR_S = 20.0
"""How long the pace that was measured beforehand outweighs that of the run itself."""


@dataclass
class Tracker:
    """The state of a run; changed by the driver's main thread, told by its heartbeat's.

    Attributes:
        planned: Trials of the whole plan.
        done: Trials done, earlier runs' included.
        failed: Trials failed, earlier runs' included.
        stopped: Trials stopped early by their validation loss, earlier runs' included.
        costs: What this run's trials cost, by trial, in seconds of a core; see ``study.plan.cost``.
        places: How many trials run at once.
        best: Best brain-region AUC so far by ``cohort modality``, and whose it is.
        took_over: Drivers that this one and its predecessors have taken over from.
        stage: What the run is at.
        caption: What people read for a part of a stage; empty for the stage itself.
        stage_done: Scans or files of the stage that are done.
        stage_total: All of them; 0 where that is not known yet.
        needs_cleanup: Whether parts may be left that no manifest names.
        began: When this run began, a monotonic time in seconds.
    """

    planned: int = 0
    done: int = 0
    failed: int = 0
    stopped: int = 0
    costs: dict[str, WorkCost] = field(default_factory=dict)
    places: int = 1
    stage: Stage = Stage.PREPARE
    caption: str = ""
    stage_done: int = 0
    stage_total: int = 0
    best: dict[str, tuple[float, str]] = field(default_factory=dict)
    took_over: tuple[str, ...] = ()
    needs_cleanup: bool = False
    driver: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: str = field(default_factory=utc_now)
    began: float = field(default_factory=time.monotonic)
    _running: dict[str, RunningTrial] = field(default_factory=dict)
    _slices: deque[tuple[float, int]] = field(default_factory=deque)
    _left: dict[str, float] = field(default_factory=dict)
    _moved: dict[str, float] = field(default_factory=dict)
    _cost_done: float = 0.0
    _first: float | None = None

    def begin(self, stage: Stage, total: int = 0, caption: str = "") -> None:
        """A stage begins, or a part of one.

        Args:
            stage: The stage.
            total: How many scans or files it has; 0 where that is not known yet.
            caption: What people read for it, if it is only a part of the stage.
        """
        self.stage, self.caption = stage, caption
        self.stage_done, self.stage_total = 0, total

    def expect(self, costs: Mapping[str, WorkCost], places: int) -> None:
        """Take in what this run is going to do.

        Args:
            costs: By trial.
            places: How many trials run at once.
        """
        self.costs, self.places = dict(costs), max(1, places)
        self._left = {trial_id: cost.total_s for trial_id, cost in costs.items()}

    def trial_started(self, trial_id: str, spec: TrialSpec, now: float) -> None:
        """A trial begins, or begins again on another worker."""
        self._first = now if self._first is None else self._first
        self._moved[trial_id] = now
        self._running[trial_id] = RunningTrial(
            trial_id=trial_id, label=spec_label(spec), stage="fit", epochs=spec.epochs
        )

    def trial_moved(self, trial_id: str, event: Event, now: float) -> None:
        """A trial has gone on.

        Args:
            trial_id: Which.
            event: How far it is now.
            now: A monotonic time in seconds.
        """
        is_fit = event.stage == "fit"
        self._moved[trial_id] = now
        self._slices.append((now, event.n_slices))
        while now - self._slices[0][0] > _WINDOW_S:
            self._slices.popleft()
        cost = self.costs.get(trial_id)
        if cost is not None:
            seconds = cost.of_fit(event.n_slices) if is_fit else cost.of_evaluation(event.cohort)
            seconds = min(seconds, self._left.get(trial_id, 0.0))
            self._left[trial_id] -= seconds
            self._cost_done += seconds
        running = self._running.get(trial_id)
        if running is not None:
            change: dict[str, object] = {"stage": event.stage, "epoch": event.epoch}
            change["share"] = round(event.share, 4) if event.share < 1 else 0.0
            if event.loss is not None:
                change["loss"] = event.loss
            self._running[trial_id] = running.model_copy(update=change)

    def trial_ended(self, trial_id: str, *, failed: bool, stopped: bool = False) -> None:
        """A trial has its last record; what was expected of it and did not come is dropped."""
        self._running.pop(trial_id, None)
        self._moved.pop(trial_id, None)
        self._left.pop(trial_id, None)
        if failed:
            self.failed += 1
        elif stopped:
            self.stopped += 1
        else:
            self.done += 1

    def trial_postponed(self, trial_id: str) -> None:
        """A trial waits for another try, alone."""
        self._running.pop(trial_id, None)
        self._moved.pop(trial_id, None)

    def evaluated(self, column: str, label: str, auc: Mapping[str, float | None]) -> None:
        """A trial's AUCs on a test cohort are known."""
        for score, value in auc.items():
            if value is not None and value > self.best.get(column, (-1.0, ""))[0]:
                self.best[column] = (value, f"{label} {score}")

    @property
    def ended(self) -> int:
        """Trials that have all the records that they will get."""
        return self.done + self.failed + self.stopped

    @property
    def running(self) -> tuple[RunningTrial, ...]:
        """The trials at work, in the order they began."""
        return tuple(self._running.values())

    def slices_per_s(self, now: float) -> float:
        """Slices trained or evaluated per second over the last minute."""
        if not self._slices or self._first is None:
            return 0.0
        span = max(now - max(self._first, now - _WINDOW_S), 1e-3)
        return sum(n for _, n in tuple(self._slices)) / span

    def seconds_left(self, now: float) -> float | None:
        """Time left, or None where nothing is expected.

        At first at the pace measured beforehand, then more and more at that of this run; never
        less than the longest trial takes, since a trial runs in one place.
        """
        left = dict(self._left)
        if self.stage is not Stage.TRIALS or not left:
            return None
        elapsed = now - self._first if self._first is not None else 0.0
        done_s = _PRIOR_S * self.places + self._cost_done
        for trial_id, moved in list(self._moved.items()):  # what has not been told yet
            untold = min(max(0.0, now - moved), left.get(trial_id, 0.0))
            done_s += untold
            left[trial_id] = left.get(trial_id, 0.0) - untold
        pace = done_s / (_PRIOR_S + elapsed)
        return max(sum(left.values()) / pace, max(left.values()) * self.places / pace)

    def heartbeat(self, now: float) -> Progress:
        """The record that tells others how far the run is."""
        return Progress(
            driver=self.driver,
            host=socket.gethostname(),
            pid=os.getpid(),
            process=process_identity(os.getpid()),
            space=process_space(),
            took_over=self.took_over,
            needs_cleanup=self.needs_cleanup,
            stage=self.stage,
            caption=self.caption,
            started=self.started,
            updated=utc_now(),
            planned=self.planned,
            done=self.done,
            failed=self.failed,
            stopped=self.stopped,
            running=self.running,
            slices_per_s=round(self.slices_per_s(now), 1),
            seconds_left=self.seconds_left(now),
            best={column: auc for column, (auc, _) in sorted(dict(self.best).items())},
        )
