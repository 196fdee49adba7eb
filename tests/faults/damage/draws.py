"""Which damages there are, and which of them a campaign of some number makes."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.faults.damage.harms import WEIGHTS, harms_of


@dataclass(frozen=True, order=True)
class Damage:
    """One damage, told by what can be typed again.

    Attributes:
        kind: The kind of file or folder that is damaged.
        harm: The kind of damage.
        nth: Which of its kind this is.
        seed: Of all that is drawn.
    """

    kind: str
    harm: str
    nth: int
    seed: int

    @property
    def name(self) -> str:
        """What is damaged how."""
        return f"{self.kind}: {self.harm}"

    def rng(self) -> random.Random:
        """What the damage is drawn from; the same for the same damage."""
        return random.Random(f"{self.seed}/{self.name}/{self.nth}")


def draw(
    places: Mapping[str, tuple[str, ...]], count: int, seed: int, only: str = ""
) -> list[Damage]:
    """Some damages, as evenly over kinds of file and kinds of damage as their number allows.

    A larger number has all damages of a smaller one.

    Args:
        places: The files and folders of the store, by kind.
        count: How many.
        seed: Of the draws.
        only: Text that the names of all have.
    """
    kinds = [
        (kind, harm)
        for kind, members in places.items()
        for harm in harms_of(kind, members)
        if only in f"{kind}: {harm}"
    ]
    turns = heapq.merge(*(_turns(kind, harm, seed) for kind, harm in kinds))
    return sorted(damage for _, damage in itertools.islice(turns, count))


def _turns(kind: str, harm: str, seed: int) -> Iterator[tuple[float, Damage]]:
    """All damages of a kind, each with a number that says when it has its turn."""
    start = random.Random(f"{seed}/{kind}: {harm}").random()
    for nth in itertools.count():
        yield (nth + start) / WEIGHTS.get(harm, 1), Damage(kind, harm, nth, seed)


def spread(damages: list[Damage], count: int) -> list[Damage]:
    """So many of some damages, over all kinds alike."""
    count = min(count, len(damages))
    return [damages[(2 * i + 1) * len(damages) // (2 * count)] for i in range(count)]
