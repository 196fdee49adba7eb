"""Study: how far it is, what it has learnt so far, what failed, and what it was made with."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dashboard import state
from dashboard.curve_charts import Trace, loss_curves
from dashboard.data import finished_at, finished_history, running_history, table_of
from dashboard.failures import failures, setting, show_failure
from dashboard.figures import chart
from dashboard.frame import Frame, current, empty, guarded, synthetic_note, title
from dashboard.provenance import provenance
from dashboard.reader import StudyView
from dashboard.text import figure_text, markdown_text
from study.progress.live import epochs_of
from study.progress.liveness import heartbeat_age
from study.records.heartbeats import Progress, RunningTrial, Stage
from study.terminal import counted, duration

MOST_CURVES = 6
MOST_ROWS = 200
MOST_FAILURES = 20
_COLOURS = ("#D55E00", "#2F7FC1", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_STAGES = {
    "prepare": "preparing scans",
    "trials": "running trials",
    "report": "writing the report",
    "done": "done",
    "interrupted": "interrupted; the same command goes on",
    "stopped": "stopped by an error; the same command goes on once it is mended",
}


def main() -> None:
    """Draw the page; all that moves is in one fragment."""
    frame = current()
    record = frame.record
    title("Study", f"Grid {markdown_text(record.grid)}, last run {_minute(record.updated)}")
    live = frame.view.live

    @st.fragment(run_every=2.0 if live else 10.0)
    def moving() -> None:
        now = frame.again()
        if now.view.record is None or now.view.live != live:
            st.rerun(scope="app")
        _progress(now.view)
        _running(now.view.progress if live else None)
        _best(now)
        guarded(lambda: _losses(now, live), "The loss curves")
        _failures(now)
        _trials(now.view)

    moving()
    synthetic_note(frame)
    provenance(frame)


def _minute(time: str) -> str:
    """A UTC time of a record as people read it."""
    return f"{markdown_text(time[:16].replace('T', ' '))} UTC"


def _progress(view: StudyView) -> None:
    counts, progress = view.counts, view.progress
    live = view.live
    with st.container(horizontal=True, key="counts"):
        st.metric("Trials done", f"{counts.done:,} of {counts.planned:,}", border=True)
        st.metric("Running", f"{counts.running:,}", border=True)
        st.metric("Failed", f"{counts.failed:,}", border=True)
        if counts.stopped:
            st.metric("Stopped early", f"{counts.stopped:,}", border=True)
        speed = f"{progress.slices_per_s:,.0f}" if live and progress else "–"
        st.metric("Slices per second", speed, border=True)
        left = duration(progress.seconds_left) if live and progress else "–"
        st.metric("Time left", left, border=True)
    share = min(counts.ended / counts.planned, 1.0) if counts.planned else 0.0
    st.progress(share, text=_stage(view, share))
    if counts.failed and not live:
        st.error(
            f"{counted(counts.failed, 'trial')} failed, so figures are missing: the reasons stand "
            "below. `study.run --retry-failed` runs them again.",
            icon=":material/error:",
        )


def _stage(view: StudyView, share: float) -> str:
    done, progress = f"{share:.0%}", view.progress
    if progress is None:
        return f"{done} · no run has reported yet"
    stage = markdown_text(_STAGES.get(progress.stage, progress.stage))
    if view.counts.failed and progress.stage is Stage.DONE:
        done = f"{view.counts.done / max(view.counts.planned, 1):.0%}"
        stage = f"{counted(view.counts.failed, 'trial')} failed"
    if view.live or progress.has_ended:
        return f"{done} · {stage}"
    age = duration(heartbeat_age(progress).total_seconds())
    return f"{done} · no sign of life for {age}; run the same command again to go on"


def _running(progress: Progress | None) -> None:
    if progress is None or not progress.running:
        return
    with st.container(border=True):
        st.caption("At work")
        for trial in progress.running[:12]:
            share = _share(trial)
            stage = epochs_of(trial)
            stage = stage if trial.stage == "fit" else f"evaluating, {stage}"
            stage += "" if trial.loss is None else f" · loss {trial.loss:.5g}"
            st.progress(share, text=f"{markdown_text(trial.label)} · {stage}")
        if len(progress.running) > 12:
            st.caption(f"and {len(progress.running) - 12} more")


def _share(trial: RunningTrial) -> float:
    """How much of its training is done, 0 to 1, whatever its heartbeat says."""
    share = (trial.epoch + trial.share) / trial.epochs if trial.epochs else 0.0
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0


def _losses(frame: Frame, live: bool) -> None:
    if not state.toggle("Loss curves", "curves-on", default=live):
        return
    names = _trial_names(frame)
    running = {t.trial_id: t for t in _at_work(frame.view.progress)} if live else {}
    names |= {trial_id: trial.label for trial_id, trial in running.items()}
    if not names:
        empty("There are no loss curves", _why_no_curves(frame))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = state.many(
            "Trials",
            "losses",
            list(names),
            default=(),
            show=lambda trial_id: names[trial_id],
            max_selections=MOST_CURVES,
            placeholder="those at work, else the latest",
            width=560,
        )
        log_y = state.toggle("Logarithmic loss", "logloss")
    shown = dict.fromkeys(chosen or [*running, *names][:MOST_CURVES])
    panels: dict[str, list[Trace]] = {}
    for colour, trial_id in zip(_COLOURS, shown, strict=False):
        history = _history(frame, trial_id, at_work=trial_id in running)
        if history is not None:
            # Objectives are not comparable between models, so each model has its own axes.
            model = names[trial_id].partition(" ")[0].upper()
            panels.setdefault(model, []).extend(_loss_pair(names[trial_id], history, colour))
    if not panels:
        st.caption("No epoch has been completed yet.")
        return
    for place, (model, curves) in zip(st.columns(len(panels)), panels.items(), strict=True):
        with place:
            chart(
                loss_curves(curves, log_y=log_y),
                f"losses {model}",
                None,
                f"Training and validation loss over epochs, {model}",
            )
    st.caption("Solid: training. Dotted: held-out healthy subjects. Each model has its objective.")


def _why_no_curves(frame: Frame) -> str:
    fits = frame.view.fits
    if fits.filter(pc.is_valid(fits["train_loss"])).num_rows:
        return "Every network was trained for one epoch, and a curve takes two."
    if frame.view.live:
        return "Curves appear here after a network's first epoch."
    return "No network of this study has finished an epoch."


def _at_work(progress: Progress | None) -> tuple[RunningTrial, ...]:
    return progress.running if progress is not None else ()


def _trial_names(frame: Frame) -> dict[str, str]:
    """The latest finished networks, newest first, with what people call them."""
    fits = frame.view.fits
    learnt = pc.and_(pc.is_valid(fits["train_loss"]), pc.greater(fits["epochs"], 1))
    fits = fits.filter(learnt)
    order = pc.sort_indices(fits, [("finished", "descending"), ("trial_id", "ascending")])
    return {row["trial_id"]: _name(frame, row) for row in fits.take(order[:MOST_ROWS]).to_pylist()}


def _name(frame: Frame, row: dict[str, Any]) -> str:
    return f"{frame.names.model(row['model'])} {row['modality']} {setting(row)}".strip()


def _history(frame: Frame, trial_id: str, *, at_work: bool) -> pa.Table | None:
    if at_work:
        return running_history(frame.uri, frame.study, trial_id)
    finished = finished_at(frame.view, trial_id)
    return finished_history(frame.uri, frame.study, trial_id, finished)


def _loss_pair(name: str, history: pa.Table, colour: str) -> list[Trace]:
    epochs = history["epoch"].to_pylist()
    train, validation = (history[c].to_pylist() for c in ("train_loss", "validation_loss"))
    curves = [Trace(name, epochs, train, colour)]
    if any(value is not None for value in validation):
        held_out = f"{name}, held out"
        curves.append(Trace(held_out, epochs, validation, colour, "dot", in_legend=False))
    return curves


def _best(frame: Frame) -> None:
    counts = frame.view.counts
    st.header("Best" if counts.ended >= counts.planned else "Best so far", anchor=False)
    version = frame.view.version
    table = table_of(frame.uri, frame.study, version, "auc", "brain", frame.view)
    if not any(cell.value is not None for cell in table.cells.values()):
        empty(
            "No trial has been evaluated yet",
            "The best ROC-AUC of each test cohort appears here with the first results.",
        )
        return
    rows = []
    for column in table.columns:
        best = [line for line in table.lines if table.cells[line, column].best]
        if best:
            line = best[0]
            cell = table.cells[line, column]
            rows.append(
                {
                    "Test cohort": markdown_text(" ".join(column)),
                    "ROC-AUC": figure_text(cell.value),
                    "Model and score": markdown_text(table.names.line(*line)),
                    "Setting": markdown_text(cell.setting.table_text),
                }
            )
    st.table(pa.Table.from_pylist(rows), border="horizontal", hide_index=True)
    st.caption(
        "Over brain pixels, the best setting of any model (the mean over its seeds), chosen on the "
        "test set itself."
    )


def _failures(frame: Frame) -> None:
    failed = failures(frame.view.index)
    if not failed.num_rows:
        return
    st.header(f"Failed ({failed.num_rows})", anchor=False)
    for row in failed.slice(0, MOST_FAILURES).to_pylist():
        show_failure(frame, row)
    if failed.num_rows > MOST_FAILURES:
        st.caption(f"and {failed.num_rows - MOST_FAILURES} more; the page **Trial** has each")


def _trials(view: StudyView) -> None:
    fits = view.fits
    if not fits.num_rows:
        return
    head, icon = f"All trials ({fits.num_rows:,})", ":material/list:"
    with st.expander(head, key="trials open", icon=icon, on_change="rerun") as box:
        if not box.open:
            return
        order = pc.sort_indices(fits, [("finished", "descending"), ("trial_id", "ascending")])
        names = ["model", "modality", "setting", "seed", "epochs", "status"]
        names += ["train_loss", "validation_loss", "wall_s", "finished", "trial_id"]
        shown = fits.select(names).take(order[:MOST_ROWS])
        st.dataframe(shown, hide_index=True, key="all trials")
        if fits.num_rows > MOST_ROWS:
            st.caption(f"The latest {MOST_ROWS}; the grid and the trial page lead to all of them.")


main()
