"""ROC: curves of the best trials, or of any trials, on one test cohort; precision-recall beside."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dashboard import state
from dashboard.charts import line_style
from dashboard.curve_charts import Trace, precision_recall_figure, roc_figure
from dashboard.data import best_of, rows_of
from dashboard.figures import chart
from dashboard.frame import (
    Frame,
    choose_cohort,
    current,
    empty,
    has_results,
    problem,
    region,
    synthetic_note,
    title,
    watch,
)
from dashboard.text import curve_text, figure_text
from dashboard.trial_curves import points_of
from datasets.storage import StorageError
from study.report.paper import is_usual
from study.terminal import counted

MOST_OTHERS = 100


def main() -> None:
    """Draw the page."""
    frame = current()
    watch(frame)
    title("ROC and precision-recall", "Hover over a curve for the threshold at that point.")
    if not has_results(frame.view, "Curves appear with the first results"):
        return
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        cohort, modality = choose_cohort(frame.view)
        where = region()
        log_x = state.toggle("Logarithmic false positive rate", "logx")
    rows = _choices(frame, cohort, modality, where)
    if not rows:
        empty("No trial has a ROC-AUC here", "A cohort without lesion pixels has no curve.")
        return
    shown = state.many(
        "Curves",
        "curves",
        list(rows),
        default=_first_seeds(rows) or list(rows)[:8],
        show=lambda key: curve_text(frame.names, rows[key]),
        help="First the best setting of each model and score, then the other trials, best first.",
    )
    _figures(frame, [rows[key] for key in shown], log_x=log_x)
    synthetic_note(frame, [cohort])


def _choices(frame: Frame, cohort: str, modality: str, where: str) -> dict[str, dict[str, Any]]:
    """The rows that may be drawn, by trial and score: the best ones first, then the runners-up."""
    place = {"cohort": cohort, "modality": modality, "region": where}
    best = best_of(frame.uri, frame.study, frame.view.version, "auc", frame.view)
    best = [row for row in best if all(row[name] == value for name, value in place.items())]
    table = rows_of(frame.view.results, **place)
    table = table.filter(pc.is_valid(table["auc"]))
    order = pc.sort_indices(table, [("auc", "descending"), ("trial_id", "ascending")])
    others = table.take(order[:MOST_OTHERS]).to_pylist()
    others += _named(table)
    rows: dict[str, dict[str, Any]] = {}
    for row in [*({**row, "is_best": True} for row in best), *others]:
        rows.setdefault(f"{row['trial_id']}:{row['score']}", {"is_best": False, **row})
    return rows


def _named(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of the trials that the address or an earlier choice names."""
    starts = {text.rpartition(" ")[2] for text in st.query_params.get_all(state.key("curves"))}
    starts |= {key.partition(":")[0] for key in st.session_state.get(state.key("curves"), ())}
    found: list[dict[str, Any]] = []
    for start in sorted(starts - {""}):
        found += table.filter(pc.starts_with(table["trial_id"], start)).to_pylist()
    return found


def _first_seeds(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Of the best settings, the first seed each: the lines of the paper's table, and the best."""
    first: dict[tuple[str, str], str] = {}
    best = [(key, row) for key, row in rows.items() if row["is_best"]]
    top = max((row["auc"] for _, row in best), default=None)
    for key, row in best:
        line = (row["model"], row["score"])
        if is_usual(*line) or row["auc"] == top:
            first.setdefault(line, key)
    return list(first.values())


def _figures(frame: Frame, rows: list[dict[str, Any]], *, log_x: bool) -> None:
    roc, recall = [], []
    for position, row in enumerate(rows):
        try:
            points = points_of(frame, row)
        except StorageError as error:
            problem(f"{curve_text(frame.names, row)}: {error}")
            continue
        colour, dash = line_style(frame.names, row["model"], row["score"], position)
        line = frame.names.short_line(row["model"], row["score"])
        name = f"{line} {row['setting'] or ''}".strip()
        width = frame.names.score_of(row["model"], row["score"]).width_px
        auc = f"{name} · {figure_text(row['auc'])}"
        precision = f"{name} · {figure_text(row['average_precision'])}"
        roc.append(Trace(auc, points.fpr, points.tpr, colour, dash, points.notes, width))
        recall.append(
            Trace(precision, points.recall, points.precision, colour, dash, points.notes[1:], width)
        )
    if not roc:
        empty("No curve is chosen", "Choose some under **Curves**.")
        return
    left, right = st.columns(2, gap="large")
    chance = rows[0]["n_positive"] / rows[0]["n_pixels"] if rows[0]["n_pixels"] else None
    with left:
        st.header("ROC", anchor=False)
        alt = "True positive rate over false positive rate of the chosen trials"
        chart(roc_figure(roc, log_x=log_x), "roc", None, alt)
    with right:
        st.header("Precision-recall", anchor=False)
        alt = "Precision over recall of the chosen trials"
        chart(precision_recall_figure(recall, chance), "pr", None, alt)
    st.caption(
        f"Figures in the legends: ROC-AUC and average precision over {rows[0]['n_pixels']:,} "
        f"pixels of {counted(rows[0]['n_subjects'], 'subject')}, {rows[0]['n_positive']:,} of them "
        "lesion."
    )


main()
