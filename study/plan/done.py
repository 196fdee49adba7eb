"""What of a plan is done, what is left, and which records belong to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.errors import PlanError
from study.plan.plan import searched_trial, train_keys
from study.records.types import EvalRole, PlannedEval, PlannedSearch, PlannedTrial, StudyRecord
from trainables.registry import is_installed
from trainables.spec import TrialSpec, evaluation_identity, held_out_key


@dataclass(frozen=True)
class Work:
    """What is left of a trial.

    Attributes:
        trial: The whole trial.
        evals: Its evaluations that have no record.
        fit: Whether the fit, or a part of its epochs, is still to do.
        epochs_done: Epochs of an earlier, shorter fit that it goes on from.
    """

    trial: PlannedTrial
    evals: tuple[PlannedEval, ...]
    fit: bool
    epochs_done: int = 0


def work_left(
    trials: Iterable[PlannedTrial],
    index: pa.Table,
    *,
    retry_failed: bool = False,
    keep_stopped: bool = False,
) -> list[Work]:
    """The plan minus the store's records.

    Args:
        trials: Planned trials.
        index: The study's index.
        retry_failed: Whether failed trials count as not done.
        keep_stopped: Whether trials that were stopped early are left at that.

    Raises:
        PlanError: If a trial's record has more epochs than the plan asks for.
    """
    told = ["done", "stopped"] if retry_failed else ["done", "stopped", "failed"]
    table = index.filter(pc.is_in(index["status"], pa.array(told)))
    fits = table.filter(pc.equal(table["kind"], "fit"))
    columns = (fits[c].to_pylist() for c in ("trial_id", "status", "epochs"))
    fit_of = {t: (status, epochs) for t, status, epochs in zip(*columns, strict=True)}
    evals = table.filter(pc.equal(table["kind"], "evaluation"))
    evaluated = set(evals["eval_id"].to_pylist())
    left = []
    for trial in trials:
        status, epochs = fit_of.get(trial.trial_id, (None, 0))
        if status == "failed" or (keep_stopped and status == "stopped"):
            continue
        if epochs > trial.spec.epochs:
            raise PlanError(
                f"trial {trial.trial_id} is already trained for {epochs} epochs, the plan asks "
                f"for {trial.spec.epochs}; raise --epochs, or begin another study with --study"
            )
        missing = tuple(e for e in trial.evals if e.eval_id not in evaluated)
        fit = status != "done" or epochs < trial.spec.epochs
        if fit or missing:
            left.append(Work(trial, missing, fit, epochs))
    return left


@dataclass(frozen=True)
class TrialCounts:
    """How far a study is; a trial counts once, whatever its number of evaluations.

    Attributes:
        planned: Trials of the plan.
        done: Fitted and evaluated.
        failed: In any part.
        running: At work now.
        stopped: Ended early by their validation loss, not evaluated.
    """

    planned: int
    done: int
    failed: int
    running: int
    stopped: int = 0

    @property
    def ended(self) -> int:
        """Those that have all the records that they will get."""
        return self.done + self.failed + self.stopped

    @property
    def words(self) -> str:
        """How many of the plan are done, have failed and, if any, were stopped early."""
        stopped = f", {self.stopped} stopped early" if self.stopped else ""
        return f"{self.done} of {self.planned} trials done, {self.failed} failed{stopped}."

    def as_dict(self) -> dict[str, int]:
        """The counts by name; without those stopped where there are none."""
        counts = asdict(self)
        return counts if self.stopped else {k: v for k, v in counts.items() if k != "stopped"}


def plan_trials(record: StudyRecord, index: pa.Table) -> tuple[PlannedTrial, ...]:
    """The trials of the plan: those known from the start, and those its searches came to."""
    known = {trial.trial_id: trial for trial in record.trials}
    for search in record.searches:
        if search.points:
            continue  # known from the start
        for trial in found_by(search, index, record):
            known.setdefault(trial.trial_id, trial)
    return tuple(known.values())


def found_by(
    search: PlannedSearch, index: pa.Table, record: StudyRecord
) -> tuple[PlannedTrial, ...]:
    """The trials in the store that a continuous search has asked for so far.

    Those that another version of this software made have other identities here, and are left out.
    Where the detector is not installed no identity can be made, and all of the search count.
    """
    fits = index.select(["trial_id", "spec"]).filter(
        pc.and_(pc.equal(index["kind"], "fit"), pc.equal(index["search"], search.search_id))
    )
    if not is_installed(search.spec.model):
        return _as_recorded(fits, search, index, record)
    found = []
    for name, text in zip(fits["trial_id"].to_pylist(), fits["spec"].to_pylist(), strict=True):
        spec = TrialSpec.model_validate_json(text)
        trial = searched_trial(spec, search, record.cohorts, record.eval_version)
        if trial.trial_id == name:
            found.append(trial)
    return tuple(found)


def _as_recorded(
    fits: pa.Table, search: PlannedSearch, index: pa.Table, record: StudyRecord
) -> tuple[PlannedTrial, ...]:
    """The trials of a search with the evaluations that they have on the study's data."""
    index = index.filter(pc.is_null(index["postprocessing"]))
    spec = search.spec
    held_out = held_out_key(train_keys(spec.modality, record.cohorts), spec.validation_fraction)
    roles: dict[str, EvalRole] = {
        c.key: "test" if c.role == "test" else "healthy" for c in record.cohorts
    }
    roles[held_out] = "healthy"
    columns = ("trial_id", "eval_id", "cohort", "test_key", "epochs")
    scores: dict[str, list[str]] = {}
    for name, score in zip(*_part_of(index, "evaluation", ("eval_id", "score")), strict=True):
        scores.setdefault(name, []).extend([score] if score else [])
    evals: dict[str, list[PlannedEval]] = {}
    for trial, name, cohort, key, epochs in zip(
        *_part_of(index, "evaluation", columns), strict=True
    ):
        possible = {
            evaluation_identity(trial, epochs, key, record.eval_version, told)
            for told in ((), sorted(scores[name]))
        }
        # One that has failed has no scores to tell its version by.
        if key in roles and (name in possible or not scores[name]):
            planned = PlannedEval(eval_id=name, cohort=cohort, test_key=key, role=roles[key])
            evals.setdefault(trial, []).append(planned)
    return tuple(
        PlannedTrial(
            trial_id=name,
            spec=TrialSpec.model_validate_json(text),
            evals=tuple(evals.get(name, ())),
            search=search.search_id,
        )
        for name, text in zip(fits["trial_id"].to_pylist(), fits["spec"].to_pylist(), strict=True)
    )


def plan_rows(record: StudyRecord, index: pa.Table, role: EvalRole = "test") -> pa.Table:
    """The index's evaluation rows that belong to the study's current plan.

    Args:
        record: The study.
        index: Its index.
        role: Of the evaluations: those on test cohorts, or on subjects without lesions.
    """
    wanted = [e.eval_id for t in plan_trials(record, index) for e in t.evals if e.role == role]
    is_wanted = pc.is_in(index["eval_id"], pa.array(wanted, pa.string()))
    # An evaluation whose fit's record is damaged has no model to be listed under.
    is_whole = pc.and_(pc.equal(index["kind"], "evaluation"), pc.is_valid(index["model"]))
    return index.filter(pc.and_(is_whole, is_wanted))


def count_trials(record: StudyRecord, index: pa.Table, running: int = 0) -> TrialCounts:
    """Count the plan's trials by what their records say.

    Args:
        record: The study.
        index: Its index.
        running: Trials at work now, as a live driver tells.
    """
    fits = _part_of(index, "fit", ("trial_id", "status", "epochs"))
    fit_of = {row[0]: row[1:] for row in zip(*fits, strict=True)}
    evals = _part_of(index, "evaluation", ("eval_id", "status"))
    state_of = dict(zip(*evals, strict=True))
    done = failed = stopped = 0
    trials = plan_trials(record, index)
    for trial in trials:
        status, epochs = fit_of.get(trial.trial_id, (None, 0))
        states = [state_of.get(e.eval_id) for e in trial.evals]
        if status == "failed":
            failed += 1
        elif status == "stopped":
            stopped += 1
        elif status == "done" and epochs == trial.spec.epochs and all(states):
            # One that has failed in a part, and another part of which is missing, goes on.
            failed += "failed" in states
            done += "failed" not in states
    # A grid search's points are trials of the record, each once for all test cohorts.
    asked_for = sum(search.n_trials for search in record.searches if not search.points)
    return TrialCounts(len(record.trials) + asked_for, done, failed, running, stopped)


def _part_of(index: pa.Table, kind: str, names: Sequence[str]) -> list[list[Any]]:
    """The distinct values that some columns have together in the rows of a kind, by column.

    An index has a row for each score and region of an evaluation, ten times more than evaluations.
    """
    rows = index.select(["kind", *names]).filter(pc.equal(index["kind"], kind))
    distinct = rows.group_by(list(names), use_threads=False).aggregate([])
    return [distinct[name].to_pylist() for name in names]
