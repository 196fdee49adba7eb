"""What the paper's grid on the paper's data asks for: steps, operations, slices to evaluate.

Loads torch, numpy and pydantic, neither Ray nor what else a study needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from study.grids.paper import GRID
from trainables.fit import n_batches
from trainables.spec import TrialSpec

COHORTS = (("ixi", "train", 579, 100), ("atlas", "test", 220, 90), ("brats", "test", 285, 100))
"""The paper's data: name, role, scans of a modality, slices that are kept of each."""

ONLY_T1W = ("atlas",)
"""Cohorts without T2w."""

HELD_OUT = TrialSpec.model_fields["validation_fraction"].default
"""Share of the healthy slices that training leaves out; models are evaluated on them."""


@dataclass(frozen=True)
class Trial:
    """A network of the grid.

    Attributes:
        model: Which.
        n_c: N_c.
        steps: Of its training.
        flops: Floating-point operations of one of these.
        n_evaluated: Slices it is evaluated on.
        n_scores: Scores of each.
    """

    model: str
    n_c: int
    steps: int
    flops: float
    n_evaluated: int
    n_scores: int


@cache
def networks() -> tuple[Trial, ...]:
    """The grid's networks in both modalities."""
    healthy = sum(scans * slices for _, role, scans, slices in COHORTS if role == "train")
    held_out = round(healthy * HELD_OUT)
    found = []
    for trial in GRID.trials:
        if "n_c" not in trial.params:
            continue
        detector = TrialSpec(model=trial.model, modality="T1w", params=trial.params).detector()
        batches = n_batches(healthy - held_out, trial.params["batch_size"])
        for modality in ("T1w", "T2w"):
            tested = sum(
                scans * slices
                for name, role, scans, slices in COHORTS
                if role == "test" and (modality == "T1w" or name not in ONLY_T1W)
            )
            found.append(
                Trial(
                    model=trial.model,
                    n_c=trial.params["n_c"],
                    steps=trial.epochs * batches,
                    flops=detector.flops_per_slice() * (healthy - held_out) / batches,
                    n_evaluated=held_out + tested,
                    n_scores=len(detector.SCORES),
                )
            )
    return tuple(found)


def n_steps() -> int:
    """Training steps of all networks."""
    return sum(trial.steps for trial in networks())


def n_flops() -> float:
    """Floating-point operations of all training steps."""
    return math.fsum(trial.steps * trial.flops for trial in networks())
