"""Small pictures of preprocessed scans as inline SVG: a slice, outlines, orientation letters.

The picture itself is a JPEG inside the SVG; outlines are paths over it, so they stay sharp at any
size and on paper.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.settings import SIZE
from datasets.shards import SliceColumns

_BRIGHTEST = 99.5
_QUALITY = 80


@dataclass(frozen=True)
class Pictures:
    """Two views of a scan.

    Attributes:
        axial: SVG of the slice with most lesion, or else the middle one.
        sagittal: SVG of a cut from front to back through the lesion, or else the middle.
        slice_index: Z index, in the RAS volume, of the axial slice.
    """

    axial: str
    sagittal: str
    slice_index: int


def draw_scan(columns: SliceColumns) -> Pictures:
    """Draw a scan.

    Args:
        columns: The slices, as :func:`datasets.shards.read_slices` gives them; at least one.
    """
    images_NHW = columns.images_NHW.astype(np.float32)
    brain_NHW, lesion_NHW = _unpack(columns.brain_bits_NK), _unpack(columns.lesion_bits_NK)
    white = float(np.percentile(images_NHW[brain_NHW], _BRIGHTEST)) if brain_NHW.any() else 1.0
    chosen = _most(lesion_NHW.sum(axis=(1, 2)), len(lesion_NHW) // 2)
    axial = svg(images_NHW[chosen], brain_NHW[chosen], lesion_NHW[chosen], white, "APLR")
    weight_W = brain_NHW.sum(axis=(0, 1))
    middle = int(np.average(np.arange(SIZE), weights=weight_W)) if weight_W.any() else SIZE // 2
    column = _most(lesion_NHW.sum(axis=(0, 1)), middle)
    z_N = columns.slice_index_N - columns.slice_index_N[0]
    height = columns.geometry.spacing_mm[2] / columns.geometry.pixel_mm
    cuts = [_stand(stack[:, :, column], z_N) for stack in (images_NHW, brain_NHW, lesion_NHW)]
    sagittal = svg(cuts[0], cuts[1] > 0, cuts[2] > 0, white, "SIAP", height)
    return Pictures(axial, sagittal, int(columns.slice_index_N[chosen]))


def svg(
    image_HW: NDArray[np.float32],
    brain_HW: NDArray[np.bool_],
    lesion_HW: NDArray[np.bool_],
    white: float,
    letters: str,
    row_height: float = 1.0,
) -> str:
    """One picture.

    Args:
        image_HW: Intensities; 0 is black.
        brain_HW: Outlined.
        lesion_HW: Outlined in another colour.
        white: The intensity that is white.
        letters: What lies at the top, bottom, left and right.
        row_height: Height of a pixel over its width.
    """
    rows, width = image_HW.shape
    height = rows * row_height
    grey = np.clip(image_HW / max(white, 1e-6) * 255, 0, 255).astype(np.uint8)
    places = zip(
        letters,
        (
            (width / 2, -2),
            (width / 2, height + 8),
            (-5, height / 2 + 3),
            (width + 5, height / 2 + 3),
        ),
        strict=True,
    )
    words = "".join(f'<text x="{x:.4g}" y="{y:.4g}">{letter}</text>' for letter, (x, y) in places)
    return (
        f'<svg viewBox="-10 -10 {width + 20} {height + 20:.4g}" role="img">'
        f'<image width="{width}" height="{height:.4g}" preserveAspectRatio="none" '
        f'href="data:image/jpeg;base64,{_jpeg(grey)}"/>'
        f'<g transform="scale(1 {row_height:.4g})">'
        f'<path class="brain" d="{outline(brain_HW)}"/>'
        f'<path class="lesion" d="{outline(lesion_HW)}"/></g>{words}</svg>'
    )


def outline(mask_HW: NDArray[np.bool_]) -> str:
    """The border of a mask as an SVG path along pixel edges, in pixels; empty for an empty mask."""
    padded = np.pad(mask_HW, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    along = padded[1:-1, 1:] != padded[1:-1, :-1]
    level = [f"M{x} {y}h{n}" for y, x, n in _runs(across)]
    upright = [f"M{x} {y}v{n}" for x, y, n in _runs(along.T)]
    return "".join(level + upright)


def _runs(edges_AB: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Runs of true values along B: their row, start and length."""
    steps = np.diff(np.pad(edges_AB, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return [(int(r), int(s), int(e - s)) for r, s, e in zip(rows, starts, ends, strict=True)]


def _unpack(bits_NK: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.unpackbits(bits_NK, axis=1).reshape(-1, SIZE, SIZE).astype(bool)


def _most(counts: NDArray[np.int64], otherwise: int) -> int:
    return int(counts.argmax()) if counts.any() else otherwise


def _stand(cut_NH: NDArray[np.generic], z_N: NDArray[np.int32]) -> NDArray[np.float32]:
    """Rows at their own height, the topmost first; slices that were left out stay black."""
    rows_ZH = np.zeros((int(z_N[-1]) + 1, cut_NH.shape[1]), dtype=np.float32)
    rows_ZH[z_N] = cut_NH
    return rows_ZH[::-1]


def _jpeg(grey_HW: NDArray[np.uint8]) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey_HW)).save(stream, "JPEG", quality=_QUALITY)
    return base64.b64encode(stream.getvalue()).decode("ascii")
