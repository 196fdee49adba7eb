"""Subjects: whom a score segments badly, the worst first, and whether small lesions are why."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import pyarrow as pa
import streamlit as st

from dashboard import state
from dashboard.charts import line_style
from dashboard.figures import chart, download_table
from dashboard.frame import (
    Frame,
    choose_cohort,
    current,
    empty,
    guarded,
    has_results,
    problem,
    region,
    show_choice,
    synthetic_note,
    title,
    watch,
)
from dashboard.links import page_url
from dashboard.marks import known_reviews, mark_subjects, reviews_file
from dashboard.slices import scan_text
from dashboard.subject_charts import volume_scatter, with_a_point
from dashboard.subjects import (
    CohortScans,
    SubjectLine,
    best_line,
    cohort_scans,
    figures_of,
    lines_of,
    pictures_of,
)
from dashboard.text import markdown_text
from datasets.reviews import Reviews
from datasets.storage import StorageError
from study.report.subjects import SIZES, SubjectFigures, of_size
from study.terminal import counted

MOST_PICTURES = 40
_ROW_PX, _HEAD_PX, _MOST_PX = 72, 36, 720

_ORDERS = ("worst first", "best first", "largest lesion first", "smallest lesion first")


def main() -> None:
    """Draw the page."""
    frame = current()
    watch(frame)
    title("Subjects", "Every subject of a test cohort on its own, the worst first.")
    if not has_results(frame.view, "Subjects appear with the first results"):
        return
    with st.container(horizontal=True, gap="medium"):
        cohort, modality = choose_cohort(frame.view)
        where = region()
    lines = lines_of(frame, cohort, modality, where)
    if not lines:
        empty("No trial has a ROC-AUC here", "A cohort without lesion pixels has no such figure.")
        return
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        line = state.select(
            "Model and score",
            "line",
            list(lines),
            default=best_line(lines),
            show=lambda key: lines[key].name,
            width=300,
        )
        size = state.segmented("Lesion volume", "size", list(SIZES), show=show_choice)
        order = state.select("Order", "order", _ORDERS, width=210)
    guarded(lambda: _subjects(frame, cohort, modality, lines[line], size, order), "The subjects")
    synthetic_note(frame, [cohort])


def _subjects(
    frame: Frame, cohort: str, modality: str, line: SubjectLine, size: str, order: str
) -> None:
    try:
        scans = cohort_scans(frame, cohort, modality)
    except StorageError as error:
        problem(str(error))
        scans = CohortScans()
    subjects = figures_of(frame, line, scans.volumes_ml)
    rated = [s for s in subjects if s.auc is not None]
    reviews = known_reviews()
    st.caption(_summary(line, rated))
    shown = _ordered([s for s in of_size(subjects, size) if s.auc is not None], order)
    if shown:
        left, right = st.columns([5, 3], gap="large")
        with left:
            _table(frame, line, scans, shown, reviews)
        with right:
            _scatter(frame, line, scans, shown, f"{cohort} {modality}")
    else:
        empty("No subject has lesions of this volume", "Choose another volume.")
    _without(subjects)
    st.caption(_sources(scans))
    labels = {s.subject: s.subject.partition("/")[2] for s in [*shown, *subjects]}
    mark_subjects(cohort, {label: label for label in labels.values()}, reviews)


def _summary(line: SubjectLine, rated: Sequence[SubjectFigures]) -> str:
    """What the subjects together say of the line; at least one has an AUC."""
    setting = f" {line.setting}" if line.setting else ""
    seeds = f", mean over {counted(len(line.seeds), 'seed')}" if len(line.seeds) > 1 else ""
    words = f"Best setting{setting}{seeds}: ROC-AUC {line.auc:.3f} over the pixels of all subjects."
    aucs = [s.auc for s in rated if s.auc is not None]
    if len(aucs) > 1:
        words += f" Median AUC of {len(aucs):,} subjects: {median(aucs):.3f}."
    return markdown_text(words)


def _ordered(subjects: list[SubjectFigures], order: str) -> list[SubjectFigures]:
    """Subjects that come worst first, in some order."""
    if order == _ORDERS[1]:
        return subjects[::-1]
    if order == _ORDERS[2]:
        return sorted(subjects, key=lambda s: -(s.lesion_ml or 0.0))
    if order == _ORDERS[3]:
        return sorted(subjects, key=lambda s: s.lesion_ml or 0.0)
    return subjects


def _table(
    frame: Frame,
    line: SubjectLine,
    scans: CohortScans,
    shown: Sequence[SubjectFigures],
    reviews: Reviews,
) -> None:
    first = [s.subject for s in shown[:MOST_PICTURES]]
    with st.spinner("Drawing the slices…", show_time=True):
        pictures, problems = pictures_of(frame, line, scans.scans, first)
    table = _as_table(shown, many=len(line.seeds) > 1)
    links = [_viewer(frame, s.subject, line, scans) for s in shown]
    images = [pictures.get(s.subject) for s in shown]
    table = table.add_column(1, "Slice", pa.array(images, pa.string()))
    table = table.append_column("Viewer", pa.array(links, pa.string()))
    if reviews_file() is not None:
        marks = [reviews.of_subject(*s.subject.split("/", 1)).mark or "" for s in shown]
        table = table.append_column("Review", pa.array(marks, pa.string()))
    st.dataframe(
        table,
        hide_index=True,
        key="subjects",
        row_height=_ROW_PX,
        height=min(_HEAD_PX + _ROW_PX * len(shown), _MOST_PX),
        column_config=_columns(),
    )
    if len(shown) > MOST_PICTURES:
        st.caption(f"The first {MOST_PICTURES} of this order have pictures.")
    download_table("subjects csv", lambda: _as_table(shown, many=True), f"{frame.study}-subjects")
    for text in dict.fromkeys(problems[:5]):
        problem(text)


def _columns() -> dict[str, Any]:
    figure = st.column_config.NumberColumn(format="%.3f")
    return {
        "Subject": st.column_config.TextColumn(pinned=True),
        "Slice": st.column_config.ImageColumn(
            width=80, help="The stored score map, or the image; outlined is the ground truth."
        ),
        "AUC": figure,
        "SD over seeds": figure,
        "Average precision": figure,
        "Dice": st.column_config.NumberColumn(
            format="%.3f", help="At the threshold where the whole cohort has its highest Dice."
        ),
        "Lesion ml": st.column_config.NumberColumn(format="%.2f"),
        "Lesion pixels": st.column_config.NumberColumn(format="localized"),
        "Viewer": st.column_config.LinkColumn(display_text="open"),
    }


def _as_table(subjects: Sequence[SubjectFigures], *, many: bool) -> pa.Table:
    """Subjects as a table; the spread over the seeds only of several."""
    columns: dict[str, pa.Array] = {
        "Subject": pa.array([s.subject.partition("/")[2] for s in subjects], pa.string()),
        "AUC": pa.array([s.auc for s in subjects], pa.float64()),
        "SD over seeds": pa.array([s.auc_sd for s in subjects], pa.float64()),
        "Average precision": pa.array([s.average_precision for s in subjects], pa.float64()),
        "Dice": pa.array([s.dice for s in subjects], pa.float64()),
        "Lesion ml": pa.array([s.lesion_ml for s in subjects], pa.float64()),
        "Lesion pixels": pa.array([s.n_positive for s in subjects], pa.int64()),
    }
    return pa.table({n: c for n, c in columns.items() if many or n != "SD over seeds"})


def _viewer(frame: Frame, subject: str, line: SubjectLine, scans: CohortScans) -> str:
    row = line.seeds[0]
    scan = subject
    if subject in scans.names:
        scan = scan_text(scans.names[subject], scans.scans[subject])
    name = f"{frame.names.line(line.model, line.score)} {row['setting'] or ''}".strip()
    chosen = {
        "cohort": show_choice(f"{row['cohort']} {row['modality']}"),
        "subject": scan,
        "left-line": show_choice(name),
    }
    return page_url(frame, "viewer", **chosen)


def _scatter(
    frame: Frame,
    line: SubjectLine,
    scans: CohortScans,
    shown: Sequence[SubjectFigures],
    cohort: str,
) -> None:
    points = with_a_point(shown)
    if not points:
        st.caption("The volumes of these lesions are not known, so there is no figure of them.")
        return
    colour, _ = line_style(frame.names, line.model, line.score)
    event = chart(
        volume_scatter(shown, colour),
        "auc by volume",
        lambda: _as_table(points, many=True),
        f"AUC of each subject of {cohort} over the volume of its lesions",
        stem=f"{frame.study}-auc-by-volume",
        on_select="rerun",
        selection_mode="points",
    )
    st.caption("A click on a point opens the subject. Dashed: guessing.")
    for point in event["selection"]["points"]:
        data = point.get("customdata")
        place = data[0] if isinstance(data, (list, tuple)) else (data or {}).get("0")
        if place is not None:
            subject = points[int(place)].subject
            scan = scans.names.get(subject, subject)
            state.go(
                "viewer", cohort=cohort, subject=scan, **{"left-line": f"{line.model}:{line.score}"}
            )


def _without(subjects: Sequence[SubjectFigures]) -> None:
    """Who cannot be rated: nothing of a lesion lies among the pixels that count."""
    apart = [s for s in subjects if s.auc is None]
    if not apart:
        return
    st.header(f"Without an AUC ({len(apart):,})", anchor=False)
    st.caption("None of their pixels that count is lesion, or all are.")
    names = ("Subject", "Lesion ml", "Lesion pixels")
    table = _as_table(apart, many=False).select(names)
    st.dataframe(table, hide_index=True, key="without", column_config=_columns())


def _sources(scans: CohortScans) -> str:
    if scans.volumes_ml:
        return "Lesion volumes are those of the scans, before their slices were made."
    return (
        "Lesion volumes are those of the lesion pixels that count: the store does not hold the "
        "scans' own."
    )


main()
