"""Searches of several test cohorts share trials, and each has its own objective."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from optuna.trial import TrialState

from study.grids._grid import Grid, GridSearch
from study.plan.done import count_trials, plan_trials
from study.plan.plan import build_plan
from study.records.index import load_index
from study.records.studies import StudyStore
from study.records.types import FitRecord, PlannedTrial, StudyRecord
from study.trials.order import TrialOrder
from study.trials.places import Places
from study.trials.search import LambdaSearch
from study.trials.searcher import PlanSearcher
from tests.nodes import Cluster
from tests.searches import GRID, POINTS, TPE, Cohorts, lambda_of
from trainables.spec import EVAL_VERSION


def _record(space: GridSearch, cohorts: Cohorts) -> StudyRecord:
    plan = build_plan(Grid((), (space,), {}), cohorts, seeds=(0,), epochs=None)
    return StudyRecord(
        study="a-study",
        grid="own",
        synthetic=False,
        cohorts=cohorts,
        trials=plan.trials,
        searches=plan.searches,
        eval_version=EVAL_VERSION,
        created="2026",
        updated="2026",
    )


def _rebuilt(record: StudyRecord, study: StudyStore) -> list[LambdaSearch]:
    index = load_index(study)
    return [LambdaSearch(search, record.cohorts, index) for search in record.searches]


AUC_AT = {"atlas": 0.1, "brats": 0.0001}
"""Where the objective of each cohort is highest."""


def _auc_on(cohort: str, trial: PlannedTrial) -> float | None:
    if cohort not in AUC_AT:  # healthy subjects have none
        return None
    return 1.0 / (1.0 + abs(lambda_of(trial) - AUC_AT[cohort]))


def _run(
    searches: list[LambdaSearch],
    study: StudyStore,
    put_trial: Callable[..., None],
    order_of: Callable[..., TrialOrder],
    most: int = 1000,
) -> list[PlannedTrial]:
    """Hand out the searches' points as Tune gets them, two at a time, and record their results."""
    searcher = PlanSearcher(
        [], searches, order_of, Places(Cluster({"CPU": 2.0}), "cpu", may_grow=False)
    )
    at_work: list[str] = []
    done: list[PlannedTrial] = []
    for number in range(most):
        handed = searcher.suggest(f"tune-{number}")
        if isinstance(handed, dict):
            searcher.started(f"tune-{number}")
            at_work.append(f"tune-{number}")
        elif not at_work:
            break
        if len(at_work) == 2 or number == most - 1 or not isinstance(handed, dict):
            name = at_work.pop(0)
            trial = searcher.order(name).work.trial
            for cohort in (e.cohort for e in trial.evals):
                auc = {"outlier_sum": _auc_on(cohort, trial)}
                put_trial(study, trial, auc, cohorts=[cohort])
                for search in searches:
                    search.evaluated(trial.trial_id, cohort, auc)
            for search in searches:
                search.ended(trial.trial_id)
            searcher.over(name)
            done.append(trial)
    return done


@pytest.mark.parametrize("space", [GRID, TPE])
def test_every_test_cohort_of_a_modality_has_its_own_search(
    paper_cohorts: Cohorts, space: GridSearch
) -> None:
    searches = _record(space, paper_cohorts).searches
    found = [(s.spec.modality, s.objective) for s in searches]
    assert found == [("T1w", "atlas"), ("T1w", "brats"), ("T2w", "brats")]
    assert len({s.search_id for s in searches}) == 3


def test_searches_of_the_same_points_share_their_trials_and_have_each_its_own_objective(
    local_study: StudyStore,
    paper_cohorts: Cohorts,
    put_trial: Callable[..., None],
    order_of: Callable[..., TrialOrder],
) -> None:
    record = _record(GRID, paper_cohorts)
    searches = _rebuilt(record, local_study)
    done = _run(searches, local_study, put_trial, order_of)
    assert sorted(t.trial_id for t in done) == sorted(t.trial_id for t in record.trials)
    assert len(done) == 2 * len(POINTS)
    for some in (searches, _rebuilt(record, local_study)):
        for search, planned in zip(some, record.searches, strict=True):
            assert search.left == 0
            told = {t.params["gmm_lambda"]: t.value for t in search.optuna_study.trials}
            assert set(told) == set(POINTS)
            assert search.optuna_study.best_params["gmm_lambda"] == AUC_AT[planned.objective]


@pytest.mark.parametrize("n_done", [1, 3, 5])
def test_shared_points_are_resumed_without_a_repeat(
    local_study: StudyStore,
    paper_cohorts: Cohorts,
    put_trial: Callable[..., None],
    order_of: Callable[..., TrialOrder],
    n_done: int,
) -> None:
    record = _record(GRID, paper_cohorts)
    first = _run(_rebuilt(record, local_study), local_study, put_trial, order_of, most=n_done)
    assert 0 < len(first) < len(record.trials)
    second = _run(_rebuilt(record, local_study), local_study, put_trial, order_of)
    ids = [t.trial_id for t in (*first, *second)]
    assert sorted(ids) == sorted(t.trial_id for t in record.trials)
    assert all(search.left == 0 for search in _rebuilt(record, local_study))


def test_a_failed_shared_point_has_failed_for_every_cohort(
    local_study: StudyStore, paper_cohorts: Cohorts, make_fit: Callable[..., FitRecord]
) -> None:
    record = _record(GRID, paper_cohorts)
    atlas, brats, _ = _rebuilt(record, local_study)
    trial = atlas.ask()
    brats.join(trial)
    for search in (atlas, brats):
        search.ended(trial.trial_id)
    local_study.trial(trial.trial_id).write_fit(make_fit(trial, status="failed"))
    for some in ((atlas, brats), _rebuilt(record, local_study)[:2]):
        for search in some:
            assert [t.state for t in search.optuna_study.trials] == [TrialState.FAIL]
            assert search.left == len(POINTS) - 1


def test_a_search_joins_no_trial_that_differs_in_more_than_its_parameter(
    local_study: StudyStore, paper_cohorts: Cohorts
) -> None:
    _, brats, t2w = _rebuilt(_record(GRID, paper_cohorts), local_study)
    brats.join(t2w.ask())
    assert brats.optuna_study.trials == []
    assert brats.left == len(POINTS)


@pytest.mark.parametrize("n_done", [1, 7, 20])
def test_continuous_searches_ask_for_their_own_points_and_learn_from_all(
    local_study: StudyStore,
    paper_cohorts: Cohorts,
    put_trial: Callable[..., None],
    order_of: Callable[..., TrialOrder],
    n_done: int,
) -> None:
    record = _record(TPE, paper_cohorts)
    first = _run(_rebuilt(record, local_study), local_study, put_trial, order_of, most=n_done)
    searches = _rebuilt(record, local_study)
    done = [*first, *_run(searches, local_study, put_trial, order_of)]
    assert len({t.trial_id for t in done}) == len(done) == 3 * 12
    for search in record.searches:
        assert len([t for t in done if t.search == search.search_id]) == 12
    for some in (searches, _rebuilt(record, local_study)):
        for search, planned in zip(some, record.searches, strict=True):
            alike = [t for t in done if t.spec.modality == planned.spec.modality]
            told = {t.params["gmm_lambda"]: t.value for t in search.optuna_study.trials}
            assert told == {lambda_of(t): _auc_on(planned.objective, t) for t in alike}
            assert search.left == 0


@pytest.mark.parametrize(("space", "planned"), [(GRID, 2 * len(POINTS)), (TPE, 3 * 12)])
def test_a_point_counts_once_for_however_many_cohorts(
    local_study: StudyStore,
    paper_cohorts: Cohorts,
    put_trial: Callable[..., None],
    order_of: Callable[..., TrialOrder],
    space: GridSearch,
    planned: int,
) -> None:
    record = _record(space, paper_cohorts)
    counts = count_trials(record, load_index(local_study))
    assert (counts.planned, counts.done) == (planned, 0)
    _run(_rebuilt(record, local_study), local_study, put_trial, order_of, most=5)
    counts = count_trials(record, load_index(local_study))
    n_found = len(local_study.storage.names("trials"))
    assert (counts.planned, counts.done) == (planned, n_found)
    _run(_rebuilt(record, local_study), local_study, put_trial, order_of)
    index = load_index(local_study)
    counts = count_trials(record, index)
    assert (counts.planned, counts.done) == (planned, planned)
    assert len(plan_trials(record, index)) == planned


def test_a_searchs_trials_are_found_where_its_model_is_not_installed(
    local_study: StudyStore,
    paper_cohorts: Cohorts,
    put_trial: Callable[..., None],
    order_of: Callable[..., TrialOrder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = _record(TPE, paper_cohorts)
    _run(_rebuilt(record, local_study), local_study, put_trial, order_of, most=5)
    index = load_index(local_study)
    known = plan_trials(record, index)
    assert known
    monkeypatch.setattr("study.plan.done.is_installed", lambda model: False)
    found = {trial.trial_id: trial for trial in plan_trials(record, index)}
    assert len(found) == len(known)
    for trial in known:
        assert set(found[trial.trial_id].evals) == set(trial.evals)
        assert found[trial.trial_id].spec == trial.spec
