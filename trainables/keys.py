"""float32 scores as integers of the same order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = -0x7F800001, 0x7F800000
"""The keys of minus infinity and of infinity."""

ALL_BUT_SIGN = 0x7FFFFFFF


def scores_of(keys: NDArray[np.int32]) -> NDArray[np.float32]:
    """The scores that have some keys; keys ascend as scores do, and 0.0 has the key 0."""
    bits = np.where(keys < 0, keys ^ np.int32(ALL_BUT_SIGN), keys).astype(np.int32)
    return bits.view(np.float32)
