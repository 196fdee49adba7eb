"""Stores full of made-up records, written through the real store classes.

The dashboard's benchmark reads ten thousand of them, its tests a few. Numbers and pictures are
drawn at random around plausible values; nothing is trained. Run as a program it writes one:
``python benchmarks/synthetic_store.py FOLDER --trials 10000``.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from numpy.typing import NDArray

from datasets.storage import Storage
from study.index import METRIC_FIELDS, refresh_index
from study.plan import planned_trial
from study.records import (
    CohortInfo,
    EvalRecord,
    Failure,
    FitRecord,
    Part,
    PlannedEval,
    PlannedTrial,
    Progress,
    Provenance,
    RunningTrial,
    StudyRecord,
)
from study.store import Attempt, StudyStore, utc_now
from trainables.spec import EVAL_VERSION, RECIPE_VERSION, TrialSpec

SCORES = {
    "intensity": ("intensity", "negative_intensity"),
    "gmm": ("outlier_posterior", "outlier_sum"),
    "ae": ("squared_error",),
    "dae": ("squared_error",),
    "vae": ("squared_error", "nll", "log_variance", "normalized_error"),
}
_MIDDLE = {
    "intensity": 0.60,
    "negative_intensity": 0.45,
    "outlier_posterior": 0.63,
    "outlier_sum": 0.62,
    "squared_error": 0.58,
    "nll": 0.64,
    "log_variance": 0.47,
    "normalized_error": 0.70,
}
LAMBDAS = (0.1, 0.01, 0.001, 0.0001)
N_CS, N_ZS = (8, 16, 32), (8, 16, 32, 64, 128, 256, 512)
_N_PIXELS, _N_POSITIVE = 400_000, 9_000


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
    return Storage(local, str(folder.absolute()), str(folder))


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
    """Write one study, its index included, and return it as readers open it."""
    study = StudyStore.open(fast_storage(folder), name)
    infos = cohorts(wanted.cohort)
    trials = tuple(planned_trial(spec, infos) for spec in specs(wanted.trials))
    now = utc_now()
    study.write_study(
        StudyRecord(
            study=name,
            grid="paper",
            synthetic=True,
            cohorts=infos,
            trials=trials,
            provenance=_PROVENANCE,
            created=now,
            updated=now,
        )
    )
    rng = np.random.default_rng(wanted.seed)
    maps = _Maps(rng)
    finished = trials[: len(trials) - wanted.unfinished]
    complete: set[str] = set()
    for i, trial in enumerate(finished):
        failure = _FAILURE if i >= len(finished) - wanted.failed else None
        write_fit(study, trial, rng, failure)
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


def write_fit(
    study: StudyStore,
    trial: PlannedTrial,
    rng: np.random.Generator,
    failure: Failure | None = None,
) -> None:
    """Write the record of a fit and its history."""
    spec = trial.spec
    learns = spec.epochs > 1
    epochs = np.arange(1, spec.epochs + 1)
    start = rng.uniform(0.8, 1.2)
    train = start * np.exp(-epochs / 4) + 0.1 + rng.normal(0, 0.01, len(epochs))
    losses = train.tolist() if learns else [None]
    history = pa.table(
        {
            "epoch": epochs,
            "steps": epochs * 120,
            "n_slices": np.full(len(epochs), 1800),
            "train_loss": pa.array(losses, pa.float64()),
            "validation_loss": pa.array([v * 1.1 if v else None for v in losses], pa.float64()),
            "wall_s": rng.uniform(2, 3, len(epochs)),
        }
    )
    store = study.trial(trial.trial_id)
    parts = {} if failure else store.attempt().put_all({"history.parquet": _parquet(history)})
    store.write_fit(
        FitRecord(
            trial_id=trial.trial_id,
            status="failed" if failure else "done",
            spec=spec,
            train_cohorts=("ixi",),
            train_keys=("x",),
            recipe_version=RECIPE_VERSION,
            parts=parts,
            n_parameters=int(rng.integers(10_000, 900_000)),
            wall_s=float(rng.uniform(10, 90)),
            steps=120 * spec.epochs,
            train_loss=losses[-1],
            validation_loss=losses[-1],
            failure=failure,
            provenance=_PROVENANCE,
            finished=utc_now(),
        )
    )


def write_evaluation(
    study: StudyStore,
    trial: PlannedTrial,
    evaluation: PlannedEval,
    rng: np.random.Generator,
    maps: _Maps | None,
) -> None:
    """Write an evaluation: its metrics always, curves and maps if there are any to write."""
    rows, curves = [], []
    for score, region in itertools.product(SCORES[trial.spec.model], ("brain", "slice")):
        auc = float(np.clip(_MIDDLE[score] + rng.normal(0, 0.03), 0.05, 0.98))
        rows.append(_metrics(score, region, auc, rng))
        if maps is not None:
            curves.append(_curve(score, region, auc))
    metrics = pa.Table.from_pylist(rows, schema=pa.schema(list(METRIC_FIELDS)))
    files = {"metrics.parquet": _parquet(metrics)}
    if maps is not None:
        files["roc.parquet"] = _parquet(pa.concat_tables(curves))
        files["heatmaps.parquet"] = _parquet(maps.table(evaluation.cohort, trial.spec, rng))
        files["subjects.parquet"] = _parquet(_subjects(evaluation.cohort, rows, rng))
    store = study.trial(trial.trial_id)
    parts: dict[str, Part] = Attempt(store.evaluation_storage(evaluation.eval_id)).put_all(files)
    store.write_evaluation(
        EvalRecord(
            eval_id=evaluation.eval_id,
            trial_id=trial.trial_id,
            status="done",
            epochs=trial.spec.epochs,
            cohort=evaluation.cohort,
            modality=trial.spec.modality,
            test_key=evaluation.test_key,
            eval_version=EVAL_VERSION,
            parts=parts,
            wall_s=1.0,
            provenance=_PROVENANCE,
            finished=utc_now(),
        )
    )


_PROVENANCE = Provenance(
    git_revision="0123abc", host="laptop", cpu="made up", python="3.11", packages={"torch": "2.13"}
)
_FAILURE = Failure(
    kind="NonFiniteLossError",
    message="the loss of epoch 3 is nan",
    traceback="Traceback (most recent call last):\n  made up\nNonFiniteLossError: nan\n",
)


def _metrics(score: str, region: str, auc: float, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "score": score,
        "region": region,
        "n_subjects": 8,
        "n_slices": 720,
        "n_pixels": _N_PIXELS,
        "n_positive": _N_POSITIVE,
        "auc": auc if region == "brain" else auc - 0.02,
        "average_precision": auc / 6,
        "chance_average_precision": _N_POSITIVE / _N_PIXELS,
        "best_dice": auc / 3,
        "best_dice_threshold": 0.6,
        "mean_subject_auc": auc - float(rng.uniform(0, 0.02)),
        "lesion_outside_brain_share": 0.01,
    }


def _curve(score: str, region: str, auc: float) -> pa.Table:
    """A power-law ROC curve of the wanted area."""
    fpr = np.linspace(0, 1, 200) ** 2
    tpr = fpr ** ((1 - auc) / auc)
    return pa.table(
        {
            "score": [score] * 200,
            "region": [region] * 200,
            "threshold": np.linspace(1, 0, 200),
            "true_positives": (tpr * _N_POSITIVE).astype(np.int64),
            "false_positives": (fpr * (_N_PIXELS - _N_POSITIVE)).astype(np.int64),
        }
    )


def _subjects(cohort: str, rows: list[dict[str, Any]], rng: np.random.Generator) -> pa.Table:
    found = [
        {
            "subject": f"{cohort}/phantom{i:02d}",
            "score": row["score"],
            "region": row["region"],
            "n_pixels": _N_PIXELS // 8,
            "n_positive": _N_POSITIVE // 8,
            "auc": float(row["auc"] + rng.normal(0, 0.02)),
            "average_precision": row["average_precision"],
        }
        for row in rows
        for i in range(8)
    ]
    return pa.Table.from_pylist(found)


class _Maps:
    """Brains of ellipses with a lesion, and score maps of noise that see it a little."""

    def __init__(self, rng: np.random.Generator) -> None:
        y, x = np.mgrid[:128, :128]
        r = np.hypot((x - 63.5) / 48, (y - 63.5) / 58)
        self.brain = r < 1
        self.image = np.where(self.brain, 0.9 + 0.35 * np.cos(7 * r) * (r < 0.95), 0)
        texture = rng.normal(0, 1, (16, 16)).repeat(8, 0).repeat(8, 1)
        self.image = np.where(self.brain, self.image + 0.05 * texture, 0)
        self.lesions = [np.hypot(x - cx, y - cy) < 9 for cx, cy in ((45, 50), (82, 70), (60, 90))]

    def table(self, cohort: str, spec: TrialSpec, rng: np.random.Generator) -> pa.Table:
        rows = []
        for i, lesion in enumerate(self.lesions):
            image = np.where(lesion & self.brain, self.image * 0.6, self.image)
            row: dict[str, Any] = {
                "subject": f"{cohort}/phantom{i:02d}",
                "slice_index": 60 + 7 * i,
                "image": _half(image),
                "brain": np.packbits(self.brain).tobytes(),
                "lesion": np.packbits(lesion).tobytes(),
            }
            for score in SCORES[spec.model]:
                noise = rng.normal(0, 1, (32, 32)).repeat(4, 0).repeat(4, 1)
                seen = 4 * (_MIDDLE[score] - 0.5) * lesion
                row[f"score.{score}"] = _half(np.where(self.brain, noise * 0.3 + seen + 0.4, 0))
            if spec.epochs > 1:
                row["picture.reconstruction"] = _half(self.image)
            rows.append(row)
        return pa.Table.from_pylist(rows)


def _half(values: NDArray[np.floating]) -> bytes:
    return values.astype("<f2").tobytes()


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


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
