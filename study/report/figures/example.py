"""Figure 2: how a slice becomes a score, from the image to the normalised error."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from matplotlib.figure import Figure

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
from study.report.figures.material import Column, Line, Material
from study.report.figures.pictures import (
    HIGH,
    LOW,
    Map,
    Scale,
    colour_bar,
    grey_scale,
    map_scale,
    mark_scale,
    mark_sides,
    show_map,
    show_slice,
    show_truth,
)
from study.report.figures.style import COLUMN_MM, SMALL_PT, axes_at, new_figure, text_at
from study.terminal import counted

SCORES = ("squared_error", "log_variance", "normalized_error")
"""What a model has to have, besides a reconstruction, for its slice to be taken apart."""

_SIDE, _GAP, _EDGE = 26.0, 2.5, 1.0
_TITLE, _ROW = 3.5, 36.5


@dataclass(frozen=True)
class _Panel:
    """A panel of the figure.

    Attributes:
        title: Above it.
        map_HW: What it shows.
        scale: Its scale.
        is_grey: Whether it is a slice.
        bar_panels: How many panels, from this one on, the bar below it is for; 0 for no bar.
    """

    title: str
    map_HW: Map
    scale: Scale
    is_grey: bool = False
    bar_panels: int = 1


def example_line(material: Material, column: Column) -> Line | None:
    """The row of the normalised error of a model whose pictures tell all that the figure shows."""
    for line in material.lines(column):
        if line[1] != SCORES[-1]:
            continue
        kept = material.showcase(material.seeds(line, column)[0])
        if kept and set(SCORES) <= set(kept[0].scores) and "reconstruction" in kept[0].pictures:
            return line
    return None


def draw_example(material: Material, column: Column, line: Line) -> tuple[Figure, str]:
    """The figure and its caption.

    Args:
        material: Of the study.
        column: The test set.
        line: From :func:`example_line`.
    """
    row = material.seeds(line, column)[0]
    kept = material.showcase(row)
    subject = next(s for s in material.chosen_subjects(column, line) if "median" in s.roles)
    shown = next(maps for maps in kept if maps.subject == subject.subject)
    pixel_mm = material.pixel_mm(column, shown)
    synthetic = material.report.synthetic
    above = 4.0 if synthetic else 0.5
    figure = new_figure(COLUMN_MM, above + 2 * _ROW, synthetic=synthetic)
    for number, panel in enumerate(_panels(shown)):
        left = _EDGE + (number % 3) * (_SIDE + _GAP)
        top = above + (number // 3) * _ROW
        _draw(figure, panel, shown, (left, top), pixel_mm if number == 0 else None)
        text_at(figure, left, top + 0.3, "abcdef"[number], weight="bold", va="top")
        text_at(figure, left + 2.6, top + 0.4, panel.title, size=SMALL_PT, va="top")
    n_kept = len({maps.subject for maps in kept})
    sentences = [
        f"{row_name(material, line, column)} on {' '.join(column)}, n = 1 of "
        f"{counted(row['n_subjects'], 'subject')}: {subject_words(subject)}, axial slice "
        f"{shown.slice_index}, the one with the largest lesion area.",
        f"The subject is {choice_sentence(material, column, n_kept)}.",
        "(a) Image and (b) reconstruction in one window; (c) predicted standard deviation; "
        "(d) squared error; (e) normalised error, the squared error over twice the predicted "
        "variance; (f) the image with the outline of the ground truth.",
        "Intensities are multiples of the brain's median. Maps are shown within the brain; their "
        f"scales go from the {LOW:g}th, or from 0 where that is close to it, to the {HIGH:g}th "
        "percentile of the slice's brain pixels.",
        bar_sentence(pixel_mm),
        ORIENTATION,
        *seeds_sentence(material, [line], column),
    ]
    return figure, caption("A slice and its scores", sentences, material)


def _panels(shown: ShowcaseMaps) -> list[_Panel]:
    grey = grey_scale(shown)
    error, uncertainty, normalized = (shown.scores[name] for name in SCORES)
    # The uncertainty U is log(2 pi s2) / 2, so the standard deviation is exp(U) / sqrt(2 pi).
    deviation = (np.exp(uncertainty.astype(np.float64)) / sqrt(2 * pi)).astype(np.float32)

    def of(values: Map) -> Scale:
        return map_scale([(values, shown)])

    return [
        _Panel("image", shown.image_HW, grey, is_grey=True, bar_panels=2),
        _Panel("reconstruction", shown.pictures["reconstruction"], grey, True, 0),
        _Panel("predicted std. dev.", deviation, of(deviation)),
        _Panel("squared error (SE)", error, of(error)),
        _Panel("normalised error (E)", normalized, of(normalized)),
        _Panel("ground truth", shown.image_HW, grey, is_grey=True, bar_panels=0),
    ]


def _draw(
    figure: Figure,
    panel: _Panel,
    shown: ShowcaseMaps,
    place: tuple[float, float],
    pixel_mm: float | None,
) -> None:
    left, top = place
    axes = axes_at(figure, left, top + _TITLE, _SIDE, _SIDE)
    if panel.is_grey:
        image = show_slice(axes, panel.map_HW, panel.scale)
    else:
        image = show_map(axes, panel.map_HW, shown.brain_HW, panel.scale)
    if panel.title == "ground truth":
        show_truth(axes, shown.lesion_HW)
    mark_sides(axes)
    mark_scale(axes, pixel_mm)
    if panel.bar_panels:
        width = panel.bar_panels * _SIDE + (panel.bar_panels - 1) * _GAP
        colour_bar(figure, image, (left, top + _TITLE + _SIDE + 1.0, width), panel.scale)
