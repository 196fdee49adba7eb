"""``--dry-run``: what a study would do and what that costs, without doing any of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.table import Table

from study.plan.cost import ASSUMED_SLICES_PER_SCAN, size
from study.plan.done import work_left
from study.plan.plan import Plan
from study.prepare.listing import CohortListing, survey
from study.prepare.noticed import file_lines, note_lines
from study.records.index import load_index
from study.records.names import Names
from study.records.studies import utc_now
from study.records.types import PlannedTrial
from study.run.estimate import AT_MOST, costs_of, estimate, local_device, local_places, pace_of
from study.run.postprocess import postprocessing_expected
from study.run.precision import decide
from study.run.request import Request, study_record
from study.terminal import PlainConsole, counted
from trainables.arithmetic import fast_precision
from trainables.description import Value, value_order, value_text
from trainables.registry import describe, detector_class


def print_plan(request: Request, console: PlainConsole) -> None:
    """Print the plan of a run and its estimated cost; nothing is started or written.

    Raises:
        PlanError: If the study cannot be planned.
        SourceError: If a cohort cannot be listed.
        StorageError: If the store cannot be read.
    """
    device = local_device(request.options.device)
    listings = survey(request.cohorts, request.store, request.settings)
    infos = tuple(listing.info() for listing in listings)
    decision = decide(
        request.options.precision,
        request.study.study(),
        lambda: (fast_precision(device),),
    )
    plan = request.plan(infos, decision.precision)
    index = load_index(request.study)
    options = request.options
    left = work_left(
        plan.trials,
        index,
        retry_failed=options.retry_failed,
        keep_stopped=options.halving is not None,
    )
    console.print(f"study: {request.study.name}")
    console.print(f"store: {request.store.uri}")
    for listing in listings:
        console.print(f"cohort: {_cohort_line(listing)}")
    for line in (*note_lines(listings), *file_lines(listings, reasons=False)):
        console.print(line, soft_wrap=True)
    for name, count in _counts(plan).items():
        console.print(f"{name}: {count}")
    console.print(f"already done: {len(plan.trials) - len(left)}")
    for table in _parameter_tables(plan.trials):
        console.print(table)
    console.print(decision.words)
    if decision.warning:
        console.print(decision.warning)
    places = local_places(device)
    after = []
    if options.postprocess:
        record = study_record(request, plan, infos, utc_now(), decision.precision)
        after = postprocessing_expected(record, index, left)
    pace = pace_of([*left, *after], listings, places, device)
    costs, after_costs = (costs_of(work, infos, pace) for work in (left, after))
    console.print(estimate(listings, costs, pace, places, after_costs).words)
    if options.halving is not None:
        console.print(AT_MOST)
    if any(listing.manifest is None for listing in listings):
        console.print(
            f"(scans that are not prepared yet are taken for {ASSUMED_SLICES_PER_SCAN} slices each)"
        )


def _counts(plan: Plan) -> dict[str, int]:
    """How many trials of each kind: networks, other models with settings, and the baselines.

    A network is what trains by epochs, a baseline what has no setting to compare.
    """
    counts = {"networks": 0}
    for trial in plan.trials:
        kind = _kind(trial.spec.model)
        counts[kind] = counts.get(kind, 0) + 1
    for search in plan.searches:
        if not search.points:
            kind = _kind(search.spec.model)
            counts[kind] = counts.get(kind, 0) + search.n_trials
    if "baselines" in counts:
        counts["baselines"] = counts.pop("baselines")  # the last of all
    return counts


def _kind(model: str) -> str:
    if detector_class(model).TRAINS_BY_EPOCHS:
        return "networks"
    return model if describe(model).axes else "baselines"


def _cohort_line(listing: CohortListing) -> str:
    cohort, info = listing.cohort, listing.info()
    state = counted(info.n_slices, "slice") if listing.manifest else "not prepared"
    kind = ", synthetic" if cohort.synthetic else ""
    scans = counted(info.n_scans, "scan")
    return f"{cohort.name} {listing.modality} ({cohort.role}{kind}): {scans}, {state}"


def _parameter_tables(trials: Iterable[PlannedTrial]) -> list[Table]:
    """Numbers of parameters: a table for models with equal settings, a column a value of the last.

    Only models that train by epochs have a line.
    """
    found: dict[tuple[str, ...], dict[tuple[Any, ...], dict[Value, int]]] = {}
    for trial in trials:
        model = trial.spec.model
        if not detector_class(model).TRAINS_BY_EPOCHS or not describe(model).axes:
            continue
        axes = describe(model).axes
        values = [trial.spec.params[axis.name] for axis in axes]
        lines = found.setdefault(tuple(axis.symbol or axis.name for axis in axes), {})
        line = lines.setdefault((model, *values[:-1]), {})
        line[values[-1]] = size(trial.spec).n_parameters
    return [_parameter_table(symbols, lines) for symbols, lines in found.items()]


def _parameter_table(
    symbols: tuple[str, ...], lines: dict[tuple[Any, ...], dict[Value, int]]
) -> Table:
    columns = sorted({value for line in lines.values() for value in line}, key=value_order)
    table = Table(title=f"parameters in millions, by {symbols[-1]}", title_justify="left")
    table.add_column("model")
    for symbol in symbols[:-1]:
        table.add_column(symbol, justify="right")
    for value in columns:
        table.add_column(value_text(value), justify="right")
    for (model, *values), line in sorted(
        lines.items(), key=lambda item: (item[0][0], *map(value_order, item[0][1:]))
    ):
        entries = [f"{line[c] / 1e6:.2f}" if c in line else "" for c in columns]
        table.add_row(Names().model(model), *map(value_text, values), *entries)
    return table
