"""What a study is going to do: a grid laid over the data, minus what the store has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from datasets.bulk import many_objects
from datasets.identity import digest
from datasets.plugins import load_plugin, plugin_names
from datasets.scan import MODALITIES, Modality
from study import grids
from study.records import CohortInfo, PlannedEval, PlannedSearch, PlannedTrial
from trainables.arithmetic import Precision
from trainables.detector import detector_class
from trainables.spec import RECIPE_VERSION, TrialSpec, eval_id, identity, trial_id


@dataclass(frozen=True)
class GridTrial:
    """A point of a grid: a model and its settings, for every modality and seed.

    Attributes:
        model: File name of the detector.
        params: Its settings; the others keep their defaults.
        epochs: Passes over the training slices; ignored by detectors that do not train by epochs.
    """

    model: str
    params: dict[str, Any] = field(default_factory=dict)
    epochs: int = 1


@dataclass(frozen=True)
class GridSearch:
    """A search over one parameter, led by Optuna, for every modality, seed and test cohort.

    Attributes:
        model: File name of the detector.
        parameter: The searched parameter.
        score: The score whose brain-region AUC on the test cohort is maximised.
        points: The values of a grid search; empty for a continuous one.
        low: Lower end of a continuous search, on a log scale.
        high: Upper end.
        n_trials: Trials of a continuous search, for each test cohort; a grid search makes one a
            point, which serves all test cohorts.
        params: The other settings.
    """

    model: str
    parameter: str
    score: str
    points: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    n_trials: int = 0
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """What a module in ``study/grids`` provides as ``GRID``.

    Attributes:
        trials: Points to run.
        searches: Searches to run.
        phantom_subjects: Size of the built-in cohorts when no data is configured, by name.
    """

    trials: tuple[GridTrial, ...]
    searches: tuple[GridSearch, ...]
    phantom_subjects: dict[str, int]


class GridModule(Protocol):
    """What a file in ``study/grids`` provides."""

    GRID: Grid
    __doc__: str


@dataclass(frozen=True)
class Plan:
    """Every trial of a study, done or not.

    Attributes:
        trials: Those with a known specification, the points of grid searches included.
        searches: The searches.
    """

    trials: tuple[PlannedTrial, ...]
    searches: tuple[PlannedSearch, ...]


class PlanError(ValueError):
    """A study that cannot be planned; the message says what is missing."""


def grid_names() -> tuple[str, ...]:
    """Names of all grids, sorted."""
    return plugin_names(grids)


def load_grid(name: str) -> Grid:
    """The grid of that file name.

    Raises:
        ValueError: If there is no such grid; the message lists those there are.
    """
    grid: Grid = load_plugin(grids, name, "grid").GRID
    return grid


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
        PlanError: If no modality has both a train and a test cohort.
    """
    with many_objects():
        return _laid_out(with_precision(grid, precision), cohorts, seeds, epochs)


def with_precision(grid: Grid, precision: Precision) -> Grid:
    """A grid whose points that have an arithmetic, and leave it open, have this one."""
    points = (
        replace(point, params={"precision": precision, **point.params})
        if "precision" in detector_class(point.model).Params.model_fields
        else point
        for point in grid.trials
    )
    return replace(grid, trials=tuple(points))


def _laid_out(
    grid: Grid, cohorts: Sequence[CohortInfo], seeds: Sequence[int], epochs: int | None
) -> Plan:
    trials: dict[str, PlannedTrial] = {}
    searches = []
    for modality in trainable_modalities(cohorts):
        for seed in seeds:
            for point in grid.trials:
                spec = _spec(point.model, modality, point.params, seed, epochs or point.epochs)
                trial = planned_trial(spec, cohorts)
                trials.setdefault(trial.trial_id, trial)
            for space in grid.searches:
                for search in _planned_searches(space, modality, seed, cohorts):
                    searches.append(search)
                    for value in search.points:
                        trial = search_point(search, value, cohorts)
                        trials.setdefault(trial.trial_id, trial)
    return Plan(tuple(trials.values()), tuple(searches))


def trainable_modalities(cohorts: Sequence[CohortInfo]) -> tuple[Modality, ...]:
    """The modalities that have both a train and a test cohort with usable scans.

    Raises:
        PlanError: If there is none.
    """
    found = tuple(m for m in MODALITIES if _of(cohorts, "train", m) and _of(cohorts, "test", m))
    if not found:
        have = ", ".join(f"{c.name} ({c.role}, {c.modality})" for c in cohorts if c.n_scans)
        raise PlanError(
            "a study needs a train and a test cohort of the same modality; "
            f"with usable scans there are: {have or 'none'}"
        )
    return found


def planned_trial(
    spec: TrialSpec, cohorts: Sequence[CohortInfo], search: str | None = None
) -> PlannedTrial:
    """A specification with its identity and evaluations on the given data."""
    fit = trial_id(spec, train_keys(spec.modality, cohorts))
    evals = tuple(
        PlannedEval(eval_id=eval_id(fit, spec.epochs, c.key), cohort=c.name, test_key=c.key)
        for c in _of(cohorts, "test", spec.modality)
    )
    return PlannedTrial(trial_id=fit, spec=spec, evals=evals, search=search)


def searched_trial(
    spec: TrialSpec, search: PlannedSearch, cohorts: Sequence[CohortInfo]
) -> PlannedTrial:
    """A trial that a search asks for."""
    return planned_trial(spec, cohorts, search.search_id)


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


@dataclass(frozen=True)
class Work:
    """What is left of a trial.

    Attributes:
        trial: The whole trial.
        evals: Its evaluations that have no record.
        fit: Whether the fit, or a part of its epochs, is still to do.
        epochs_done: Epochs of an earlier, shorter fit that it goes on from.
    """

    trial: PlannedTrial
    evals: tuple[PlannedEval, ...]
    fit: bool
    epochs_done: int = 0


def work_left(
    trials: Iterable[PlannedTrial], index: pa.Table, *, retry_failed: bool = False
) -> list[Work]:
    """The plan minus the store's records.

    Args:
        trials: Planned trials.
        index: The study's index.
        retry_failed: Whether failed trials count as not done.

    Raises:
        PlanError: If a trial's record has more epochs than the plan asks for.
    """
    settled = ["done"] if retry_failed else ["done", "failed"]
    table = index.filter(pc.is_in(index["status"], pa.array(settled)))
    fits = table.filter(pc.equal(table["kind"], "fit"))
    columns = (fits[c].to_pylist() for c in ("trial_id", "status", "epochs"))
    fit_of = {t: (status, epochs) for t, status, epochs in zip(*columns, strict=True)}
    evals = table.filter(pc.equal(table["kind"], "evaluation"))
    evaluated = set(evals["eval_id"].to_pylist())
    left = []
    for trial in trials:
        status, epochs = fit_of.get(trial.trial_id, (None, 0))
        if status == "failed":
            continue
        if epochs > trial.spec.epochs:
            raise PlanError(
                f"trial {trial.trial_id} is already trained for {epochs} epochs, the plan asks "
                f"for {trial.spec.epochs}; raise --epochs, or begin another study with --study"
            )
        missing = tuple(e for e in trial.evals if e.eval_id not in evaluated)
        fit = epochs < trial.spec.epochs
        if fit or missing:
            left.append(Work(trial, missing, fit, epochs))
    return left


def _of(cohorts: Sequence[CohortInfo], role: str, modality: Modality) -> list[CohortInfo]:
    chosen = (c for c in cohorts if c.role == role and c.modality == modality and c.n_scans)
    return sorted(chosen, key=lambda c: c.name)


def _spec(
    model: str, modality: Modality, params: dict[str, Any], seed: int, epochs: int
) -> TrialSpec:
    spec = TrialSpec(model=model, modality=modality, params=params, seed=seed, epochs=epochs)
    return spec.completed()


def _planned_searches(
    space: GridSearch, modality: Modality, seed: int, cohorts: Sequence[CohortInfo]
) -> list[PlannedSearch]:
    """A search for each test cohort of a modality."""
    start = space.points[0] if space.points else math.sqrt(space.low * space.high)
    params = {**space.params, space.parameter: start}
    spec = _spec(space.model, modality, params, seed, 1)
    content = identity(spec)
    content["params"].pop(space.parameter, None)
    content |= {"parameter": space.parameter, "recipe_version": RECIPE_VERSION}
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


def count_by_model(trials: Iterable[PlannedTrial]) -> dict[str, int]:
    """How many trials each model has, by model name."""
    names = sorted(trial.spec.model for trial in trials)
    return {name: len(list(group)) for name, group in groupby(names)}
