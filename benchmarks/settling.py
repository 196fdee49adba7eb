"""Claim: a fit ends somewhere; its last epochs, a second look at batch norm and a seed move little.

Run a study first (or let it prepare the scans), then this on its store:

    python -m study.run --grid small
    python -m benchmarks.settling --store runs --study small-phantom --epochs 9 --batch-size 16

Each cell is fitted once. After every epoch a copy of its weights gets statistics of batch norm of
its own and a full evaluation; the fit itself is left alone.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from datasets.manifest import read_manifest
from datasets.storage import Storage
from study.records.studies import StudyStore
from study.records.types import CohortInfo, StudyRecord
from study.trials.data import test_slices, train_slices
from trainables.detector import Detector, EpochMetrics, State
from trainables.evaluate import evaluate
from trainables.slices import Slices
from trainables.spec import TrialSpec

CELLS = "ae:8:8 ae:8:64 ae:16:8 ae:16:64 dae:8:8 dae:8:64 dae:16:8 dae:16:64 vae:8:8 vae:8:64 "
CELLS += "vae:16:8 vae:16:64"


@dataclass(frozen=True)
class Job:
    """One fit to follow.

    Attributes:
        store: URI of the store.
        study: Name of the study whose cohorts are used.
        spec: What is fitted.
        cohorts: Names of the test cohorts; all if empty.
        first: The first epoch that is evaluated.
    """

    store: str
    study: str
    spec: TrialSpec
    cohorts: tuple[str, ...]
    first: int


@dataclass(frozen=True)
class Figure:
    """One brain-region ROC-AUC on the way of a fit; ``again`` after a second re-estimation."""

    cell: str
    seed: int
    cohort: str
    score: str
    epoch: int
    again: bool
    auc: float
    train_loss: float


def follow(job: Job) -> list[Figure]:
    """Fit a cell and evaluate it after its epochs."""
    import torch

    torch.set_num_threads(1)
    store = Storage.open(job.store)
    record = StudyStore.open(store, job.study).study()
    assert record is not None, f"no study {job.study} in {job.store}"
    spec = job.spec.completed()
    train, _ = _train(store, record, spec)
    tests = dict(_tests(store, record, spec, job.cohorts))
    figures: list[Figure] = []
    detector = spec.detector()
    for metrics in detector.fit(train, None, spec.epochs):
        assert isinstance(metrics, EpochMetrics)
        if metrics.epoch < job.first:
            continue
        state = detector.state()
        figures += _figures(spec, metrics, reestimated(spec, state, train), tests, again=False)
        if metrics.epoch == spec.epochs:
            other = {**state, "rng.seed": np.array(spec.seed + 1000, np.int64)}
            figures += _figures(spec, metrics, reestimated(spec, other, train), tests, again=True)
    return figures


def reestimated(spec: TrialSpec, state: State, train: Slices) -> Detector:
    """A copy of a network on its way, with statistics of batch norm taken anew."""
    copy = spec.detector()
    copy.load_state(state)
    epoch = int(np.asarray(state["epoch"]).item())
    for _ in copy.fit(train, None, epoch):
        raise AssertionError("a copy must not train")
    return copy


def _figures(
    spec: TrialSpec,
    metrics: EpochMetrics,
    detector: Detector,
    tests: dict[str, Slices],
    *,
    again: bool,
) -> Iterator[Figure]:
    cell = f"{spec.model} ({spec.params['n_c']}, {spec.params['n_z']})"
    for cohort, test in tests.items():
        for row in evaluate(detector, test, n_showcase=0).metrics.to_pylist():
            if row["region"] == "brain" and row["auc"] is not None:
                yield Figure(
                    cell=f"{cell} {spec.params['reduction']}"
                    if spec.params.get("reduction", "mean") != "mean"
                    else cell,
                    seed=spec.seed,
                    cohort=f"{cohort} {spec.modality}",
                    score=row["score"],
                    epoch=metrics.epoch,
                    again=again,
                    auc=row["auc"],
                    train_loss=metrics.train_loss or 0.0,
                )


def _train(store: Storage, record: StudyRecord, spec: TrialSpec) -> tuple[Slices, Slices | None]:
    found = [c for c in record.cohorts if c.role == "train" and c.modality == spec.modality]
    manifests = [m for c in found if (m := read_manifest(store, c.key)) is not None]
    return train_slices(store, manifests).split(spec.validation_fraction)


def _tests(
    store: Storage, record: StudyRecord, spec: TrialSpec, names: tuple[str, ...]
) -> Iterator[tuple[str, Slices]]:
    def is_wanted(cohort: CohortInfo) -> bool:
        here = cohort.role == "test" and cohort.modality == spec.modality and cohort.n_slices
        return bool(here) and (not names or cohort.name in names)

    for cohort in filter(is_wanted, record.cohorts):
        manifest = read_manifest(store, cohort.key)
        if manifest is not None:
            yield cohort.name, test_slices(store, manifest)


def summary(figures: list[Figure], decay_from: float) -> list[dict[str, Any]]:
    """For each cell, seed, cohort and score: how its AUC moves.

    Args:
        figures: What was measured.
        decay_from: The epoch in which the learning rate begins to fall.
    """
    groups: dict[tuple[str, int, str, str], list[Figure]] = defaultdict(list)
    for figure in figures:
        groups[figure.cell, figure.seed, figure.cohort, figure.score].append(figure)
    rows = []
    for (cell, seed, cohort, score), group in sorted(groups.items()):
        curve = {f.epoch: f.auc for f in group if not f.again}
        last = max(curve)
        quarter = [auc for epoch, auc in curve.items() if epoch >= 0.75 * last]
        late = [auc for epoch, auc in sorted(curve.items()) if epoch >= decay_from]
        again = next((f.auc for f in group if f.again), None)
        rows.append(
            {
                "cell": cell,
                "seed": seed,
                "cohort": cohort,
                "score": score,
                "auc": curve[last],
                "last_quarter": max(quarter) - min(quarter),
                "largest_jump": max(np.abs(np.diff(late)), default=0.0),
                "again": None if again is None else abs(again - curve[last]),
            }
        )
    return rows


def main(
    store: Annotated[str, typer.Option()] = "runs",
    study: Annotated[str, typer.Option()] = "small-phantom",
    modality: Annotated[str, typer.Option()] = "T1w",
    cells: Annotated[str, typer.Option(help="MODEL:N_c:N_z, blank between.")] = CELLS,
    cohorts: Annotated[str, typer.Option(help="Test cohorts, blank between.")] = "",
    seeds: Annotated[int, typer.Option(help="How many, from 0.")] = 1,
    epochs: Annotated[int, typer.Option()] = 9,
    first: Annotated[int, typer.Option(help="The first epoch to evaluate.")] = 1,
    batch_size: Annotated[int, typer.Option()] = 16,
    settings: Annotated[str, typer.Option(help="Other settings, as JSON.")] = "{}",
    processes: Annotated[int, typer.Option()] = 2,
    out: Annotated[Path | None, typer.Option(help="Where all figures go, as JSON.")] = None,
) -> None:
    """Print how the AUCs of some cells move over their epochs."""
    jobs = []
    for seed in range(seeds):
        for name in cells.split():
            model, n_c, n_z = name.split(":")
            params = {"n_c": int(n_c), "n_z": int(n_z), "batch_size": batch_size}
            spec = TrialSpec.model_validate(
                {
                    "model": model,
                    "modality": modality,
                    "params": {**params, **json.loads(settings)},
                    "seed": seed,
                    "epochs": epochs,
                }
            )
            jobs.append(Job(store, study, spec, tuple(cohorts.split()), first))
    figures: list[Figure] = []
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for found in pool.imap_unordered(follow, jobs, chunksize=1):
            figures += found
            if out is not None:  # what is there so far, since all of it may take hours
                out.write_text(json.dumps([asdict(f) for f in figures]))
    console = Console(width=150)
    table = Table(title=f"{study} {modality}, {epochs} epochs in batches of {batch_size}")
    rows = summary(figures, decay_from=epochs * 2 / 3)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
