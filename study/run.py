"""The whole study with one command: prepare, plan, run the trials, report.

Running the same command again resumes a study: what the store has is not done again.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from study import cli, cluster
from study.cost import longest_first, work_flops
from study.dryrun import print_plan
from study.index import refresh_index
from study.listing import CohortListing
from study.live import View
from study.plan import Plan, grid_names, work_left
from study.preparation import Preparation
from study.provenance import provenance
from study.records import CohortInfo, StudyRecord
from study.report import make_report, print_report
from study.request import (
    ExtractorOption,
    Options,
    Request,
    make_request,
    preprocess_settings,
)
from study.store import utc_now
from study.table import count_trials, plan_trials
from study.tracker import Tracker
from study.verify import sweep

_HEARTBEAT_S = 2.0


class Driver:
    """One run of a study in this process."""

    def __init__(self, request: Request, console: Console) -> None:
        self._request = request
        self._console = console
        self._tracker = Tracker()
        self._view = View(self._tracker, console)
        self._stack = ExitStack()
        self._last_heartbeat = 0.0
        self._preparation = Preparation(
            request.cohorts,
            request.store,
            request.settings,
            self._connect,
            self._tracker,
            self._changed,
            self._say,
        )

    def run(self) -> int:
        """Prepare, plan, run, report.

        Returns:
            The exit status: 0, or 1 if a trial of the plan has failed.
        """
        unfinished = self._was_cut_off()
        with self._stack, self._view:
            listings = self._preparation.run()
            self._say_quarantined(listings)
            record = self._plan(listings)
            lost = self._run_trials(record, listings)
            self._tracker.stage = "report"
            refresh_index(self._request.study)
            if unfinished and not self._request.options.take_over:
                sweep(self._request.study)
            self._finish("done")
        return self._report(record, lost)

    def interrupted(self) -> None:
        """Leave word that this driver has stopped."""
        self._finish("interrupted")

    def _was_cut_off(self) -> bool:
        """Whether the run before this one left without saying so: it may have left parts."""
        before = self._request.study.progress()
        return before is None or before.stage != "done"

    def _connect(self) -> Any:
        request = self._request
        context = cluster.connected(request.options.address, verbose=request.options.verbose)
        return self._stack.enter_context(context)

    def _plan(self, listings: Sequence[CohortListing]) -> StudyRecord:
        """Lay the grid over the prepared data."""
        request = self._request
        cohorts = tuple(listing.info() for listing in listings)
        plan = request.plan(cohorts)
        before = request.study.study()
        return study_record(request, plan, cohorts, before.created if before else utc_now())

    def _run_trials(self, record: StudyRecord, listings: Sequence[CohortListing]) -> list[str]:
        """Run what the store does not have; returns what ended without a record."""
        request = self._request
        index = refresh_index(request.study)
        retry = request.options.retry_failed
        left = work_left(plan_trials(record, index), index, retry_failed=retry)
        request.study.write_study(record)  # only now: a plan that is refused replaces none
        counts = count_trials(record, index)
        searching = [s for s in record.searches if not s.points]
        self._tracker.stage = "trials"
        self._tracker.planned, self._tracker.done = counts.planned, counts.done
        self._tracker.failed = 0 if retry else counts.failed
        self._changed(True)
        if not left and not searching:
            return []
        from study.execute import execute

        self._tracker.cost = sum(work_flops(work, record.cohorts) for work in left)
        return execute(
            longest_first(left, record.cohorts),
            record,
            listings,
            index,
            study=request.study,
            store=request.store,
            connect=self._connect,
            mend=self._mend,
            tracker=self._tracker,
            changed=self._changed,
            options=request.options,
        )

    def _mend(self, listings: Sequence[CohortListing]) -> Sequence[CohortListing]:
        """Prepare damaged shards again, then go back to the trials."""
        mended = self._preparation.mend(listings)
        self._tracker.stage = "trials"
        self._changed(True)
        return mended

    def _report(self, record: StudyRecord, lost: Sequence[str]) -> int:
        request = self._request
        report = make_report(request.study, record)
        print_report(report, self._console)
        where = shlex.join(["--store", request.store.uri, "--study", request.study.name])
        self._say(f"Store: {request.store.uri}, study: {request.study.name}")
        self._say(f"Look at it: {_python()} -m streamlit run dashboard/app.py -- {where}")
        for sentence in lost:
            self._say(f"No record: {sentence}")
        if report.trials.failed:
            self._say(
                f"{report.trials.failed} trials failed; the dashboard shows why. "
                "--retry-failed runs them again."
            )
        return cli.EXIT_FAILED if lost or report.trials.failed else 0

    def _say_quarantined(self, listings: Sequence[CohortListing]) -> None:
        for listing in listings:
            records = listing.manifest.records if listing.manifest else ()
            for scan in records:
                if scan.status == "quarantined":
                    name = " ".join((listing.cohort.name, scan.subject, scan.session)).strip()
                    self._say(f"set aside: {name} {scan.modality}: {scan.reason}")

    def _say(self, text: str) -> None:
        self._view.say(text)

    def _changed(self, ended: bool) -> None:
        self._view.update(ended=ended)
        now = time.monotonic()
        if now - self._last_heartbeat >= _HEARTBEAT_S:
            self._last_heartbeat = now
            self._request.study.write_progress(self._tracker.heartbeat(now))

    def _finish(self, stage: str) -> None:
        self._tracker.stage = stage
        self._request.study.write_progress(self._tracker.heartbeat(time.monotonic()))


def study_record(
    request: Request, plan: Plan, cohorts: tuple[CohortInfo, ...], created: str
) -> StudyRecord:
    """What ``study.json`` says of a run."""
    return StudyRecord(
        study=request.study.name,
        grid=request.grid_name,
        synthetic=any(cohort.synthetic for cohort in cohorts),
        cohorts=cohorts,
        trials=plan.trials,
        searches=plan.searches,
        provenance=provenance(),
        created=created,
        updated=utc_now(),
    )


def check_free(request: Request) -> None:
    """Refuse to run beside another driver of the same study.

    This is advice, no lock: object stores have none. Two drivers do the same work twice, but
    harm nothing, since records are whole and the same whoever writes them.

    Raises:
        UsageError: If another driver's heartbeat is fresh.
    """
    progress = request.study.progress()
    if progress is None or not cli.is_alive(progress) or request.options.take_over:
        return
    if progress.host == socket.gethostname() and not _exists(progress.pid):
        return
    raise cli.UsageError(
        f"study {request.study.name!r} is being run by process {progress.pid} on "
        f"{progress.host} since {progress.started}; wait for it, stop it, or add --take-over"
    )


def _python() -> str:
    """The interpreter as one would type it here."""
    here = os.path.relpath(sys.executable)
    return sys.executable if here.startswith("..") else here


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _drive(request: Request, console: Console) -> int:
    driver = Driver(request, console)
    # A shell starts its background jobs with SIGINT ignored; a scheduler ends jobs with SIGTERM.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return driver.run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the second one ends it at once
        driver.interrupted()
        console.print(
            "Interrupted; every finished epoch is kept. The same command goes on from here."
        )
        return cli.EXIT_INTERRUPTED


app = cli.new_app()


@app.command()
def main(
    grid: Annotated[str, typer.Option(help=f"Grid: {', '.join(grid_names())}.")],
    cohorts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="cohorts.toml; without it, the built-in phantom."),
    ] = None,
    store: cli.StoreOption = cli.DEFAULT_STORE,
    study: cli.StudyOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="Run every point with this many seeds.")] = 1,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the networks, instead of the grid's.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster; without it, this machine.")
    ] = None,
    brain_extractor: ExtractorOption = "deepbet",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its estimated cost, then stop.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed trials again.")
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Run although another process seems to run this study."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what Ray and Tune have to say.")
    ] = False,
) -> None:
    """Run a study from scans to table 1; running it again resumes it."""
    cluster.configure(verbose=verbose)
    options = Options(seeds, epochs, address, retry_failed, take_over, verbose)
    settings = preprocess_settings(brain_extractor)
    request = make_request(grid, cohorts, store, study, options, settings)
    console = cli.console()
    if dry_run:
        print_plan(request, console)
        return
    check_free(request)
    if cohorts is None:
        console.print(
            "No cohorts file given: using the built-in synthetic phantom. "
            "Point --cohorts at a cohorts.toml for your own scans."
        )
    raise typer.Exit(_drive(request, console))


if __name__ == "__main__":
    cli.run(app)
