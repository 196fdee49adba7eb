"""``study.store check``, ``repair`` and ``gc``."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from datasets.storage import Storage
from study import cli
from study.errors import EXIT_BROKE, UsageError
from study.progress.heartbeat import holder
from study.store.check import check_store
from study.store.contents import study_folders
from study.store.copies import prune_copies
from study.store.repair import repair_store
from study.store.sweep import Swept, sweep, sweep_shards
from study.terminal import echo, say_aside

app: typer.Typer = cli.new_app()


UriArgument = Annotated[str, typer.Argument(metavar="URI", help="The store.")]


@app.command()
def check(uri: UriArgument = cli.DEFAULT_STORE) -> None:
    """Verify every file, checksum and identity of a store; exit status 1 if anything is wrong."""
    store = _existing(uri)
    right, wrong, others = 0, 0, 0
    for result in check_store(store):
        if isinstance(result, str):
            right += 1
        elif result.problem is None:
            others += 1
            echo(f"note: {result.message}")
        else:
            wrong += 1
            echo(f"wrong: {result.message} ({result.problem})")
    notes = f"; {others} notes" if others else ""
    echo(f"{right} files are right, {wrong} are wrong{notes}")
    if wrong:
        echo(f"set aside what can be made again: python -m study.store repair {_quoted(uri)}")
    raise typer.Exit(EXIT_BROKE if wrong else 0)


@app.command()
def repair(
    uri: UriArgument = cli.DEFAULT_STORE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be set aside.")
    ] = False,
) -> None:
    """Set damaged records aside, so that the next run of their study makes just these again.

    Each is copied into the store's folder "damaged", read back and only then removed. Exit status
    1 if something wrong is left that it cannot mend.
    """
    store = _existing(uri)
    _refuse_running(store)
    taken = left = 0
    for repaired in repair_store(store, dry_run=dry_run):
        echo(f"wrong: {repaired.finding.message}")
        if repaired.fault:
            left += 1
            echo(f"  not mended: {repaired.fault}")
        for path in repaired.taken:
            taken += 1
            echo(f"  {'would be ' if dry_run else ''}set aside: {path}")
    echo(f"{taken} files {'would be ' if dry_run else ''}set aside, {left} are left as they are")
    if taken and not dry_run:
        echo("The same study.run and study.prepare commands make them again.")
    raise typer.Exit(EXIT_BROKE if left else 0)


@app.command()
def gc(
    uri: UriArgument = cli.DEFAULT_STORE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be removed.")
    ] = False,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            envvar="ANOMALY_STUDY_CACHE",
            help="Where this machine keeps its copies of slices, as study.run was told.",
        ),
    ] = None,
) -> None:
    """Remove what no record needs: the leftovers of attempts that were interrupted.

    Where a record cannot be read, what it may name is kept; links are not followed. This machine's
    copies of slices go too where this store has none of their cohorts any more, or nobody has used
    them for 30 days.
    """
    store = _existing(uri)
    _refuse_running(store)
    swept = Swept()
    for study in study_folders(store):
        swept += sweep(store, study, dry_run=dry_run)
    swept += sweep_shards(store, dry_run=dry_run)
    for path in swept.paths:
        echo(path)
    copies = prune_copies(store, cache, dry_run=dry_run)
    for place in copies:
        echo(f"copy of slices: {place}")
    for sentence in swept.kept:
        echo(f"kept: {sentence}")
    copied = f" and {len(copies)} copies of slices" if copies else ""
    echo(f"{len(swept.paths)} files{copied} {'would be ' if dry_run else ''}removed")
    raise typer.Exit(EXIT_BROKE if swept.kept else 0)


def _refuse_running(store: Storage) -> None:
    for study in study_folders(store):
        progress = holder(study, say=say_aside)
        if progress is not None:
            raise UsageError(
                f"study {study.name!r} is being run by process {progress.pid} on {progress.host}; "
                "wait for it or stop it first"
            )


def _existing(uri: str) -> Storage:
    store = cli.open_store(uri)
    if not store.is_there():
        raise UsageError(f"there is no store at {uri!r}, or its disk is not mounted")
    if not store.names():
        raise UsageError(f"there is no store at {uri!r}: the folder is empty")
    return store


def _quoted(uri: str) -> str:
    return shlex.quote(uri)
