"""ASHA: who goes on, what becomes of the others, and that no run forgets what another has seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from study.plan.cost import in_random_order
from study.plan.done import count_trials, work_left
from study.plan.plan import train_keys
from study.records.halving import Halving, Stop
from study.records.index import load_index, refresh_index
from study.records.studies import StudyStore
from study.records.types import CohortInfo, FitRecord, PlannedTrial, StudyRecord
from study.report.report import as_json, make_report
from study.trials.halving import group_of, rebuilt, rungs_of
from study.trials.order import TrialOrder
from study.trials.trial import record_stop, run_trial
from tests.stores import history, open_study, stamps, study_content
from trainables.spec import EVAL_VERSION

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCHS = 6
HALVING = Halving(reduction_factor=2, grace_epochs=1)
"""Rungs after 1 and 2 epochs."""


@dataclass
class Bench:
    """A study of some networks on one worker, without Ray: one trial after another."""

    study: StudyStore
    record: StudyRecord
    data: Any
    order_of: Callable[..., TrialOrder]
    decisions: list[bool] = field(default_factory=list)
    """Of each network that came to a rung, whether it was stopped."""

    def run(
        self, halving: Halving | None, most_epochs: int = 10**6, most_decisions: int = 10**6
    ) -> None:
        """What a driver does with one worker; it dies after so many epochs or decisions."""
        index = refresh_index(self.study)
        left = in_random_order(
            work_left(self.record.trials, index, keep_stopped=halving is not None)
        )
        rungs = rebuilt(self.record.trials, index, self.study, halving) if halving else None
        for work in left:
            order = replace(
                self.order_of(work.trial),
                train_keys=train_keys(work.trial.spec.modality, self.record.cohorts),
                rungs=rungs_of(work.trial, halving),
            )
            for event in run_trial(order, self.data, self.study):
                if event.stage == "fit" and not event.share and event.n_slices:
                    most_epochs -= 1
                if most_epochs < 0:
                    return
                if rungs is None or event.validation_loss is None:
                    continue
                if len(self.decisions) == most_decisions:
                    return
                trial_id, loss = work.trial.trial_id, event.validation_loss
                stop = rungs.compare(group_of(work.trial.spec), event.epoch, trial_id, loss)
                self.decisions.append(stop is not None)
                if stop is not None:
                    record_stop(order, self.study, stop)
                    break

    @property
    def fits(self) -> dict[str, FitRecord]:
        found = ((t, self.study.trial(t.trial_id).fit()) for t in self.record.trials)
        return {trial.trial_id: fit for trial, fit in found if fit is not None}

    @property
    def stopped(self) -> dict[str, Stop]:
        return {name: fit.stopped for name, fit in self.fits.items() if fit.stopped}


NewBench = Callable[[], Bench]


@pytest.fixture(scope="module")
def new_bench(
    tmp_path_factory: pytest.TempPathFactory,
    make_trial: Callable[..., PlannedTrial],
    paper_cohorts: Sequence[CohortInfo],
    order_of: Callable[..., TrialOrder],
    small_data: Any,
) -> NewBench:
    """Builds studies of five networks and the baseline, each in a store of its own."""
    sizes = (8, 16, 24, 32, 64)
    trials = [make_trial("intensity")]
    trials += [make_trial("vae", n_c=2, n_z=n, batch_size=4, epochs=EPOCHS) for n in sizes]

    def make() -> Bench:
        study = open_study(tmp_path_factory.mktemp("store"), "s")
        record = StudyRecord(
            study="s",
            grid="g",
            synthetic=False,
            eval_version=EVAL_VERSION,
            cohorts=tuple(paper_cohorts),
            trials=tuple(trials),
            created="2026-01-02T03:04:05.678+00:00",
            updated="2026-01-02T03:04:05.678+00:00",
        )
        study.write_study(record)
        return Bench(study, record, small_data, order_of)

    return make


@pytest.fixture(scope="module")
def halved(new_bench: NewBench) -> Bench:
    """A study that was run with ASHA; to be read only."""
    one = new_bench()
    one.run(HALVING)
    assert one.stopped
    return one


@pytest.fixture(scope="module")
def plain(new_bench: NewBench) -> Bench:
    """The same without; to be read only."""
    one = new_bench()
    one.run(None)
    return one


def _copied(one: Bench, store: Path) -> Bench:
    """A study of its own that has the content of another."""
    shutil.copytree(one.study.storage.uri, store / "studies" / "s")
    return replace(one, study=open_study(store, "s"))


def test_a_stopped_network_is_a_record_with_its_reason_and_is_not_evaluated(halved: Bench) -> None:
    for name, stop in halved.stopped.items():
        trial = halved.study.trial(name)
        fit, checkpoint = halved.fits[name], trial.checkpoint()
        assert (fit.status, fit.failure, fit.parts) == ("stopped", None, {})
        assert (fit.spec.epochs, fit.epochs_reached) == (EPOCHS, stop.epoch)
        assert fit.validation_loss == stop.validation_loss > stop.threshold
        assert fit.n_parameters > 0
        assert fit.steps > 0
        assert checkpoint is not None
        assert checkpoint.epoch == stop.epoch
        assert trial.storage.names("eval") == ()
    counts = count_trials(halved.record, load_index(halved.study))
    assert counts.stopped == len(halved.stopped)
    assert (counts.ended, counts.failed) == (counts.planned, 0)


def test_with_one_worker_the_same_are_stopped_every_time(
    halved: Bench, new_bench: NewBench
) -> None:
    other = new_bench()
    other.run(HALVING)
    assert other.stopped == halved.stopped
    assert study_content(other.study) == study_content(halved.study)


@pytest.mark.parametrize("epochs", [2, 9])
def test_an_interrupted_study_stops_the_same_networks(
    halved: Bench, new_bench: NewBench, epochs: int
) -> None:
    broken = new_bench()
    broken.run(HALVING, most_epochs=epochs)
    broken.run(HALVING)
    assert broken.stopped == halved.stopped
    assert study_content(broken.study) == study_content(halved.study)


def test_who_came_to_a_rung_when_the_driver_died_is_asked_when_it_goes_on(
    halved: Bench, new_bench: NewBench
) -> None:
    broken = new_bench()
    broken.run(HALVING, most_decisions=halved.decisions.index(True))
    assert not broken.stopped
    broken.run(HALVING)
    assert broken.stopped == halved.stopped
    assert study_content(broken.study) == study_content(halved.study)


def test_a_stopped_network_is_left_to_be_trained_whatever_the_epochs_asked_for(
    halved: Bench,
) -> None:
    index = load_index(halved.study)
    stops = halved.stopped
    for trial in halved.record.trials:
        if trial.trial_id in stops:
            epochs = stops[trial.trial_id].epoch
            spec = trial.spec.model_copy(update={"epochs": epochs})
            (left,) = work_left([trial.model_copy(update={"spec": spec})], index)
            assert left.fit


def test_a_study_that_is_run_again_leaves_all_as_it_is(halved: Bench, tmp_path: Path) -> None:
    again = _copied(halved, tmp_path)
    before = stamps(tmp_path)
    again.run(HALVING)
    assert stamps(tmp_path) == before


def test_without_the_option_stopped_networks_end_as_if_they_had_never_been(
    halved: Bench, plain: Bench, tmp_path: Path
) -> None:
    completed = _copied(halved, tmp_path)
    completed.run(None)
    assert study_content(completed.study) == study_content(plain.study)
    for name, stop in halved.stopped.items():
        attempts = [row["attempt"] for row in history(completed.study.trial(name))]
        assert attempts == [1] * stop.epoch + [2] * (EPOCHS - stop.epoch)  # none is trained twice


def test_a_longer_training_that_is_stopped_keeps_the_shorter_ones_parts(
    plain: Bench, tmp_path: Path
) -> None:
    longer = tuple(
        trial.model_copy(update={"spec": trial.spec.model_copy(update={"epochs": 2 * EPOCHS})})
        if trial.spec.model == "vae"
        else trial
        for trial in plain.record.trials
    )
    one = _copied(plain, tmp_path)
    one.record = one.record.model_copy(update={"trials": longer})
    one.run(HALVING)
    assert one.stopped
    for name in one.stopped:
        assert one.fits[name].parts == plain.fits[name].parts
        assert one.fits[name].epochs_kept == EPOCHS


def test_records_without_a_stop_are_written_as_they_always_were(plain: Bench) -> None:
    for fit in plain.fits.values():
        assert "stopped" not in json.loads(fit.model_dump_json())
    assert "halving" not in json.loads(plain.record.model_dump_json())
    report = json.loads(as_json(make_report(plain.study, plain.record)))
    assert set(report["trials"]) == {"planned", "done", "failed", "running"}
    assert "stopped" not in report


def test_a_record_that_says_stopped_without_a_reason_does_not_count(
    plain: Bench, make_fit: Callable[..., FitRecord]
) -> None:
    with pytest.raises(ValueError, match="says why it was stopped"):
        make_fit(plain.record.trials[1], status="stopped")


def test_a_report_tells_of_the_cut_and_chooses_among_the_others(halved: Bench) -> None:
    report = json.loads(as_json(make_report(halved.study, halved.record)))
    told = {row["trial_id"]: (row["epoch"], row["epochs"]) for row in report["stopped"]}
    assert told == {name: (stop.epoch, EPOCHS) for name, stop in halved.stopped.items()}
    assert report["trials"]["stopped"] == len(told)
    assert not {row["trial_id"] for row in report["rows"]} & set(told)


GRID = '''
"""Five tiny networks and the baseline."""

from study.grids._grid import Grid, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        *(
            GridTrial("vae", {"n_c": 2, "n_z": n_z, "batch_size": 16}, epochs=3)
            for n_z in (8, 16, 24, 32, 64)
        ),
    ),
    searches=(),
    modalities=("T1w",),
    phantom_subjects={"ixi": 5, "atlas": 3, "brats": 3},
)
'''


@pytest.mark.slow
def test_the_command_stops_resumes_and_completes(
    run: Callable[..., Any], prepared_store: Path, tmp_path: Path
) -> None:
    grid = tmp_path / "five.py"
    grid.write_text(GRID)
    words = ("study.run", "--grid", grid, "--store", prepared_store, "--study", "s")
    first = run(*words, "--asha").out
    study = open_study(prepared_store, "s")
    names = study.storage.names("trials")
    fits = [study.trial(name).fit() for name in names]
    n = sum(fit is not None and fit.status == "stopped" for fit in fits)
    assert n > 0
    assert f"{6 - n} of 6 trials done, 0 failed, {n} stopped early." in first
    assert "The grid was cut by ASHA on the validation loss" in first
    assert run("study.store", "check", prepared_store).out.strip().endswith("0 are wrong")
    assert "cut by ASHA" in run("study.report", "--store", prepared_store, "--methods").out
    run("study.store", "gc", prepared_store)
    before = stamps(prepared_store)
    run(*words, "--asha", "--address", "127.0.0.1:1")  # nothing is left that needs Ray
    assert stamps(prepared_store) == before
    last = run(*words).out
    assert "6 of 6 trials done, 0 failed." in last
    assert "ASHA" not in last
    attempts = [fit.attempts for name in names if (fit := study.trial(name).fit()) is not None]
    assert attempts.count(2) == n  # they went on from where they had been stopped
