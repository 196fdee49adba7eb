"""Trial: everything the store knows of one trial."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dashboard import state
from dashboard.curve_charts import Trace, loss_curves
from dashboard.data import evaluation_table, finished_history, rows_of, showcase
from dashboard.failures import failures, show_failure
from dashboard.figures import chart
from dashboard.frame import (
    Frame,
    current,
    empty,
    guarded,
    region,
    show_choice,
    synthetic_note,
    title,
    watch,
    wide,
)
from dashboard.links import choices
from dashboard.map_charts import TRUTH_COLOUR, MapPanel, map_row, row_width
from dashboard.maps import outline, region_mask, score_range
from dashboard.marks import note_trial
from dashboard.text import curve_text, figure_text, markdown_text
from study.records.showcase import ShowcaseMaps
from study.report.formats import METRIC_LABELS
from study.terminal import duration

MOST_OPTIONS = 100


def main() -> None:
    """Draw the page."""
    frame = current()
    watch(frame)
    fits = frame.view.fits
    if not fits.num_rows:
        title("Trial")
        empty("No trial has finished yet", "The page **Study** shows how far the study is.")
        return
    names = _options(frame, fits)
    title("Trial", "One model with one setting, trained once: how it learnt, and what came of it.")
    trial_id = state.select(
        "Trial",
        "trial",
        list(names),
        show=lambda key: names[key],
        read=lambda text: text if text in names else None,
        written=True,
        label_visibility="collapsed",
        help="The best, the latest and the failed ones; links lead to any.",
    )
    fit = rows_of(fits, trial_id=trial_id).to_pylist()[0]
    _facts(fit)
    for row in failures(frame.view.index, trial_id).to_pylist():
        show_failure(frame, row)
    results = rows_of(frame.view.results, trial_id=trial_id)
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.header("Loss", anchor=False)
        guarded(lambda: _loss(frame, fit), "The loss curve")
    with right:
        st.header("Results", anchor=False)
        where = region()
        _results(frame, rows_of(results, region=where))
    _maps(frame, results, where)
    note_trial(trial_id)
    synthetic_note(frame)
    icon = ":material/data_object:"
    with st.expander("Specification", key="spec open", icon=icon, on_change="rerun") as box:
        if box.open:
            st.code(json.dumps(json.loads(fit["spec"]), indent=2), language="json")


def _options(frame: Frame, fits: pa.Table) -> dict[str, str]:
    """The best trials, the latest and the failed ones, and the one that the address names."""
    latest = pc.sort_indices(fits, [("finished", "descending"), ("trial_id", "ascending")])
    brain = rows_of(frame.view.results, region="brain")
    brain = brain.filter(pc.is_valid(brain["auc"]))
    best = brain.take(pc.sort_indices(brain, [("auc", "descending")])[:20])["trial_id"].to_pylist()
    told = [_told(fits), st.session_state.get(state.key("trial"), "")]
    newest = fits.take(latest[:MOST_OPTIONS])["trial_id"].to_pylist()
    failed = failures(frame.view.index)["trial_id"].to_pylist()[:MOST_OPTIONS]
    wanted = dict.fromkeys([*best, *newest, *failed, *told])
    known = fits.filter(pc.is_in(fits["trial_id"], pa.array(list(wanted), pa.string())))
    rows = {row["trial_id"]: row for row in known.to_pylist()}
    return {key: _name(frame, rows[key]) for key in wanted if key in rows}


def _told(fits: pa.Table) -> str:
    """The trial that the address names, by its identity or by the text of its choice."""
    text = st.query_params.get(state.key("trial"), "").rpartition(" ")[2]
    if not text:
        return ""
    found = fits.filter(pc.starts_with(fits["trial_id"], text))["trial_id"]
    return str(found[0].as_py()) if len(found) else ""


def _name(frame: Frame, row: dict[str, Any]) -> str:
    seed = f"seed {row['seed']}" if row["seed"] else ""
    name = f"{frame.names.model(row['model'])} {row['modality']} {row['setting'] or ''} {seed}"
    return f"{' '.join(name.split())} · {row['trial_id'][:8]}"


def _facts(fit: dict[str, Any]) -> None:
    with st.container(horizontal=True):
        st.metric("Status", markdown_text(fit["status"]), border=True)
        st.metric("Epochs", f"{fit['epochs'] or 0:,}", border=True)
        st.metric("Steps", f"{fit['steps'] or 0:,}", border=True)
        st.metric("Parameters", f"{fit['n_parameters'] or 0:,}", border=True)
        st.metric("Training time", duration(fit["wall_s"]), border=True)
        st.metric("Attempts", f"{fit['attempts'] or 1}", border=True)
    if fit["status"] == "stopped":
        epochs = json.loads(fit["spec"])["epochs"]
        st.caption(
            f"Stopped after {fit['epochs']:,} of {epochs:,} epochs by `--asha`: its validation "
            "loss was not among the best of its model and modality. It has no results; the same "
            "`study.run` without `--asha` completes it."
        )


def _loss(frame: Frame, fit: dict[str, Any]) -> None:
    history = finished_history(frame.uri, frame.study, fit["trial_id"], fit["finished"] or "")
    if history is None or not history.num_rows:
        st.caption("No epochs are recorded.")
        return
    epochs = history["epoch"].to_pylist()
    train, held_out = (history[c].to_pylist() for c in ("train_loss", "validation_loss"))
    if all(value is None for value in train):
        st.caption("This model has no loss.")
        return
    curves = [Trace("training", epochs, train, "#D55E00")]
    if any(value is not None for value in held_out):
        curves.append(Trace("held-out healthy subjects", epochs, held_out, "#2F7FC1", "dot"))
    chart(
        loss_curves(curves, log_y=False),
        "trial loss",
        None,
        "Training and validation loss over epochs",
    )


def _results(frame: Frame, rows: pa.Table) -> None:
    if not rows.num_rows:
        st.caption("No evaluation has finished.")
        return
    shown = rows.sort_by([("cohort", "ascending"), ("auc", "descending")]).to_pylist()
    table = pa.Table.from_pylist(
        [
            {
                "Test cohort": markdown_text(f"{row['cohort']} {row['modality']}"),
                "Score": markdown_text(frame.names.score(row["model"], row["score"])),
                METRIC_LABELS["auc"]: figure_text(row["auc"]),
                "Mean of subjects": figure_text(row["mean_subject_auc"]),
                METRIC_LABELS["average_precision"]: figure_text(row["average_precision"]),
                METRIC_LABELS["best_dice"]: figure_text(row["best_dice"]),
                "Lesion outside brain": _share(row["lesion_outside_brain_share"]),
            }
            for row in shown
        ]
    )
    st.table(table, border="horizontal", hide_index=True)
    curves = [curve_text(frame.names, row) for row in shown[:4]]
    column = f"{shown[0]['cohort']} {shown[0]['modality']}"
    st.page_link(
        "views/roc.py",
        label="Its curves",
        icon=":material/show_chart:",
        query_params=choices("roc", curves=curves, cohort=show_choice(column)),
    )
    guarded(lambda: _subjects(frame, shown), "The subjects")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _subjects(frame: Frame, rows: list[dict[str, Any]]) -> None:
    """The subjects of one of the results; of that which a link or a cell of the grid meant."""
    with st.expander("By subject", key="subjects open", on_change="rerun") as box:
        if not box.open:
            return
        by_text = {f"{r['cohort']} {frame.names.score(r['model'], r['score'])}": r for r in rows}
        row = by_text[state.select("Test cohort and score", "result", list(by_text))]
        where = (frame.uri, frame.study, row["trial_id"], row["eval_id"])
        table = evaluation_table(*where, "subjects.parquet")
        table = rows_of(table, score=row["score"], region=row["region"])
        names = ["subject", "n_pixels", "n_positive", "auc", "average_precision"]
        st.dataframe(table.select(names), hide_index=True, key="by subject")


def _maps(frame: Frame, results: pa.Table, where: str) -> None:
    if not results.num_rows:
        return
    st.header("Score maps", anchor=False)
    evaluations = {
        row["cohort"]: row["eval_id"]
        for row in results.group_by(["cohort", "eval_id"], use_threads=False)
        .aggregate([])
        .to_pylist()
    }
    cohorts = sorted(evaluations)
    cohort = cohorts[0]
    if len(cohorts) > 1:
        cohort = state.segmented("Test cohort", "maps-on", cohorts, show=show_choice)
    trial_id, model = (results[name][0].as_py() for name in ("trial_id", "model"))

    def draw() -> None:
        slices = showcase(frame.uri, frame.study, trial_id, evaluations[cohort])
        _map_row(frame, model, cohort, slices, where)

    guarded(draw, f"Score maps on {cohort}")


def _map_row(
    frame: Frame, model: str, cohort: str, slices: tuple[ShowcaseMaps, ...], where: str
) -> None:
    if not slices:
        return
    first = max(slices, key=lambda s: int(s.lesion_HW.sum()))
    high = float(np.percentile(first.image_HW[first.brain_HW], 99.7))
    truth = (*outline(first.lesion_HW), TRUTH_COLOUR)
    title_text = f"{first.subject.rpartition('/')[2]}\nslice {first.slice_index}"
    panels = [MapPanel(title_text, first.image_HW, "image", 0.0, high, (truth,), grey=True)]
    for name, picture in first.pictures.items():
        panels.append(MapPanel(name, picture, "image", 0.0, high, (), grey=True))
    for name in first.scores:
        low, top = score_range(
            (s.scores[name], region_mask(s.brain_HW, where)) for s in slices if name in s.scores
        )
        values = first.scores[name].copy()
        values[~region_mask(first.brain_HW, where)] = float("nan")
        label = frame.names.score(model, name)
        panels.append(MapPanel(label, values, label, low, top, (truth,)))
    with wide("trial", row_width(6, 190)):
        chart(
            map_row(panels, 190, slots=6),
            "trial maps",
            None,
            f"Score maps of this trial on {cohort}",
        )


main()
