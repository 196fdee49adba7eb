"""The slices of a trial that are kept with their score maps, as arrays.

Shape legend: H = W = 128 pixels; row 0 is anterior, column 0 the patient's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from datasets.settings import SIZE


@dataclass(frozen=True)
class ShowcaseMaps:
    """One slice with every score map of one trial.

    Attributes:
        subject: ``cohort/subject``.
        slice_index: Index of the slice in its volume.
        image_HW: float32 preprocessed intensities.
        brain_HW: bool brain mask.
        lesion_HW: bool ground truth.
        scores: float32 score maps by score name.
        pictures: Pictures that explain them, such as ``reconstruction``.
    """

    subject: str
    slice_index: int
    image_HW: NDArray[np.float32]
    brain_HW: NDArray[np.bool_]
    lesion_HW: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float32]]
    pictures: dict[str, NDArray[np.float32]]


def decode_showcase(table: pa.Table) -> tuple[ShowcaseMaps, ...]:
    """The slices of a ``heatmaps.parquet``, ordered by subject and slice."""
    found = []
    for row in table.to_pylist():
        maps = {name: _image(value) for name, value in row.items() if _is_map(name) and value}
        found.append(
            ShowcaseMaps(
                subject=row["subject"],
                slice_index=row["slice_index"],
                image_HW=_image(row["image"]),
                brain_HW=_mask(row["brain"]),
                lesion_HW=_mask(row["lesion"]),
                scores=_named(maps, "score."),
                pictures=_named(maps, "picture."),
            )
        )
    return tuple(sorted(found, key=lambda s: (s.subject, s.slice_index)))


def _is_map(name: str) -> bool:
    return name.startswith(("score.", "picture."))


def _named(maps: dict[str, NDArray[np.float32]], prefix: str) -> dict[str, NDArray[np.float32]]:
    return {n.removeprefix(prefix): m for n, m in maps.items() if n.startswith(prefix)}


def _image(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, dtype="<f2").reshape(SIZE, SIZE).astype(np.float32)


def _mask(data: bytes) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=SIZE * SIZE)
    return bits.reshape(SIZE, SIZE).astype(bool)
