"""Searches led by Optuna: asked for points, told the results, rebuilt from the store's records.

The Optuna study lives in memory and is made anew at every start: finished points come back as
trials, so none is repeated and none is lost. A journal kept beside the store could disagree
with it after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.compute as pc
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from study.plan import search_point
from study.records import CohortInfo, PlannedSearch, PlannedTrial
from trainables.spec import TrialSpec


class AskTellGridSampler(optuna.samplers.GridSampler):  # type: ignore[misc]
    """A grid sampler whose grid may run out.

    Optuna's own calls ``Study.stop`` after the last point, which is an error outside
    ``Study.optimize``.
    """

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """Nothing is to stop: whoever asks knows how many points there are."""


class LambdaSearch:
    """One planned search; owned by the driver's main thread."""

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
        left = [p for p in search.points if p not in finished]
        self._left = len(left) if search.points else max(0, search.n_trials - len(finished))
        self._distribution = self._make_distribution()
        self.optuna_study = optuna.create_study(
            direction="maximize", sampler=self._make_sampler(left, len(finished))
        )
        self._asked: dict[str, int] = {}
        for number, (value, point) in enumerate(finished.items()):
            self.optuna_study.add_trial(self._known(value, point))
            if point.is_open:
                self._asked[point.trial_id] = number

    @property
    def left(self) -> int:
        """Points that are still to be asked for."""
        return self._left

    def ask(self) -> PlannedTrial:
        """The next point as a trial; :attr:`left` must not be 0."""
        self._left -= 1
        name = self._search.parameter
        trial = self.optuna_study.ask({name: self._distribution})
        planned = search_point(self._search, float(trial.params[name]), self._cohorts)
        self._asked[planned.trial_id] = trial.number
        return planned

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

    def _make_distribution(self) -> BaseDistribution:
        search = self._search
        if search.points:
            return CategoricalDistribution(search.points)
        return FloatDistribution(search.low, search.high, log=True)

    def _make_sampler(self, left: list[float], n_finished: int) -> optuna.samplers.BaseSampler:
        if self._search.points:
            grid = {self._search.parameter: left or list(self._search.points)}
            return AskTellGridSampler(grid, seed=self._search.spec.seed)
        # A resumed search goes on with other draws than those it has already made.
        return optuna.samplers.TPESampler(seed=1000 * self._search.spec.seed + n_finished)

    def _known(self, value: float, point: Point) -> optuna.trial.FrozenTrial:
        """A point that has a record, as Optuna's own kind of trial."""
        name = self._search.parameter
        settled = TrialState.FAIL if point.auc is None else TrialState.COMPLETE
        return create_trial(
            params={name: value},
            distributions={name: self._distribution},
            value=point.auc,
            state=TrialState.RUNNING if point.is_open else settled,
        )


@dataclass(frozen=True)
class Point:
    """A point whose fit has a record.

    Attributes:
        trial_id: Its trial.
        auc: The objective it reached; None if it failed, is undefined, or is not evaluated yet.
        is_open: Whether its evaluation is still to come.
    """

    trial_id: str
    auc: float | None
    is_open: bool


def finished_points(
    search: PlannedSearch, cohorts: Sequence[CohortInfo], index: pa.Table
) -> dict[float, Point]:
    """The points of a search whose fit has a record.

    Args:
        search: The search.
        cohorts: The study's data: an objective reached on other data than today's counts for none.
        index: The study's index.

    Returns:
        What became of them, by value of the parameter, ascending.
    """
    mine = index.filter(pc.equal(index["search"], search.search_id))
    fits = mine.filter(pc.equal(mine["kind"], "fit"))
    rows = mine.filter(pc.equal(mine["kind"], "evaluation"))
    evaluated = set(rows["eval_id"].to_pylist())
    is_objective = pc.and_(
        pc.equal(rows["score"], search.objective_score), pc.equal(rows["region"], "brain")
    )
    rows = rows.filter(is_objective)
    auc_of = dict(zip(rows["eval_id"].to_pylist(), rows["auc"].to_pylist(), strict=True))
    points = {}
    for text, status in zip(fits["spec"].to_pylist(), fits["status"].to_pylist(), strict=True):
        value = float(TrialSpec.model_validate_json(text).params[search.parameter])
        trial = search_point(search, value, cohorts)
        objective = next(e.eval_id for e in trial.evals if e.cohort == search.objective)
        is_open = status == "done" and objective not in evaluated
        points[value] = Point(trial.trial_id, auc_of.get(objective), is_open)
    return dict(sorted(points.items()))
