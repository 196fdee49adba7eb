"""How long a run will take on this machine, said before any of it is done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.plan.cost import MOST_TRIALS_PER_GPU, Pace, WorkCost, makespan_s, measure_pace, work_cost
from study.plan.done import Work
from study.prepare.listing import CohortListing
from study.records.types import CohortInfo
from study.terminal import counted, duration
from trainables.spec import TrialSpec

EXTRACT_S, READ_S, WRITE_S = 2.6, 0.7, 0.9
"""Seconds that a core takes to tell the brain of a scan by a tool, to read and cut it, and to write
a phantom's, where a training slice of ``REFERENCE`` takes ``REFERENCE_S``."""

REFERENCE = TrialSpec(model="vae", modality="T1w", params={"n_c": 8, "n_z": 64, "batch_size": 32})
REFERENCE_S = 2.1e-3

START_S = 8.0
"""Until Ray and its first workers are there, and at the end until the table is."""


AT_MOST = "With --asha it takes less, as far as networks are stopped early."


@dataclass(frozen=True)
class Estimate:
    """What is left of a run.

    Attributes:
        n_scans: Scans to prepare.
        prepare_s: Seconds for them.
        n_trials: Trials to run.
        trials_s: Seconds for them.
        places: How many scans or trials run at once.
        n_postprocessed: Evaluations of post-processed maps, at most.
        postprocess_s: Seconds for them.
    """

    n_scans: int
    prepare_s: float
    n_trials: int
    trials_s: float
    places: int
    n_postprocessed: int = 0
    postprocess_s: float = 0.0

    @property
    def words(self) -> str:
        """One sentence for the user."""
        parts = []
        if self.n_scans:
            parts.append(f"{duration(self.prepare_s)} to prepare {counted(self.n_scans, 'scan')}")
        if self.n_trials:
            parts.append(f"{duration(self.trials_s)} for {counted(self.n_trials, 'trial')}")
        if self.n_postprocessed:
            noun = "evaluation" if self.n_postprocessed == 1 else "evaluations"
            seconds = duration(self.postprocess_s)
            parts.append(f"{seconds} for {self.n_postprocessed} {noun} after post-processing")
        if not parts:
            return "Nothing is left to do."
        total = duration(START_S + self.prepare_s + self.trials_s + self.postprocess_s)
        return f"This will take about {total}: {', then '.join(parts)}, {self.places} at once."


def estimate(
    listings: Sequence[CohortListing],
    costs: Mapping[str, WorkCost],
    pace: Pace,
    places: int,
    postprocessing: Mapping[str, WorkCost] | None = None,
) -> Estimate:
    """Estimate a run.

    Args:
        listings: Its data; cohorts without a manifest are to be prepared.
        costs: Of its trials.
        pace: Of a core.
        places: How many scans or trials run at once.
        postprocessing: What evaluations of post-processed maps cost, by trial.
    """
    postprocessing = postprocessing or {}
    unprepared = [x for x in listings if x.manifest is None]
    slower = pace.train_s(REFERENCE.completed()) / REFERENCE_S or 1.0
    return Estimate(
        n_scans=sum(x.n_expected for x in unprepared),
        prepare_s=slower * sum(_prepare_s(x) for x in unprepared) / places,
        n_trials=len(costs),
        trials_s=makespan_s(costs.values(), places),
        places=places,
        n_postprocessed=sum(len(cost.evaluation_s) for cost in postprocessing.values()),
        postprocess_s=makespan_s(postprocessing.values(), places),
    )


def costs_of(
    left: Sequence[Work], cohorts: Sequence[CohortInfo], pace: Pace
) -> dict[str, WorkCost]:
    """What the trials that are left cost, by trial."""
    return {work.trial.trial_id: work_cost(work, cohorts, pace) for work in left}


def pace_of(
    left: Sequence[Work], listings: Sequence[CohortListing], places: int, device: str = "cpu"
) -> Pace:
    """Measure this machine for what is left; takes a second or two.

    Args:
        left: Trials and evaluations that are left.
        listings: The data, some of which may have to be prepared.
        places: How many trials run at once.
        device: What networks train on.
    """
    specs = [work.trial.spec for work in left if work.fit or work.evals]
    if any(x.manifest is None for x in listings):
        specs.append(REFERENCE.completed())
    cores = min(places, os.cpu_count() or 1)
    return measure_pace(specs, cores=cores, device=device)


def local_places(device: str) -> int:
    """How many trials this machine runs at once, as far as that is known before Ray is there.

    Args:
        device: What networks train on, from :func:`local_device`.
    """
    cores = os.cpu_count() or 1
    if device == "cpu":
        return cores
    import torch

    return min(cores, MOST_TRIALS_PER_GPU * torch.cuda.device_count())


def local_device(choice: str) -> str:
    """What networks train on if this machine runs the trials.

    Args:
        choice: The user's: ``auto``, ``cpu`` or ``cuda``.
    """
    if choice != "auto":
        return choice
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _prepare_s(listing: CohortListing) -> float:
    """Seconds of a core at the reference pace; one that was begun may have less left."""
    options = listing.cohort.options
    if not listing.tasks:  # a phantom that is not written yet
        is_stripped = options is not None and options.layout == "brats"
        return listing.n_expected * (WRITE_S + READ_S + (0.0 if is_stripped else EXTRACT_S))
    needs_tool = [t for t in listing.tasks if not t.scan.stripped and t.scan.brain_mask is None]
    return listing.n_expected * READ_S + len(needs_tool) * EXTRACT_S
