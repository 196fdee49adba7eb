"""What settings do to a figure: lines over one, all at once, their importance. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from dashboard.charts import GRID_SCALE, finish
from dashboard.tables import GridLine
from dashboard.text import plot_text
from study.report.importances import Importance, Tried, is_number
from trainables.description import Setting, Value, value_order, value_text

_N_SHADES = 16

_LIGHTEST = 0.86
"""The end of the colour scale is too light for lines on a white page."""

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
    figure.update_layout(showlegend=True)
    return figure


def parallel_figure(settings: Sequence[Tried], metric: str, label: Label) -> go.Figure:
    """Every setting as a line through its values, coloured by its figure, the best on top.

    Lines of about one colour are one trace, so that thousands are drawn quickly.

    Args:
        settings: At least one, with a setting that varies.
        metric: What the figures are called.
        label: What people read for a setting.
    """
    names = list(settings[0].params)
    columns = [_places(settings, name) for name in names]
    low, high = min(one.value for one in settings), max(one.value for one in settings)
    span = (high - low) or 1.0
    shares = [(one.value - low) / span for one in settings]
    heights = [*zip(*columns, strict=True)]
    figure = go.Figure()
    ends = [_LIGHTEST * i / (_N_SHADES - 1) for i in range(_N_SHADES)]
    colours = sample_colorscale(GRID_SCALE, ends)
    for shade, colour in enumerate(colours):
        of_shade = [i for i, share in enumerate(shares) if _shade(share) == shade]
        figure.add_scatter(
            x=[x for _ in of_shade for x in (*range(len(names) + 1), None)],
            y=[y for i in of_shade for y in (*heights[i], shares[i], None)],
            mode="lines",
            line={"color": colour, "width": 1.6},
            opacity=0.8,
            hoverinfo="skip",
            showlegend=False,
        )
    figure.add_scatter(
        x=[len(names)] * len(settings),
        y=shares,
        mode="markers",
        marker={
            "color": [one.value for one in settings],
            "colorscale": colours,
            "cmin": low,
            "cmax": low + span,
            "size": 7,
            "showscale": True,
            "colorbar": {"title": {"text": metric, "side": "right"}, "thickness": 12},
        },
        customdata=[_in_words(one, label) for one in settings],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )
    _draw_axes(figure, settings, [*(label(name) for name in names), metric])
    return figure


def _shade(share: float) -> int:
    return min(int(share * _N_SHADES), _N_SHADES - 1)


def _places(settings: Sequence[Tried], name: str) -> list[float]:
    """Where the values of a setting lie, 0 to 1, at even steps, since factors are tried."""
    values = _values(settings, name)
    place = {repr(value): i / max(len(values) - 1, 1) for i, value in enumerate(values)}
    return [place[repr(one.params[name])] for one in settings]


def _values(settings: Sequence[Tried], name: str) -> list[Value]:
    distinct = {repr(one.params[name]): one.params[name] for one in settings}
    return sorted(distinct.values(), key=value_order)


def _in_words(one: Tried, label: Label) -> str:
    told = ", ".join(f"{label(name)} {value_text(value)}" for name, value in one.params.items())
    return f"{plot_text(told)}<br>{one.value:.3f}"


def _draw_axes(figure: go.Figure, settings: Sequence[Tried], titles: Sequence[str]) -> None:
    """An upright axis for each setting with its values, and one for the figure without."""
    for x, title in enumerate(titles):
        figure.add_shape(
            x0=x, x1=x, y0=0, y1=1, line={"color": "#9A9A9A", "width": 1}, layer="below"
        )
        figure.add_annotation(
            x=x, y=1.07, text=f"<b>{plot_text(title)}</b>", showarrow=False, yanchor="bottom"
        )
    for x, name in enumerate(settings[0].params):
        values = _values(settings, name)
        for i, value in enumerate(values):
            figure.add_annotation(
                x=x,
                y=i / max(len(values) - 1, 1),
                text=plot_text(value_text(value)),
                showarrow=False,
                xanchor="right",
                xshift=-6,
            )
    finish(figure, "", "", height=400)
    figure.update_xaxes(visible=False, range=[-0.35, len(titles) - 0.85])
    figure.update_yaxes(visible=False, range=[-0.06, 1.2])
    figure.update_layout(dragmode=False)


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


def _faint(colour: str) -> str:
    """A colour of a line for its band."""
    if len(colour) == 7 and colour.startswith("#"):
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},0.14)"
    return "rgba(128,128,128,0.14)"
