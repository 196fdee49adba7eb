"""From anatomy to the voxels of a scan: tissue contrast, bias field, Rician noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from datasets.phantom import head as _head
from datasets.phantom.anatomy import Anatomy
from datasets.phantom.fields import Axes, Floats, SmoothField
from datasets.scan import Modality

_BRAIN: dict[Modality, tuple[float, float, float]] = {
    "T1w": (0.30, 0.74, 1.00),
    "T2w": (2.10, 1.33, 1.00),
    "FLAIR": (0.25, 1.18, 1.00),
}
"""Typical signal of fluid, grey and white matter, relative to white matter."""

_AROUND: dict[Modality, dict[int, float]] = {
    "T1w": {
        _head.AIR: 0.0,
        _head.BONE: 0.10,
        _head.MARROW: 0.75,
        _head.FAT: 1.25,
        _head.MUSCLE: 0.55,
        _head.FLUID: 0.28,
        _head.EYE: 0.25,
        _head.CORD: 0.95,
        _head.SKIN: 0.65,
    },
    "T2w": {
        _head.AIR: 0.0,
        _head.BONE: 0.03,
        _head.MARROW: 0.20,
        _head.FAT: 1.50,
        _head.MUSCLE: 0.50,
        _head.FLUID: 1.5,
        _head.EYE: 2.00,
        _head.CORD: 1.05,
        _head.SKIN: 0.50,
    },
    "FLAIR": {
        _head.AIR: 0.0,
        _head.BONE: 0.05,
        _head.MARROW: 0.40,
        _head.FAT: 1.30,
        _head.MUSCLE: 0.55,
        _head.FLUID: 0.25,
        _head.EYE: 0.25,
        _head.CORD: 0.95,
        _head.SKIN: 0.55,
    },
}
"""Typical signal of what surrounds the brain, in the same unit."""


@dataclass(frozen=True)
class Scanner:
    """How a cohort's scanners differ from a typical one.

    Attributes:
        gain: Typical stored value of white matter.
        jitter: Standard deviation of the logarithm of a tissue's signal between subjects.
        bias_sd: Standard deviation of the logarithm of the bias field.
        noise: Standard deviation of the noise in each of the two channels, relative to white
            matter.
    """

    gain: float = 700.0
    jitter: float = 0.06
    bias_sd: float = 0.05
    noise: float = 0.03

    def louder(self, factor: float) -> Scanner:
        """The same scanner with another amount of noise."""
        return replace(self, noise=self.noise * factor)


@dataclass(frozen=True)
class Signals:
    """Signals of one scan, relative to white matter: of fluid, grey, white, and the labels'."""

    fluid: float
    grey: float
    white: float
    around: tuple[float, ...]


def draw_signals(rng: np.random.Generator, modality: Modality, scanner: Scanner) -> Signals:
    """Draw the tissue contrast of one scan."""
    fluid, grey, white = _BRAIN[modality]
    # Grey and fluid differ from white by a jittered amount, so that the contrast keeps its sign.
    contrast = np.exp(rng.normal(0, 2.0 * scanner.jitter, 2))
    around = np.exp(rng.normal(0, 3.0 * scanner.jitter, _head.N_LABELS))
    return Signals(
        fluid=white + (fluid - white) * float(contrast[0]),
        grey=white + (grey - white) * float(contrast[1]),
        white=white,
        around=tuple(_AROUND[modality][i] * float(around[i]) for i in range(_head.N_LABELS)),
    )


def brain_signal(anatomy: Anatomy, signals: Signals) -> Floats:
    """Signal (X, Y, Z) of the brain's tissues by their fractions."""
    return np.asarray(
        anatomy.fluid * np.float32(signals.fluid)
        + anatomy.grey * np.float32(signals.grey)
        + anatomy.white * np.float32(signals.white)
    )


def add_head(brain: Floats, anatomy: Anatomy, signals: Signals) -> Floats:
    """Put the brain into its head, with partial volume along the border."""
    table = np.asarray(signals.around, dtype=np.float32)
    around = scipy.ndimage.gaussian_filter(table[anatomy.labels], 0.45)
    share = np.clip(0.5 - anatomy.depth / np.float32(min(anatomy.grid.spacing_mm)), 0, 1)
    return np.asarray(share * brain + (1 - share) * around)


def acquire(rng: np.random.Generator, signal: Floats, axes: Axes, scanner: Scanner) -> Floats:
    """Magnitude image of a signal: multiplied by a bias field, then Rician noise.

    Takes the same numbers from ``rng`` whatever the signal, so that two signals that differ in a
    lesion alone get the same bias and noise.
    """
    bias = np.exp(SmoothField.random(rng, 90.0, scanner.bias_sd).on(axes))
    gain = np.float32(scanner.gain * np.exp(rng.normal(0, 0.15)))
    sd = np.float32(scanner.noise * np.exp(rng.normal(0, 0.15)))
    real = signal * bias + sd * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = sd * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(gain * np.hypot(real, imaginary))


def to_int16(image: Floats) -> NDArray[np.int16]:
    """Round to the integers that scanners store."""
    return np.clip(np.rint(image), 0, np.iinfo(np.int16).max).astype(np.int16)
