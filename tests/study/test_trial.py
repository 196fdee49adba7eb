"""A trial from start to record: what it leaves in the store, whatever comes between."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from datasets.storage import Storage, StorageError
from study.plan.done import Work, work_left
from study.plan.plan import planned_trial, train_keys
from study.records.index import load_index
from study.records.studies import StudyStore
from study.records.types import CohortInfo, PlannedTrial
from study.trials.order import TrialOrder
from study.trials.trial import run_trial
from tests.trials import (
    MakeTrial,
    OrderOf,
    attempts_of,
    interrupt,
    record_of,
    results_of,
)
from trainables.detector import score_names
from trainables.registry import detector_class
from trainables.slices import Slices

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCHS = 4


@pytest.fixture(scope="module")
def network(make_trial: MakeTrial) -> PlannedTrial:
    return make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=EPOCHS)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    network: PlannedTrial,
    order_of: OrderOf,
    small_data: Any,
) -> dict[str, Any]:
    """The results of the network's trial when nothing goes wrong."""
    store = Storage.open(str(tmp_path_factory.mktemp("undisturbed")))
    study = StudyStore.open(store, "s")
    list(run_trial(order_of(network), small_data, study))
    return results_of(study.trial(network.trial_id), network)


@pytest.mark.parametrize("model", ["intensity", "gmm", "ae", "dae", "vae"])
def test_a_trial_ends_in_whole_records(
    local_study: StudyStore,
    make_trial: MakeTrial,
    order_of: OrderOf,
    small_data: Any,
    model: str,
) -> None:
    params = {"n_c": 8, "n_z": 8, "batch_size": 8} if model in ("ae", "dae", "vae") else {}
    params |= {"gmm_lambda": 0.01} if model == "gmm" else {}
    trial = make_trial(model, epochs=2, **params)
    events = list(run_trial(order_of(trial), small_data, local_study))
    whole = [e.stage for e in events if not e.share]
    assert whole == ["fit"] * trial.spec.epochs + ["evaluate"] * 3
    assert not any(e.failed for e in events)
    store = local_study.trial(trial.trial_id)
    fit = record_of(store)
    assert (fit.status, fit.spec, fit.attempts) == ("done", trial.spec, 1)
    learns = model in ("ae", "dae", "vae")
    names = {"spec.json", "history.parquet", "model.safetensors", "state.safetensors"}
    assert set(fit.parts) == names | ({"continuation.safetensors"} if learns else set())
    for record in (fit, *(store.evaluation(e.eval_id) for e in trial.evals)):
        assert record is not None
        for name in record.parts:
            assert len(store.read_part(record, name)) == record.parts[name].size
    named = {part.path for part in fit.parts.values()}
    written = {p for p in store.storage.files() if p.startswith("attempts/")}
    assert written == named
    assert store.checkpoint() is None


def test_a_score_that_is_asked_for_later_is_evaluated_and_nothing_trained_anew(
    local_study: StudyStore,
    make_trial: MakeTrial,
    order_of: OrderOf,
    small_data: Any,
    paper_cohorts: tuple[CohortInfo, ...],
) -> None:
    plain = make_trial("vae", n_c=4, n_z=8, batch_size=8)
    keys = train_keys("T1w", paper_cohorts)
    list(run_trial(replace(order_of(plain), train_keys=keys), small_data, local_study))
    more = planned_trial(plain.spec, paper_cohorts, asked=("kl_gradient", "ssim_residual"))
    index = load_index(local_study)
    (left,) = work_left([more], index)
    assert (left.fit, left.evals) == (False, more.evals)
    before = record_of(local_study.trial(plain.trial_id))
    events = list(run_trial(order_of(more), small_data, local_study))
    assert [e.stage for e in events] == ["evaluate"] * 3
    store = local_study.trial(more.trial_id)
    assert record_of(store) == before
    index = load_index(local_study)
    assert not set(index["kind"].to_pylist()) - {"fit", "evaluation"}  # no record is foreign
    for trial, asked in ((plain, set()), (more, {"kl_gradient", "ssim_residual"})):
        for planned in trial.evals:
            rows = index.filter(pc.equal(index["eval_id"], planned.eval_id))
            extra = set(rows["score"].to_pylist()) - set(score_names(detector_class("vae")))
            assert extra == asked


@pytest.mark.parametrize("after", range(1, EPOCHS + 2))
def test_a_trial_that_dies_anywhere_ends_on_the_same_bits(
    local_study: StudyStore,
    network: PlannedTrial,
    order_of: OrderOf,
    small_data: Any,
    undisturbed: dict[str, Any],
    after: int,
) -> None:
    store = local_study.trial(network.trial_id)
    interrupt(run_trial(order_of(network), small_data, local_study), after)
    if after < EPOCHS:
        checkpoint = store.checkpoint()
        assert checkpoint is not None
        assert checkpoint.epoch == after
    is_fitted = store.fit() is not None
    assert is_fitted == (after >= EPOCHS)
    list(run_trial(order_of(network, fit=not is_fitted), small_data, local_study))
    assert results_of(store, network) == undisturbed
    expected = [1] * EPOCHS if is_fitted else [1] * after + [2] * (EPOCHS - after)
    assert attempts_of(store) == expected


def test_a_second_death_continues_from_the_second_checkpoint_on_every_storage(
    study: StudyStore,
    network: PlannedTrial,
    order_of: OrderOf,
    small_data: Any,
    undisturbed: dict[str, Any],
) -> None:
    for _ in range(2):
        interrupt(run_trial(order_of(network), small_data, study), 1)
    list(run_trial(order_of(network), small_data, study))
    store = study.trial(network.trial_id)
    assert results_of(store, network) == undisturbed
    assert attempts_of(store) == [1, 2, 3, 3]
    assert record_of(store).attempts == 3


@pytest.mark.parametrize("damage", ["checkpoint.json", "state", "history", "missing"])
def test_a_damaged_checkpoint_begins_again_and_ends_the_same(
    local_study: StudyStore,
    network: PlannedTrial,
    order_of: OrderOf,
    small_data: Any,
    undisturbed: dict[str, Any],
    damage: str,
) -> None:
    store = local_study.trial(network.trial_id)
    interrupt(run_trial(order_of(network), small_data, local_study), 2)
    checkpoint = store.checkpoint()
    assert checkpoint is not None
    if damage == "checkpoint.json":
        store.storage.put("checkpoint.json", b"{")
    elif damage == "missing":
        store.storage.delete(checkpoint.parts["state.safetensors"].path)
    else:
        (name,) = (n for n in checkpoint.parts if n.startswith(damage))
        data = bytearray(store.read_part(checkpoint, name))
        data[len(data) // 2] ^= 1
        store.storage.put(checkpoint.parts[name].path, bytes(data))
    list(run_trial(order_of(network), small_data, local_study))
    assert results_of(store, network) == undisturbed
    assert attempts_of(store) == [2] * EPOCHS
    assert store.checkpoint() is None


def test_a_damaged_manifest_is_made_again(
    local_study: StudyStore,
    network: PlannedTrial,
    order_of: OrderOf,
    small_data: Any,
    undisturbed: dict[str, Any],
) -> None:
    list(run_trial(order_of(network), small_data, local_study))
    store = local_study.trial(network.trial_id)
    store.storage.put("manifest.json", b"{}")
    list(run_trial(order_of(network), small_data, local_study))
    assert results_of(store, network) == undisturbed


def test_records_of_a_newer_version_are_left_alone(
    local_study: StudyStore, network: PlannedTrial, order_of: OrderOf, small_data: Any
) -> None:
    store = local_study.trial(network.trial_id)
    newer = b'{"store_version": 99}'
    for name in ("manifest.json", "checkpoint.json"):
        store.storage.put(name, newer)
        with pytest.raises(StorageError, match="newer version"):
            list(run_trial(order_of(network), small_data, local_study))
        assert store.storage.read(name) == newer
        store.storage.delete(name)


def test_raised_epochs_continue_and_end_as_if_asked_for_at_once(
    local_study: StudyStore,
    network: PlannedTrial,
    make_trial: MakeTrial,
    order_of: OrderOf,
    small_data: Any,
    undisturbed: dict[str, Any],
) -> None:
    short = make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=2)
    list(run_trial(order_of(short), small_data, local_study))
    # Its rate began to decay after one of its two epochs: it goes on from there.
    events = list(run_trial(order_of(network), small_data, local_study))
    assert [e.epoch for e in events if e.stage == "fit" and not e.share] == [2, 3, 4]
    store = local_study.trial(network.trial_id)
    assert results_of(store, network) == undisturbed
    assert attempts_of(store) == [1, 2, 2, 2]


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("after", [1, 3, 4, 7])
def test_a_trial_that_dies_within_an_epoch_goes_on_within_it(
    local_study: StudyStore,
    network: PlannedTrial,
    make_trial: MakeTrial,
    order_of: OrderOf,
    small_data: Any,
    undisturbed: dict[str, Any],
    raised: bool,
    after: int,
) -> None:
    """With a checkpoint after each step none is taken twice, before and in the decay of the rate.

    Each epoch has two steps; each of them is told, and then the epoch is.
    """
    first = 0
    if raised:
        short = make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=2)
        list(run_trial(order_of(short), small_data, local_study))
        first = 1  # its rate began to decay after one of its two epochs
    store = local_study.trial(network.trial_id)
    order = replace(order_of(network), checkpoint_s=0)
    events = run_trial(order, small_data, local_study)
    for _ in range(after):
        last = next(events)
    events.close()  # type: ignore[attr-defined]
    checkpoint = store.checkpoint()
    assert checkpoint is not None
    epochs, pieces = divmod(after, 3)
    assert (checkpoint.epoch, checkpoint.share) == (first + epochs, 0.5 if pieces else 0.0)
    assert checkpoint.steps == 2 * checkpoint.epoch + bool(pieces)
    assert (last.epoch, checkpoint.epochs) == (checkpoint.epoch, EPOCHS)
    going_on = next(run_trial(order, small_data, local_study))
    assert going_on.n_slices == 5  # one step, which is the next
    list(run_trial(order_of(network), small_data, local_study))
    assert results_of(store, network) == undisturbed
    assert record_of(store).attempts >= 2 + raised


def test_a_checkpoint_beyond_the_epochs_asked_for_is_not_used(
    local_study: StudyStore,
    network: PlannedTrial,
    make_trial: MakeTrial,
    order_of: OrderOf,
    small_data: Any,
    undisturbed: dict[str, Any],
) -> None:
    longer = make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=EPOCHS + 3)
    interrupt(run_trial(order_of(longer), small_data, local_study), EPOCHS + 1)
    list(run_trial(order_of(network), small_data, local_study))
    assert results_of(local_study.trial(network.trial_id), network) == undisturbed


def test_a_shorter_fit_does_not_replace_a_longer_one(
    local_study: StudyStore,
    network: PlannedTrial,
    make_trial: MakeTrial,
    order_of: OrderOf,
    small_data: Any,
) -> None:
    short = make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=2)
    stale = run_trial(order_of(short), small_data, local_study)
    next(stale)  # a worker of a driver that another one takes over from
    list(run_trial(order_of(network), small_data, local_study))
    longer = record_of(local_study.trial(network.trial_id))
    list(stale)
    assert record_of(local_study.trial(network.trial_id)) == longer


def test_a_fit_of_the_first_version_of_evaluation_is_evaluated_again_and_stays(
    local_study: StudyStore,
    make_trial: MakeTrial,
    paper_cohorts: tuple[CohortInfo, ...],
    small_data: Any,
) -> None:
    trial = make_trial("gmm", gmm_lambda=0.01)
    before = planned_trial(trial.spec, paper_cohorts, eval_version=1)
    assert before.trial_id == trial.trial_id
    keys = train_keys("T1w", paper_cohorts)
    whole = Work(before, before.evals, fit=True)
    list(run_trial(TrialOrder(whole, ("ixi",), keys), small_data, local_study))
    store = local_study.trial(trial.trial_id)
    fitted = store.storage.read("manifest.json")
    old = {e.eval_id for e in before.evals}
    (left,) = work_left([trial], load_index(local_study))
    assert (left.fit, left.evals) == (False, trial.evals)
    list(run_trial(TrialOrder(left, ("ixi",), keys), small_data, local_study))
    assert store.storage.read("manifest.json") == fitted
    assert set(store.storage.names("eval")) == old | {e.eval_id for e in trial.evals}
    assert work_left([trial], load_index(local_study)) == []


@pytest.mark.parametrize("model", ["intensity", "gmm", "ae"])
def test_subjects_held_out_are_evaluated_and_never_trained_on(
    local_study: StudyStore,
    make_trial: MakeTrial,
    order_of: OrderOf,
    small_data: Any,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    params = {"ae": {"n_c": 8, "n_z": 8, "batch_size": 8}, "gmm": {"gmm_lambda": 0.01}}
    trial = make_trial(model, epochs=1, **params.get(model, {}))
    trained: set[str] = set()
    fit = detector_class(model).fit

    def watched(self: Any, train: Slices, *rest: Any, **more: Any) -> Any:
        trained.update(train.subjects)
        return fit(self, train, *rest, **more)

    monkeypatch.setattr(detector_class(model), "fit", watched)
    list(run_trial(order_of(trial), small_data, local_study))
    store = local_study.trial(trial.trial_id)
    planned = trial.evals[-1]
    record = store.evaluation(planned.eval_id)
    assert record is not None
    assert (record.cohort, record.role, record.status) == ("held out", "healthy", "done")
    table = pq.read_table(io.BytesIO(store.read_part(record, "subjects.parquet")))
    evaluated = set(table["subject"].to_pylist())
    everyone = set(small_data.train().subjects)
    assert trained
    assert evaluated
    assert not trained & evaluated
    assert trained | evaluated == everyone
