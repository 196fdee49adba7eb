"""One run of a study in this process: prepare, plan, run the trials, report."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pyarrow as pa

from datasets.access import check_access
from datasets.storage import StorageError
from study.cluster import connection
from study.cluster.nodes import await_node, check_alike, foreign_plugins
from study.cluster.patience import Patience
from study.errors import EXIT_SOME_FAILED
from study.plan.cost import Pace, WorkCost, in_random_order, longest_first
from study.plan.done import Work, count_trials, plan_trials, work_left
from study.prepare.listing import CohortListing
from study.prepare.preparation import Preparation
from study.progress.heartbeat import Heartbeat, is_there, last_progress
from study.progress.live import View
from study.progress.monitor import Monitor
from study.progress.tracker import Tracker
from study.records.heartbeats import Stage
from study.records.index import load_index, refresh_index
from study.records.problems import Problems
from study.records.studies import utc_now
from study.records.types import PlannedTrial, StudyRecord
from study.report.report import make_report, print_report
from study.run.ending import tell_end, tell_set_aside
from study.run.estimate import AT_MOST, costs_of, estimate, local_device, local_places, pace_of
from study.run.postprocess import (
    CAPTION,
    counted_apart,
    postprocessing_expected,
    postprocessing_left,
)
from study.run.precision import Decision, decide
from study.run.request import Request, study_record
from study.store.sweep import sweep
from study.terminal import PlainConsole
from study.trials.outcome import Outcome
from study.trials.places import Places
from study.trials.session import Session
from trainables.arithmetic import Precision, fast_precision

_MOST_TOLD = 5
"""How many records that do not count are named; the check of the store names all."""


class Driver:
    """One run of a study in this process."""

    def __init__(self, request: Request, console: PlainConsole) -> None:
        before = last_progress(request.study)
        is_cut_off = before is not None and not before.has_ended
        self._request = request
        self._console = console
        self._tracker = Tracker(
            took_over=(*before.took_over, before.driver) if before and is_cut_off else (),
            # What the run before this one has left is removed at the end of this one.
            needs_cleanup=(
                before is None or before.needs_cleanup or before.stage is not Stage.DONE
            ),
        )
        self._before = before
        self._view = View(self._tracker, console)
        self._heartbeat = Heartbeat(request.study, self._tracker)
        self._monitor = Monitor(self._tracker, self._view, self._heartbeat)
        self._stack = ExitStack()
        self._pace: Pace | None = None
        self._places: Places | None = None
        self._has_access = False
        self._study_before = request.study.study()
        self._decision = Decision("float32", "")
        self._preparation = Preparation(
            request.cohorts,
            request.store,
            request.settings,
            self._connect,
            self._monitor,
            foreseen=self._foresee,
            wait_s=request.options.wait_s,
        )

    def run(self) -> int:
        """Prepare, plan, run, report.

        Returns:
            The exit status: whether trials or scans failed, or trials have no record.

        Raises:
            TakenOverError: If another driver has taken over.
            KeyboardInterrupt: If this process is asked to stop; its workers are gone then.
        """
        with self._heartbeat:
            try:
                with self._view, self._stack:
                    self._decide(look=False)
                    listings = self._preparation.run()
                    tell_set_aside(listings, self._say)
                    record = self._plan(listings)
                    outcome = self._run_trials(record, listings)
                    if self._request.options.postprocess and not outcome.unwritable:
                        outcome = outcome.merged(self._run_postprocessing(record, listings))
                    self._tracker.begin(Stage.REPORT)
                    index = self._compact()
                self._tracker.needs_cleanup |= outcome.needs_cleanup
                self._clean_up()
                self._tracker.begin(Stage.DONE)
            except KeyboardInterrupt:
                self._tracker.begin(Stage.INTERRUPTED)
                self._tracker.needs_cleanup = True
                with suppress(StorageError):  # the next run does it
                    self._compact()
                    self._clean_up()
                raise
            except BaseException:
                self._tracker.begin(Stage.STOPPED)
                self._tracker.needs_cleanup = True
                raise
        report = make_report(self._request.study, record, index=index)
        print_report(report, self._console)
        report.keep_statistics()
        status = tell_end(self._request, report, outcome, self._say)
        set_aside = any(listing.info().n_quarantined for listing in listings)
        return EXIT_SOME_FAILED if set_aside and not status else status

    def _connect(self) -> Any:
        request = self._request
        context = connection.connected(request.options.address, verbose=request.options.verbose)
        ray = self._stack.enter_context(context)
        if self._monitor.watch_ray is None:
            self._monitor.watch_ray = self._stack.enter_context(connection.watched(ray))
        return ray

    def _cluster(self) -> Places:
        """Where trials run; the nodes are looked at once, and later now and then."""
        if self._places is None:
            options = self._request.options
            is_local = connection.is_local(options.address)
            ray = self._connect()
            if not is_local:
                self._await_node(ray)
            places = Places(ray, options.device, may_grow=not is_local)
            for fault in places.faults:
                self._say(f"{fault.words}; networks train on the CPU.")
            self._places = places
        return self._places

    def _await_node(self, ray: Any) -> None:
        """Wait for a node to train on: before one is there, its arithmetic is unknown."""
        options = self._request.options
        patience = Patience(self._say, options.wait_s)
        needs_card = options.device == "cuda"

        def check() -> None:
            self._monitor.check()
            patience.check(moves=False, needs_card=needs_card)
            self._monitor.update()

        await_node(ray, check, card=needs_card)

    def _decide(self, *, look: bool) -> None:
        """Decide on the arithmetic of this study's networks.

        Args:
            look: Whether to look at a cluster's nodes also where the study has its arithmetic
                already: a finished one needs no cluster.
        """
        options, before = self._request.options, self._study_before

        def fast() -> Collection[Precision]:
            if connection.is_local(options.address):
                return (fast_precision(local_device(options.device)),)
            if before is not None and before.precision is not None and not look:
                return (before.precision,)
            return self._cluster().precisions

        self._decision = decide(options.precision, before, fast)

    def _foresee(self, listings: Sequence[CohortListing]) -> None:
        """Say how long the run will take, if scans are to be prepared first."""
        if all(listing.manifest is not None for listing in listings):
            return  # said once the plan is made
        infos = tuple(listing.info() for listing in listings)
        plan = self._request.plan(infos, self._decision.precision)
        self._check_access()
        index = load_index(self._request.study)
        record = study_record(self._request, plan, infos, utc_now(), self._decision.precision)
        self._say_estimate(listings, self._left(plan.trials, index), record, index)

    def _left(self, trials: Sequence[PlannedTrial], index: pa.Table) -> list[Work]:
        options = self._request.options
        keep = options.halving is not None
        return work_left(trials, index, retry_failed=options.retry_failed, keep_stopped=keep)

    def _check_access(self) -> None:
        """Find out, before hours of work, whether the store takes what will be written."""
        if not self._has_access:
            request = self._request
            check_access(request.store, ("shards", f"studies/{request.study.name}"))
            self._has_access = True

    def _say_estimate(
        self,
        listings: Sequence[CohortListing],
        left: Sequence[Work],
        record: StudyRecord,
        index: pa.Table,
    ) -> dict[str, WorkCost]:
        """Measure this machine for what is left, and say how long that will take."""
        options = self._request.options
        after = postprocessing_expected(record, index, left) if options.postprocess else []
        if self._pace is None:
            self._decide(look=True)
            device = local_device(options.device) if connection.is_local(options.address) else "cpu"
            self._pace = pace_of([*left, *after], listings, self._count_places(), device)
            self._say(self._decision.words)
            if self._decision.warning:
                self._say(self._decision.warning)
        infos = [listing.info() for listing in listings]
        costs = costs_of(left, infos, self._pace)
        after_costs = costs_of(after, infos, self._pace)
        self._say(estimate(listings, costs, self._pace, self._count_places(), after_costs).words)
        if options.halving is not None:
            self._say(AT_MOST)
        return costs

    def _count_places(self) -> int:
        """How many trials will run at once, as far as that is known before Ray is there."""
        options = self._request.options
        if connection.is_local(options.address):
            return local_places(local_device(options.device))
        return self._cluster().count

    def _plan(self, listings: Sequence[CohortListing]) -> StudyRecord:
        """Lay the grid over the prepared data."""
        request = self._request
        cohorts = tuple(listing.info() for listing in listings)
        precision = self._decision.precision
        plan = request.plan(cohorts, precision)
        before = self._study_before
        created = before.created if before else utc_now()
        return study_record(request, plan, cohorts, created, precision)

    def _run_trials(self, record: StudyRecord, listings: Sequence[CohortListing]) -> Outcome:
        """Run what the store does not have."""
        request = self._request
        index = refresh_index(request.study)
        retry = request.options.retry_failed
        halving = request.options.halving
        left = self._left(plan_trials(record, index), index)
        problems = Problems.of(index)
        if problems.messages:
            self._say(problems.words(request.store.uri))
            for message in problems.messages[:_MOST_TOLD]:
                self._say(f"  {message}")
        # What cannot be read, or is of a newer version, must not be replaced.
        left = [work for work in left if work.trial.trial_id not in problems.barred]
        request.study.write_study(record)  # only now: a plan that is refused replaces none
        counts = count_trials(record, index)
        searching = [s for s in record.searches if not s.points]
        self._tracker.planned, self._tracker.done = counts.planned, counts.done
        self._tracker.failed = 0 if retry else counts.failed
        self._tracker.stopped = counts.stopped if halving is not None else 0
        if not left and not searching:
            self._monitor.begin(Stage.TRIALS)
            return Outcome()
        costs = self._say_estimate(listings, left, record, index)
        self._tracker.expect(costs, self._count_places())
        self._check_access()
        self._monitor.begin(Stage.TRIALS)
        ordered = longest_first(left, costs) if halving is None else in_random_order(left)
        return self._execute(ordered, record, index, listings)

    def _run_postprocessing(
        self, record: StudyRecord, listings: Sequence[CohortListing]
    ) -> Outcome:
        """Evaluate the best settings on post-processed maps, as far as the store has it not."""
        index = refresh_index(self._request.study)
        retry = self._request.options.retry_failed
        barred = Problems.of(index).barred
        found = postprocessing_left(record, index, retry_failed=retry)
        left = [work for work in found if work.trial.trial_id not in barred]
        if not left:
            return Outcome()
        if self._pace is None:
            self._say_estimate(listings, (), record, index)
        assert self._pace is not None
        costs = costs_of(left, record.cohorts, self._pace)
        self._tracker.expect(costs, self._count_places())
        self._check_access()
        with counted_apart(self._tracker, len(left)):
            self._monitor.begin(Stage.TRIALS, caption=CAPTION)
            # The searches are over, and ask for nothing more.
            searched = record.model_copy(update={"searches": ()})
            return self._execute(longest_first(left, costs), searched, index, listings)

    def _execute(
        self,
        left: Sequence[Work],
        record: StudyRecord,
        index: pa.Table,
        listings: Sequence[CohortListing],
    ) -> Outcome:
        """Run trials on Ray."""
        from study.trials.execute import execute

        request = self._request
        if not connection.is_local(request.options.address):
            sources = {cohort.source for cohort in record.cohorts}
            plugins = foreign_plugins(record.detectors, sources)
            check_alike(self._cluster().reports.values(), plugins)
        options = request.options
        session = Session(
            study=request.study,
            store=request.store,
            connect=self._connect,
            places=self._cluster,
            monitor=self._monitor,
            retry_failed=options.retry_failed,
            checkpoint_s=options.checkpoint_s,
            verbose=options.verbose,
            cache=options.cache,
            wait_s=options.wait_s,
            halving=options.halving,
        )
        return execute(left, record, index, listings, self._mend, session)

    def _mend(self, listings: Sequence[CohortListing]) -> Sequence[CohortListing]:
        """Prepare damaged shards again, then go back to the trials."""
        mended = self._preparation.mend(listings)
        self._monitor.begin(Stage.TRIALS)
        return mended

    def _compact(self) -> pa.Table:
        """The index, written if the store takes it: it is a cache that readers can do without."""
        try:
            return refresh_index(self._request.study)
        except StorageError:
            return load_index(self._request.study)

    def _clean_up(self) -> None:
        """Remove the parts that no manifest names, once nobody writes parts any more.

        A driver that has been made to stop by this one may still be at it, and so may one that has
        taken over: their parts are left to the next run.
        """
        if not self._tracker.needs_cleanup:
            return
        before = self._before
        others = before is not None and not before.has_ended and is_there(before)
        if self._request.options.take_over or others or not self._heartbeat.is_owner():
            return
        with suppress(StorageError):  # the next run does it
            sweep(self._request.store, self._request.study)
            self._tracker.needs_cleanup = False

    def _say(self, text: str) -> None:
        self._monitor.say(text)
