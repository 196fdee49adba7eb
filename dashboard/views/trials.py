"""Trials: all of them in order of a figure, by setting or one by one, and some side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import streamlit as st

from dashboard import state
from dashboard.comparison import MOST, Compared, maps_together, roc_together, settings_apart
from dashboard.data import rows_of
from dashboard.figures import download_table
from dashboard.frame import (
    Frame,
    choose_cohort,
    current,
    empty,
    guarded,
    has_results,
    region_and_metric,
    synthetic_note,
    title,
    watch,
)
from dashboard.leaderboard import MOST_ROWS, by_setting, by_trial, narrowed, unique_names
from dashboard.links import page_url
from dashboard.reader import StudyView
from study.report.formats import METRIC_LABELS
from study.report.table import METRICS
from study.terminal import counted

_BY = ("by setting", "by trial")


def main() -> None:
    """Draw the page."""
    frame = current()
    watch(frame)
    title("Trials", "Every setting or trial on a test cohort, the best first.")
    if not has_results(frame.view, "Trials appear with the first results"):
        return
    with st.container(horizontal=True, gap="medium"):
        cohort, modality = choose_cohort(frame.view)
        by = state.segmented("Rows", "rows", _BY)
    with st.container(horizontal=True, gap="medium"):
        where, metric = region_and_metric()
    version = frame.view.version
    place = (cohort, modality, where)
    ranked = _ranked(frame.uri, frame.study, version, place, metric, by, frame.view)
    table = _narrowed(frame, ranked)
    if not table.num_rows:
        empty("No trial is like this", "Choose other models or scores, or another setting.")
        return
    many = by == _BY[0]
    first = table.slice(0, MOST_ROWS)
    rows = _rows(first, where, many=many)
    event = st.dataframe(
        _shown(frame, first, many=many),
        hide_index=True,
        key=f"trials {by}",
        on_select="rerun",
        selection_mode="multi-row",
        height=min(36 + 35 * first.num_rows, 560),
        column_config=_columns(),
    )
    _below(frame, table, metric, many=many)
    chosen = _chosen(frame, rows, event["selection"]["rows"])
    _compare(chosen, where, many=many)
    synthetic_note(frame, [cohort])


@st.cache_data(show_spinner=False, max_entries=12)
def _ranked(
    uri: str,
    study: str,
    version: str,
    place: tuple[str, str, str],
    metric: str,
    by: str,
    _view: StudyView,
) -> pa.Table:
    """All rows of a test cohort in order, for a version of a study's view."""
    cohort, modality, where = place
    rows = rows_of(_view.results, cohort=cohort, modality=modality, region=where)
    return by_setting(rows, metric) if by == _BY[0] else by_trial(rows, _view.fits, metric)


def _narrowed(frame: Frame, table: pa.Table) -> pa.Table:
    """The rows that the filters leave."""
    names = frame.names
    lines = sorted(
        set(zip(table["model"].to_pylist(), table["score"].to_pylist(), strict=True)),
        key=lambda line: names.place(*line),
    )
    models = dict.fromkeys(model for model, _ in lines)
    scores = dict.fromkeys(score for _, score in lines)
    labels = {score: names.score(model, score) for model, score in reversed(lines)}
    by_model = unique_names((model, names.model(model)) for model in models)
    by_score = unique_names((score, labels[score]) for score in scores)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        of_models = _some("Models", "models", by_model)
        of_scores = _some("Scores", "scores", by_score)
        setting = st.text_input(
            "Setting has",
            key=state.key("setting"),
            placeholder="such as 8, or λ 0.01",
            width=200,
            bind=state.BIND,
        )
    return narrowed(table, of_models, of_scores, setting)


def _some(label: str, name: str, names: dict[str, str]) -> list[str]:
    """A choice of some keys by their names; none stands for all."""
    return state.many(
        label, name, list(names), default=(), show=names.__getitem__, placeholder="all", width=300
    )


def _shown(frame: Frame, table: pa.Table, *, many: bool) -> pa.Table:
    """Rows as people read them, with a link each."""
    names = frame.names
    models, scores = table["model"].to_pylist(), table["score"].to_pylist()
    trials = table["trial_id_first" if many else "trial_id"].to_pylist()
    columns: dict[str, Any] = {
        "Model": [names.model(model) for model in models],
        "Score": [names.score(*line) for line in zip(models, scores, strict=True)],
        "Setting": table["setting_first" if many else "setting"],
        "Seeds" if many else "Seed": table["n_seeds" if many else "seed"],
    }
    for metric in METRICS:
        columns[METRIC_LABELS[metric]] = table[f"{metric}_mean" if many else metric]
        if many and table[f"{metric}_stddev"].null_count < table.num_rows:
            columns[f"SD of {METRIC_LABELS[metric]}"] = table[f"{metric}_stddev"]
    if not many:
        columns["Mean of subjects"] = table["mean_subject_auc"]
        columns["Epochs"] = table["epochs"]
        columns["Training s"] = table["fit_s"]
        columns["Parameters"] = table["n_parameters"]
    columns["Trial"] = [page_url(frame, "trial", trial=str(trial)) for trial in trials]
    return pa.table(columns)


def _columns() -> dict[str, Any]:
    figure = st.column_config.NumberColumn(format="%.4f")
    labels = METRIC_LABELS.values()
    spread = st.column_config.NumberColumn(
        format="%.4f", help="Standard deviation over the seeds; none of one seed."
    )
    return {
        **dict.fromkeys(labels, figure),
        **{f"SD of {label}": spread for label in labels},
        "Mean of subjects": figure,
        "Training s": st.column_config.NumberColumn(format="%.1f"),
        "Parameters": st.column_config.NumberColumn(format="localized"),
        "Trial": st.column_config.LinkColumn(
            display_text="open", help="The trial; of several seeds the first."
        ),
    }


def _below(frame: Frame, table: pa.Table, metric: str, *, many: bool) -> None:
    noun = "row"
    said = f"{counted(table.num_rows, noun)} in order of {METRIC_LABELS[metric]}."
    if table.num_rows > MOST_ROWS:
        said = (
            f"The first {MOST_ROWS} of {counted(table.num_rows, noun)} in order of "
            f"{METRIC_LABELS[metric]}; the CSV file has all."
        )
    if many:
        said += " Means over the seeds of a setting; the link opens the first seed."
    st.caption(said)
    stem = f"{frame.study}-{'settings' if many else 'trials'}"
    download_table("trials csv", lambda: _shown(frame, table, many=many), stem)


def _rows(table: pa.Table, where: str, *, many: bool) -> list[dict[str, Any]]:
    """The first rows as result rows; of a setting those of its first seed."""
    end = "_first" if many else ""
    names = ("setting", "trial_id", "eval_id", "seed", "n_pixels", "n_positive", "spec", "auc")
    columns = {"model": table["model"], "score": table["score"]}
    columns |= {name: table[f"{name}{end}"] for name in names}
    return [{**row, "region": where} for row in pa.table(columns).to_pylist()]


def _chosen(frame: Frame, rows: Sequence[dict[str, Any]], ticked: Sequence[int]) -> list[Compared]:
    """The rows to compare: those named in the box, then those ticked in the table."""
    keys = {f"{row['trial_id']}:{row['score']}": row for row in rows}
    names = unique_names((key, _name(frame, row)) for key, row in keys.items())
    st.header("Side by side", anchor=False)
    named = state.many(
        "Compare",
        "compare",
        list(names),
        default=(),
        show=names.__getitem__,
        max_selections=MOST,
        placeholder=f"up to {MOST}, here or by the boxes in the table",
        width=700,
    )
    all_keys = list(keys)
    picked = [all_keys[place] for place in ticked if place < len(all_keys)]
    wanted = list(dict.fromkeys([*named, *picked]))
    if len(wanted) > MOST:
        st.caption(f"The first {MOST} of the {len(wanted)} that are chosen.")
    return [Compared(frame, keys[key], names[key]) for key in wanted[:MOST]]


def _name(frame: Frame, row: dict[str, Any]) -> str:
    seed = f" seed {row['seed']}" if row["seed"] else ""
    line = frame.names.short_line(row["model"], row["score"])
    return f"{line} {row['setting'] or ''}{seed}".strip()


def _compare(chosen: list[Compared], where: str, *, many: bool) -> None:
    if not chosen:
        st.caption("Choose some to see their curves, settings and score maps beside each other.")
        return
    if many:
        st.caption("Of a setting with several seeds the first is shown.")
    left, right = st.columns(2, gap="large")
    with left:
        log_x = state.toggle("Logarithmic false positive rate", "logx")
        roc_together(chosen, "compared roc", log_x=log_x)
    with right:
        if len(chosen) > 1:
            st.markdown("**Settings that differ**")
            settings_apart(chosen)
        else:
            st.caption("Choose another one to see which settings differ.")
    guarded(lambda: maps_together(chosen, where), "Score maps")


main()
