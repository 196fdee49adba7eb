"""Failed trials and evaluations: each with its message, and its traceback for whoever opens it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dashboard.data import evaluation_record, fit_record
from dashboard.frame import Frame, guarded
from dashboard.text import markdown_text
from study.records.types import Failure

_COLUMNS = [
    "trial_id",
    "eval_id",
    "model",
    "modality",
    "setting",
    "seed",
    "cohort",
    "failure_kind",
    "failure_message",
    "finished",
]


def failures(index: pa.Table, trial_id: str | None = None) -> pa.Table:
    """The failed fits and evaluations of a study, or of one of its trials."""
    mask = pc.equal(index["status"], "failed")
    if trial_id is not None:
        mask = pc.and_(mask, pc.equal(index["trial_id"], trial_id))
    return index.select(_COLUMNS).filter(mask)


def show_failure(frame: Frame, row: dict[str, Any]) -> None:
    """One failure: its sentence, and the traceback inside."""
    where = f", evaluation on {row['cohort']}" if row["cohort"] else ""
    name = f"{frame.names.model(row['model'])} {row['modality']} {setting(row)}".strip()
    head = f"{name}{where}: {row['failure_kind']}: {row['failure_message']}"
    short = head if len(head) < 160 else f"{head[:160]}…"
    key = f"failure {row['trial_id']} {row['eval_id'] or ''}"
    icon = ":material/error:"
    with st.expander(markdown_text(short), key=key, icon=icon, on_change="rerun") as box:
        if box.open:
            st.text(f"trial {row['trial_id']}")
            guarded(lambda: _traceback(frame, row), "The traceback")


def setting(row: dict[str, Any]) -> str:
    """What tells a trial from the others of its model: its setting and its seed."""
    seed = f" seed {row['seed']}" if row["seed"] else ""
    return f"{row['setting'] or ''}{seed}".strip()


def _traceback(frame: Frame, row: dict[str, Any]) -> None:
    where = (frame.uri, frame.study, row["trial_id"])
    failure: Failure | None = None
    if row["eval_id"] is None:
        fit = fit_record(*where, row["finished"])
        failure = fit.failure if fit is not None else None
    else:
        evaluation = evaluation_record(*where, row["eval_id"], row["finished"])
        failure = evaluation.failure if evaluation is not None else None
    st.code(failure.traceback if failure is not None else "no traceback recorded", language=None)
