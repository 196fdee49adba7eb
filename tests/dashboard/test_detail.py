"""What the page Best says of a line of table 1 in words."""

from __future__ import annotations

import pytest

from dashboard.detail import verdict
from study.report.comparisons import Comparison
from study.report.table_one import Cell


def _over(difference: float, *, is_separated: bool) -> Comparison:
    return Comparison("a", "b", difference, difference - 0.1, difference + 0.1, 0.5, is_separated)


@pytest.mark.parametrize(
    ("cell", "is_best", "words"),
    [
        (Cell(0.7), True, "–"),
        (
            Cell(0.7, over_other=_over(0.1, is_separated=True)),
            True,
            "above the second",
        ),
        (
            Cell(
                0.7,
                over_other=_over(0.01, is_separated=False),
                over_baseline=_over(0.2, is_separated=True),
            ),
            True,
            "not distinguishable from the second; above intensity",
        ),
        (
            Cell(0.4, below_chance=True, over_other=_over(-0.3, is_separated=True)),
            False,
            "worse than chance; below VAE E",
        ),
    ],
)
def test_a_line_is_told_in_words(cell: Cell, is_best: bool, words: str) -> None:
    assert verdict(cell, is_best=is_best, best="VAE E") == words


def test_where_intensity_is_the_highest_it_is_named_once() -> None:
    cell = Cell(
        0.6,
        over_other=_over(-0.2, is_separated=True),
        over_baseline=_over(-0.2, is_separated=True),
    )
    assert verdict(cell, is_best=False, best="Intensity") == "below Intensity"
