"""What the viewer in the browser is told, as one run of bytes. Pure functions.

The bytes are: the length of a JSON text (uint32), the text, padded with spaces to a multiple of
eight bytes, then the arrays that its ``arrays`` names, each at an offset from there that is a
multiple of eight. All numbers are little-endian. Masks are bits, the highest first, as of
``numpy.packbits``; codes are of the brain's voxels alone, in the order of the volume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.map_charts import MAP_SCALE, TRUTH_COLOUR
from dashboard.volumes import LETTERS, PLANES, Coded, Grid, Scale

COLOUR_MAPS: Mapping[str, tuple[str, ...]] = {
    "inferno": MAP_SCALE,
    "viridis": (
        "#440154",
        "#482878",
        "#3e4989",
        "#31688e",
        "#26828e",
        "#1f9e89",
        "#35b779",
        "#6ece58",
        "#b5de2b",
        "#fde725",
    ),
    "grey": ("#000000", "#ffffff"),
    "red": ("#3a0000", "#ff2a1f", "#ffd5cf"),
}
"""Colours from the low to the high end, at equal distances. Inferno and viridis are matplotlib's
(CC0)."""

_ALIGNMENT = 8


@dataclass(frozen=True, eq=False)
class ScoreVolume:
    """One score of one side.

    Attributes:
        key: What the address calls it; of this trial and score alone.
        name: What people read.
        coded: Its numbers.
        low: Lower end of the colours.
        high: Upper end.
        threshold: The threshold to begin with, or None to show everything.
        ends: The thresholds worth trying.
    """

    key: str
    name: str
    coded: Coded
    low: float
    high: float
    threshold: float | None
    ends: tuple[float, float]


@dataclass(frozen=True)
class Side:
    """What one model says of the scan.

    Attributes:
        name: What people read.
        scores: Up to two score volumes, drawn in this order.
    """

    name: str
    scores: Sequence[ScoreVolume]


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan and what one or two models say of it.

    Attributes:
        key: What the address calls the scan.
        name: What people read.
        grid: Where its voxels lie.
        brain_ZYX: Brain mask.
        lesion_ZYX: Lesion mask.
        missing: Planes that have no slice.
        image: Intensities of the brain's voxels.
        window: The intensities that are black and white to begin with.
        start: Where the crosshair is to begin with, along X, Y and Z.
        sides: One or two.
    """

    key: str
    name: str
    grid: Grid
    brain_ZYX: NDArray[np.bool_]
    lesion_ZYX: NDArray[np.bool_]
    missing: Sequence[int]
    image: Coded
    window: tuple[float, float]
    start: tuple[int, int, int]
    sides: Sequence[Side]


def packed(scene: Scene) -> bytes:
    """Everything about a scene that the browser needs."""
    arrays: dict[str, NDArray[Any]] = {
        "brain": np.packbits(scene.brain_ZYX),
        "lesion": np.packbits(scene.lesion_ZYX),
        "image": scene.image.codes_V,
    }
    for number, side in enumerate(scene.sides):
        for place, score in enumerate(side.scores):
            arrays[_name(number, place)] = score.coded.codes_V
    offsets, body = _joined(arrays)
    text = json.dumps({**_told(scene), "arrays": offsets}, allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % _ALIGNMENT)
    return np.array(len(text), "<u4").tobytes() + text + body


def _told(scene: Scene) -> dict[str, Any]:
    nz, ny, nx = scene.brain_ZYX.shape
    return {
        "key": scene.key,
        "name": scene.name,
        "shape": [nx, ny, nz],
        "grid": asdict(scene.grid),
        "missing": list(scene.missing),
        "image": _scale(scene.image.scale),
        "window": scene.window,
        "start": scene.start,
        "planes": [asdict(plane) for plane in PLANES],
        "letters": LETTERS,
        "lesion_colour": TRUTH_COLOUR,
        "colour_maps": COLOUR_MAPS,
        "sides": [
            {
                "name": side.name,
                "scores": [
                    {
                        "key": score.key,
                        "name": score.name,
                        "array": _name(number, place),
                        "scale": _scale(score.coded.scale),
                        "low": score.low,
                        "high": score.high,
                        "threshold": score.threshold,
                        "ends": score.ends,
                    }
                    for place, score in enumerate(side.scores)
                ],
            }
            for number, side in enumerate(scene.sides)
        ],
    }


def _name(side: int, place: int) -> str:
    return f"score-{side}-{place}"


def _scale(scale: Scale) -> dict[str, Any]:
    return {"values": scale.values, "codes": scale.codes}


def _joined(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, list[int]], bytes]:
    """Offset and length in bytes of each array, and their bytes one after another."""
    offsets: dict[str, list[int]] = {}
    parts: list[bytes] = []
    at = 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        offsets[name] = [at, len(data)]
        data += b"\0" * (-len(data) % _ALIGNMENT)
        parts.append(data)
        at += len(data)
    return offsets, b"".join(parts)
