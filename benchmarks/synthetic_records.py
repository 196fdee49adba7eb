"""Made-up records of one trial, written through the real store classes.

Numbers and pictures are drawn at random around plausible values; nothing is trained.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.plan.plan import train_keys
from study.records.index import METRIC_FIELDS
from study.records.studies import Attempt, StudyStore, utc_now
from study.records.types import (
    CohortInfo,
    EvalRecord,
    Failure,
    FitRecord,
    Part,
    PlannedEval,
    PlannedTrial,
    Provenance,
)
from trainables.registry import detector_class
from trainables.spec import EVAL_VERSION, TrialSpec
from trainables.tables import LESIONS_SCHEMA, SLICES_SCHEMA, SUBJECTS_SCHEMA

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
_N_PIXELS, _N_POSITIVE = 400_000, 9_000


def write_fit(
    study: StudyStore,
    trial: PlannedTrial,
    rng: np.random.Generator,
    failure: Failure | None = None,
    cohorts: Sequence[CohortInfo] = (),
) -> None:
    """Write the record of a fit on some cohorts, by default the study's, and its history."""
    spec = trial.spec
    keys = train_keys(spec.modality, cohorts or study.described().cohorts)
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
            search=trial.search,
            train_cohorts=("ixi",),
            train_keys=keys,
            recipe_version=detector_class(spec.model).VERSION,
            parts=parts,
            n_parameters=int(rng.integers(10_000, 900_000)),
            wall_s=float(rng.uniform(10, 90)),
            steps=120 * spec.epochs,
            train_loss=losses[-1],
            validation_loss=losses[-1],
            failure=failure,
            provenance=PROVENANCE,
            finished=utc_now(),
        )
    )


def write_evaluation(
    study: StudyStore,
    trial: PlannedTrial,
    evaluation: PlannedEval,
    rng: np.random.Generator,
    maps: Maps | None,
) -> None:
    """Write an evaluation: its metrics always, curves and maps if there are any to write."""
    rows, curves = [], []
    for score, region in itertools.product(SCORES[trial.spec.model], ("brain", "slice")):
        auc = float(np.clip(_MIDDLE[score] + rng.normal(0, 0.03), 0.05, 0.98))
        row = _metrics(score, region, auc, rng)
        rows.append(row if evaluation.role == "test" else row | _NO_LESIONS)
        if maps is not None:
            curves.append(_curve(score, region, auc))
    metrics = pa.Table.from_pylist(rows, schema=pa.schema(list(METRIC_FIELDS)))
    files = {"metrics.parquet": _parquet(metrics)}
    if maps is not None:
        files["roc.parquet"] = _parquet(pa.concat_tables(curves))
        files["heatmaps.parquet"] = _parquet(maps.table(evaluation.cohort, trial.spec, rng))
        files["subjects.parquet"] = _parquet(_subjects(evaluation.cohort, rows, rng))
        files["slices.parquet"] = _parquet(_slices(evaluation.cohort, rows, rng))
        files["lesions.parquet"] = _parquet(_lesions(evaluation.cohort, rows, rng))
    store = study.trial(trial.trial_id)
    parts: dict[str, Part] = Attempt(store.evaluation_storage(evaluation.eval_id)).put_all(files)
    store.write_evaluation(
        EvalRecord(
            eval_id=evaluation.eval_id,
            trial_id=trial.trial_id,
            status="done",
            epochs=trial.spec.epochs,
            cohort=evaluation.cohort,
            role=evaluation.role,
            modality=trial.spec.modality,
            test_key=evaluation.test_key,
            eval_version=EVAL_VERSION,
            parts=parts,
            wall_s=1.0,
            provenance=PROVENANCE,
            finished=utc_now(),
        )
    )


PROVENANCE = Provenance(
    git_revision="0123abc", host="laptop", cpu="made up", python="3.11", packages={"torch": "2.13"}
)
FAILURE = Failure(
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


_NO_LESIONS: dict[str, Any] = {
    "n_positive": 0,
    **dict.fromkeys(("auc", "average_precision", "chance_average_precision", "best_dice")),
    **dict.fromkeys(("best_dice_threshold", "mean_subject_auc", "lesion_outside_brain_share")),
}
"""Of the metrics of subjects without lesions."""


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
    found = []
    for row, i in itertools.product(rows, range(8)):
        auc = float((row["auc"] or 0.5) + rng.normal(0, 0.02))
        counts = _counts(auc)
        if not row["n_positive"]:
            counts["positives"] = [0] * len(counts["positives"])
        found.append(
            {
                "subject": f"{cohort}/phantom{i:02d}",
                "score": row["score"],
                "region": row["region"],
                "n_pixels": _N_PIXELS // 8,
                "n_positive": row["n_positive"] // 8,
                "n_scans": 1,
                "voxel_ml": 0.005,
                "auc": auc if row["n_positive"] else None,
                "average_precision": row["average_precision"],
                "top_mean": 0.9 + 0.01 * auc,
                **counts,
            }
        )
    return pa.Table.from_pylist(found, schema=SUBJECTS_SCHEMA)


def _slices(cohort: str, rows: list[dict[str, Any]], rng: np.random.Generator) -> pa.Table:
    """Ten slices of each subject, of which the first three show a lesion, if it has one."""
    found = [
        {
            "subject": f"{cohort}/phantom{i:02d}",
            "slice_index": index,
            "score": row["score"],
            "n_pixels": 5000,
            "n_positive": 100 * (index < 3 and row["n_positive"] > 0),
            "top_mean": float(rng.normal(0.8 + 0.1 * (index < 3), 0.05)),
        }
        for row in rows
        for i, index in itertools.product(range(8), range(10))
        if row["region"] == "brain"
    ]
    return pa.Table.from_pylist(found, schema=SLICES_SCHEMA)


def _lesions(cohort: str, rows: list[dict[str, Any]], rng: np.random.Generator) -> pa.Table:
    """Two lesions of each subject, if it has any."""
    found = []
    for row in (r for r in rows if r["region"] == "brain" and r["n_positive"]):
        for i, lesion in itertools.product(range(8), (1, 2)):
            half, tenth, highest = np.sort(rng.uniform(0.2, 1, 3)).tolist()
            found.append(
                {
                    "subject": f"{cohort}/phantom{i:02d}",
                    "lesion": lesion,
                    "score": row["score"],
                    "n_pixels": 150,
                    "volume_ml": 0.75,
                    "highest": highest,
                    "tenth": tenth,
                    "half": half,
                }
            )
    return pa.Table.from_pylist(found, schema=LESIONS_SCHEMA)


def _counts(auc: float) -> dict[str, list[Any]]:
    """A subject's pixels by score, those of a power-law ROC curve of its area."""
    fpr = np.linspace(0, 1, 25) ** 2
    tpr = fpr ** ((1 - np.clip(auc, 0.02, 0.98)) / np.clip(auc, 0.02, 0.98))
    n_positive = _N_POSITIVE // 8
    n_negative = _N_PIXELS // 8 - n_positive
    return {
        "thresholds": np.linspace(1, 0, 24).tolist(),
        "positives": np.diff(np.round(tpr * n_positive).astype(int)).tolist(),
        "negatives": np.diff(np.round(fpr * n_negative).astype(int)).tolist(),
    }


class Maps:
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
        """Showcase slices of a trial, as ``heatmaps.parquet`` has them."""
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
