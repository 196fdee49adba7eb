"""Batches of images on the device that trains.

Copying a batch to a card from ordinary memory makes the process wait until the card has done all it
was asked for. So batches are copied from page-locked memory, which needs no waiting; and where all
images of a set take little of a card's free memory they are copied there once, as they are stored,
and batches are taken from them there. Either way a batch has the same bits.

Shape legend: N slices of a set, B of a batch, H = W = 128 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.slices import Slices

SHARE_OF_FREE = 0.05
"""Most of a card's free memory that the images of a set may take. Eight trials that share a card
take less than two fifths of it for them together: of 80 GiB each may hold 4, the paper's training
set is 1.6."""

_COPIED = 1024
"""Slices that are copied at a time: 32 MiB."""


def free_bytes(device: torch.device) -> int:
    """Bytes of a card that this process can still get; 0 of anything else.

    What torch keeps for this process, such as after a trial that has ended, counts as free.
    """
    if device.type != "cuda":
        return 0
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


class Batches:
    """The images of a set of slices, batch by batch.

    Not thread-safe. The first batch decides whether all images are copied to the device; the copy
    is let go of with the object.

    Args:
        slices: The set; its images stay as they are while this is used.
        device: Where batches are wanted.
        free: Tells how many bytes of that device are free.
    """

    def __init__(
        self,
        slices: Slices,
        device: torch.device,
        free: Callable[[torch.device], int] = free_bytes,
    ) -> None:
        self._slices = slices
        self._device = device
        self._free = free

    def __len__(self) -> int:
        return len(self._slices)

    @cached_property
    def is_resident(self) -> bool:
        """Whether all images are on the device."""
        n_bytes = self._slices.images_NHW.nbytes
        return 0 < n_bytes <= SHARE_OF_FREE * self._free(self._device)

    def images(self, rows: NDArray[np.intp]) -> Tensor:
        """Some images as float32 of shape (B, 1, H, W), not to be waited for.

        Args:
            rows: Which slices.
        """
        if self.is_resident:
            images_BHW = self._copy_NHW.index_select(0, to_device(rows, self._device))
        else:
            images_BHW = to_device(self._slices.images(rows), self._device)
        return images_BHW.float().unsqueeze(1)

    def prefetch(self, rows: NDArray[np.intp]) -> None:
        """Tell which slices will be wanted next, where they may have to be read from a disk.

        Args:
            rows: Which slices.
        """
        if not self.is_resident:
            self._slices.prefetch(rows)

    @cached_property
    def _copy_NHW(self) -> Tensor:
        """All images on the device, as stored."""
        images = self._slices.images_NHW
        copy = torch.empty(images.shape, dtype=torch.float16, device=self._device)
        for start in range(0, len(images), _COPIED):
            part = slice(start, min(start + _COPIED, len(images)))
            copy[part].copy_(torch.from_numpy(self._slices.images(part)))
        return copy


def to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """An array as a tensor on a device, without waiting for a card.

    Args:
        array: Writable, and not written to any more; on a CPU the tensor shares its memory.
        device: Where the tensor is wanted.
    """
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
