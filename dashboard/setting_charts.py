"""What settings do to a figure: lines over one, all at once, their importance. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboard.charts import GRID_SCALE, finish
from dashboard.tables import GridLine
from dashboard.text import plot_text
from study.report.importances import Importance, Tried, is_number
from trainables.description import Setting, value_order, value_text

Label = Callable[[str], str]
"""What people read for the name of a setting."""


@dataclass(frozen=True)
class ModelLine:
    """The figures of one line of table 1 over a setting.

    Attributes:
        name: What people read for it.
        line: The best setting with each value.
        colour: CSS colour as ``#rrggbb``.
        dash: Plotly's dash.
    """

    name: str
    line: GridLine
    colour: str
    dash: str


def over_setting(lines: Sequence[ModelLine], metric: str, axis: Setting) -> go.Figure:
    """The best figures over one setting, a line a model, with a band from worst to best seed.

    Args:
        lines: At least one, each with a value.
        metric: What the figures are called.
        axis: The setting.
    """
    every = [value for one in lines for value in one.line.parameter]
    numbers = [float(value) for value in every if is_number(value)]
    is_numeric = len(numbers) == len(every)
    by_factors = axis.scale == "log" or max(numbers, default=0) >= 4 * min(numbers, default=1)
    is_log = is_numeric and by_factors and min(numbers) > 0
    figure = go.Figure()
    for one in lines:
        x = list(one.line.parameter) if is_numeric else [value_text(v) for v in one.line.parameter]
        if any(a < b for a, b in zip(one.line.lowest, one.line.highest, strict=True)):
            figure.add_scatter(
                x=[*x, *reversed(x)],
                y=[*one.line.highest, *reversed(one.line.lowest)],
                fill="toself",
                fillcolor=_faint(one.colour),
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
            )
        figure.add_scatter(
            x=x,
            y=list(one.line.values),
            name=plot_text(one.name),
            mode="lines+markers",
            line={"color": one.colour, "dash": one.dash, "width": 2},
            marker={"size": 6},
            hovertemplate=f"<b>{plot_text(one.name)}</b><br>%{{x}}: %{{y:.3f}}<extra></extra>",
        )
    finish(figure, plot_text(axis.title), metric, height=400)
    if is_log:
        values = sorted(set(numbers))
        ticks = {"tickvals": values, "ticktext": [value_text(v) for v in values]}
        figure.update_xaxes(type="log", **ticks)
    elif not is_numeric:
        order = [value_text(v) for v in sorted(set(every), key=value_order)]
        figure.update_xaxes(type="category", categoryarray=order)
    figure.update_yaxes(tickformat=".2f")
    return figure


def parallel_figure(settings: Sequence[Tried], metric: str, label: Label) -> go.Figure:
    """Every setting as a line through its values, coloured by its figure.

    Args:
        settings: At least one, with a setting that varies.
        metric: What the figures are called.
        label: What people read for a setting.
    """
    figures = [one.value for one in settings]
    dimensions = [_dimension(settings, name, label) for name in settings[0].params]
    dimensions.append({"label": plot_text(metric), "values": figures, "tickformat": ".3f"})
    figure = go.Figure()
    figure.add_parcoords(
        line={
            "color": figures,
            "colorscale": GRID_SCALE,
            "cmin": min(figures),
            "cmax": max(figures),
            "showscale": True,
            "colorbar": {"title": {"text": metric, "side": "right"}, "thickness": 12},
        },
        dimensions=dimensions,
        labelfont={"size": 13},
    )
    figure.update_layout(height=400, margin={"l": 60, "r": 20, "t": 56, "b": 24})
    return figure


def importance_figure(shares: Sequence[Importance], label: Label) -> go.Figure:
    """The share of the variance that each setting explains, the largest on top."""
    figure = go.Figure()
    figure.add_bar(
        x=[one.share for one in shares],
        y=[plot_text(label(one.name)) for one in shares],
        orientation="h",
        marker={"color": "#2F7FC1"},
        text=[f"{one.share:.0%}" for one in shares],
        textposition="auto",
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    finish(figure, "Share of the variance", "", height=120 + 34 * len(shares))
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


def _dimension(settings: Sequence[Tried], name: str, label: Label) -> dict[str, object]:
    """A setting as an axis: its values at even steps, since factors are tried, not sums."""
    values = sorted({one.params[name] for one in settings}, key=value_order)
    place = {repr(value): i for i, value in enumerate(values)}
    return {
        "label": plot_text(label(name)),
        "values": [place[repr(one.params[name])] for one in settings],
        "tickvals": list(range(len(values))),
        "ticktext": [plot_text(value_text(value)) for value in values],
        "range": [0, max(len(values) - 1, 1)],
    }


def _faint(colour: str) -> str:
    """A colour of a line for its band."""
    if len(colour) == 7 and colour.startswith("#"):
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},0.14)"
    return "rgba(128,128,128,0.14)"
