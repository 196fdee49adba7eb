"""Searches led by Optuna: asked for points, told the results, rebuilt from the store's records.

The Optuna study lives in memory and is made anew at every start: finished points come back as
trials, so none is repeated and none is lost. A journal kept beside the store could disagree
with it after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
import pyarrow as pa
import pyarrow.compute as pc
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from study.plan.plan import search_point
from study.records.types import CohortInfo, PlannedSearch, PlannedTrial
from trainables.spec import TrialSpec


class LambdaSearch:
    """One planned search; owned by the driver's main thread.

    Every trial is evaluated on all test cohorts, so the searches for the cohorts of a modality know
    each other's points. Those of a grid are shared: no point is asked for twice. A continuous
    search asks for as many of its own as planned, and learns from all.
    """

    def __init__(
        self, search: PlannedSearch, cohorts: Sequence[CohortInfo], index: pa.Table
    ) -> None:
        """Rebuild the search from its records.

        Args:
            search: What is searched.
            cohorts: The study's data.
            index: The study's index.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._search = search
        self._cohorts = cohorts
        finished = finished_points(search, cohorts, index)
        self._open = [p for p in search.points if p not in finished]
        n_own = sum(point.is_own for point in finished.values())
        self._left = max(0, search.n_trials - n_own)
        self._distribution: BaseDistribution = (
            CategoricalDistribution(search.points)
            if search.points
            else FloatDistribution(search.low, search.high, log=True)
        )
        # A resumed search goes on with other draws than those it has already made, and so does
        # another cohort's.
        seed = (int(search.search_id[:8], 16) + len(finished)) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed)
        self.optuna_study = optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: dict[str, int] = {}
        for value, point in finished.items():
            self._add(value, point)

    @property
    def model(self) -> str:
        """The model whose parameter is searched."""
        return self._search.spec.model

    @property
    def modality(self) -> str:
        """That of its trials."""
        return self._search.spec.modality

    @property
    def is_grid(self) -> bool:
        """Whether its points are given; if not, each is chosen by what the ones before reached."""
        return bool(self._search.points)

    @property
    def left(self) -> int:
        """Points that are still to be asked for."""
        return len(self._open) if self._search.points else self._left

    def ask(self) -> PlannedTrial:
        """The next point as a trial; :attr:`left` must not be 0."""
        name = self._search.parameter
        if self._search.points:
            return self._begin(self._open[0])
        self._left -= 1
        trial = self.optuna_study.ask({name: self._distribution})
        planned = search_point(self._search, float(trial.params[name]), self._cohorts)
        self._asked[planned.trial_id] = trial.number
        return planned

    def join(self, trial: PlannedTrial) -> None:
        """Take note of a trial that another search has asked for: its results will count here too.

        What is not one of this search's points, or possible points, is ignored.
        """
        value = value_of(self._search, trial.spec)
        is_new = trial.trial_id not in self._asked
        if value is not None and is_new and is_possible(self._search, value):
            self._begin(value)

    def evaluated(self, trial_id: str, cohort: str, auc: Mapping[str, float | None]) -> None:
        """Report an evaluation; what this search did not ask for is ignored.

        Args:
            trial_id: Whose.
            cohort: Name of the test cohort.
            auc: Brain-region AUC by score.
        """
        value = auc.get(self._search.objective_score)
        if cohort == self._search.objective and value is not None and trial_id in self._asked:
            self.optuna_study.tell(self._asked.pop(trial_id), value)

    def ended(self, trial_id: str) -> None:
        """Report that a trial has ended; a point without an objective by now has failed."""
        number = self._asked.pop(trial_id, None)
        if number is not None:
            self.optuna_study.tell(number, state=TrialState.FAIL)

    def _begin(self, value: float) -> PlannedTrial:
        """Ask Optuna for a point that is given."""
        name = self._search.parameter
        self.optuna_study.enqueue_trial({name: value})
        number = self.optuna_study.ask({name: self._distribution}).number
        planned = search_point(self._search, value, self._cohorts)
        self._asked[planned.trial_id] = number
        if value in self._open:
            self._open.remove(value)
        return planned

    def _add(self, value: float, point: Point) -> None:
        """Tell Optuna of a point that has a record."""
        name = self._search.parameter
        settled = TrialState.FAIL if point.auc is None else TrialState.COMPLETE
        trial = create_trial(
            params={name: value},
            distributions={name: self._distribution},
            value=point.auc,
            state=TrialState.RUNNING if point.is_open else settled,
        )
        self.optuna_study.add_trial(trial)
        if point.is_open:
            self._asked[point.trial_id] = len(self.optuna_study.trials) - 1


@dataclass(frozen=True)
class Point:
    """A point whose fit has a record.

    Attributes:
        trial_id: Its trial.
        auc: The objective it reached; None if it failed, is undefined, or is not evaluated yet.
        is_open: Whether its evaluation is still to come.
        is_own: Whether the search itself asked for it.
    """

    trial_id: str
    auc: float | None
    is_open: bool
    is_own: bool


def is_possible(search: PlannedSearch, value: float) -> bool:
    """Whether a value is one of a search's points, or in its range."""
    return value in search.points if search.points else search.low <= value <= search.high


def value_of(search: PlannedSearch, spec: TrialSpec) -> float | None:
    """The parameter's value, if a specification differs from a search's in nothing else."""
    params = {**search.spec.params, search.parameter: spec.params.get(search.parameter)}
    if spec != search.spec.model_copy(update={"params": params}):
        return None
    return float(spec.params[search.parameter])


def finished_points(
    search: PlannedSearch, cohorts: Sequence[CohortInfo], index: pa.Table
) -> dict[float, Point]:
    """The points of a search whose fit has a record, whichever search asked for them.

    Args:
        search: The search.
        cohorts: The study's data: an objective reached on other data than today's counts for none.
        index: The study's index.

    Returns:
        What became of them, by value of the parameter, ascending: of a grid those on it, of a
        continuous search all in its range.
    """
    alike = index.filter(pc.equal(index["model"], search.spec.model))
    fits = alike.filter(pc.equal(alike["kind"], "fit"))
    rows = alike.filter(pc.equal(alike["kind"], "evaluation"))
    evaluated = set(rows["eval_id"].to_pylist())
    is_objective = pc.and_(
        pc.equal(rows["score"], search.objective_score), pc.equal(rows["region"], "brain")
    )
    rows = rows.filter(is_objective)
    auc_of = dict(zip(rows["eval_id"].to_pylist(), rows["auc"].to_pylist(), strict=True))
    points = {}
    for row in fits.select(["trial_id", "spec", "status", "search"]).to_pylist():
        value = value_of(search, TrialSpec.model_validate_json(row["spec"]))
        if value is None or not is_possible(search, value):
            continue
        trial = search_point(search, value, cohorts)
        if trial.trial_id != row["trial_id"]:
            continue  # fitted to other data, or by another version
        objective = next(e.eval_id for e in trial.evals if e.cohort == search.objective)
        is_open = row["status"] == "done" and objective not in evaluated
        is_own = row["search"] == search.search_id
        points[value] = Point(trial.trial_id, auc_of.get(objective), is_open, is_own)
    return dict(sorted(points.items()))
