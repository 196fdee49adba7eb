"""What a run says of scans that it leaves out, and at its end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence

import pyarrow.compute as pc

from study.errors import EXIT_BROKE, EXIT_SOME_FAILED
from study.plan.done import plan_trials
from study.prepare.listing import CohortListing
from study.prepare.noticed import file_lines, note_lines
from study.report.report import Report
from study.run.request import Request
from study.terminal import counted
from study.trials.outcome import Outcome

MOST_REASONS, LONGEST_REASON = 10, 300


def tell_set_aside(listings: Sequence[CohortListing], say: Callable[[str], None]) -> None:
    """Say which scans are set aside, and what was noticed of the others.

    Args:
        listings: The cohorts.
        say: Prints a line.
    """
    for listing in listings:
        records = listing.manifest.records if listing.manifest else ()
        for scan in records:
            if scan.status == "quarantined":
                name = " ".join((listing.cohort.name, scan.subject, scan.session)).strip()
                say(f"set aside: {name} {scan.modality}: {scan.reason}")
    for line in (*note_lines(listings), *file_lines(listings, reasons=False)):
        say(line)


def tell_end(request: Request, report: Report, outcome: Outcome, say: Callable[[str], None]) -> int:
    """Say where the results are, and what is missing of them.

    Args:
        request: What was asked for.
        report: Of the study as it is now.
        outcome: Of the trials.
        say: Prints a line.

    Returns:
        The exit status.
    """
    where = shlex.join(["--store", request.store.uri, "--study", request.study.name])
    say(f"Store: {request.store.uri}, study: {request.study.name}")
    say(f"Look at it: {interpreter()} -m streamlit run dashboard/app.py -- {where}")
    for sentence in outcome.lost:
        say(f"No record: {sentence}")
    if outcome.unwritable:
        say(
            "The store takes nothing any more, so the study has stopped; nothing that was "
            "recorded is lost. Make space there, and the same command goes on from here."
        )
    counts = report.trials
    missing = counts.planned - counts.ended
    if request.options.halving is None:
        missing += counts.stopped  # this run was to complete them
    if missing:
        say(
            f"{missing} of {counts.planned} trials have no record at the end; the same command "
            "runs them."
        )
    if report.trials.failed:
        say(f"{counted(counts.failed, 'trial')} failed; --retry-failed runs them again:")
        for line in _failures(report):
            say(line)
    if outcome.lost or outcome.unwritable or missing or report.lacks_results:
        return EXIT_BROKE
    return EXIT_SOME_FAILED if counts.failed or report.n_postprocessing_failed else 0


def _failures(report: Report) -> list[str]:
    """Why trials failed, a line a reason, those of most trials first."""
    index = report.index
    planned = {trial.trial_id for trial in plan_trials(report.record, index)}
    trials: dict[str, list[str]] = {}
    for row in index.filter(pc.equal(index["status"], "failed")).to_pylist():
        if row["trial_id"] not in planned:
            continue
        reason = " ".join(f"{row['failure_kind']}: {row['failure_message']}".split())
        where = f"evaluation on {row['cohort']}" if row["cohort"] else "training"
        parts = (report.names.model(row["model"]), row["modality"], row["setting"] or "", where)
        found = trials.setdefault(reason, [])
        found.append(" ".join(part for part in parts if part))
    lines = []
    for reason, names in sorted(trials.items(), key=lambda item: (-len(item[1]), item[0])):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"  {min(names)}{more}: {reason[:LONGEST_REASON]}")
    rest = len(lines) - MOST_REASONS
    other = [f"  and {counted(rest, 'other reason')}; the dashboard has all"] if rest > 0 else []
    return [*lines[:MOST_REASONS], *other]


def interpreter() -> str:
    """The interpreter as one would type it here."""
    here = os.path.relpath(sys.executable)
    return sys.executable if here.startswith("..") else here
