"""A few trials beside each other: their curves, the settings that differ, their score maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import streamlit as st

from dashboard import state
from dashboard.curve_charts import Trace, roc_figure
from dashboard.data import showcase
from dashboard.figures import chart
from dashboard.frame import Frame, problem, wide
from dashboard.leaderboard import differing
from dashboard.map_charts import TRUTH_COLOUR, MapPanel, map_row, row_width
from dashboard.maps import outline, region_mask, score_range
from dashboard.text import figure_text, markdown_text
from dashboard.trial_curves import points_of
from datasets.storage import StorageError
from study.records.showcase import ShowcaseMaps

MOST = 6
"""So many trials can be told apart in one figure."""

_COLOURS = ("#D55E00", "#2F7FC1", "#009E73", "#CC79A7", "#E69F00", "#8C8C8C")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_LARGEST = 210

Maps = dict[tuple[str, int], ShowcaseMaps]
"""The stored slices of an evaluation by subject and slice."""


@dataclass(frozen=True)
class Compared:
    """A result row beside others.

    Attributes:
        frame: The study that it is of.
        row: With the fields of a result row.
        name: What people read for it; each its own.
    """

    frame: Frame
    row: dict[str, Any]
    name: str


def roc_together(compared: Sequence[Compared], key: str, *, log_x: bool) -> None:
    """The ROC curves of some rows on one plot; what cannot be read is said.

    Args:
        compared: At most :data:`MOST` rows of one test cohort and region.
        key: Of the figure; unique on the page.
        log_x: Whether the false positive rate is logarithmic.
    """
    traces = []
    for place, one in enumerate(compared):
        if one.row["auc"] is None:
            continue
        try:
            points = points_of(one.frame, one.row)
        except StorageError as error:
            problem(f"{one.name}: {error}")
            continue
        label = f"{one.name} · {figure_text(one.row['auc'])}"
        look = (_COLOURS[place % MOST], _DASHES[place % MOST])
        traces.append(Trace(label, points.fpr, points.tpr, *look, points.notes))
    if not traces:
        st.caption("None of these has a ROC curve that can be read.")
        return
    chart(
        roc_figure(traces, log_x=log_x),
        key,
        lambda: curves_table(traces),
        f"ROC curves of {', '.join(trace.name for trace in traces)}",
    )


def curves_table(traces: Sequence[Trace]) -> pa.Table:
    """Curves as a table, a row a point."""
    return pa.table(
        {
            "Curve": [t.name for t in traces for _ in t.x],
            "False positive rate": [float(x) for t in traces for x in t.x],
            "True positive rate": [y for t in traces for y in t.y],
            "Threshold": [note for t in traces for note in t.notes],
        }
    )


def settings_apart(compared: Sequence[Compared]) -> None:
    """A table of the settings that are not the same in all rows."""
    found = differing([one.row["spec"] for one in compared])
    if not found:
        st.caption("They are the same settings.")
        return
    columns = {"Setting": [markdown_text(name) for name, _ in found]}
    for place, one in enumerate(compared):
        columns[markdown_text(one.name)] = [markdown_text(told[place]) for _, told in found]
    with st.container(key="settings-apart"):
        st.table(pa.table(columns), border="horizontal", hide_index=True)


def maps_together(compared: Sequence[Compared], region: str) -> None:
    """The stored score maps of one slice, side by side.

    Args:
        compared: Rows of one test cohort.
        region: Which pixels count.
    """
    stored: dict[str, Maps] = {}
    for one in compared:
        try:
            slices = showcase(
                one.frame.uri, one.frame.study, one.row["trial_id"], one.row["eval_id"]
            )
        except StorageError as error:
            problem(f"Score maps of {one.name}: {error}")
            continue
        stored[one.name] = {
            (s.subject, s.slice_index): s for s in slices if one.row["score"] in s.scores
        }
    shown = [one for one in compared if stored.get(one.name)]
    places = sorted({place for some in stored.values() for place in some})
    if not places:
        st.caption("None of these has stored score maps.")
        return
    texts = {
        f"{subject.partition('/')[2]}, slice {index}": (subject, index) for subject, index in places
    }
    here = texts[state.select("Slice", "compared", list(texts), width=280)]
    panels = _panels(shown, stored, here, region)
    with wide("compared", row_width(len(panels), _LARGEST)):
        chart(
            map_row(panels, _LARGEST),
            "compared maps",
            None,
            f"Score maps of {', '.join(one.name for one in shown)} on one slice",
        )
    st.caption("Blue outline: ground truth. Each score has one colour scale, whatever the trial.")


def _panels(
    shown: Sequence[Compared], stored: dict[str, Maps], here: tuple[str, int], region: str
) -> list[MapPanel]:
    """The slice and the maps that are stored of it; equal scores stand beside each other."""
    first = next(some[here] for some in stored.values() if here in some)
    inside = first.image_HW[first.brain_HW]
    high = float(np.percentile(inside, 99.7)) if inside.size else 1.0
    truth = (*outline(first.lesion_HW), TRUTH_COLOUR)
    panels = [MapPanel("Ground truth\n ", first.image_HW, "image", 0.0, high, (truth,), grey=True)]
    scores = list(dict.fromkeys(one.row["score"] for one in shown))
    for one in sorted(shown, key=lambda one: scores.index(one.row["score"])):
        score = one.row["score"]
        if here not in stored[one.name]:
            continue
        low, top = score_range(
            (s.scores[score], region_mask(s.brain_HW, region))
            for other in shown
            if other.row["score"] == score
            for s in stored[other.name].values()
        )
        maps = stored[one.name][here]
        values = maps.scores[score].copy()
        values[~region_mask(maps.brain_HW, region)] = float("nan")
        label = one.frame.names.score(one.row["model"], score)
        panels.append(MapPanel(_two_lines(one.name), values, label, low, top, (truth,)))
    return panels


def _two_lines(name: str, width: int = 24) -> str:
    """A name over its panel; the rest of a long one in a second line."""
    if len(name) <= width:
        return f"{name}\n "
    cut = name.rfind(" ", 0, width + 1)
    return f"{name[:cut]}\n{name[cut + 1 :]}" if cut > 0 else f"{name[:width]}\n{name[width:]}"
