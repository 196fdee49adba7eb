"""Figure 4: slices with their ground truth, and the map of every row of table 1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from study.records.showcase import ShowcaseMaps
from study.report.figures.captions import (
    ORIENTATION,
    bar_sentence,
    caption,
    choice_sentence,
    row_name,
    seeds_sentence,
    subject_words,
)
from study.report.figures.material import Column, Line, Material, ShownSubject
from study.report.figures.pictures import (
    HIGH,
    LOW,
    Scale,
    colour_bar,
    grey_scale,
    map_scale,
    mark_scale,
    mark_sides,
    show_map,
    show_marked,
    show_slice,
    show_truth,
)
from study.report.figures.style import PAGE_MM, SMALL_PT, axes_at, new_figure, text_at
from study.report.operating_table import point_of, uncertain
from study.report.paper import is_usual
from study.report.thresholds import USUAL, threshold_name
from study.terminal import counted

MOST_MAPS = 9
"""So many maps are side by side before their panels are too small to read."""

_LABEL, _GAP, _TITLE, _LETTERS = 7.5, 0.8, 9.5, 6.0


def map_lines(material: Material, column: Column) -> list[Line]:
    """The rows of table 1 whose maps are shown: the usual ones, as many as there is room for.

    A row of whose test set other slices were kept cannot stand beside the first.
    """
    lines = [line for line in material.lines(column) if is_usual(*line)]
    kept = {line: set(_by_subject(material, line, column)) for line in lines}
    first = next((subjects for subjects in kept.values() if subjects), set())
    return [line for line in lines if kept[line] and kept[line] == first][:MOST_MAPS]


def draw_maps(
    material: Material, column: Column, lines: list[Line], asked: Sequence[str] = ()
) -> tuple[Figure, str]:
    """The figure and its caption.

    Args:
        material: Of the study.
        column: The test set.
        lines: From :func:`map_lines`; at least one.
        asked: Subjects to show, ``cohort/subject``, of which at least one's maps are kept; by
            default the median, the best and the worst.
    """
    reference = max(lines, key=lambda line: material.cell(line, column).value or 0.0)
    subjects = material.chosen_subjects(column, reference, asked)
    shown = {line: _by_subject(material, line, column) for line in lines}
    scales = _scales(lines, shown, subjects)
    synthetic = material.report.synthetic
    above = 4.0 if synthetic else 0.5
    side = (PAGE_MM - _LABEL - (len(lines) + 1) * _GAP) / (len(lines) + 1)
    side = min(side, 26.0)
    height = above + _TITLE + len(subjects) * (side + _GAP) + _LETTERS
    figure = new_figure(PAGE_MM, height, synthetic=synthetic)
    pixel_mm: list[float | None] = []
    images: dict[Line, AxesImage] = {}
    for number, subject in enumerate(subjects):
        top = above + _TITLE + number * (side + _GAP)
        row = {line: shown[line][subject.subject] for line in lines}
        pixel_mm.append(material.pixel_mm(column, row[lines[0]]))
        _label_row(figure, subject, top + side / 2)
        _show_truth(axes_at(figure, _LABEL, top, side, side), row[lines[0]], pixel_mm[-1])
        for place, (line, maps) in enumerate(row.items(), start=1):
            axes = axes_at(figure, _LABEL + place * (side + _GAP), top, side, side)
            images[line] = show_map(axes, maps.scores[line[1]], maps.brain_HW, scales[line[1]])
            point = point_of(material.operating(line, column))
            if point is not None and point.value is not None:
                marked_HW = maps.scores[line[1]] >= np.float32(point.value)
                show_marked(axes, marked_HW & maps.brain_HW)
    _head(figure, material, column, lines, (above, side))
    _bars(figure, lines, images, scales, (height - _LETTERS, side))
    sentences = _sentences(material, column, lines, reference, subjects)
    return figure, caption("Score maps", [*sentences, _bar_words(pixel_mm), ORIENTATION], material)


def _with_roles(subject: ShownSubject) -> str:
    """A subject in words, with why it is shown."""
    words = subject_words(subject)
    return f"{' and '.join(subject.roles)}: {words}" if subject.roles else words


def _label_row(figure: Figure, subject: ShownSubject, middle: float) -> None:
    size = f"\n{subject.volume_ml:.1f} ml" if subject.volume_ml is not None else ""
    words = (", ".join(subject.roles) + size).strip()
    text_at(figure, 3.4, middle, words, rotation=90, ha="center", va="center", size=SMALL_PT)


def _show_truth(axes: Axes, maps: ShowcaseMaps, pixel_mm: float | None) -> None:
    """The slice itself with the outline of its ground truth."""
    show_slice(axes, maps.image_HW, grey_scale(maps))
    show_truth(axes, maps.lesion_HW)
    mark_sides(axes)
    mark_scale(axes, pixel_mm, labelled=False)


def _by_subject(material: Material, line: Line, column: Column) -> dict[str, ShowcaseMaps]:
    return {maps.subject: maps for maps in material.showcase(material.seeds(line, column)[0])}


def _scales(
    lines: list[Line],
    shown: dict[Line, dict[str, ShowcaseMaps]],
    subjects: tuple[ShownSubject, ...],
) -> dict[str, Scale]:
    """One scale a score, whatever the model and the subject."""
    scales = {}
    for score in {score for _, score in lines}:
        maps = [shown[line][s.subject] for line in lines if line[1] == score for s in subjects]
        scales[score] = map_scale((m.scores[score], m) for m in maps)
    return scales


def _head(
    figure: Figure,
    material: Material,
    column: Column,
    lines: list[Line],
    place: tuple[float, float],
) -> None:
    above, side = place
    bottom = above + _TITLE - 0.8
    options: dict[str, Any] = {"ha": "center", "va": "bottom", "size": SMALL_PT}
    text_at(figure, _LABEL + side / 2, bottom, " ".join(column), **options)
    for number, line in enumerate(lines, start=1):
        names = material.table.names
        words = [names.detector(line[0]).short_label]
        symbol = names.score_of(*line).symbol or names.score(*line)
        words += [symbol] if symbol != words[0] else []
        setting = material.cell(line, column).setting.text
        words += [setting] if setting else []
        middle = _LABEL + number * (side + _GAP) + side / 2
        text_at(figure, middle, bottom, "\n".join(words), linespacing=1.05, **options)


def _bars(
    figure: Figure,
    lines: list[Line],
    images: dict[Line, AxesImage],
    scales: dict[str, Scale],
    place: tuple[float, float],
) -> None:
    """A bar below each run of columns with the same score."""
    top, side = place
    number = 1
    for score, run in groupby(lines, key=lambda line: line[1]):
        some = list(run)
        left = _LABEL + number * (side + _GAP)
        width = len(some) * side + (len(some) - 1) * _GAP
        inset = 1.0
        spot = (left + inset, top + 0.6, width - 2 * inset)
        colour_bar(figure, images[some[0]], spot, scales[score])
        number += len(some)


def _bar_words(pixel_mm: list[float | None]) -> str:
    known = [size for size in pixel_mm if size is not None]
    if len(known) < len(pixel_mm) or len(set(known)) == 1:
        return bar_sentence(None if len(known) < len(pixel_mm) else known[0])
    return f"Scale bars: 20 mm; a pixel is {min(known):.2f} to {max(known):.2f} mm wide."


def _threshold_sentence(material: Material, lines: list[Line], column: Column) -> list[str]:
    """What is outlined on the maps, if a threshold is known."""
    found = (material.operating(line, column) for line in lines)
    known = next((one for one in found if one is not None), None)
    if known is None:
        return []
    names = " and ".join(known.reference)
    return [
        f"White outlines: what is marked at {threshold_name(USUAL)}, the score that {USUAL:.0%} of "
        f"the brain pixels of healthy subjects reach: {names}, n = {known.n_reference}"
        f"{uncertain(known.n_reference)}."
    ]


def _sentences(
    material: Material,
    column: Column,
    lines: list[Line],
    reference: Line,
    subjects: tuple[ShownSubject, ...],
) -> list[str]:
    names = material.table.names
    row = material.seeds(reference, column)[0]
    n_kept = len({maps.subject for maps in material.showcase(row)})
    left_out = [line for line in material.lines(column) if line not in lines]
    chosen = ""
    if any(subject.roles for subject in subjects):
        chosen = (
            f"{choice_sentence(material, column, n_kept)}, and of these the ones with the best and "
            f"the worst AUC of their own by {row_name(material, reference, column)}, the highest "
            "of the rows shown"
        )
    told = "; ".join(_with_roles(s) for s in subjects)
    sentences = [
        f"Axial slices of {' '.join(column)} with the outline of the ground truth, and the map of "
        "each row of table 1 at its best setting.",
        f"n = {len(subjects)} of {counted(row['n_subjects'], 'subject')}: "
        f"{chosen or 'chosen by hand'}.",
        f"{'From the top, ' if len(subjects) > 1 else 'Shown is '}{told}, "
        f"{'each ' if len(subjects) > 1 else ''}with its AUC by "
        f"{row_name(material, reference, column)}.",
        f"Each score has one scale, whatever the model and the subject, from the {LOW:g}th, or "
        f"from 0 where that is close to it, to the {HIGH:g}th percentile of the brain pixels "
        "shown; outside the brain nothing is shown.",
        *_threshold_sentence(material, lines, column),
        *seeds_sentence(material, lines, column),
    ]
    if left_out:
        words = ", ".join(names.short_line(*line) for line in left_out)
        sentences.append(f"Rows that are not shown: {words}.")
    return sentences
