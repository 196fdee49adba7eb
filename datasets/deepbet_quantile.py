"""Quantiles without sorting, for deepbet.

deepbet asks for two quantiles of two million voxels, and torch sorts all of them each time, which
takes ten times as long as putting the two neighbours of the quantile in their places. Imported
with deepbet, which loads torch anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

MIN_VALUES = 1 << 12
"""Fewer values are left to torch."""


class PartitionedQuantiles(TorchFunctionMode):
    """While it is entered, one quantile of all values of a float32 tensor is not sorted for.

    The result has the very bits of ``torch.quantile``: the rank, in float32, and the interpolation
    are computed by torch as it does there. Whatever is asked in another way is left to torch.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer a quantile, and pass everything else on."""
        if func in (torch.quantile, torch.Tensor.quantile) and len(args) == 2 and not kwargs:
            found = _quantile(*args)
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))


def _quantile(values: torch.Tensor, q: object) -> torch.Tensor | None:
    """The quantile of a tensor; ``None`` if it is none of those that are answered here."""
    if not isinstance(q, float) or not 0 <= q <= 1:
        return None
    if values.dtype != torch.float32 or values.device.type != "cpu" or values.requires_grad:
        return None
    n = values.numel()
    if n < MIN_VALUES:
        return None
    rank = torch.tensor(q, dtype=torch.float32) * (n - 1)
    # float32 may round the rank of very many values up to beyond the last.
    below = min(int(rank), n - 1)
    above = min(int(rank.ceil()), n - 1)
    # NaN is sorted to the end: the last value tells whether there is one.
    flat = np.partition(values.numpy().ravel(), sorted({below, above, n - 1}))
    if np.isnan(flat[-1]):
        return None
    ends = torch.from_numpy(flat[[below, above]])
    return torch.lerp(ends[0], ends[1], rank - rank.floor())
