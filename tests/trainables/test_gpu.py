"""What only a card can show: steps that do not wait, the same bits every time, and float32."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from tests.trainables.test_batches import NETWORKS
from tests.trainables.test_fit import assert_same
from trainables import fit
from trainables.arithmetic import reproducible
from trainables.batches import Batches
from trainables.evaluate import evaluate
from trainables.registry import detector_class
from trainables.testing import healthy_slices

pytestmark = pytest.mark.gpu


def build(model: str, device: str = "cuda", **params):
    model_class = detector_class(model)
    smallest = model_class.smallest().model_dump() | params
    return model_class(model_class.Params.model_validate(smallest), seed=0, device=device)


def bits(detector):
    return detector.state() | detector.weights()


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("free", [0, 2**40])
def test_how_often_a_fit_waits_does_not_depend_on_its_steps(monkeypatch, model, free):
    """All steps of an epoch lie between two looks at the loss."""
    monkeypatch.setattr(fit, "Batches", lambda s, d: Batches(s, d, lambda _: free))

    def waits(n_slices: int) -> int:
        detector, train = build(model), healthy_slices(n_slices)
        list(detector.fit(train, None, 1))  # loads what the next one uses
        detector = build(model)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                list(detector.fit(train, None, 1))
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return len(caught)

    assert waits(4 * 8) == waits(4 * 40)


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_bits_wherever_the_images_are(monkeypatch, model, precision):
    found = []
    for free in (0, 2**40, 2**40):
        monkeypatch.setattr(fit, "Batches", lambda s, d, free=free: Batches(s, d, lambda _: free))
        detector = build(model, precision=precision)
        list(detector.fit(healthy_slices(12), healthy_slices(4, seed=1), 2))
        found.append(bits(detector))
    assert_same(found[0], found[1])
    assert_same(found[1], found[2])


def test_convolutions_and_products_in_float32_keep_its_precision():
    """TF32 has errors of about 1e-3 here, float32 of 1e-6."""
    generator = torch.Generator().manual_seed(0)
    x, kernel = (torch.randn(4, 64, 32, 32, generator=generator) for _ in range(2))
    kernel = kernel[..., :3, :3]
    exact = torch.nn.functional.conv2d(x.double(), kernel.double())
    product = x[0, 0].double() @ x[0, 1].double()
    with reproducible():
        found = torch.nn.functional.conv2d(x.cuda(), kernel.cuda()).cpu().double()
        found_product = (x[0, 0].cuda() @ x[0, 1].cuda()).cpu().double()
    assert (found - exact).abs().max() < 1e-5 * exact.abs().max()
    assert (found_product - product).abs().max() < 1e-5 * product.abs().max()


@pytest.mark.parametrize("model", NETWORKS)
def test_a_card_evaluates_as_a_cpu_does(model):
    lesion_HW = np.zeros((128, 128), bool)
    lesion_HW[60:70, 50:60] = True
    healthy = healthy_slices(8, seed=1)
    bits_NK = np.tile(np.packbits(lesion_HW), (len(healthy), 1))
    test = dataclasses.replace(healthy, lesion_bits_NK=bits_NK)
    trained = build(model, "cpu")
    list(trained.fit(healthy_slices(16), None, 2))
    tables = []
    for device in ("cpu", "cuda"):
        detector = build(model, device)
        detector.load_state(trained.weights())
        tables.append(evaluate(detector, test).metrics)
    cpu, card = (np.array(t["auc"].to_pylist(), float) for t in tables)
    np.testing.assert_allclose(card, cpu, atol=1e-3)
