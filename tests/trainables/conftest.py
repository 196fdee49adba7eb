from collections.abc import Callable

import pytest
import torch

from trainables.slices import Slices
from trainables.testing import healthy_slices


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="there is no GPU that torch can use"))


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """As the trials of a study have."""


@pytest.fixture(scope="session")
def make_slices() -> Callable[..., Slices]:
    """Builds read-only slices of textured ellipses that pass for brains, by count and seed."""
    return healthy_slices
