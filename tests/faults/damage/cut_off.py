"""A study as a driver leaves it that is interrupted in the first epoch of its networks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from datasets.manifest import CohortManifest, read_manifest
from datasets.storage import Storage
from study.plan.done import Work
from study.plan.plan import train_cohorts, train_keys
from study.prepare.losses import lesion_outside_brain_share
from study.progress.heartbeat import Heartbeat
from study.progress.tracker import Tracker
from study.records.heartbeats import Stage
from study.records.index import refresh_index
from study.records.studies import StudyStore, utc_now
from study.records.types import CohortInfo, PlannedTrial
from study.run.request import RunOptions, make_request, study_record
from study.trials.data import test_slices, train_slices
from study.trials.order import TrialOrder
from study.trials.trial import run_trial
from trainables.slices import Slices


@dataclass(frozen=True)
class _Data:
    """The slices of a store's cohorts; those of one test cohort cannot be had."""

    store: Storage
    manifests: tuple[CohortManifest, ...]
    without: str

    def train(self) -> Slices:
        return train_slices(self.store, [m for m in self.manifests if m.role == "train"])

    def test(self, cohort: str) -> Slices:
        if cohort == self.without:
            raise ValueError(f"the slices of {cohort} cannot be had")
        return test_slices(self.store, self._manifest(cohort))

    def lesion_outside_brain_share(self, cohort: str) -> float | None:
        return lesion_outside_brain_share(self._manifest(cohort))

    def _manifest(self, cohort: str) -> CohortManifest:
        return next(m for m in self.manifests if m.cohort == cohort)


def leave_cut_off(uri: str, grid: str, cohorts: Path, name: str, like: str) -> None:
    """Write a study whose networks have a checkpoint and no record.

    Its mixture is done, but for an evaluation on the last test cohort, which has failed.

    Args:
        uri: The store.
        grid: The study's grid.
        cohorts: Its cohorts file.
        name: Its name.
        like: A study of the store that has the same cohorts.
    """
    request = make_request(grid, cohorts, uri, name, RunOptions())
    infos = _cohorts(request.store, like)
    plan = request.plan(infos, "float32")
    request.study.write_study(study_record(request, plan, infos, utc_now(), "float32"))
    tracker = Tracker(planned=len(plan.trials), failed=1, needs_cleanup=True)
    with Heartbeat(request.study, tracker) as heartbeat:
        heartbeat.begin()
        tracker.begin(Stage.TRIALS)
        _begin_trials(plan.trials, infos, request.store, request.study)
        tracker.begin(Stage.INTERRUPTED)
    refresh_index(request.study)


def _cohorts(store: Storage, like: str) -> tuple[CohortInfo, ...]:
    record = StudyStore.open(store, like).study()
    assert record is not None
    return record.cohorts


def _begin_trials(
    trials: Iterable[PlannedTrial],
    infos: tuple[CohortInfo, ...],
    store: Storage,
    study: StudyStore,
) -> None:
    manifests = tuple(m for m in (read_manifest(store, info.key) for info in infos) if m)
    data = _Data(store, manifests, without=max(m.cohort for m in manifests))
    for trial in trials:
        modality = trial.spec.modality
        order = TrialOrder(
            Work(trial, trial.evals, fit=True),
            train_cohorts(modality, infos),
            train_keys(modality, infos),
        )
        events = run_trial(order, data, study)
        if trial.spec.epochs == 1:
            list(events)
        else:
            next(e for e in events if e.epoch == 1 and not e.share)  # its checkpoint is written
            events.close()  # type: ignore[attr-defined]
