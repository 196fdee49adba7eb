"""Writes the figures of a study into a folder: PDF, SVG, PNG and a caption of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from datasets.storage import Storage, StorageError
from study.records.studies import StudyStore
from study.report.figures.curves import curve_columns, draw_curves
from study.report.figures.example import draw_example, example_line
from study.report.figures.maps import draw_maps, map_lines
from study.report.figures.material import Column, Material
from study.report.figures.style import rendered, styled
from study.report.report import Report
from study.report.written import make_folder, write_files

_NO_EXAMPLE = (
    "figure 2 is left out: no model has a reconstruction, a predicted variance and a normalised "
    "error of kept slices"
)


@dataclass(frozen=True)
class FigureFiles:
    """The figures of a study as files.

    Attributes:
        files: Their content by name: of each figure a PDF, an SVG, a PNG and its caption.
        figures: The names of the figures, without ending.
        left_out: Why others are left out, a sentence each.
    """

    files: dict[str, bytes]
    figures: tuple[str, ...]
    left_out: tuple[str, ...]


def figure_files(store: Storage, study: StudyStore, report: Report) -> FigureFiles:
    """Draw figures 2 to 4.

    Figures 2 and 4 are of the first test set of table 1; those of the others have its name in
    theirs. Not for several threads at once, as the style of matplotlib is one for all.

    Args:
        store: The store that the study lies in.
        study: The study.
        report: Its report.

    Raises:
        StorageError: If the store cannot be read.
    """
    files: dict[str, bytes] = {}
    names, left_out = [], []
    with styled():
        for name, drawn in _figures(Material(store, study, report)):
            if isinstance(drawn, str):
                left_out.append(drawn)
                continue
            figure, words = drawn
            files |= {f"{name}.{ending}": data for ending, data in rendered(figure).items()}
            files[f"{name}.txt"] = words.encode()
            names.append(name)
    return FigureFiles(files, tuple(names), tuple(left_out))


def write_figures(store: Storage, study: StudyStore, report: Report, folder: Path) -> list[str]:
    """Write figures 2 to 4; what lies in the folder under their names is replaced.

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
    make_folder(folder, "figures")
    found = figure_files(store, study, report)
    write_files(found.files, folder, "figures")
    written = [f"{folder / name}.pdf, .svg, .png and .txt" for name in found.figures]
    return [*written, *found.left_out]


def maps_pdf(
    store: Storage, study: StudyStore, report: Report, column: Column, subject: str
) -> bytes:
    """Figure 4 of one test set and one subject as PDF, or of the usual subjects.

    Not for several threads at once, as the style of matplotlib is one for all.

    Args:
        store: The store that the study lies in.
        study: The study.
        report: Its report.
        column: The test set.
        subject: ``cohort/subject``; of one whose maps are not kept the usual ones are shown.

    Raises:
        StorageError: If the store cannot be read, or no maps of the test set are kept.
    """
    material = Material(store, study, report)
    lines = map_lines(material, column)
    if not lines:
        raise StorageError(f"no score maps of {' '.join(column)} are kept")
    kept = {maps.subject for maps in material.showcase(material.seeds(lines[0], column)[0])}
    with styled():
        asked = (subject,) if subject in kept else ()
        return rendered(draw_maps(material, column, lines, asked)[0])["pdf"]


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
