"""What work costs is measured, and adds up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks import makespan
from study.plan.cost import (
    FIT_AT_ONCE_S,
    PER_TRIAL_S,
    Pace,
    WorkCost,
    longest_first,
    makespan_s,
    measure_pace,
    size,
    work_cost,
)
from study.plan.done import Work
from study.prepare.cohorts import Cohort
from study.prepare.listing import CohortListing
from study.records.types import CohortInfo, PlannedTrial
from study.run.estimate import pace_of

MakeTrial = Callable[..., PlannedTrial]


def _pace(trial: PlannedTrial) -> Pace:
    return Pace(step_s=((size(trial.spec).flops_per_slice, 0.003),), count_s=0.001)


def test_a_network_costs_its_steps_its_passes_and_its_evaluations(
    make_trial: MakeTrial, paper_cohorts: tuple[CohortInfo, ...]
) -> None:
    trial = make_trial("vae", n_c=8, n_z=8, epochs=10)
    cost = work_cost(Work(trial, trial.evals, fit=True), paper_cohorts, _pace(trial))
    assert cost.fit_slices == 900
    assert cost.fit_s == pytest.approx(0.003 * 900 + 0.001 * (10 * 10 + 90))
    expected = {"atlas": 100, "brats": 100, "held out": 10}
    assert cost.evaluation_s == pytest.approx({k: 0.001 * n * 5 for k, n in expected.items()})
    whole = cost.fit_s + 2 * 0.5 + 0.05 + PER_TRIAL_S
    assert cost.total_s == pytest.approx(whole)
    assert cost.of_fit(450) == pytest.approx(cost.fit_s / 2)


def test_only_what_is_left_costs(
    make_trial: MakeTrial, paper_cohorts: tuple[CohortInfo, ...]
) -> None:
    trial = make_trial("ae", n_c=8, n_z=8, epochs=10)
    pace = _pace(trial)
    whole = work_cost(Work(trial, trial.evals, fit=True), paper_cohorts, pace)
    rest = work_cost(Work(trial, trial.evals, fit=True, epochs_done=5), paper_cohorts, pace)
    only = work_cost(Work(trial, trial.evals[:1], fit=False), paper_cohorts, pace)
    assert rest.fit_slices == whole.fit_slices / 2
    assert (only.fit_s, set(only.evaluation_s)) == (0, {"atlas"})


def test_a_fit_without_epochs_has_a_price_and_a_baseline_none(
    make_trial: MakeTrial, paper_cohorts: tuple[CohortInfo, ...]
) -> None:
    mixture, baseline = make_trial("gmm", gmm_lambda=0.01), make_trial("intensity")
    costs = [work_cost(Work(t, (), fit=True), paper_cohorts, Pace()) for t in (mixture, baseline)]
    assert [c.fit_s for c in costs] == [FIT_AT_ONCE_S, 0]


def test_times_between_and_beyond_measured_sizes_grow_with_the_operations(
    make_trial: MakeTrial,
) -> None:
    small, middle, large = (make_trial("ae", n_c=n, n_z=8).spec for n in (8, 16, 32))
    pace = Pace(step_s=tuple((size(s).flops_per_slice, t) for s, t in ((small, 1), (middle, 3))))
    assert pace.train_s(small) == pytest.approx(1)
    assert pace.train_s(middle) == pytest.approx(3)
    ratio = size(large).flops_per_slice / size(middle).flops_per_slice
    assert pace.train_s(large) == pytest.approx(3 * ratio)


@pytest.mark.parametrize(
    ("seconds", "places", "expected"), [((4, 3, 3), 2, 6), ((9, 1, 1), 3, 9), ((5, 5), 1, 10)]
)
def test_the_end_comes_with_the_last_place(
    seconds: Sequence[float], places: int, expected: float
) -> None:
    costs = [WorkCost(fit_s=s - PER_TRIAL_S, fit_slices=1) for s in seconds]
    assert makespan_s(costs, places) == pytest.approx(expected)


def test_the_longest_begin_first(
    make_trial: MakeTrial, paper_cohorts: tuple[CohortInfo, ...]
) -> None:
    trials = [make_trial(), make_trial("ae", n_c=8, n_z=8), make_trial("ae", n_c=16, n_z=8)]
    work = [Work(t, t.evals, fit=True) for t in trials]
    costs = {w.trial.trial_id: work_cost(w, paper_cohorts, _pace(trials[1])) for w in work}
    ordered = [w.trial.spec.params.get("n_c") for w in longest_first(work, costs)]
    assert ordered == [16, 8, None]


def test_a_machine_is_measured_for_the_sizes_of_a_plan(make_trial: MakeTrial) -> None:
    specs = [make_trial(m, n_c=n, n_z=8).spec for m in ("ae", "vae") for n in (2, 8)]
    pace = measure_pace([*specs, make_trial().spec], cores=1)
    flops = {size(s).flops_per_slice for s in specs}
    assert {f for f, _ in pace.step_s} <= flops
    assert min(f for f, _ in pace.step_s) == min(flops)
    assert all(s > 0 for _, s in pace.step_s)
    assert pace.count_s > 0
    assert measure_pace([make_trial().spec], cores=1).step_s == ()


@pytest.mark.parametrize("model", ["intensity", "ae"])
@pytest.mark.parametrize("is_prepared", [True, False])
def test_networks_are_timed_where_one_is_left_or_scans_are(
    make_trial: MakeTrial, model: str, *, is_prepared: bool
) -> None:
    trial = make_trial(model, **({"n_c": 2, "n_z": 8} if model == "ae" else {}))
    cohort = Cohort(name="a", source="bids", root=Path("a"), role="train")
    unprepared = CohortListing(cohort, "T1w", "", (), (), 3)
    listings = [] if is_prepared else [unprepared]
    pace = pace_of([Work(trial, trial.evals, fit=False)], listings, places=1)
    assert bool(pace.step_s) == (model == "ae" or not is_prepared)


def test_the_papers_grid_takes_hardly_longer_than_with_the_longest_always_first() -> None:
    for row in makespan.measure():
        assert row.ratio >= 0.9, row
