"""The parts of evaluations that a report reads beside the index, and which cannot be read."""

from __future__ import annotations

import shlex

import pyarrow as pa

from datasets.storage import StorageError
from datasets.tables import read_table
from study.records.studies import StudyStore
from study.terminal import counted

ERRORS = (StorageError, pa.ArrowException, OSError, ValueError, KeyError)
"""What a part that is missing, damaged or made by somebody else may raise."""


class Parts:
    """Reads tables of a study's evaluations; of one thread.

    Args:
        study: The study's store.
    """

    def __init__(self, study: StudyStore) -> None:
        self._study = study
        self._unread: set[tuple[str, str, str]] = set()

    def read(self, trial_id: str, eval_id: str, name: str) -> pa.Table | None:
        """A Parquet part of an evaluation.

        Args:
            trial_id: The trial.
            eval_id: Its evaluation.
            name: The part, such as ``subjects.parquet``.

        Returns:
            None where the evaluation has no such part, as the first ones had none of some, or where
            it cannot be read, which is remembered.
        """
        trial = self._study.trial(trial_id)
        try:
            record = trial.evaluation(eval_id)
            if record is None or name not in record.parts:
                return None
            table = read_table(trial.read_part(record, name))
            table.validate(full=True)
        except ERRORS:
            self.refuse(trial_id, eval_id, name)
            return None
        return table

    def refuse(self, trial_id: str, eval_id: str, name: str) -> None:
        """Remember a part whose content is not what it has to be."""
        self._unread.add((trial_id, eval_id, name))

    @property
    def n_unread(self) -> int:
        """How many of the parts that were asked for could not be read."""
        return len(self._unread)

    def words(self, store: str) -> str:
        """One sentence with the command to look; empty if all could be read.

        Args:
            store: What the user calls the store.
        """
        if not self._unread:
            return ""
        return (
            f"{counted(self.n_unread, 'part')} of evaluations cannot be read, so that intervals, "
            "differences or figures at thresholds are missing here. Look at it with: "
            f"python -m study.store check {shlex.quote(store)}"
        )
