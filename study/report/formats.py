"""Table 1 as text, CSV and LaTeX: the same figures, settings and marks in each."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from study.report.paper import PAPER_SYMBOLS
from study.report.table_one import BELOW_CHANCE, OVER_SEEDS, Cell, TableOne
from study.report.thresholds import SHARES
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

INTERVALS = (
    "95 %: interval over subjects, by leaving one out at a time on the logit scale, with Student's "
    "t."
)
SELECTED = (
    "chosen: what the best setting is worth on subjects that did not choose it (bootstrap bias "
    "correction)."
)
SEPARATED = (
    "Bold: the highest of its column, if the tests tell it from all others there (differences over "
    "subjects, Holm's correction)."
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
    *("low", "high", "auc_selected", "auc_split", "optimism", "seed_sd", "n_with_lesion"),
    *("n_effective", "df", "separated"),
    *("slice_auc", "subject_detection_auc", "n_lesions", "healthy_reference", "n_reference"),
    "healthy_uncertain",
    *(
        f"healthy_{share * 100:.0f}_{name}"
        for share in SHARES
        for name in (
            *("threshold", "sensitivity", "dice", "false_positive_ml"),
            *("lesions_half", "lesions_any"),
        )
    ),
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
    if table.has_intervals:
        told.append(INTERVALS)
    if table.has_selected:
        told.append(SELECTED)
    if any(cell.is_separated is not None for cell in table.cells.values()):
        told.append(SEPARATED)
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
    meaning = _pixels(table)
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
    ends = [f"{end:.3f}" for end in cell.spread or ()]
    spread = dash.join(ends) if len(set(ends)) > 1 else ""  # a baseline knows no seed
    return ", ".join(part for part in (spread, cell.seeds) if part)


def evidence_text(cell: Cell) -> str:
    """The interval, and what the choice of the setting is worth; or nothing."""
    parts = []
    if cell.interval is not None:
        parts.append(f"95 %: {cell.interval[0]:.3f}–{cell.interval[1]:.3f}")
    if cell.selected is not None:
        parts.append(f"chosen: {cell.selected:.3f}")
    return ", ".join(parts)


def marked(value: float, below_half: bool, mark: str = MARK) -> str:
    """A figure, with the mark if it is a ROC-AUC below .5."""
    return f"{value:.3f}{mark if below_half else ''}"


def _text_cell(cell: Cell) -> Text:
    lines = [Text("—")]
    if cell.value is not None:
        figure = Text(marked(cell.value, cell.below_chance), "bold" if cell.is_bold else "")
        setting = one_line(cell.setting.table_text)
        lines = [figure.append(f" {setting}", "not bold") if setting else figure]
        lines += [Text(seeds_text(cell))] if seeds_text(cell) else []
        lines += [Text(evidence_text(cell))] if evidence_text(cell) else []
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
        "low": cell.interval[0] if cell.interval else None,
        "high": cell.interval[1] if cell.interval else None,
        "auc_selected": cell.selected,
        "auc_split": cell.split,
        "optimism": cell.optimism,
        "seed_sd": cell.seed_sd,
        "n_with_lesion": cell.n_with_lesion,
        "n_effective": cell.n_effective,
        "df": cell.df,
        "separated": None if cell.is_separated is None else int(cell.is_separated),
        **_csv_operating(cell),
    }


def _csv_operating(cell: Cell) -> dict[str, object]:
    found = cell.operating
    if found is None:
        return {}
    told: dict[str, object] = {
        "slice_auc": found.slice_auc,
        "subject_detection_auc": found.subject_detection_auc,
        "n_lesions": found.n_lesions,
        "healthy_reference": " ".join(name.replace(" ", "-") for name in found.reference),
        "n_reference": found.n_reference,
        "healthy_uncertain": int(found.is_uncertain),
    }
    for share, point in zip(SHARES, found.points, strict=True):
        values = asdict(point) | {"threshold": point.value}
        prefix = f"healthy_{share * 100:.0f}_"
        told |= {prefix + n: value for n, value in values.items() if prefix + n in CSV_FIELDS}
    return told


def _csv_setting(setting: ChosenSetting, prefix: str) -> dict[str, object]:
    values = {name: setting.by_symbol(symbol) for name, symbol in PAPER_SYMBOLS.items()}
    named = {f"{prefix}{name}": value for name, value in values.items()}
    return {**named, f"{prefix}setting": setting.table_text}


def table_latex(table: TableOne, *, synthetic: bool) -> str:
    """The table as LaTeX (packages booktabs and graphicx), the best of each column in bold.

    A column of the paper's has two columns: ours and the paper's. What is wider than the page is
    made smaller to fit.
    """
    shape, heads, below, rules = "ll", ["Model", "Score"], ["", ""], ""
    for column in table.columns:
        has_paper = table.has_paper(column)
        name = latex_text(" ".join(column))
        heads.append(rf"\multicolumn{{2}}{{c}}{{{name}}}" if has_paper else name)
        rules += rf"\cmidrule(lr){{{len(shape) + 1}-{len(shape) + 2}}}" if has_paper else ""
        below += ["ours", "paper"] if has_paper else ["ours"]
        shape += "ll" if has_paper else "l"
    lines = [f"% {SYNTHETIC}"] if synthetic else []
    lines += [r"% \usepackage{booktabs,graphicx}", r"\begin{table}[tbp]", r"\centering"]
    paper = "; paper: Sato et al" if "paper" in below else ""
    lines += [rf"\caption{{{METRIC_LABELS[table.metric]} over {_pixels(table)}{paper}.}}"]
    lines += [rf"\label{{tab:{table.metric.replace('_', '-')}-{table.region}}}", r"\smallskip"]
    lines += [r"\footnotesize\setlength{\tabcolsep}{3pt}"]
    lines += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [rf"\begin{{tabular}}{{{shape}}}", r"\toprule"]
    lines += [" & ".join(heads) + r" \\", *([rules] if rules else [])]
    lines += [" & ".join(below) + r" \\", r"\midrule"]
    for line in table.lines:
        parts = [latex_text(table.names.model(line[0])), latex_text(table.names.score(*line))]
        for column in table.columns:
            ours, paper = _latex_cell(table.cells[line, column])
            parts += [ours, paper] if table.has_paper(column) else [ours]
        lines.append(" & ".join(parts) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    notes = [SYNTHETIC] if synthetic else []
    told = (_IN_LATEX.get(sentence, sentence) for sentence in legends(table))
    notes += [f"{sentence.removesuffix('.')}." for sentence in told if sentence]
    if notes:
        words = " ".join(latex_text(sentence) for sentence in notes)
        lines += [rf"\par\smallskip\parbox{{\linewidth}}{{\raggedright\footnotesize {words}}}"]
    return "\n".join([*lines, r"\end{table}", ""])


_IN_LATEX = {
    INTERVALS: INTERVALS.replace("95 %: interval", "In brackets: 95 % interval"),
    SELECTED: "",
}
"""What a sign means that looks otherwise here, or is not there."""


def _pixels(table: TableOne) -> str:
    return "brain pixels" if table.region == "brain" else "all pixels of the slice"


def _latex_cell(cell: Cell) -> tuple[str, str]:
    ours, paper = "--", ""
    if cell.value is not None:
        figure = f"{cell.value:.3f}"
        figure = rf"\textbf{{{figure}}}" if cell.is_bold else figure
        figure += _DAGGER if cell.below_chance else ""
        ours = " ".join(x for x in (figure, latex_text(cell.setting.table_text)) if x)
        ends = cell.interval
        spread = f"[{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
        below = ", ".join(part for part in (spread, seeds_text(cell, "--")) if part)
        if below:  # in a line of its own, or the table is too wide for any page
            ours = rf"\vtop{{\hbox{{\strut {ours}}}\hbox{{\strut\scriptsize {below}}}}}"
    if cell.paper is not None:
        figure = marked(cell.paper, cell.paper_below_chance, _DAGGER)
        paper = f"{figure} {latex_text(cell.paper_setting.table_text)}".strip()
    return ours, paper


_DAGGER = r"$^\dagger$"
_SYMBOLS = {"λ": r"$\lambda$", MARK: _DAGGER, "N_z": "$N_z$", "N_c": "$N_c$"}
_GREEK = {"µ": "mu", "μ": "mu", "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta"}
_GREEK |= {"ε": "epsilon", "θ": "theta", "λ": "lambda", "π": "pi", "σ": "sigma", "τ": "tau"}
_SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    # After a line's end a star or bracket would be an argument; alone, these are other letters.
    **{sign: f"{{{sign}}}" for sign in "[]*"},
    **{sign: f"${sign}$" for sign in "<>|"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"–": "--", "—": "---", "…": r"\ldots{}", "·": r"$\cdot$", "×": r"$\times$", "−": "$-$"},
    **{"≤": r"$\le$", "≥": r"$\ge$", "±": r"$\pm$", "†": _DAGGER, "’": "'", "‘": "`"},
    **{"“": "``", "”": "''", "ß": r"\ss{}", "æ": r"\ae{}", "ø": r"\o{}", "Ø": r"\O{}"},
    **{"Ł": r"\L{}", "ł": r"\l{}"},
    **{sign: rf"$\{name}$" for sign, name in _GREEK.items()},
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u0304": "=",
}
_ACCENTS |= {
    "\u0306": "u",
    "\u0307": ".",
    "\u030a": "r",
    "\u030c": "v",
    "\u030b": "H",
    "\u0327": "c",
}


def latex_text(text: str) -> str:
    """A text for LaTeX in ASCII; its signs stand for themselves, save the symbols of the paper.

    A sign that LaTeX has no letter for is told by its number, such as ``[U+4E2D]``.
    """
    words = []
    for word in one_line(text).split(" "):
        core = word.strip("(),.:;")
        safe = _SYMBOLS.get(core)
        words.append("".join(map(_latex_sign, word)) if safe is None else word.replace(core, safe))
    return " ".join(words)


def _latex_sign(sign: str) -> str:
    if sign in _SPECIAL:
        return _SPECIAL[sign]
    if sign.isascii():
        return sign
    base, *accents = list(unicodedata.normalize("NFD", sign))
    if base.isascii() and base.isalpha() and len(accents) == 1 and accents[0] in _ACCENTS:
        return rf"\{_ACCENTS[accents[0]]}{{{base}}}"
    return f"{{[}}U+{ord(sign):04X}{{]}}"


def inert(value: object) -> object:
    """A cell of a CSV file that no spreadsheet takes for a formula; a number stays one.

    Control characters are written out: a tab or a line break at the beginning is passed over by a
    spreadsheet, and what follows it then is the beginning.
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    text = shown(value).replace("\n", r"\n")
    return f"'{text}" if text.lstrip()[:1] in _FORMULA else text
