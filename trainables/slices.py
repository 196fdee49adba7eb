"""Slices: the one place that holds the view shared by all trials of a node.

The arrays may be files that every worker maps, and larger than memory. ``torch.from_numpy`` gives a
writable tensor over such read-only memory, and writing there ends the process: batches are
therefore always copies.

Shape legend: N slices of a set, B of a batch, H = W = 128 pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.settings import SIZE


class ReadsAhead(Protocol):
    """Files that images are mapped from."""

    def prefetch(self, rows: Iterable[int]) -> None:
        """Let the kernel read the images of some rows of the files."""


@dataclass(frozen=True)
class Batch:
    """Copies of some slices; free to be changed.

    Attributes:
        images_BHW: float32 intensities, divided by the brain's median; 0 outside the brain.
        brain_BHW: bool brain mask.
        lesion_BHW: bool ground truth.
    """

    images_BHW: NDArray[np.float32]
    brain_BHW: NDArray[np.bool_]
    lesion_BHW: NDArray[np.bool_]


@dataclass(frozen=True)
class Slices:
    """The preprocessed slices of one or several cohorts of one modality.

    Rows are ordered by subject and ascending slice index, so that the slices of a subject are
    neighbours. All arrays are read-only by contract.

    Attributes:
        images_NHW: float16 images.
        brain_bits_NK: Brain masks, packed as by ``numpy.packbits`` over the flattened slice,
            K = 2048 bytes.
        lesion_bits_NK: Lesion masks, packed likewise.
        subject_N: int32 index into ``subjects``.
        slice_index_N: int32 index of the axial slice in its RAS volume, 0 the most inferior.
        subjects: ``cohort/subject`` names, in the order of the rows.
        files: Of arrays that are mapped files, what can read ahead.
        first: The row of those files that row 0 is.
        scan_N: int32 number of the scan that each slice is from, ascending; None where each subject
            is known to have one scan.
        voxel_ml_N: float64 volume of a pixel of each slice in ml, as thick as the slices are apart;
            None where it is not known.
    """

    images_NHW: NDArray[np.float16]
    brain_bits_NK: NDArray[np.uint8]
    lesion_bits_NK: NDArray[np.uint8]
    subject_N: NDArray[np.int32]
    slice_index_N: NDArray[np.int32]
    subjects: tuple[str, ...]
    files: ReadsAhead | None = field(default=None, repr=False, compare=False)
    first: int = 0
    scan_N: NDArray[np.int32] | None = None
    voxel_ml_N: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.images_NHW)

    def batch(self, rows: slice | NDArray[np.intp] | Sequence[int]) -> Batch:
        """Copy some slices out of the shared arrays.

        Args:
            rows: Which slices, as for numpy indexing.
        """
        from trainables.halves import to_float32  # loads torch, and sizes are asked for without

        return Batch(
            images_BHW=to_float32(self.images(rows)),
            brain_BHW=_unpack(self.brain_bits_NK[rows]),
            lesion_BHW=_unpack(self.lesion_bits_NK[rows]),
        )

    def images(self, rows: slice | NDArray[np.intp] | Sequence[int]) -> NDArray[np.float16]:
        """Copy the images of some slices alone, as stored: all that training needs.

        Args:
            rows: Which slices, as for numpy indexing.
        """
        return np.array(self.images_NHW[rows])

    def prefetch(self, rows: NDArray[np.intp]) -> None:
        """Tell that some slices' images will be wanted soon, where they may not be in memory.

        Args:
            rows: Which slices.
        """
        if self.files is not None:
            self.files.prefetch((rows + self.first).tolist())

    def between(self, first: int, last: int) -> Slices:
        """The slices of the subjects ``first`` to ``last`` - 1, as views of the same arrays."""
        start, stop = (int(i) for i in np.searchsorted(self.subject_N, (first, last)))
        rows = slice(start, stop)
        return Slices(
            images_NHW=self.images_NHW[rows],
            brain_bits_NK=self.brain_bits_NK[rows],
            lesion_bits_NK=self.lesion_bits_NK[rows],
            subject_N=self.subject_N[rows] - np.int32(first),
            slice_index_N=self.slice_index_N[rows],
            subjects=self.subjects[first:last],
            files=self.files,
            first=self.first + start,
            scan_N=None if self.scan_N is None else self.scan_N[rows],
            voxel_ml_N=None if self.voxel_ml_N is None else self.voxel_ml_N[rows],
        )

    def split(self, fraction: float) -> tuple[Slices, Slices | None]:
        """Split by subject into a training set and a held-out set, both views.

        The last ``fraction`` of the subjects, at least one, is held out; sets meant for training
        are loaded in an order that is drawn at random within each cohort and shared out between
        them, so the last ones are of every cohort by its share, and the same for every trial.

        Args:
            fraction: Share of the subjects to hold out; with 0, or a single subject, none is.
        """
        count = len(self.subjects)
        held_out = max(1, round(fraction * count)) if fraction > 0 and count > 1 else 0
        if not held_out:
            return self, None
        return self.between(0, count - held_out), self.between(count - held_out, count)

    def by_subject(self) -> Iterator[tuple[str, slice]]:
        """The rows of each subject, in order."""
        starts = np.searchsorted(self.subject_N, np.arange(len(self.subjects) + 1))
        for index, name in enumerate(self.subjects):
            yield name, slice(int(starts[index]), int(starts[index + 1]))


def _unpack(bits_BK: NDArray[np.uint8]) -> NDArray[np.bool_]:
    flat = np.unpackbits(bits_BK, axis=-1, count=SIZE * SIZE)
    return flat.reshape(*bits_BK.shape[:-1], SIZE, SIZE).view(np.bool_)  # bits are 0 or 1
