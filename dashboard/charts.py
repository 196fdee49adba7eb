"""The dashboard's figures as pure functions of numbers: no Streamlit, no store.

Colours are Okabe and Ito's, which people with any colour blindness tell apart, and a score always
has the same colour and dash; colour maps are perceptually uniform. Every text that comes from a
store is escaped, since plotly reads HTML in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard.tables import GridCell, GridLine
from dashboard.text import plot_text
from study.records.names import Names
from study.report.table_one import Cell, TableOne
from trainables.description import Setting, value_order, value_text

GRID_SCALE = "Viridis"
_OTHER_COLOURS = ("#D55E00", "#2F7FC1", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")


def line_style(names: Names, model: str, score: str, position: int = 0) -> tuple[str, str]:
    """Colour and dash of a model's score: its own, or else one by its position."""
    known = names.score_of(model, score)
    if known.colour:
        return known.colour, known.dash
    return _OTHER_COLOURS[position % len(_OTHER_COLOURS)], "dashdot"


def grid_figure(
    cells: Sequence[GridCell],
    metric: str,
    low: float,
    high: float,
    axes: tuple[Setting, Setting],
    chosen: str = "",
) -> go.Figure:
    """Two settings as a heat map of clickable squares.

    The colours are a heat map; what is clicked are squares of a scatter above it, since plotly
    reports no clicks on heat maps. A square's ``customdata`` begins with its trial.

    Args:
        cells: The grid.
        metric: What the figures are called.
        low: Lower end of the colour scale.
        high: Upper end.
        axes: The settings that name the rows and the columns, such as N_c and N_z.
        chosen: Trial to mark.
    """
    down, across = axes
    downs = [value_text(v) for v in sorted({cell.down for cell in cells}, key=value_order)]
    acrosses = [value_text(v) for v in sorted({cell.across for cell in cells}, key=value_order)]
    value = {(value_text(c.down), value_text(c.across)): c.value for c in cells}
    z = [[value.get((y, x)) for x in acrosses] for y in downs]
    figure = go.Figure()
    figure.add_heatmap(
        x=acrosses,
        y=downs,
        z=z,
        zmin=low,
        zmax=high,
        colorscale=GRID_SCALE,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
        colorbar={"title": {"text": metric, "side": "right"}, "thickness": 12, "tickformat": ".3f"},
    )
    middle = (low + high) / 2
    figure.add_scatter(
        x=[value_text(cell.across) for cell in cells],
        y=[value_text(cell.down) for cell in cells],
        mode="markers+text",
        text=[f"<b>{c.value:.3f}</b>" if c.trial_id == chosen else f"{c.value:.3f}" for c in cells],
        textfont={"color": ["white" if c.value < middle else "black" for c in cells], "size": 13},
        customdata=[
            [c.trial_id, value_text(c.down), value_text(c.across), c.n_trials, c.lowest, c.highest]
            for c in cells
        ],
        marker={
            "symbol": "square",
            "size": 44,
            "color": "rgba(0,0,0,0)",
            "line": {
                "color": ["#FFFFFF" if c.trial_id == chosen else "rgba(0,0,0,0)" for c in cells],
                "width": 2,
            },
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}, "textfont": {"color": None}},
        showlegend=False,
        hovertemplate=(
            f"{_symbol(down)} %{{customdata[1]}}, {_symbol(across)} %{{customdata[2]}}"
            f"<br>{metric} %{{text}}"
            "<br>seeds %{customdata[3]}, from %{customdata[4]:.3f} to %{customdata[5]:.3f}"
            "<br>click to open<extra></extra>"
        ),
    )
    height = 150 + 64 * len(downs)
    finish(figure, plot_text(across.title), plot_text(down.title), height=height)
    figure.update_xaxes(type="category", categoryarray=acrosses, showgrid=False)
    figure.update_yaxes(type="category", categoryarray=downs, showgrid=False)
    figure.update_layout(clickmode="event+select", dragmode=False, hovermode="closest")
    return figure


def line_figure(line: GridLine, metric: str, low: float, high: float, axis: Setting) -> go.Figure:
    """A figure over one setting, with clickable points.

    Args:
        line: The best settings.
        metric: What the figures are called.
        low: The lowest figure that is shown anywhere.
        high: The highest.
        axis: The setting, such as lambda.
    """
    numbers = [v for v in line.parameter if isinstance(v, int | float)]
    is_number = len(numbers) == len(line.parameter)
    is_log = is_number and axis.scale == "log" and min(numbers, default=0) > 0
    figure = go.Figure()
    figure.add_scatter(
        x=list(line.parameter) if is_number else [value_text(v) for v in line.parameter],
        y=list(line.values),
        mode="lines+markers",
        customdata=[
            [trial_id, value_text(value)]
            for trial_id, value in zip(line.trial_ids, line.parameter, strict=True)
        ],
        line={"color": "#E69F00", "width": 2},
        marker={"size": 14, "symbol": "square", "color": "#E69F00"},
        unselected={"marker": {"opacity": 1}},
        showlegend=False,
        hovertemplate=f"{_symbol(axis)} %{{customdata[1]}}<br>{metric} %{{y:.3f}}"
        "<br>click to open<extra></extra>",
    )
    finish(figure, plot_text(axis.title), metric, height=340)
    margin = max(high - low, 1e-3) * 0.15
    if is_log:
        figure.update_xaxes(type="log", dtick=1, tickformat="g")
    elif not is_number:
        figure.update_xaxes(type="category")
    figure.update_yaxes(range=[low - margin, high + margin])
    figure.update_layout(clickmode="event+select", dragmode=False, hovermode="closest")
    return figure


def _symbol(setting: Setting) -> str:
    return plot_text(setting.symbol or setting.name)


def paper_figure(table: TableOne, columns: Sequence[tuple[str, str]]) -> go.Figure:
    """Ours beside the paper's figure: a panel per column, a line per model and score.

    Args:
        table: Table 1 with ROC-AUCs.
        columns: The (cohort, modality) to draw, from left to right.
    """
    n = len(columns)
    names = [plot_text(table.names.short_line(*line)) for line in table.lines]
    styles = [line_style(table.names, *line, i) for i, line in enumerate(table.lines)]
    colours = [colour for colour, _ in styles]
    traces: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    chances, titles = [], []
    for i, column in enumerate(columns):
        suffix = "" if i == 0 else str(i + 1)
        cells = [table.cells[line, column] for line in table.lines]
        traces += _pair_traces(names, cells, colours, {"xaxis": f"x{suffix}", "yaxis": "y"})
        span = [i / n + 0.01 * min(i, 1), (i + 1) / n - 0.01]
        axes[f"xaxis{suffix}"] = {"domain": span, "anchor": "y"}
        chances.append(_chance_line(f"x{suffix}"))
        titles.append(_column_title(" ".join(column), span[0]))
    # In one piece: plotly takes several times as long for a figure that grows.
    figure = go.Figure(data=traces, layout={**axes, "shapes": chances, "annotations": titles})
    finish(figure, "ROC-AUC", "", height=90 + 26 * len(names))
    figure.update_xaxes(range=_span(table, columns))
    figure.update_yaxes(autorange="reversed", categoryarray=names, type="category")
    figure.update_layout(showlegend=False, margin={"t": 32})
    return figure


def _chance_line(axis: str) -> dict[str, Any]:
    line = {"color": "#9A9A9A", "dash": "dash", "width": 1}
    return {"x0": 0.5, "x1": 0.5, "y0": 0, "y1": 1, "yref": "paper", "xref": axis, "line": line}


def _column_title(text: str, x: float) -> dict[str, Any]:
    return {
        "text": f"<b>{plot_text(text)}</b>",
        "x": x,
        "y": 1.02,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 13},
    }


def _span(table: TableOne, columns: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """One range for all panels, so that the same place means the same figure."""
    known = [0.5]
    for column in columns:
        for line in table.lines:
            cell = table.cells[line, column]
            ends = (*(cell.interval or ()), *(cell.spread or ()), cell.value, cell.paper)
            known += [end for end in ends if end is not None]
    return min(known) - 0.03, max(known) + 0.03


def _pair_traces(
    names: Sequence[str], cells: Sequence[Cell], colours: Sequence[str], axes: dict[str, str]
) -> list[dict[str, Any]]:
    """The paper's and our figure of each line, tied together."""
    ends = [
        (name, cell.paper, cell.value)
        for name, cell in zip(names, cells, strict=True)
        if cell.paper is not None and cell.value is not None
    ]
    tie = {
        "x": [x for _, paper, ours in ends for x in (paper, ours, None)],
        "y": [y for name, _, _ in ends for y in (name, name, None)],
        "mode": "lines",
        "line": {"color": "#9A9A9A", "width": 1.5},
        "hoverinfo": "skip",
    }
    papers = {
        "x": [cell.paper for cell in cells],
        "y": list(names),
        "mode": "markers",
        "marker": {"symbol": "diamond-open", "size": 10, "color": "#8C8C8C", "line": {"width": 2}},
        "hovertemplate": "%{y}<br>paper %{x:.3f}<extra></extra>",
    }
    ours = {
        "x": [cell.value for cell in cells],
        "y": list(names),
        "mode": "markers",
        "marker": {"size": 11, "color": list(colours)},
        "error_x": _intervals(cells),
        "customdata": [[plot_text(cell.setting.table_text)] for cell in cells],
        "hovertemplate": "%{y} %{customdata[0]}<br>this study %{x:.3f}<extra></extra>",
    }
    return [{"type": "scatter", **trace, **axes} for trace in (tie, papers, ours)]


def volume_figure(groups: Sequence[tuple[str, Sequence[float]]]) -> go.Figure:
    """Brain volumes, a strip of points and a box per cohort."""
    figure = go.Figure()
    for i, (name, volumes_ml) in enumerate(groups):
        figure.add_box(
            x=list(volumes_ml),
            name=plot_text(name),
            boxpoints="all",
            jitter=0.5,
            pointpos=0,
            marker={"color": _OTHER_COLOURS[(i + 1) % len(_OTHER_COLOURS)], "size": 5},
            line={"width": 1.2},
            fillcolor="rgba(0,0,0,0)",
            hovertemplate="%{x:.0f} ml<extra>%{fullData.name}</extra>",
        )
    finish(figure, "Brain volume (ml)", "", height=100 + 52 * max(len(groups), 1))
    figure.update_layout(showlegend=False)
    figure.update_yaxes(autorange="reversed")
    return figure


def _intervals(cells: Sequence[Cell]) -> dict[str, object] | None:
    ends = [cell.interval or cell.spread for cell in cells]
    if not any(ends):
        return None
    values = [cell.value for cell in cells]
    up = [e[1] - v if e and v is not None else 0 for e, v in zip(ends, values, strict=True)]
    down = [v - e[0] if e and v is not None else 0 for e, v in zip(ends, values, strict=True)]
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.2}


def finish(figure: go.Figure, x: str, y: str, *, height: int) -> None:
    """Give a figure its axes' titles, height and the layout that all have."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "xanchor": "left", "x": 0},
        hovermode="closest",
        hoverlabel={"namelength": -1},
    )
    figure.update_xaxes(title={"text": x}, automargin=True)
    figure.update_yaxes(title={"text": y}, automargin=True)
