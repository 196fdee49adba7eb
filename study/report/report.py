"""The report: table 1 with the paper's figures beside ours, as text, JSON, CSV or LaTeX."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.plan.done import TrialCounts, count_trials, plan_rows, plan_trials
from study.records.index import load_index
from study.records.names import Names
from study.records.problems import Problems
from study.records.studies import StudyStore
from study.records.types import PlannedSearch, StudyRecord
from study.report.best import found_cells, top_rows
from study.report.choice import planned_seeds
from study.report.formats import SYNTHETIC, legends, table_csv, table_latex, text_table
from study.report.table import result_rows
from study.report.table_one import TableOne, table_one
from study.terminal import PlainConsole
from trainables.evaluate import REGIONS

CHOSEN_ON_TEST = (
    "The best setting of each cell is chosen on the test set itself, as in the paper: optimistic."
)


@dataclass(frozen=True)
class Report:
    """Everything a report says, before it is formatted.

    Attributes:
        study: Name of the study.
        grid: Name of its grid.
        synthetic: Whether any cohort is the phantom.
        trials: How far it is.
        searches: The searches, whose objective is told.
        record: The study's record.
        index: All its records.
        store: What the user calls the store.
    """

    study: str
    grid: str
    synthetic: bool
    trials: TrialCounts
    searches: tuple[PlannedSearch, ...]
    record: StudyRecord
    index: pa.Table
    store: str

    @property
    def problems(self) -> Problems:
        """The records that do not count."""
        return Problems.of(self.index)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every result, as from :func:`result_rows`; many, so only made if wanted."""
        return result_rows(self.record, self.index)

    @cached_property
    def results(self) -> pa.Table:
        """The same in the index's own columns."""
        results = plan_rows(self.record, self.index)
        return results.filter(pc.equal(results["status"], "done"))

    @cached_property
    def best(self) -> list[dict[str, Any]]:
        """The rows of the best setting, a row a seed, for each cell of table 1 and region."""
        return top_rows(self.record, self.index, self.results, "auc")

    @property
    def names(self) -> Names:
        """What models, scores and settings are called."""
        return Names(self.record.detectors)

    def table(self, region: str) -> TableOne:
        """Table 1 of a region."""
        planned = planned_seeds(plan_trials(self.record, self.index), self.best, self.names)
        found = found_cells(self.results)
        return table_one(self.best, region, "auc", planned=planned, found=found, names=self.names)


def make_report(
    study: StudyStore, record: StudyRecord, *, running: int = 0, index: pa.Table | None = None
) -> Report:
    """Gather a study's report from its store.

    Args:
        study: The study.
        record: What is in it.
        running: Trials at work.
        index: Its index, if that has just been made.

    Raises:
        StorageError: If the store cannot be read.
    """
    index = load_index(study) if index is None else index
    return Report(
        study=record.study,
        grid=record.grid,
        synthetic=record.synthetic,
        trials=count_trials(record, index, running),
        searches=record.searches,
        record=record,
        index=index,
        store=study.storage.uri.removesuffix(f"/studies/{study.name}"),
    )


def as_json(report: Report) -> str:
    """One JSON object; its fields are described in the README."""
    content = {
        "study": report.study,
        "grid": report.grid,
        "synthetic": report.synthetic,
        "trials": asdict(report.trials),
        "problems": report.problems.as_dict(),
        "rows": report.rows,
    }
    return json.dumps(content, indent=1, allow_nan=False)


def as_csv(report: Report) -> str:
    """Table 1 of both regions as CSV, a line a cell."""
    return table_csv([report.table(region) for region in REGIONS], synthetic=report.synthetic)


def as_latex(report: Report) -> str:
    """Table 1 of the brain region as a LaTeX tabular, for the booktabs package."""
    return table_latex(report.table("brain"), synthetic=report.synthetic)


def print_report(report: Report, console: PlainConsole) -> None:
    """Table 1 for people: our AUC, what it stands for, and the paper's beside it."""
    if report.synthetic:
        console.print(SYNTHETIC, style="yellow")
    tables = [report.table(region) for region in REGIONS]
    for table in tables:
        console.print(text_table(table))
    for sentence in dict.fromkeys(s for table in tables for s in legends(table)):
        console.print(sentence)
    counts = report.trials
    console.print(
        f"{counts.done} of {counts.planned} trials done, {counts.failed} failed. {CHOSEN_ON_TEST}"
    )
    for sentence in searched(report.searches):
        console.print(sentence)
    for sentence in undefined(report.results):
        console.print(sentence, style="yellow", soft_wrap=True)
    problems = report.problems.words(report.store)
    if problems:
        console.print(problems, style="yellow", soft_wrap=True)


def undefined(results: pa.Table) -> list[str]:
    """Why a cohort has no AUC at all, a sentence a cohort, modality and region."""
    columns = ("cohort", "modality", "region", "auc")
    has_auc: dict[tuple[str, str, str], bool] = {}
    for row in results.select(columns).to_pylist():
        if row["cohort"] and row["region"]:
            place = (row["cohort"], row["modality"], row["region"])
            has_auc[place] = has_auc.get(place, False) or row["auc"] is not None
    where = {"brain": "inside the brain masks", "slice": "in the slices"}
    return [
        f"No AUC is defined for {cohort} {modality} in the region {region}: no lesion pixel, or "
        f"nothing else, lies {where.get(region, 'there')}."
        for (cohort, modality, region), known in sorted(has_auc.items())
        if not known
    ]


def searched(searches: Iterable[PlannedSearch]) -> list[str]:
    """What Optuna chose by, a sentence a model and modality, whatever the number of seeds."""
    cohorts: dict[tuple[str, str, str, str], list[str]] = {}
    for search in searches:
        spec = search.spec
        key = (search.parameter, spec.model, spec.modality, search.objective_score)
        cohorts.setdefault(key, []).append(search.objective)
    return [
        f"Optuna chose {parameter} for {model} {modality} by the AUC of {score}, "
        f"for each test cohort by its own: {', '.join(dict.fromkeys(names))}."
        for (parameter, model, modality, score), names in cohorts.items()
    ]
