"""The study's results as rows, and as the paper's table 1.

Only trials of the study's current plan count: a record of another identity (other data, other
code, another grid) is never mixed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets.collector import disable_gc
from study.plan.done import _part_of, plan_rows
from study.records.names import Names
from study.records.types import StudyRecord
from study.report.choice import best_rows, setting_of
from study.report.paper import PAPER_COLUMNS, PAPER_REGION, paper_auc
from trainables.description import Order

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
    "setting",
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


_PAPERS_SETTINGS = ("n_c", "n_z", "gmm_lambda", "n_gaussians")
"""Settings that have fields of their own in a row, null where a model has none."""


def result_rows(record: StudyRecord, index: pa.Table) -> list[dict[str, Any]]:
    """One row per trial x score x cohort x region, in the order of table 1.

    Each has the fields of ``report --format json``; ``best`` marks the cells of table 1: all seeds
    of the setting whose AUC is the highest on the mean, for each model, score, cohort, modality and
    region. ``setting_id`` is the same for the seeds of a setting. ``steps`` are those of the fit,
    unless it has gone on since it was evaluated. ``setting`` is what people read of the settings
    that they compare, and ``settings`` their values by name.
    """
    with disable_gc():
        return _result_rows(record, index)


def _result_rows(record: StudyRecord, index: pa.Table) -> list[dict[str, Any]]:
    table = plan_rows(record, index)
    table = table.filter(pc.equal(table["status"], "done"))
    rows: list[dict[str, Any]] = table.select([*_ROW_FIELDS, "spec"]).to_pylist()
    fits = zip(*_part_of(index, "fit", ("trial_id", "epochs", "steps")), strict=True)
    steps_of = {(trial_id, epochs): steps for trial_id, epochs, steps in fits}
    names = Names(record.detectors)
    fields_of = lru_cache(maxsize=None)(partial(_spec_fields, names=names))
    place_of = lru_cache(maxsize=None)(names.place)
    keyed = []
    for row in rows:
        row["steps"] = steps_of.get((row["trial_id"], row["epochs"]))
        cell = (row["model"], row["score"], row["cohort"], row["modality"])
        row["paper_auc"] = paper_auc(*cell) if row["region"] == PAPER_REGION else None
        fields, order = fields_of(row.pop("spec"))
        row |= fields
        line = place_of(row["model"], row["score"])
        column = _column_place(row["cohort"], row["modality"])
        last = (row["seed"], row["trial_id"])
        keyed.append(((line, column, row["region"], order, *last), row))
    keyed.sort(key=itemgetter(0))
    rows = [row for _, row in keyed]
    best = {id(row) for row in best_rows(rows, "auc")}
    for row in rows:
        row["best"] = id(row) in best
    return rows


def _spec_fields(spec: str, names: Names) -> tuple[dict[str, Any], Order]:
    """What a row says of its specification, and what settings are sorted by."""
    setting = setting_of(spec)
    chosen = names.chosen_of(spec)
    fields = {
        "setting_id": setting.setting_id,
        **{name: setting.params.get(name) for name in _PAPERS_SETTINGS},
        "settings": chosen.as_dict(),
    }
    return fields, chosen.order


def table_columns(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """The (cohort, modality) columns of table 1: the paper's first, then others by name."""
    found = {(row["cohort"], row["modality"]) for row in rows}
    paper = [column for column in PAPER_COLUMNS if column in found]
    return paper + sorted(found - set(paper))


def table_lines(rows: Iterable[dict[str, Any]], names: Names) -> list[tuple[str, str]]:
    """The (model, score) lines of table 1, in the order of the detectors and their scores."""
    found = {(row["model"], row["score"]) for row in rows}
    return sorted(found, key=lambda line: names.place(*line))


def _column_place(cohort: str, modality: str) -> tuple[int, str, str]:
    column = (cohort, modality)
    place = PAPER_COLUMNS.index(column) if column in PAPER_COLUMNS else len(PAPER_COLUMNS)
    return (place, cohort, modality)
