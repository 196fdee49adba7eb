"""A plan: the grid over the data, its identities, and what the store leaves to do."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from study.errors import PlanError
from study.grids._grid import Grid, GridTrial, grid_names, load_grid
from study.plan.done import work_left
from study.plan.plan import Plan, build_plan, planned_trial
from study.prepare.cohorts import Cohort
from study.records.index import load_index
from study.records.studies import StudyStore
from study.records.types import CohortInfo, FitRecord, PlannedTrial
from study.report.paper import PAPER_SETTINGS
from study.run.request import RunOptions, make_request
from trainables.detector import score_names
from trainables.registry import detector_class
from trainables.spec import HELD_OUT, TrialSpec

Cohorts = tuple[CohortInfo, ...]


def _ids(plan: Plan) -> set[str]:
    return {e.eval_id for t in plan.trials for e in t.evals} | {t.trial_id for t in plan.trials}


@pytest.mark.parametrize("name", grid_names())
class TestEveryGrid:
    """What a file in ``study/grids`` must provide."""

    def test_lays_over_the_papers_data(self, name: str, paper_cohorts: Cohorts) -> None:
        grid = load_grid(name)
        plan = build_plan(grid, paper_cohorts, seeds=(0,), epochs=None)
        assert plan.trials
        assert {t.spec.modality for t in plan.trials} == {"T1w", "T2w"}
        for trial in plan.trials:
            assert trial.spec == trial.spec.completed()
            assert trial.evals
        for search in plan.searches:
            assert search.objective_score in score_names(detector_class(search.spec.model))
            assert search.n_trials > 0

    def test_has_no_trial_twice(self, name: str, paper_cohorts: Cohorts) -> None:
        plan = build_plan(load_grid(name), paper_cohorts, seeds=(0, 1), epochs=None)
        for ids in ([t.trial_id for t in plan.trials], [s.search_id for s in plan.searches]):
            assert max(Counter(ids).values(), default=1) == 1

    def test_says_what_it_is_and_has_a_phantom_of_the_papers_cohorts(self, name: str) -> None:
        from datasets.plugins import load_plugin
        from study import grids

        assert load_plugin(grids, name, "grid").__doc__
        assert set(load_grid(name).phantom_subjects) == {"ixi", "atlas", "brats"}


def test_the_papers_grid_is_the_papers(paper_cohorts: Cohorts) -> None:
    plan = build_plan(load_grid("paper"), paper_cohorts, seeds=(0,), epochs=None)
    counts = Counter(trial.spec.model for trial in plan.trials)
    assert counts == {"ae": 42, "dae": 42, "gmm": 8, "intensity": 2, "vae": 42}
    cells = {(t.spec.params["n_z"], t.spec.params["n_c"]) for t in plan.trials if t.spec.epochs > 1}
    assert cells == {(z, c) for z in (8, 16, 32, 64, 128, 256, 512) for c in (8, 16, 32)}
    lambdas = {t.spec.params["gmm_lambda"] for t in plan.trials if t.spec.model == "gmm"}
    assert lambdas == {0.1, 0.01, 0.001, 0.0001}
    n_evals = Counter(t.spec.modality for t in plan.trials for e in t.evals if e.role == "test")
    assert n_evals == {"T1w": 2 * (63 + 4 + 1), "T2w": 63 + 4 + 1}


def test_false_alarms_are_looked_at_on_healthy_cohorts_and_on_subjects_held_out(
    paper_cohorts: Cohorts, make_cohort: Callable[..., CohortInfo]
) -> None:
    cohorts = (*paper_cohorts, make_cohort("volunteers", "healthy", "T1w"))
    plan = build_plan(load_grid("smoke"), cohorts, seeds=(0,), epochs=None)
    healthy = {"T1w": ["volunteers", "held out"], "T2w": ["held out"]}
    for trial in plan.trials:
        found = [e.cohort for e in trial.evals if e.role == "healthy"]
        assert found == healthy[trial.spec.modality]
        assert {e.cohort for e in trial.evals if e.role == "test"} <= {"atlas", "brats"}
    assert {search.objective for search in plan.searches} == {"atlas", "brats"}
    before = build_plan(load_grid("smoke"), paper_cohorts, seeds=(0,), epochs=None)
    assert [t.trial_id for t in plan.trials] == [t.trial_id for t in before.trials]


@pytest.mark.parametrize("change", [{"validation_fraction": 0.0}, {"n_subjects": 1}])
def test_where_no_subject_is_held_out_none_is_evaluated(
    paper_cohorts: Cohorts, change: dict[str, Any]
) -> None:
    spec = TrialSpec(model="intensity", modality="T1w").completed()
    if "n_subjects" in change:
        paper_cohorts = tuple(c.model_copy(update=change) for c in paper_cohorts)
    else:
        spec = spec.model_copy(update=change)
    trial = planned_trial(spec, paper_cohorts)
    assert [e.cohort for e in trial.evals] == ["atlas", "brats"]


def test_other_train_data_or_another_share_are_other_subjects_held_out(
    paper_cohorts: Cohorts, make_cohort: Callable[..., CohortInfo]
) -> None:
    spec = TrialSpec(model="intensity", modality="T1w").completed()
    more = (*paper_cohorts, make_cohort("second", "train", "T1w"))
    found = {
        planned_trial(one, cohorts).evals[-1].test_key
        for one in (spec, spec.model_copy(update={"validation_fraction": 0.2}))
        for cohorts in (paper_cohorts, more)
    }
    assert len(found) == 4


def test_no_cohort_can_have_the_name_of_the_subjects_held_out(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        Cohort(name=HELD_OUT, source="bids", root=tmp_path, role="healthy")


def test_the_extended_grid_has_the_papers_best_cells_and_a_control_of_each_vae(
    paper_cohorts: Cohorts, tmp_path: Path
) -> None:
    request = make_request("extended", None, str(tmp_path), None, RunOptions(epochs=2))
    plan = request.plan(paper_cohorts, "float32")
    assert {t.spec.seed for t in plan.trials} == {0, 1, 2}
    chosen = [c for (model, _), some in PAPER_SETTINGS.items() if model == "vae" for c in some]
    best = {(c.by_symbol("N_c"), c.by_symbol("N_z")) for c in chosen}
    cells: dict[str, set[tuple[int, int]]] = {}
    for spec in (t.spec for t in plan.trials if "n_z" in t.spec.params):
        cells.setdefault(spec.model, set()).add((spec.params["n_c"], spec.params["n_z"]))
    assert cells["vae"] == cells["vae_fixed"] == best
    assert cells["aeu"] == best | {(n_c, z // 2) for n_c, z in best}
    asked = {t.spec.model: t.evals[0].asked for t in plan.trials}
    assert asked["vae"] == asked["vae_fixed"] == ("kl_gradient", "ssim_residual")
    assert asked["aeu"] == asked["dae_coarse"] == ("ssim_residual",)
    assert not asked["equalized"]
    assert {(s.low, s.high, s.n_trials) for s in plan.searches} == {(1e-6, 1.0, 24)}


@pytest.mark.parametrize(("asked", "seeds"), [(None, {0, 1}), (1, {0}), (3, {0, 1, 2})])
def test_a_grid_says_how_many_seeds_unless_the_command_does(
    asked: int | None, seeds: set[int], paper_cohorts: Cohorts, tmp_path: Path
) -> None:
    request = make_request("smoke", None, str(tmp_path), None, RunOptions(seeds=asked))
    request = replace(request, grid=Grid((GridTrial("intensity"),), (), {}, n_seeds=2))
    assert {t.spec.seed for t in request.plan(paper_cohorts, "float32").trials} == seeds
    with pytest.raises(ValueError, match="n_seeds=0"):
        Grid((), (), {}, n_seeds=0)


def test_an_unknown_grid_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown grid 'nope'; choose one of: .*paper, small"):
        load_grid("nope")


def test_identities_do_not_depend_on_any_order(paper_cohorts: Cohorts) -> None:
    grid = load_grid("smoke")
    shuffled, cohorts = list(grid.trials), list(paper_cohorts)
    random.Random(1).shuffle(shuffled)
    random.Random(2).shuffle(cohorts)
    other = Grid(tuple(shuffled), grid.searches, grid.phantom_subjects)
    plan = build_plan(grid, paper_cohorts, seeds=(0, 1), epochs=None)
    assert _ids(plan) == _ids(build_plan(other, cohorts, seeds=(1, 0), epochs=None))


def test_epochs_are_no_part_of_a_fits_identity_but_of_its_evaluations(
    make_trial: Callable[..., PlannedTrial],
) -> None:
    short, long = (make_trial("ae", n_c=8, n_z=16, epochs=e) for e in (2, 3))
    assert short.trial_id == long.trial_id
    assert not {e.eval_id for e in short.evals} & {e.eval_id for e in long.evals}


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"n_z": 32}, {"modality": "T2w"}, {"learning_rate": 2e-3}]
)
def test_whatever_changes_a_model_changes_its_identity(
    make_trial: Callable[..., PlannedTrial], change: dict[str, object]
) -> None:
    base: dict[str, object] = {"model": "ae", "n_c": 8, "n_z": 16}
    assert make_trial(**base).trial_id != make_trial(**(base | change)).trial_id


def test_a_default_written_out_is_the_same_trial(make_trial: Callable[..., PlannedTrial]) -> None:
    plain = make_trial("ae", n_c=8, n_z=16)
    assert plain == make_trial("ae", n_c=8, n_z=16, learning_rate=1e-3, weight_decay=1e-4)


def test_a_score_that_is_asked_for_concerns_evaluations_alone(paper_cohorts: Cohorts) -> None:
    def plan(*asked: tuple[str, ...]) -> Plan:
        points = tuple(GridTrial("vae", {"n_c": 8, "n_z": 16}, scores=names) for names in asked)
        return build_plan(Grid(points, (), {}), paper_cohorts, seeds=(0,), epochs=None)

    plain, more = plan(()), plan(("kl_gradient", "ssim_residual"))
    assert [t.trial_id for t in plain.trials] == [t.trial_id for t in more.trials]
    assert not {e.eval_id for t in plain.trials for e in t.evals} & _ids(more)
    assert {e.asked for t in more.trials for e in t.evals} == {("kl_gradient", "ssim_residual")}
    for twice in (
        plan(("ssim_residual", "kl_gradient")),
        plan((), ("kl_gradient",), ("ssim_residual",)),
    ):
        assert twice == more


def test_a_score_that_is_not_there_is_answered_with_those_there_are(
    paper_cohorts: Cohorts,
) -> None:
    for model, known in (("ae", "ssim_residual"), ("intensity", "none")):
        params = {"n_c": 8, "n_z": 16} if model == "ae" else {}
        grid = Grid((GridTrial(model, params, scores=("kl_gradient",)),), (), {})
        with pytest.raises(PlanError, match=f"'kl_gradient' to ask for; choose from: {known}"):
            build_plan(grid, paper_cohorts, seeds=(0,), epochs=None)


def test_other_training_data_is_another_fit(
    paper_cohorts: Cohorts, make_cohort: Callable[..., CohortInfo]
) -> None:
    grid = Grid((GridTrial("intensity"),), (), {})
    plan = build_plan(grid, paper_cohorts, seeds=(0,), epochs=None)
    more = (*paper_cohorts, make_cohort("more", "train", "T1w"))
    changed = build_plan(grid, more, seeds=(0,), epochs=None)
    same = {t.trial_id for t in plan.trials} & {t.trial_id for t in changed.trials}
    assert same == {t.trial_id for t in plan.trials if t.spec.modality == "T2w"}


def test_the_epochs_option_replaces_the_grids_for_networks_alone(paper_cohorts: Cohorts) -> None:
    plan = build_plan(load_grid("smoke"), paper_cohorts, seeds=(0,), epochs=9)
    epochs = {t.spec.model: t.spec.epochs for t in plan.trials}
    assert epochs == {"intensity": 1, "gmm": 1, "ae": 9, "dae": 9, "vae": 9}


def test_a_modality_needs_both_roles(make_cohort: Callable[..., CohortInfo]) -> None:
    cohorts = (make_cohort("a", "train", "T1w"), make_cohort("b", "test", "T2w"))
    with pytest.raises(PlanError, match=r"train and a test.*a \(train, T1w\), b \(test, T2w\)"):
        build_plan(load_grid("smoke"), cohorts, seeds=(0,), epochs=None)


def test_a_cohort_whose_scans_were_all_set_aside_counts_as_none(
    make_cohort: Callable[..., CohortInfo],
) -> None:
    empty = make_cohort("b", "test", "T1w", n_scans=0, n_slices=0)
    with pytest.raises(PlanError, match="needs a train and a test cohort"):
        build_plan(
            load_grid("smoke"), (make_cohort("a", "train", "T1w"), empty), seeds=[0], epochs=None
        )


class TestWorkLeft:
    """The plan minus the records, for a real store."""

    @pytest.fixture
    def trials(self, make_trial: Callable[..., PlannedTrial]) -> list[PlannedTrial]:
        return [make_trial("intensity"), make_trial("ae", n_c=8, n_z=16, epochs=4)]

    def test_is_everything_at_first(
        self, local_study: StudyStore, trials: list[PlannedTrial]
    ) -> None:
        left = work_left(trials, load_index(local_study))
        assert [(w.trial, w.evals, w.fit) for w in left] == [(t, t.evals, True) for t in trials]

    def test_is_nothing_at_the_end(
        self,
        local_study: StudyStore,
        trials: list[PlannedTrial],
        put_trial: Callable[..., None],
    ) -> None:
        for trial in trials:
            put_trial(local_study, trial, {"squared_error": 0.7})
        assert work_left(trials, load_index(local_study)) == []

    def test_is_the_missing_evaluations_of_a_fit_that_is_there(
        self,
        local_study: StudyStore,
        trials: list[PlannedTrial],
        put_trial: Callable[..., None],
    ) -> None:
        put_trial(local_study, trials[0], {"intensity": 0.7}, cohorts=["atlas"])
        (left,) = work_left(trials[:1], load_index(local_study))
        assert not left.fit
        assert [e.cohort for e in left.evals] == ["brats", "held out"]

    def test_a_new_test_cohort_is_new_evaluations_alone(
        self,
        local_study: StudyStore,
        put_trial: Callable[..., None],
        paper_cohorts: Cohorts,
        make_cohort: Callable[..., CohortInfo],
    ) -> None:
        grid = load_grid("smoke")
        for trial in build_plan(grid, paper_cohorts, seeds=(0,), epochs=None).trials:
            put_trial(local_study, trial, {"intensity": 0.7})
        more = (*paper_cohorts, make_cohort("own", "test", "T1w"))
        trials = build_plan(grid, more, seeds=(0,), epochs=None).trials
        left = work_left(trials, load_index(local_study))
        assert len(left) == sum(t.spec.modality == "T1w" for t in trials)
        assert not any(w.fit for w in left)
        assert {e.cohort for w in left for e in w.evals} == {"own"}

    def test_more_epochs_are_more_work_and_fewer_are_refused(
        self,
        local_study: StudyStore,
        put_trial: Callable[..., None],
        make_trial: Callable[..., PlannedTrial],
    ) -> None:
        short, trial, long = (make_trial("ae", n_c=8, n_z=16, epochs=e) for e in (3, 4, 5))
        put_trial(local_study, trial, {"squared_error": 0.7})
        index = load_index(local_study)
        (left,) = work_left([long], index)
        assert left.fit
        assert left.evals == long.evals
        with pytest.raises(PlanError, match=r"trained for 4 epochs.* asks for 3; raise --epochs"):
            work_left([short], index)

    def test_failed_trials_wait_for_retry_failed(
        self,
        local_study: StudyStore,
        trials: list[PlannedTrial],
        make_fit: Callable[..., FitRecord],
        put_trial: Callable[..., None],
    ) -> None:
        failed, half = trials
        local_study.trial(failed.trial_id).write_fit(make_fit(failed, status="failed"))
        put_trial(local_study, half, {"squared_error": 0.7}, failed_evals=["brats"])
        index = load_index(local_study)
        assert work_left(trials, index) == []
        again = work_left(trials, index, retry_failed=True)
        assert [(w.trial, w.fit) for w in again] == [(failed, True), (half, False)]
        assert [e.cohort for e in again[1].evals] == ["brats"]
