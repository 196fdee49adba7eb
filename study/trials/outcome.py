"""What is to be said of a run beside its records; importing this loads no Ray."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How the trials of a run have ended, as far as no record tells.

    Attributes:
        lost: A sentence for each trial that ended without a record, such as one that found the
            store's disk full.
        unwritable: Whether the run was stopped because the store takes nothing any more.
        needs_cleanup: Whether workers were lost, which may have left parts that no manifest names.
    """

    lost: tuple[str, ...] = ()
    unwritable: bool = False
    needs_cleanup: bool = False

    def merged(self, later: Outcome) -> Outcome:
        """What is to be said of this run and one after it."""
        return Outcome(
            lost=self.lost + later.lost,
            unwritable=self.unwritable or later.unwritable,
            needs_cleanup=self.needs_cleanup or later.needs_cleanup,
        )
