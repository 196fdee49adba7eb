"""Differences of two studies' figures with their intervals. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from dashboard.charts import finish
from dashboard.text import plot_text
from study.records.names import Names
from study.report.two_studies import Difference

_COLOURS = ("#2F7FC1", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")


def difference_figure(
    found: Mapping[str, Sequence[Difference]], names: Names, column: tuple[str, str]
) -> go.Figure:
    """By how much the ROC-AUC of each line is higher here than in other studies.

    Args:
        found: The differences by what the other study is called.
        names: What models and scores are called.
        column: The cohort and modality to draw.
    """
    figure = go.Figure()
    lines: dict[str, None] = {}
    for place, (name, some) in enumerate(found.items()):
        known = [d for d in some if (d.cohort, d.modality) == column]
        labels = [plot_text(names.short_line(d.model, d.score)) for d in known]
        lines |= dict.fromkeys(labels)
        values = [difference_of(d) for d in known]
        ends = [
            (v - d.comparison.low, d.comparison.high - v) if d.comparison else (0.0, 0.0)
            for v, d in zip(values, known, strict=True)
        ]
        figure.add_scatter(
            x=values,
            y=labels,
            name=plot_text(name),
            mode="markers",
            marker={
                "color": _COLOURS[place % len(_COLOURS)],
                "symbol": _SYMBOLS[place % len(_SYMBOLS)],
                "size": 9,
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high for _, high in ends],
                "arrayminus": [low for low, _ in ends],
                "thickness": 1.2,
            },
            customdata=[[d.here, d.other] for d in known],
            hovertemplate=(
                "<b>%{y}</b><br>here %{customdata[0]:.3f}, there %{customdata[1]:.3f}"
                "<br>difference %{x:+.3f}<extra>%{fullData.name}</extra>"
            ),
        )
    figure.add_vline(x=0, line={"color": "#9A9A9A", "dash": "dash", "width": 1})
    finish(figure, "ROC-AUC here minus there", "", height=140 + 26 * max(len(lines), 1))
    figure.update_yaxes(type="category", categoryarray=list(lines), autorange="reversed")
    figure.update_xaxes(tickformat="+.2f")
    figure.update_layout(showlegend=len(found) > 1)
    return figure


def difference_of(one: Difference) -> float:
    """By how much the AUC is higher here: as it was tested, or else by the two figures."""
    return one.comparison.difference if one.comparison else one.here - one.other
