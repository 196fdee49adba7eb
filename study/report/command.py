"""``study.report``: table 1 as text, JSON, CSV or LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from datasets.storage import StorageError
from study import cli
from study.errors import EXIT_BROKE
from study.progress.liveness import is_alive
from study.records.studies import StudyStore
from study.report.report import Report, as_csv, as_json, as_latex, make_report, print_report
from study.terminal import echo, new_console, say_aside


class Format(StrEnum):
    """What the report is printed as."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    LATEX = "latex"


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
    """Print the results of a study: table 1, with the paper's figures beside ours.

    Exit status 1 if results are missing because records are damaged, unreadable or of another
    version; foreign ones are only told.
    """
    study_store, record = cli.existing_study(store, study)
    report = make_report(study_store, record, running=_running(study_store))
    if output_format is Format.TEXT:
        print_report(report, new_console())
    else:
        echo(_FORMATTERS[output_format](report).rstrip("\n"))
        problems = report.problems.words(report.store)
        if problems:
            say_aside(problems)
    raise typer.Exit(EXIT_BROKE if report.problems.lose_results else 0)


def _running(study: StudyStore) -> int:
    """How many trials are at work; a heartbeat that cannot be read tells of none."""
    try:
        progress = study.progress()
    except StorageError as error:
        say_aside(f"What is at work now is not known: {error}")
        return 0
    return len(progress.running) if progress and is_alive(progress) else 0
