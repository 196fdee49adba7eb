"""The best settings after post-processing, as text, Markdown and LaTeX: the same lines in each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from study.records.names import Names
from study.report.formats import METRIC_LABELS, SYNTHETIC, latex_text
from study.report.postprocessed import Figures, Postprocessed
from study.report.table import METRICS

TITLE = "After post-processing, over brain pixels"

CHOSEN_BEFORE = (
    "Post-processing is applied to the score maps of each scan, within its brain; settings are "
    "those chosen on the maps as they are, and its figures choose nothing."
)

HEADS = ("test set", "model", "score", "score maps", *METRIC_LABELS.values())
N_WORDS = 4
"""Columns of words; the others are figures."""

AS_THEY_ARE = "as they are"


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        words: Test set, model, score, and what was done to the score maps.
        figures: Of each metric; None where it is not known.
        is_first: Whether it is the first of its cell of table 1, that of the maps as they are.
    """

    words: tuple[str, str, str, str]
    figures: tuple[float | None, ...]
    is_first: bool

    def texts(self, dash: str = "—") -> list[str]:
        """All columns as text; what repeats the line above is left out."""
        words = list(self.words) if self.is_first else ["", "", "", self.words[-1]]
        return [*words, *(dash if v is None else f"{v:.3f}" for v in self.figures)]


def postprocessed_lines(cells: Iterable[Postprocessed], names: Names) -> list[Line]:
    """A line for each way of post-processing of each cell, beside that of the maps as they are."""
    lines = []
    for cell in cells:
        place = f"{cell.cohort} {cell.modality}"
        score = names.score(cell.model, cell.score)
        for figures in (cell.raw, *cell.after):
            done = figures.postprocessing or AS_THEY_ARE
            words = (place, names.model(cell.model), score, done)
            lines.append(Line(words, _values(figures), is_first=figures is cell.raw))
    return lines


def _values(figures: Figures) -> tuple[float | None, ...]:
    return tuple(getattr(figures, metric) for metric in METRICS)


def postprocessed_table(cells: Sequence[Postprocessed], names: Names) -> Table:
    """The table for a terminal."""
    printed = Table(title=TITLE, title_justify="left")
    for number, head in enumerate(HEADS):
        printed.add_column(head, justify="left" if number < N_WORDS else "right")
    for line in postprocessed_lines(cells, names):
        printed.add_row(*line.texts())
    return printed


def postprocessed_latex(cells: Sequence[Postprocessed], names: Names, *, synthetic: bool) -> str:
    """The table as LaTeX, for the booktabs package."""
    shape = "l" * N_WORDS + "r" * len(METRICS)
    heads = [latex_text(head) for head in HEADS]
    lines = [f"% {SYNTHETIC}"] if synthetic else []
    lines += [r"% \usepackage{booktabs,graphicx}", r"\begin{table}[tbp]", r"\centering"]
    lines += [rf"\caption{{{latex_text(TITLE)}.}}", r"\label{tab:postprocessed}", r"\smallskip"]
    lines += [r"\footnotesize\setlength{\tabcolsep}{3pt}"]
    lines += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [rf"\begin{{tabular}}{{{shape}}}", r"\toprule"]
    lines += [" & ".join(heads) + r" \\", r"\midrule"]
    for line in postprocessed_lines(cells, names):
        texts = line.texts("--")
        words = [latex_text(word) for word in texts[:N_WORDS]]
        lines.append(" & ".join([*words, *texts[N_WORDS:]]) + r" \\")
    notes = [SYNTHETIC] if synthetic else []
    told = " ".join(latex_text(sentence) for sentence in (*notes, CHOSEN_BEFORE))
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\smallskip\parbox{{\linewidth}}{{\raggedright\footnotesize {told}}}"]
    return "\n".join([*lines, r"\end{table}", ""])
