"""From what is left of a plan to a Tune run: slices into Ray's object store, orders, searches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets.storage import DamagedFileError, Storage
from study.cluster.connection import card_gib, own_raylet
from study.plan.cost import MOST_TRIALS_PER_GPU
from study.plan.done import Work
from study.plan.plan import train_cohorts, train_keys
from study.prepare.listing import CohortListing
from study.prepare.losses import lesion_outside_brain_share
from study.records.types import PlannedTrial, StudyRecord
from study.trials.data import test_slices, train_slices
from study.trials.order import TrialOrder
from study.trials.outcome import Outcome
from study.trials.search import LambdaSearch
from study.trials.session import Session
from study.trials.tuner import DataRefs, TuneRun, run_trials

GPU_GIB_PER_TRIAL = 3.0
"""What the largest cell of the paper's grid needs at a batch of 64, CUDA's own share included."""


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
    device, share = _share(ray)
    # On this machine's own Ray, Tune asks for no place for a trial that has none, which would cost
    # as much as a tiny trial; a cluster may grow.
    slots = _places(ray, share)
    tracker = session.monitor.tracker
    tracker.expect(tracker.costs, slots)

    def order_of(work: Work) -> TrialOrder:
        modality = work.trial.spec.modality
        cohorts = record.cohorts
        return TrialOrder(
            work,
            train_cohorts(modality, cohorts),
            train_keys(modality, cohorts),
            device,
            session.checkpoint_s,
        )

    def order_of_point(trial: PlannedTrial) -> TrialOrder:
        return order_of(Work(trial, trial.evals, fit=True))

    try:
        refs = put_slices(ray, session.store, listings, mend)
    except ray.exceptions.RayError as error:
        raise ConnectionError(f"Ray cannot hold the slices: {error}") from error
    return run_trials(
        TuneRun(
            orders=[order_of(work) for work in known],
            searches=searches,
            order_of=order_of_point,
            session=session,
            refs=refs,
            share=share,
            at_once=slots if own_raylet() is not None else None,
        )
    )


def put_slices(
    ray: Any,
    store: Storage,
    listings: Sequence[CohortListing],
    mend: Callable[[Sequence[CohortListing]], Sequence[CohortListing]],
) -> DataRefs:
    """Put every cohort's slices once into Ray's object store.

    Shards that turn out to be damaged or gone are prepared again first.
    """
    try:
        return _put(ray, store, listings)
    except (DamagedFileError, FileNotFoundError):
        return _put(ray, store, mend(listings))


def _put(ray: Any, store: Storage, listings: Sequence[CohortListing]) -> DataRefs:
    refs = DataRefs()
    for modality in sorted({listing.modality for listing in listings}):
        here = [x for x in listings if x.modality == modality and x.manifest and x.info().n_slices]
        train = [x.manifest for x in here if x.cohort.role == "train" and x.manifest]
        test = [x for x in here if x.cohort.role == "test"]
        if not train or not test:
            continue
        refs.train[modality] = ray.put(train_slices(store, train))
        for listing in test:
            place = (listing.cohort.name, modality)
            if listing.manifest is not None:
                refs.test[place] = ray.put(test_slices(store, listing.manifest))
                refs.outside[place] = lesion_outside_brain_share(listing.manifest)
    return refs


def _places(ray: Any, share: dict[str, float]) -> int:
    """How many trials have room at once on what the cluster is now."""
    have = ray.cluster_resources()
    return max(1, min(int(have.get(name.upper(), 0) / share[name]) for name in share))


def _share(ray: Any) -> tuple[str, dict[str, float]]:
    """The device of trials and what each takes of it: a CPU, or a CPU and a share of a GPU."""
    if not ray.cluster_resources().get("GPU"):
        return "cpu", {"cpu": 1.0}
    gib = card_gib(ray)
    fitting = max(1, min(MOST_TRIALS_PER_GPU, math.floor(gib / GPU_GIB_PER_TRIAL)))
    return "cuda", {"cpu": 1.0, "gpu": 1.0 / fitting}
