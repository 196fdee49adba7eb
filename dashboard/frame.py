"""What every page has around it: the study picked, its badges, problems and empty states."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from dashboard import navigation, state
from dashboard.ahead import fetching_script
from dashboard.browser import ONE_ENTRY_A_PAGE, SCROLLED_BY_KEYBOARD, STYLE
from dashboard.data import StoreListing, list_studies, open_study, prepared
from dashboard.navigation import register_pages
from dashboard.options import DashboardOptions, parse_options
from dashboard.reader import StudyView
from dashboard.tables import REGION_LABELS, pairs
from dashboard.text import markdown_text
from datasets.uris import without_secrets
from study.records.names import Names
from study.records.types import CohortInfo, StudyRecord
from study.report.formats import METRIC_LABELS
from study.report.table import table_columns

_FRAME = "frame"
DATA = "data"

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Cellipse cx='16' cy='16' rx='12' ry='14.5' fill='%230B6FA4'/%3E"
    "%3Ccircle cx='20' cy='12' r='4.5' fill='%23F5A300'/%3E%3C/svg%3E"
)
"""Written out, since a named icon would be fetched from the internet."""

SYNTHETIC = "Synthetic phantom: a check of the software, no evidence about medicine."


@dataclass(frozen=True)
class Frame:
    """The study a page shows.

    Attributes:
        store: What the store is called in the address.
        uri: The store.
        study: Name of the study's folder; empty where only scans are prepared.
        view: What is known of it.
        prepared: The cohorts that are prepared in a store without a study.
    """

    store: str
    uri: str
    study: str
    view: StudyView
    prepared: tuple[CohortInfo, ...] = ()

    @property
    def cohorts(self) -> tuple[CohortInfo, ...]:
        """The cohorts of the study, or those that are prepared where there is none."""
        return self.prepared if self.view.record is None else self.view.record.cohorts

    @property
    def record(self) -> StudyRecord:
        """The study's record; pages are only run when there is one."""
        assert self.view.record is not None
        return self.view.record

    @property
    def names(self) -> Names:
        """What people read for the study's models, scores and settings."""
        return Names(self.record.detectors)

    def again(self) -> Frame:
        """The same study as it is now."""
        return Frame(self.store, self.uri, self.study, open_study(self.uri, self.study).view())


@contextmanager
def begin() -> Iterator[tuple[StreamlitPage, Frame | None]]:
    """Draw what is around a page, and keep it while the page runs."""
    st.set_page_config(page_title="Anomaly study", page_icon=_ICON, layout="wide")
    st.html(STYLE)
    st.html(_script(), unsafe_allow_javascript=True)
    page = register_pages()
    frame = _choose_study(parse_options(sys.argv[1:]), page.url_path or navigation.FIRST)
    st.session_state[_FRAME] = frame
    try:
        yield page, frame
        state.end_run()
    finally:
        del st.session_state[_FRAME]


@cache
def _script() -> str:
    """What the browser does of its own, on every page."""
    return f"<script>{ONE_ENTRY_A_PAGE}{SCROLLED_BY_KEYBOARD}{fetching_script()}</script>"


def current() -> Frame:
    """The frame of the page that is running."""
    frame: Frame = st.session_state[_FRAME]
    return frame


def _choose_study(options: DashboardOptions, page: str) -> Frame | None:
    """The row on top of every page; None if there is nothing to show, which it has said."""
    row = st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
    )
    state.begin_run(st.container(), page)
    with row:
        store = _choose_store(options)
        uri = options.stores[store]
        listing = list_studies(uri)
        if listing.problem or not listing.studies:
            if page == DATA and not listing.problem and prepared(uri):
                return Frame(store, uri, "", StudyView(""), prepared(uri))
            _no_study(uri, listing)
            _look_again(lambda: bool(list_studies(uri).studies))
            return None
        name = state.select(
            "Study",
            "study",
            listing.studies,
            default=options.study,
            written=True,
            label_visibility="collapsed",
            width=280,
        )
        frame = Frame(store, uri, name, open_study(uri, name).view())
        _badges(frame.view)
    _say_problems(frame.view, listing.refused)
    if frame.view.record is None:
        _look_again(lambda: frame.again().view.record is not None)
        return None
    return frame


def _choose_store(options: DashboardOptions) -> str:
    """The name of the store; there is a choice where there are several."""
    names = list(options.stores)
    if len(names) > 1:
        return state.select(
            "Store", "store", names, written=True, label_visibility="collapsed", width=280
        )
    told = st.query_params.get("store", names[0])
    if told != names[0]:
        state.refuse("store", told)
    return names[0]


def _look_again(is_there: Callable[[], bool]) -> None:
    """Run the page again once there is something to show: a store may come back."""

    @st.fragment(run_every=5.0)
    def look() -> None:
        if is_there():
            st.rerun(scope="app")

    look()


def title(text: str, caption: str = "") -> None:
    """A page's heading, with the mark that figures from the phantom need."""
    st.title(text, anchor=False)
    if caption:
        st.caption(caption)


def synthetic_note(frame: Frame, cohorts: Sequence[str] | None = None) -> None:
    """Say where the data are made by software, beside the figures made from them."""
    names = {c.name for c in frame.cohorts if c.synthetic}
    if names and (cohorts is None or names & set(cohorts)):
        st.caption(f":material/experiment: {SYNTHETIC}")


def region_and_metric() -> tuple[str, str]:
    """The two switches of every page with figures: which pixels count, and which figure."""
    metric = state.segmented(
        "Metric", "metric", list(METRIC_LABELS), show=lambda name: METRIC_LABELS[name]
    )
    return region(), metric


def region() -> str:
    """The switch for the pixels that count."""
    return state.segmented(
        "Pixels that count", "region", list(REGION_LABELS), show=lambda name: REGION_LABELS[name]
    )


@contextmanager
def wide(name: str, width_px: int) -> Iterator[None]:
    """A place for a figure that needs some width; a narrower screen scrolls it sideways."""
    st.html(f"<style>.st-key-wide-{name} > div {{min-width: {int(width_px)}px}}</style>")
    with st.container(key=f"wide-{name}"):
        yield


def has_results(view: StudyView, what_comes: str) -> bool:
    """Whether any trial has been evaluated; if not, the page has said so.

    Args:
        view: The study.
        what_comes: What will be seen here once there are results.
    """
    if view.results.num_rows:
        return True
    empty(
        "No trial of this study has been evaluated yet",
        f"{what_comes}; the page **Study** shows how far it is.",
    )
    return False


def choose_cohort(view: StudyView) -> tuple[str, str]:
    """The switch for the test cohort; returns its name and modality."""
    found = [{"cohort": c, "modality": m} for c, m in pairs(view.results, "cohort", "modality")]
    columns = {f"{c} {m}": (c, m) for c, m in table_columns(found)}
    return columns[state.segmented("Test cohort", "cohort", list(columns), show=show_choice)]


def show_choice(name: Any) -> str:
    """A name for widgets that read Markdown."""
    return markdown_text(name)


def empty(text: str, what_to_do: str) -> None:
    """An empty state: what is missing, and what to do about it."""
    with st.container(border=True):
        st.markdown(f"**{markdown_text(text)}**")
        st.markdown(what_to_do)


def problem(text: str) -> None:
    """A problem as text, whatever it contains."""
    st.warning(markdown_text(without_secrets(text)), icon=":material/warning:")


def guarded(draw: Callable[[], None], what: str) -> None:
    """Draw a part of a page; what its data lack is said in its place, and the rest is shown."""
    try:
        draw()
    except OSError as error:
        problem(f"{what}: {error}")


def watch(frame: Frame) -> None:
    """Run the page again when the study has new results; one fragment, never nested."""
    live = frame.view.live

    @st.fragment(run_every=3.0 if live else 15.0)
    def look() -> None:
        if frame.again().view.version != frame.view.version:
            st.rerun(scope="app")

    look()


def _badges(view: StudyView) -> None:
    record, progress = view.record, view.progress
    with st.container(
        horizontal=True,
        horizontal_alignment="right",
        vertical_alignment="center",
        width="content",
        gap="small",
    ):
        if record is not None and record.synthetic:
            st.badge("synthetic phantom", icon=":material/experiment:", color="orange")
        counts = view.counts
        if view.live:
            st.badge("running", icon=":material/sync:", color="green")
        elif progress is not None and (progress.stage == "stopped" or not progress.has_ended):
            st.badge("stopped", icon=":material/sync_problem:", color="red")
        elif counts.planned and counts.ended >= counts.planned:
            if counts.failed:
                st.badge(f"{counts.failed:,} failed", icon=":material/error:", color="red")
            else:
                st.badge("complete", icon=":material/check:", color="blue")
        else:
            st.badge("not running", icon=":material/pause:", color="gray")


def say_unread(words: str) -> None:
    """Tell that parts of evaluations could not be read, if words say so."""
    if words:
        st.warning(markdown_text(words), icon=":material/warning:")


def _say_problems(view: StudyView, refused: tuple[str, ...]) -> None:
    if refused:
        shown = ", ".join(f"“{name[:60]}”" for name in refused[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        st.caption(
            f"Not shown, since their folders have no safe name or no record: "
            f"{markdown_text(shown)}{more}"
        )
    if view.record is None and not view.problems:
        empty(
            f"The study {view.name} has no record yet",
            "It appears here as soon as `python -m study.run` has planned it.",
        )
    if view.problems:
        n = len(view.problems)
        with st.expander(
            f"{n} problem{'s' if n > 1 else ''} in this store; the rest is shown",
            icon=":material/warning:",
            expanded=view.record is None,
        ):
            for text in view.problems[:20]:
                st.text(text)
            if n > 20:
                st.text(f"… and {n - 20} more; `python -m study.store check` lists them all.")


def _no_study(uri: str, listing: StoreListing) -> None:
    if listing.problem:
        problem(f"The store “{uri}” cannot be read: {listing.problem}")
        return
    hidden = f" ({len(listing.refused)} folders are no studies)" if listing.refused else ""
    what = f"There is no study in the store “{uri}” yet{hidden}"
    if listing.is_missing:
        what = f"There is nothing at “{uri}”: no study has been run there, or its disk is missing"
    if prepared(uri):
        st.page_link(
            f"views/{DATA}.py", label="Look at the prepared scans", icon=":material/radiology:"
        )
    empty(
        what,
        "Run `python -m study.run --grid smoke` for a first one in a minute or two, or open "
        "another store with `streamlit run dashboard/app.py -- --store URI`. This page looks again "
        "by itself.",
    )
