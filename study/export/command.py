"""A study's figures in the tracker, tables or storage that people already use."""

from __future__ import annotations

from datetime import UTC, datetime
from types import ModuleType
from typing import Annotated

import typer

from datasets.plugins import load_plugin, plugin_names
from study import cli
from study.errors import UsageError
from study.export import targets
from study.export.runs import ExportedStudy
from study.outputs import go_on_without_reader
from study.terminal import counted, new_console

app = cli.new_app()


def kinds() -> list[str]:
    """What ``--to`` may begin with."""
    return [name.replace("_", "-") for name in plugin_names(targets)]


@app.command()
def main(
    store: Annotated[str, typer.Argument(metavar="STORE", help="Store: a folder, or a URI.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="KIND:PLACE", help=f"Where to: {', '.join(f'{k}:...' for k in kinds())}."
        ),
    ],
    study: cli.StudyOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only trials of which a record was written since: 2026-01-31T12:00.",
        ),
    ] = None,
) -> None:
    """Export the trials of a study; a second export adds nothing."""
    go_on_without_reader()
    kind, place = _target(to)
    module = _module(kind)
    if hasattr(module, "check"):
        module.check(place)
    begin = _utc(since)
    found = ExportedStudy.of(*cli.existing_study(store, study))
    runs = [run for run in found.runs if run.finished >= begin]
    try:
        done = module.export(found, place, runs)
    except OSError as error:
        raise UsageError(f"cannot export to {place}: {error.strerror or error}") from error
    found.report.keep_statistics()
    new_console().print(
        f"{counted(done.written, 'run')} written, {done.known} already there: {done.where}",
        soft_wrap=True,
    )


def _target(to: str) -> tuple[str, str]:
    kind, colon, place = to.partition(":")
    if kind not in kinds() or not colon or not place:
        raise UsageError(f"--to is KIND:PLACE, not {to!r}; kinds are: {', '.join(kinds())}")
    return kind, place


def _module(kind: str) -> ModuleType:
    module: ModuleType = load_plugin(targets, kind.replace("-", "_"), "target")
    return module


def _utc(since: str | None) -> str:
    """A time as records have it; one without a zone is this machine's."""
    if since is None:
        return ""
    try:
        return datetime.fromisoformat(since).astimezone(UTC).isoformat(timespec="milliseconds")
    except ValueError as error:
        raise UsageError(f"--since is a time such as 2026-01-31T12:00, not {since!r}") from error
