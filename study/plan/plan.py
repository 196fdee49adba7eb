"""What a study is going to do: a grid laid over the data, minus what the store has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from datasets.collector import disable_gc
from datasets.identity import digest
from datasets.scan import MODALITIES, Modality
from study.errors import PlanError
from study.grids._grid import Grid, GridSearch, GridTrial
from study.records.types import CohortInfo, EvalRole, PlannedEval, PlannedSearch, PlannedTrial
from trainables.arithmetic import Precision
from trainables.detector import Detector, score_names
from trainables.registry import detector_class
from trainables.spec import (
    EVAL_VERSION,
    HELD_OUT,
    TrialSpec,
    eval_id,
    held_out_key,
    identity,
    trial_id,
)

MOST_TRIALS = 100_000
"""The paper's study has 136, and records, index and pages are made for ten thousand."""


@dataclass(frozen=True)
class Plan:
    """Every trial of a study, done or not.

    Attributes:
        trials: Those with a known specification, the points of grid searches included.
        searches: The searches.
    """

    trials: tuple[PlannedTrial, ...]
    searches: tuple[PlannedSearch, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The models of all trials and searches, sorted."""
        found = {trial.spec.model for trial in self.trials}
        return tuple(sorted(found | {search.spec.model for search in self.searches}))


def build_plan(
    grid: Grid,
    cohorts: Sequence[CohortInfo],
    *,
    seeds: Sequence[int],
    epochs: int | None,
    precision: Precision = "float32",
) -> Plan:
    """Lay a grid over the data.

    Args:
        grid: The grid.
        cohorts: The data, one entry a cohort and modality.
        seeds: Every point is run with each of these.
        epochs: Replaces the grid's own number of epochs, if given.
        precision: Arithmetic of all networks for which the grid names none.

    Raises:
        PlanError: If no modality has both a train and a test cohort, or if the grid asks for
            a model that is not there, for settings that it does not have, or for more trials than
            a study may have.
    """
    with disable_gc():
        return _laid_out(with_precision(grid, precision), cohorts, seeds, epochs)


def with_precision(grid: Grid, precision: Precision) -> Grid:
    """A grid whose points that have an arithmetic, and leave it open, have this one."""
    points = (
        replace(point, params={"precision": precision, **point.params})
        if "precision" in _detector(point.model).Params.model_fields
        else point
        for point in grid.trials
    )
    return replace(grid, trials=tuple(points))


def _laid_out(
    grid: Grid, cohorts: Sequence[CohortInfo], seeds: Sequence[int], epochs: int | None
) -> Plan:
    modalities = trainable_modalities(cohorts, grid.modalities)
    _check_size(grid, cohorts, modalities, len(seeds))
    trials: dict[str, PlannedTrial] = {}
    searches = []
    for modality in modalities:
        for seed in seeds:
            for point in grid.trials:
                spec = _spec(point.model, modality, point.params, seed, epochs or point.epochs)
                _add(trials, planned_trial(spec, cohorts, asked=_asked(point)), cohorts)
            for space in grid.searches:
                for search in _planned_searches(space, modality, seed, cohorts):
                    searches.append(search)
                    for value in search.points:
                        trial = search_point(search, value, cohorts)
                        trials.setdefault(trial.trial_id, trial)
    return Plan(tuple(trials.values()), tuple(searches))


def _asked(point: GridTrial) -> tuple[str, ...]:
    try:
        score_names(detector_class(point.model), point.scores)
    except ValueError as error:
        raise PlanError(f"the grid's scores of {point.model!r}: {error}") from error
    return tuple(sorted(set(point.scores)))


def _add(
    trials: dict[str, PlannedTrial], trial: PlannedTrial, cohorts: Sequence[CohortInfo]
) -> None:
    """Add a trial to those of a plan; of a point that a grid has twice, all scores are wanted."""
    known = trials.setdefault(trial.trial_id, trial)
    if known.evals != trial.evals:
        asked = {name for e in (*known.evals, *trial.evals) for name in e.asked}
        trials[trial.trial_id] = planned_trial(known.spec, cohorts, asked=tuple(sorted(asked)))


def _check_size(
    grid: Grid, cohorts: Sequence[CohortInfo], modalities: Sequence[Modality], n_seeds: int
) -> None:
    """Refuse a grid that nobody can run, before it takes an hour to lay it out."""
    n_columns = sum(len(_of(cohorts, "test", modality)) for modality in modalities)
    n_points = len(grid.trials) + sum(len(space.points) for space in grid.searches)
    n_searched = sum(space.n_trials for space in grid.searches if not space.points)
    n_trials = n_seeds * (n_points * len(modalities) + n_searched * n_columns)
    if n_trials > MOST_TRIALS:
        raise PlanError(
            f"the grid asks for {n_trials:,} trials with {n_seeds:,} seeds; a study has at most "
            f"{MOST_TRIALS:,}: choose fewer seeds or points"
        )


def trainable_modalities(
    cohorts: Sequence[CohortInfo], asked: Sequence[Modality] | None = None
) -> tuple[Modality, ...]:
    """The modalities that have both a train and a test cohort with usable scans.

    Args:
        cohorts: The data.
        asked: Those that are asked for, if not all.

    Raises:
        PlanError: If there is none.
    """
    both = (m for m in MODALITIES if _of(cohorts, "train", m) and _of(cohorts, "test", m))
    found = tuple(m for m in both if asked is None or m in asked)
    if not found:
        have = ", ".join(f"{c.name} ({c.role}, {c.modality})" for c in cohorts if c.n_scans)
        among = f" among {', '.join(asked)}" if asked is not None else ""
        raise PlanError(
            f"a study needs a train and a test cohort of the same modality{among}; "
            f"with usable scans there are: {have or 'none'}"
        )
    return found


def planned_trial(
    spec: TrialSpec,
    cohorts: Sequence[CohortInfo],
    search: str | None = None,
    asked: tuple[str, ...] = (),
    eval_version: int = EVAL_VERSION,
) -> PlannedTrial:
    """A specification with its identity and evaluations on the given data.

    It is tested on the test cohorts, and its false alarms are looked at on the healthy ones and on
    the subjects that are held out of its training.

    Args:
        spec: The specification.
        cohorts: The data.
        search: Identity of the search that it belongs to.
        asked: Scores that are asked for besides those that are always computed, sorted.
        eval_version: Of evaluation; version 1 knew no healthy subjects.
    """
    keys = train_keys(spec.modality, cohorts)
    fit = trial_id(spec, keys)
    places: list[tuple[str, str, EvalRole]] = [
        (c.name, c.key, "test") for c in _of(cohorts, "test", spec.modality)
    ]
    if eval_version > 1:
        places += [(c.name, c.key, "healthy") for c in _of(cohorts, "healthy", spec.modality)]
        if _holds_out(spec, cohorts):
            places.append((HELD_OUT, held_out_key(keys, spec.validation_fraction), "healthy"))
    evals = tuple(
        PlannedEval(
            eval_id=eval_id(spec, fit, key, asked, eval_version),
            cohort=name,
            test_key=key,
            asked=asked,
            role=role,
        )
        for name, key, role in places
    )
    return PlannedTrial(trial_id=fit, spec=spec, evals=evals, search=search)


def _holds_out(spec: TrialSpec, cohorts: Sequence[CohortInfo]) -> bool:
    """Whether any subject is held out of training, as ``Slices.split`` does it."""
    # Before scans are prepared their subjects are not counted.
    n = sum(c.n_subjects or c.n_scans for c in _of(cohorts, "train", spec.modality))
    return spec.validation_fraction > 0 and n > 1


def searched_trial(
    spec: TrialSpec,
    search: PlannedSearch,
    cohorts: Sequence[CohortInfo],
    eval_version: int = EVAL_VERSION,
) -> PlannedTrial:
    """A trial that a search asks for."""
    return planned_trial(spec, cohorts, search.search_id, eval_version=eval_version)


def search_point(
    search: PlannedSearch, value: float, cohorts: Sequence[CohortInfo]
) -> PlannedTrial:
    """The trial of a search at one value of its parameter."""
    return searched_trial(_with_value(search, value), search, cohorts)


def train_keys(modality: Modality, cohorts: Sequence[CohortInfo]) -> tuple[str, ...]:
    """Keys of the train cohorts of a modality, in cohort name order."""
    return tuple(c.key for c in _of(cohorts, "train", modality))


def train_cohorts(modality: Modality, cohorts: Sequence[CohortInfo]) -> tuple[str, ...]:
    """Names of the train cohorts of a modality, sorted."""
    return tuple(c.name for c in _of(cohorts, "train", modality))


def _of(cohorts: Sequence[CohortInfo], role: str, modality: Modality) -> list[CohortInfo]:
    chosen = (c for c in cohorts if c.role == role and c.modality == modality and c.n_scans)
    return sorted(chosen, key=lambda c: c.name)


def _spec(
    model: str, modality: Modality, params: dict[str, Any], seed: int, epochs: int
) -> TrialSpec:
    spec = TrialSpec(model=model, modality=modality, params=params, seed=seed, epochs=epochs)
    try:
        return spec.completed()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PlanError(f"the grid's settings of {model!r}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise PlanError(str(error)) from error


def _detector(model: str) -> type[Detector]:
    try:
        return detector_class(model)
    except ValueError as error:
        raise PlanError(str(error)) from error


def _planned_searches(
    space: GridSearch, modality: Modality, seed: int, cohorts: Sequence[CohortInfo]
) -> list[PlannedSearch]:
    """A search for each test cohort of a modality."""
    start = space.points[0] if space.points else math.sqrt(space.low * space.high)
    params = {**space.params, space.parameter: start}
    spec = _spec(space.model, modality, params, seed, 1)
    content = identity(spec)
    content["params"].pop(space.parameter, None)
    scores = score_names(detector_class(space.model))
    if space.score not in scores:
        raise PlanError(
            f"the grid searches {space.parameter} of {space.model!r} by the score {space.score!r}; "
            f"choose one of: {', '.join(scores)}"
        )
    version = detector_class(space.model).VERSION
    content |= {"parameter": space.parameter, "recipe_version": version}
    content["train_keys"] = list(train_keys(modality, cohorts))
    return [
        PlannedSearch(
            search_id=digest(content | {"objective": cohort.name}),
            spec=spec,
            parameter=space.parameter,
            points=space.points,
            low=space.low,
            high=space.high,
            n_trials=len(space.points) or space.n_trials,
            objective=cohort.name,
            objective_score=space.score,
        )
        for cohort in _of(cohorts, "test", modality)
    ]


def _with_value(search: PlannedSearch, value: float) -> TrialSpec:
    params = {**search.spec.params, search.parameter: value}
    return search.spec.model_copy(update={"params": params})
