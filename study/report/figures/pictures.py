"""Slices and maps as panels: one way up, a scale bar, letters for the sides, colour bars.

Row 0 is anterior and column 0 the patient's left: what is left in a panel is the patient's left.

Shape legend: H = W = 128 pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from study.records.showcase import ShowcaseMaps
from study.report.figures.style import MAP, SMALL_PT, TRUTH, axes_at

BAR_MM = 20
"""Length of the scale bar."""

LOW, HIGH = 0.5, 99.5
"""Percentiles of the brain's pixels where a colour scale ends."""

Map = NDArray[np.float32]

_EDGED = [withStroke(linewidth=1.6, foreground="black")]
"""White letters stay readable on a bright slice."""

_NEARLY_ZERO = 0.05
"""A scale that begins at less than this share of its end begins at 0."""


@dataclass(frozen=True)
class Scale:
    """The ends of a colour scale."""

    low: float
    high: float


def grey_scale(shown: ShowcaseMaps) -> Scale:
    """The window of a slice: from 0 to nearly its brightest brain pixel."""
    inside = shown.image_HW[shown.brain_HW]
    return Scale(0.0, float(np.percentile(inside, HIGH)) if inside.size else 1.0)


def map_scale(maps: Iterable[tuple[Map, ShowcaseMaps]]) -> Scale:
    """The scale that maps share: percentiles of all their brain pixels together, or from 0 on."""
    inside = np.concatenate([values[shown.brain_HW] for values, shown in maps])
    inside = inside[np.isfinite(inside)]
    if not inside.size:
        return Scale(0.0, 1.0)
    low, high = np.percentile(inside.astype(np.float64), [LOW, HIGH])
    low = 0.0 if 0 <= low < _NEARLY_ZERO * high else float(low)
    return Scale(low, float(high) if high > low else low + 1e-6)


def show_slice(axes: Axes, image_HW: Map, scale: Scale) -> AxesImage:
    """A slice in shades of grey."""
    _frame(axes)
    return axes.imshow(
        image_HW, cmap="gray", vmin=scale.low, vmax=scale.high, interpolation="nearest"
    )


def show_map(axes: Axes, map_HW: Map, brain_HW: NDArray[np.bool_], scale: Scale) -> AxesImage:
    """A map within the brain; outside of it nothing counts, and nothing is shown."""
    _frame(axes)
    inside = np.ma.masked_array(map_HW.astype(np.float64), ~brain_HW)
    return axes.imshow(inside, cmap=MAP, vmin=scale.low, vmax=scale.high, interpolation="nearest")


def show_truth(axes: Axes, lesion_HW: NDArray[np.bool_]) -> None:
    """The outline of the ground truth along the edges of its pixels."""
    _outline(axes, lesion_HW, TRUTH, 0.7)


def show_marked(axes: Axes, marked_HW: NDArray[np.bool_]) -> None:
    """The outline of what a threshold marks on a map."""
    _outline(axes, marked_HW, "white", 0.3)


def _outline(axes: Axes, mask_HW: NDArray[np.bool_], colour: str, width: float) -> None:
    """The outline of a mask along the edges of its pixels."""
    rows, columns = mask_HW.shape
    padded = np.pad(mask_HW, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    upright = padded[1:-1, 1:] != padded[1:-1, :-1]
    level = [((x - 0.5, y - 0.5), (x + 0.5, y - 0.5)) for y, x in np.argwhere(across)]
    steep = [((x - 0.5, y - 0.5), (x - 0.5, y + 0.5)) for y, x in np.argwhere(upright)]
    axes.add_collection(LineCollection(level + steep, colors=colour, linewidths=width))
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def mark_sides(axes: Axes) -> None:
    """Letters for the patient's left and right."""
    options: dict[str, Any] = {
        "color": "white",
        "size": SMALL_PT,
        "va": "top",
        "transform": axes.transAxes,
        "path_effects": _EDGED,
    }
    axes.text(0.03, 0.98, "L", ha="left", **options)
    axes.text(0.97, 0.98, "R", ha="right", **options)


def mark_scale(axes: Axes, pixel_mm: float | None, *, labelled: bool = True) -> None:
    """A bar of 20 mm, where the size of a pixel is known; a small panel has no room for a label."""
    if pixel_mm is None:
        return
    left, bottom, length = 4.0, 121.0, BAR_MM / pixel_mm
    axes.plot(
        [left, left + length],
        [bottom, bottom],
        color="white",
        linewidth=1.4,
        solid_capstyle="butt",
        path_effects=_EDGED,
    )
    if labelled:
        words = f"{BAR_MM} mm"
        options: dict[str, Any] = {"color": "white", "size": SMALL_PT, "path_effects": _EDGED}
        axes.text(left + length + 2, bottom, words, va="center_baseline", **options)


def colour_bar(
    figure: Figure, image: AxesImage, place: tuple[float, float, float], scale: Scale
) -> None:
    """A bar below panels, its ends labelled.

    Args:
        figure: The figure.
        image: What it explains.
        place: Its left end, top and width in mm.
        scale: Its ends.
    """
    left, top, width = place
    axes = axes_at(figure, left, top, width, 1.4)
    bar = figure.colorbar(image, cax=axes, orientation="horizontal", ticks=[scale.low, scale.high])
    bar.outline.set_linewidth(0.4)
    ends = [short_number(scale.low), short_number(scale.high)]
    labels = bar.ax.set_xticklabels(ends)
    labels[0].set_horizontalalignment("left")
    labels[1].set_horizontalalignment("right")
    bar.ax.tick_params(length=1.0)


def short_number(value: float) -> str:
    """A number in a few signs."""
    return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "\N{MINUS SIGN}")


def _frame(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[], facecolor="black")
    for spine in axes.spines.values():
        spine.set_visible(False)
