"""What the user asked a run to do, validated before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study import cli
from study.cohorts import Cohort, phantom_cohorts, read_cohorts
from study.order import CHECKPOINT_S
from study.plan import Grid, Plan, build_plan, grid_names, load_grid
from study.records import CohortInfo
from study.store import StudyStore
from trainables.arithmetic import Arithmetic, Precision

ExtractorOption = Annotated[
    str,
    typer.Option(
        "--brain-extractor",
        metavar="TOOL",
        help="What tells the brain in whole heads: deepbet, or bet (FSL's, which must be there).",
    ),
]

NormalisationOption = Annotated[
    str,
    typer.Option(
        "--normalisation",
        metavar="volume|slice",
        help="What is divided by the median of its brain: each volume, or each axial slice.",
    ),
]

BrainMaskOption = Annotated[
    str,
    typer.Option(
        "--brain-mask",
        metavar="plain|widened",
        help="The brain extractor's mask as it is: plain, or widened beside lesions that are far "
        "darker than the other side.",
    ),
]

_WORDS = {
    "brain_extractor": "brain extractor",
    "normalisation": "normalisation",
    "brain_mask": "brain mask",
}


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        seeds: Every point is run with this many seeds, from 0.
        epochs: Replaces the grid's number of epochs, if given.
        address: Of a Ray cluster, or None for one of this process alone.
        retry_failed: Whether failed trials run again.
        take_over: Whether to run although another process seems to.
        verbose: Whether Ray and Tune may print.
        precision: Arithmetic of the networks, or ``auto``.
        checkpoint_s: How often a fit is kept within a long epoch, in seconds.
    """

    seeds: int = 1
    epochs: int | None = None
    address: str | None = None
    retry_failed: bool = False
    take_over: bool = False
    verbose: bool = False
    precision: Arithmetic = "auto"
    checkpoint_s: float = CHECKPOINT_S


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        grid_name: Name of the grid.
        grid: The grid.
        cohorts: The data.
        store: Where everything goes.
        study: The study's own folder there.
        options: How to run.
        settings: Of preprocessing.
    """

    grid_name: str
    grid: Grid
    cohorts: tuple[Cohort, ...]
    store: Storage
    study: StudyStore
    options: Options = field(default_factory=Options)
    settings: PreprocessSettings = field(default_factory=PreprocessSettings)

    def plan(self, cohorts: Sequence[CohortInfo], precision: Precision) -> Plan:
        """The grid laid over the data.

        Raises:
            PlanError: If no modality has both a train and a test cohort.
        """
        return build_plan(
            self.grid,
            cohorts,
            seeds=tuple(range(self.options.seeds)),
            epochs=self.options.epochs,
            precision=precision,
        )


def make_request(
    grid: str,
    cohorts: Path | None,
    store_uri: str,
    study: str | None,
    options: Options,
    settings: PreprocessSettings | None = None,
) -> Request:
    """Validate what the user asked for.

    Raises:
        UsageError: If anything of it is wrong.
        CohortsError: If the cohorts file is.
    """
    if grid not in grid_names():
        raise cli.UsageError(f"unknown grid {grid!r}; choose one of: {', '.join(grid_names())}")
    chosen = load_grid(grid)
    store = cli.open_store(store_uri)
    name = study or (grid if cohorts else f"{grid}-phantom")
    if cohorts is None:
        data = phantom_cohorts(phantom_folder(store), chosen.phantom_subjects)
    else:
        data = read_cohorts(cohorts)
    return Request(
        grid_name=grid,
        grid=chosen,
        cohorts=data,
        store=store,
        study=cli.open_study(store, name),
        options=options,
        settings=settings or PreprocessSettings(),
    )


def arithmetic(name: str) -> Arithmetic:
    """The arithmetic that a user named.

    Raises:
        UsageError: If there is no such arithmetic.
    """
    names = get_args(Arithmetic)
    if name not in names:
        raise cli.UsageError(f"unknown precision {name!r}; choose one of: {', '.join(names)}")
    return cast("Arithmetic", name)


def preprocess_settings(
    brain_extractor: str, normalisation: str = "volume", brain_mask: str = "widened"
) -> PreprocessSettings:
    """Settings of preprocessing by the user's choice.

    Raises:
        UsageError: If one of them is none of the choices; the message lists them.
    """
    chosen = {
        "brain_extractor": brain_extractor,
        "normalisation": normalisation,
        "brain_mask": brain_mask,
    }
    for name, value in chosen.items():
        choices = get_args(PreprocessSettings.model_fields[name].annotation)
        if value not in choices:
            raise cli.UsageError(
                f"unknown {_WORDS[name]} {value!r}; choose one of: {', '.join(choices)}"
            )
    return PreprocessSettings.model_validate(chosen)


def phantom_folder(store: Storage) -> Path:
    """Where the built-in cohorts are written: beside a local store's data, or in the cache."""
    if store.is_local:
        return Path(store.root) / "phantom"
    return Path.home() / ".cache" / "anomaly-study" / "phantom"
