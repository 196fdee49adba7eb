"""What came of a damage: what was said of it, and what was wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.faults.damage.draws import Damage
from tests.faults.damage.places import CACHES, plain
from tests.faults.damage.scene import Done
from tests.faults.damage.state import Effect, State, differences
from tests.faults.damage.worker import Ended


class Wrong(StrEnum):
    """What must not be."""

    SILENT = "silently different"
    UNSEEN = "unseen by check"
    TRACEBACK = "traceback"
    TOUCHED = "touched outside"
    HANG = "hang"
    UNLIKE = "unlike undisturbed"


@dataclass
class Outcome:
    """What came of a damage; filled step by step.

    Attributes:
        damage: The damage.
        words: What it did.
        said: Whether the report or the check said something.
        resumed: Whether it was repaired and resumed.
        is_void: Whether there was nothing to damage.
        wrong: What was wrong, with a sentence each.
    """

    damage: Damage
    words: str = ""
    said: bool = False
    resumed: bool = False
    is_void: bool = False
    wrong: list[tuple[Wrong, str]] = field(default_factory=list)

    def add(self, kind: Wrong, sentence: str) -> None:
        """Note something wrong."""
        self.wrong.append((kind, sentence))

    def has(self, kind: Wrong) -> bool:
        """Whether something of that kind is wrong."""
        return any(found == kind for found, _ in self.wrong)


@dataclass(frozen=True)
class Told:
    """What ``study.report`` told of a study.

    Attributes:
        status: Its exit status.
        figures: What must not differ without a word: results and what they are called.
        counts: How many trials were planned, are done, have failed.
        others: Whatever else it counts or says.
        err: What it printed to the standard error.
    """

    status: int
    figures: dict[str, Any]
    counts: dict[str, int]
    others: dict[str, Any]
    err: str

    @classmethod
    def of(cls, ended: Ended) -> Told:
        """What a report in JSON told."""
        content: dict[str, Any] = json.loads(ended.out) if ended.status == 0 else {}
        counts = content.pop("trials", {})
        names = ("planned", "done", "failed", "running")
        others = {name: counts.pop(name) for name in list(counts) if name not in names}
        figures = {
            n: content.pop(n) for n in ("study", "grid", "synthetic", "rows") if n in content
        }
        return cls(ended.status, figures, counts, others | content, ended.err)

    def says_it(self, undisturbed: Told) -> bool:
        """Whether it says that something is missing or wrong."""
        if self.status != 0 or self.err:
            return True
        now, then = self.counts, undisturbed.counts
        settled = [c.get("done", 0) + c.get("failed", 0) for c in (now, then)]
        is_less = settled[0] < settled[1] and now.get("planned") == then.get("planned")
        return is_less or self.others != undisturbed.others

    def differs(self, undisturbed: Told) -> str:
        """How it differs from an undisturbed report in what has to be said; empty if not."""
        if self.status != 0:
            return "there is no report"
        for name, figure in undisturbed.figures.items():
            if self.figures.get(name) != figure:
                return f"{name}: {_first_difference(self.figures.get(name), figure)}"
        if self.counts != undisturbed.counts:
            return f"trials: {self.counts}, not {undisturbed.counts}"
        return ""


def must_be_seen(
    damage: Damage, done: Done, found: Effect, named: Mapping[str, set[str]]
) -> list[str]:
    """The paths at which a check has to find something.

    A file that is there and is not what was written has to be found; one that is gone, where a
    record that is there names it. What a damage has added has to be found where it is a record at
    a place that is not its own. Caches may be older than the store: any that are whole are right.
    A heartbeat is replaced every two seconds, and only has to be one.

    Args:
        damage: The damage.
        done: What it did.
        found: What became of the store.
        named: The records that name each file.
    """
    if done.foreign:
        return [done.foreign]
    is_heartbeat = plain(damage.kind) == "studies/S/progress.json" and damage.harm == "bit flip"
    is_whole = done.is_others and plain(damage.kind) in _WHOLE
    if done.is_readable or is_whole or is_heartbeat:
        return []
    missing = (p for p in found.gone if named.get(p, set()) & found.same)
    return sorted({*found.changed, *missing})


def sees(checked: Ended, path: str) -> bool:
    """Whether a check has found something, or notes something at a path, above or below it."""
    parts = path.split("/")
    above = {"/".join(parts[:n]) for n in range(1, len(parts) + 1)}
    notes = [line for line in checked.out.splitlines() if line.startswith("note: ")]
    return checked.status != 0 or any(
        f"'{path}/" in note or any(repr(p) in note for p in above) for note in notes
    )


_WHOLE = CACHES | {"studies/S/trials/"}
"""What is as right at another one's place."""


def may_go(path: str, found: Effect, named: Mapping[str, set[str]]) -> bool:
    """Whether a file that the damage left alone may be removed: all that named it is gone."""
    records = named.get(path, set())
    return bool(records) and records <= found.gone


def _first_difference(mine: Any, theirs: Any) -> str:
    if isinstance(mine, list) and isinstance(theirs, list):
        if len(mine) != len(theirs):
            return f"{len(mine)} rows, not {len(theirs)}"
        pairs: Iterable[tuple[Any, Any]] = zip(mine, theirs, strict=True)
        return next(_first_difference(a, b) for a, b in pairs if a != b)
    if isinstance(mine, dict) and isinstance(theirs, dict):
        keys = sorted(k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k))
        return ", ".join(f"{k} {mine.get(k)!r}, not {theirs.get(k)!r}" for k in keys[:3])
    return f"{mine!r}, not {theirs!r}"


def note_touched(
    outcome: Outcome, command: str, before: Mapping[str, State], after: Mapping[str, State]
) -> None:
    """Note what a command has changed that it must not change."""
    for where, state in before.items():
        changes = differences(state, after[where])
        if changes:
            more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
            sentence = f"{command} changed {where}: {', '.join(changes[:3])}{more}"
            outcome.add(Wrong.TOUCHED, sentence)
