"""Searches: every point once, whatever came between, and nothing learnt is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from optuna.trial import TrialState

from study.grids._grid import Grid, GridSearch
from study.plan.plan import build_plan
from study.records.index import load_index
from study.records.studies import StudyStore
from study.records.types import CohortInfo, FitRecord, PlannedTrial
from study.trials.search import LambdaSearch
from tests.searches import GRID, POINTS, TPE, Cohorts, lambda_of, plan_of


def _asked(search: LambdaSearch) -> Iterator[PlannedTrial]:
    while search.left:
        yield search.ask()


@pytest.fixture
def finish(local_study: StudyStore, put_trial: Callable[..., None]) -> Callable[..., None]:
    """Records a trial with an AUC that is best at lambda 0.01."""

    def record(trial: PlannedTrial, **options: object) -> None:
        put_trial(local_study, trial, {"outlier_sum": _auc(trial)}, **options)

    return record


def _auc(trial: PlannedTrial) -> float:
    return 1.0 / (1.0 + abs(lambda_of(trial) - 0.01))


def test_a_grid_search_asks_for_each_point_once(
    local_study: StudyStore, paper_cohorts: Cohorts
) -> None:
    planned = plan_of(GRID, paper_cohorts)
    search = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    trials = []
    for trial in _asked(search):
        trials.append(trial)
        if len(trials) % 2:  # every other one ends while the next is asked for
            search.evaluated(trial.trial_id, "atlas", {"outlier_sum": _auc(trial)})
        search.ended(trial.trial_id)
    assert sorted(map(lambda_of, trials)) == sorted(POINTS)
    known = {
        t.trial_id
        for t in build_plan(Grid((), (GRID,), {}), paper_cohorts, seeds=(0,), epochs=None).trials
    }
    assert {t.trial_id for t in trials} <= known


@pytest.mark.parametrize("n_finished", range(len(POINTS) + 1))
def test_a_resumed_grid_search_asks_for_the_rest(
    local_study: StudyStore,
    paper_cohorts: Cohorts,
    finish: Callable[..., None],
    n_finished: int,
) -> None:
    planned = plan_of(GRID, paper_cohorts)
    first = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    done = [first.ask() for _ in range(n_finished)]
    for trial in done:
        finish(trial)
    resumed = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    rest = [lambda_of(t) for t in _asked(resumed)]
    assert sorted(rest + [lambda_of(t) for t in done]) == sorted(POINTS)
    told = [t for t in resumed.optuna_study.trials if t.state == TrialState.COMPLETE]
    assert {t.params["gmm_lambda"]: t.value for t in told} == {lambda_of(t): _auc(t) for t in done}


def test_an_extended_grid_asks_for_the_new_points_alone(
    local_study: StudyStore, paper_cohorts: Cohorts, finish: Callable[..., None]
) -> None:
    for trial in _asked(
        LambdaSearch(plan_of(GRID, paper_cohorts), paper_cohorts, load_index(local_study))
    ):
        finish(trial)
    longer = GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(*POINTS, 0.5))
    search = LambdaSearch(plan_of(longer, paper_cohorts), paper_cohorts, load_index(local_study))
    assert [lambda_of(t) for t in _asked(search)] == [0.5]


def test_a_failed_point_is_not_asked_for_again(
    local_study: StudyStore, paper_cohorts: Cohorts, make_fit: Callable[..., FitRecord]
) -> None:
    planned = plan_of(GRID, paper_cohorts)
    failed = LambdaSearch(planned, paper_cohorts, load_index(local_study)).ask()
    local_study.trial(failed.trial_id).write_fit(make_fit(failed, status="failed"))
    resumed = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    assert sorted(map(lambda_of, _asked(resumed))) == sorted(set(POINTS) - {lambda_of(failed)})


def test_tpe_gets_every_earlier_point_and_asks_for_the_rest(
    local_study: StudyStore, paper_cohorts: Cohorts, finish: Callable[..., None]
) -> None:
    planned = plan_of(TPE, paper_cohorts)
    first = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    done = []
    for _ in range(7):
        trial = first.ask()
        first.evaluated(trial.trial_id, "atlas", {"outlier_sum": _auc(trial)})
        first.ended(trial.trial_id)
        finish(trial)
        done.append(trial)
    running = [first.ask() for _ in range(2)]  # these die with the driver
    resumed = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    earlier = {t.params["gmm_lambda"]: t.value for t in resumed.optuna_study.trials}
    assert earlier == {lambda_of(t): _auc(t) for t in done}
    rest = list(_asked(resumed))
    assert len(rest) == 12 - len(done)
    assert not {t.trial_id for t in rest} & {t.trial_id for t in done}
    assert len(running) == 2


def test_a_point_without_its_evaluation_is_told_when_it_comes(
    local_study: StudyStore, paper_cohorts: Cohorts, finish: Callable[..., None]
) -> None:
    planned = plan_of(TPE, paper_cohorts)
    half, whole = (
        t
        for t, _ in zip(
            _asked(LambdaSearch(planned, paper_cohorts, load_index(local_study))),
            (1, 2),
            strict=False,
        )
    )
    finish(half, cohorts=["brats"])
    finish(whole)
    resumed = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    assert resumed.left == 10
    resumed.evaluated(half.trial_id, "atlas", {"outlier_sum": 0.25})
    resumed.ended(half.trial_id)
    found = {t.params["gmm_lambda"]: (t.value, t.state) for t in resumed.optuna_study.trials}
    assert found[lambda_of(half)] == (0.25, TrialState.COMPLETE)
    assert found[lambda_of(whole)] == (_auc(whole), TrialState.COMPLETE)


def test_an_objective_reached_on_other_data_does_not_count(
    local_study: StudyStore,
    paper_cohorts: Cohorts,
    make_cohort: Callable[..., CohortInfo],
    finish: Callable[..., None],
) -> None:
    trial = LambdaSearch(plan_of(TPE, paper_cohorts), paper_cohorts, load_index(local_study)).ask()
    finish(trial)
    corrected = make_cohort("atlas", "test", "T1w", key="corrected")
    cohorts = (corrected, *paper_cohorts[1:])
    search = LambdaSearch(plan_of(TPE, cohorts), cohorts, load_index(local_study))
    (earlier,) = search.optuna_study.trials
    assert earlier.state == TrialState.RUNNING
    assert search.left == 11


def test_an_undefined_objective_is_a_failed_point_both_now_and_later(
    local_study: StudyStore, paper_cohorts: Cohorts, put_trial: Callable[..., None]
) -> None:
    planned = plan_of(GRID, paper_cohorts)
    search = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    trial = search.ask()
    search.evaluated(trial.trial_id, "atlas", {"outlier_sum": None})
    search.ended(trial.trial_id)
    put_trial(local_study, trial, {"outlier_sum": None})
    resumed = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    for optuna_study in (search.optuna_study, resumed.optuna_study):
        assert [t.state for t in optuna_study.trials] == [TrialState.FAIL]


def test_what_a_search_did_not_ask_for_is_ignored(
    local_study: StudyStore, paper_cohorts: Cohorts
) -> None:
    search = LambdaSearch(plan_of(GRID, paper_cohorts), paper_cohorts, load_index(local_study))
    search.evaluated("of another search", "atlas", {"outlier_sum": 0.9})
    search.ended("of another search")
    assert search.optuna_study.trials == []
    assert search.left == len(POINTS)
