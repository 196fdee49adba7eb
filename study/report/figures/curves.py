"""Figure 3: the ROC curves of the best setting of each row of table 1, a panel a test set."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from study.report.figures.band import Band, band_of
from study.report.figures.captions import caption
from study.report.figures.material import Column, Curve, Line, Material
from study.report.figures.style import (
    COLUMN_MM,
    PAGE_MM,
    SMALL_PT,
    axes_at,
    line_style,
    new_figure,
)
from study.terminal import counted, one_line

LOWEST_FPR = 1e-4
"""Where the logarithmic panel begins."""

_LEAST_TPR = LOWEST_FPR / 10
"""Below the logarithmic panel's edge, where a band that goes down to 0 ends."""

_ACROSS = 3
_LEFT, _RIGHT, _TITLE, _BELOW, _STRIP = 9.5, 3.0, 5.0, 7.0, 30.0
_LEGEND_LINE = 2.75


def curve_columns(material: Material) -> list[Column]:
    """The test sets that have any curve."""
    return [column for column in material.table.columns if material.lines(column)]


def draw_curves(material: Material, columns: list[Column]) -> tuple[Figure, str]:
    """The figure and its caption.

    Args:
        material: Of the study.
        columns: From :func:`curve_columns`; at least one.
    """
    across = min(_ACROSS, len(columns))
    width = COLUMN_MM if across == 1 else PAGE_MM
    cell = width / across
    side = min(cell - _LEFT - _RIGHT, 66.0)
    most = max(len(material.lines(column)) for column in columns)
    block = _TITLE + side + _BELOW + _STRIP + _BELOW + (most + 1.8) * _LEGEND_LINE
    synthetic = material.report.synthetic
    above = 4.0 if synthetic else 0.5
    n_down = -(-len(columns) // across)
    figure = new_figure(width, above + n_down * block, synthetic=synthetic)
    for number, column in enumerate(columns):
        left = (number % across) * cell + _LEFT
        top = above + (number // across) * block + _TITLE
        roc = axes_at(figure, left, top, side, side)
        strip = axes_at(figure, left, top + side + _BELOW, side, _STRIP)
        _draw_panel(material, column, roc, strip)
        if len(columns) > 1:
            roc.set_title("abcdefghijklmnopqrstuvwxyz"[number % 26], loc="left", weight="bold")
        roc.set_title(one_line(" ".join(column)))
        below = -(_BELOW / _STRIP) - 0.02
        strip.legend(
            *roc.get_legend_handles_labels(),
            title="row and AUC",
            title_fontsize=SMALL_PT,
            alignment="left",
            loc="upper left",
            bbox_to_anchor=(-0.04, below),
            frameon=False,
            borderaxespad=0.0,
            labelspacing=0.22,
            handlelength=2.4,
            handletextpad=0.6,
        )
    return figure, _caption(material, columns)


def mean_curve(curves: list[Curve], fpr: NDArray[np.float64]) -> NDArray[np.float64]:
    """The true positive rates of several seeds' curves at some false positive rates, on the mean.

    The area below it is the mean of their areas, which is the figure of table 1.
    """
    rates = [np.interp(fpr, curve.fpr, curve.tpr) for curve in curves]
    mean: NDArray[np.float64] = np.mean(rates, axis=0)
    return mean


def _draw_panel(material: Material, column: Column, roc: Axes, strip: Axes) -> None:
    fine = np.geomspace(LOWEST_FPR, 1.0, 300)
    chance: dict[str, Any] = {"color": "#B0B0B0", "linewidth": 0.5, "zorder": 0}
    roc.plot([0, 1], [0, 1], **chance)
    strip.plot(fine, fine, **chance)
    best = material.best_line(column)
    for position, line in enumerate(material.lines(column)):
        curves = [material.curve(row) for row in material.seeds(line, column)]
        fpr = np.unique(np.concatenate([curve.fpr for curve in curves]))
        colour, dash = line_style(material.table.names, *line, position)
        width = 1.5 if line == best else 0.9
        options: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": width}
        roc.plot(
            np.concatenate([[0.0], fpr]),
            np.concatenate([[0.0], mean_curve(curves, fpr)]),
            label=_label(material, line, column),
            **options,
        )
        if line == best:
            band = _band(material, line, column)
            for axes in (roc, strip) if band else ():
                assert band is not None
                low = np.maximum(band.low, _LEAST_TPR if axes is strip else 0.0)
                high = np.maximum(band.high, low)
                axes.fill_between(band.fpr, low, high, color=colour, alpha=0.22, linewidth=0)
        rates = mean_curve(curves, fine)
        strip.plot(fine, np.where(rates > 0, rates, np.nan), **options)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    roc.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, yticks=ticks)
    roc.set(xlabel="false positive rate", ylabel="true positive rate")
    strip.set(xscale="log", yscale="log", xlim=(LOWEST_FPR, 1), ylim=(LOWEST_FPR, 1))
    decades = [1e-4, 1e-3, 1e-2, 1e-1, 1]
    words = ["10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "1"]
    strip.set_xticks(decades, words)
    strip.set_yticks(decades, words)
    strip.set(xlabel="false positive rate (logarithmic)", ylabel="true positive rate (log.)")
    for axes in (roc, strip):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=SMALL_PT)


def _band(material: Material, line: Line, column: Column) -> Band | None:
    """The band about a row's curve, on rates that are close enough for either panel."""
    fpr = np.union1d(np.linspace(0, 1, 101), np.geomspace(LOWEST_FPR, 1.0, 81))
    return band_of([material.subjects(row) for row in material.seeds(line, column)], fpr)


def _label(material: Material, line: Line, column: Column) -> str:
    """A row, its figure and, where it is known, the interval."""
    cell = material.cell(line, column)
    assert cell.value is not None
    interval = f" [{cell.interval[0]:.3f}, {cell.interval[1]:.3f}]" if cell.interval else ""
    return one_line(material.table.names.short_line(*line)) + f"  {cell.value:.3f}{interval}"


def _caption(material: Material, columns: list[Column]) -> str:
    sizes = []
    for column in columns:
        row = material.seeds(material.lines(column)[0], column)[0]
        sizes.append(
            f"{' '.join(column)}: n = {counted(row['n_subjects'], 'subject')}, {row['n_pixels']:,} "
            f"brain pixels, {row['n_positive']:,} of them lesion"
        )
    cells = [material.cell(x, column) for column in columns for x in material.lines(column)]
    has_intervals = any(cell.interval for cell in cells)
    sentences = [
        f"{'; '.join(sizes)}.",
        "Above, the whole curves; below, the same with both rates on logarithmic scales from "
        f"{LOWEST_FPR:g} on. All brain pixels of all subjects of a test set are pooled.",
        "The legend gives the area under each curve"
        + (" with its interval of 95 %." if has_intervals else "; no intervals are given."),
        "Each row of table 1 is drawn at its best setting, which was chosen on the test set "
        "itself; the highest of a test set has the thick line, the grey line is chance.",
    ]
    bands = [(c, best) for c in columns if (best := material.best_line(c))]
    if any(_band(material, line, column) for column, line in bands):
        sentences.append(
            "The band about the highest is of 95 % at each false positive rate on its own, by "
            "leaving one subject out at a time."
        )
    else:
        sentences.append("No band is drawn: there are too few subjects with lesions.")
    if any(len(cell.trial_ids) > 1 for cell in cells):
        sentences.append("With several seeds a curve is the mean of theirs.")
    return caption("ROC curves", sentences, material)
