"""What a paper needs, made when somebody downloads it: the whole kit, and figure 4 alone.

The figures are drawn by matplotlib, whose style is one for the whole process, so one after another.
Nothing that is worked out for them is kept: the dashboard writes nothing into a store.
"""

from __future__ import annotations

import threading

import streamlit as st

from dashboard.data import open_store
from dashboard.figures import file_stem
from dashboard.frame import Frame
from study.records.studies import StudyStore
from study.report.report import Report, make_report

_DRAWING = threading.Lock()


def kit_button(frame: Frame) -> None:
    """The button for table 1, the figures, the methods and all else that a paper needs."""
    stem = file_stem(f"{frame.study}-paper-kit")

    def make() -> bytes:
        from study.report.kit import kit_files, zipped

        with _DRAWING:
            study, report = _report(frame)
            return zipped(kit_files(open_store(frame.uri), study, report), stem)

    st.download_button(
        "Paper kit",
        make,
        file_name=f"{stem}.zip",
        mime="application/zip",
        icon=":material/folder_zip:",
        help="Table 1, figures 2 to 4, methods, flow of scans, checklist and references as one "
        "archive. It takes some seconds, with many subjects minutes.",
        on_click="ignore",
    )


def maps_button(frame: Frame, column: tuple[str, str], subject: str, *, is_kept: bool) -> None:
    """The button for figure 4 as it is printed.

    Args:
        frame: The study.
        column: Cohort and modality.
        subject: ``cohort/subject`` that the page shows.
        is_kept: Whether its maps are stored; else the usual subjects are drawn.
    """

    def make() -> bytes:
        from study.report.figures.write import maps_pdf

        with _DRAWING:
            return maps_pdf(open_store(frame.uri), *_report(frame), column, subject)

    whom = subject.rpartition("/")[2] if is_kept else "the median, the best and the worst subject"
    st.download_button(
        "Figure 4 (PDF)",
        make,
        file_name=f"{file_stem('-'.join([frame.study, 'figure4', *column]))}.pdf",
        mime="application/pdf",
        key="figure 4",
        icon=":material/picture_as_pdf:",
        help=f"The stored score maps of {file_stem(whom) if is_kept else whom} over brain pixels, "
        "as they are printed.",
        on_click="ignore",
    )


def _report(frame: Frame) -> tuple[StudyStore, Report]:
    study = StudyStore.open(open_store(frame.uri), frame.study)
    return study, make_report(study, frame.record)
