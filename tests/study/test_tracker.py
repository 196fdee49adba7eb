"""How far a run is, and how long it will still take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from study.plan.cost import WorkCost
from study.progress.events import Event
from study.progress.liveness import Watch
from study.progress.tracker import Tracker
from study.records.heartbeats import Progress, Stage
from study.records.types import PlannedTrial

COST = WorkCost(fit_s=100.0, fit_slices=1000, evaluation_s={"atlas": 10.0})


def _begun(make_trial: Callable[..., PlannedTrial], count: int, places: int) -> Tracker:
    tracker = Tracker(planned=count, stage=Stage.TRIALS)
    tracker.expect({f"t{i}": COST for i in range(count)}, places)
    spec = make_trial("ae", n_c=8, n_z=8, epochs=10).spec
    for i in range(places):
        tracker.trial_started(f"t{i}", spec, 0.0)
    return tracker


def _piece(n_slices: int = 10) -> Event:
    return Event("fit", 0, n_slices, share=0.5, loss=1.0)


def test_a_time_left_is_there_before_anything_has_run() -> None:
    tracker = Tracker(stage=Stage.TRIALS)
    tracker.expect({f"t{i}": COST for i in range(4)}, 2)
    assert tracker.seconds_left(0.0) == pytest.approx(4 * COST.total_s / 2)
    assert Tracker(stage=Stage.TRIALS).seconds_left(0.0) is None


def test_the_time_left_falls_while_trials_go_on(make_trial: Callable[..., PlannedTrial]) -> None:
    tracker = _begun(make_trial, 2, 2)
    left = []
    for second in range(1, 60):
        for trial in ("t0", "t1"):
            tracker.trial_moved(trial, _piece(), float(second))
        left.append(tracker.seconds_left(float(second)))
    assert left == sorted(left, reverse=True)
    assert left[-1] == pytest.approx(COST.total_s - 59, abs=1)


def test_a_machine_half_as_fast_as_measured_is_found_out(
    make_trial: Callable[..., PlannedTrial],
) -> None:
    tracker = _begun(make_trial, 2, 2)
    for second in range(1, 100):
        for trial in ("t0", "t1"):
            tracker.trial_moved(trial, _piece(5), float(second))
    assert tracker.seconds_left(99.0) == pytest.approx(2 * (COST.total_s - 49.5), rel=0.2)


def test_it_goes_on_falling_through_a_long_evaluation(
    make_trial: Callable[..., PlannedTrial],
) -> None:
    tracker = _begun(make_trial, 1, 1)
    for second in range(1, 101):
        tracker.trial_moved("t0", _piece(), float(second))
    left = [tracker.seconds_left(100.0 + s) or 0.0 for s in range(9)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0] - 6


def test_failed_work_is_not_waited_for(make_trial: Callable[..., PlannedTrial]) -> None:
    tracker = _begun(make_trial, 4, 2)
    before = tracker.seconds_left(0.0)
    tracker.trial_ended("t0", failed=True)
    after = tracker.seconds_left(0.0)
    assert before is not None
    assert after is not None
    assert after == pytest.approx(before * 3 / 4)
    assert (tracker.done, tracker.failed) == (0, 1)


def test_the_last_long_trial_is_waited_for(make_trial: Callable[..., PlannedTrial]) -> None:
    """Two places do not make one trial faster."""
    tracker = _begun(make_trial, 1, 2)
    assert tracker.seconds_left(0.0) == pytest.approx(COST.total_s)


def test_a_rate_is_there_with_the_first_second(make_trial: Callable[..., PlannedTrial]) -> None:
    tracker = _begun(make_trial, 1, 1)
    assert tracker.slices_per_s(1.0) == 0
    tracker.trial_moved("t0", _piece(30), 1.0)
    assert tracker.slices_per_s(1.0) == pytest.approx(30)
    (running,) = tracker.running
    assert (running.epoch, running.share, running.loss) == (0, 0.5, 1.0)


def test_a_heartbeat_is_judged_by_ones_own_clock_once_it_has_been_seen_to_change() -> None:
    def beat(updated: str, stage: Stage = Stage.TRIALS) -> Progress:
        times = {"started": updated, "updated": updated}
        return Progress(driver="d", host="h", pid=1, stage=stage, **times)

    yesterday = ("2020-01-01T00:00:00+00:00", "2020-01-01T00:00:02+00:00")
    watch = Watch()
    assert not watch.look(beat(yesterday[1]), 0.0)  # all that is known is its time stamp
    assert watch.look(beat(yesterday[0]), 2.0)  # the clock was set back, and it goes on
    assert watch.look(beat(yesterday[0]), 46.0)
    assert not watch.look(beat(yesterday[0]), 47.5)
    assert not watch.look(beat(yesterday[1], Stage.DONE), 48.0)
    assert not watch.look(None, 49.0)
