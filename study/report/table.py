"""The study's results as rows, and as the paper's table 1.

Only trials of the study's current plan count: a record of another identity (other data, other
code, another grid) is never mixed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets.collector import disable_gc
from study.plan.done import _part_of, plan_rows
from study.records.types import StudyRecord
from study.report.choice import best_rows, setting_of
from study.report.paper import PAPER_COLUMNS, PAPER_REGION, paper_auc

MODEL_ORDER = ("intensity", "gmm", "ae", "dae", "vae")
SCORE_ORDER = (
    "intensity",
    "negative_intensity",
    "outlier_posterior",
    "outlier_sum",
    "squared_error",
    "nll",
    "log_variance",
    "normalized_error",
)

LABELS = {
    "intensity": "Intensity",
    "negative_intensity": "negative intensity",
    "gmm": "modified GMM",
    "ae": "AE",
    "dae": "DAE",
    "vae": "VAE",
    "outlier_posterior": "outlier posterior",
    "outlier_sum": "outlier sum",
    "squared_error": "squared error (SE)",
    "nll": "neg. log-likelihood (L)",
    "log_variance": "log-variance (U)",
    "normalized_error": "normalised error (E)",
}
"""What people read for the names of models and scores; other names stand for themselves."""

METRICS = ("auc", "average_precision", "best_dice")

_ROW_FIELDS = (
    "model",
    "score",
    "cohort",
    "modality",
    "region",
    "auc",
    "average_precision",
    "best_dice",
    "n_c",
    "n_z",
    "gmm_lambda",
    "seed",
    "trial_id",
    "n_subjects",
    "n_pixels",
    "n_positive",
    "chance_average_precision",
    "best_dice_threshold",
    "mean_subject_auc",
    "lesion_outside_brain_share",
    "epochs",
    "steps",
    "eval_id",
)


def label(name: str) -> str:
    """What people read for the name of a model or a score."""
    return LABELS.get(name, name)


def result_rows(record: StudyRecord, index: pa.Table) -> list[dict[str, Any]]:
    """One row per trial x score x cohort x region, in the order of table 1.

    Each has the fields of ``report --format json``; ``best`` marks the cells of table 1: all seeds
    of the setting whose AUC is the highest on the mean, for each model, score, cohort, modality and
    region. ``setting_id`` is the same for the seeds of a setting. ``steps`` are those of the fit,
    unless it has gone on since it was evaluated.
    """
    with disable_gc():
        return _result_rows(record, index)


def _result_rows(record: StudyRecord, index: pa.Table) -> list[dict[str, Any]]:
    table = plan_rows(record, index)
    table = table.filter(pc.equal(table["status"], "done"))
    rows: list[dict[str, Any]] = table.select([*_ROW_FIELDS, "spec"]).to_pylist()
    fits = zip(*_part_of(index, "fit", ("trial_id", "epochs", "steps")), strict=True)
    steps_of = {(trial_id, epochs): steps for trial_id, epochs, steps in fits}
    for row in rows:
        row["steps"] = steps_of.get((row["trial_id"], row["epochs"]))
        cell = (row["model"], row["score"], row["cohort"], row["modality"])
        row["paper_auc"] = paper_auc(*cell) if row["region"] == PAPER_REGION else None
        row["setting_id"], row["n_gaussians"] = setting_of(row.pop("spec"))
    rows.sort(key=_row_order)
    best = {id(row) for row in best_rows(rows, "auc")}
    for row in rows:
        row["best"] = id(row) in best
    return rows


def table_columns(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """The (cohort, modality) columns of table 1: the paper's first, then others by name."""
    found = {(row["cohort"], row["modality"]) for row in rows}
    paper = [column for column in PAPER_COLUMNS if column in found]
    return paper + sorted(found - set(paper))


def table_lines(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """The (model, score) lines of table 1, in the paper's order, then others by name."""
    found = {(row["model"], row["score"]) for row in rows}
    return sorted(
        found, key=lambda line: (_rank(MODEL_ORDER, line[0]), _rank(SCORE_ORDER, line[1]))
    )


def chosen(row: dict[str, Any]) -> str:
    """The setting that a row's trial stands for: ``(N_c, N_z)`` or lambda."""
    if row["n_c"] is not None and row["n_z"] is not None:
        return f"({row['n_c']}, {row['n_z']})"
    if row["gmm_lambda"] is not None:
        return f"λ {row['gmm_lambda']:g}"
    return ""


def _rank(order: Sequence[str], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _row_order(row: dict[str, Any]) -> tuple[Any, ...]:
    column = (row["cohort"], row["modality"])
    place = PAPER_COLUMNS.index(column) if column in PAPER_COLUMNS else len(PAPER_COLUMNS)
    return (
        _rank(MODEL_ORDER, row["model"]),
        _rank(SCORE_ORDER, row["score"]),
        (place, *column),
        row["region"],
        row["n_c"] or 0,
        row["n_z"] or 0,
        -(row["gmm_lambda"] or 0.0),
        row["seed"],
        row["trial_id"],
    )
