"""From what is left of a plan to a Tune run: slices on every node, orders, searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets.storage import DamagedFileError
from study.plan.done import Work, plan_trials
from study.plan.plan import train_cohorts, train_keys
from study.prepare.listing import CohortListing
from study.progress.monitor import Monitor
from study.records.types import PlannedTrial, StudyRecord
from study.terminal import duration
from study.trials.data import StudySlices, study_slices
from study.trials.halving import rebuilt, rungs_of
from study.trials.node import NodeSlices, copy_to_nodes
from study.trials.order import TrialOrder
from study.trials.outcome import Outcome
from study.trials.search import LambdaSearch
from study.trials.session import Session
from study.trials.tuner import TuneRun, run_trials


def execute(
    left: Sequence[Work],
    record: StudyRecord,
    index: pa.Table,
    listings: Sequence[CohortListing],
    mend: Callable[[Sequence[CohortListing]], Sequence[CohortListing]],
    session: Session,
) -> Outcome:
    """Run what is left of a plan.

    Args:
        left: What is left, in the order it shall start.
        record: The study.
        index: The study's index.
        listings: Its data, prepared.
        mend: Prepares again what is damaged of the data.
        session: Where the trials take place.

    Returns:
        What is to be said beside the records.
    """
    # A grid's failed point is asked for again; a continuous search would choose another one.
    kept = index.filter(pc.not_equal(index["status"], "failed")) if session.retry_failed else index
    searches = [
        LambdaSearch(search, record.cohorts, kept if search.points else index)
        for search in record.searches
    ]
    grids = {search.search_id for search in record.searches if search.points}
    # A grid's trial whose fit is there but not all its evaluations is work like any other.
    known = [w for w in left if w.trial.search not in grids or not w.fit]
    if not known and not any(search.left for search in searches):
        return Outcome()
    ray = session.connect()
    places = session.places()
    tracker = session.monitor.tracker
    tracker.expect(tracker.costs, places.count)

    def order_of(work: Work) -> TrialOrder:
        modality = work.trial.spec.modality
        cohorts = record.cohorts
        return TrialOrder(
            work,
            train_cohorts(modality, cohorts),
            train_keys(modality, cohorts),
            checkpoint_s=session.checkpoint_s,
            rungs=rungs_of(work.trial, session.halving),
        )

    def remake() -> StudySlices:
        return study_slices(mend(listings), modalities)

    def order_of_point(trial: PlannedTrial) -> TrialOrder:
        return order_of(Work(trial, trial.evals, fit=True))

    node = NodeSlices(session.store.uri, session.study.name, session.cache, session.run)
    modalities = sorted(
        {work.trial.spec.modality for work in known}
        | {search.modality for search in searches if search.left}
    )
    rungs = None
    if session.halving is not None:
        rungs = rebuilt(plan_trials(record, index), index, session.study, session.halving)
    sets = copied_slices(ray, node, study_slices(listings, modalities), session.monitor, remake)
    return run_trials(
        TuneRun(
            orders=[order_of(work) for work in known],
            searches=searches,
            order_of=order_of_point,
            session=session,
            sets=sets,
            node=node,
            places=places,
            rungs=rungs,
        )
    )


def copied_slices(
    ray: Any,
    node: NodeSlices,
    sets: StudySlices,
    monitor: Monitor,
    remake: Callable[[], StudySlices],
) -> StudySlices:
    """See that every node has its own copy of the slices of a study.

    Args:
        ray: Ray.
        node: How a node gets at them.
        sets: The slices.
        monitor: Told how much was copied.
        remake: Prepares again what is damaged or gone of the shards.

    Returns:
        The slices; others than before if shards were prepared again.

    Raises:
        StorageError: If the store or a node's folder cannot be used.
    """

    def tick() -> None:
        monitor.check()
        monitor.update()

    try:
        copied = copy_to_nodes(ray, node, sets.sets, tick)
    except DamagedFileError:
        sets = remake()
        copied = copy_to_nodes(ray, node, sets.sets, tick)
    if copied.nodes:
        nodes = "this machine" if copied.nodes == 1 else f"{copied.nodes} nodes"
        monitor.say(
            f"Slices copied to {nodes}: {copied.n_bytes / 2**20:,.0f} MiB of shards in "
            f"{duration(copied.wall_s)}."
        )
    return sets
