"""Grid: the settings of one model and score on one or two test cohorts; a click opens the trial."""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

from dashboard import state
from dashboard.charts import grid_figure, line_figure
from dashboard.data import rows_of
from dashboard.figures import chart
from dashboard.frame import (
    Frame,
    current,
    empty,
    has_results,
    region_and_metric,
    show_choice,
    synthetic_note,
    title,
    watch,
    wide,
)
from dashboard.tables import grid_cells, grid_line, pairs, single_setting
from dashboard.text import markdown_text
from study.report.choice import mean_of
from study.report.formats import METRIC_LABELS
from study.report.table import table_columns, table_lines
from trainables.description import Setting


def main() -> None:
    """Draw the page."""
    frame = current()
    watch(frame)
    title("Grid", "Every setting of a model on a test cohort. A click on a cell opens its trial.")
    results = frame.view.results
    if not has_results(frame.view, "Cells fill while the study runs"):
        return
    found = [{"model": m, "score": s} for m, s in pairs(results, "model", "score")]
    lines = {f"{model}:{score}": (model, score) for model, score in table_lines(found, frame.names)}
    most = max((len(_axes(frame, model)[:2]) for model, _ in lines.values()), default=0)
    gridded = [key for key, (m, _) in lines.items() if len(_axes(frame, m)[:2]) == most]
    with st.container(horizontal=True, gap="medium"):
        line = state.select(
            "Model and score",
            "line",
            list(lines),
            default=gridded[-1] if gridded else None,
            show=lambda key: frame.names.line(*lines[key]),
            width=300,
        )
        region, metric = region_and_metric()
    model, score = lines[line]
    rows = rows_of(results, model=model, score=score, region=region)
    here = [{"cohort": c, "modality": m} for c, m in pairs(rows, "cohort", "modality")]
    split = {f"{cohort} {modality}": (cohort, modality) for cohort, modality in table_columns(here)}
    columns = list(split)
    with st.container(horizontal=True, gap="medium"):
        shown = [
            state.segmented("Test cohort", "left", columns, show=show_choice),
            state.segmented(
                "Beside it",
                "right",
                [*columns, "none"],
                default=columns[1] if len(columns) > 1 else "none",
                show=show_choice,
            ),
        ]
    shown = [name for name in dict.fromkeys(shown) if name != "none"]
    axes = _choose_axes(_axes(frame, model))
    selections = {
        name: rows_of(rows, cohort=split[name][0], modality=split[name][1]) for name in shown
    }
    known = [value for table in selections.values() for value in _figures(table, metric, axes)]
    if not known:
        empty("No trial has this figure", "Choose another metric; a cohort may have no lesions.")
        return
    low, high = min(known), max(known)
    low, high = (low, high) if high > low else (low - 0.01, high + 0.01)
    places = st.columns(len(shown))
    for number, (name, table) in enumerate(selections.items()):
        with places[number]:
            st.header(markdown_text(name), anchor=False)
            result = f"{split[name][0]} {frame.names.score(model, score)}"
            _panel(number, name, table, metric, (low, high), axes, result)
    one_scale = " One colour scale for both cohorts." if len(shown) > 1 else ""
    st.caption(f"A cell is the mean over the seeds of its setting.{one_scale}")
    synthetic_note(frame, [split[name][0] for name in shown])


def _axes(frame: Frame, model: str) -> tuple[Setting, ...]:
    return frame.names.detector(model).axes


def _choose_axes(settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """The settings to draw: rows and columns, one alone, or none; of more than two by choice."""
    if len(settings) <= 2:
        return settings
    known = {setting.name: setting for setting in settings}
    with st.container(horizontal=True, gap="medium"):
        down = state.segmented(
            "Rows", "down", list(known), show=lambda name: show_choice(known[name].title)
        )
        others = [name for name in known if name != down]
        across = state.segmented(
            "Columns", "across", others, show=lambda name: show_choice(known[name].title)
        )
    return known[down], known[across]


def _figures(table: pa.Table, metric: str, axes: tuple[Setting, ...]) -> list[float]:
    """The figures that a panel shows."""
    if len(axes) == 2:
        return [cell.value for cell in grid_cells(table, metric, *axes)]
    if axes:
        return list(grid_line(table, metric, axes[0]).values)
    seeds = single_setting(table, metric)
    return [mean_of(seeds, metric)] if seeds else []


def _panel(
    number: int,
    name: str,
    table: pa.Table,
    metric: str,
    span: tuple[float, float],
    axes: tuple[Setting, ...],
    result: str,
) -> None:
    width = 180
    trials: dict[str, str] = {}
    if len(axes) == 2:
        cells = grid_cells(table, metric, *axes)
        width += 48 * len({cell.across for cell in cells})
        trials = {f"({c.down}, {c.across}) {c.value:.3f}": c.trial_id for c in cells}
        figure = grid_figure(cells, METRIC_LABELS[metric], *span, (axes[0], axes[1]))
    elif axes:
        line = grid_line(table, metric, axes[0])
        found = zip(line.parameter, line.values, line.trial_ids, strict=True)
        trials = {f"{parameter} {value:.3f}": trial for parameter, value, trial in found}
        figure = line_figure(line, METRIC_LABELS[metric], *span, axes[0])
    else:
        _single(name, table, metric, result)
        return
    with wide(f"grid-{number}", width):
        event = chart(
            figure,
            f"grid {name}",
            None,
            f"{METRIC_LABELS[metric]} of every setting on {name}",
            on_select="rerun",
            selection_mode="points",
        )
    for point in event["selection"]["points"]:
        data = point.get("customdata")
        trial = data[0] if isinstance(data, (list, tuple)) else (data or {}).get("0")
        if trial:
            state.go("trial", trial=str(trial), result=result)
    _by_keyboard(name, trials, result)


def _by_keyboard(name: str, trials: dict[str, str], result: str) -> None:
    """The same as a click on a cell, for whoever has no mouse."""
    chosen = st.selectbox(
        f"Trial of a cell on {name}",
        list(trials),
        index=None,
        placeholder="Open the trial of a setting",
        label_visibility="collapsed",
        key=f"cells {name}",
        width=280,
    )
    if chosen is not None:
        state.go("trial", trial=trials[chosen], result=result)


def _single(name: str, table: pa.Table, metric: str, result: str) -> None:
    """A model without settings to vary: its one figure, and the way to its trial."""
    seeds = single_setting(table, metric)
    value = mean_of(seeds, metric) if seeds else None
    st.metric(METRIC_LABELS[metric], "–" if value is None else f"{value:.3f}", border=True)
    st.caption("This model has no grid.")
    if seeds and st.button("Open its trial", key=f"open {name}"):
        state.go("trial", trial=seeds[0]["trial_id"], result=result)


main()
