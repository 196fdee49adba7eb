"""The report: table 1 with the paper's figures beside ours, as text, JSON, CSV or LaTeX."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from statistics import stdev
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets.storage import Storage
from study.plan.done import TrialCounts, count_trials, plan_rows, plan_trials
from study.records.index import load_index
from study.records.names import Names
from study.records.problems import Problems
from study.records.studies import StudyStore
from study.records.types import PlannedSearch, PlannedTrial, StudyRecord
from study.report.best import found_cells, top_rows
from study.report.choice import CELL, planned_seeds
from study.report.evidence import Evidence
from study.report.formats import SYNTHETIC, legends, table_csv, table_latex, text_table
from study.report.operating import NO_FIELDS, FalseAlarms, OperatingPoints
from study.report.operating_table import (
    Place,
    operating_sentences,
    operating_tables,
    seeds_by_place,
    with_operating,
)
from study.report.postprocessed import Postprocessed, failed_evaluations, postprocessed_cells
from study.report.postprocessed_table import (
    CHOSEN_BEFORE,
    postprocessed_latex,
    postprocessed_table,
)
from study.report.proof import claims, with_evidence
from study.report.stopped import StoppedTrial, cut_by_asha, stopped_trials
from study.report.strata import Stratum, strata, strata_tables
from study.report.table import result_rows
from study.report.table_one import TableOne, table_one
from study.report.two_studies import Difference, differences, differences_table
from study.terminal import PlainConsole, counted
from trainables.tables import REGIONS

CHOSEN_ON_TEST = (
    "The best setting of each cell is chosen on the test set itself, as in the paper: optimistic."
)


DIFFERENCES = (
    "Differences are over the subjects that both studies tested, means over seeds; bold where "
    "Holm's correction over all of them lets them stand; — where the subjects are others."
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
        evidence: What the subjects say of its rows; None where nothing is to be worked out.
        shards: Where the study's shards lie; None where nobody asks for strata.
        strata_by: What subjects are grouped by.
        other: The report of a study to compare with.
        operating: What the rows are at thresholds chosen on healthy subjects; None where nothing is
            to be worked out.
    """

    study: str
    grid: str
    synthetic: bool
    trials: TrialCounts
    searches: tuple[PlannedSearch, ...]
    record: StudyRecord
    index: pa.Table
    store: str
    evidence: Evidence | None = None
    shards: Storage | None = None
    strata_by: tuple[str, ...] = ()
    other: Report | None = None
    operating: OperatingPoints | None = None

    def keep_statistics(self) -> None:
        """Keep what was worked out for the next time, if the store may be written."""
        if self.evidence is not None:
            self.evidence.save()

    @property
    def searched(self) -> set[tuple[str, str]]:
        """The (model, modality) that have results, so that a search can have chosen."""
        names = ("model", "modality")
        return set(zip(*(self.results[name].to_pylist() for name in names), strict=True))

    @property
    def problems(self) -> Problems:
        """The records that do not count."""
        return Problems.of(self.index)

    @property
    def unread(self) -> str:
        """What is missing in what was told so far, as a part could not be read; mostly empty."""
        return "" if self.evidence is None else self.evidence.parts.words(self.store)

    @property
    def lacks_results(self) -> bool:
        """Whether anything is missing in what was told so far, as records cannot be read."""
        return self.problems.lose_results or bool(self.unread)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every result, as from :func:`result_rows`; many, so only made if wanted."""
        rows = result_rows(self.record, self.index)
        if self.evidence is not None:
            rows = _with_statistics(rows, self.evidence)
        return rows if self.operating is None else _at_thresholds(rows, self.operating)

    @cached_property
    def results(self) -> pa.Table:
        """The same in the index's own columns."""
        results = plan_rows(self.record, self.index)
        return results.filter(pc.equal(results["status"], "done"))

    @cached_property
    def best(self) -> list[dict[str, Any]]:
        """The rows of the best setting, a row a seed, for each cell of table 1 and region."""
        return top_rows(self.record, self.index, self.results, "auc")

    @cached_property
    def _planned(self) -> tuple[PlannedTrial, ...]:
        return plan_trials(self.record, self.index)

    @cached_property
    def stopped(self) -> list[StoppedTrial]:
        """The trials that were stopped early by their validation loss."""
        return stopped_trials(self._planned, self.index)

    @cached_property
    def false_alarms(self) -> dict[Place, list[FalseAlarms]]:
        """What is marked of healthy subjects that did not choose, for each cell of table 1."""
        if self.operating is None:
            return {}
        places = seeds_by_place(self.best)
        return {place: self.operating.false_alarms(seeds) for place, seeds in places.items()}

    @cached_property
    def postprocessed(self) -> list[Postprocessed]:
        """The best settings after post-processing, where the store has that."""
        return postprocessed_cells(self._planned, self.index, self.best)

    @cached_property
    def n_postprocessing_failed(self) -> int:
        """How many evaluations of post-processed maps have failed."""
        return failed_evaluations(self._planned, self.index, self.best)

    @cached_property
    def strata(self) -> list[Stratum]:
        """Table 1 by groups of subjects, as asked for."""
        if self.evidence is None or self.shards is None:
            return []
        return strata(self.strata_by, self.best, self.record, self.shards, self.evidence)

    @cached_property
    def differences(self) -> list[Difference]:
        """What differs from the other study, if there is one."""
        other = self.other
        if other is None or self.evidence is None or other.evidence is None:
            return []
        return differences(self.best, self.evidence, other.best, other.evidence)

    @property
    def names(self) -> Names:
        """What models, scores and settings are called."""
        return Names(self.record.detectors)

    def table(self, region: str) -> TableOne:
        """Table 1 of a region."""
        planned = planned_seeds(self._planned, self.best, self.names)
        found = found_cells(self.results)
        table = table_one(self.best, region, "auc", planned=planned, found=found, names=self.names)
        if self.evidence is None:
            return table
        table = with_evidence(table, self.best, self.results, self.evidence)
        if self.operating is None:
            return table
        return with_operating(table, self.best, self.operating)


def _with_statistics(rows: list[dict[str, Any]], evidence: Evidence) -> list[dict[str, Any]]:
    """Rows with their intervals, and the spread over the seeds of their setting."""
    figures: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if row["auc"] is not None:
            place = (row["setting_id"], *(row[name] for name in CELL))
            figures.setdefault(place, []).append(row["auc"])
    told = []
    for row in rows:
        some = figures.get((row["setting_id"], *(row[name] for name in CELL)), [])
        seed_sd = stdev(some) if len(some) > 1 else None
        told.append(row | asdict(evidence.of_row(row)) | {"seed_sd": seed_sd})
    return told


def _at_thresholds(rows: list[dict[str, Any]], operating: OperatingPoints) -> list[dict[str, Any]]:
    """Rows with what they are at thresholds chosen on healthy subjects."""
    found = (operating.of_cell([row]) for row in rows)
    return [
        row | (NO_FIELDS if one is None else one.as_fields())
        for row, one in zip(rows, found, strict=True)
    ]


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
    evidence = Evidence(study, index)
    return Report(
        study=record.study,
        grid=record.grid,
        synthetic=record.synthetic,
        trials=count_trials(record, index, running),
        searches=record.searches,
        record=record,
        index=index,
        store=study.storage.uri.removesuffix(f"/studies/{study.name}"),
        evidence=evidence,
        operating=OperatingPoints(plan_rows(record, index, "healthy"), evidence),
    )


def as_json(report: Report) -> str:
    """One JSON object; its fields are described in the README."""
    rows = report.rows
    content = {
        "study": report.study,
        "grid": report.grid,
        "synthetic": report.synthetic,
        "trials": report.trials.as_dict(),
        "problems": report.problems.as_dict(),
        "false_alarms": [
            asdict(alarm) for alarm in dict.fromkeys(chain(*report.false_alarms.values()))
        ],
        "rows": rows,
    }
    if report.postprocessed:
        content["postprocessed"] = [asdict(cell) for cell in report.postprocessed]
    if report.stopped:
        content["stopped"] = [asdict(one) for one in report.stopped]
    if report.strata_by:
        content["strata"] = [asdict(stratum) for stratum in report.strata]
    if report.other is not None:
        content["compared_with"] = report.other.study
        content["differences"] = [asdict(one) for one in report.differences]
    return json.dumps(content, indent=1, allow_nan=False)


def as_csv(report: Report) -> str:
    """Table 1 of both regions as CSV, a line a cell."""
    return table_csv([report.table(region) for region in REGIONS], synthetic=report.synthetic)


def as_latex(report: Report) -> str:
    """Table 1 of the brain region as a LaTeX tabular, for the booktabs package.

    Where the best settings were post-processed, a table of that follows.
    """
    table = table_latex(report.table("brain"), synthetic=report.synthetic)
    cells = report.postprocessed
    if not cells:
        return table
    return f"{table}\n{postprocessed_latex(cells, report.names, synthetic=report.synthetic)}"


def print_report(report: Report, console: PlainConsole) -> None:
    """Table 1 for people: our AUC, what it stands for, and the paper's beside it."""
    if report.synthetic:
        console.print(SYNTHETIC, style="yellow")
    tables = [report.table(region) for region in REGIONS]
    for table in tables:
        console.print(text_table(table))
    for sentence in dict.fromkeys(s for table in tables for s in legends(table)):
        console.print(sentence)
    for sentence in evidence_sentences(report, tables[0]):
        console.print(sentence, soft_wrap=True)
    for operating_table in operating_tables(tables[0], report.false_alarms):
        console.print(operating_table)
    for sentence in operating_sentences(tables[0], report.false_alarms):
        console.print(sentence, soft_wrap=True)
    if report.postprocessed:
        console.print(postprocessed_table(report.postprocessed, report.names))
        console.print(CHOSEN_BEFORE, soft_wrap=True)
    if report.n_postprocessing_failed:
        told = counted(report.n_postprocessing_failed, "evaluation")
        console.print(f"{told} of post-processed maps failed; --retry-failed runs them again.")
    for table_of_strata in strata_tables(report.strata, report.names):
        console.print(table_of_strata)
    if report.other is not None:
        console.print(differences_table(report.differences, report.names, report.other.study))
        console.print(DIFFERENCES)
    console.print(f"{report.trials.words} {CHOSEN_ON_TEST}")
    for sentence in cut_by_asha(report.stopped):
        console.print(sentence, soft_wrap=True)
    for sentence in searched(report.searches, report.searched):
        console.print(sentence)
    for sentence in undefined(report.results):
        console.print(sentence, style="yellow", soft_wrap=True)
    for problems in filter(None, (report.problems.words(report.store), report.unread)):
        console.print(problems, style="yellow", soft_wrap=True)


def evidence_sentences(report: Report, table: TableOne) -> list[str]:
    """How many subjects there are to speak, and what becomes of the paper's claim."""
    if report.evidence is None:
        return []
    told = []
    for column in table.columns:
        cells = [table.cells[line, column] for line in table.lines]
        known = next((cell for cell in cells if cell.n_effective is not None), None)
        if known is not None and known.n_effective is not None:
            told.append(
                f"{' '.join(column)}: {counted(known.n_with_lesion or 0, 'subject')} with lesion "
                f"pixels, an effective number of {known.n_effective:.1f} by the lesions' sizes."
            )
    return told + claims(table, report.best, report.evidence)


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


def searched(searches: Iterable[PlannedSearch], found: Collection[tuple[str, str]]) -> list[str]:
    """What Optuna chose by, a sentence a model and modality, whatever the number of seeds.

    Args:
        searches: What was planned.
        found: The (model, modality) that have results; of others nothing was chosen.
    """
    cohorts: dict[tuple[str, str, str, str], list[str]] = {}
    for search in searches:
        spec = search.spec
        if (spec.model, spec.modality) not in found:
            continue
        key = (search.parameter, spec.model, spec.modality, search.objective_score)
        cohorts.setdefault(key, []).append(search.objective)
    return [
        f"Optuna chose {parameter} for {model} {modality} by the AUC of {score}, "
        f"for each test cohort by its own: {', '.join(dict.fromkeys(names))}."
        for (parameter, model, modality, score), names in cohorts.items()
    ]
