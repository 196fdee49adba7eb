from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow.compute as pc
import pytest

from dashboard.data import rows_of
from dashboard.reader import StudyReader, StudyView
from dashboard.tables import grid_cells, grid_line
from datasets.storage import Storage
from study.records.names import Names
from study.report.best import top_rows
from study.report.choice import CELL, best_rows, with_settings
from study.report.formats import table_csv, table_latex
from study.report.paper import paper_auc, paper_mixture
from study.report.table import METRICS, result_rows
from study.report.table_one import Cell, TableOne, table_one


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
    assert len({tuple(r[k] for k in CELL) for r in found}) == 10 * 3 * 2


def test_table_marks_the_best_of_each_column_and_has_the_papers_figures(view: StudyView) -> None:
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "auc")
    table = table_one(rows, "brain", "auc")
    for column in table.columns:
        cells = [table.cells[line, column] for line in table.lines]
        top = max(cell.value for cell in cells if cell.value is not None)
        assert [c.value for c in cells if c.best] == [top]
        assert [c.paper for c in cells] == [paper_auc(*line, *column) for line in table.lines]


def test_paper_has_no_figure_for_other_metrics(view: StudyView) -> None:
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "best_dice")
    table = table_one(rows, "slice", "best_dice")
    assert table.cells
    assert all(cell.paper is None for cell in table.cells.values())


def test_empty_results_give_an_empty_table(view: StudyView) -> None:
    assert view.record is not None
    assert top_rows(view.record, view.index.slice(0, 0), view.results.slice(0, 0), "auc") == []
    assert table_one([], "brain", "auc").lines == ()


def _table(name: str) -> TableOne:
    line, column = (name, "nll"), ("atlas_1", "T1w")
    cell = Cell(0.61234567, paper_mixture(0.1), ("t1",), paper=0.626, best=True)
    return TableOne((line,), (column,), {(line, column): cell}, "brain", "auc")


def test_csv_has_full_precision_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(table_csv([_table("=1+1")], synthetic=True))))
    assert float(rows[0]["value"]) == 0.61234567
    assert rows[0]["model"] == "'=1+1"
    assert rows[0]["synthetic"] == "1"


def test_latex_is_bold_escaped_and_says_where_the_data_are_from() -> None:
    text = table_latex(_table("a_b&c"), synthetic=True)
    assert r"\textbf{0.612} $\lambda$ 0.1 & 0.626" in text
    assert r"a\_b\&c" in text
    assert text.startswith("% Synthetic phantom")
    assert "phantom" not in table_latex(_table("a"), synthetic=False)


def test_grid_cell_is_the_mean_over_its_seeds(view: StudyView) -> None:
    place = {"model": "ae", "cohort": "brats", "modality": "T1w", "region": "brain"}
    rows = rows_of(view.results, score="squared_error", **place)
    cells = grid_cells(rows, "auc", *Names().detector("ae").axes)
    assert [(c.down, c.across) for c in cells][:3] == [(8, 8), (8, 16), (8, 32)]
    assert len(cells) == 21
    for cell in cells:
        here = rows_of(rows, setting=f"({cell.down}, {cell.across})")
        assert cell.value == pytest.approx(pc.mean(here["auc"]).as_py())
        assert (cell.lowest, cell.highest) == tuple(pc.min_max(here["auc"]).as_py().values())
        first = here.sort_by("seed")
        assert cell.trial_id == first["trial_id"][0].as_py()
        assert cell.n_trials == here.num_rows


def test_grid_and_table_agree_on_the_best_setting(view: StudyView) -> None:
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "auc")
    table = table_one(rows, "brain", "auc")
    for (model, score), (cohort, modality) in table.cells:
        place = {"cohort": cohort, "modality": modality, "region": "brain"}
        selection = rows_of(view.results, model=model, score=score, **place)
        cell = table.cells[(model, score), (cohort, modality)]
        axes = table.names.detector(model).axes
        if len(axes) == 2:
            best = max(grid_cells(selection, "auc", *axes), key=lambda square: square.value)
            assert cell.setting.as_dict() == {"n_c": best.down, "n_z": best.across}
            assert (best.value, best.trial_id) == (cell.value, cell.trial_id)


def test_lambdas_are_in_order(view: StudyView) -> None:
    rows = rows_of(view.results, model="gmm", score="outlier_sum", cohort="atlas", region="brain")
    (axis,) = Names().detector("gmm").axes
    line = grid_line(rows, "auc", axis)
    assert line.parameter == tuple(sorted(line.parameter))
    settings = with_settings(rows)["setting_id"].unique()
    assert len(line.trial_ids) == len(line.values) == len(settings)
