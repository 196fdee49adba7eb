"""Baseline: the histogram-equalised intensity, as it is and with its sign turned.

After Meissen, Kaissis and Rueckert 2021, "Challenging Current Semi-Supervised Anomaly Segmentation
Methods for Brain MRI": lesions are the brightest tissue on FLAIR, and a threshold on equalised
intensities finds them as well as networks did. A pixel's score is the share of its slice's brain
that is no brighter, in (0, 1], and 0 outside the brain. The publication equalises a whole scan; a
detector is given slices, so here each slice is equalised by itself.

Shape legend: B slices of a batch, H = W = 128 pixels.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trainables.description import Score
from trainables.models import intensity


class Model(intensity.Model):
    """The detector ``equalized``: nothing is trained."""

    LABEL: ClassVar[str] = "Equalised intensity"
    SHORT_LABEL: ClassVar[str] = "Equalised"
    PLACE: ClassVar[int] = 8
    VERSION: ClassVar[int] = 2
    SCORES: ClassVar[tuple[Score, ...]] = (
        Score("equalized", "equalised intensity", "", "#5D5D5D"),
        Score("negative_equalized", "negative equalised intensity", "negated", "#5D5D5D", "dot"),
    )
    FIRST_SCORES: ClassVar[tuple[str, ...]] = ()

    def score(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        """See :meth:`trainables.detector.Detector.score`."""
        equalized_BHW = np.zeros(images_BHW.shape, dtype=np.float32)
        for equalized, image, brain in zip(equalized_BHW, images_BHW, brain_BHW, strict=True):
            inside = image[brain]
            n_no_brighter = np.searchsorted(np.sort(inside), inside, side="right")
            equalized[brain] = n_no_brighter / max(1, len(inside))
        return {"equalized": equalized_BHW, "negative_equalized": -equalized_BHW}
