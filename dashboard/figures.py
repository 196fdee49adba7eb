"""Figures of a page that their readers can take away: as SVG, and their numbers as CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import streamlit as st

from study.report.formats import inert

_TOOLS_PX = 32
"""Room for the button above a figure."""

Data = Callable[[], pa.Table]
"""Gives the numbers of a figure; asked when somebody downloads them."""


def chart(
    figure: go.Figure, key: str, data: Data | None, alt: str, *, stem: str = "", **options: Any
) -> Any:
    """Draw a figure with a button that saves it as SVG, and below it one for its numbers.

    Args:
        figure: The figure.
        key: Of the widget; unique on the page.
        data: The numbers behind the figure, a row a point; None for those that it draws.
        alt: What the figure shows, for those who do not see it.
        stem: Name of the files without their ending; by default from ``key``.
        **options: Passed to ``st.plotly_chart``, such as ``on_select``.

    Returns:
        What ``st.plotly_chart`` returns: the selection, where one may be made.
    """
    name = file_stem(stem or key)
    missing = max(_TOOLS_PX - (figure.layout.margin.t or 0), 0)
    figure.update_layout(margin={"t": (figure.layout.margin.t or 0) + missing})
    if figure.layout.height:
        figure.update_layout(height=figure.layout.height + missing)
    event = st.plotly_chart(figure, key=key, config=plot_config(name), alt=alt, **options)
    download_table(f"{key} csv", data or (lambda: numbers_of(figure)), name)
    return event


def numbers_of(figure: go.Figure) -> pa.Table:
    """What a figure draws: a row a point of its lines, boxes and pictures.

    Returns:
        Columns ``drawn`` (the line's name or the picture's number), ``x``, ``y`` as text, and
        ``value`` of pictures.
    """
    rows: list[tuple[str, str, str, float | None]] = []
    for number, trace in enumerate(figure.data, 1):
        name = html.unescape(trace.name or f"{trace.type} {number}")
        if trace.type == "heatmap":
            rows += [(name, *point) for point in _pixels(trace)]
            continue
        x = [] if trace.x is None else list(trace.x)
        y = [""] * len(x) if trace.y is None else list(trace.y)
        points = [(a, b) for a, b in zip(x, y, strict=False) if a is not None and b is not None]
        rows += [(name, str(a), str(b), None) for a, b in points]
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    kinds = (pa.string(), pa.string(), pa.string(), pa.float64())
    named = zip(("drawn", "x", "y", "value"), columns, kinds, strict=True)
    return pa.table({column: pa.array(values, kind) for column, values, kind in named})


def _pixels(trace: go.Heatmap) -> list[tuple[str, str, float]]:
    """Column, row and value of what is known of a picture."""
    values = np.asarray(trace.z, float)
    left, top = (0 if first is None else int(first) for first in (trace.x0, trace.y0))
    x = range(left, left + values.shape[1]) if trace.x is None else trace.x
    y = range(top, top + values.shape[0]) if trace.y is None else trace.y
    known = np.argwhere(np.isfinite(values))
    return [(str(x[c]), str(y[r]), float(values[r, c])) for r, c in known]


def plot_config(stem: str) -> dict[str, Any]:
    """A figure's tools: one button, which saves it as a vector graphic.

    Args:
        stem: Name of the file without its ending.
    """
    return {
        "displaylogo": False,
        "displayModeBar": True,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": "svg", "filename": stem},
    }


def download_table(key: str, data: Data, stem: str, label: str = "Data as CSV") -> None:
    """A small button that saves a table; the table is made when it is pressed.

    Args:
        key: Of the widget; unique on the page.
        data: Gives the table.
        stem: Name of the file without its ending.
        label: What the button says.
    """
    st.download_button(
        label,
        lambda: table_bytes(data()),
        file_name=f"{file_stem(stem)}.csv",
        mime="text/csv",
        key=key,
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def table_bytes(table: pa.Table) -> bytes:
    """A table as CSV in UTF-8, empty where there is no value; no cell is read as a formula."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([inert(name) for name in table.column_names])
    columns = [column.to_pylist() for column in table.columns]
    for row in zip(*columns, strict=True):
        writer.writerow([inert(value) for value in row])
    return sink.getvalue().encode()


def file_stem(name: str) -> str:
    """A name as part of a file's name, whatever signs it has."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "figure"
