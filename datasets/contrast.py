"""Whether the tissues of an image have the contrast that its name promises.

An image is measured by itself: how bright the border of the brain is (fluid and cortex) against
its centre (mostly white matter), and how far its brightest pixels rise above the rest. On T1w the
border is darker than the centre; on T2w it is as bright or brighter, and fluid rises to more than
twice the median. What cannot be the modality of its name is set aside. What merely differs from
the rest of its cohort (a contrast agent among T1w), or has white matter no brighter than grey on
T1w (FLAIR, proton density), is told when the cohort is listed: an image's own record does not
depend on the others.

Limits are from the 43 healthy and diseased heads that they were tried on: the border over the
centre was 0.40 to 0.76 on T1w and 0.97 to 1.26 on T2w, the bright end 1.3 to 2.0 and 2.1 to 3.6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datasets.manifest import ContrastMeasures
from datasets.scan import Modality

BORDER_MM = 4.0
CENTRE_MM = 15.0
"""Pixels nearer to the edge of the brain, within their slice, are its border, deeper ones its
centre."""

DARKER_BORDER = 0.85
BRIGHTER_BORDER, BRIGHTEST_BORDER = 0.9, 1.1
DARK_FLUID, BRIGHT_FLUID = 1.9, 1.45
"""Bright ends below which fluid is not that of T2w, and above which it is not that of T1w if the
border is bright too. A border no darker than the centre is not enough: noise has that."""

DARK_CENTRE = 1.02
NO_BRIGHT_END = 1.3

HOUNSFIELD_AIR = -900.0
MOST_HOUNSFIELD_AIR = 0.05
"""Share of voxels of an image at most as dark as air on CT; on MR hardly one is below zero."""

MOST_PLATEAUS = 0.6
"""Share of neighbours in the brain with one and the same value; 0.17 at most in an image, and more
than 0.8 in a map of labels."""

FEWEST_TO_COMPARE = 5
"""Among fewer scans none is the odd one."""

_DEVIATIONS = 6.0
_TO_SD = 1.4826
_WORDS = {
    "border": ("the border of its brain over the centre", 0.15),
    "centre": ("the centre of its brain over the whole", 0.1),
    "bright": ("the brightest hundredth of its brain over the median", 0.2),
}
"""What each measure is, and a difference from a cohort's median that is always usual."""


def measure_contrast(
    images_SHW: NDArray[np.floating],
    brain_SHW: NDArray[np.bool_],
    lesion_SHW: NDArray[np.bool_],
    pixel_mm: float,
) -> ContrastMeasures | None:
    """Measure the contrast of a scan on its slices, lesions left out.

    Args:
        images_SHW: Intensities, in any unit.
        brain_SHW: Brain masks.
        lesion_SHW: Lesion masks.
        pixel_mm: Side of a pixel.

    Returns:
        The measures; ``None`` if there is no centre or no positive median to compare with.
    """
    most = int(CENTRE_MM / pixel_mm) + 1
    depth_mm = np.sqrt(_squared_depth(brain_SHW, most).astype(np.float64)) * pixel_mm
    healthy_SHW = brain_SHW & ~lesion_SHW
    whole = images_SHW[healthy_SHW].astype(np.float64)
    border = images_SHW[healthy_SHW & (depth_mm < BORDER_MM)].astype(np.float64)
    centre = images_SHW[healthy_SHW & (depth_mm > CENTRE_MM)].astype(np.float64)
    if not len(border) or not len(centre):
        return None
    middle, inner = float(np.median(whole)), float(np.median(centre))
    if middle <= 0 or inner <= 0:
        return None
    ratios = (np.median(border) / inner, inner / middle, np.percentile(whole, 99) / middle)
    return ContrastMeasures(**dict(zip(_WORDS, (round(float(r), 4) for r in ratios), strict=True)))


def _squared_depth(brain_SHW: NDArray[np.bool_], most: int) -> NDArray[np.unsignedinteger]:
    """Squared distance, in pixels, of brain to the nearest pixel outside it within its slice.

    What is beyond the image counts as outside. First along columns, then across them (Saito and
    Toriwaki 1994): exact up to ``most`` pixels, above ``most ** 2`` beyond; that bound is why it
    takes a fraction of the time of a transform without one.

    Args:
        brain_SHW: Brain masks.
        most: Greatest distance of interest, in pixels, at least 1.
    """
    kind = np.min_scalar_type(2 * (most + 1) ** 2)
    along_SHW = np.zeros(brain_SHW.shape, dtype=kind)
    for rows in (range(brain_SHW.shape[1]), range(brain_SHW.shape[1])[::-1]):
        run_SW = np.zeros_like(along_SHW[:, 0])
        for row in rows:
            run_SW = np.where(brain_SHW[:, row], np.minimum(run_SW + 1, most + 1), 0).astype(kind)
            first = rows.step > 0
            along_SHW[:, row] = run_SW if first else np.minimum(along_SHW[:, row], run_SW)
    squared_SHW = along_SHW**2
    width = brain_SHW.shape[2]
    for nearest_HW in squared_SHW:
        padded_HW = np.pad(nearest_HW, ((0, 0), (most, most)))
        for step in range(1, most + 1):
            for start in (most - step, most + step):
                across_HW = padded_HW[:, start : start + width] + kind.type(step**2)
                np.minimum(nearest_HW, across_HW, out=nearest_HW)
    return squared_SHW


def contradiction(measures: ContrastMeasures, modality: Modality) -> str:
    """Why an image cannot be of the modality that its name says; empty if it may be."""
    found = f"border over centre {measures.border:.2f}, bright end {measures.bright:.2f}"
    bright_border = measures.border > BRIGHTEST_BORDER or (
        measures.border > BRIGHTER_BORDER and measures.bright > BRIGHT_FLUID
    )
    dark_border = measures.border < DARKER_BORDER and measures.bright < DARK_FLUID
    if modality == "T1w" and bright_border:
        return f"it has the contrast of T2w: the fluid around the brain is bright ({found})"
    if modality == "T2w" and dark_border:
        return f"it has the contrast of T1w or FLAIR: the fluid around the brain is dark ({found})"
    return ""


def no_magnetic_resonance(data_XYZ: NDArray[np.float32], brain_XYZ: NDArray[np.bool_]) -> str:
    """Why an image is none of magnetic resonance at all, CT or a map of labels; empty if it may be.

    Args:
        data_XYZ: The image.
        brain_XYZ: Its brain mask, not empty.
    """
    air = float((data_XYZ <= HOUNSFIELD_AIR).mean())
    if air > MOST_HOUNSFIELD_AIR:
        return f"{air:.0%} of its voxels are at most {HOUNSFIELD_AIR:g}, as air is on CT alone"
    pairs = brain_XYZ[1:] & brain_XYZ[:-1]
    equal = float((data_XYZ[1:] == data_XYZ[:-1])[pairs].mean()) if pairs.any() else 0.0
    if equal > MOST_PLATEAUS:
        return f"{equal:.0%} of neighbours in the brain have one value, as in a map of labels"
    return ""


def suspicion(measures: ContrastMeasures, modality: Modality) -> str:
    """What makes an image unlikely to be of the modality of its name; empty if nothing does."""
    if modality == "T1w" and measures.centre < DARK_CENTRE and measures.bright < NO_BRIGHT_END:
        return (
            "white matter is no brighter than grey, as on FLAIR or proton density: the centre of "
            f"its brain over the whole is {measures.centre:.2f}"
        )
    return ""


def odd_ones(measures: Sequence[ContrastMeasures | None], modality: Modality) -> list[str]:
    """What is odd about the contrast of each scan of a cohort; empty where nothing is.

    That is what makes its own modality unlikely, else what of it is far from the others. Far is
    more than six standard deviations, estimated from the median distance to the median, and more
    than scanners and heads differ. A cohort of half T1w and half something else has no median to
    speak of: nothing of that is told.

    Args:
        measures: Of all scans of a cohort in one modality; ``None`` of those not measured.
        modality: That modality.
    """
    alone = ["" if one is None else suspicion(one, modality) for one in measures]
    return [own or other for own, other in zip(alone, _far_from_others(measures), strict=True)]


def _far_from_others(measures: Sequence[ContrastMeasures | None]) -> list[str]:
    known = [one for one in measures if one is not None]
    notes: list[list[str]] = [[] for _ in measures]
    if len(known) < FEWEST_TO_COMPARE:
        return [""] * len(measures)
    for name, (words, usual) in _WORDS.items():
        values = np.array([getattr(one, name) for one in known])
        middle = float(np.median(values))
        spread = _TO_SD * float(np.median(np.abs(values - middle)))
        for note, one in zip(notes, measures, strict=True):
            value = middle if one is None else float(getattr(one, name))
            if abs(value - middle) > max(usual, _DEVIATIONS * spread):
                note.append(f"{words} is {value:.2f}, and {middle:.2f} in its cohort")
    return [
        f"the contrast is not that of the others: {'; '.join(note)}" if note else ""
        for note in notes
    ]
