"""Viewer: a whole scan in three planes, with the score volumes of one or two models."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import state
from dashboard.data import scan_slices
from dashboard.frame import (
    Frame,
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
from dashboard.slices import SliceSource, open_source, scan_text
from dashboard.viewer.component import show_scene
from dashboard.viewer.scenes import Choice, line_names, scene_of, scores_of
from datasets.manifest import ScanRecord
from datasets.storage import StorageError
from study.terminal import counted

NONE = "none"
_WIDTHS = (5, 1)  # of the lines of table 1, and of the second score beside them


def main() -> None:
    """Draw the page; another scan or model runs one fragment alone, a step nothing at all."""
    frame = current()
    watch(frame)
    title("Viewer", "A whole scan in three planes: image, lesion, and the scores of its voxels.")
    if not has_results(frame.view, "Scans appear with the first results"):
        return

    @st.fragment
    def viewer() -> None:
        _viewer(frame)

    viewer()


def _viewer(frame: Frame) -> None:
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        cohort, modality = choose_cohort(frame.view)
        source = open_source(frame, cohort, modality, "brain")
        record = _choose_scan(source) if source.records else None
    for text in source.problems:
        problem(text)
    if record is None:
        empty(
            "The slices of this cohort are not in this store",
            "Scans appear when the store's `shards` folder is there: run "
            "`python -m study.prepare` with the same store.",
        )
        return
    if not source.lines:
        empty("No trial has a ROC-AUC here", "A cohort without lesion pixels has no best setting.")
        return
    _draw(source, record, _choose_sides(source))
    synthetic_note(frame, [cohort])


def _draw(source: SliceSource, record: ScanRecord, choices: Sequence[Choice]) -> None:
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
        "Subject",
        "subject",
        sorted(records),
        default=min(with_lesion, default=None),
        show=lambda name: scan_text(name, records[name]),
        read=lambda text: next(
            (n for n in sorted(records) if f"{n} ".startswith(f"{text} ")), None
        ),
        width=420,
    )
    return records[name]


def _choose_sides(source: SliceSource) -> list[Choice]:
    """The lines of table 1 to look at: one, or two side by side."""
    names = {**line_names(source), NONE: NONE}

    def show(key: str) -> str:
        return show_choice(names[key])

    lines = list(source.lines)
    first, beside = st.columns(_WIDTHS, gap="medium")
    with first:
        left = state.segmented(
            "Left model", "left-line", lines, default=source.best, show=show, wrap=True
        )
    with beside:
        choices = [Choice(source.lines[left], _choose_second(source, "left", left))]
    first, beside = st.columns(_WIDTHS, gap="medium")
    with first:
        right = state.segmented(
            "Right model", "right-line", [*lines, NONE], default=NONE, show=show, wrap=True
        )
    if right != NONE:
        with beside:
            choices.append(Choice(source.lines[right], _choose_second(source, "right", right)))
    return choices


def _choose_second(source: SliceSource, side: str, key: str) -> str | None:
    """Another score of the same trial, laid over the first."""
    line = source.lines[key]
    others = [score for score in scores_of(source, line.model) if score != line.score]
    if not others:
        return None
    names = source.frame.names
    score = state.select(
        f"Second score, {side}",
        f"{side}-second",
        [NONE, *others],
        show=lambda name: name if name == NONE else names.score(line.model, name),
        help="Another score of the same trial, drawn over the first.",
    )
    return None if score == NONE else score


main()
