"""Pictures of a few slices, the same in every trial, so that models can be compared side by side.

Shape legend: N slices of a set, B of a batch, K = 2048 bytes of bits, H = W = 128 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.detector import Detector
from trainables.slices import Slices

_BITS_SET = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)


def showcase_rows(test: Slices, n: int) -> tuple[int, ...]:
    """The slices to show; they depend on the test set alone.

    Up to ``n`` subjects spread evenly over those with a lesion, in each the slice where the lesion
    is largest. If no subject has one, the middle slices of up to ``n`` subjects.

    Args:
        test: The test set.
        n: Most slices to choose.

    Returns:
        Ascending row numbers, fewer than ``n`` if there are fewer subjects.
    """
    largest, middle = [], []
    for _, rows in test.by_subject():
        if rows.start == rows.stop:
            continue
        area_B = _BITS_SET[test.lesion_bits_NK[rows]].sum(axis=1)
        middle.append((rows.start + rows.stop) // 2)
        if area_B.any():
            largest.append(rows.start + int(np.argmax(area_B)))
    candidates = largest or middle
    n = min(n, len(candidates))
    return tuple(candidates[(2 * i + 1) * len(candidates) // (2 * n)] for i in range(n))


class Showcase:
    """Gathers score maps and pictures of the showcase slices while a test set is scored.

    The table has a row per slice with columns ``subject``, ``slice_index``, ``image`` (binary,
    128x128 little-endian float16), ``brain`` and ``lesion`` (binary, 2048 bytes of bits as by
    ``numpy.packbits``), then ``score.<name>`` per score and ``picture.<name>`` per picture (binary,
    128x128 little-endian float16, clipped to its range).
    """

    def __init__(
        self, detector: Detector, test: Slices, rows: Sequence[int], scores: Sequence[str]
    ) -> None:
        self._detector = detector
        self._test = test
        self._wanted = tuple(rows)
        self._rows: list[int] = []
        self._maps: dict[str, list[bytes]] = {f"score.{name}": [] for name in scores}

    def keep(self, rows: range, maps: Mapping[str, Tensor | NDArray[np.float32]]) -> None:
        """Keep what is wanted of a batch; batches come in ascending order.

        Args:
            rows: The batch's rows in the test set.
            maps: Its (B, H, W) score maps.
        """
        chosen = [row - rows.start for row in self._wanted if row in rows]
        if not chosen:
            return
        self._rows.extend(rows.start + index for index in chosen)
        for name, map_BHW in maps.items():
            chosen_maps = torch.as_tensor(map_BHW[chosen]).cpu().numpy()
            self._maps[f"score.{name}"].extend(_float16_bytes(m) for m in chosen_maps)

    def table(self) -> pa.Table:
        """What was kept."""
        test, rows = self._test, self._rows
        columns = {
            "subject": pa.array([test.subjects[test.subject_N[r]] for r in rows], pa.string()),
            "slice_index": pa.array([int(test.slice_index_N[r]) for r in rows], pa.int64()),
            "image": [_float16_bytes(test.images_NHW[r]) for r in rows],
            "brain": [test.brain_bits_NK[r].tobytes() for r in rows],
            "lesion": [test.lesion_bits_NK[r].tobytes() for r in rows],
            **self._maps,
            **self._pictures(),
        }
        return pa.table(
            {
                name: pa.array(cells, pa.binary()) if isinstance(cells, list) else cells
                for name, cells in columns.items()
            }
        )

    def _pictures(self) -> dict[str, list[bytes]]:
        """The pictures of what was kept, made together."""
        if not self._rows:
            return {}
        batch = self._test.batch(self._rows)
        pictures = self._detector.pictures(batch.images_BHW, batch.brain_BHW)
        return {
            f"picture.{name}": [_float16_bytes(picture_HW) for picture_HW in picture_BHW]
            for name, picture_BHW in pictures.items()
        }


def _float16_bytes(map_HW: NDArray[np.float32] | NDArray[np.float16]) -> bytes:
    limit = float(np.finfo(np.float16).max)
    return np.clip(map_HW, -limit, limit).astype("<f2").tobytes()
