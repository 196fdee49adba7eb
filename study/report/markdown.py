"""Table 1 as Markdown, for a README, a wiki or an issue, with what the subjects say of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from study.report.formats import MARK, SYNTHETIC, legends, marked, seeds_text
from study.report.operating_table import operating_sentences, point_of
from study.report.postprocessed_table import (
    CHOSEN_BEFORE,
    HEADS,
    N_WORDS,
    TITLE,
    postprocessed_lines,
)
from study.report.report import CHOSEN_ON_TEST, Report, evidence_sentences, searched
from study.report.stopped import cut_by_asha
from study.report.table_one import Cell, TableOne
from study.report.thresholds import USUAL, threshold_name

_ACTIVE = re.compile(r"([\\`*_{}\[\]<>|#~$&!])")
DASH = "—"


def as_markdown(report: Report) -> str:
    """Table 1 over brain pixels, then its cells at the usual healthy threshold."""
    table = report.table("brain")
    blocks = [SYNTHETIC] if report.synthetic else []
    blocks += [f"ROC-AUC over brain pixels:\n\n{table_markdown(table)}", _listed(legends(table))]
    blocks.append(_listed(evidence_sentences(report, table)))
    if any(cell.operating is not None for cell in table.cells.values()):
        blocks.append(_at_threshold(table))
        blocks.append(_listed(operating_sentences(table, report.false_alarms)))
    if report.postprocessed:
        blocks.append(_after_postprocessing(report))
        blocks.append(_listed([CHOSEN_BEFORE]))
    told = [f"{report.trials.words} {CHOSEN_ON_TEST}", *cut_by_asha(report.stopped)]
    blocks.append(_listed([*told, *searched(report.searches, report.searched)]))
    for problems in filter(None, (report.problems.words(report.store), report.unread)):
        blocks.append(_text(problems))
    return "\n\n".join(block for block in blocks if block)


def table_markdown(table: TableOne) -> str:
    """Table 1 of a region as a Markdown table."""
    heads = ["model", "score", *(" ".join(column) for column in table.columns)]
    lines = []
    for line in table.lines:
        names = [_text(table.names.model(line[0])), _text(table.names.score(*line))]
        cells = [_cell(table.cells[line, column]) for column in table.columns]
        lines.append([*names, *cells])
    return _table(heads, lines, n_words=2)


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return DASH
    figure = marked(cell.value, cell.below_chance, MARK)
    parts = [f"**{figure}**" if cell.is_bold else figure]
    if cell.interval is not None:
        parts.append(f"\\[{cell.interval[0]:.3f}–{cell.interval[1]:.3f}\\]")
    setting = _text(cell.setting.table_text)
    parts += [part for part in (setting, _text(seeds_text(cell))) if part]
    if cell.selected is not None:
        parts.append(f"chosen {cell.selected:.3f}")
    if cell.paper is not None:
        paper = marked(cell.paper, cell.paper_below_chance, MARK)
        parts.append(f"paper {paper} {_text(cell.paper_setting.table_text)}".rstrip())
    return "<br>".join(parts)


def _at_threshold(table: TableOne) -> str:
    """Sensitivity, Dice and the like of each cell, a line a cell, as a table of words is wide."""
    heads = ["test set", "model", "score", "sensitivity", "Dice", "false ml a scan"]
    heads += ["lesions found", "slice AUC", "subject AUC"]
    lines = []
    for column in table.columns:
        for line in table.lines:
            found = table.cells[line, column].operating
            point = point_of(found)
            if found is None or point is None:
                continue
            names = (" ".join(column), table.names.model(line[0]), table.names.score(*line))
            figures = (point.sensitivity, point.dice)
            wholes = (found.slice_auc, found.subject_detection_auc)
            lines.append(
                [
                    *(_text(name) for name in names),
                    *(_figure(value) for value in figures),
                    DASH if point.false_positive_ml is None else f"{point.false_positive_ml:.1f}",
                    DASH if point.lesions_half is None else f"{point.lesions_half:.0%}",
                    *(_figure(value) for value in wholes),
                ]
            )
    return f"At the threshold {threshold_name(USUAL)}:\n\n{_table(heads, lines, n_words=3)}"


def _after_postprocessing(report: Report) -> str:
    lines = []
    for line in postprocessed_lines(report.postprocessed, report.names):
        texts = line.texts(DASH)
        lines.append([*(_text(word) for word in texts[:N_WORDS]), *texts[N_WORDS:]])
    return f"{TITLE}:\n\n{_table(HEADS, lines, n_words=N_WORDS)}"


def _figure(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]], n_words: int) -> str:
    """A table whose first columns are words and the others figures."""
    rule = ["---"] * n_words + ["---:"] * (len(heads) - n_words)
    rows = [[_text(head) for head in heads], rule, *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _listed(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {_text(sentence)}" for sentence in sentences)


def _text(text: str) -> str:
    """A text none of whose signs Markdown reads."""
    return _ACTIVE.sub(r"\\\1", " ".join(text.split()))
