"""Training states as arrays: how tensors become them, and whether they fit a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.detector import State


def count(state: State, name: str) -> int:
    """A number of a state.

    Raises:
        ValueError: If the state has none of that name.
    """
    if name not in state or state[name].size != 1:
        raise ValueError(f"the training state has no single number {name!r}")
    return int(state[name].item())


def check(state: State, expected: Mapping[str, Tensor]) -> None:
    """Compare a state's names, shapes and types with what is expected.

    Raises:
        ValueError: If one differs.
    """
    missing, unknown = (
        sorted(expected.keys() - state.keys()),
        sorted(state.keys() - expected.keys()),
    )
    if missing or unknown:
        raise ValueError(
            "the state does not fit this network: "
            f"missing {_some(missing)}, not expected {_some(unknown)}"
        )
    for name, tensor in expected.items():
        shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        if state[name].shape != shape or state[name].dtype != dtype:
            raise ValueError(
                f"the state's {name!r} is {state[name].dtype} of shape {state[name].shape}; "
                f"this network has {dtype} of shape {shape}"
            )


def to_numpy(tensor: Tensor) -> NDArray[np.generic]:
    """A copy in C order, whatever the tensor's layout: safetensors stores nothing else."""
    copy: NDArray[np.generic] = np.array(tensor.detach().cpu().numpy(), order="C")
    return copy


def from_numpy(array: NDArray[np.generic]) -> Tensor:
    """A copy that may be written to."""
    return torch.from_numpy(np.array(array))


def _some(names: Sequence[str], most: int = 3) -> str:
    listed = ", ".join(repr(n) for n in names[:most]) or "nothing"
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
