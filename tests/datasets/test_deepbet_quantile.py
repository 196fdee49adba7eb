"""Quantiles that are not sorted for have the bits of torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.deepbet_quantile import MIN_VALUES, PartitionedQuantiles, _quantile


def bits(value: torch.Tensor) -> tuple[torch.Size, bytes]:
    return value.shape, value.numpy().tobytes()


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(MIN_VALUES, 40_000),
    q=st.sampled_from([0.0, 0.005, 0.5, 0.995, 1.0]) | st.floats(0, 1),
    levels=st.sampled_from([3, 200, 2**24]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_quantile_has_the_bits_of_torchs_own(n: int, q: float, levels: int, seed: int) -> None:
    values = torch.from_numpy(
        (np.random.default_rng(seed).integers(-levels, levels, (n,)) / 7).astype(np.float32)
    )
    before = values.clone()
    expected = values.quantile(q)
    with PartitionedQuantiles():
        assert bits(values.quantile(q)) == bits(expected)
        assert bits(torch.quantile(values, q)) == bits(expected)
    assert torch.equal(values, before)


def test_all_values_of_a_volume_count_whatever_its_layout() -> None:
    volume = torch.from_numpy(np.random.default_rng(0).random((30, 31, 32), dtype=np.float32))
    turned = volume.permute(2, 0, 1)[::2]
    expected = turned.quantile(0.3)
    with PartitionedQuantiles():
        assert bits(turned.quantile(0.3)) == bits(expected)


def test_only_few_values_are_left_to_torch() -> None:
    assert _quantile(torch.zeros(MIN_VALUES - 1), 0.5) is None
    assert _quantile(torch.arange(MIN_VALUES + 1.0), 0.5) == MIN_VALUES / 2


def test_what_is_asked_in_another_way_is_left_to_torch() -> None:
    values = torch.rand(2, MIN_VALUES)
    with_nan = values.clone()
    with_nan[1, 7] = torch.nan
    with PartitionedQuantiles():
        assert values.quantile(0.5, dim=1).shape == (2,)
        assert values.quantile(torch.tensor([0.1, 0.9])).shape == (2,)
        assert values.double().quantile(0.5).dtype == torch.float64
        assert with_nan.quantile(0.5).isnan()
        nearest = values.quantile(0.5, interpolation="nearest")
        assert nearest in values
        with pytest.raises(RuntimeError, match="range"):
            values.quantile(1.5)
