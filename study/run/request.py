"""What the user asked a run to do, validated before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study import cli
from study.cluster.patience import WAIT_S
from study.errors import UsageError
from study.grids._grid import Grid, grid_name, load_grid
from study.plan.plan import Plan, build_plan
from study.prepare.cohorts import Cohort, grid_phantoms, read_cohorts
from study.records.halving import Halving
from study.records.names import describe_all
from study.records.provenance import provenance
from study.records.studies import StudyStore, utc_now
from study.records.types import CohortInfo, StudyRecord
from study.trials.order import CHECKPOINT_S
from trainables.arithmetic import Arithmetic, DeviceChoice, Precision
from trainables.spec import EVAL_VERSION


@dataclass(frozen=True)
class RunOptions:
    """How to run.

    Attributes:
        seeds: Every point is run with this many seeds, from 0; by default the grid's number.
        epochs: Replaces the grid's number of epochs, if given.
        address: Of a Ray cluster, or None for one of this process alone.
        retry_failed: Whether failed trials run again.
        take_over: Whether to run although another process seems to.
        verbose: Whether Ray and Tune may print.
        precision: Arithmetic of the networks, or ``auto``.
        checkpoint_s: How often a fit is kept within a long epoch, in seconds.
        device: What networks train on.
        cache: Folder of each node for its copies of slices, or None for that of its user.
        wait_s: How long to wait for a node with room, in seconds.
        postprocess: Whether the best settings are evaluated on post-processed maps as well.
        halving: How networks are stopped early; None for not at all.
    """

    seeds: int | None = None
    epochs: int | None = None
    address: str | None = None
    retry_failed: bool = False
    take_over: bool = False
    verbose: bool = False
    precision: Arithmetic = "auto"
    checkpoint_s: float = CHECKPOINT_S
    device: DeviceChoice = "auto"
    cache: str | None = None
    wait_s: float = WAIT_S
    postprocess: bool = False
    halving: Halving | None = None


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
    options: RunOptions = field(default_factory=RunOptions)
    settings: PreprocessSettings = field(default_factory=PreprocessSettings)

    def plan(self, cohorts: Sequence[CohortInfo], precision: Precision) -> Plan:
        """The grid laid over the data.

        Raises:
            PlanError: If no modality has both a train and a test cohort.
        """
        return build_plan(
            self.grid,
            cohorts,
            seeds=range(self.options.seeds or self.grid.n_seeds),
            epochs=self.options.epochs,
            precision=precision,
        )


def halving_choice(asha: bool, factor: int | None, grace: int | None) -> Halving | None:
    """How networks are stopped early, by the options; None if they are not.

    Args:
        asha: Whether they are.
        factor: One of so many goes on beyond a rung; None for the usual number.
        grace: Epochs that each is trained; None for a number by the epochs of the training.

    Raises:
        UsageError: If anything is told of it while it is not asked for.
    """
    told = {"--asha-factor": factor, "--asha-grace": grace}
    surplus = [name for name, value in told.items() if value is not None]
    if surplus and not asha:
        raise UsageError(f"{surplus[0]} says how --asha stops networks: give --asha as well")
    if not asha:
        return None
    given = {} if factor is None else {"reduction_factor": factor}
    return Halving(grace_epochs=grace, **given)


def make_request(
    grid: str,
    cohorts: Path | None,
    store_uri: str,
    study: str | None,
    options: RunOptions,
    settings: PreprocessSettings | None = None,
) -> Request:
    """Validate what the user asked for.

    Raises:
        UsageError: If anything of it is wrong.
        CohortsError: If the cohorts file is.
    """
    chosen, own_name = load_grid(grid), grid_name(grid)
    store = cli.open_store(store_uri)
    name = study or (own_name if cohorts else f"{own_name}-phantom")
    data = grid_phantoms(store, chosen) if cohorts is None else read_cohorts(cohorts)
    return Request(
        grid_name=own_name,
        grid=chosen,
        cohorts=data,
        store=store,
        study=cli.open_study(store, name),
        options=options,
        settings=settings or PreprocessSettings(),
    )


def study_record(
    request: Request,
    plan: Plan,
    cohorts: tuple[CohortInfo, ...],
    created: str,
    precision: Precision,
) -> StudyRecord:
    """What ``study.json`` says of a run."""
    return StudyRecord(
        study=request.study.name,
        grid=request.grid_name,
        synthetic=any(cohort.synthetic for cohort in cohorts),
        precision=precision,
        eval_version=EVAL_VERSION,
        detectors=describe_all(plan.models),
        cohorts=cohorts,
        trials=plan.trials,
        searches=plan.searches,
        halving=request.options.halving,
        provenance=provenance(),
        created=created,
        updated=utc_now(),
    )
