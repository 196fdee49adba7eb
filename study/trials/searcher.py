"""What Tune asks for the next trial: the plan's, in its order, then the searches' points.

A trial is handed out for a kind of place. What trains on GPUs and what does not stand in lines of
their own, so that neither waits behind the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import TypeAdapter
from ray.tune.search import Searcher

from study.records.types import PlannedTrial
from study.trials.order import TrialOrder
from study.trials.places import Place, Places
from study.trials.search import LambdaSearch
from trainables.registry import detector_class

ORDER = TypeAdapter(TrialOrder)
"""How an order travels to a worker: as JSON in a trial's configuration."""


class OfThisProcess:
    """Something that Tune wants to save and copy, and that is worth neither."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


@dataclass(frozen=True)
class _Handed:
    """A trial that Tune has.

    Attributes:
        order: What it is to do.
        place: The kind of place that it waits for or has.
    """

    order: TrialOrder
    place: Place


class PlanSearcher(OfThisProcess, Searcher):  # type: ignore[misc]
    """Hands Tune the plan: known trials in the given order, then the searches' points.

    Attributes:
        waiting: How many trials wait at Ray for a place, by kind of place.
        running: How many run, by kind of place.
    """

    def __init__(
        self,
        orders: Sequence[TrialOrder],
        searches: Sequence[LambdaSearch],
        order_of: Callable[[PlannedTrial], TrialOrder],
        places: Places,
        *,
        one_by_one: bool = False,
    ) -> None:
        """Line the trials up.

        Args:
            orders: Known trials.
            searches: Searches, asked once the known trials of their kind are gone.
            order_of: Makes an order of a search's trial.
            places: Where trials run.
            one_by_one: Whether each has the cluster, and a card of its own, to itself.
        """
        super().__init__()
        self._lines: dict[bool, list[tuple[int, TrialOrder]]] = {True: [], False: []}
        for rank in range(len(orders) - 1, -1, -1):  # the first is popped first
            uses_gpu = detector_class(orders[rank].spec.model).USES_GPU
            self._lines[uses_gpu].append((rank, orders[rank]))
        self._searches = list(searches)
        self._order_of = order_of
        self._places = places
        self._one_by_one = one_by_one
        self._handed: dict[str, _Handed] = {}
        self._started: set[str] = set()
        self.waiting: Counter[Place] = Counter()
        self.running: Counter[Place] = Counter()

    def order(self, tune_id: str) -> TrialOrder:
        """What a trial of Tune's is to do."""
        return self._handed[tune_id].order

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's configuration; None while there is no room for any that is left."""
        if not any(self._lines.values()) and not any(search.left for search in self._searches):
            return str(Searcher.FINISHED)
        for place in self._rooms():
            order = self._next(place)
            if order is not None:
                order = replace(order, device=place.device)
                self._handed[trial_id] = _Handed(order, place)
                self.waiting[place] += 1
                return {
                    "order": ORDER.dump_json(order).decode(),
                    "device": order.device,
                    "resources": dict(place.resources),
                }
        return None

    def started(self, tune_id: str) -> None:
        """A trial has a place; also when it has lost one and begins again."""
        if tune_id not in self._started:
            self._started.add(tune_id)
            place = self._handed[tune_id].place
            self.waiting[place] -= 1
            self.running[place] += 1

    def lost(self, tune_id: str) -> None:
        """A trial has lost its worker and waits again."""
        if tune_id in self._started:
            self._started.remove(tune_id)
            place = self._handed[tune_id].place
            self.running[place] -= 1
            self.waiting[place] += 1

    def over(self, tune_id: str) -> None:
        """A trial has ended."""
        handed = self._handed.pop(tune_id)
        count = self.running if tune_id in self._started else self.waiting
        count[handed.place] -= 1
        self._started.discard(tune_id)

    def _rooms(self) -> list[Place]:
        if not self._one_by_one:
            return self._places.rooms(self.waiting, self.running)
        if self.waiting.total() + self.running.total():
            return []
        return [kind.whole() for kind in self._places.kinds]

    def _next(self, place: Place) -> TrialOrder | None:
        suiting = self._suiting(place)
        lines = [self._lines[uses_gpu] for uses_gpu in suiting if self._lines[uses_gpu]]
        if lines:
            return min(lines, key=lambda line: line[-1][0]).pop()[1]
        for search in self._searches:
            is_suited = detector_class(search.model).USES_GPU in suiting
            if search.left and is_suited and self._may_ask(search, place):
                trial = search.ask()
                for other in self._searches:
                    if other is not search:
                        other.join(trial)
                return self._order_of(trial)
        return None

    def _may_ask(self, search: LambdaSearch, place: Place) -> bool:
        """A search that learns from its results is asked for no more than can run at once."""
        return search.is_grid or self.waiting[place] + self.running[place] < max(1, place.count)

    def _suiting(self, place: Place) -> tuple[bool, ...]:
        """Whether trials of models that use a GPU, that use none, or both run in such a place."""
        if place.gpu:
            return (True,)
        return (False,) if self._places.has_cards else (True, False)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn here: the driver's callback tells the searches."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is kept: the store is the truth."""
