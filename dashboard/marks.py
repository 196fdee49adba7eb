"""Marks and notes on scans and trials, kept in the file that ``--reviews`` names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import streamlit as st

from dashboard import state
from dashboard.frame import problem, show_choice
from dashboard.options import parse_options
from dashboard.text import markdown_text
from datasets.reviews import (
    MARKS,
    Mark,
    Review,
    Reviews,
    ReviewsError,
    change_reviews,
    read_reviews,
)
from study.records.studies import utc_now
from study.terminal import counted

NO_MARK = "none"


def reviews_file() -> Path | None:
    """The file of reviews; None if the command line names none."""
    return parse_options(sys.argv[1:]).reviews


def known_reviews() -> Reviews:
    """What has been marked so far; nothing if there is no file, or it cannot be read."""
    path = reviews_file()
    try:
        return Reviews() if path is None else read_reviews(path)
    except ReviewsError as error:
        problem(str(error))
        return Reviews()


def mark_subjects(cohort: str, subjects: Mapping[str, str], reviews: Reviews) -> None:
    """The form that marks a subject of a cohort; nothing without a file of reviews.

    Args:
        cohort: Name of the cohort.
        subjects: Labels of its subjects with what people read for them; at least one.
        reviews: What has been marked so far.
    """
    path = reviews_file()
    if path is None:
        return
    st.header("Reviews", anchor=False)
    subject = state.select(
        "Subject", "review", list(subjects), show=subjects.__getitem__, width=420
    )
    before = reviews.of_subject(cohort, subject)
    mark_key, note_key = (f"{part} of {cohort}/{subject}" for part in ("mark", "note"))
    with st.form(f"review of {cohort}/{subject}", border=True):
        options = [*MARKS, NO_MARK]
        told = st.segmented_control(
            "What to do with all scans of this subject",
            options,
            default=before.mark or NO_MARK,
            key=mark_key,
            format_func=show_choice,
            required=True,
        )
        note = st.text_area("Note", before.note, key=note_key, max_chars=2000, height=80)
        if st.form_submit_button("Keep", icon=":material/save:"):
            mark: Mark | None = next((one for one in MARKS if one == told), None)
            review = Review(mark=mark, note=note.strip(), changed=utc_now())
            _keep(path, lambda now: now.with_subject(cohort, subject, review))
    _summary(path, cohort, reviews)


def note_trial(trial_id: str) -> None:
    """The form for a note on a trial; nothing without a file of reviews."""
    path = reviews_file()
    if path is None:
        return
    before = known_reviews().of_trial(trial_id)
    with st.form(f"note on {trial_id}", border=True):
        note = st.text_area(
            "Note on this trial",
            before.note,
            key=f"note on {trial_id} text",
            max_chars=2000,
            height=80,
        )
        if st.form_submit_button("Keep", icon=":material/save:"):
            review = Review(note=note.strip(), changed=utc_now())
            _keep(path, lambda now: now.with_trial(trial_id, review))


def _keep(path: Path, change: Callable[[Reviews], Reviews]) -> None:
    try:
        change_reviews(path, change)
    except ReviewsError as error:
        problem(str(error))
        return
    st.rerun(scope="app")


def _summary(path: Path, cohort: str, reviews: Reviews) -> None:
    excluded = reviews.marked(cohort, "exclude")
    if not excluded:
        st.caption(f"Kept in {markdown_text(path.name)}; the store is not changed.")
        return
    name = markdown_text(path.name)
    st.caption(
        f"{counted(len(excluded), 'subject')} of {markdown_text(cohort)} marked exclude: "
        f"{markdown_text(', '.join(excluded[:10]))}{' and others' if len(excluded) > 10 else ''}. "
        f'A cohorts file leaves them out of the next study with exclude = "{name}".'
    )
