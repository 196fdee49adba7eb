"""The whole study with one command: prepare, plan, run the trials, report.

Running the same command again resumes a study: what the store has is not done again.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from study import cli
from study.cli import (
    BrainMaskOption,
    ExtractorOption,
    NormalisationOption,
    arithmetic,
    preprocess_settings,
)
from study.cluster import connection
from study.cluster.addresses import check_address
from study.cluster.environment import load_sent
from study.cluster.orphans import end_orphans
from study.cluster.patience import WAIT_S
from study.errors import EXIT_BROKE, EXIT_INTERRUPTED, TakenOverError
from study.grids._grid import grid_names
from study.outputs import go_on_without_reader
from study.plan.plan import MOST_TRIALS
from study.progress.heartbeat import check_free
from study.run.driver import Driver
from study.run.dryrun import print_plan
from study.run.ending import interpreter
from study.run.request import Request, RunOptions, halving_choice, make_request
from study.terminal import PlainConsole, new_console, say_aside
from study.trials.order import CHECKPOINT_S

MOST_EPOCHS = 1_000_000
MOST_SECONDS = 1e6
"""Eleven days."""


def _drive(request: Request, console: PlainConsole) -> int:
    cli.end_in_order_on_signals()
    end_orphans()  # also where there is nothing left to do that needs Ray
    try:
        return Driver(request, console).run()
    except KeyboardInterrupt:
        console.print(
            "Interrupted; every finished epoch is kept, and a long one up to its last checkpoint. "
            "Go on from here with:",
            soft_wrap=True,
        )
        console.print(f"  {_this_command()}", soft_wrap=True)
        return EXIT_INTERRUPTED
    except TakenOverError as error:
        console.print(str(error), soft_wrap=True)
        return EXIT_BROKE


def _this_command() -> str:
    """The command as one would type it again."""
    words = [word for word in sys.argv[1:] if word != "--take-over"]
    return shlex.join([interpreter(), "-m", "study.run", *words])


def _absolute(folder: str | None) -> str | None:
    """A folder as other processes find it; what ``~`` stands for is each machine's own."""
    return folder if folder is None or folder.startswith("~") else os.path.abspath(folder)


app = cli.new_app()


@app.command()
def main(
    grid: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.py",
            help=f"Grid: {', '.join(grid_names())}, or a file that has a GRID.",
        ),
    ],
    cohorts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="cohorts.toml; without it, the built-in phantom."),
    ] = None,
    store: cli.StoreOption = cli.DEFAULT_STORE,
    study: cli.StudyOption = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_TRIALS,
            help="Run every point with this many seeds; by default the grid says, mostly one.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_EPOCHS, help="Epochs of the networks, instead of the grid's."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster; without it, this machine.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="auto|float32|bfloat16",
            help="Of the networks: float32, bfloat16, or auto: bfloat16 where all that trains has "
            "instructions for it, decided when a study begins.",
        ),
    ] = "auto",
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda",
            help="What networks train on: GPUs, CPUs, or auto: GPUs where there are any.",
        ),
    ] = "auto",
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            envvar="ANOMALY_STUDY_CACHE",
            help="Where each machine keeps its copies of slices, 36 KB a slice; by default the "
            "user's cache folder.",
        ),
    ] = None,
    wait_for_nodes: cli.WaitOption = WAIT_S,
    checkpoint_every: Annotated[
        float,
        typer.Option(
            min=0,
            max=MOST_SECONDS,
            metavar="SECONDS",
            help="Keep a network so often within an epoch.",
        ),
    ] = CHECKPOINT_S,
    brain_extractor: ExtractorOption = "deepbet",
    brain_mask: BrainMaskOption = "widened",
    normalisation: NormalisationOption = "volume",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its estimated cost, then stop.")
    ] = False,
    postprocess: Annotated[
        bool,
        typer.Option(
            "--postprocess/--no-postprocess",
            help="Evaluate the best settings on post-processed score maps as well: after a 3-D "
            "median filter, and without small components besides.",
        ),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed trials again.")
    ] = False,
    asha: Annotated[
        bool,
        typer.Option(
            "--asha",
            help="Stop networks early whose validation loss is not among the best of their model "
            "and modality (asynchronous successive halving); the same command without it completes "
            "them.",
        ),
    ] = False,
    asha_factor: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=MOST_TRIALS,
            metavar="N",
            help="With --asha: one of N goes on each time they are compared; 3 by default.",
        ),
    ] = None,
    asha_grace: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_EPOCHS,
            metavar="EPOCHS",
            help="With --asha: epochs before the first comparison, and N times as many before each "
            "other one; by default those of the training divided by N x N.",
        ),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Run although another process seems to run this study."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what Ray and Tune have to say.")
    ] = False,
) -> None:
    """Run a study from scans to table 1; running it again resumes it."""
    go_on_without_reader()
    load_sent()
    check_address(address)
    connection.configure(verbose=verbose, address=address)
    options = RunOptions(
        seeds=seeds,
        epochs=epochs,
        address=address,
        retry_failed=retry_failed,
        take_over=take_over,
        verbose=verbose,
        precision=arithmetic(precision),
        checkpoint_s=checkpoint_every,
        device=cli.device_choice(device),
        cache=_absolute(cache),
        wait_s=wait_for_nodes,
        postprocess=postprocess,
        halving=halving_choice(asha, asha_factor, asha_grace),
    )
    settings = preprocess_settings(brain_extractor, normalisation, brain_mask)
    request = make_request(grid, cohorts, store, study, options, settings)
    console = new_console()
    if dry_run:
        print_plan(request, console)
        return
    if not take_over:
        check_free(request.study, say=say_aside)
    if cohorts is None:
        console.print(
            "No cohorts file given: using the built-in synthetic phantom. "
            "Point --cohorts at a cohorts.toml for your own scans."
        )
    raise typer.Exit(_drive(request, console))
