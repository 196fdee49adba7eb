"""Viewer: a whole scan in three planes, with the score volumes of one or two models."""

from __future__ import annotations

import streamlit as st

from dashboard import state
from dashboard.data import scan_slices
from dashboard.frame import (
    choose_cohort,
    current,
    empty,
    has_results,
    problem,
    show_choice,
    synthetic_note,
    title,
    watch,
)
from dashboard.slices import SliceSource, open_source
from dashboard.viewer.component import show_scene
from dashboard.viewer.scenes import Choice, highest_line, line_names, scene_of, scores_of
from datasets.manifest import ScanRecord
from datasets.storage import StorageError
from study.terminal import counted

NONE = "none"


def main() -> None:
    """Draw the page; another scan or model runs one fragment alone, a step nothing at all."""
    frame = current()
    watch(frame)
    title("Viewer", "A whole scan in three planes: image, lesion, and the scores of its voxels.")
    if not has_results(frame.view, "Scans appear with the first results"):
        return
    cohort, modality = choose_cohort(frame.view)
    source = open_source(frame, cohort, modality, "brain")
    for text in source.problems:
        problem(text)
    if not source.records:
        empty(
            "The slices of this cohort are not in this store",
            "Scans appear when the store's `shards` folder is there: run "
            "`python -m study.prepare` with the same store.",
        )
        return
    if not source.lines:
        empty("No trial has a ROC-AUC here", "A cohort without lesion pixels has no best setting.")
        return
    highest = highest_line(source, cohort, modality)

    @st.fragment
    def viewer() -> None:
        _viewer(source, highest)

    viewer()
    synthetic_note(frame.record, [cohort])


def _viewer(source: SliceSource, highest: str) -> None:
    record = _choose_scan(source)
    choices = _choose_sides(source, highest)
    try:
        scan = scan_slices(source.frame.uri, record)
    except StorageError as error:
        problem(str(error))
        return
    n_slices = counted(len(scan.slice_index_N), "slice")
    with st.spinner(f"Scoring {n_slices}…", show_time=True):
        scene, problems = scene_of(source, record, scan, choices)
    for text in problems:
        problem(text)
    show_scene(scene, key="viewer")
    st.caption(
        "A side shows the trial that stands for its line of table 1: the best setting, its first "
        "seed. Scores below their threshold are clear, as is all outside the brain; a threshold "
        "begins where that trial has its highest Dice on the cohort. Slices with too little brain "
        "were left out of the study, and are not here either."
    )


def _choose_scan(source: SliceSource) -> ScanRecord:
    records = source.records
    with_lesion = [name for name, record in records.items() if record.lesion_volume_ml]
    name = state.select(
        "Scan",
        "scan",
        sorted(records),
        default=min(with_lesion, default=None),
        show=lambda name: f"{name} · {_lesion(records[name])}",
        width=420,
    )
    return records[name]


def _lesion(record: ScanRecord) -> str:
    if record.lesion_volume_ml is None:
        return "no lesion mask"
    return f"lesion {record.lesion_volume_ml:.1f} ml" if record.lesion_volume_ml else "no lesion"


def _choose_sides(source: SliceSource, highest: str) -> list[Choice]:
    """The lines of table 1 to look at: one, or two side by side."""
    names = {**line_names(source), NONE: NONE}

    def show(key: str) -> str:
        return show_choice(names[key])

    lines = list(source.lines)
    left = state.segmented("Left", "left-line", lines, default=highest, show=show)
    choices = [Choice(source.lines[left], _choose_second(source, "left", left))]
    right = state.segmented("Right", "right-line", [*lines, NONE], default=NONE, show=show)
    if right != NONE:
        choices.append(Choice(source.lines[right], _choose_second(source, "right", right)))
    return choices


def _choose_second(source: SliceSource, side: str, key: str) -> str | None:
    """Another score of the same trial, laid over the first."""
    line = source.lines[key]
    others = [score for score in scores_of(source, line.model) if score != line.score]
    if not others:
        return None
    names = source.frame.names
    score = state.segmented(
        f"Second score on the {side}, of the same trial",
        f"{side}-second",
        [*others, NONE],
        default=NONE,
        show=lambda name: show_choice(name if name == NONE else names.score(line.model, name)),
    )
    return None if score == NONE else score


main()
