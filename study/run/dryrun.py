"""``--dry-run``: what a study would do and what that costs, without doing any of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from study.plan.cost import ASSUMED_SLICES_PER_SCAN, size
from study.plan.done import work_left
from study.plan.plan import Plan
from study.prepare.listing import CohortListing, survey
from study.records.index import load_index
from study.records.types import PlannedTrial
from study.report.table import label
from study.run.estimate import costs_of, estimate, local_device, local_places, pace_of
from study.run.precision import decide
from study.run.request import Request
from trainables.arithmetic import fast_precision
from trainables.detector import detector_class


def print_plan(request: Request, console: Console) -> None:
    """Print the plan of a run and its estimated cost; nothing is started or written.

    Raises:
        PlanError: If the study cannot be planned.
        SourceError: If a cohort cannot be listed.
        StorageError: If the store cannot be read.
    """
    listings = survey(request.cohorts, request.store, request.settings)
    infos = tuple(listing.info() for listing in listings)
    decision = decide(
        request.options.precision,
        request.study.study(),
        lambda: (fast_precision(local_device()),),
    )
    plan = request.plan(infos, decision.precision)
    index = load_index(request.study)
    left = work_left(plan.trials, index, retry_failed=request.options.retry_failed)
    console.print(f"study: {request.study.name}")
    console.print(f"store: {request.store.uri}")
    for listing in listings:
        console.print(f"cohort: {_cohort_line(listing)}")
    for name, count in _counts(plan).items():
        console.print(f"{name}: {count}")
    console.print(f"already done: {len(plan.trials) - len(left)}")
    console.print(_parameter_table(plan.trials))
    console.print(decision.words)
    if decision.warning:
        console.print(decision.warning)
    places = local_places()
    pace = pace_of(left, places, local_device())
    costs = costs_of(left, infos, pace)
    console.print(estimate(listings, costs, pace, places).words)
    if any(listing.manifest is None for listing in listings):
        console.print(
            f"(scans that are not prepared yet are taken for {ASSUMED_SLICES_PER_SCAN} slices each)"
        )


def _counts(plan: Plan) -> dict[str, int]:
    """How many trials of each kind: networks, those of searches by model, and the rest."""
    counts = {"networks": 0, "gmm": 0, "baselines": 0}
    for trial in plan.trials:
        if detector_class(trial.spec.model).TRAINS_BY_EPOCHS:
            counts["networks"] += 1
        elif trial.spec.model in counts:
            counts[trial.spec.model] += 1
        else:
            counts["baselines"] += 1
    for search in plan.searches:
        if not search.points:
            counts[search.spec.model] = counts.get(search.spec.model, 0) + search.n_trials
    return counts


def _cohort_line(listing: CohortListing) -> str:
    cohort, info = listing.cohort, listing.info()
    state = f"{info.n_slices} slices" if listing.manifest else "not prepared"
    kind = ", synthetic" if cohort.synthetic else ""
    return f"{cohort.name} {listing.modality} ({cohort.role}{kind}): {info.n_scans} scans, {state}"


def _parameter_table(trials: Iterable[PlannedTrial]) -> Table:
    """Numbers of parameters: a line a model and N_c, a column an N_z."""
    found: dict[tuple[str, int], dict[int, int]] = defaultdict(dict)
    for trial in trials:
        params = trial.spec.params
        if "n_c" in params and "n_z" in params:
            found[trial.spec.model, params["n_c"]][params["n_z"]] = size(trial.spec).n_parameters
    sizes = sorted({n_z for line in found.values() for n_z in line})
    table = Table(title="parameters in millions, by N_z", title_justify="left")
    table.add_column("model")
    table.add_column("N_c", justify="right")
    for n_z in sizes:
        table.add_column(str(n_z), justify="right")
    for (model, n_c), line in sorted(found.items()):
        entries = [f"{line[n_z] / 1e6:.2f}" if n_z in line else "" for n_z in sizes]
        table.add_row(label(model), str(n_c), *entries)
    return table
