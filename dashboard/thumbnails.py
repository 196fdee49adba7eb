"""Slices and score maps as small pictures in a table's cells: PNG in ``data:`` addresses.

Shape legend: H = W = 128 pixels.
"""

from __future__ import annotations

import base64
import io

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image, ImageColor

from dashboard.data import read_scan, showcase
from dashboard.map_charts import MAP_SCALE, TRUTH_COLOUR
from dashboard.maps import region_mask, score_range
from datasets.manifest import ScanRecord

_N_SHADES = 254
_OUTSIDE, _OUTLINE = 254, 255


@st.cache_data(show_spinner=False, max_entries=256)
def map_pictures(
    uri: str, study: str, trial_id: str, eval_id: str, score: str, region: str
) -> dict[str, str]:
    """The stored slices of an evaluation by ``cohort/subject``, as maps of one score.

    All have the same colours; the ground truth is outlined.

    Raises:
        StorageError: If the record or the part is missing or damaged.
    """
    slices = [s for s in showcase(uri, study, trial_id, eval_id) if score in s.scores]
    low, high = score_range((s.scores[score], region_mask(s.brain_HW, region)) for s in slices)
    return {
        s.subject: picture(
            s.scores[score],
            region_mask(s.brain_HW, region),
            s.lesion_HW,
            (low, high),
            MAP_SCALE,
        )
        for s in slices
    }


@st.cache_data(show_spinner=False, max_entries=2048)
def image_picture(uri: str, record: ScanRecord) -> str:
    """The slice of a scan with the largest lesion, or the middle one, with its outline.

    Raises:
        StorageError: If its part is missing, damaged or of another version.
    """
    scan = read_scan(uri, record)
    area = scan.lesion_NHW.sum(axis=(1, 2))
    row = int(area.argmax()) if area.any() else len(area) // 2
    image_HW, brain_HW = scan.images_NHW[row], scan.brain_NHW[row]
    high = float(np.percentile(image_HW[brain_HW], 99.7)) if brain_HW.any() else 1.0
    everywhere = np.ones_like(brain_HW)
    greys = ("#000000", "#FFFFFF")
    return picture(image_HW, everywhere, scan.lesion_NHW[row], (0.0, high), greys)


def picture(
    values_HW: NDArray[np.float32],
    mask_HW: NDArray[np.bool_],
    lesion_HW: NDArray[np.bool_],
    ends: tuple[float, float],
    colours: tuple[str, ...],
) -> str:
    """A picture as the address of its own content.

    Args:
        values_HW: What is shown.
        mask_HW: Where it is shown; the rest is black.
        lesion_HW: What is outlined.
        ends: The values of the first and the last colour.
        colours: CSS colours at even steps.
    """
    low, high = ends
    share_HW = np.clip((np.nan_to_num(values_HW) - low) / max(high - low, 1e-12), 0, 1)
    index_HW = np.rint(share_HW * (_N_SHADES - 1)).astype(np.uint8)
    index_HW[~mask_HW] = _OUTSIDE
    index_HW[_rim(lesion_HW)] = _OUTLINE
    image = Image.fromarray(index_HW).convert("P")
    image.putpalette(_palette(colours))
    sink = io.BytesIO()
    image.save(sink, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()}"


def _rim(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels just outside a mask, which share an edge with it."""
    padded = np.pad(mask_HW, 1)
    beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    rim: NDArray[np.bool_] = beside & ~mask_HW
    return rim


def _palette(colours: tuple[str, ...]) -> list[int]:
    """Red, green and blue of 256 indices: shades, then black, then the outline's colour."""
    known = np.array([ImageColor.getrgb(colour)[:3] for colour in colours], float)
    places = np.linspace(0, len(known) - 1, _N_SHADES)
    steps = np.arange(len(known))
    shades = np.stack([np.interp(places, steps, known[:, i]) for i in range(3)], axis=1)
    last = [[0, 0, 0], list(ImageColor.getrgb(TRUTH_COLOUR)[:3])]
    return [int(v) for v in np.concatenate([np.rint(shades), last]).ravel()]
