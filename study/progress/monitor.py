"""Where the work of a run tells how far it is, and learns whether it may go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from study.progress.heartbeat import Heartbeat
from study.progress.live import View
from study.progress.tracker import Tracker
from study.records.heartbeats import Stage


@dataclass
class Monitor:
    """One run as others see it; belongs to its main thread.

    Attributes:
        tracker: How far the run is.
        view: Shows that to a person.
        heartbeat: Shows it to other processes, if they are to know; begins with the first update.
        watch_ray: Finds out whether Ray still lives, once it is there.
    """

    tracker: Tracker
    view: View
    heartbeat: Heartbeat | None = None
    watch_ray: Callable[[], None] | None = None
    _has_reported_fault: bool = field(default=False, init=False)

    def say(self, sentence: str) -> None:
        """Print a sentence that stays."""
        self.view.say(sentence)

    def begin(self, stage: Stage, total: int = 0, caption: str = "") -> None:
        """Tell that a stage, or a part of one, begins.

        Args:
            stage: The stage.
            total: How many scans or files it has; 0 where that is not known yet.
            caption: What people read for it, if it is only a part of the stage.
        """
        self.tracker.begin(stage, total, caption)
        if total or stage is not Stage.PREPARE:
            self.milestone()

    def step(self, count: int = 1) -> None:
        """Tell that some of a stage's scans or files are done."""
        self.tracker.stage_done += count
        self.update()

    def update(self) -> None:
        """Tell that the tracker has changed; a line is printed now and then."""
        self._show()
        self.view.update()

    def milestone(self) -> None:
        """Tell that something has ended or begun that is worth a line of its own."""
        self._show()
        self.view.milestone()

    def check(self) -> None:
        """Find out whether the run may go on.

        Raises:
            TakenOverError: If another driver has taken over.
            ConnectionError: If Ray has died.
        """
        if self.heartbeat is not None:
            self.heartbeat.check()
        if self.watch_ray is not None:
            self.watch_ray()

    def _show(self) -> None:
        """Let other processes know, and say once if they can't."""
        if self.heartbeat is None:
            return
        self.heartbeat.begin()
        if self.heartbeat.fault and not self._has_reported_fault:
            self._has_reported_fault = True
            self.say(f"The progress cannot be shown to others: {self.heartbeat.fault}")
