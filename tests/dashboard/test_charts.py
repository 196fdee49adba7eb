from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from dashboard.charts import grid_figure, line_figure, line_style, paper_figure, volume_figure
from dashboard.curve_charts import (
    Trace,
    loss_curves,
    precision_recall_figure,
    roc_figure,
)
from dashboard.curves import operating_points
from dashboard.figures import numbers_of
from dashboard.map_charts import MapPanel, map_row, row_width
from dashboard.tables import GridCell, GridLine
from study.records.names import Names
from study.report.paper import PAPER_AUC, paper_networks
from study.report.table_one import Cell, TableOne
from trainables.description import Setting

AXES = (Setting("n_c", "N_c"), Setting("n_z", "N_z", "size of the latent vector"))
EVIL = "<script>alert(1)</script><a href='http://x'>name</a>"


def _map(title: str, group: str, *, grey: bool = False) -> MapPanel:
    values = np.zeros((128, 128), np.float32)
    return MapPanel(title, values, group, 0.0, 1.0, ((([0.0, 1.0]), [0.0, 0.0], "#000"),), grey)


def test_no_figure_lets_a_name_through_as_html() -> None:
    curve = Trace(EVIL, [0.1, 1.0], [0.2, 1.0], "#123456", notes=["1", "0"])
    cell = {
        ((EVIL, EVIL), (EVIL, "T1w")): Cell(value=0.6, setting=paper_networks(8, 16), paper=0.5)
    }
    table = TableOne(((EVIL, EVIL),), ((EVIL, "T1w"),), cell, "brain", "auc")
    figures = [
        loss_curves([curve], log_y=True),
        roc_figure([curve], log_x=True),
        precision_recall_figure([curve], 0.1),
        paper_figure(table, [(EVIL, "T1w")]),
        volume_figure([(EVIL, [1000.0])]),
        map_row([_map(EVIL, EVIL)]),
    ]
    for figure in figures:
        text = json.dumps(json.loads(figure.to_json()))
        assert "<script" not in text
        assert "<a " not in text
        assert "&lt;script" in text


def test_axes_carry_units_or_meaning() -> None:
    curve = Trace("a", [0.1, 1.0], [0.2, 1.0], "#123456")
    for figure, x in (
        (loss_curves([curve], log_y=False), "Epoch"),
        (roc_figure([curve], log_x=False), "False positive rate"),
        (volume_figure([("a", [1000.0])]), "ml"),
    ):
        assert x in figure.layout.xaxis.title.text


def test_logarithmic_roc_has_no_point_at_zero() -> None:
    curve = Trace("a", [0.0, 0.01, 1.0], [0.0, 0.5, 1.0], "#123456", notes=["all", "1", "0"])
    figure = roc_figure([curve], log_x=True)
    assert figure.layout.xaxis.type == "log"
    assert figure.data[1].x[0] is None
    assert list(figure.data[1].y) == [0.0, 0.5, 1.0]
    assert list(roc_figure([curve], log_x=False).data[1].x) == [0.0, 0.01, 1.0]


def test_precision_of_rare_lesions_fills_its_axis() -> None:
    recall = [0.001, 0.1, 1.0]
    low = Trace("a", recall, [1.0, 0.05, 0.02], "#123456")
    assert precision_recall_figure([low], 0.02).layout.yaxis.range[1] == pytest.approx(0.0575)
    high = Trace("b", recall, [0.5, 0.99, 0.02], "#123456")
    assert precision_recall_figure([low, high], 0.02).layout.yaxis.range[1] == 1.01
    assert precision_recall_figure([], None).layout.yaxis.range[1] > 0


def test_hovering_a_curve_tells_its_thresholds() -> None:
    curve = Trace("a", [0.0, 1.0], [0.0, 1.0], "#123456", notes=["above all", "0.25"])
    trace = roc_figure([curve], log_x=False).data[1]
    assert "threshold %{customdata}" in trace.hovertemplate
    assert list(trace.customdata) == ["above all", "0.25"]


def test_every_line_of_table_1_looks_different() -> None:
    styles = [line_style(Names(), *line) for line in PAPER_AUC]
    assert len(set(styles)) == len(styles)


def test_grid_has_a_clickable_square_with_its_trial_in_every_cell() -> None:
    cells = [
        GridCell(n_c, n_z, n_c / n_z, f"t{n_c}-{n_z}", 1, 0.5, 0.5)
        for n_c in (8, 16)
        for n_z in (8, 32)
    ]
    figure = grid_figure(cells, "ROC-AUC", 0.0, 1.0, AXES)
    colours, squares = figure.data
    assert colours.type == "heatmap"
    assert squares.type == "scatter"
    assert [c[0] for c in squares.customdata] == [c.trial_id for c in cells]
    assert [list(row) for row in colours.z] == [[1.0, 0.25], [2.0, 0.5]]
    assert list(figure.layout.xaxis.categoryarray) == ["8", "32"]


def test_two_grids_can_share_a_colour_scale() -> None:
    cell = GridCell(8, 8, 0.6, "t", 1, 0.6, 0.6)
    figures = [grid_figure([cell], "ROC-AUC", 0.4, 0.9, AXES) for _ in range(2)]
    assert {(f.data[0].zmin, f.data[0].zmax) for f in figures} == {(0.4, 0.9)}


def test_lambda_is_logarithmic_and_clickable() -> None:
    line = GridLine((0.001, 0.1), (0.6, 0.7), ("a", "b"))
    figure = line_figure(line, "ROC-AUC", 0.6, 0.7, Setting("gmm_lambda", "λ", scale="log"))
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.title.text == "λ"
    assert [c[0] for c in figure.data[0].customdata] == ["a", "b"]


def test_intervals_are_drawn_once_they_are_known() -> None:
    lines, columns = (("vae", "nll"),), (("atlas", "T1w"),)
    plain = TableOne(lines, columns, {(lines[0], columns[0]): Cell(0.6)}, "brain", "auc")
    assert paper_figure(plain, columns).data[-1].error_x.array is None
    cell = Cell(0.6, interval=(0.5, 0.75))
    known = TableOne(lines, columns, {(lines[0], columns[0]): cell}, "brain", "auc")
    bar = paper_figure(known, columns).data[-1].error_x
    assert bar.array[0] == pytest.approx(0.15)
    assert bar.arrayminus[0] == pytest.approx(0.1)


def test_maps_of_one_score_share_one_colour_bar() -> None:
    panels = [_map("image", "image", grey=True), *(_map(t, "SE") for t in "abc"), _map("d", "E")]
    figure = map_row(panels)
    bars = [t for t in figure.data if t.type == "scatter" and t.marker.showscale]
    assert [bar.marker.colorbar.title.text for bar in bars] == ["SE", "E"]
    assert bars[0].marker.colorbar.len == pytest.approx(3 * bars[1].marker.colorbar.len)
    assert sum(t.type == "heatmap" for t in figure.data) == 5


def test_colour_bar_ends_on_nothing_where_there_is_next_to_nothing() -> None:
    figure = map_row([replace(_map("a", "SE"), low=4.3e-5, high=15.7)])
    (bar,) = (t.marker.colorbar for t in figure.data if t.type == "scatter" and t.marker.showscale)
    assert list(bar.ticktext) == ["0", "16"]


def test_pixels_of_a_map_keep_their_places_where_nothing_around_them_is_sent() -> None:
    values = np.full((128, 128), np.nan, np.float32)
    values[40:60, 70:75] = 1.5
    values[50, 72] = np.nan
    figure = map_row([replace(_map("a", "SE"), values_HW=values)])
    assert figure.data[0].z.shape == (20, 5)
    drawn = [row for row in numbers_of(figure).to_pylist() if row["value"] is not None]
    assert {(int(row["y"]), int(row["x"])) for row in drawn} == {
        (r, c) for r, c in np.argwhere(np.isfinite(values)).tolist()
    }


def test_a_map_of_which_nothing_is_known_is_drawn_empty() -> None:
    values = np.full((128, 128), np.nan, np.float32)
    figure = map_row([replace(_map("a", "SE"), values_HW=values)])
    assert figure.data[0].z.shape == (128, 128)


def test_row_is_as_wide_as_its_pictures_are_high() -> None:
    for n, largest in ((3, 225), (6, 190), (10, 230)):
        figure = map_row([_map("a", "SE")] * n, largest)
        pictures = figure.layout.yaxis.domain[1] - figure.layout.yaxis.domain[0]
        assert row_width(n, largest) == pytest.approx(
            0.9 * n * pictures * figure.layout.height, 0.02
        )


def test_maps_never_use_a_colour_that_the_theme_replaces() -> None:
    figure = map_row([_map("a", "SE")])
    assert not any(c[1].lower().startswith("#0000") for c in figure.data[0].colorscale)


def test_operating_points_are_rates_from_strict_to_loose() -> None:
    roc = pa.table(
        {
            "threshold": [0.1, 0.9, 0.5],
            "true_positives": [10, 2, 5],
            "false_positives": [90, 0, 15],
        }
    )
    points = operating_points(roc, n_positive=10, n_negative=90)
    assert points.tpr == [0.0, 0.2, 0.5, 1.0]
    assert points.fpr == pytest.approx([0.0, 0.0, 1 / 6, 1.0])
    assert points.notes == ["above all", "0.9", "0.5", "0.1"]
    assert points.precision == pytest.approx([1.0, 0.25, 0.1])
    assert len(points.recall) == len(points.precision) == len(points.notes) - 1


def test_the_numbers_of_a_figure_are_those_that_it_draws() -> None:
    figure = loss_curves([Trace("a & b", [1, 2, 3], [0.5, None, 0.25], "red")], log_y=False)
    assert numbers_of(figure).to_pylist() == [
        {"drawn": "a & b", "x": "1", "y": "0.5", "value": None},
        {"drawn": "a & b", "x": "3", "y": "0.25", "value": None},
    ]
    values = np.array([[1.0, np.nan], [3.0, 4.0]], np.float32)
    picture = map_row([MapPanel("one", values, "s", 0.0, 4.0)])
    drawn = [row for row in numbers_of(picture).to_pylist() if row["value"] is not None]
    assert [(row["x"], row["y"], row["value"]) for row in drawn] == [
        ("0", "0", 1.0),
        ("0", "1", 3.0),
        ("1", "1", 4.0),
    ]
    assert numbers_of(volume_figure([])).num_rows == 0
