"""Curves as pure functions of numbers: losses over epochs, ROC, precision over recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import finish
from dashboard.text import plot_text


@dataclass(frozen=True)
class Trace:
    """A line of a figure with a name.

    Attributes:
        name: What the legend says, as the store has it.
        x: Positions.
        y: Figures.
        colour: CSS colour.
        dash: Plotly's dash.
        notes: What hovering says of each point besides, such as the threshold.
        width: In pixels.
        in_legend: Whether the legend names it.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: str
    dash: str = "solid"
    notes: Sequence[str] = ()
    width: float = 2.0
    in_legend: bool = True


def loss_curves(curves: Sequence[Trace], *, log_y: bool) -> go.Figure:
    """Loss over epochs; training solid, validation dotted."""
    figure = go.Figure()
    for curve in curves:
        name = plot_text(curve.name)
        figure.add_scatter(
            x=list(curve.x),
            y=list(curve.y),
            name=name,
            mode="lines+markers" if len(curve.x) < 40 else "lines",
            line={"color": curve.colour, "dash": curve.dash, "width": curve.width},
            marker={"size": 5},
            showlegend=curve.in_legend,
            hovertemplate=f"{name}<br>epoch %{{x}}: %{{y:.5g}}<extra></extra>",
        )
    finish(figure, "Epoch", "Loss (objective of the model)", height=360)
    figure.update_xaxes(rangemode="tozero", tickformat="d")
    if log_y:
        figure.update_yaxes(type="log", exponentformat="power")
    return figure


def roc_figure(curves: Sequence[Trace], *, log_x: bool, lowest: float = 1e-4) -> go.Figure:
    """ROC curves with chance; hovering tells the threshold.

    Args:
        curves: False positive rate against true positive rate.
        log_x: Whether the false positive rate is logarithmic, from ``lowest`` on.
        lowest: Left end of a logarithmic axis.
    """
    figure = go.Figure()
    chance = np.geomspace(lowest, 1, 50) if log_x else np.array([0.0, 1.0])
    figure.add_scatter(
        x=chance.tolist(),
        y=chance.tolist(),
        name="chance",
        mode="lines",
        line={"color": "#9A9A9A", "dash": "dash", "width": 1},
        hoverinfo="skip",
    )
    for curve in curves:
        _add_curve(figure, curve, "false positive rate", "true positive rate", log_x=log_x)
    finish(figure, "False positive rate (share of healthy pixels)", _TPR, height=460)
    figure.update_yaxes(range=[0, 1.01])
    if log_x:
        figure.update_xaxes(type="log", range=[np.log10(lowest), 0], dtick=1, tickformat=".0e")
    else:
        figure.update_xaxes(range=[0, 1])
    return figure


_TPR = "True positive rate (share of lesion pixels)"


def precision_recall_figure(curves: Sequence[Trace], chance: float | None) -> go.Figure:
    """Precision over recall; hovering tells the threshold.

    Args:
        curves: Recall against precision.
        chance: Precision of guessing: the share of lesion pixels.
    """
    figure = go.Figure()
    if chance is not None:
        figure.add_scatter(
            x=[0, 1],
            y=[chance, chance],
            name="chance",
            mode="lines",
            line={"color": "#9A9A9A", "dash": "dash", "width": 1},
            hovertemplate=f"chance: {chance:.4f}<extra></extra>",
        )
    for curve in curves:
        _add_curve(figure, curve, "recall", "precision", log_x=False)
    finish(figure, "Recall (share of lesion pixels)", "Precision", height=460)
    figure.update_xaxes(range=[0, 1])
    figure.update_yaxes(range=[0, _precision_top(curves, chance)])
    return figure


def _precision_top(curves: Sequence[Trace], chance: float | None) -> float:
    """Where the axis of precision ends: lesions are rare, so curves may lie low.

    The first few pixels that a threshold lets in say little, so they do not count.
    """
    values = [
        y for c in curves for x, y in zip(c.x, c.y, strict=True) if x >= 0.02 and y is not None
    ]
    return float(min(1.01, 1.15 * max([*values, 2 * (chance or 0.0), 0.01])))


def _add_curve(figure: go.Figure, curve: Trace, x: str, y: str, *, log_x: bool) -> None:
    name = plot_text(curve.name)
    shown = [v if v > 0 or not log_x else None for v in curve.x]
    figure.add_scatter(
        x=shown,
        y=list(curve.y),
        name=name,
        mode="lines",
        line={"color": curve.colour, "dash": curve.dash, "width": curve.width},
        customdata=list(curve.notes),
        hovertemplate=(
            f"<b>{name}</b><br>{x} %{{x:.4f}}<br>{y} %{{y:.4f}}"
            "<br>threshold %{customdata}<extra></extra>"
        ),
    )
