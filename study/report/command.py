"""``study.report``: table 1 as text, JSON, CSV or LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from study import cli
from study.progress.liveness import is_alive
from study.report.report import Report, as_csv, as_json, as_latex, make_report, print_report


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
    """Print the results of a study: table 1, with the paper's figures beside ours."""
    study_store, record = cli.existing_study(store, study)
    progress = study_store.progress()
    running = len(progress.running) if progress and is_alive(progress) else 0
    report = make_report(study_store, record, running=running)
    if output_format is Format.TEXT:
        print_report(report, cli.console())
    else:
        typer.echo(_FORMATTERS[output_format](report).rstrip("\n"))
