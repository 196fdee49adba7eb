"""Shards only: every scan prepared or set aside with its reason, and a page to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from datasets.access import check_access
from datasets.manifest import manifest_path
from datasets.settings import PreprocessSettings
from datasets.storage import Storage, StorageError
from study import cli
from study.cli import BrainMaskOption, ExtractorOption, NormalisationOption, preprocess_settings
from study.cluster import connection
from study.cluster.addresses import check_address
from study.cluster.patience import WAIT_S
from study.errors import EXIT_BROKE, EXIT_SOME_FAILED, UsageError
from study.grids._grid import grid_names, load_grid
from study.outputs import go_on_without_reader
from study.prepare.cohorts import Cohort, grid_phantoms, read_cohorts
from study.prepare.limits import Limits
from study.prepare.listing import CohortListing, scan_name
from study.prepare.losses import lesion_in_dropped_slices_share, lesion_lost_by_resizing_share
from study.prepare.noticed import file_lines, note_lines
from study.prepare.page import write_reports
from study.prepare.preparation import Preparation
from study.prepare.session import at_work, status_of
from study.records.heartbeats import Stage
from study.terminal import PlainConsole, new_console

_REASONS_SHOWN = 20


@dataclass(frozen=True)
class Order:
    """What to prepare, and how.

    Attributes:
        cohorts: The cohorts.
        store: Where the shards go.
        settings: Of preprocessing.
        limits: Of one scan.
        address: Of a Ray cluster, or None for one of this process alone.
        report: Folder for the pages, if they are wanted.
        verify: Whether to check what was prepared earlier.
        retry: Whether to try again what was set aside earlier.
        verbose: Whether Ray may print.
        wait_s: How long to wait for a node with room, in seconds.
    """

    cohorts: tuple[Cohort, ...]
    store: Storage
    settings: PreprocessSettings
    limits: Limits
    address: str | None
    report: Path | None
    verify: bool
    retry: bool
    verbose: bool
    wait_s: float = WAIT_S


def prepare(order: Order, console: PlainConsole) -> int:
    """Prepare all scans, then say what became of them.

    Returns:
        The exit status: whether scans were set aside, and every cohort has one that can be used.
    """
    _check_access(order.store)
    with at_work(console, order.address, verbose=order.verbose) as (monitor, connect):
        preparation = Preparation(
            order.cohorts,
            order.store,
            order.settings,
            connect,
            monitor,
            order.limits,
            wait_s=order.wait_s,
        )
        listings = preparation.run()
        if order.retry:
            listings = preparation.retry(listings)
        if order.verify or order.report is not None:
            # A page shows the slices, so it is made of shards that are whole.
            listings = preparation.mend(listings)
        pages: tuple[Path, ...] = ()
        if order.report is not None:
            n_scans = sum(listing.info().n_scans for listing in listings)
            monitor.begin(Stage.PREPARE, n_scans, "drawing pages")
            pages = write_reports(listings, order.store, order.report, monitor.step)
    print_summary(listings, preparation.prepared, console)
    for page in pages:
        console.print(f"Report: {page}", soft_wrap=True)
    infos = [listing.info() for listing in listings]
    if not all(info.n_scans for info in infos):
        return EXIT_BROKE
    return EXIT_SOME_FAILED if any(info.n_quarantined for info in infos) else 0


def _check_access(store: Storage) -> None:
    """Find out at once whether the store takes what is prepared.

    One that has cohorts and may only be read can still be looked at: then writing fails when there
    is something to write.
    """
    try:
        check_access(store)
    except StorageError:
        if not any(store.exists(manifest_path(key)) for key in store.names("shards")):
            raise


def print_summary(listings: Sequence[CohortListing], prepared: int, console: PlainConsole) -> None:
    """Print a line for each cohort and modality, and every scan that was set aside.

    What is lost of the lesions is told by its two ways: by resizing (below 0 if they grew), and in
    slices with too little brain.
    """
    table = Table(title="cohorts", title_justify="left")
    for name in ("cohort", "modality", "role"):
        table.add_column(name)
    for name in ("scans", "set aside", "subjects", "slices", "brain, ml", "lesion lost"):
        table.add_column(name, justify="right")
    for listing in listings:
        info = listing.info()
        volumes = sorted(r.brain_volume_ml for r in listing.records if r.brain_volume_ml)
        table.add_row(
            f"{info.name} (synthetic)" if info.synthetic else info.name,
            info.modality,
            info.role,
            str(info.n_scans),
            str(info.n_quarantined),
            str(info.n_subjects),
            str(info.n_slices),
            f"{volumes[0]:.0f} to {volumes[-1]:.0f}" if volumes else "—",
            _lost(listing),
        )
    console.print(table)
    _print_reasons(listings, console)
    for line in note_lines(listings):
        console.print(line, soft_wrap=True)
    for line in file_lines(listings, reasons=True):
        console.print(line, soft_wrap=True)
    total = sum(len(listing.records) for listing in listings)
    now = min(prepared, total)  # what was damaged or set aside may have been prepared twice
    console.print(f"{now} of {total} scans were prepared now; the others were there.")


def _lost(listing: CohortListing) -> str:
    """Shares of the lesions that no pixel shows: by resizing, and in slices left out."""
    if listing.manifest is None:
        return "—"
    resized = lesion_lost_by_resizing_share(listing.manifest)
    dropped = lesion_in_dropped_slices_share(listing.manifest)
    if resized is None or dropped is None:
        return "—"
    return f"{resized:.1%} + {dropped:.1%}"


def _print_reasons(listings: Sequence[CohortListing], console: PlainConsole) -> None:
    aside = [r for listing in listings for r in listing.records if r.status == "quarantined"]
    for record in aside[:_REASONS_SHOWN]:
        name = scan_name(record.cohort, record.subject, record.session, record.modality)
        console.print(f"set aside: {name}: {record.reason}", soft_wrap=True)
    if len(aside) > _REASONS_SHOWN:
        console.print(f"… and {len(aside) - _REASONS_SHOWN} more; --report DIR lists them all")


app = cli.new_app()


@app.command()
def main(
    cohorts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="cohorts.toml; without it, the built-in phantom."),
    ] = None,
    store: cli.StoreOption = cli.DEFAULT_STORE,
    grid: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.py",
            help="Without --cohorts: the phantom of this grid: "
            f"{', '.join(grid_names())}, or a file.",
        ),
    ] = "small",
    brain_extractor: ExtractorOption = "deepbet",
    brain_mask: BrainMaskOption = "widened",
    normalisation: NormalisationOption = "volume",
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a page about each cohort into this folder."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check every byte of the shards; mend what is damaged."),
    ] = False,
    retry_set_aside: Annotated[
        bool,
        typer.Option("--retry-set-aside", help="Try scans again that were set aside earlier."),
    ] = False,
    time_limit: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=1e6,
            metavar="SECONDS",
            help="Set a scan aside that takes longer.",
        ),
    ] = Limits.time_s,
    memory_limit: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=1e6,
            metavar="GIB",
            help="Set a scan aside that takes more memory.",
        ),
    ] = Limits.memory_gib,
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster; without it, this machine.")
    ] = None,
    wait_for_nodes: cli.WaitOption = WAIT_S,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what Ray has to say.")] = False,
) -> None:
    """Prepare the scans of all cohorts; running it again goes on and redoes only what changed."""
    go_on_without_reader()
    check_address(address)
    connection.configure(verbose=verbose, address=address)
    place = cli.open_store(store)
    order = Order(
        cohorts=read_cohorts(cohorts) if cohorts else _phantom(grid, place),
        store=place,
        settings=preprocess_settings(brain_extractor, normalisation, brain_mask),
        limits=Limits(time_limit, memory_limit),
        address=address,
        report=_folder(report),
        verify=verify,
        retry=retry_set_aside,
        verbose=verbose,
        wait_s=wait_for_nodes,
    )
    console = new_console()
    if cohorts is None:
        console.print("No cohorts file given: using the built-in synthetic phantom.")
    raise typer.Exit(status_of(lambda: prepare(order, console), console))


def _phantom(grid: str, store: Storage) -> tuple[Cohort, ...]:
    return grid_phantoms(store, load_grid(grid))


def _folder(report: Path | None) -> Path | None:
    """The folder for pages, made now: an hour later would be late to learn that it can't be."""
    if report is None:
        return None
    try:
        report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {report}: {error.strerror}") from error
    return report
