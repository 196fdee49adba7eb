"""One page of a scan: three planes through its largest piece, with the map over them.

The page needs nothing beside it and no network: pictures are part of it, and the map's opacity is
set by the browser alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import scipy
from numpy.typing import NDArray
from PIL import Image

from datasets.nifti import Volume
from study.apply.maps import Piece, ScanMaps

SHOWN_FROM = 0.9
"""The lowest share of healthy pixels below that is coloured."""

MOST_PIECES = 30
"""So many pieces are listed."""

_BRIGHTEST = 99.5
_COLOURS = np.array([(120, 0, 30), (220, 60, 20), (250, 160, 30), (255, 245, 150)], np.float64)
_OUTLINE = (0, 220, 255, 255)
_PX_PER_MM = 1.9


@dataclass(frozen=True)
class Plane:
    """A cut through a scan.

    Attributes:
        name: Such as ``axial``.
        letters: What lies at the top, bottom, left and right.
        image: The scan, as a data URI.
        overlay: The map and the outline of the mask, likewise.
        width_px: Width on the page.
        height_px: Height on the page.
        across: Where the other planes cross it, in percent from the left ...
        down: ... and from the top.
    """

    name: str
    letters: str
    image: str
    overlay: str
    width_px: int
    height_px: int
    across: float
    down: float


def page_text(
    volume: Volume, maps: ScanMaps, found: Sequence[Piece], facts: Mapping[str, Any]
) -> str:
    """The page of a scan.

    Args:
        volume: The scan.
        maps: Its maps.
        found: Their pieces, the largest first.
        facts: What the page says besides: ``title``, ``model``, ``threshold``, ``volume_ml``,
            ``pixel_mm`` and ``notes``.
    """
    if found:
        inverse = np.linalg.inv(volume.affine)
        at = np.rint(inverse[:3, :3] @ np.array(found[0].peak_mm) + inverse[:3, 3]).astype(int)
    else:
        at = np.array([np.median(axis) for axis in np.nonzero(maps.scored_XYZ)]).astype(int)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("scan.html").render(
        planes=_planes(volume, maps, at),
        pieces=found[:MOST_PIECES],
        n_more=max(len(found) - MOST_PIECES, 0),
        has_share=maps.share_XYZ is not None,
        shown_from=SHOWN_FROM,
        colours=[f"rgb({r:.0f},{g:.0f},{b:.0f})" for r, g, b in _COLOURS],
        **facts,
    )


def _planes(volume: Volume, maps: ScanMaps, at: NDArray[np.intp]) -> list[Plane]:
    """The three planes through a voxel."""
    data_XYZ = volume.data_XYZ
    inside = data_XYZ[maps.scored_XYZ]
    white = float(np.percentile(inside, _BRIGHTEST)) if inside.size else float(data_XYZ.max())
    level_XYZ = _level(maps)
    found = []
    # The other two axes: what runs to the right on the page, and what runs upwards.
    for name, letters, axis, right, up, is_flipped in (
        ("axial", "APLR", 2, 0, 1, False),
        ("coronal", "SILR", 1, 0, 2, False),
        ("sagittal", "SIAP", 0, 1, 2, True),  # the face looks to the left
    ):

        def cut(
            values: NDArray[Any],
            axis: int = axis,
            is_transposed: bool = right < up,
            is_flipped: bool = is_flipped,
        ) -> NDArray[Any]:
            plane: NDArray[Any] = values.take(int(at[axis]), axis=axis)
            plane = (plane.T if is_transposed else plane)[::-1]
            return plane[:, ::-1] if is_flipped else plane

        width, height = data_XYZ.shape[right], data_XYZ.shape[up]
        spacing = volume.spacing_mm
        across = (int(at[right]) + 0.5) / width
        found.append(
            Plane(
                name,
                letters,
                _jpeg(cut(data_XYZ) / max(white, 1e-12)),
                _png(_coloured(cut(level_XYZ), cut(maps.lesion_XYZ))),
                round(width * spacing[right] * _PX_PER_MM),
                round(height * spacing[up] * _PX_PER_MM),
                round(100 * (1 - across if is_flipped else across), 2),
                round(100 * (1 - (int(at[up]) + 0.5) / height), 2),
            )
        )
    return found


def _level(maps: ScanMaps) -> NDArray[np.float32]:
    """How strongly each voxel is coloured, 0 (not at all) to 1."""
    if maps.share_XYZ is not None:
        level = (maps.share_XYZ - SHOWN_FROM) / (1 - SHOWN_FROM)
    else:
        inside = maps.score_XYZ[maps.scored_XYZ]
        low, high = np.percentile(inside, [100 * SHOWN_FROM, 100]) if inside.size else (0, 1)
        level = (maps.score_XYZ - low) / max(high - low, 1e-12)
    clipped: NDArray[np.float32] = np.where(maps.scored_XYZ, level.clip(0, 1), 0)
    return clipped


def _coloured(level: NDArray[np.float32], lesion: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colours with opacity, (rows, columns, 4), and the outline of the mask."""
    stops = np.linspace(0, 1, len(_COLOURS))
    colours = [np.interp(level, stops, _COLOURS[:, channel]) for channel in range(3)]
    opacity = np.where(level > 0, 255, 0)
    pixels = np.stack([*colours, opacity], axis=-1).astype(np.uint8)
    pixels[lesion & ~scipy.ndimage.binary_erosion(lesion)] = _OUTLINE
    return pixels


def _jpeg(values: NDArray[np.floating]) -> str:
    grey = (values.clip(0, 1) * 255).astype(np.uint8)
    return _uri(Image.fromarray(grey), "JPEG", quality=85)


def _png(pixels: NDArray[np.uint8]) -> str:
    return _uri(Image.fromarray(pixels, "RGBA"), "PNG", optimize=True)


def _uri(image: Image.Image, kind: str, **options: Any) -> str:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"
