"""How long work takes: told by a second of measuring this machine, to order trials and to plan.

All times are seconds of one core, or of one trial's share of a GPU. A cluster whose other nodes are
faster or slower corrects them by its own progress, see :mod:`study.progress.tracker`.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from study.plan.done import Work
from study.records.types import CohortInfo
from trainables.postprocess import Postprocessing
from trainables.spec import HELD_OUT, TrialSpec

if TYPE_CHECKING:
    from trainables.detector import Detector
    from trainables.slices import Slices

ASSUMED_SLICES_PER_SCAN = 60
"""For scans that have not been prepared yet: those of 2.5 mm have about 50, of 1 mm 130."""

MOST_TRIALS_PER_GPU = 8

MEASURED_SIZES = 3
"""How many sizes of network are timed: the smallest, the median and the largest of a plan."""

MEASURING_S = 0.35
"""How long each of them is timed."""

FIT_AT_ONCE_S = 2.0
"""A fit that is no training by epochs, such as a mixture's: a guess."""

PER_TRIAL_S = 0.3
"""What each trial costs beside its work: records, checkpoints, its place at Ray."""

_MEDIAN_COUNTS, _COMPONENTS_COUNTS = 4.0, 1.5
"""What a median filter and the removal of small components take, in times of counting a slice."""

_BATCH = 16


@dataclass(frozen=True)
class Size:
    """What a specification's network is like."""

    flops_per_slice: float
    n_parameters: int
    n_scores: int


@dataclass(frozen=True)
class Pace:
    """How fast one core of a machine is.

    Attributes:
        step_s: Seconds of a training step a slice, by floating-point operations of that step,
            ascending; empty where nothing was measured.
        count_s: Seconds of counting a slice's pixels for one score's ROC curves.
    """

    step_s: tuple[tuple[float, float], ...] = ()
    count_s: float = 2e-3

    def train_s(self, spec: TrialSpec) -> float:
        """Seconds of training, per slice."""
        flops = size(spec).flops_per_slice
        if not flops or not self.step_s:
            return 0.0
        sizes = np.log([f for f, _ in self.step_s])
        times = np.log([s for _, s in self.step_s])
        at = math.log(flops)
        # Beyond what was measured, time grows as the operations do.
        beyond = at - float(np.clip(at, sizes[0], sizes[-1]))
        return float(np.exp(np.interp(at, sizes, times) + beyond))

    def evaluate_s(
        self, spec: TrialSpec, n_asked: int = 0, postprocessing: Postprocessing | None = None
    ) -> float:
        """Seconds of scoring and counting, per slice: a forward pass is a third of a step.

        Args:
            spec: The trial.
            n_asked: Scores that are asked for besides those that are always computed; each may
                take a step of its own.
            postprocessing: What is done to the score maps first, if anything.
        """
        scored_s = self.train_s(spec) * (1 / 3 + n_asked)
        counts = 1.0
        if postprocessing is not None:
            counts += _MEDIAN_COUNTS * (postprocessing.median_voxels > 1)
            counts += _COMPONENTS_COUNTS * (postprocessing.component_voxels > 1)
        return scored_s + (size(spec).n_scores + n_asked) * counts * self.count_s


@dataclass(frozen=True)
class WorkCost:
    """What is left of a trial, in seconds of a core.

    Attributes:
        fit_s: Of the fit, its validation and its last pass over the training images included.
        fit_slices: Slices it trains on, each as often as it is seen.
        evaluation_s: Of each evaluation, by its ``place``.
        slices_of: Slices of each evaluation, likewise.
    """

    fit_s: float = 0.0
    fit_slices: int = 0
    evaluation_s: Mapping[str, float] = field(default_factory=dict)
    slices_of: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.fit_s + sum(self.evaluation_s.values()) + PER_TRIAL_S

    def of_fit(self, n_slices: int) -> float:
        """The share of the fit that so many slices are."""
        return self.fit_s * min(1.0, n_slices / self.fit_slices) if self.fit_slices else 0.0

    def of_evaluation(self, place: str) -> float:
        """Of one evaluation."""
        return self.evaluation_s.get(place, 0.0)


def work_cost(work: Work, cohorts: Sequence[CohortInfo], pace: Pace) -> WorkCost:
    """What is left of a trial, from its last record on.

    Args:
        work: What is left.
        cohorts: The study's data.
        pace: Of a core.
    """
    spec = work.trial.spec
    train = sum(slices_of(c) for c in cohorts if c.role == "train" and c.modality == spec.modality)
    test = {
        c.name: slices_of(c) for c in cohorts if c.role != "train" and c.modality == spec.modality
    }
    test[HELD_OUT] = round(train * spec.validation_fraction)
    wanted = {e.place: test.get(e.cohort, 0) for e in work.evals}
    each_s = {e.place: pace.evaluate_s(spec, len(e.asked), e.postprocessing) for e in work.evals}
    epochs = spec.epochs - work.epochs_done if work.fit else 0
    held_out = train * spec.validation_fraction
    seen = (train - held_out) * epochs
    step_s = pace.train_s(spec)
    # Forward passes: held-out slices after each epoch, training slices once at the end.
    passes_s = step_s / 3 * (held_out * epochs + (train - held_out) * bool(epochs))
    if epochs and not step_s:
        passes_s = FIT_AT_ONCE_S if size(spec).n_parameters else 0.0
    return WorkCost(
        fit_s=step_s * seen + passes_s,
        fit_slices=round(seen),
        evaluation_s={place: n * each_s[place] for place, n in wanted.items()},
        slices_of=wanted,
    )


def slices_of(cohort: CohortInfo) -> int:
    """Slices of a cohort; assumed from its scans where they have not been prepared."""
    return cohort.n_slices or cohort.n_scans * ASSUMED_SLICES_PER_SCAN


def longest_first(work: Iterable[Work], costs: Mapping[str, WorkCost]) -> list[Work]:
    """Order work so that the last worker does not end long after the others."""
    return sorted(work, key=lambda w: (-costs[w.trial.trial_id].total_s, w.trial.trial_id))


def in_random_order(work: Iterable[Work]) -> list[Work]:
    """Order work by the trials' identities: as good as drawn by lot, and the same every time.

    Networks that are compared with those before them must not come the largest first, which would
    then have nothing to be compared with.
    """
    return sorted(work, key=lambda w: w.trial.trial_id)


def makespan_s(costs: Iterable[WorkCost], places: int) -> float:
    """Seconds until all is done with so many trials at once, the longest first.

    Args:
        costs: Of the trials, in any order.
        places: How many run at once.
    """
    ends = [0.0] * max(1, places)
    for seconds in sorted((cost.total_s for cost in costs), reverse=True):
        first = min(range(len(ends)), key=ends.__getitem__)
        ends[first] += seconds
    return max(ends)


def measure_pace(specs: Iterable[TrialSpec], *, cores: int, device: str = "cpu") -> Pace:
    """Time some training steps and an evaluation, on all cores at once as trials run.

    Args:
        specs: Those of a plan; a few of different size are timed.
        cores: How many trials will run at once on this machine.
        device: What networks train on.
    """
    picked = _of_different_size(specs)
    side_by_side = 1 if device != "cpu" else max(1, cores)
    with ThreadPoolExecutor(side_by_side) as pool:

        def slowest(measure: functools.partial[float]) -> float:
            return max(pool.map(lambda _: measure(), range(side_by_side)))

        timed = [(s, slowest(functools.partial(_step_s, s, device))) for s in picked]
        step_s = tuple((size(s).flops_per_slice, t) for s, t in timed if math.isfinite(t))
        count_s = slowest(functools.partial(_count_s))
    return Pace(step_s=step_s, count_s=count_s)


def _of_different_size(specs: Iterable[TrialSpec]) -> list[TrialSpec]:
    """A few networks from the smallest to the largest, each much larger than the one before."""
    by_size = {size(s).flops_per_slice: s for s in specs if size(s).flops_per_slice}
    if not by_size:
        return []
    low, high = min(by_size), max(by_size)
    wanted = np.geomspace(low, high, MEASURED_SIZES if high > 2 * low else 1)
    nearest = {min(by_size, key=lambda f: abs(math.log(f / w))) for w in wanted}
    distinct = [f for f in sorted(nearest) if f == low or f > 1.5 * low]
    return [by_size[f] for f in distinct]


def _step_s(spec: TrialSpec, device: str) -> float:
    """Seconds of a training step, per slice; not finite if the network fails."""
    import torch

    torch.set_num_threads(1)  # of this thread of measuring alone
    plain = {"schedule": "constant", "reestimate_batch_norm": False}
    params = {**spec.params, **{k: v for k, v in plain.items() if k in spec.params}}
    spec = spec.model_copy(update={"params": params})
    slices = _some_slices(min(spec.params.get("batch_size", _BATCH), _BATCH))
    try:
        return _timed_steps(spec.detector(device), slices)
    except Exception:  # noqa: BLE001 - what a detector raises is its trial's to record
        return math.inf


def _timed_steps(detector: Detector, slices: Slices) -> float:
    epochs, seconds, n = 0, 0.0, 0
    began = time.perf_counter()
    while not n or time.perf_counter() - began < MEASURING_S:
        clock = time.perf_counter()
        epochs += 1
        for _ in detector.fit(slices, None, epochs):
            pass
        if epochs > 1:  # the first one sets up what the others use
            seconds, n = seconds + time.perf_counter() - clock, n + len(slices)
    return seconds / n


def _count_s() -> float:
    """Seconds of counting a slice's pixels, per score."""
    import torch

    from trainables.evaluate import evaluate

    torch.set_num_threads(1)
    detector = TrialSpec(model="intensity", modality="T1w").completed().detector()
    slices = _some_slices(_BATCH)
    evaluate(detector, slices, n_showcase=0)  # the first one loads what the others use
    clock = time.perf_counter()
    evaluate(detector, slices, n_showcase=0)
    return (time.perf_counter() - clock) / len(slices) / len(detector.SCORES)


def _some_slices(count: int) -> Slices:
    """Slices like those of brains, of one subject without a lesion."""
    from trainables.slices import Slices

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128] - 63.5
    brain_HW = (x / 45) ** 2 + (y / 55) ** 2 < 1
    images = np.where(brain_HW, rng.normal(1.0, 0.2, (count, 128, 128)), 0.0)
    return Slices(
        images_NHW=images.astype(np.float16),
        brain_bits_NK=np.tile(np.packbits(brain_HW), (count, 1)),
        lesion_bits_NK=np.zeros((count, 128 * 128 // 8), np.uint8),
        subject_N=np.zeros(count, np.int32),
        slice_index_N=np.arange(count, dtype=np.int32),
        subjects=("measured",),
    )


def size(spec: TrialSpec) -> Size:
    """What a specification's network is like."""
    params = {k: v for k, v in spec.params.items() if k != "precision"}
    return _size_of(spec.model, json.dumps(params, sort_keys=True))


@functools.lru_cache(maxsize=4096)
def _size_of(model: str, params: str) -> Size:
    spec = TrialSpec(model=model, modality="T1w", params=json.loads(params))
    detector = spec.detector()
    return Size(detector.flops_per_slice(), detector.n_parameters, len(detector.SCORES))
