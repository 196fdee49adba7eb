"""How far a run is: pure bookkeeping, told by the driver, shown by the live view and heartbeat."""

from __future__ import annotations

import os
import socket
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from study.guard import process_identity
from study.records import Progress, RunningTrial
from study.store import utc_now
from trainables.spec import TrialSpec

_WINDOW_S = 60.0


def spec_label(spec: TrialSpec) -> str:
    """A short name of a trial for people: ``vae T1w (8, 64)``."""
    params = spec.params
    text = f"{spec.model} {spec.modality}"
    if "n_c" in params and "n_z" in params:
        text += f" ({params['n_c']}, {params['n_z']})"
    elif "gmm_lambda" in params:
        text += f" λ {params['gmm_lambda']:g}"
    return f"{text} seed {spec.seed}" if spec.seed else text


@dataclass
class Tracker:
    """The state of a run; changed by the driver's main thread, told by its heartbeat's.

    Attributes:
        planned: Trials of the whole plan.
        done: Trials done, earlier runs' included.
        failed: Trials failed, earlier runs' included.
        cost: Work of this run in floating-point operations, to tell the time left.
        best: Best brain-region AUC so far by ``cohort modality``, and whose it is.
        took_over: Drivers that this one and its predecessors have taken over from.
        untidy: Whether parts may be left that no manifest names.
    """

    planned: int = 0
    done: int = 0
    failed: int = 0
    cost: float = 0.0
    stage: str = "prepare"
    stage_done: int = 0
    stage_total: int = 0
    best: dict[str, tuple[float, str]] = field(default_factory=dict)
    took_over: tuple[str, ...] = ()
    untidy: bool = False
    driver: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: str = field(default_factory=utc_now)
    _running: dict[str, RunningTrial] = field(default_factory=dict)
    _work: deque[tuple[float, int, float]] = field(default_factory=deque)
    _cost_done: float = 0.0
    _first: float | None = None

    def trial_started(self, trial_id: str, spec: TrialSpec, now: float) -> None:
        """A trial begins, or begins again on another worker."""
        self._first = now if self._first is None else self._first
        self._running[trial_id] = RunningTrial(
            trial_id=trial_id, label=spec_label(spec), stage="fit", epochs=spec.epochs
        )

    def trial_moved(
        self, trial_id: str, stage: str, epoch: int, n_slices: int, cost: float, now: float
    ) -> None:
        """A trial has finished an epoch or an evaluation.

        Args:
            trial_id: Which.
            stage: ``fit`` or ``evaluate``.
            epoch: Epochs complete.
            n_slices: Slices worked on.
            cost: Floating-point operations of that step.
            now: A monotonic time in seconds.
        """
        self._work.append((now, n_slices, cost))
        self._cost_done += cost
        while self._work and now - self._work[0][0] > _WINDOW_S:
            self._work.popleft()
        running = self._running.get(trial_id)
        if running is not None:
            change = {"stage": stage, "epoch": epoch}
            self._running[trial_id] = running.model_copy(update=change)

    def trial_ended(self, trial_id: str, *, failed: bool) -> None:
        """A trial has its last record."""
        self._running.pop(trial_id, None)
        if failed:
            self.failed += 1
        else:
            self.done += 1

    def trial_postponed(self, trial_id: str) -> None:
        """A trial waits for another try, alone."""
        self._running.pop(trial_id, None)

    def evaluated(self, column: str, label: str, auc: Mapping[str, float | None]) -> None:
        """A trial's AUCs on a test cohort are known."""
        for score, value in auc.items():
            if value is not None and value > self.best.get(column, (-1.0, ""))[0]:
                self.best[column] = (value, f"{label} {score}")

    @property
    def running(self) -> tuple[RunningTrial, ...]:
        """The trials at work, in the order they began."""
        return tuple(self._running.values())

    def slices_per_s(self, now: float) -> float:
        """Slices trained or evaluated per second over the last minute."""
        if not self._work or self._first is None:
            return 0.0
        span = max(now - max(self._first, now - _WINDOW_S), 1e-3)
        return sum(n for _, n, _ in tuple(self._work)) / span

    def seconds_left(self, now: float) -> float | None:
        """Time left at the pace of this run so far, or None before there is one."""
        if self._first is None or self._cost_done <= 0 or self.cost <= 0:
            return None
        pace = self._cost_done / max(now - self._first, 1e-3)
        return max(0.0, self.cost - self._cost_done) / pace

    def heartbeat(self, now: float) -> Progress:
        """The record that tells others how far the run is."""
        return Progress(
            driver=self.driver,
            host=socket.gethostname(),
            pid=os.getpid(),
            process=process_identity(os.getpid()),
            took_over=self.took_over,
            untidy=self.untidy,
            stage=self.stage,
            started=self.started,
            updated=utc_now(),
            planned=self.planned,
            done=self.done,
            failed=self.failed,
            running=self.running,
            slices_per_s=round(self.slices_per_s(now), 1),
            seconds_left=self.seconds_left(now),
            best={column: auc for column, (auc, _) in sorted(dict(self.best).items())},
        )
