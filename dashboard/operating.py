"""Table 1 at a threshold that healthy subjects chose, beneath the table of the best settings."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import streamlit as st

from dashboard import state
from dashboard.text import markdown_text
from study.report.operating import Operating, OperatingPoint
from study.report.operating_table import BY_HIGHEST, CRITERION, point_of, reference_sentence
from study.report.table_one import TableOne
from study.report.thresholds import SHARES, USUAL, threshold_name

_HEADS: dict[str, Callable[[OperatingPoint], str]] = {
    "Sensitivity": lambda point: _figure(point.sensitivity),
    "Dice": lambda point: _figure(point.dice),
    "False, ml a scan": lambda point: (
        "—" if point.false_positive_ml is None else f"{point.false_positive_ml:.1f}"
    ),
    "Lesions found": lambda point: (
        "—" if point.lesions_half is None else f"{point.lesions_half:.0%}"
    ),
    "Any pixel": lambda point: "—" if point.lesions_any is None else f"{point.lesions_any:.0%}",
}


def at_thresholds(table: TableOne) -> None:
    """Draw the cells at one threshold; nothing where no cell is known at any.

    Args:
        table: Table 1, as far as a run or a report has worked its thresholds out.
    """
    places = [
        (column, line, found)
        for column in table.columns
        for line in table.lines
        if (found := table.cells[line, column].operating) is not None
    ]
    if not places:
        return
    st.header("At a threshold without test labels", anchor=False)
    names = {threshold_name(share): share for share in SHARES}
    name = state.segmented(
        "Threshold", "threshold", list(names), default=threshold_name(USUAL), show=markdown_text
    )
    rows = []
    for number, (column, line, found) in enumerate(places):
        is_first = not number or places[number - 1][0] != column
        point = point_of(found, names[name]) or OperatingPoint(name)
        rows.append(
            {
                "Test cohort": f"**{markdown_text(' '.join(column))}**" if is_first else "",
                "Score": markdown_text(table.names.short_line(*line)),
                **{head: text(point) for head, text in _HEADS.items()},
                "Slice AUC": _figure(found.slice_auc),
                "Subject AUC": _figure(found.subject_detection_auc),
            }
        )
    st.table(
        pa.Table.from_pylist(rows),
        border="horizontal",
        hide_index=True,
        alt=f"Each model and score on each test cohort at the threshold {name}",
    )
    st.caption(markdown_text(" ".join([*_references(places), CRITERION, BY_HIGHEST])))


def _references(places: list[tuple[tuple[str, str], tuple[str, str], Operating]]) -> list[str]:
    """Who chose the thresholds of each test cohort, and whether they are too few."""
    first: dict[tuple[str, str], Operating] = {}
    for column, _, found in places:
        first.setdefault(column, found)
    return [reference_sentence(found, " ".join(column)) for column, found in first.items()]


def _figure(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
