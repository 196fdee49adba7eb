"""The box of a mask is the smallest one, whatever the memory layout."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from datasets.boxes import bounding_box


@pytest.mark.parametrize("seed", range(20))
def test_the_box_is_that_of_the_labelled_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 12, 3))
    mask = rng.random(shape) > 0.97
    mask.flat[rng.integers(mask.size)] = True
    expected = ndimage.find_objects(mask.astype(np.uint8))[0]
    assert bounding_box(mask) == expected
    assert bounding_box(np.asfortranarray(mask)) == expected


def test_an_empty_mask_has_no_box() -> None:
    assert bounding_box(np.zeros((3, 4, 5), dtype=bool)) is None
    assert bounding_box(np.zeros((0, 4, 5), dtype=bool)) is None
