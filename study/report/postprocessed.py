"""The best settings after post-processing, beside what they are without.

Which setting is the best is decided by the maps as they are; its figures after post-processing
choose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.plan.done import plan_rows, plan_trials
from study.plan.postprocess import POSTPROCESSINGS, postprocessed, postprocessed_eval
from study.records.types import PlannedTrial, StudyRecord
from study.report.best import top_rows
from study.report.choice import seeds_by_place
from study.report.table import METRICS

Row = dict[str, Any]

REGION = "brain"
"""Post-processing is within the brain, so what is over whole slices is not told."""


@dataclass(frozen=True)
class Figures:
    """A row of table 1 in one way of post-processing: means over its seeds.

    Attributes:
        postprocessing: What was done; empty for the maps as they are.
        auc: ROC-AUC over brain pixels; None where not all seeds have been evaluated in this way.
        average_precision: Likewise.
        best_dice: Likewise.
    """

    postprocessing: str
    auc: float | None = None
    average_precision: float | None = None
    best_dice: float | None = None


@dataclass(frozen=True)
class Postprocessed:
    """The best setting of a cell of table 1 with and without post-processing.

    Attributes:
        model: Of the row.
        score: Of the row.
        cohort: Of the column.
        modality: Of the column.
        setting: What people read for the setting.
        trial_ids: Its trials, a seed each.
        raw: Of the maps as they are.
        after: Of each way of post-processing, in the same order everywhere.
    """

    model: str
    score: str
    cohort: str
    modality: str
    setting: str
    trial_ids: tuple[str, ...]
    raw: Figures
    after: tuple[Figures, ...]


def winners(record: StudyRecord, index: pa.Table) -> tuple[PlannedTrial, ...]:
    """The best trials of a study with the evaluations of post-processed maps that they should have.

    They are those behind table 1 over brain pixels, a trial once, on the test cohorts for which it
    was chosen.

    Args:
        record: The study.
        index: Its index.
    """
    results = plan_rows(record, index)
    results = results.filter(pc.equal(results["status"], "done"))
    cohorts: dict[str, set[str]] = {}
    for seeds in seeds_by_place(top_rows(record, index, results, "auc"), REGION):
        for row in seeds:
            cohorts.setdefault(row["trial_id"], set()).add(row["cohort"])
    trials = (t for t in plan_trials(record, index) if t.trial_id in cohorts)
    return tuple(postprocessed(trial, cohorts[trial.trial_id]) for trial in trials)


def postprocessed_cells(
    trials: Iterable[PlannedTrial], index: pa.Table, best: Iterable[Row]
) -> list[Postprocessed]:
    """Each cell of table 1 that has any figure after post-processing, in table order.

    Args:
        trials: The plan's trials.
        index: All records.
        best: The rows of the best settings, from :func:`study.report.best.top_rows`.
    """
    is_told = pc.and_(pc.is_valid(index["postprocessing"]), pc.equal(index["region"], REGION))
    told = index.filter(pc.and_(is_told, pc.equal(index["status"], "done")))
    found = {
        (row["eval_id"], row["score"]): row
        for row in told.select(["eval_id", "score", *METRICS]).to_pylist()
    }
    if not found:
        return []
    by_trial = {trial.trial_id: trial for trial in trials}
    cells = (_cell(seeds, by_trial, found) for seeds in seeds_by_place(best, REGION))
    return [cell for cell in cells if any(figures.auc is not None for figures in cell.after)]


def failed_evaluations(trials: Iterable[PlannedTrial], index: pa.Table, best: Iterable[Row]) -> int:
    """How many evaluations of the best settings after post-processing have failed.

    Args:
        trials: The plan's trials.
        index: All records.
        best: The rows of the best settings.
    """
    is_failed = pc.and_(pc.is_valid(index["postprocessing"]), pc.equal(index["status"], "failed"))
    failed = set(index.filter(is_failed)["eval_id"].to_pylist())
    if not failed:
        return 0
    chosen = {row["eval_id"] for row in best if row["region"] == REGION}
    wanted = {
        postprocessed_eval(planned, done).eval_id
        for trial in trials
        for planned in trial.evals
        if planned.eval_id in chosen
        for done in POSTPROCESSINGS
    }
    return len(failed & wanted)


def _cell(
    seeds: Sequence[Row],
    trials: Mapping[str, PlannedTrial],
    found: Mapping[tuple[str, str], Row],
) -> Postprocessed:
    first = seeds[0]
    after = []
    for done in POSTPROCESSINGS:
        rows = [
            found.get((postprocessed_eval(planned, done).eval_id, row["score"]))
            for row in seeds
            for planned in trials[row["trial_id"]].evals
            if planned.eval_id == row["eval_id"]
        ]
        whole = [row for row in rows if row is not None]
        after.append(_figures(done.label, whole if len(whole) == len(seeds) else []))
    return Postprocessed(
        model=first["model"],
        score=first["score"],
        cohort=first["cohort"],
        modality=first["modality"],
        setting=first["setting"],
        trial_ids=tuple(row["trial_id"] for row in seeds),
        raw=_figures("", seeds),
        after=tuple(after),
    )


def _figures(postprocessing: str, rows: Sequence[Row]) -> Figures:
    def mean(metric: str) -> float | None:
        values = [row[metric] for row in rows]
        if not values or any(value is None for value in values):
            return None
        return fsum(values) / len(values)

    return Figures(postprocessing, *(mean(metric) for metric in METRICS))
