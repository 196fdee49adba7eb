"""What a study's records do not tell because they do not count: damaged, foreign, unreadable."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from study.records.identities import Problem
from study.records.index import PROBLEM

_WORDS = {
    Problem.DAMAGED: "damaged",
    Problem.UNREADABLE: "unreadable",
    Problem.NEWER: "of another version of this software",
    Problem.FOREIGN: "in a place that is not theirs",
}


@dataclass(frozen=True)
class Problems:
    """The records of a study that do not count.

    Attributes:
        counts: How many, by what is wrong with them.
        messages: What is wrong, a sentence each, that names the file.
        barred: Trials that have a record which must not be replaced: unreadable, or newer.
    """

    counts: Mapping[Problem, int]
    messages: tuple[str, ...]
    barred: frozenset[str]

    @classmethod
    def of(cls, index: pa.Table) -> Problems:
        """Those that an index tells."""
        rows = index.filter(pc.equal(index["kind"], PROBLEM))
        columns = (rows[name].to_pylist() for name in ("status", "trial_id", "failure_message"))
        found = [
            (Problem(status), trial, text) for status, trial, text in zip(*columns, strict=True)
        ]
        return cls(
            counts=Counter(problem for problem, _, _ in found),
            messages=tuple(text for _, _, text in found),
            barred=frozenset(t for p, t, _ in found if p in (Problem.UNREADABLE, Problem.NEWER)),
        )

    @property
    def lose_results(self) -> bool:
        """Whether records of the study itself are missing; one of elsewhere takes nothing away."""
        return any(count for problem, count in self.counts.items() if problem != Problem.FOREIGN)

    def as_dict(self) -> dict[str, int]:
        """The counts by name, those that are 0 included."""
        return {problem.value: self.counts.get(problem, 0) for problem in Problem}

    def words(self, store: str) -> str:
        """One sentence with the command to look; empty if there are none.

        Args:
            store: What the user calls the store.
        """
        told = [f"{self.counts[p]} {words}" for p, words in _WORDS.items() if self.counts.get(p)]
        if not told:
            return ""
        n = sum(self.counts.values())
        subject = "1 record does" if n == 1 else f"{n} records do"
        return (
            f"{subject} not count here: {', '.join(told)}. Look at it with: "
            f"python -m study.store check {shlex.quote(store)}"
        )
