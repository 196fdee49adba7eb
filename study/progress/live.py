"""What a person sees while a study runs: one live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.progress.tracker import Tracker
from study.records.heartbeats import RunningTrial, Stage
from study.terminal import PlainConsole, duration, shown

_CAPTIONS = {
    Stage.PREPARE: "preparing scans",
    Stage.TRIALS: "running trials",
    Stage.REPORT: "reporting",
}
_LINE_EVERY_S = 10.0


def epochs_of(trial: RunningTrial) -> str:
    """How far a trial's training is, such as ``epoch 3.4 of 10``."""
    return f"epoch {trial.epoch + trial.share:.1f} of {trial.epochs}"


class View:
    """Shows a tracker; a context manager around the run.

    On a terminal one view is redrawn in place; elsewhere a line is printed when a stage begins,
    when a trial ends and every ten seconds.
    """

    def __init__(self, tracker: Tracker, console: PlainConsole) -> None:
        self._tracker = tracker
        self._console = console
        self._live: Live | None = None
        self._last_line = ("", 0.0)

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self.render,
                console=self._console,
                refresh_per_second=4,
                transient=True,
            )
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
            self._live = None

    def say(self, text: str) -> None:
        """Print a line that stays; nobody listening, or a full disk behind it, stops nothing."""
        with suppress(OSError):
            self._console.print(text, soft_wrap=True)

    def update(self) -> None:
        """Tell that the tracker has changed; a line is printed if the last one is old."""
        caption, last = self._last_line
        if caption != self._caption or time.monotonic() - last >= _LINE_EVERY_S:
            self.milestone()

    def milestone(self) -> None:
        """Tell that a trial or a stage has ended or begun, which is worth a line of its own."""
        if self._live is None:
            now = time.monotonic()
            self._last_line = (self._caption, now)
            self.say(self._line(now))

    @property
    def _caption(self) -> str:
        """What people read for the stage under way."""
        return self._tracker.caption or _CAPTIONS.get(self._tracker.stage, self._tracker.stage)

    def _line(self, now: float) -> str:
        t = self._tracker
        if t.stage is Stage.PREPARE:
            return f"{self._caption}: {t.stage_done} of {t.stage_total}"
        counts = f"trials: {t.done} done, {len(t.running)} running, {t.failed} failed"
        counts += f", {t.stopped} stopped early" * bool(t.stopped)
        counts += f" of {t.planned}"
        return f"{counts}, {self._pace(now)}"

    def _pace(self, now: float) -> str:
        t = self._tracker
        return (
            f"{t.slices_per_s(now):.0f} slices/s, elapsed {duration(now - t.began)}, "
            f"left {duration(t.seconds_left(now))}"
        )

    def render(self) -> RenderableType:
        """The live view as it is now."""
        t, now = self._tracker, time.monotonic()
        head = Text(shown(self._caption), style="bold")
        if t.stage is Stage.PREPARE:
            count = Text(f"{t.stage_done} of {t.stage_total}, {duration(now - t.began)}")
            return Group(head, _bar(t.stage_done, t.stage_total, count))
        counts = Text.assemble(
            (f"{t.done} done", "green"),
            f"  {len(t.running)} running  ",
            (f"{t.failed} failed", "red" if t.failed else "dim"),
            f"  {t.stopped} stopped early" * bool(t.stopped),
            f"  of {t.planned}",
        )
        pace = self._pace(now)
        if not t.running and t.ended < t.planned:
            pace = "waiting for workers"
        bar = _bar(t.ended, t.planned, counts)
        return Group(head, bar, Text(pace), self._running(), self._best())

    def _running(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for trial in self._tracker.running:
            state = "evaluating" if trial.stage == "evaluate" else epochs_of(trial)
            loss = "" if trial.loss is None else f"loss {trial.loss:.5g}"
            table.add_row(trial.label, state, loss)
        return table

    def _best(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for column, (auc, whose) in sorted(self._tracker.best.items()):
            table.add_row(f"best on {column}", f"{auc:.3f}", whose)
        return table


def _bar(done: int, total: int, beside: Text) -> RenderableType:
    """A progress bar with a text to its right."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(ProgressBar(total=max(1, total), completed=done, width=40), beside)
    return grid
