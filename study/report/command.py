"""``study.report``: table 1 in several formats, the figures, the methods, a checklist."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from datasets.storage import StorageError
from study import cli
from study.errors import EXIT_BROKE, UsageError
from study.progress.liveness import is_alive
from study.records.studies import StudyStore
from study.report.claim import answered, claim_table
from study.report.formats import SYNTHETIC
from study.report.markdown import as_markdown
from study.report.methods import gather
from study.report.methods_text import as_text
from study.report.report import Report, as_csv, as_json, as_latex, make_report, print_report
from study.report.strata import KINDS
from study.report.written import make_folder, write_files
from study.terminal import counted, echo, new_console, say_aside


class Format(StrEnum):
    """What the report is printed as."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    LATEX = "latex"
    MARKDOWN = "markdown"


Strata = StrEnum("Strata", {name.upper(): name for name in KINDS})  # type: ignore[misc]


_FORMATTERS: dict[Format, Callable[[Report], str]] = {
    Format.JSON: as_json,
    Format.CSV: as_csv,
    Format.LATEX: as_latex,
    Format.MARKDOWN: as_markdown,
}


class Checklist(StrEnum):
    """The checklists that the records answer in part."""

    CLAIM = "claim"


FiguresOption = Annotated[
    Path | None,
    typer.Option(
        "--figures",
        metavar="DIR",
        help="Write the paper's figures 2 to 4 into this folder, as PDF, SVG and PNG, each with a "
        "caption as text.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Write what a paper needs into this folder: table 1, the figures, methods, flow of "
        "scans, checklist and references.",
    ),
]
MethodsOption = Annotated[
    bool,
    typer.Option(
        "--methods",
        help="Print a paragraph of methods and what became of the scans, as text or json.",
    ),
]
ChecklistOption = Annotated[
    Checklist | None,
    typer.Option(
        "--checklist",
        help="Print what the records answer of CLAIM 2024, and what the authors have to state, as "
        "text or json.",
    ),
]

app = cli.new_app()


@app.command()
def main(
    store: cli.StoreOption = cli.DEFAULT_STORE,
    study: cli.StudyOption = None,
    output_format: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.TEXT,
    strata: Annotated[
        list[Strata] | None,
        typer.Option("--strata", help="Table 1 by groups of subjects as well; text and JSON."),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Another study of the store, beside this one; text and JSON."
        ),
    ] = None,
    figures: FiguresOption = None,
    out: OutOption = None,
    methods: MethodsOption = False,
    checklist: ChecklistOption = None,
) -> None:
    """Print the results of a study: table 1, with the paper's figures beside ours.

    With --figures, --out, --methods or --checklist it does that instead.

    Exit status 1 if results or intervals are missing because records are damaged, unreadable or of
    another version; foreign ones are only told.
    """
    _check_choice(output_format, figures or out, _named(figures, out, methods, checklist))
    study_store, record = cli.existing_study(store, study)
    other = None
    if compare is not None:
        other = make_report(*cli.existing_study(store, compare))
    is_table = not (figures or out or methods or checklist)
    if (strata or other) and not is_table:
        raise UsageError("--strata and --compare go with table 1, with nothing else")
    if (strata or other) and output_format not in (Format.TEXT, Format.JSON):
        raise UsageError("--strata and --compare go with --format text or json")
    report = replace(
        make_report(study_store, record, running=_running(study_store)),
        shards=cli.open_store(store),
        strata_by=tuple(kind.value for kind in strata or ()),
        other=other,
    )
    is_text = output_format is Format.TEXT
    if figures:
        _write_figures(store, study_store, report, figures)
    elif out:
        _write_kit(store, study_store, report, out)
    elif methods or checklist:
        _print_methods(store, report, is_checklist=checklist is not None, is_text=is_text)
    elif is_text:
        print_report(report, new_console())
    else:
        echo(_FORMATTERS[output_format](report).rstrip("\n"))
    if not (is_text and is_table):
        for problems in filter(None, (report.problems.words(report.store), report.unread)):
            say_aside(problems)
    raise typer.Exit(EXIT_BROKE if report.lacks_results else 0)


def _named(
    figures: Path | None, out: Path | None, methods: bool, checklist: Checklist | None
) -> list[str]:
    """The options that do something else than print the table."""
    named = {"--figures": figures, "--out": out, "--methods": methods, "--checklist": checklist}
    return [name for name, value in named.items() if value]


def _check_choice(output_format: Format, folder: Path | None, chosen: list[str]) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: If there are any.
    """
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} do not go together; name one of them")
    allowed = (Format.TEXT,) if folder else (Format.TEXT, Format.JSON)
    if chosen and output_format not in allowed:
        words = " or ".join(allowed)
        raise UsageError(f"{chosen[0]} has no --format {output_format.value}; it is {words}")


def _write_figures(store: str, study: StudyStore, report: Report, folder: Path) -> None:
    from study.report.figures.write import write_figures  # matplotlib takes seconds to import

    for sentence in write_figures(cli.open_store(store), study, report, folder):
        echo(sentence)


def _write_kit(store: str, study: StudyStore, report: Report, folder: Path) -> None:
    from study.report.kit import README, kit_files

    what = "what a paper needs"
    make_folder(folder, what)
    files = kit_files(cli.open_store(store), study, report)
    write_files(files, folder, what)
    echo(f"{counted(len(files), 'file')} in {folder}; {folder / README} says what each is")


def _print_methods(store: str, report: Report, *, is_checklist: bool, is_text: bool) -> None:
    methods = gather(cli.open_store(store), report)
    items = answered(methods)
    if is_checklist and is_text:
        console = new_console()
        if report.synthetic:
            console.print(SYNTHETIC, style="yellow")
        console.print(claim_table(items))
    elif is_checklist:
        content = {"study": report.study, "synthetic": report.synthetic}
        told = [asdict(item) for item in items]
        echo(json.dumps({**content, "checklist": "CLAIM 2024", "items": told}, indent=1))
    else:
        echo(as_text(methods) if is_text else methods.as_json())


def _running(study: StudyStore) -> int:
    """How many trials are at work; a heartbeat that cannot be read tells of none."""
    try:
        progress = study.progress()
    except StorageError as error:
        say_aside(f"What is at work now is not known: {error}")
        return 0
    return len(progress.running) if progress and is_alive(progress) else 0
