"""Table 1 in Markdown: a table that stays one, whatever the names in it."""

from __future__ import annotations

import re

import pytest

from study.report.markdown import table_markdown
from study.report.paper import paper_mixture
from study.report.table_one import Cell, TableOne

UNUSUAL = [
    r"a | b \| c",
    "[x](http://y.example) ![z](q)",
    "<b>bold</b> &amp; `code` ~~gone~~",
    "*a* _b_ # c $d$",
    "two\nlines\rand\ttabs",
]


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_table_with_any_name_has_its_rows_and_columns_and_no_markup(name: str) -> None:
    line, column = (name, "nll"), (name, "T1w")
    cell = Cell(0.61, paper_mixture(0.1), ("t1",), paper=0.4, interval=(0.5, 0.7), best=True)
    other = (name, name)
    cells = {(line, column): cell, (other, column): Cell()}
    table = TableOne((line, other), (column,), cells, "brain", "auc")
    rows = table_markdown(table).split("\n")
    assert len(rows) == 4
    bare = [re.sub(r"\\.", "", row) for row in rows]  # without what is escaped
    assert [row.count("|") for row in bare] == [4] * 4
    words = [bare[0], bare[2].split("|")[1], bare[3].split("|")[1]]
    assert not [text for text in words if set(text) & set("`*_[]<>~#$&!")]
    assert "**0.610**" in rows[2]
