from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from trainables.slices import Slices


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

    def make(n: int, seed: int = 0, slices_per_subject: int = 4) -> Slices:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:128, :128] - 63.5
        images, brains = [], []
        for _ in range(n):
            a, b = rng.uniform(35, 55, size=2)
            brain = (y / a) ** 2 + (x / b) ** 2 < 1
            waves = np.sin(x / rng.uniform(4, 16)) * np.cos(y / rng.uniform(4, 16))
            texture = 1 + 0.4 * waves + 0.05 * rng.standard_normal((128, 128))
            images.append(np.where(brain, np.maximum(texture, 0.01), 0))
            brains.append(np.packbits(brain))
        subject = np.arange(n) // slices_per_subject
        slices = Slices(
            images_NHW=np.array(images, dtype=np.float16).reshape(n, 128, 128),
            brain_bits_NK=np.array(brains, dtype=np.uint8).reshape(n, 2048),
            lesion_bits_NK=np.zeros((n, 2048), dtype=np.uint8),
            subject_N=subject.astype(np.int32),
            slice_index_N=(np.arange(n) % slices_per_subject).astype(np.int32),
            subjects=tuple(f"ellipses/{i:03d}" for i in range(int(subject.max(initial=-1)) + 1)),
        )
        for array in (slices.images_NHW, slices.brain_bits_NK, slices.lesion_bits_NK):
            array.flags.writeable = False
        return slices

    return make
