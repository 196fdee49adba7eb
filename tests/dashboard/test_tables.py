from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow.compute as pc
import pytest

from dashboard.data import rows_of
from dashboard.reader import StudyReader, StudyView
from dashboard.tables import (
    BestTable,
    Cell,
    best_table,
    grid_cells,
    grid_line,
    table_csv,
    table_latex,
)
from datasets.storage import Storage
from study.best import top_rows
from study.table import METRICS, best_rows, paper_auc, result_rows


@pytest.fixture(scope="module")
def view(made_up_store: Path) -> StudyView:
    return StudyReader(Storage.open(str(made_up_store)), "synthetic").view()


@pytest.mark.parametrize("metric", METRICS)
def test_top_rows_are_the_best_of_all_result_rows(view: StudyView, metric: str) -> None:
    assert view.record is not None
    found = top_rows(view.record, view.index, view.results, metric)
    expected = best_rows(result_rows(view.record, view.index), metric)
    keys = ("trial_id", "score", "cohort", "modality", "region", "steps", metric)
    assert [[r[k] for k in keys] for r in found] == [[r[k] for k in keys] for r in expected]
    assert len(found) == 10 * 3 * 2


def test_table_marks_the_best_of_each_column_and_has_the_papers_figures(view: StudyView) -> None:
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "auc")
    table = best_table(rows, "brain", "auc")
    for column in table.columns:
        cells = [table.cells[line, column] for line in table.lines]
        top = max(cell.value for cell in cells if cell.value is not None)
        assert [c.value for c in cells if c.best] == [top]
        assert [c.paper for c in cells] == [paper_auc(*line, *column) for line in table.lines]


def test_paper_has_no_figure_for_other_metrics(view: StudyView) -> None:
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "best_dice")
    table = best_table(rows, "slice", "best_dice")
    assert table.cells
    assert all(cell.paper is None for cell in table.cells.values())


def test_empty_results_give_an_empty_table(view: StudyView) -> None:
    assert view.record is not None
    assert top_rows(view.record, view.index.slice(0, 0), view.results.slice(0, 0), "auc") == []
    assert best_table([], "brain", "auc").lines == ()


def _table(name: str) -> BestTable:
    line, column = (name, "nll"), ("atlas_1", "T1w")
    cell = Cell(0.61234567, "λ 0.1", "t1", 0.626, best=True)
    return BestTable((line,), (column,), {(line, column): cell}, "brain", "auc")


def test_csv_has_full_precision_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(table_csv(_table("=1+1"), synthetic=True))))
    assert float(rows[0]["value"]) == 0.61234567
    assert rows[0]["model"] == "'=1+1"
    assert rows[0]["synthetic"] == "1"


def test_latex_is_bold_escaped_and_says_where_the_data_are_from() -> None:
    text = table_latex(_table("a_b&c"), synthetic=True)
    assert r"\textbf{0.612} $\lambda$ 0.1 & 0.626" in text
    assert r"a\_b\&c" in text
    assert text.startswith("% Synthetic phantom")
    assert "phantom" not in table_latex(_table("a"), synthetic=False)


def test_grid_cell_is_the_best_of_its_trials(view: StudyView) -> None:
    place = {"model": "ae", "cohort": "brats", "modality": "T1w", "region": "brain"}
    rows = rows_of(view.results, score="squared_error", **place)
    cells = grid_cells(rows, "auc")
    assert [(c.n_c, c.n_z) for c in cells][:3] == [(8, 8), (8, 16), (8, 32)]
    assert len(cells) == 21
    for cell in cells:
        here = rows_of(rows, n_c=cell.n_c, n_z=cell.n_z)
        assert cell.value == pc.max(here["auc"]).as_py()
        assert rows_of(here, trial_id=cell.trial_id)["auc"][0].as_py() == cell.value
        assert cell.n_trials == here.num_rows


def test_lambdas_are_in_order(view: StudyView) -> None:
    rows = rows_of(view.results, model="gmm", score="outlier_sum", cohort="atlas", region="brain")
    line = grid_line(rows, "auc")
    assert line.parameter == tuple(sorted(line.parameter))
    assert len(line.trial_ids) == len(line.values) == rows.num_rows
    assert grid_cells(rows, "auc") == ()
