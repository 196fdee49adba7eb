"""The round after a study's trials: its best settings are evaluated on post-processed maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from study.plan.done import Work, work_left
from study.plan.postprocess import most_postprocessed
from study.progress.tracker import Tracker
from study.records.types import StudyRecord
from study.report.postprocessed import winners

CAPTION = "evaluating the best settings after post-processing"


def postprocessing_left(
    record: StudyRecord, index: pa.Table, *, retry_failed: bool = False
) -> list[Work]:
    """The evaluations of post-processed maps that the store does not have; nothing to train.

    Args:
        record: The study.
        index: Its index.
        retry_failed: Whether those that have failed count as not done.
    """
    found = work_left(winners(record, index), index, retry_failed=retry_failed)
    return [work for work in found if not work.fit]


def postprocessing_expected(
    record: StudyRecord, index: pa.Table, left: Sequence[Work], *, retry_failed: bool = False
) -> list[Work]:
    """What will be left once all trials are done: which are the best is not known before.

    Args:
        record: The study.
        index: Its index.
        left: What is left of its trials.
        retry_failed: Whether what has failed is run again.
    """
    open_searches = [s for s in record.searches if not s.points]
    if not left and not open_searches:
        return postprocessing_left(record, index, retry_failed=retry_failed)
    trials = most_postprocessed(record.trials, open_searches, record.cohorts)
    return [Work(trial, trial.evals, fit=False) for trial in trials]


@contextmanager
def counted_apart(tracker: Tracker, n: int) -> Iterator[None]:
    """Let a tracker count the evaluations of this round alone, and then the trials again.

    Args:
        tracker: It.
        n: How many trials are evaluated once more.
    """
    before = tracker.planned, tracker.done, tracker.failed
    tracker.planned, tracker.done, tracker.failed = n, 0, 0
    try:
        yield
    finally:
        tracker.planned, tracker.done, tracker.failed = before
