"""Which voxels are brain: a mask that comes with the data, an already stripped image, or a tool.

Every mask, wherever it came from, passes the same quality control (``datasets/qc.py``). What fails
is tried once more in another way; what fails again sets the scan aside with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from datasets.errors import ScanError
from datasets.extractors import Tool, extractor_identity, run_extractor
from datasets.nifti import Volume, load_mask
from datasets.qc import LIMITS, BrainLimits, BrainMeasures, largest_piece, measure_brain, verdict
from datasets.repair import fill_holes, widen_at_lesions
from datasets.scan import Scan

GIVEN = "given mask"
STRIPPED = "already stripped"

STRIPPED_BORDER_SHARE = 0.95
"""Share of the field of view's border that holds one single value in a stripped image."""


@dataclass(frozen=True)
class BrainMask:
    """A brain mask that passed quality control.

    Attributes:
        mask_XYZ: bool, one connected piece.
        tool: What made it, with its version.
        measures: What quality control measured.
        notes: What was dropped or tried before, one sentence each.
    """

    mask_XYZ: NDArray[np.bool_]
    tool: str
    measures: BrainMeasures
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Attempt:
    tool: str
    settings: str
    run: Callable[[], tuple[NDArray[np.bool_], tuple[str, ...]]]


def brain_source(scan: Scan, tool: Tool) -> str:
    """What would tell this scan's brain, with its version: part of its key.

    A scan of which it is unknown whether it is stripped counts as the tool's.

    Raises:
        ExtractorError: If the tool is needed and is not there.
    """
    if scan.brain_mask is not None:
        return f"{GIVEN}, or else {extractor_identity(tool)}"
    return STRIPPED if scan.stripped else extractor_identity(tool)


def extract_brain(
    volume: Volume,
    scan: Scan,
    tool: Tool = "deepbet",
    limits: BrainLimits = LIMITS,
    *,
    widened: bool = False,
) -> BrainMask:
    """Tell brain from everything else, or say why it can't be told.

    Args:
        volume: The scan's image in RAS.
        scan: Says whether a mask comes with it and whether it is stripped.
        tool: What removes the skull where there is one.
        limits: Of quality control.
        widened: Whether a tool's mask is widened beside lesions that are far darker than the
            other side, see :func:`datasets.repair.widen_at_lesions`.

    Raises:
        ScanError: If no mask passes quality control; the message gives the reasons.
        ExtractorError: If the tool is needed and is not there.
    """
    failures: list[str] = []
    for attempt in _attempts(volume, scan, tool, limits, widened):
        try:
            mask_XYZ, notes = attempt.run()
        except ScanError as error:
            failures.append(f"{attempt.tool} ({attempt.settings}): {error}")
            continue
        if not mask_XYZ.any():
            failures.append(f"{attempt.tool} ({attempt.settings}): the mask is empty")
            continue
        piece_XYZ, measures = measure_brain(mask_XYZ, volume.spacing_mm, volume.voxel_mm3)
        fault = verdict(measures, limits)
        if not fault:
            notes += _dropped(mask_XYZ, piece_XYZ)
            earlier = tuple(f"tried before: {failure}" for failure in failures)
            return BrainMask(piece_XYZ, attempt.tool, measures, (*earlier, *notes))
        failures.append(f"{attempt.tool} ({attempt.settings}): {fault}")
    raise ScanError(f"no brain mask passes quality control: {' | '.join(failures)}")


def recognise_stripped(volume: Volume, limits: BrainLimits = LIMITS) -> NDArray[np.bool_] | None:
    """The brain of an image that is already stripped, recognised from its voxels.

    Such an image has one exact background value all along its border, and everything else is one
    compact piece of a brain's size once its holes are filled. A whole head may have an exact
    background too, but is far larger than a brain.

    Returns:
        bool mask, or ``None`` if the image looks like a whole head.
    """
    background, share = _background(volume.data_XYZ)
    if share < STRIPPED_BORDER_SHARE:
        return None
    piece_XYZ, piece_share = largest_piece(volume.data_XYZ != background)
    if piece_share < limits.min_largest_share:
        return None
    brain_XYZ = fill_holes(piece_XYZ)
    _, measures = measure_brain(brain_XYZ, volume.spacing_mm, volume.voxel_mm3)
    return None if verdict(measures, limits) else brain_XYZ


def _attempts(
    volume: Volume, scan: Scan, tool: Tool, limits: BrainLimits, widened: bool
) -> Iterator[_Attempt]:
    """At most two ways to a mask, the better first; the second is looked for when it is asked."""
    given = scan.brain_mask
    if given is None:
        yield from _unaided_attempts(volume, scan, tool, limits, widened)
    else:
        yield _Attempt(GIVEN, "as it is", lambda: load_mask(given, volume, scan.image))
        yield next(_unaided_attempts(volume, scan, tool, limits, widened))


def _unaided_attempts(
    volume: Volume, scan: Scan, tool: Tool, limits: BrainLimits, widened: bool
) -> Iterator[_Attempt]:
    if scan.stripped:
        yield _Attempt(STRIPPED, "exact background", lambda: (_foreground(volume, 0.0), ()))
        yield _Attempt(STRIPPED, "background within 2 %", lambda: (_foreground(volume, 0.02), ()))
        return
    identity = extractor_identity(tool)
    recognised_XYZ = recognise_stripped(volume, limits) if scan.stripped is None else None
    if recognised_XYZ is not None:
        note = ("recognised as already stripped",)
        yield _Attempt(STRIPPED, "recognised", lambda: (recognised_XYZ, note))
        return
    yield _Attempt(identity, "first settings", lambda: _extracted(tool, volume, False, widened))
    yield _Attempt(identity, "second settings", lambda: _extracted(tool, volume, True, widened))


def _extracted(
    tool: Tool, volume: Volume, second: bool, widened: bool
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """A tool's mask without holes and loose pieces, and widened beside dark lesions if asked."""
    mask_XYZ = run_extractor(tool, volume, second)
    piece_XYZ, share = largest_piece(mask_XYZ)
    if share < LIMITS.min_largest_share:
        return mask_XYZ, ()  # quality control says what is wrong with it
    notes = _dropped(mask_XYZ, piece_XYZ)
    brain_XYZ = fill_holes(piece_XYZ)
    if not widened:
        return brain_XYZ, notes
    widened_XYZ = widen_at_lesions(brain_XYZ, volume.data_XYZ, volume.spacing_mm)
    added = int(widened_XYZ.sum()) - int(brain_XYZ.sum())
    if added:
        added_ml = added * volume.voxel_mm3 / 1000
        words = "beside tissue darker than the other side's"
        notes = (*notes, f"widened the brain mask by {added_ml:.1f} ml {words}")
    return widened_XYZ, notes


def _dropped(mask_XYZ: NDArray[np.bool_], piece_XYZ: NDArray[np.bool_]) -> tuple[str, ...]:
    dropped = int(mask_XYZ.sum()) - int(piece_XYZ.sum())
    return (f"dropped {dropped} voxels of the brain mask that lie apart",) if dropped else ()


def _foreground(volume: Volume, tolerance: float) -> NDArray[np.bool_]:
    """What differs from the background by more than a share of the bright voxels' distance."""
    background, _ = _background(volume.data_XYZ)
    distance_XYZ = np.abs(volume.data_XYZ - np.float32(background))
    if tolerance == 0.0:
        return fill_holes(largest_piece(distance_XYZ > 0)[0])
    inside = distance_XYZ[distance_XYZ > 0]
    bright = float(np.percentile(inside, 99)) if len(inside) else 0.0
    opened_XYZ = scipy.ndimage.binary_opening(distance_XYZ > tolerance * bright)
    return fill_holes(largest_piece(opened_XYZ)[0])


def _background(data_XYZ: NDArray[np.float32]) -> tuple[float, float]:
    """The most frequent value on the border of the field of view, and its share of the border."""
    faces = (face for axis in range(3) for face in (0, data_XYZ.shape[axis] - 1))
    axes = (axis for axis in range(3) for _ in range(2))
    border = np.concatenate(
        [data_XYZ.take(face, axis=axis).ravel() for face, axis in zip(faces, axes, strict=True)]
    )
    values, counts = np.unique(border, return_counts=True)
    return float(values[counts.argmax()]), float(counts.max() / counts.sum())
