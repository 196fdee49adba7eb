"""Slices and score maps as figures: rows of pictures with shared colour scales. Pure functions.

Blue and orange outlines are told apart by people with any colour blindness, also on the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    figure = go.Figure()
    for i, panel in enumerate(panels):
        suffix = "" if i == 0 else str(i + 1)
        span = (i / n + 0.03 / n, (i + 1) / n - 0.03 / n)
        _add_map(figure, panel, suffix)
        figure.update_layout(
            {
                f"xaxis{suffix}": {**_BARE, "domain": span, "range": [-0.5, 127.5]},
                f"yaxis{suffix}": {
                    **_BARE,
                    "range": [127.5, -0.5],
                    "scaleanchor": f"x{suffix}",
                    "domain": rows,
                    "constraintoward": "top",
                },
            }
        )
        figure.add_annotation(
            text="<br>".join(plot_text(part) for part in panel.title.split("\n")),
            x=sum(span) / 2,
            y=rows[1],
            xref="paper",
            yref="paper",
            xanchor="center",
            yanchor="bottom",
            showarrow=False,
            font={"size": 11},
        )
    _add_bars(figure, panels, n, rows[0])
    figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0}, height=height, dragmode=False)
    return figure


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


def _add_map(figure: go.Figure, panel: MapPanel, suffix: str) -> None:
    axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
    figure.add_heatmap(
        z=panel.values_HW,
        zmin=panel.low,
        zmax=panel.high,
        colorscale=IMAGE_SCALE if panel.grey else list(MAP_SCALE),
        showscale=False,
        hoverongaps=False,
        hovertemplate="row %{y}, column %{x}<br>%{z:.4g}<extra></extra>",
        **axes,
    )
    for x, y, colour in panel.outlines:
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": colour, "width": 1.4},
            hoverinfo="skip",
            showlegend=False,
            **axes,
        )


def _end(value: float, span: float) -> str:
    """The end of a colour bar; next to nothing, beside the bar's length, is nothing."""
    return "0" if abs(value) < 0.005 * span else f"{value:.2g}"


def _add_bars(figure: go.Figure, panels: Sequence[MapPanel], n: int, top: float) -> None:
    start = 0
    while start < len(panels):
        stop = start
        while stop < len(panels) and panels[stop].group == panels[start].group:
            stop += 1
        first = panels[start]
        ends = [first.low, first.high]
        if not first.grey:
            # A colour bar belongs to a trace; an empty one carries it for the whole group.
            figure.add_scatter(
                x=[None],
                y=[None],
                mode="markers",
                showlegend=False,
                hoverinfo="skip",
                marker={
                    "color": [first.low],
                    "cmin": first.low,
                    "cmax": first.high,
                    "colorscale": list(MAP_SCALE),
                    "showscale": True,
                    "colorbar": {
                        "orientation": "h",
                        "x": (start + stop) / 2 / n,
                        "xanchor": "center",
                        "y": top - 0.03,
                        "yanchor": "top",
                        "len": (stop - start) / n * 0.9,
                        "thickness": 7,
                        "ypad": 0,
                        "tickvals": ends,
                        "ticktext": [_end(value, ends[1] - ends[0]) for value in ends],
                        "ticks": "",
                        "tickfont": {"size": 10},
                        "title": {
                            "text": plot_text(first.group),
                            "side": "bottom",
                            "font": {"size": 10},
                        },
                        "outlinewidth": 0,
                    },
                },
            )
        start = stop
