"""Settings: which of them a figure depends on, one by one and all at once."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import streamlit as st

from dashboard import state
from dashboard.charts import line_style
from dashboard.data import rows_of
from dashboard.figures import chart
from dashboard.frame import (
    Frame,
    choose_cohort,
    current,
    empty,
    has_results,
    region_and_metric,
    synthetic_note,
    title,
    watch,
)
from dashboard.leaderboard import unique_names
from dashboard.reader import StudyView
from dashboard.setting_charts import (
    ModelLine,
    importance_figure,
    over_setting,
    parallel_figure,
)
from dashboard.tables import GridLine, grid_lines, pairs
from dashboard.text import markdown_text
from study.records.names import Names
from study.report.formats import METRIC_LABELS
from study.report.importances import (
    Importance,
    Tried,
    importances,
    is_complete,
    tried,
    why_not,
)
from study.report.paper import is_usual
from study.report.table import table_lines
from study.terminal import counted
from trainables.description import Setting, value_text

Line = tuple[str, str]


def main() -> None:
    """Draw the page."""
    frame = current()
    watch(frame)
    title("Settings", "Which settings a figure depends on, one by one and all at once.")
    if not has_results(frame.view, "Lines appear with the first results"):
        return
    with st.container(horizontal=True, gap="medium"):
        cohort, modality = choose_cohort(frame.view)
    with st.container(horizontal=True, gap="medium"):
        where, metric = region_and_metric()
    place = (cohort, modality, where)
    rows = rows_of(frame.view.results, cohort=cohort, modality=modality, region=where)
    lines = _lines(frame, rows, metric)
    if not lines:
        empty("No trial has this figure", "Choose another metric; a cohort may have no lesions.")
        return
    draw = {"One by one": _one_by_one, "All at once": _all_at_once}
    draw[state.segmented("Settings", "show", list(draw))](frame, lines, place, metric)
    synthetic_note(frame, [cohort])


def _lines(frame: Frame, rows: pa.Table, metric: str) -> list[Line]:
    """The lines of table 1 that have the figure, in order."""
    known = rows.filter(rows[metric].is_valid())
    found = [{"model": m, "score": s} for m, s in pairs(known, "model", "score")]
    return table_lines(found, frame.names)


def _one_by_one(
    frame: Frame, lines: Sequence[Line], place: tuple[str, str, str], metric: str
) -> None:
    """The lines of all models over a setting that they have."""
    axes: dict[str, Setting] = {}
    of_axis: dict[str, list[ModelLine]] = {}
    where = (frame.uri, frame.study, frame.view.version)
    known = _grid_lines(*where, place, metric, frame.view)
    for position, line in enumerate(lines):
        look = line_style(frame.names, *line, position)
        for axis, found in known.get(line, {}).items():
            axes.setdefault(axis.name, axis)
            one = ModelLine(frame.names.short_line(*line), found, *look)
            of_axis.setdefault(axis.name, []).append(one)
    if not axes:
        st.caption("No model has been evaluated here with two values of a setting.")
        return
    name = state.segmented(
        "Over",
        "axis",
        list(axes),
        default=max(of_axis, key=lambda name: len(of_axis[name])),
        show=lambda name: markdown_text(axes[name].title),
    )
    shown = of_axis[name]
    chart(
        over_setting(shown, METRIC_LABELS[metric], axes[name]),
        f"over {name}",
        lambda: _lines_table(shown),
        f"{METRIC_LABELS[metric]} of the best settings over {axes[name].title}",
        stem=f"{frame.study}-over-{name}",
    )
    st.caption(
        "At each value the best of the other settings, the mean over its seeds; the band goes from "
        "the worst seed to the best. Lines that table 1 shows where there is room for few."
    )


def _lines_table(lines: Sequence[ModelLine]) -> pa.Table:
    return pa.table(
        {
            "Score": [one.name for one in lines for _ in one.line.values],
            "Value": [value_text(v) for one in lines for v in one.line.parameter],
            "Figure": [v for one in lines for v in one.line.values],
            "Lowest seed": [v for one in lines for v in one.line.lowest],
            "Highest seed": [v for one in lines for v in one.line.highest],
        }
    )


def _all_at_once(
    frame: Frame, lines: Sequence[Line], place: tuple[str, str, str], metric: str
) -> None:
    keys = {":".join(line): line for line in lines}
    names = unique_names((key, frame.names.line(*line)) for key, line in keys.items())
    most = [key for key, line in keys.items() if len(frame.names.detector(line[0]).axes) > 1]
    key = state.select(
        "Model and score",
        "line",
        list(keys),
        default=most[-1] if most else None,
        show=names.__getitem__,
        width=300,
    )
    line = keys[key]
    where = (frame.uri, frame.study, frame.view.version)
    settings = _tried(*where, place, line, metric, frame.view)
    if not settings or not settings[0].params:
        st.caption(f"No setting of {markdown_text(names[key])} varies here.")
        return

    def label(name: str) -> str:
        known = {s.name: s for s in frame.names.detector(line[0]).settings or ()}
        return known[name].symbol or name if name in known else name

    left, right = st.columns([3, 2], gap="large")
    with left:
        chart(
            parallel_figure(settings, METRIC_LABELS[metric], label),
            "parallel",
            lambda: _settings_table(settings),
            f"Every setting of {names[key]} as a line through its values, coloured by "
            f"{METRIC_LABELS[metric]}",
            stem=f"{frame.study}-settings",
        )
        st.caption(
            f"{counted(len(settings), 'setting')}, the mean over the seeds of each. Point at the "
            "end of a line to read it."
        )
    with right:
        reason = why_not(settings)
        if reason:
            st.caption(f"How much each setting explains cannot be told. {reason}")
            return
        shares = _importances(*where, place, line, metric, settings)
        chart(
            importance_figure(shares, label),
            "importance",
            lambda: _shares_table(shares),
            f"Share of the variance of {METRIC_LABELS[metric]} that each setting explains",
            stem=f"{frame.study}-importance",
        )
        st.caption(
            "The share of the variance among the values tried that a setting explains on its own "
            "(functional analysis of variance); the rest is owed to combinations. "
            f"{_how_exact(settings)}"
        )


def _how_exact(settings: Sequence[Tried]) -> str:
    if is_complete(settings):
        return "Every combination was tried, so the shares are exact."
    return "Some combinations are missing: a forest fills them in (Optuna), with few roughly."


def _settings_table(settings: Sequence[Tried]) -> pa.Table:
    names = list(settings[0].params)
    columns = {name: [value_text(one.params[name]) for one in settings] for name in names}
    figures = {
        "Figure": [one.value for one in settings],
        "Lowest seed": [one.lowest for one in settings],
        "Highest seed": [one.highest for one in settings],
        "Seeds": [one.n_seeds for one in settings],
        "Trial": [one.trial_id for one in settings],
    }
    return pa.table(columns | figures)


def _shares_table(shares: Sequence[Importance]) -> pa.Table:
    return pa.table({"Setting": [s.name for s in shares], "Share": [s.share for s in shares]})


@st.cache_data(show_spinner=False, max_entries=12)
def _grid_lines(
    uri: str,
    study: str,
    version: str,
    place: tuple[str, str, str],
    metric: str,
    _view: StudyView,
) -> dict[Line, dict[Setting, GridLine]]:
    """The usual lines of table 1 over each setting of which they have two values or more."""
    cohort, modality, where = place
    rows = rows_of(_view.results, cohort=cohort, modality=modality, region=where)
    names = Names(_view.record.detectors if _view.record else {})
    found: dict[Line, dict[Setting, GridLine]] = {}
    for line in pairs(rows, "model", "score"):
        table = rows_of(rows, model=line[0], score=line[1])
        axes = names.detector(line[0]).axes if is_usual(*line) else ()
        over = zip(axes, grid_lines(table, metric, axes), strict=True)
        found[line[0], line[1]] = {a: one for a, one in over if len(one.values) > 1}
    return found


@st.cache_data(show_spinner=False, max_entries=24)
def _tried(
    uri: str,
    study: str,
    version: str,
    place: tuple[str, str, str],
    line: Line,
    metric: str,
    _view: StudyView,
) -> tuple[Tried, ...]:
    """The settings of a line of table 1, for a version of a study's view."""
    cohort, modality, where = place
    named = {"cohort": cohort, "modality": modality, "region": where}
    rows = rows_of(_view.results, **named, model=line[0], score=line[1])
    return tried(rows, metric)


@st.cache_data(show_spinner="Weighing the settings…", max_entries=24)
def _importances(
    uri: str,
    study: str,
    version: str,
    place: tuple[str, str, str],
    line: Line,
    metric: str,
    _settings: Sequence[Tried],
) -> tuple[Importance, ...]:
    return importances(_settings)


main()
