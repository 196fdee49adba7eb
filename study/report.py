"""The report: table 1 with the paper's figures beside ours, as text, JSON, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table

from study import cli
from study.best import found_cells, top_rows
from study.index import load_index
from study.records import PlannedSearch, StudyRecord
from study.store import StudyStore
from study.table import (
    TrialCounts,
    chosen,
    count_trials,
    label,
    plan_rows,
    result_rows,
    table_columns,
    table_lines,
)

SYNTHETIC = (
    "Synthetic phantom: these figures check the software and are no evidence about medicine."
)

CHOSEN_ON_TEST = (
    "The best trial of each cell is chosen on the test set itself, as in the paper: optimistic."
)


class Format(StrEnum):
    """What the report is printed as."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    LATEX = "latex"


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
    """

    study: str
    grid: str
    synthetic: bool
    trials: TrialCounts
    searches: tuple[PlannedSearch, ...]
    record: StudyRecord
    index: pa.Table

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every result, as from :func:`study.table.result_rows`; many, so only made if wanted."""
        return result_rows(self.record, self.index)

    @cached_property
    def results(self) -> pa.Table:
        """The same in the index's own columns."""
        results = plan_rows(self.record, self.index)
        return results.filter(pc.equal(results["status"], "done"))

    @cached_property
    def best(self) -> list[dict[str, Any]]:
        """The row of highest AUC for each cell of table 1 and region."""
        return top_rows(self.record, self.index, self.results, "auc")


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
    )


def as_json(report: Report) -> str:
    """One JSON object; its fields are described in the README."""
    content = {
        "study": report.study,
        "grid": report.grid,
        "synthetic": report.synthetic,
        "trials": asdict(report.trials),
        "rows": report.rows,
    }
    return json.dumps(content, indent=1, allow_nan=False)


def as_csv(report: Report) -> str:
    """All rows as CSV, a column a field, empty where a figure is undefined."""
    sink = io.StringIO()
    names = list(report.rows[0]) if report.rows else ["model", "score", "cohort", "auc"]
    writer = csv.DictWriter(sink, [*names, "synthetic"], lineterminator="\n")
    writer.writeheader()
    for row in report.rows:
        writer.writerow({**row, "synthetic": report.synthetic})
    return sink.getvalue()


def as_latex(report: Report) -> str:
    """Table 1 of the brain region as a LaTeX tabular, for the booktabs package."""
    columns, lines, cells, top = _table(report, "brain")
    head = " & ".join(["Model", "Score", *(_tex(f"{c} {m}") for c, m in columns)])
    text = [f"% {SYNTHETIC}"] if report.synthetic else []
    text += [rf"\begin{{tabular}}{{ll{'r' * len(columns)}}}", r"\toprule", head + r" \\"]
    text.append(r"\midrule")
    for line in lines:
        entries = [_tex(label(line[0])), _tex(label(line[1]))]
        for column in columns:
            row = cells.get((*line, *column))
            figure = "--" if row is None else f"{row['auc']:.3f}"
            is_top = row is not None and row is top.get(column)
            entries.append(rf"\textbf{{{figure}}}" if is_top else figure)
        text.append(" & ".join(entries) + r" \\")
    return "\n".join([*text, r"\bottomrule", r"\end{tabular}"]) + "\n"


def print_report(report: Report, console: Console) -> None:
    """Table 1 for people: our AUC, what it stands for, and the paper's beside it."""
    if report.synthetic:
        console.print(SYNTHETIC, style="yellow")
    for region in ("brain", "slice"):
        console.print(_text_table(report, region))
    counts = report.trials
    console.print(
        f"{counts.done} of {counts.planned} trials done, {counts.failed} failed. {CHOSEN_ON_TEST}"
    )
    said = (  # the same for every seed
        f"Optuna chose {search.parameter} for {search.spec.model} {search.spec.modality} by "
        f"the AUC of {search.objective_score} on {search.objective}."
        for search in report.searches
    )
    for sentence in dict.fromkeys(said):
        console.print(sentence)


def _text_table(report: Report, region: str) -> Table:
    columns, lines, cells, top = _table(report, region)
    meaning = "brain pixels" if region == "brain" else "all pixels of the slice"
    table = Table(
        title=f"ROC-AUC over {meaning} (paper's figure in brackets)", title_justify="left"
    )
    table.add_column("model")
    table.add_column("score")
    for cohort, modality in columns:
        table.add_column(f"{cohort} {modality}", justify="right")
    for line in lines:
        entries = []
        for column in columns:
            row = cells.get((*line, *column))
            entries.append("—" if row is None else _entry(row, row is top.get(column)))
        table.add_row(label(line[0]), label(line[1]), *entries)
    return table


def _entry(row: dict[str, Any], is_top: bool) -> str:
    figure = f"{row['auc']:.3f}"
    figure = f"[bold]{figure}[/bold]" if is_top else figure
    setting = f" {chosen(row)}" if chosen(row) else ""
    paper = f" [dim]\\[{row['paper_auc']:.3f}][/dim]" if row["paper_auc"] is not None else ""
    return figure + setting + paper


def _table(
    report: Report, region: str
) -> tuple[
    list[tuple[str, str]],
    list[tuple[str, str]],
    dict[tuple[Any, ...], dict[str, Any]],
    dict[tuple[str, str], dict[str, Any]],
]:
    """Columns, lines, the best row of each cell, and the best row of each column."""
    found = [cell for cell in found_cells(report.results) if cell["region"] == region]
    best = [row for row in report.best if row["region"] == region]
    cells = {(r["model"], r["score"], r["cohort"], r["modality"]): r for r in best}
    top: dict[tuple[str, str], dict[str, Any]] = {}
    for row in best:
        column = (row["cohort"], row["modality"])
        if column not in top or row["auc"] > top[column]["auc"]:
            top[column] = row
    return table_columns(found), table_lines(found), cells, top


def _tex(text: str) -> str:
    special = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$"}
    return "".join(special.get(character, character) for character in text)


_FORMATTERS: dict[Format, Callable[[Report], str]] = {
    Format.JSON: as_json,
    Format.CSV: as_csv,
    Format.LATEX: as_latex,
}

app = cli.new_app()


@app.command()
def main(
    store: cli.StoreOption = cli.DEFAULT_STORE,
    study: cli.StudyOption = None,
    output_format: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.TEXT,
) -> None:
    """Print the results of a study: table 1, with the paper's figures beside ours."""
    study_store, record = cli.existing_study(store, study)
    progress = study_store.progress()
    running = len(progress.running) if progress and cli.is_alive(progress) else 0
    report = make_report(study_store, record, running=running)
    if output_format is Format.TEXT:
        print_report(report, cli.console())
    else:
        typer.echo(_FORMATTERS[output_format](report).rstrip("\n"))


if __name__ == "__main__":
    cli.run(app)
