"""Stores full of made-up records.

The benchmarks read ten thousand of them, the dashboard's tests a few. Run as a program it writes
one: ``python -m benchmarks.synthetic_store FOLDER --trials 10000``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from benchmarks.synthetic_records import FAILURE, PROVENANCE, Maps, write_evaluation, write_fit
from datasets.storage import Storage
from study.plan.plan import Plan, planned_trial
from study.records.heartbeats import Progress, RunningTrial
from study.records.index import refresh_index
from study.records.names import describe_all
from study.records.studies import StudyStore, utc_now
from study.records.types import CohortInfo, PlannedTrial, StudyRecord
from trainables.spec import EVAL_VERSION, TrialSpec

LAMBDAS = (0.1, 0.01, 0.001, 0.0001)
N_CS, N_ZS = (8, 16, 32), (8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Wanted:
    """What a store should hold.

    Attributes:
        trials: How many trials; seeds are added until there are enough.
        full: Whether every trial has curves and maps; if not, only the first of each model has.
        failed: How many of them failed.
        unfinished: How many have no record yet.
        cohort: Name of the first test cohort.
        seed: Of all numbers.
    """

    trials: int = 60
    full: bool = True
    failed: int = 1
    unfinished: int = 0
    cohort: str = "atlas"
    seed: int = 0


def fast_storage(folder: Path) -> Storage:
    """A storage that flushes nothing to the disk: ten thousand files need not wait for it."""
    folder.mkdir(parents=True, exist_ok=True)
    local = pafs.PyFileSystem(pafs.FSSpecHandler(LocalFileSystem(auto_mkdir=True)))
    root = str(folder.absolute())
    return Storage(local, root, str(folder), root)


def cohorts(first: str = "atlas") -> tuple[CohortInfo, ...]:
    """The cohorts of the phantom, as a study's record has them."""

    def info(name: str, role: Any, modality: Any, n: int) -> CohortInfo:
        return CohortInfo(
            name=name,
            role=role,
            modality=modality,
            source="phantom",
            key=f"{name[:4].encode().hex()}{modality.lower()}".ljust(20, "0"),
            synthetic=True,
            n_scans=n,
            n_subjects=n,
            n_slices=90 * n,
            n_quarantined=0,
        )

    return (
        info("ixi", "train", "T1w", 20),
        info("ixi", "train", "T2w", 20),
        info(first, "test", "T1w", 8),
        info("brats", "test", "T1w", 8),
        info("brats", "test", "T2w", 8),
    )


def specs(n: int) -> list[TrialSpec]:
    """The first ``n`` specifications of a paper-like grid with as many seeds as it takes."""
    found: list[TrialSpec] = []
    for seed in itertools.count():
        for modality in ("T1w", "T2w"):
            common: dict[str, Any] = {"modality": modality, "seed": seed}
            found.append(TrialSpec(model="intensity", **common))
            found += [
                TrialSpec(model="gmm", params={"gmm_lambda": value}, **common) for value in LAMBDAS
            ]
            for model, n_c, n_z in itertools.product(("ae", "dae", "vae"), N_CS, N_ZS):
                params = {"n_c": n_c, "n_z": n_z, "batch_size": 64}
                found.append(TrialSpec(model=model, params=params, epochs=12, **common))
        if len(found) >= n:
            return found[:n]
    raise AssertionError


def write_store(folder: Path, name: str, wanted: Wanted) -> StudyStore:
    """Write one study of a paper-like grid on made-up cohorts."""
    infos = cohorts(wanted.cohort)
    trials = tuple(planned_trial(spec, infos) for spec in specs(wanted.trials))
    return write_study(folder, name, infos, Plan(trials, ()), wanted)


def write_study(
    folder: Path, name: str, infos: Sequence[CohortInfo], plan: Plan, wanted: Wanted
) -> StudyStore:
    """Write the records of a plan, the index included; returns the study as readers open it."""
    study = StudyStore.open(fast_storage(folder), name)
    trials = plan.trials
    now = utc_now()
    study.write_study(
        StudyRecord(
            study=name,
            grid="paper",
            synthetic=True,
            detectors=describe_all(plan.models),
            cohorts=tuple(infos),
            trials=trials,
            searches=plan.searches,
            eval_version=EVAL_VERSION,
            provenance=PROVENANCE,
            created=now,
            updated=now,
        )
    )
    rng = np.random.default_rng(wanted.seed)
    maps = Maps(rng)
    finished = trials[: len(trials) - wanted.unfinished]
    complete: set[str] = set()
    for i, trial in enumerate(finished):
        failure = FAILURE if i >= len(finished) - wanted.failed else None
        write_fit(study, trial, rng, failure, infos)
        if failure is None:
            place = f"{trial.spec.model} {trial.spec.modality}"
            full = wanted.full or place not in complete
            complete.add(place)
            for evaluation in trial.evals:
                write_evaluation(study, trial, evaluation, rng, maps if full else None)
    done = len(finished) - wanted.failed
    study.write_progress(progress(done, wanted, trials))
    opened = StudyStore.open(Storage.open(str(folder)), name)
    refresh_index(opened)
    return opened


def progress(done: int, wanted: Wanted, trials: tuple[PlannedTrial, ...]) -> Progress:
    """A heartbeat: running while trials are unfinished, done otherwise."""
    unfinished = trials[len(trials) - wanted.unfinished :] if wanted.unfinished else ()
    return Progress(
        driver="0" * 32,
        host="laptop",
        pid=1,
        stage="trials" if unfinished else "done",
        started=utc_now(),
        updated=utc_now(),
        planned=len(trials),
        done=done,
        failed=wanted.failed,
        running=tuple(
            RunningTrial(
                trial_id=t.trial_id,
                label=f"{t.spec.model} {t.spec.modality}",
                stage="fit",
                epoch=3,
                epochs=t.spec.epochs,
            )
            for t in unfinished[:2]
        ),
        slices_per_s=812.5 if unfinished else 0.0,
        seconds_left=4210.0 if unfinished else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--unfinished", type=int, default=0)
    parser.add_argument("--study", default="synthetic")
    read = parser.parse_args()
    wanted = Wanted(trials=read.trials, full=read.trials <= 500, unfinished=read.unfinished)
    write_store(read.folder, read.study, wanted)
    print(json.dumps({"folder": str(read.folder), "trials": read.trials}))


if __name__ == "__main__":
    main()
