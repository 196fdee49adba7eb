"""The parts of a trial: arrays as safetensors, and nothing that could be run."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from datasets.storage import StorageError, sha256_hex
from study.records.studies import StudyStore, TrialStore
from study.records.types import FitRecord, PlannedTrial
from study.trials.order import TrialOrder
from study.trials.trial import run_trial

MakeTrial = Callable[..., PlannedTrial]
OrderOf = Callable[..., TrialOrder]
EPOCHS = 2


@pytest.fixture(scope="module")
def network(make_trial: MakeTrial) -> PlannedTrial:
    return make_trial("vae", n_c=8, n_z=8, batch_size=8, epochs=EPOCHS)


def _record(store: TrialStore) -> FitRecord:
    record = store.fit()
    assert record is not None
    return record


class _Evil:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["pickle", "torch"])
@pytest.mark.parametrize("where", ["state.safetensors", "model.safetensors"])
def test_a_pickle_in_the_place_of_weights_is_refused_and_not_run(
    local_study: StudyStore,
    network: PlannedTrial,
    make_fit: Callable[..., FitRecord],
    order_of: OrderOf,
    small_data: Any,
    tmp_path: Path,
    where: str,
    how: str,
) -> None:
    victim = tmp_path / "executed"
    sink = io.BytesIO()
    (pickle.dump if how == "pickle" else torch.save)(_Evil(victim), sink)
    store = local_study.trial(network.trial_id)
    list(run_trial(order_of(network), small_data, local_study))
    record = _record(store)
    part = store.attempt().put(where, sink.getvalue())
    assert part.sha256 == sha256_hex(sink.getvalue())
    is_state = where == "state.safetensors"
    epochs = EPOCHS - 1 if is_state else EPOCHS
    spec = network.spec.model_copy(update={"epochs": epochs})
    parts = record.parts | {where: part}
    store.write_fit(record.model_copy(update={"parts": parts, "spec": spec}))
    with pytest.raises(StorageError, match="no safetensors file"):
        list(run_trial(order_of(network, fit=is_state), small_data, local_study))
    assert not victim.exists()


def test_what_is_stored_is_safetensors_with_the_weights_alone_beside_the_state(
    local_study: StudyStore, network: PlannedTrial, order_of: OrderOf, small_data: Any
) -> None:
    list(run_trial(order_of(network), small_data, local_study))
    store = local_study.trial(network.trial_id)
    record = _record(store)
    model, state = (
        safetensors.numpy.load(store.read_part(record, f"{name}.safetensors"))
        for name in ("model", "state")
    )
    assert all(name.startswith("model.") for name in model)
    assert {n for n in state if n.startswith("model.")} == set(model)
    # Scoring has statistics of batch norm of its own; the weights are the same.
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    weights = [name for name in model if not name.endswith(statistics)]
    assert weights
    assert all(np.array_equal(model[name], state[name]) for name in weights)
    assert any(name.startswith("optim.") for name in state)
