"""What Tune asks for the next trial: the plan's, in its order, then the searches' points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from pydantic import TypeAdapter
from ray.tune.search import Searcher

from study.records.types import PlannedTrial
from study.trials.order import TrialOrder
from study.trials.search import LambdaSearch

ORDER = TypeAdapter(TrialOrder)
"""How an order travels to a worker: as JSON in a trial's configuration."""


class OfThisProcess:
    """Something that Tune wants to save and copy, and that is worth neither."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class PlanSearcher(OfThisProcess, Searcher):  # type: ignore[misc]
    """Hands Tune the plan: known trials in the given order, then the searches' points."""

    def __init__(
        self,
        orders: Sequence[TrialOrder],
        searches: Sequence[LambdaSearch],
        order_of: Callable[[PlannedTrial], TrialOrder],
    ) -> None:
        super().__init__()
        self._orders = list(reversed(orders))
        self._searches = list(searches)
        self._order_of = order_of
        self.by_tune_id: dict[str, TrialOrder] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's configuration."""
        order = self._next()
        if order is None:
            return str(Searcher.FINISHED)
        self.by_tune_id[trial_id] = order
        return {"order": ORDER.dump_json(order).decode(), "device": order.device}

    def _next(self) -> TrialOrder | None:
        if self._orders:
            return self._orders.pop()
        for search in self._searches:
            if search.left:
                trial = search.ask()
                for other in self._searches:
                    if other is not search:
                        other.join(trial)
                return self._order_of(trial)
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn here: the driver's callback tells the searches."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is kept: the store is the truth."""
