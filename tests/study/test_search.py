"""Searches: every point once, whatever came between, and nothing learnt is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from optuna.trial import TrialState

from study.grids._grid import Grid, GridSearch
from study.plan.done import count_trials, plan_trials
from study.plan.plan import build_plan
from study.records.index import load_index
from study.records.studies import StudyStore
from study.records.types import CohortInfo, FitRecord, PlannedSearch, PlannedTrial, StudyRecord
from study.trials.order import TrialOrder
from study.trials.places import Places
from study.trials.search import LambdaSearch
from study.trials.searcher import PlanSearcher
from tests.nodes import Cluster

Cohorts = tuple[CohortInfo, ...]
POINTS = (0.1, 0.01, 0.001, 0.0001)
GRID = GridSearch("gmm", "gmm_lambda", "outlier_sum", points=POINTS)
TPE = GridSearch("gmm", "gmm_lambda", "outlier_sum", low=1e-6, high=1.0, n_trials=12)


def _planned(space: GridSearch, cohorts: Cohorts) -> PlannedSearch:
    plan = build_plan(Grid((), (space,), {}), cohorts, seeds=(0,), epochs=None)
    return plan.searches[0]


def _value(trial: PlannedTrial) -> float:
    return float(trial.spec.params["gmm_lambda"])


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
    return 1.0 / (1.0 + abs(_value(trial) - 0.01))


def test_a_grid_search_asks_for_each_point_once(
    local_study: StudyStore, paper_cohorts: Cohorts
) -> None:
    planned = _planned(GRID, paper_cohorts)
    search = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    trials = []
    for trial in _asked(search):
        trials.append(trial)
        if len(trials) % 2:  # every other one ends while the next is asked for
            search.evaluated(trial.trial_id, "atlas", {"outlier_sum": _auc(trial)})
        search.ended(trial.trial_id)
    assert sorted(map(_value, trials)) == sorted(POINTS)
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
    planned = _planned(GRID, paper_cohorts)
    first = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    done = [first.ask() for _ in range(n_finished)]
    for trial in done:
        finish(trial)
    resumed = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    rest = [_value(t) for t in _asked(resumed)]
    assert sorted(rest + [_value(t) for t in done]) == sorted(POINTS)
    told = [t for t in resumed.optuna_study.trials if t.state == TrialState.COMPLETE]
    assert {t.params["gmm_lambda"]: t.value for t in told} == {_value(t): _auc(t) for t in done}


def test_an_extended_grid_asks_for_the_new_points_alone(
    local_study: StudyStore, paper_cohorts: Cohorts, finish: Callable[..., None]
) -> None:
    for trial in _asked(
        LambdaSearch(_planned(GRID, paper_cohorts), paper_cohorts, load_index(local_study))
    ):
        finish(trial)
    longer = GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(*POINTS, 0.5))
    search = LambdaSearch(_planned(longer, paper_cohorts), paper_cohorts, load_index(local_study))
    assert [_value(t) for t in _asked(search)] == [0.5]


def test_a_failed_point_is_not_asked_for_again(
    local_study: StudyStore, paper_cohorts: Cohorts, make_fit: Callable[..., FitRecord]
) -> None:
    planned = _planned(GRID, paper_cohorts)
    failed = LambdaSearch(planned, paper_cohorts, load_index(local_study)).ask()
    local_study.trial(failed.trial_id).write_fit(make_fit(failed, status="failed"))
    resumed = LambdaSearch(planned, paper_cohorts, load_index(local_study))
    assert sorted(map(_value, _asked(resumed))) == sorted(set(POINTS) - {_value(failed)})


def test_tpe_gets_every_earlier_point_and_asks_for_the_rest(
    local_study: StudyStore, paper_cohorts: Cohorts, finish: Callable[..., None]
) -> None:
    planned = _planned(TPE, paper_cohorts)
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
    assert earlier == {_value(t): _auc(t) for t in done}
    rest = list(_asked(resumed))
    assert len(rest) == 12 - len(done)
    assert not {t.trial_id for t in rest} & {t.trial_id for t in done}
    assert len(running) == 2


def test_a_point_without_its_evaluation_is_told_when_it_comes(
    local_study: StudyStore, paper_cohorts: Cohorts, finish: Callable[..., None]
) -> None:
    planned = _planned(TPE, paper_cohorts)
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
    assert found[_value(half)] == (0.25, TrialState.COMPLETE)
    assert found[_value(whole)] == (_auc(whole), TrialState.COMPLETE)


def test_an_objective_reached_on_other_data_does_not_count(
    local_study: StudyStore,
    paper_cohorts: Cohorts,
    make_cohort: Callable[..., CohortInfo],
    finish: Callable[..., None],
) -> None:
    trial = LambdaSearch(_planned(TPE, paper_cohorts), paper_cohorts, load_index(local_study)).ask()
    finish(trial)
    corrected = make_cohort("atlas", "test", "T1w", key="corrected")
    cohorts = (corrected, *paper_cohorts[1:])
    search = LambdaSearch(_planned(TPE, cohorts), cohorts, load_index(local_study))
    (earlier,) = search.optuna_study.trials
    assert earlier.state == TrialState.RUNNING
    assert search.left == 11


def test_an_undefined_objective_is_a_failed_point_both_now_and_later(
    local_study: StudyStore, paper_cohorts: Cohorts, put_trial: Callable[..., None]
) -> None:
    planned = _planned(GRID, paper_cohorts)
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
    search = LambdaSearch(_planned(GRID, paper_cohorts), paper_cohorts, load_index(local_study))
    search.evaluated("of another search", "atlas", {"outlier_sum": 0.9})
    search.ended("of another search")
    assert search.optuna_study.trials == []
    assert search.left == len(POINTS)


def _record(space: GridSearch, cohorts: Cohorts) -> StudyRecord:
    plan = build_plan(Grid((), (space,), {}), cohorts, seeds=(0,), epochs=None)
    return StudyRecord(
        study="a-study",
        grid="own",
        synthetic=False,
        cohorts=cohorts,
        trials=plan.trials,
        searches=plan.searches,
        created="2026",
        updated="2026",
    )


def _rebuilt(record: StudyRecord, study: StudyStore) -> list[LambdaSearch]:
    index = load_index(study)
    return [LambdaSearch(search, record.cohorts, index) for search in record.searches]


AUC_AT = {"atlas": 0.1, "brats": 0.0001}
"""Where the objective of each cohort is highest."""


def _auc_on(cohort: str, trial: PlannedTrial) -> float:
    return 1.0 / (1.0 + abs(_value(trial) - AUC_AT[cohort]))


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
            assert told == {_value(t): _auc_on(planned.objective, t) for t in alike}
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
