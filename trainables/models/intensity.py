"""Baseline: the pixel intensity itself is the score, as it is and with its sign turned.

Lesions are dark on most T1w scans and bright on T2w and FLAIR, so both are worth seeing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trainables.byvalue import every_value
from trainables.description import Score
from trainables.detector import EpochMetrics, FitsAtOnce, State
from trainables.detector import Params as DetectorParams
from trainables.slices import Slices


class IntensityParams(DetectorParams):
    """There is nothing to set."""


class Model(FitsAtOnce):
    """The detector ``intensity``: nothing is trained, so a fit is one epoch without a loss."""

    Params: ClassVar[type[DetectorParams]] = IntensityParams
    LABEL: ClassVar[str] = "Intensity"
    PLACE: ClassVar[int] = 0
    VERSION: ClassVar[int] = 2
    SCORES: ClassVar[tuple[Score, ...]] = (
        Score("intensity", "Intensity", "", "#8C8C8C"),
        Score("negative_intensity", "negative intensity", "negated", "#8C8C8C", "dot"),
    )
    FIRST_SCORES: ClassVar[tuple[str, ...]] = ("intensity", "negative_intensity")

    def __init__(self, params: DetectorParams, *, seed: int, device: str = "cpu") -> None:
        self._epoch = 0

    @property
    def n_parameters(self) -> int:
        """Number of trained numbers: none."""
        return 0

    def flops_per_slice(self) -> float:
        """Nothing is computed."""
        return 0.0

    def fit(
        self,
        train: Slices,
        validation: Slices | None,
        epochs: int,
        *,
        every_s: float | None = None,
    ) -> Iterator[EpochMetrics]:
        """See :meth:`trainables.detector.Detector.fit`; one epoch, whatever is asked."""
        if self._epoch == 0:
            self._epoch = 1
            yield EpochMetrics(
                epoch=1, steps=0, n_slices=len(train), train_loss=None, validation_loss=None
            )

    def state(self) -> State:
        """See :meth:`trainables.detector.Detector.state`."""
        return {"epoch": np.array([self._epoch], dtype=np.int64)}

    def load_state(self, state: State) -> None:
        """See :meth:`trainables.detector.Detector.load_state`."""
        unknown = sorted(set(state) - {"epoch"})
        if unknown:
            raise ValueError(f"the intensity baseline has no state named {', '.join(unknown)}")
        if "epoch" in state:
            self._epoch = int(np.asarray(state["epoch"]).reshape(-1)[0])

    def score(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """See :meth:`trainables.detector.Detector.score`; the brain mask is not used."""
        return {
            "intensity": images_BHW.astype(np.float32),
            "negative_intensity": -images_BHW.astype(np.float32),
        }

    def by_value(self) -> dict[str, NDArray[np.float32]]:
        """See :meth:`trainables.detector.Detector.by_value`."""
        values = every_value().astype(np.float32)
        return {"intensity": values, "negative_intensity": -values}

    def pictures(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """No pictures: the score is the image."""
        return {}
