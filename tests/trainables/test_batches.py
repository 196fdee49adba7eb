"""Batches have the same bits wherever the images are, and no step waits for its device."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainables.test_fit import assert_same
from trainables import fit
from trainables.batches import SHARE_OF_FREE, Batches, free_bytes
from trainables.network_detector import AnyNetworkDetector
from trainables.registry import detector_class, model_names

CPU = torch.device("cpu")
ROWS = np.array([4, 0, 4, 2])
NETWORKS = [n for n in model_names() if issubclass(detector_class(n), AnyNetworkDetector)]

READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2"}
"""Operations whose result the host has to know before it goes on."""


class Reads(TorchDispatchMode):
    """Counts the operations that make a card wait for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(
            getattr(i, "dtype", None) == torch.bool for i in args[1]
        )
        if name in READS or by_mask:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("read", [lambda x: x[0].item(), lambda x: bool(x[0]), lambda x: x[x > 0]])
def test_a_read_is_seen(read):
    with Reads() as reads:
        read(torch.ones(3))
    assert reads.seen


@pytest.mark.parametrize("model", NETWORKS)
def test_no_value_is_read_while_a_network_trains(make_slices, model):
    """Steps, validation and batch norm taken anew; the losses come as one array at the end."""
    model_class = detector_class(model)
    detector = model_class(model_class.smallest(), seed=0)
    with Reads() as reads:
        told = list(detector.fit(make_slices(8), make_slices(3, seed=1), 2))
    assert not reads.seen
    assert len(told) == 2


@pytest.mark.parametrize("rows", [ROWS, np.arange(5), np.array([3])])
def test_images_on_the_device_are_those_of_the_set(make_slices, rows):
    slices = make_slices(5)
    resident = Batches(slices, CPU, free=lambda device: 10**9)
    streamed = Batches(slices, CPU)
    assert resident.is_resident
    assert not streamed.is_resident
    for batches in (resident, streamed):
        images = batches.images(rows)
        assert images.dtype == torch.float32
        assert torch.equal(images[:, 0], torch.from_numpy(slices.images_NHW[rows]).float())


def test_a_set_is_copied_whole_if_it_takes_no_more_than_the_share(make_slices):
    slices = make_slices(5)
    just = round(slices.images_NHW.nbytes / SHARE_OF_FREE)
    assert Batches(slices, CPU, free=lambda device: just).is_resident
    assert not Batches(slices, CPU, free=lambda device: just - 20).is_resident
    assert free_bytes(CPU) == 0


def test_training_from_the_device_gives_the_same_bits(make_slices, monkeypatch):
    states = []
    for free in (0, 10**9):
        monkeypatch.setattr(fit, "Batches", lambda s, d, free=free: Batches(s, d, lambda _: free))
        model_class = detector_class("vae")
        detector = model_class(model_class.smallest(), seed=0)
        list(detector.fit(make_slices(10), make_slices(3, seed=1), 2))
        states.append(detector.state() | detector.weights())
    assert_same(*states)


def test_a_batch_may_be_written_to(make_slices):
    """What training does to a batch must reach neither the shared images nor the copy."""
    slices = make_slices(4)
    before = slices.images_NHW.copy()
    for free in (0, 10**9):
        batches = Batches(slices, CPU, lambda device, free=free: free)
        first = batches.images(np.arange(4))
        first.add_(1)
        assert torch.equal(batches.images(np.arange(4)), first - 1)
    assert np.array_equal(slices.images_NHW, before)
