"""One damage after another, each on a fresh copy of the store, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.damage.copies import OUTSIDE, Copies
from tests.faults.damage.draws import Damage
from tests.faults.damage.harms import harms_of
from tests.faults.damage.original import STUDIES
from tests.faults.damage.outcome import (
    Outcome,
    Told,
    Wrong,
    may_go,
    must_be_seen,
    note_touched,
    sees,
)
from tests.faults.damage.places import plain
from tests.faults.damage.resume import Resumer
from tests.faults.damage.scene import Scene
from tests.faults.damage.state import Effect, effect, look
from tests.faults.damage.worker import CrashError, HangError

_GC_BEFORE_REPAIR = 0.5
_NO_INDEX_SHARE = 0.3


@dataclass(frozen=True)
class Campaign:
    """Damages copies of one store, and looks at what the commands make of them.

    Attributes:
        copies: The copies.
        resumer: What repairs and resumes some of them.
    """

    copies: Copies
    resumer: Resumer

    def run(self, damage: Damage, *, resume: bool) -> Outcome:
        """Make one damage, then report, check and gc, in this order.

        Args:
            damage: The damage.
            resume: Whether the store is repaired then, half of the time without gc, and its
                studies run again.
        """
        copies, rng = self.copies, damage.rng()
        before = copies.renew()
        if rng.random() < _NO_INDEX_SHARE and plain(damage.kind) != "studies/S/index.parquet":
            for name in STUDIES:  # as after a kill: readers then read every record
                path = f"studies/{name}/index.parquet"
                (copies.store / path).unlink()
                before.pop(path)
        members = tuple(path for path in copies.places[damage.kind] if path in before)
        harm = harms_of(damage.kind, members)[damage.harm]
        done = harm(Scene(copies.store, copies.outside, damage.kind, members, rng, damage.nth))
        if done is None:
            return Outcome(damage, "nothing to act on", is_void=True)
        outcome = Outcome(damage, done.words)
        found = effect(before, look(copies.store))
        try:
            self._read(outcome, must_be_seen(damage, done, found, copies.named))
            if not resume or rng.random() < _GC_BEFORE_REPAIR:
                self._collect(outcome, found)
            if resume:
                self.resumer.resume(outcome, found)
        except HangError as error:
            outcome.add(Wrong.HANG, str(error))
        except CrashError as error:
            outcome.add(Wrong.TRACEBACK, str(error))
        return outcome

    def _read(self, outcome: Outcome, must_see: list[str]) -> None:
        before = self.copies.around()
        for name in STUDIES:
            ended = self.copies.report(name)
            if ended.fault:
                outcome.add(Wrong.TRACEBACK, f"report: {ended.fault}")
                continue
            told, undisturbed = Told.of(ended), self.copies.told[name]
            difference = told.differs(undisturbed)
            if told.says_it(undisturbed):
                outcome.said = True
            elif difference:
                outcome.add(Wrong.SILENT, f"study {name}: {difference}")
        checked = self.copies.check()
        outcome.said |= checked.status != 0
        if checked.fault:
            outcome.add(Wrong.TRACEBACK, f"check: {checked.fault}")
        unseen = [path for path in must_see if not sees(checked, path)]
        if unseen:
            outcome.add(Wrong.UNSEEN, ", ".join(unseen[:3]))
        note_touched(outcome, "report and check", before, self.copies.around())

    def _collect(self, outcome: Outcome, found: Effect) -> None:
        outside = look(self.copies.outside)
        ended = self.copies.collect()
        if ended.fault:
            outcome.add(Wrong.TRACEBACK, f"gc: {ended.fault}")
        note_touched(outcome, "gc", {OUTSIDE: outside}, {OUTSIDE: look(self.copies.outside)})
        now = look(self.copies.store)
        files = (p for p in sorted(found.same - now.keys()) if p in self.copies.digests)
        lost = [p for p in files if not may_go(p, found, self.copies.named)]
        if lost:
            outcome.add(Wrong.TOUCHED, f"gc removed {len(lost)} files: {', '.join(lost[:3])}")
