"""Heatmaps: figure 4 of the paper for any slice, with a threshold to draw the segmentation."""

from __future__ import annotations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard import state
from dashboard.figures import chart
from dashboard.frame import (
    Frame,
    choose_cohort,
    current,
    empty,
    has_results,
    problem,
    region,
    synthetic_note,
    title,
    watch,
    wide,
)
from dashboard.map_charts import SEGMENT_COLOUR, TRUTH_COLOUR, MapPanel, map_row, row_width
from dashboard.maps import best_overlap, neighbours, outline, overlap, region_mask, segment
from dashboard.paper_kit import maps_button
from dashboard.slices import Line, SliceSource, open_source
from dashboard.text import figure_text, markdown_text
from study.records.showcase import ShowcaseMaps
from study.report.paper import is_usual

_LARGEST = 225  # height of the pictures of a segmentation, in pixels


def main() -> None:
    """Draw the page; moving through slices and thresholds runs one fragment alone."""
    frame = current()
    watch(frame)
    title("Heatmaps", "Figure 4 of the paper: one slice, its ground truth, every score map.")
    if not has_results(frame.view, "Maps appear with the first results"):
        return
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        cohort, modality = choose_cohort(frame.view)
        where = region()
    source = open_source(frame, cohort, modality, where)
    for text in source.problems:
        problem(text)
    if not source.positions(everything=False):
        empty(
            "No trial of this cohort has score maps to show",
            "They are part of every finished evaluation; see the problems above.",
        )
        return

    @st.fragment
    def viewer() -> None:
        _viewer(frame, source, where, (cohort, modality))

    viewer()
    synthetic_note(frame, [cohort])


def _viewer(frame: Frame, source: SliceSource, where: str, column: tuple[str, str]) -> None:
    subject, index = _navigate(source)
    keys = list(source.lines)
    usual = [
        k
        for k, line in source.lines.items()
        if is_usual(line.model, line.score) or k == source.best
    ]
    with st.spinner("Scoring the slice…", show_time=True):
        shown, problems = source.maps(subject, index)
    for text in problems:
        problem(text)
    keys = [key for key in keys if source.lines[key].score in _scores(shown, source.lines[key])]
    if not keys:
        empty("This slice cannot be shown", "Choose a showcase slice, or another subject.")
        return
    with st.popover("Score maps", icon=":material/layers:"):
        wanted = state.many(
            "Score maps in the row",
            "maps",
            keys,
            default=[key for key in usual if key in keys] or keys,
            show=lambda key: _name(frame, source.lines[key]),
            width=520,
        )
    lines = [key for key in keys if key in wanted] or keys
    panels = _row(frame, source, shown, lines, where)
    with wide("maps", row_width(len(panels))):
        chart(
            map_row(panels),
            "map row",
            None,
            "The slice, its ground truth and the score map of every model",
        )
    st.caption(
        "Blue outline: ground truth. One colour scale per score, the same on every slice of the "
        "cohort. Beside the model: the best setting of that score."
    )
    maps_button(frame, column, subject, is_kept=source.is_stored(subject))
    _threshold(frame, source, shown, lines, where)


def _navigate(source: SliceSource) -> tuple[str, int]:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        everything = False
        if source.has_everything:
            everything = state.toggle(
                "All slices",
                "all",
                help="Slices that no trial stored are scored from the saved weights.",
            )
        positions = source.positions(everything=everything)
        subjects = list(dict.fromkeys(name for name, _ in positions))
        subject = state.select(
            "Subject",
            "subject",
            subjects,
            width=260,
            on_change=_to_lesion,
            args=(source, everything),
        )
        indices = [i for name, i in positions if name == subject]
        index = state.select(
            "Axial slice",
            "slice",
            indices,
            default=source.lesion_slice(subject, everything=everything),
            width=140,
            help="Index in the scan's volume, from the feet up.",
        )
        before, after = neighbours(positions, (subject, index))
        here = positions.index((subject, index))
        st.button(
            "Previous",
            icon=":material/arrow_back:",
            shortcut="P",
            disabled=before == here,
            on_click=_go,
            args=positions[before],
        )
        st.button(
            "Next",
            icon=":material/arrow_forward:",
            shortcut="N",
            disabled=after == here,
            on_click=_go,
            args=positions[after],
        )
        st.caption(f"{here + 1} of {len(positions)}")
    return subject, index


def _to_lesion(source: SliceSource, everything: bool) -> None:
    """After another subject was chosen: the slice of the one before says nothing of this one."""
    subject = st.session_state[state.key("subject")]
    index = source.lesion_slice(subject, everything=everything)
    if index is not None:
        st.session_state[state.key("slice")] = index


def _go(subject: str, index: int) -> None:
    st.session_state[state.key("subject")] = subject
    st.session_state[state.key("slice")] = index


def _scores(shown: dict[str, ShowcaseMaps], line: Line) -> set[str]:
    found = shown.get(line.trial_id)
    return set(found.scores) if found is not None else set()


def _name(frame: Frame, line: Line) -> str:
    return f"{frame.names.line(line.model, line.score)} {line.setting}".strip()


def _row(
    frame: Frame, source: SliceSource, shown: dict[str, ShowcaseMaps], lines: list[str], where: str
) -> list[MapPanel]:
    first = shown[source.lines[lines[0]].trial_id]
    truth = (*outline(first.lesion_HW), TRUTH_COLOUR)
    panels = [
        MapPanel("Image", first.image_HW, "image", 0.0, source.image_high, (), grey=True),
        MapPanel(
            "Ground truth", first.image_HW, "image", 0.0, source.image_high, (truth,), grey=True
        ),
    ]
    for key in _grouped(source, lines):
        line = source.lines[key]
        showcase = shown[line.trial_id]
        low, high = source.range_of(line.score)
        values = showcase.scores[line.score].copy()
        values[~region_mask(showcase.brain_HW, where)] = float("nan")
        name = f"{frame.names.model(line.model)}\n{line.setting or ' '}"
        score = frame.names.score(line.model, line.score)
        panels.append(MapPanel(name, values, score, low, high, (truth,)))
    return panels


def _grouped(source: SliceSource, lines: list[str]) -> list[str]:
    """The lines with equal scores side by side, so that each score has one colour bar."""
    scores = list(dict.fromkeys(source.lines[key].score for key in lines))
    return sorted(lines, key=lambda key: scores.index(source.lines[key].score))


def _threshold(
    frame: Frame, source: SliceSource, shown: dict[str, ShowcaseMaps], lines: list[str], where: str
) -> None:
    st.header("Segmentation", anchor=False)
    left, right = st.columns([2, 3], gap="large")
    with left:
        key = state.select(
            "Segment with",
            "segment",
            lines,
            default=source.best,
            show=lambda key: _name(frame, source.lines[key]),
        )
        line = source.lines[key]
        showcase = shown[line.trial_id]
        low, high = source.slider_range(line)
        default = min(max(line.best_threshold, low), high)
        threshold = state.slider(
            "Threshold: pixels with this score or more",
            f"threshold-{line.score}",
            low,
            high,
            default,
            format="%.4g",
        )
        mask = region_mask(showcase.brain_HW, where)
        truth = showcase.lesion_HW & mask
        score = showcase.scores[line.score]
        segmented = segment(score, showcase.brain_HW, where, threshold)
        found = overlap(segmented, truth)
        best = best_overlap(score, truth, mask)
        with st.container(horizontal=True, key="dice"):
            st.metric("Dice, this slice", figure_text(found.dice), border=True)
            reached = figure_text(best[0]) if best else "–"
            st.metric("Best possible here", reached, border=True)
            st.metric("Best Dice, cohort", figure_text(line.best_dice), border=True)
        st.caption(
            f"{found.n_segmented:,} pixels segmented, {found.n_lesion:,} lesion, "
            f"{found.n_both:,} in both. The slider starts at the cohort's best threshold, "
            f"{line.best_threshold:.4g}."
        )
    with right:
        _segmentation(frame, source, showcase, line, segmented, where)


def _segmentation(
    frame: Frame,
    source: SliceSource,
    showcase: ShowcaseMaps,
    line: Line,
    segmented: NDArray[np.bool_],
    where: str,
) -> None:
    score = frame.names.score(line.model, line.score)
    low, high = source.range_of(line.score)
    values = showcase.scores[line.score].copy()
    values[~region_mask(showcase.brain_HW, where)] = float("nan")
    drawn = (
        (*outline(showcase.lesion_HW), TRUTH_COLOUR),
        (*outline(segmented), SEGMENT_COLOUR),
    )
    panels = [
        MapPanel("Segmentation", showcase.image_HW, "image", 0.0, source.image_high, drawn, True),
        MapPanel(score, values, score, low, high, drawn[:1]),
    ]
    panels += [
        MapPanel(markdown_text(name), picture, "image", 0.0, source.image_high, (), True)
        for name, picture in list(showcase.pictures.items())[:1]
    ]
    with wide("segmentation", row_width(len(panels), _LARGEST)):
        chart(
            map_row(panels, _LARGEST),
            "segmentation",
            None,
            "The slice with the ground truth and the segmentation, and the score map",
        )
    st.caption("Blue: ground truth. Orange: segmentation at the threshold.")


main()
