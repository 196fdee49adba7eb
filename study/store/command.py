"""``study.store check`` and ``gc``."""

from __future__ import annotations

from typing import Annotated

import typer

from datasets.storage import Storage
from study import cli
from study.errors import EXIT_FAILED, UsageError
from study.progress.heartbeat import holder
from study.records.studies import StudyStore, study_names
from study.store.check import Finding, check_store, sweep, sweep_shards

app: typer.Typer = cli.new_app()


UriArgument = Annotated[str, typer.Argument(metavar="URI", help="The store.")]


@app.command()
def check(uri: UriArgument = cli.DEFAULT_STORE) -> None:
    """Verify every manifest and checksum of a store; exit status 1 if anything is wrong."""
    store = _existing(uri)
    right = wrong = 0
    for result in check_store(store):
        if isinstance(result, Finding):
            wrong += 1
            typer.echo(f"wrong: {result.message}")
        else:
            right += 1
    typer.echo(f"{right} files are right, {wrong} are wrong")
    raise typer.Exit(EXIT_FAILED if wrong else 0)


@app.command()
def gc(
    uri: UriArgument = cli.DEFAULT_STORE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be removed.")
    ] = False,
) -> None:
    """Remove what no record needs: the leftovers of attempts that were interrupted."""
    store = _existing(uri)
    removed = []
    for name in study_names(store):
        study = StudyStore.open(store, name)
        progress = holder(study)
        if progress is not None:
            raise UsageError(
                f"study {name!r} is being run by process {progress.pid} on {progress.host}; "
                "wait for it or stop it first"
            )
        removed += [f"studies/{name}/{path}" for path in sweep(study, dry_run=dry_run)]
    removed += sweep_shards(store, dry_run=dry_run)
    for path in removed:
        typer.echo(path)
    typer.echo(f"{len(removed)} files {'would be ' if dry_run else ''}removed")


def _existing(uri: str) -> Storage:
    store = cli.open_store(uri)
    if not store.names():
        raise UsageError(f"there is no store at {uri!r}")
    return store
