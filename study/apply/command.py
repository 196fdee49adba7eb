"""The winner of a study on any scan: its maps in the scan's own voxels, as BIDS derivatives."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from datasets import sources
from datasets.plugins import plugin_names
from datasets.scan import MODALITIES, Modality, either
from study import cli
from study.apply.chosen import Choice, model_of_study
from study.apply.driver import Order, make_maps
from study.apply.model import AppliedModel, read_model
from study.apply.scan import Threshold
from study.cluster import connection
from study.cluster.addresses import check_address
from study.cluster.patience import WAIT_S
from study.errors import UsageError
from study.outputs import go_on_without_reader
from study.prepare.limits import Limits
from study.prepare.session import status_of
from study.report.thresholds import FEW, USUAL, threshold_name
from study.terminal import PlainConsole, new_console

_HEALTHY = re.compile(r"healthy:\s*([0-9]+(?:\.[0-9]+)?)\s*%")


def read_threshold(text: str | None, model: AppliedModel, score: str) -> Threshold:
    """A threshold as it was asked for.

    Args:
        text: ``healthy:5%`` or a number; by default the former.
        model: The model.
        score: The score that it is about.

    Raises:
        UsageError: If it is neither, or there are no healthy subjects to choose it by.
    """
    words = threshold_name(USUAL) if text is None else text.strip()
    match = _HEALTHY.fullmatch(words)
    if match:
        percent = float(match[1])
        if not 0 < percent < 100:
            raise UsageError(
                f"a threshold marks between 0 and 100 % of healthy pixels, not {words}"
            )
        value = model.threshold(score, percent / 100)
        n_subjects = len(model.counts(score))
        return Threshold(f"healthy:{percent:g}%", value, model.description.reference, n_subjects)
    try:
        value = float(words)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"a threshold is a number or such as healthy:5%, not {words!r}")
    return Threshold(f"{value:.9g}", value)


app = cli.new_app()


@app.command()
def main(
    scans: Annotated[
        Path | None,
        typer.Argument(metavar="SCAN|BIDS_DIR", help="A scan, or a folder: BIDS, see --source."),
    ] = None,
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help="Folder for the maps.")] = None,
    store: cli.StoreOption = cli.DEFAULT_STORE,
    study: cli.StudyOption = None,
    trial: Annotated[
        str | None, typer.Option(metavar="ID", help="The fit to use, by the beginning of its ID.")
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(metavar="COHORT", help="Use what is best in table 1 on this test cohort."),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The score to show; by default the one that is best."),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="healthy:5%|VALUE",
            help="What a voxel has to reach: the score that 5 % of healthy brain pixels reach (the "
            "default), or a number.",
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(metavar="|".join(MODALITIES), help="Of the scans, if --best has several."),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Write a page of each scan, to look at in a browser.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE.zip", help="Write the model to a file, to be used elsewhere."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE.zip", help="Use a model that was exported; needs no store."),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            metavar="NAME", help=f"Layout of a folder of scans: {', '.join(plugin_names(sources))}."
        ),
    ] = "bids",
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster; without it, this machine.")
    ] = None,
    wait_for_nodes: cli.WaitOption = WAIT_S,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what Ray has to say.")] = False,
) -> None:
    """Make anomaly maps of scans; running it again goes on and redoes only what changed."""
    go_on_without_reader()
    check_address(address)
    connection.configure(verbose=verbose, address=address)
    if scans is None and export is None:
        raise UsageError("name a scan or a BIDS folder, and a folder for its maps")
    if scans is not None and out is None:
        raise UsageError("name a folder for the maps as well")
    if scans is not None and not scans.exists():
        raise UsageError(f"there is no file or folder {scans}")
    choice = Choice(trial, best, score, _modality(modality))
    found = _model(model, store, study, choice)
    shown = score or found.description.score
    if shown not in found.scores:
        raise UsageError(f"the model has no score {shown!r}; it has: {', '.join(found.scores)}")
    console = new_console()
    if export is not None:
        replace(found, description=found.description.model_copy(update={"score": shown})).write(
            export
        )
        console.print(f"Model: {export}", soft_wrap=True)
    if scans is None or out is None:
        return
    order = Order(
        scans=scans,
        source=source,
        out=out,
        model=found,
        score=shown,
        threshold=read_threshold(threshold, found, shown),
        page=page,
        limits=Limits(),
        address=address,
        verbose=verbose,
        wait_s=wait_for_nodes,
    )
    _introduce(order, console)
    raise typer.Exit(status_of(lambda: make_maps(order, console), console))


def _modality(name: str | None) -> Modality | None:
    if name is not None and name not in MODALITIES:
        raise UsageError(f"unknown modality {name!r}; choose {either()}")
    return name


def _model(file: Path | None, store: str, study: str | None, choice: Choice) -> AppliedModel:
    if file is None:
        found, record = cli.existing_study(store, study)
        return model_of_study(cli.open_store(store), found, record, choice)
    if choice.trial or choice.cohort:
        raise UsageError("--model has one fit; leave --trial and --best out")
    model = read_model(file)
    if choice.modality not in (None, model.description.spec.modality):
        raise UsageError(
            f"{file} was trained on {model.description.spec.modality} scans, not on "
            f"{choice.modality}"
        )
    return model


def _introduce(order: Order, console: PlainConsole) -> None:
    """Say what is about to be done, and how sure its threshold is."""
    about, threshold = order.model.description, order.threshold
    console.print(
        f"Model: {about.spec.model}, {order.score}, {about.spec.modality}; trial {about.trial_id} "
        f"of the study {about.study!r}.",
        soft_wrap=True,
    )
    chosen = ""
    if threshold.n_subjects:
        who = ", ".join(threshold.cohorts)
        n, s = threshold.n_subjects, "s" if threshold.n_subjects > 1 else ""
        chosen = f", chosen by {n} healthy subject{s} ({who})"
        if threshold.n_subjects < FEW:
            chosen += f"; uncertain below {FEW} subjects"
    console.print(f"Threshold: {threshold.name} = {threshold.value:.6g}{chosen}.", soft_wrap=True)
