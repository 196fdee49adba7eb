"""A trial from start to record: what it leaves in the store, whatever comes between."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from datasets.storage import Storage, StorageError
from study.progress.events import Event
from study.records.studies import StudyStore, TrialStore
from study.records.types import EvalRecord, FitRecord, PlannedTrial
from study.trials.order import TrialOrder
from study.trials.trial import run_trial
from trainables.slices import Slices

MakeTrial = Callable[..., PlannedTrial]
OrderOf = Callable[..., TrialOrder]
EPOCHS = 4


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network(make_trial: MakeTrial) -> PlannedTrial:
    return make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=EPOCHS)


def _record(store: TrialStore) -> FitRecord:
    record = store.fit()
    assert record is not None
    return record


def _results(store: TrialStore, trial: PlannedTrial) -> dict[str, Any]:
    """Everything a finished trial holds that must not depend on how it got there."""
    fit = _record(store)
    found: dict[str, Any] = {"train_loss": fit.train_loss, "validation_loss": fit.validation_loss}
    found["steps"], found["spec"] = fit.steps, fit.spec
    for name in ("model.safetensors", "state.safetensors", "continuation.safetensors"):
        found[name] = fit.parts[name].sha256
    history = pq.read_table(io.BytesIO(store.read_part(fit, "history.parquet")))
    found["history"] = history.drop_columns(["wall_s", "attempt"]).to_pylist()
    for planned in trial.evals:
        record = store.evaluation(planned.eval_id)
        assert record is not None
        found[planned.cohort] = {name: part.sha256 for name, part in record.parts.items()}
    return found


def _attempts(store: TrialStore) -> list[int]:
    history = pq.read_table(io.BytesIO(store.read_part(_record(store), "history.parquet")))
    return list(history["attempt"].to_pylist())


def _interrupt(events: Iterator[Event], after: int) -> None:
    """Let a trial finish so many epochs and evaluations, as if its process had died there."""
    for _ in range(after):
        next(event for event in events if not event.share)
    events.close()  # type: ignore[attr-defined]


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
    return _results(study.trial(network.trial_id), network)


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
    assert whole == ["fit"] * trial.spec.epochs + ["evaluate"] * 2
    assert not any(e.failed for e in events)
    store = local_study.trial(trial.trial_id)
    fit = _record(store)
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
    _interrupt(run_trial(order_of(network), small_data, local_study), after)
    if after < EPOCHS:
        checkpoint = store.checkpoint()
        assert checkpoint is not None
        assert checkpoint.epoch == after
    is_fitted = store.fit() is not None
    assert is_fitted == (after >= EPOCHS)
    list(run_trial(order_of(network, fit=not is_fitted), small_data, local_study))
    assert _results(store, network) == undisturbed
    expected = [1] * EPOCHS if is_fitted else [1] * after + [2] * (EPOCHS - after)
    assert _attempts(store) == expected


def test_a_second_death_continues_from_the_second_checkpoint_on_every_storage(
    study: StudyStore,
    network: PlannedTrial,
    order_of: OrderOf,
    small_data: Any,
    undisturbed: dict[str, Any],
) -> None:
    for _ in range(2):
        _interrupt(run_trial(order_of(network), small_data, study), 1)
    list(run_trial(order_of(network), small_data, study))
    store = study.trial(network.trial_id)
    assert _results(store, network) == undisturbed
    assert _attempts(store) == [1, 2, 3, 3]
    assert _record(store).attempts == 3


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
    _interrupt(run_trial(order_of(network), small_data, local_study), 2)
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
    assert _results(store, network) == undisturbed
    assert _attempts(store) == [2] * EPOCHS
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
    assert _results(store, network) == undisturbed


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
    assert _results(store, network) == undisturbed
    assert _attempts(store) == [1, 2, 2, 2]


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
    assert _results(store, network) == undisturbed
    assert _record(store).attempts >= 2 + raised


def test_a_checkpoint_beyond_the_epochs_asked_for_is_not_used(
    local_study: StudyStore,
    network: PlannedTrial,
    make_trial: MakeTrial,
    order_of: OrderOf,
    small_data: Any,
    undisturbed: dict[str, Any],
) -> None:
    longer = make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=EPOCHS + 3)
    _interrupt(run_trial(order_of(longer), small_data, local_study), EPOCHS + 1)
    list(run_trial(order_of(network), small_data, local_study))
    assert _results(local_study.trial(network.trial_id), network) == undisturbed


def test_a_loss_that_runs_off_is_a_record_with_its_traceback(
    local_study: StudyStore, make_trial: MakeTrial, order_of: OrderOf, small_data: Any
) -> None:
    trial = make_trial("ae", n_c=8, n_z=8, batch_size=4, epochs=6, learning_rate=1e30)
    events = list(run_trial(order_of(trial), small_data, local_study))
    assert events[-1].failed
    store = local_study.trial(trial.trial_id)
    record = _record(store)
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
    before = _record(store)

    class Gone:
        """Data that cannot be had any more."""

        test = small_data.test
        lesion_outside_brain_share = small_data.lesion_outside_brain_share

        def train(self) -> Slices:
            raise RuntimeError("the healthy slices are gone")

    assert [e.failed for e in run_trial(order_of(network), Gone(), local_study)] == [True]
    failed = _record(store)
    assert (failed.status, failed.epochs_kept, failed.parts) == ("failed", 2, before.parts)
    events = list(run_trial(order_of(short), small_data, local_study))  # back to 2 epochs
    assert [event.stage for event in events if not event.share] == ["fit", "evaluate", "evaluate"]
    again = _record(store)
    assert (again.status, again.spec.epochs) == ("done", 2)
    names = ("model.safetensors", "state.safetensors", "continuation.safetensors")
    assert [again.parts[n].sha256 for n in names] == [before.parts[n].sha256 for n in names]
    list(run_trial(order_of(network), small_data, local_study))  # and on, from there
    assert _attempts(store)[:2] == [1, 3]  # the rate began to decay after one epoch


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
    longer = _record(local_study.trial(network.trial_id))
    list(stale)
    assert _record(local_study.trial(network.trial_id)) == longer


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
    ]
    store = local_study.trial(trial.trial_id)
    atlas, brats = (store.evaluation(e.eval_id) for e in trial.evals)
    assert isinstance(atlas, EvalRecord)
    assert isinstance(brats, EvalRecord)
    assert (atlas.status, brats.status, _record(store).status) == ("failed", "done", "done")
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
