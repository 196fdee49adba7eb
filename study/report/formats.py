"""Table 1 as text, CSV and LaTeX: the same figures, settings and marks in each."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from study.report.paper import PAPER_SYMBOLS
from study.report.table_one import BELOW_CHANCE, OVER_SEEDS, Cell, TableOne
from study.terminal import one_line, shown
from trainables.description import ChosenSetting, DetectorInfo

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""Signs that a formula begins with; spreadsheets in East Asia take the wide ones as well."""

MARK = "†"
"""Stands behind a ROC-AUC below .5."""

SYNTHETIC = (
    "Synthetic phantom: these figures check the software and are no evidence about medicine."
)

METRIC_LABELS = {
    "auc": "ROC-AUC",
    "average_precision": "Average precision",
    "best_dice": "Best Dice",
}

CSV_FIELDS = (
    *("model", "score", "cohort", "modality", "region", "metric", "value"),
    *("n_c", "n_z", "gmm_lambda", "setting", "n_seeds", "n_seeds_planned", "lowest", "highest"),
    *("paper_auc", "paper_n_c", "paper_n_z", "paper_gmm_lambda", "paper_setting"),
    *("best", "below_half", "paper_below_half", "trial_id", "trial_ids", "synthetic"),
)


def legends(table: TableOne) -> list[str]:
    """What the signs of a table mean, a sentence each; only of signs that are there."""
    told = []
    if table.has_settings:
        told.append(f"Settings: {_settings_legend(table)}.")
    if table.has_below_chance:
        told.append(f"{MARK} {BELOW_CHANCE}.")
    if table.has_seeds:
        told.append(OVER_SEEDS)
    return told


def _settings_legend(table: TableOne) -> str:
    """Which settings a table tells of which models."""
    models: dict[tuple[str, str], list[str]] = {}
    for model in dict.fromkeys(model for model, _ in table.lines):
        info = table.names.detector(model)
        if info.settings != ():
            models.setdefault((_form(info), _aside(info)), []).append(info.label)
    return "; ".join(
        f"{form} of {', '.join(labels)}{aside}" for (form, aside), labels in models.items()
    )


def _form(info: DetectorInfo) -> str:
    """How the settings of a model are told, such as ``(N_c, N_z)``."""
    if info.settings is None:
        return "all values by name"
    symbols = [s.symbol or s.name for s in info.axes]
    return f"({', '.join(symbols)})" if len(symbols) > 1 else "".join(symbols)


def _aside(info: DetectorInfo) -> str:
    """What is told beside them."""
    aside = [s for s in info.settings or () if s.is_aside]
    return "".join(f", and {s.symbol or s.name}, {s.label or s.name}" for s in aside)


def text_table(table: TableOne) -> Table:
    """The table for a terminal, the paper's figures below ours."""
    meaning = "brain pixels" if table.region == "brain" else "all pixels of the slice"
    has_paper = any(table.has_paper(column) for column in table.columns)
    title = f"{METRIC_LABELS[table.metric]} over {meaning}"
    title += " (in square brackets: the paper's)" if has_paper else ""
    printed = Table(title=title, title_justify="left")
    printed.add_column("model")
    printed.add_column("score")
    for cohort, modality in table.columns:
        printed.add_column(f"{cohort} {modality}", justify="right")
    for line in table.lines:
        entries = [_text_cell(table.cells[line, column]) for column in table.columns]
        printed.add_row(table.names.model(line[0]), table.names.score(*line), *entries)
    return printed


def seeds_text(cell: Cell, dash: str = "–") -> str:
    """The spread over the seeds and their number, or nothing if one alone is planned."""
    spread = f"{cell.spread[0]:.3f}{dash}{cell.spread[1]:.3f}" if cell.spread else ""
    return ", ".join(part for part in (spread, cell.seeds) if part)


def marked(value: float, below_half: bool, mark: str = MARK) -> str:
    """A figure, with the mark if it is a ROC-AUC below .5."""
    return f"{value:.3f}{mark if below_half else ''}"


def _text_cell(cell: Cell) -> Text:
    lines = [Text("—")]
    if cell.value is not None:
        figure = Text(marked(cell.value, cell.below_chance), "bold" if cell.best else "")
        setting = one_line(cell.setting.table_text)
        lines = [figure.append(f" {setting}", "not bold") if setting else figure]
        lines += [Text(seeds_text(cell))] if seeds_text(cell) else []
    if cell.paper is not None:
        figure_text = marked(cell.paper, cell.paper_below_chance)
        words = f"{figure_text} {one_line(cell.paper_setting.table_text)}".strip()
        lines.append(Text(f"[{words}]", "dim"))
    return Text("\n").join(lines)


def table_csv(tables: Sequence[TableOne], *, synthetic: bool) -> str:
    """Tables as CSV with full precision: a line a cell, empty where there is no figure."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for line in table.lines:
            for column in table.columns:
                row = _csv_row(table, line, column) | {"synthetic": int(synthetic)}
                writer.writerow({name: inert(value) for name, value in row.items()})
    return sink.getvalue()


def _csv_row(table: TableOne, line: tuple[str, str], column: tuple[str, str]) -> dict[str, object]:
    cell = table.cells[line, column]
    lowest, highest = cell.spread or (cell.value, cell.value)
    names = ("model", "score", "cohort", "modality")
    return {
        **dict(zip(names, (*line, *column), strict=True)),
        "region": table.region,
        "metric": table.metric,
        "value": cell.value,
        **_csv_setting(cell.setting, ""),
        "n_seeds": len(cell.trial_ids),
        "n_seeds_planned": max(cell.n_planned, len(cell.trial_ids)),
        "lowest": lowest,
        "highest": highest,
        "paper_auc": None if cell.paper is None else f"{cell.paper:.3f}",
        **_csv_setting(cell.paper_setting, "paper_"),
        "best": int(cell.best),
        "below_half": int(cell.below_chance),
        "paper_below_half": int(cell.paper_below_chance),
        "trial_id": cell.trial_id,
        "trial_ids": " ".join(cell.trial_ids),
    }


def _csv_setting(setting: ChosenSetting, prefix: str) -> dict[str, object]:
    values = {name: setting.by_symbol(symbol) for name, symbol in PAPER_SYMBOLS.items()}
    named = {f"{prefix}{name}": value for name, value in values.items()}
    return {**named, f"{prefix}setting": setting.table_text}


def table_latex(table: TableOne, *, synthetic: bool) -> str:
    """The table as LaTeX (package booktabs), the best of each column in bold.

    A column of the paper's has two columns: ours and the paper's.
    """
    shape, heads, below = "ll", ["Model", "Score"], ["", ""]
    for column in table.columns:
        has_paper = table.has_paper(column)
        name = _latex(" ".join(column))
        heads.append(rf"\multicolumn{{2}}{{c}}{{{name}}}" if has_paper else name)
        below += ["ours", "paper"] if has_paper else ["ours"]
        shape += "ll" if has_paper else "l"
    lines = [f"% {SYNTHETIC}"] if synthetic else []
    lines += [rf"\begin{{tabular}}{{{shape}}}", r"\toprule"]
    lines += [" & ".join(heads) + r" \\", " & ".join(below) + r" \\", r"\midrule"]
    for line in table.lines:
        parts = [_latex(table.names.model(line[0])), _latex(table.names.score(*line))]
        for column in table.columns:
            ours, paper = _latex_cell(table.cells[line, column])
            parts += [ours, paper] if table.has_paper(column) else [ours]
        lines.append(" & ".join(parts) + r" \\")
    lines.append(r"\bottomrule")
    for sentence in legends(table):
        text = rf"\multicolumn{{{len(shape)}}}{{l}}{{\footnotesize {_latex(sentence)}}}"
        lines.append(text + r" \\")
    return "\n".join([*lines, r"\end{tabular}", ""])


def _latex_cell(cell: Cell) -> tuple[str, str]:
    ours, paper = "--", ""
    if cell.value is not None:
        figure = f"{cell.value:.3f}"
        figure = rf"\textbf{{{figure}}}" if cell.best else figure
        figure += _DAGGER if cell.below_chance else ""
        seeds = rf"{{\footnotesize {seeds_text(cell, '--')}}}" if seeds_text(cell) else ""
        ours = " ".join(x for x in (figure, _latex(cell.setting.table_text), seeds) if x)
    if cell.paper is not None:
        figure = marked(cell.paper, cell.paper_below_chance, _DAGGER)
        paper = f"{figure} {_latex(cell.paper_setting.table_text)}".strip()
    return ours, paper


_DAGGER = r"$^\dagger$"
_SYMBOLS = {"λ": r"$\lambda$", MARK: _DAGGER, "N_z": "$N_z$", "N_c": "$N_c$"}
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _latex(text: str) -> str:
    """A text for LaTeX; its signs stand for themselves, save the symbols of the paper."""
    words = []
    for word in one_line(text).split(" "):
        core = word.strip("(),.")
        safe = _SYMBOLS.get(core)
        if safe is None:
            words.append("".join(_SPECIAL.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in word))
        else:
            words.append(word.replace(core, safe))
    return " ".join(words)


def inert(value: object) -> object:
    """A cell of a CSV file that no spreadsheet takes for a formula; a number stays one.

    Control characters are written out: a tab or a line break at the beginning is passed over by a
    spreadsheet, and what follows it then is the beginning.
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    text = shown(value).replace("\n", r"\n")
    return f"'{text}" if text.lstrip()[:1] in _FORMULA else text
