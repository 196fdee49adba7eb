"""Slices and score maps as figures: rows of pictures with shared colour scales. Pure functions.

Blue and orange outlines are told apart by people with any colour blindness, also on the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboard.text import plot_text

TRUTH_COLOUR = "#00C8FF"
SEGMENT_COLOUR = "#F5A300"
IMAGE_SCALE = "gray"
MAP_SCALE = (
    "#02010a",
    "#1b0c41",
    "#4a0c6b",
    "#781c6d",
    "#a52c60",
    "#cf4446",
    "#ed6925",
    "#fb9b06",
    "#f7d13d",
    "#fcffa4",
)
"""Matplotlib's inferno (CC0), but for its darkest colour: Streamlit's theme takes ``#000004`` for a
placeholder of its own and paints a pink over it."""


@dataclass(frozen=True)
class MapPanel:
    """One picture of a row of maps.

    Attributes:
        title: Above it, as the store has it.
        values_HW: What is shown; NaN is left transparent.
        group: Panels of one group share a colour scale; its name stands under the bar.
        low: Lower end of the colour scale.
        high: Upper end.
        outlines: Masks' outlines, as (x, y, colour).
        grey: Whether it is an image, not a score.
    """

    title: str
    values_HW: NDArray[np.float32]
    group: str
    low: float
    high: float
    outlines: tuple[tuple[Sequence[float | None], Sequence[float | None], str], ...] = ()
    grey: bool = False


def map_row(panels: Sequence[MapPanel], largest: int = 230, slots: int = 0) -> go.Figure:
    """Pictures in one row; neighbours of one group share a colour scale and its bar below.

    Args:
        panels: The pictures, from left to right.
        largest: No picture is higher than that, in pixels.
        slots: Room for that many pictures at least; what is left stays free.
    """
    n = max(len(panels), slots, 1)
    has_bars = any(not panel.grey for panel in panels)
    side = _side(n, largest)
    above, below = 34, 40 if has_bars else 4
    height = round(above + side + below)
    rows = (below / height, 1 - above / height)
    traces: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    titles = []
    for i, panel in enumerate(panels):
        suffix = "" if i == 0 else str(i + 1)
        span = (i / n + 0.03 / n, (i + 1) / n - 0.03 / n)
        traces += _map_traces(panel, suffix)
        axes[f"xaxis{suffix}"] = {**_BARE, "domain": span, "range": [-0.5, 127.5]}
        axes[f"yaxis{suffix}"] = {
            **_BARE,
            "range": [127.5, -0.5],
            "scaleanchor": f"x{suffix}",
            "domain": rows,
            "constraintoward": "top",
        }
        titles.append(_panel_title(panel.title, sum(span) / 2, rows[1]))
    rest = {"margin": {"l": 0, "r": 0, "t": 0, "b": 0}, "height": height, "dragmode": False}
    # In one piece: plotly takes several times as long for a figure that grows.
    return go.Figure(
        data=traces + _bars(panels, n, rows[0]), layout={"annotations": titles, **axes, **rest}
    )


def _panel_title(text: str, x: float, y: float) -> dict[str, Any]:
    return {
        "text": "<br>".join(plot_text(part) for part in text.split("\n")),
        "x": x,
        "y": y,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "center",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 11},
    }


def row_width(n: int, largest: int = 230) -> int:
    """The width in pixels that a row of ``n`` pictures needs; a narrower one leaves gaps below."""
    return round(0.9 * n * _side(n, largest))


def _side(n: int, largest: int) -> float:
    return min(_ROW_WIDTH / n, largest)


_ROW_WIDTH = 1160
"""Width of the page's content at 1280 px, which the height of a row is made for."""

_BARE = {
    "visible": False,
    "fixedrange": True,
    "constrain": "domain",
    "showgrid": False,
    "zeroline": False,
}


def _map_traces(panel: MapPanel, suffix: str) -> list[dict[str, Any]]:
    axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
    rows, columns = _shown(panel.values_HW)
    picture = {
        "type": "heatmap",
        "z": panel.values_HW[rows, columns],
        "y0": rows.start,
        "x0": columns.start,
        "zmin": panel.low,
        "zmax": panel.high,
        "colorscale": IMAGE_SCALE if panel.grey else list(MAP_SCALE),
        "showscale": False,
        "hoverongaps": False,
        "hovertemplate": "row %{y}, column %{x}<br>%{z:.4g}<extra></extra>",
        **axes,
    }
    outlines = [
        {
            "type": "scatter",
            "x": x,
            "y": y,
            "mode": "lines",
            "line": {"color": colour, "width": 1.4},
            "hoverinfo": "skip",
            "showlegend": False,
            **axes,
        }
        for x, y, colour in panel.outlines
    ]
    return [picture, *outlines]


def _shown(values_HW: NDArray[np.float32]) -> tuple[slice, slice]:
    """The rows and columns beyond which nothing is seen: half as much is sent and drawn."""
    known_HW = np.isfinite(values_HW)
    if not known_HW.any():
        return slice(0, len(values_HW)), slice(0, values_HW.shape[1])
    ends = [np.flatnonzero(known_HW.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    rows, columns = (slice(int(first), int(last) + 1) for first, last in ends)
    return rows, columns


def _end(value: float, span: float) -> str:
    """The end of a colour bar; next to nothing, beside the bar's length, is nothing."""
    return "0" if abs(value) < 0.005 * span else f"{value:.2g}"


def _bars(panels: Sequence[MapPanel], n: int, top: float) -> list[dict[str, Any]]:
    """The colour bar of each group of scores: an empty trace that carries it."""
    found = []
    start = 0
    for _, group in groupby(panels, key=lambda panel: panel.group):
        members = list(group)
        stop = start + len(members)
        first = members[0]
        if not first.grey:
            bar = {
                **_BAR,
                "x": (start + stop) / 2 / n,
                "y": top - 0.03,
                "len": (stop - start) / n * 0.9,
                "tickvals": [first.low, first.high],
                "ticktext": [_end(end, first.high - first.low) for end in (first.low, first.high)],
                "title": {"text": plot_text(first.group), "side": "bottom", "font": {"size": 10}},
            }
            scale = {"cmin": first.low, "cmax": first.high, "colorscale": list(MAP_SCALE)}
            found.append(
                {
                    "type": "scatter",
                    "x": [None],
                    "y": [None],
                    "mode": "markers",
                    "showlegend": False,
                    "hoverinfo": "skip",
                    "marker": {"color": [first.low], **scale, "showscale": True, "colorbar": bar},
                }
            )
        start = stop
    return found


_BAR = {
    "orientation": "h",
    "xanchor": "center",
    "yanchor": "top",
    "thickness": 7,
    "ypad": 0,
    "ticks": "",
    "tickfont": {"size": 10},
    "outlinewidth": 0,
}
