"""Repair and resume: afterwards a damaged store has to be as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.faults.damage import content
from tests.faults.damage.copies import OUTSIDE, Copies
from tests.faults.damage.original import STUDIES
from tests.faults.damage.outcome import Outcome, Told, Wrong, note_touched
from tests.faults.damage.places import CACHES, FAILED_EVALUATION
from tests.faults.damage.scene import remove
from tests.faults.damage.state import Effect, digests, link_tree, look
from tests.faults.damage.worker import Ended, Worker

_RUN_LIMIT_S = 300.0


@dataclass(frozen=True)
class Expected:
    """What a study is when it has been resumed.

    Attributes:
        status: Exit status of its run.
        told: What the report says.
        content: A digest of all that its plan needs.
    """

    status: int
    told: Told
    content: Mapping[str, str]


class Resumer:
    """Repairs the store and runs the damaged studies again.

    Attributes:
        can_repair: Whether there is a command that repairs; without, studies are only run again.
    """

    def __init__(self, copies: Copies) -> None:
        self.can_repair = True
        self._copies = copies
        self._runner = Worker(copies.folder / "runner.log", copies.address)
        self._expected: dict[tuple[str, bool], Expected] = {}

    def close(self) -> None:
        """End the process that runs studies."""
        self._runner.close()

    def resume(self, outcome: Outcome, found: Effect) -> None:
        """Repair, run again, and note how the store differs from an undisturbed one.

        Args:
            outcome: What came of the damage so far.
            found: What the damage did.
        """
        outcome.resumed = True
        outside = {OUTSIDE: look(self._copies.outside)}
        self._repair(outcome)
        for study in _damaged(found, look(self._copies.store)):
            self._run(outcome, study, self._accepted(study, found))
        checked = self._copies.check()
        if checked.status != 0:
            outcome.add(Wrong.UNLIKE, f"check afterwards: {_last(checked)}")
        note_touched(outcome, "repair and resume", outside, {OUTSIDE: look(self._copies.outside)})

    def _repair(self, outcome: Outcome) -> None:
        """Repair the store, which must lose no byte but those of caches."""
        if not self.can_repair:
            return
        store = self._copies.store
        before = digests(store, look(store))
        ended = self._copies.repair()
        if "No such command" in ended.err:
            self.can_repair = False
            return
        if ended.fault:
            outcome.add(Wrong.TRACEBACK, f"repair: {ended.fault}")
        kept = set(digests(store, look(store)).values())
        lost = sorted(p for p, d in before.items() if d not in kept and not _is_cache(p))
        if lost:
            outcome.add(Wrong.TOUCHED, f"repair lost {len(lost)} files: {', '.join(lost[:3])}")

    def _run(self, outcome: Outcome, study: str, accepted: list[Expected]) -> None:
        """Run a study, and compare all that is left of it."""
        mine = self._outcome_of(study, self._copies.store, outcome)
        if mine is None:
            return
        problems = [_difference(mine, expected) for expected in accepted]
        if all(problems):
            outcome.add(Wrong.UNLIKE, f"study {study}: {problems[0]}")

    def _outcome_of(
        self, study: str, store: Path, outcome: Outcome | None = None
    ) -> Expected | None:
        """Run a study of a store; what has become of it, or None after a fault that was noted."""
        words = self._copies.original.run_words(study, store, self._copies.address)
        ended = self._runner.run(_RUN_LIMIT_S, "study.run", *words)
        if ended.fault:
            if outcome is None:
                raise RuntimeError(ended.fault)
            outcome.add(Wrong.TRACEBACK, f"run: {ended.fault}")
            return None
        if ended.status not in (0, 1, 3) or "Store:" not in ended.out:
            sentence = f"study {study} cannot be run: {_last(ended)}"
            if outcome is None:
                raise RuntimeError(sentence)
            outcome.add(Wrong.UNLIKE, sentence)
            return None
        told = Told.of(self._copies.report(study, store))
        function = f"{content.__name__}:study_digests"
        found = self._copies.reader.call(self._copies.limit_s, function, str(store), study)
        return Expected(ended.status, told, found)

    def _accepted(self, study: str, found: Effect) -> list[Expected]:
        """What may come of a study: an evaluation that has failed may be tried again if it is lost.

        What made it fail was no part of the store.
        """
        failed = self._copies.places[FAILED_EVALUATION]
        is_lost = study == "b" and not found.same.issuperset(failed)
        return [
            self._undisturbed(study, again) for again in ((False, True) if is_lost else (False,))
        ]

    def _undisturbed(self, study: str, again: bool) -> Expected:
        """What comes of a study that is resumed without damage.

        Args:
            study: Its name.
            again: Whether the evaluation that has failed is tried again.
        """
        if (study, again) not in self._expected:
            store = self._copies.folder / "undisturbed"
            if store.exists():
                remove(store)
            link_tree(self._copies.original.store, store, look(self._copies.original.store))
            if again:
                for path in self._copies.places[FAILED_EVALUATION]:
                    (store / path).unlink()
            expected = self._outcome_of(study, store)
            assert expected is not None
            self._expected[study, again] = expected
        return self._expected[study, again]


def _damaged(found: Effect, now: Mapping[str, object]) -> list[str]:
    """The studies to run again: those with anything changed, else the first."""
    new = now.keys() - found.same
    paths = {*found.changed, *found.gone, *new}
    return [s for s in STUDIES if any(f"{p}/".startswith(f"studies/{s}/") for p in paths)] or [
        STUDIES[0]
    ]


def _difference(mine: Expected, expected: Expected) -> str:
    if mine.status != expected.status:
        return f"its run ended with {mine.status}, not {expected.status}"
    told = mine.told.differs(expected.told)
    if told or mine.told.others != expected.told.others:
        return f"the report differs: {told or mine.told.others}"
    names = sorted(expected.content)
    differing = [n for n in names if mine.content.get(n) != expected.content[n]]
    return f"the store differs in {', '.join(differing[:3])}" if differing else ""


def _is_cache(path: str) -> bool:
    return any(path.endswith(kind.rpartition("/")[2]) for kind in CACHES)


def _last(ended: Ended) -> str:
    lines = (ended.err or ended.out).strip().splitlines()
    return lines[-1] if lines else f"status {ended.status}"
