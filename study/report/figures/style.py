"""How the figures look, and how they are written: the same bytes each time.

Sizes are those of the printed page: a column of 85 mm, a page of 174 mm, no letter below 6 points.
Colours are Okabe and Ito's, which people with any colour blindness tell apart, and maps go through
colours of even steps. No window is ever opened, and nobody's own settings of matplotlib count.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure

from study.records.names import Names
from study.terminal import shown

COLUMN_MM = 85.0
PAGE_MM = 174.0
DPI = 300

SMALL_PT = 6.0
TEXT_PT = 7.0

_MM = 25.4

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that it is there everywhere
    "font.size": TEXT_PT,
    "axes.titlesize": TEXT_PT,
    "axes.labelsize": TEXT_PT,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "legend.fontsize": SMALL_PT,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.minor.size": 1.2,
    "ytick.minor.size": 1.2,
    "xtick.major.pad": 1.5,
    "ytick.major.pad": 1.5,
    "axes.labelpad": 1.5,
    "axes.titlepad": 3.0,
    "lines.linewidth": 0.9,
    "pdf.fonttype": 42,  # letters stay letters, as journals ask
    "svg.fonttype": "path",  # looks the same where the font is missing
    "svg.hashsalt": "figure",  # the names of its parts are the same each time
    "text.parse_math": False,  # a name with a dollar sign is no formula
    "savefig.dpi": DPI,
}

TRUTH = "#56B4E9"
"""Colour of the ground truth's outline, on grey and on the maps."""

MAP = "inferno"

MARK = "#B00000"

SYNTHETIC = "Synthetic phantom: a check of the software, no evidence about medicine"
"""Stands on every figure of a study of the phantom."""

_OTHER_COLOURS = ("#D55E00", "#2F7FC1", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")

_DASHES: dict[str, Any] = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


@contextmanager
def styled() -> Iterator[None]:
    """Draw and write in our style; what was set before comes back after."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        # A name may have signs that the font lacks: they are boxes, and no reason for a warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width_mm: float, height_mm: float, *, synthetic: bool) -> Figure:
    """An empty figure of a printed size, with its mark if it is of the phantom."""
    figure = Figure(figsize=(width_mm / _MM, height_mm / _MM))
    if synthetic:
        y = 1 - 1.0 / height_mm
        figure.text(0.5, y, SYNTHETIC, color=MARK, size=SMALL_PT, ha="center", va="top")
    return figure


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in mm from the upper left corner."""
    all_width, all_height = (float(inches) * _MM for inches in figure.get_size_inches())
    bottom = all_height - top - height
    return figure.add_axes(
        (left / all_width, bottom / all_height, width / all_width, height / all_height)
    )


def text_at(figure: Figure, left: float, top: float, text: str, **options: Any) -> None:
    """A text whose place is in mm from the upper left corner."""
    width, height = (float(inches) * _MM for inches in figure.get_size_inches())
    figure.text(left / width, 1 - top / height, shown(text), **options)


def line_style(names: Names, model: str, score: str, position: int) -> tuple[str, Any]:
    """Colour and dash of a row of table 1: its own, or else one by its position."""
    known = names.score_of(model, score)
    if known.colour and is_color_like(known.colour):
        return known.colour, _DASHES.get(known.dash, "-")
    return _OTHER_COLOURS[position % len(_OTHER_COLOURS)], "-."


_WITHOUT: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {"Software": None},
}
"""The kinds of files that a figure is written as, each with what it does not tell."""


def rendered(figure: Figure) -> dict[str, bytes]:
    """A figure as files by their ending; without the time, so that the bytes are the same."""
    files = {}
    for ending, metadata in _WITHOUT.items():
        sink = io.BytesIO()
        figure.savefig(sink, format=ending, metadata=metadata)
        files[ending] = sink.getvalue()
    return files
