"""A trial that fails says why, and loses nothing of what was there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datasets.storage import StorageError
from study.records.studies import StudyStore
from study.records.types import EvalRecord, PlannedTrial
from study.trials.trial import run_trial
from tests.trials import (
    MakeTrial,
    OrderOf,
    attempts_of,
    record_of,
)
from trainables.slices import Slices

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network(make_trial: MakeTrial) -> PlannedTrial:
    return make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=4)


def test_a_loss_that_runs_off_is_a_record_with_its_traceback(
    local_study: StudyStore, make_trial: MakeTrial, order_of: OrderOf, small_data: Any
) -> None:
    trial = make_trial("ae", n_c=8, n_z=8, batch_size=4, epochs=6, learning_rate=1e30)
    events = list(run_trial(order_of(trial), small_data, local_study))
    assert events[-1].failed
    store = local_study.trial(trial.trial_id)
    record = record_of(store)
    assert record.status == "failed"
    assert record.failure is not None
    assert record.failure.kind == "NonFiniteLossError"
    assert "epoch" in record.failure.message
    assert "Traceback (most recent call last)" in record.failure.traceback
    assert record.parts == {}
    assert store.checkpoint() is None
    assert not any(store.evaluation(e.eval_id) for e in trial.evals)


def test_a_failed_continuation_keeps_the_shorter_fit(
    local_study: StudyStore,
    network: PlannedTrial,
    make_trial: MakeTrial,
    order_of: OrderOf,
    small_data: Any,
) -> None:
    short = make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=2)
    list(run_trial(order_of(short), small_data, local_study))
    store = local_study.trial(network.trial_id)
    before = record_of(store)

    class Gone:
        """Data that cannot be had any more."""

        test = small_data.test
        lesion_outside_brain_share = small_data.lesion_outside_brain_share

        def train(self) -> Slices:
            raise RuntimeError("the healthy slices are gone")

    assert [e.failed for e in run_trial(order_of(network), Gone(), local_study)] == [True]
    failed = record_of(store)
    assert (failed.status, failed.epochs_kept, failed.parts) == ("failed", 2, before.parts)
    events = list(run_trial(order_of(short), small_data, local_study))  # back to 2 epochs
    assert [event.stage for event in events if not event.share] == ["fit", *["evaluate"] * 3]
    again = record_of(store)
    assert (again.status, again.spec.epochs) == ("done", 2)
    names = ("model.safetensors", "state.safetensors", "continuation.safetensors")
    assert [again.parts[n].sha256 for n in names] == [before.parts[n].sha256 for n in names]
    list(run_trial(order_of(network), small_data, local_study))  # and on, from there
    assert attempts_of(store)[:2] == [1, 3]  # the rate began to decay after one epoch


def test_an_exception_in_an_evaluation_fails_that_evaluation_alone(
    local_study: StudyStore, make_trial: MakeTrial, order_of: OrderOf, small_data: Any
) -> None:
    class OneBroken:
        """Data whose atlas cannot be had."""

        train = small_data.train
        lesion_outside_brain_share = small_data.lesion_outside_brain_share

        def test(self, cohort: str) -> Slices:
            if cohort == "atlas":
                raise RuntimeError("the object store has lost it")
            return small_data.test(cohort)

    trial = make_trial("intensity")
    events = list(run_trial(order_of(trial), OneBroken(), local_study))
    assert [(e.stage, e.failed) for e in events] == [
        ("fit", False),
        ("evaluate", True),
        ("evaluate", False),
        ("evaluate", False),
    ]
    store = local_study.trial(trial.trial_id)
    atlas, brats, _ = (store.evaluation(e.eval_id) for e in trial.evals)
    assert isinstance(atlas, EvalRecord)
    assert isinstance(brats, EvalRecord)
    assert (atlas.status, brats.status, record_of(store).status) == ("failed", "done", "done")
    assert atlas.failure is not None
    assert "the object store has lost it" in atlas.failure.traceback


def test_a_store_that_cannot_be_written_is_no_record_but_an_error(
    local_study: StudyStore, network: PlannedTrial, order_of: OrderOf, small_data: Any
) -> None:
    folder = Path(local_study.storage.root) / "trials"
    folder.mkdir(parents=True)
    (folder / network.trial_id).write_text("a file where the trial's folder should be")
    with pytest.raises(StorageError, match=network.trial_id):
        list(run_trial(order_of(network), small_data, local_study))
