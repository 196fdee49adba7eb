"""Table 1, the grid and the choices, cut from a study's results. Pure functions.

A study of ten thousand trials has hundreds of thousands of result rows, so they stay in Arrow until
few are left; the rules (what counts, what is best, in which order) are those of ``study.table``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.table import chosen, label, paper_auc, table_columns, table_lines

METRIC_LABELS = {
    "auc": "ROC-AUC",
    "average_precision": "Average precision",
    "best_dice": "Best Dice",
}
REGION_LABELS = {"brain": "Brain pixels", "slice": "Whole slice"}


@dataclass(frozen=True)
class Cell:
    """One figure of table 1.

    Attributes:
        value: Ours, or None if no trial has one.
        setting: ``(N_c, N_z)`` or lambda of the trial it comes from.
        trial_id: That trial, or empty.
        paper: The paper's figure, or None where it has none.
        best: Whether it is the highest of its column.
        interval: Lower and upper end of its confidence interval, if known.
    """

    value: float | None = None
    setting: str = ""
    trial_id: str = ""
    paper: float | None = None
    best: bool = False
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class BestTable:
    """Table 1 for one region and metric.

    Attributes:
        lines: (model, score) of each line.
        columns: (cohort, modality) of each column.
        cells: A cell for each line and column.
        region: Which pixels count.
        metric: One of ``study.table.METRICS``.
    """

    lines: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str], ...]
    cells: dict[tuple[tuple[str, str], tuple[str, str]], Cell]
    region: str
    metric: str


def line_label(model: str, score: str) -> str:
    """What people read for a line of table 1."""
    return label(model) if model == score else f"{label(model)} · {label(score)}"


def short_label(model: str, score: str) -> str:
    """The same for legends, with the paper's symbols: ``VAE E``."""
    name = _SHORT_MODELS.get(model, label(model))
    return (
        f"{name} {_SYMBOLS[score]}"
        if score in _SYMBOLS
        else name
        if model == score
        else (f"{name} {label(score)}")
    )


_SHORT_MODELS = {"gmm": "GMM"}
_SYMBOLS = {
    "squared_error": "SE",
    "nll": "L",
    "log_variance": "U",
    "normalized_error": "E",
    "outlier_posterior": "posterior",
    "outlier_sum": "sum",
    "negative_intensity": "negated",
}


def best_table(rows: Sequence[dict[str, Any]], region: str, metric: str) -> BestTable:
    """Lay the best rows out as table 1.

    Args:
        rows: From :func:`study.best.top_rows` with the same metric.
        region: Which pixels count.
        metric: One of ``study.table.METRICS``.
    """
    rows = [row for row in rows if row["region"] == region]
    lines, columns = tuple(table_lines(rows)), tuple(table_columns(rows))
    highest = {
        column: max(r[metric] for r in rows if (r["cohort"], r["modality"]) == column)
        for column in columns
    }
    found = {((r["model"], r["score"]), (r["cohort"], r["modality"])): r for r in rows}
    cells = {}
    for line in lines:
        for column in columns:
            row = found.get((line, column))
            paper = paper_auc(*line, *column) if metric == "auc" else None
            if row is None:
                cells[line, column] = Cell(paper=paper)
                continue
            cells[line, column] = Cell(
                value=row[metric],
                setting=chosen(row),
                trial_id=row["trial_id"],
                paper=paper,
                best=row[metric] == highest[column],
            )
    return BestTable(lines, columns, cells, region, metric)


def table_csv(table: BestTable, *, synthetic: bool) -> str:
    """The table as CSV with full precision, a line per model and score."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    fields = ("model", "score", "cohort", "modality", "region", "metric", "value", "setting")
    writer.writerow([*fields, "paper_auc", "best", "trial_id", "synthetic"])
    for line in table.lines:
        for column in table.columns:
            cell = table.cells[line, column]
            value = "" if cell.value is None else repr(cell.value)
            paper = "" if cell.paper is None else f"{cell.paper:.3f}"
            names = [_inert(name) for name in (*line, *column)]
            figures = [table.region, table.metric, value, cell.setting, paper]
            marks = [int(cell.best), cell.trial_id, int(synthetic)]
            writer.writerow([*names, *figures, *marks])
    return sink.getvalue()


def table_latex(table: BestTable, *, synthetic: bool) -> str:
    """The table as LaTeX (package booktabs), the best of each column in bold."""
    heads = [f"{_latex(cohort)} {_latex(modality)}" for cohort, modality in table.columns]
    lines = [
        r"\begin{tabular}{ll" + "lr" * len(heads) + "}",
        r"\toprule",
        "Model & Score"
        + "".join(rf" & \multicolumn{{2}}{{c}}{{{head}}}" for head in heads)
        + r" \\",
        " & " + " & ours & paper" * len(heads) + r" \\",
        r"\midrule",
    ]
    if synthetic:
        lines.insert(0, "% Synthetic phantom: a check of the software, no evidence about medicine.")
    for line in table.lines:
        parts = [_latex(label(line[0])), _latex(label(line[1]))]
        for column in table.columns:
            parts += _latex_cell(table.cells[line, column])
        lines.append(" & ".join(parts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_cell(cell: Cell) -> list[str]:
    ours = "--" if cell.value is None else f"{cell.value:.3f}"
    ours = rf"\textbf{{{ours}}}" if cell.best else ours
    setting = cell.setting.replace("λ", r"$\lambda$")
    paper = "" if cell.paper is None else f"{cell.paper:.3f}"
    return [f"{ours} {setting}".strip(), paper]


def _latex(name: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in name)


def _inert(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@") else name


@dataclass(frozen=True)
class GridCell:
    """One cell of the grid of a model: all trials of one (N_c, N_z).

    Attributes:
        n_c: Channels of the first layer.
        n_z: Size of the latent vector.
        value: Highest figure of its trials.
        trial_id: The trial that has it.
        n_trials: How many trials there are, over all seeds.
        mean: Their mean.
    """

    n_c: int
    n_z: int
    value: float
    trial_id: str
    n_trials: int
    mean: float


@dataclass(frozen=True)
class GridLine:
    """The trials of a model with one searched parameter, such as the GMM's lambda.

    Attributes:
        parameter: The parameter's values, ascending.
        values: Figures, in that order.
        trial_ids: Trials, in that order.
    """

    parameter: tuple[float, ...]
    values: tuple[float, ...]
    trial_ids: tuple[str, ...]


def grid_cells(selection: pa.Table, metric: str) -> tuple[GridCell, ...]:
    """The grid of one model, score, cohort, modality and region, ordered by N_c, N_z.

    Args:
        selection: The result rows of that one cell of table 1.
        metric: One of ``study.table.METRICS``.
    """
    keep = pc.and_(pc.is_valid(selection["n_c"]), pc.is_valid(selection[metric]))
    columns = ["n_c", "n_z", metric, "trial_id"]
    groups: dict[tuple[int, int], list[tuple[float, str]]] = {}
    for row in selection.filter(keep).select(columns).to_pylist():
        groups.setdefault((row["n_c"], row["n_z"]), []).append((row[metric], row["trial_id"]))
    found = []
    for (n_c, n_z), trials in sorted(groups.items()):
        value, trial_id = max(trials, key=lambda t: t[0])
        mean = sum(v for v, _ in trials) / len(trials)
        found.append(GridCell(n_c, n_z, value, trial_id, len(trials), mean))
    return tuple(found)


def grid_line(selection: pa.Table, metric: str) -> GridLine:
    """The trials over lambda of one cell of table 1."""
    keep = pc.and_(pc.is_valid(selection["gmm_lambda"]), pc.is_valid(selection[metric]))
    rows = selection.filter(keep).select(["gmm_lambda", metric, "trial_id"]).to_pylist()
    rows.sort(key=lambda row: (row["gmm_lambda"], row["trial_id"]))
    return GridLine(
        tuple(row["gmm_lambda"] for row in rows),
        tuple(row[metric] for row in rows),
        tuple(row["trial_id"] for row in rows),
    )


def pairs(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    """The distinct combinations of some columns, sorted."""
    distinct = table.group_by(list(names)).aggregate([])
    columns = [distinct[name].to_pylist() for name in names]
    return sorted(zip(*columns, strict=True), key=lambda row: tuple(str(v) for v in row))
