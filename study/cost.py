"""What trials cost, estimated from their architecture, to order them and to tell the time left."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from study.plan import Work
from study.records import CohortInfo
from trainables.spec import TrialSpec

ASSUMED_SLICES_PER_SCAN = 100
"""For scans that have not been prepared yet."""

FLOPS_PER_S_AND_CORE = 1.5e11
"""A core's usual pace at one trial a thread, for an estimate before anything has run."""


@dataclass(frozen=True)
class _Size:
    flops_per_slice: float
    n_parameters: int


def training_flops(spec: TrialSpec) -> float:
    """Floating-point operations of one training step, per slice."""
    return _size(spec).flops_per_slice


def evaluation_flops(spec: TrialSpec) -> float:
    """Floating-point operations of scoring one slice: a forward pass, a third of a step."""
    return _size(spec).flops_per_slice / 3


def n_parameters(spec: TrialSpec) -> int:
    """Number of numbers that a trial trains."""
    return _size(spec).n_parameters


def work_flops(work: Work, cohorts: Sequence[CohortInfo]) -> float:
    """Floating-point operations of what is left of a trial, from its last record on.

    Args:
        work: What is left.
        cohorts: The study's data.
    """
    spec = work.trial.spec
    train = sum(slices_of(c) for c in cohorts if c.role == "train" and c.modality == spec.modality)
    wanted = {e.test_key for e in work.evals}
    test = sum(slices_of(c) for c in cohorts if c.role == "test" and c.key in wanted)
    epochs = spec.epochs - work.epochs_done if work.fit else 0
    fit = train * (1 - spec.validation_fraction) * epochs
    return training_flops(spec) * fit + evaluation_flops(spec) * test


def slices_of(cohort: CohortInfo) -> int:
    """Slices of a cohort; assumed from its scans where they have not been prepared."""
    return cohort.n_slices or cohort.n_scans * ASSUMED_SLICES_PER_SCAN


def longest_first(work: Iterable[Work], cohorts: Sequence[CohortInfo]) -> list[Work]:
    """Order work so that the last worker does not end long after the others."""
    return sorted(work, key=lambda w: (-work_flops(w, cohorts), w.trial.trial_id))


def _size(spec: TrialSpec) -> _Size:
    return _size_of(spec.model, json.dumps(spec.params, sort_keys=True))


@functools.lru_cache(maxsize=4096)
def _size_of(model: str, params: str) -> _Size:
    spec = TrialSpec(model=model, modality="T1w", params=json.loads(params))
    detector = spec.detector()
    return _Size(detector.flops_per_slice(), detector.n_parameters)
