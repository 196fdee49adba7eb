"""Writes the figures of a study into a folder: PDF, PNG and a caption of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from datasets.storage import Storage
from study.errors import UsageError
from study.records.studies import StudyStore
from study.report.figures.curves import curve_columns, draw_curves
from study.report.figures.example import draw_example, example_line
from study.report.figures.maps import draw_maps, map_lines
from study.report.figures.material import Column, Material
from study.report.figures.style import rendered, styled
from study.report.report import Report

_NO_EXAMPLE = (
    "figure 2 is left out: no model has a reconstruction, a predicted variance and a normalised "
    "error of kept slices"
)


def write_figures(store: Storage, study: StudyStore, report: Report, folder: Path) -> list[str]:
    """Write figures 2 to 4; what lies in the folder under their names is replaced.

    Figures 2 and 4 are of the first test set of table 1; those of the others have its name in
    theirs.

    Args:
        store: The store that the study lies in.
        study: The study.
        report: Its report.
        folder: Where to; made if it is not there.

    Returns:
        A sentence for each figure, written or left out.

    Raises:
        UsageError: If the folder cannot be made or written.
        StorageError: If the store cannot be read.
    """
    material = Material(store, study, report)
    told = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with styled():
            for name, drawn in _figures(material):
                told.append(drawn if isinstance(drawn, str) else _write(folder, name, *drawn))
    except OSError as error:
        if error.filename is None:
            raise
        raise UsageError(
            f"cannot write figures to {folder}: {error.strerror}; name a folder that can be written"
        ) from error
    return told


def _figures(material: Material) -> Iterator[tuple[str, tuple[Figure, str] | str]]:
    """The names of the figures, each with its drawing and caption or why it is left out."""
    columns = curve_columns(material)
    if not columns:
        yield "", "No figure can be drawn: no trial has an AUC over brain pixels yet."
        return
    has_example = False
    for number, column in enumerate(columns):
        line = example_line(material, column)
        if line is not None:
            has_example = True
            yield f"figure2{_suffix(number, column)}", draw_example(material, column, line)
    if not has_example:
        yield "", _NO_EXAMPLE[0].upper() + _NO_EXAMPLE[1:] + "."
    yield "figure3", draw_curves(material, columns)
    for number, column in enumerate(columns):
        lines = map_lines(material, column)
        if lines:
            yield f"figure4{_suffix(number, column)}", draw_maps(material, column, lines)


def _suffix(number: int, column: Column) -> str:
    """What tells the figures of further test sets apart; names come from records."""
    return f"_{re.sub(r'[^A-Za-z0-9_-]', '-', '_'.join(column))}" if number else ""


def _write(folder: Path, name: str, figure: Figure, caption: str) -> str:
    for ending, data in rendered(figure).items():
        (folder / f"{name}.{ending}").write_bytes(data)
    (folder / f"{name}.txt").write_text(caption, encoding="utf-8")
    return f"{folder / name}.pdf, .png and .txt"
