"""Subjects as points: how well each is segmented, and how large its lesions are. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.charts import finish
from dashboard.text import figure_text, plot_text
from study.report.subjects import SubjectFigures


def volume_scatter(subjects: Sequence[SubjectFigures], colour: str) -> go.Figure:
    """AUC of each subject over the volume of its lesions, with clickable points.

    A point's ``customdata`` begins with its subject's place in :func:`with_a_point`. Subjects
    without an AUC or a volume above 0 have no point.

    Args:
        subjects: In any order.
        colour: CSS colour of the points.
    """
    shown = with_a_point(subjects)
    figure = go.Figure()
    figure.add_scatter(
        x=[s.lesion_ml for s in shown],
        y=[s.auc for s in shown],
        mode="markers",
        customdata=[
            [place, plot_text(s.subject), figure_text(s.dice)] for place, s in enumerate(shown)
        ],
        marker={"size": 9, "color": colour, "opacity": 0.8},
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 0.8}},
        showlegend=False,
        hovertemplate="<b>%{customdata[1]}</b><br>AUC %{y:.3f}, Dice %{customdata[2]}"
        "<br>lesion %{x:.3g} ml<extra></extra>",
    )
    figure.add_hline(y=0.5, line={"color": "#9A9A9A", "dash": "dash", "width": 1})
    finish(figure, "Lesion volume (ml)", "AUC of the subject", height=420)
    figure.update_xaxes(type="log", dtick="D2", tickformat="~g", minor={"showgrid": False})
    figure.update_yaxes(tickformat=".2f")
    figure.update_layout(clickmode="event+select", dragmode=False)
    return figure


def with_a_point(subjects: Sequence[SubjectFigures]) -> list[SubjectFigures]:
    """The subjects that have a place in the figure."""
    return [s for s in subjects if s.auc is not None and s.lesion_ml]
