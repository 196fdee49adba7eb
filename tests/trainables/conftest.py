from collections.abc import Callable, Iterator

import pytest
import torch

from trainables.slices import Slices
from trainables.testing import healthy_slices


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Bit-identity is promised for one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_slices() -> Callable[..., Slices]:
    """Builds read-only slices of textured ellipses that pass for brains, by count and seed."""
    return healthy_slices
