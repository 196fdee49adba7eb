"""How scans become slices: every setting that is part of a shard's identity."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PREPROCESS_VERSION = 4
"""Raised whenever the same scan and settings give other slices than before."""

SIZE = 128
"""Height and width of a preprocessed slice in pixels, the paper's."""


class PreprocessSettings(BaseModel):
    """Settings of preprocessing, hashed into the key of every shard.

    Attributes:
        brain_extractor: What removes the skull where the data set has not: ``deepbet`` or FSL's
            ``bet``.
        brain_mask: Whether the mask of ``brain_extractor`` is taken ``plain``, or ``widened``
            beside lesions that are far darker than the other side.
        normalisation: Whether the median brain intensity that divides an image is that of the
            ``volume`` or of each axial ``slice``, whose median a lesion moves by up to 20 %.
        min_brain_fraction: Slices whose brain covers less of the 128x128 image are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    brain_extractor: Literal["deepbet", "bet"] = "deepbet"
    brain_mask: Literal["plain", "widened"] = "widened"
    normalisation: Literal["slice", "volume"] = "volume"
    min_brain_fraction: float = Field(default=0.05, gt=0, lt=1)
