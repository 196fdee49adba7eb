"""A search over lambda for tests."""

from __future__ import annotations

from study.grids._grid import Grid, GridSearch
from study.plan.plan import build_plan
from study.records.types import CohortInfo, PlannedSearch, PlannedTrial

Cohorts = tuple[CohortInfo, ...]


POINTS = (0.1, 0.01, 0.001, 0.0001)


GRID = GridSearch("gmm", "gmm_lambda", "outlier_sum", points=POINTS)


TPE = GridSearch("gmm", "gmm_lambda", "outlier_sum", low=1e-6, high=1.0, n_trials=12)


def plan_of(space: GridSearch, cohorts: Cohorts) -> PlannedSearch:
    plan = build_plan(Grid((), (space,), {}), cohorts, seeds=(0,), epochs=None)
    return plan.searches[0]


def lambda_of(trial: PlannedTrial) -> float:
    return float(trial.spec.params["gmm_lambda"])
