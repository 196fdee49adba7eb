"""Table 1 in LaTeX: a whole table that any LaTeX sets, whatever the names in it."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from study.report.formats import table_latex
from study.report.paper import PAPER_AUC, PAPER_COLUMNS, paper_auc, paper_mixture, paper_setting
from study.report.table_one import Cell, TableOne

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


def faults_of_latex(text: str) -> list[str]:
    """What would keep LaTeX from setting a table: a check that needs no LaTeX."""
    bare = re.sub(r"\\[&%$#_{}]", "", text)
    bare = re.sub(r"(?m)^%.*$|%$", "", bare.replace(r"\ifdim\width>\linewidth", ""))
    bare = re.sub(r"\\[\^~]\{\w\}", "", bare)  # accents
    faults = [f"no ASCII: {sign!r}" for sign in text if not sign.isascii()]
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        faults += ["braces"] * (depth < 0)
    faults += ["braces"] * (depth != 0) + ["dollars"] * (bare.count("$") % 2)
    within: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
        if kind == "begin":
            within.append(name)
        elif not within or within.pop() != name:
            faults.append(f"end of {name}")
    shape = re.search(r"begin\{tabular\}\{(l+)\}", bare)
    rows = [line for line in bare.splitlines() if line.endswith(r" \\")]
    for row in rows:
        width = row.count("&") + 1 + row.count(r"\multicolumn{2}")
        faults += [f"columns: {row}"] * (shape is None or width != len(shape[1]))
    faults += ["an argument after a row: " + row for row in rows if row.startswith(("[", "*"))]
    outside_math = re.sub(r"\$[^$]*\$", "", bare)
    faults += [f"a bare {sign}" for sign in re.findall(r"[#_^~<>|%]", outside_math)]
    return faults + within


def compiled(text: str, folder: Path) -> str:
    """What pdflatex has to complain of a table in the smallest document; nothing without it."""
    (folder / "table.tex").write_text(DOCUMENT % text, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    return "" if done.returncode == 0 else done.stdout


UNUSUAL = [
    r"[x] & y % z # _ ^ ~ $ { } \ <a> | *",
    "Größe naïve, café façade, Ångström, Łódź",
    "λ of μ·σ² ≥ 1 – “quoted” … 中文 †",
    "[first",
    "*",
]


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_table_with_any_name_is_sound_latex(name: str, tmp_path: Path) -> None:
    line, column = (name, "nll"), (name, "T1w")
    cell = Cell(0.61, paper_mixture(0.1), ("t1",), paper=0.4, interval=(0.5, 0.7), best=True)
    table = TableOne((line, (name, name)), (column,), {
        (line, column): cell, ((name, name), column): Cell(),
    }, "brain", "auc")  # fmt: skip
    text = table_latex(table, synthetic=True)
    assert faults_of_latex(text) == []
    if shutil.which("pdflatex"):
        assert compiled(text, tmp_path) == ""


def _wide() -> TableOne:
    """The paper's table, with every kind of cell."""
    lines = tuple(PAPER_AUC)
    cells = {}
    for line, column in itertools.product(lines, PAPER_COLUMNS):
        setting = paper_setting(*line, *column)
        value = paper_auc(*line, *column)
        cells[line, column] = Cell(
            value, setting, ("t1", "t2"), (0.4, 0.8), paper=value, paper_setting=setting,
            below_chance=line[1] == "log_variance", interval=(0.3, 0.9), best=line[0] == "vae",
        )  # fmt: skip
    return TableOne(lines, PAPER_COLUMNS, cells, "brain", "auc")


def test_the_paper_s_table_is_sound_latex(tmp_path: Path) -> None:
    text = table_latex(_wide(), synthetic=False)
    assert faults_of_latex(text) == []
    if shutil.which("pdflatex"):
        assert compiled(text, tmp_path) == ""
        assert "Overfull" not in (tmp_path / "table.log").read_text(encoding="latin-1")


@pytest.mark.parametrize(
    "broken", ["{", "$", "a_b", "é", r"\begin{table}", "[x & y \\\\", "a & b & c & d \\\\"]
)
def test_the_check_of_latex_finds_what_is_broken(broken: str) -> None:
    text = table_latex(_wide(), synthetic=False).replace("\\bottomrule", f"{broken}\n\\bottomrule")
    assert faults_of_latex(text)
