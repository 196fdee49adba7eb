"""deepbet's networks, computed sooner, decide on every voxel as deepbet's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.deepbet_network import (
    HALF,
    MaskNetwork,
    interleaved,
    max_pool,
    most_probable,
    window_logits,
)
from datasets.extractors import _deepbet, run_extractor
from datasets.nifti import load_volume
from datasets.phantom import writer
from datasets.phantom.settings import PhantomOptions
from datasets.sources import phantom


@pytest.fixture(scope="module")
def deepbet() -> Any:
    """As deepbet loads it on a CPU, nothing replaced."""
    return _load(no_gpu=True)


def _load(**options: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from deepbet.bet import BrainExtraction

        return BrainExtraction(**options)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 3),
    n_channels=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_pooling_axis_by_axis_is_pooling(
    sizes: tuple[int, int, int], n_channels: int, seed: int
) -> None:
    x = random(1, n_channels, *(2 * n for n in sizes), seed=seed)
    before = x.clone()
    assert torch.equal(max_pool(x), F.max_pool3d(x, 3, stride=2, padding=1))
    assert torch.equal(x, before)


def test_pooling_passes_on_what_is_no_number() -> None:
    x = random(1, 2, 6, 6, 6)
    x[0, 1, 3, 2, 5] = torch.nan
    expected = F.max_pool3d(x, 3, stride=2, padding=1)
    assert expected.isnan().sum() > 1
    torch.testing.assert_close(max_pool(x), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("scale", [1e-8, 1e-7, 1e-3, 1.0, 30.0])
def test_what_is_more_probable_is_above_one_half_for_softmax(scale: float) -> None:
    logits = random(2, 2, 2, 2, 12, 10, 14) * scale
    expected = interleaved(logits).softmax(1) > 0.5
    assert torch.equal(most_probable(logits), expected.to(torch.uint8))


def test_windows_are_those_of_a_transposed_convolution() -> None:
    """By their sums in float64, whose order cannot be told from 1e-12."""
    y, weight, bias = (
        x.double() for x in (random(1, 8, 6, 5, 7), random(8, 2, 2, 2, 2), random(2))
    )
    expected = F.conv_transpose3d(y, weight, bias, stride=2)
    found = interleaved(window_logits(y, weight, bias))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_one_half_is_where_softmax_of_float32_has_it() -> None:
    difference = torch.linspace(0, 4 * HALF, 4097)
    probability = torch.stack((torch.zeros_like(difference), difference)).softmax(0)[1]
    assert torch.equal(probability > 0.5, difference > HALF)


def test_a_network_is_left_as_it_is_where_sums_are_others(
    deepbet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*args: Any) -> torch.Tensor:
        return window_logits(*args) * (1 + 2**-20)

    monkeypatch.setattr("datasets.deepbet_network.window_logits", other)
    assert not MaskNetwork(deepbet.bbox_model).has_the_same_sums()
    _deepbet.cache_clear()
    assert not isinstance(_deepbet().model, MaskNetwork)
    _deepbet.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_a_network_decides_as_deepbets_own(deepbet: Any, noise: float) -> None:
    smooth = F.interpolate(random(1, 1, 12, 12, 12), (128, 128, 128), mode="trilinear")
    x = 0.449 + 0.226 * (smooth + noise * random(1, 1, 128, 128, 128, seed=1))
    network = MaskNetwork(deepbet.bbox_model)
    if not network.has_the_same_sums():
        pytest.skip("this processor's libraries sum in another order: the network is left as it is")
    with torch.no_grad():
        expected = deepbet.bbox_model(x) > 0.5
        found = network(x)
    assert 0.01 < expected[0, 1].float().mean() < 0.99
    assert torch.equal(found.bool(), expected)


@pytest.mark.slow
def test_the_mask_of_a_head_is_that_of_deepbets_own_way(tmp_path: Path) -> None:
    writer.ensure(tmp_path, PhantomOptions(layout="ixi", subjects=1, slice_mm=5, in_plane_mm=3))
    volume = load_volume(phantom.list_scans(tmp_path, ("T1w",)).scans[0].image)
    _, expected, _ = _load().run(nib.Nifti1Image(volume.data_XYZ, volume.affine))
    found = run_extractor("deepbet", volume)
    assert found.any()
    np.testing.assert_array_equal(found, np.asarray(expected.dataobj) > 0)
