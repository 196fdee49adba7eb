"""The figures for print: what they show, how they look, and that their bytes are the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from PIL import Image
from sklearn.metrics import auc

from datasets.storage import StorageError
from study.records.showcase import ShowcaseMaps
from study.records.studies import StudyStore
from study.report.figures.band import band_of
from study.report.figures.curves import curve_columns, draw_curves, mean_curve
from study.report.figures.example import draw_example, example_line
from study.report.figures.maps import draw_maps, map_lines
from study.report.figures.material import Curve, Material, _roles
from study.report.figures.pictures import show_truth
from study.report.figures.style import DPI, PAGE_MM, SMALL_PT, SYNTHETIC, rendered, styled
from study.report.figures.write import maps_pdf
from study.report.operating_table import point_of
from tests.calls import Call
from tests.study.figures import PIXEL_MM, material_of, prepared, written_study
from trainables import scores

FIRST = ("atlas", "T1w")

Drawn = dict[str, tuple[Figure, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures")


@pytest.fixture(scope="module")
def study(folder: Path) -> StudyStore:
    return written_study(folder)


@pytest.fixture(scope="module")
def material(folder: Path, study: StudyStore) -> Material:
    return material_of(folder, study)


def draw(material: Material) -> Drawn:
    line = example_line(material, FIRST)
    assert line is not None
    with styled():
        return {
            "figure2": draw_example(material, FIRST, line),
            "figure3": draw_curves(material, curve_columns(material)),
            "figure4": draw_maps(material, FIRST, map_lines(material, FIRST)),
        }


@pytest.fixture(scope="module")
def drawn(material: Material) -> Drawn:
    return draw(material)


def test_each_figure_is_written_for_print_with_a_caption(
    call: Call, study: StudyStore, folder: Path, tmp_path: Path
) -> None:
    outcome = call("report", "--store", folder, "--figures", tmp_path / "figures")
    assert outcome.status == 0, outcome.err
    written = {path.name for path in (tmp_path / "figures").iterdir()}
    names = {name.rpartition(".")[0] for name in written}
    assert {"figure2", "figure3", "figure4"} <= names
    assert written == {f"{name}.{end}" for name in names for end in ("pdf", "svg", "png", "txt")}
    assert all(name in outcome.out for name in names)
    for name in names:
        path = tmp_path / "figures" / name
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF-")
        assert "<svg" in path.with_suffix(".svg").read_text(encoding="utf-8")
        with Image.open(path.with_suffix(".png")) as image:
            assert image.width in {int(mm / 25.4 * DPI) for mm in (85, 174)}
        caption = path.with_suffix(".txt").read_text(encoding="utf-8")
        assert "n = " in caption
        assert caption.endswith(".\n")
        assert SYNTHETIC in caption


def test_the_bytes_are_the_same_each_time_whatever_matplotlib_is_told(material: Material) -> None:
    line = example_line(material, FIRST)
    assert line is not None

    def made() -> dict[str, bytes]:
        with styled():
            return rendered(draw_example(material, FIRST, line)[0])

    first = made()
    with mpl.rc_context({"font.size": 30, "figure.facecolor": "green", "savefig.bbox": "tight"}):
        assert made() == first
        assert mpl.rcParams["font.size"] == 30
    assert b"CreationDate" not in first["pdf"]


def test_no_letter_is_smaller_than_six_points_and_no_figure_wider_than_a_page(
    drawn: Drawn,
) -> None:
    for figure, _ in drawn.values():
        assert figure.get_size_inches()[0] * 25.4 <= PAGE_MM + 1e-6
        letters = [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_text()]
        assert len(letters) > 5
        assert min(float(text.get_fontsize()) for text in letters) >= SMALL_PT


def test_every_word_is_within_the_page(drawn: Drawn) -> None:
    for figure, _ in drawn.values():
        with styled():
            FigureCanvasAgg(figure).draw()
            width, height = figure.bbox.size
            for text in figure.findobj(Text):
                if isinstance(text, Text) and text.get_text().strip() and text.get_visible():
                    box = text.get_window_extent()
                    assert box.x0 > -1, text
                    assert box.y0 > -1, text
                    assert box.x1 < width + 1, text
                    assert box.y1 < height + 1, text


def test_figures_of_the_phantom_say_so_and_those_of_scans_do_not(
    material: Material, drawn: Drawn, folder: Path, study: StudyStore
) -> None:
    for figure, caption in drawn.values():
        assert SYNTHETIC in [t.get_text() for t in figure.texts]
        assert SYNTHETIC in caption
    record = material.report.record.model_copy(update={"synthetic": False})
    for figure, caption in draw(material_of(folder, study, record)).values():
        assert not any("ynthetic" in t.get_text() for t in figure.texts)
        assert "ynthetic" not in caption


def test_figure_4_shows_the_subject_that_was_asked_for_alone(
    material: Material, study: StudyStore, folder: Path
) -> None:
    lines = map_lines(material, FIRST)
    kept = sorted({maps.subject for maps in material.showcase(material.seeds(lines[0], FIRST)[0])})
    usual = [s.subject for s in material.chosen_subjects(FIRST, lines[0])]
    asked = next((name for name in kept if name not in usual), kept[-1])
    with styled():
        figure, caption = draw_maps(material, FIRST, lines, [asked])
    assert len(_image_rows(figure, len(lines) + 1)) == 1
    assert asked in caption
    assert "chosen by hand" in caption
    assert "median" not in caption
    store, report = material.store, material.report
    files = [maps_pdf(store, study, report, FIRST, name) for name in (asked, usual[0], "a/none")]
    assert all(data.startswith(b"%PDF-") for data in files)
    assert len(set(files)) == 3
    with styled():
        assert files[2] == rendered(draw_maps(material, FIRST, lines)[0])["pdf"]
    with pytest.raises(StorageError, match="nowhere T1w"):
        maps_pdf(store, study, report, ("nowhere", "T1w"), asked)


def _shown(rng: np.random.Generator) -> tuple[ShowcaseMaps, np.ndarray]:
    """A slice with the scores of a likelihood that is known, and its variances."""
    image, mean = (torch.from_numpy(rng.normal(1, 0.2, (128, 128))).float() for _ in range(2))
    log_variance = torch.from_numpy(rng.uniform(-6, 0, (128, 128))).float()
    maps = {
        "squared_error": scores.squared_error(image, mean),
        "log_variance": scores.log_variance(log_variance),
        "normalized_error": scores.normalized_error(image, mean, log_variance),
    }
    everywhere = np.ones((128, 128), bool)
    shown = ShowcaseMaps(
        "atlas/s", 3, image.numpy(), everywhere, everywhere,
        {name: m.numpy() for name, m in maps.items()}, {"reconstruction": mean.numpy()},
    )  # fmt: skip
    return shown, log_variance.exp().numpy()


def test_the_deviation_that_is_shown_is_the_one_that_the_decoder_predicts() -> None:
    from study.report.figures.example import _panels

    shown, variance = _shown(np.random.default_rng(0))
    panels = {panel.title: panel for panel in _panels(shown)}
    assert np.allclose(panels["predicted std. dev."].map_HW ** 2, variance, rtol=1e-4)
    assert panels["image"].scale == panels["reconstruction"].scale  # one window for both


def test_a_score_has_one_scale_in_every_panel(material: Material, drawn: Drawn) -> None:
    lines = map_lines(material, FIRST)
    rows = _image_rows(drawn["figure4"][0], len(lines) + 1)
    limits: dict[str, set[tuple[float, float]]] = {}
    for row in rows:
        for (_, score), axes in zip(lines, row[1:], strict=True):
            limits.setdefault(score, set()).add(axes.get_images()[0].get_clim())
    assert {score: len(some) for score, some in limits.items()} == dict.fromkeys(limits, 1)
    assert sum(line[1] == "squared_error" for line in lines) == 3


def _image_rows(figure: Figure, n: int) -> list[list[Axes]]:
    axes = [a for a in figure.axes if a.get_images() and a.get_position().height > 0.05]
    by_top: dict[float, list[Axes]] = {}
    for one in axes:
        by_top.setdefault(round(one.get_position().y0, 4), []).append(one)
    rows = [sorted(some, key=lambda a: a.get_position().x0) for some in by_top.values()]
    assert all(len(row) == n for row in rows)
    return rows


def test_the_bar_is_20_mm_and_volumes_choose_where_scans_are_prepared(
    material: Material, folder: Path, study: StudyStore
) -> None:
    line = example_line(material, FIRST)
    assert line is not None
    kept = material.showcase(material.seeds(line, FIRST)[0])
    record = prepared(material.store, material.report.record, FIRST, kept)
    known = material_of(folder, study, record)
    assert [known.pixel_mm(FIRST, maps) for maps in kept] == [PIXEL_MM] * len(kept)
    with styled():
        figure, caption = draw_example(known, FIRST, line)
    bars = [x for axes in figure.axes for x in axes.lines if x.get_linewidth() == 1.4]
    (length,) = [np.ptp(np.asarray(bar.get_xdata(), float)) for bar in bars]
    assert length * PIXEL_MM == pytest.approx(20)
    middle = sorted(kept, key=lambda maps: maps.subject)[(len(kept) - 1) // 2]
    assert f"n = 1 of {known.seeds(line, FIRST)[0]['n_subjects']} subjects" in caption
    assert f"{middle.subject} (" in caption  # volumes grow with the place in the list
    assert "median by lesion volume" in caption
    assert "pixel is 1.60 mm" in caption


def test_without_prepared_scans_there_is_no_bar_and_the_caption_says_why(drawn: Drawn) -> None:
    figure, caption = drawn["figure2"]
    assert "No scale bar" in caption
    assert not any(x.get_linewidth() == 1.4 for axes in figure.axes for x in axes.lines)
    assert "median by number of lesion pixels" in caption


def test_the_median_is_the_smaller_of_two_and_the_best_and_worst_are_by_auc() -> None:
    sizes = {"a": 5.0, "b": 1.0, "c": 9.0, "d": 7.0}
    aucs = {"a": 0.6, "b": 0.9, "c": None, "d": 0.4}
    roles = _roles(["a", "b", "c", "d"], sizes, aucs)
    assert roles == {"a": ["median"], "b": ["best"], "d": ["worst"]}
    assert _roles(["b", "d"], sizes, aucs) == {"b": ["median", "best"], "d": ["worst"]}
    assert _roles([], sizes, aucs) == {}


def test_the_truth_is_outlined_along_the_edges_of_its_pixels() -> None:
    lesion = np.zeros((8, 8), bool)
    lesion[2:4, 5:7] = True
    axes = Figure().add_subplot()
    show_truth(axes, lesion)
    (outline,) = [c for c in axes.collections if isinstance(c, LineCollection)]
    segments = np.array(outline.get_segments())
    assert np.abs(np.diff(segments, axis=1)).sum() == 8  # the rim of 2 by 2 pixels
    assert (segments.reshape(-1, 2).min(0) == [4.5, 1.5]).all()
    assert (segments.reshape(-1, 2).max(0) == [6.5, 3.5]).all()


def test_maps_outline_what_the_threshold_of_healthy_subjects_marks(
    material: Material, drawn: Drawn
) -> None:
    figure, caption = drawn["figure4"]
    assert "White outlines: what is marked at healthy:5%" in caption
    assert "held out, n = 8, which is uncertain below 10 subjects" in caption
    line = map_lines(material, FIRST)[0]
    point = point_of(material.operating(line, FIRST))
    assert point is not None
    assert point.value is not None
    checked = 0
    for maps in material.showcase(material.seeds(line, FIRST)[0]):
        inside = np.ma.masked_array(maps.scores[line[1]].astype(np.float64), ~maps.brain_HW)
        panels = [a for a in figure.axes if a.images and _shows(a.images[0], inside)]
        marked = np.pad((inside.filled(-np.inf) >= point.value), 1)
        n_edges = (marked[1:] != marked[:-1]).sum() + (marked[:, 1:] != marked[:, :-1]).sum()
        assert n_edges
        for axes in panels:
            edges = [c for c in axes.collections if isinstance(c, LineCollection)]
            assert sum(len(c.get_segments()) for c in edges) == n_edges
            checked += 1
    assert checked


def _shows(image: AxesImage, values: Any) -> bool:
    shown = image.get_array()
    return isinstance(shown, np.ma.MaskedArray) and np.ma.allequal(shown, values)


def test_the_area_below_a_mean_curve_is_the_mean_of_the_areas() -> None:
    def area(curve: Curve) -> float:
        return float(auc(curve.fpr, curve.tpr))

    x = np.linspace(0, 1, 50)
    curves = [Curve(x, x**0.3), Curve(x**2, x)]
    fpr = np.unique(np.concatenate([curve.fpr for curve in curves]))
    mean = Curve(fpr, mean_curve(curves, fpr))
    assert area(mean) == pytest.approx(np.mean([area(c) for c in curves]), abs=1e-9)
    assert area(mean) != pytest.approx(area(curves[0]), abs=0.01)


def test_each_row_of_the_table_has_its_curve_and_its_figure(
    material: Material, drawn: Drawn
) -> None:
    figure, caption = drawn["figure3"]
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [" ".join(c) for c in curve_columns(material)]
    for axes, column in zip(panels, curve_columns(material), strict=True):
        labels = axes.get_legend_handles_labels()[1]
        for line in material.lines(column):
            value = material.cell(line, column).value
            name = material.table.names.short_line(*line)
            assert any(label.startswith(f"{name}  {value:.3f}") for label in labels)
            (row, *_) = material.seeds(line, column)
            curve = material.curve(row)
            assert auc(curve.fpr, curve.tpr) == pytest.approx(row["auc"], abs=2e-3)
        assert len(labels) == len(material.lines(column)) == 10
    assert "chosen on the test set itself" in caption


def _subjects(n: int, rng: np.random.Generator) -> pa.Table:
    rows = []
    for i in range(n):
        lesion, other = rng.normal(1 + 0.3 * rng.normal(), 1, 60), rng.normal(0, 1, 400)
        both = np.concatenate([lesion, other])
        order = np.argsort(-both)
        rows.append(
            {
                "subject": f"s{i}",
                "thresholds": both[order].tolist(),
                "positives": (order < 60).astype(int).tolist(),
                "negatives": (order >= 60).astype(int).tolist(),
            }
        )
    return pa.Table.from_pylist(rows)


def test_a_band_lies_about_its_curve_and_narrows_with_the_subjects() -> None:
    fpr = np.linspace(0, 1, 21)
    widths = []
    for n in (8, 32, 128):
        table = _subjects(n, np.random.default_rng(4))
        band = band_of([table], fpr)
        assert band is not None
        lists = [np.array(table[c].to_pylist()) for c in ("thresholds", "positives", "negatives")]
        order = np.argsort(-lists[0].ravel())
        rates = [np.cumsum(c.ravel()[order]) / c.sum() for c in lists[1:]]
        curve = np.interp(fpr, np.append(0, rates[1]), np.append(0, rates[0]))
        assert (band.low <= curve + 0.01).all()
        assert (curve <= band.high + 0.01).all()
        assert (band.low[0], band.high[-1]) == (pytest.approx(0, abs=0.2), 1)
        widths.append(float((band.high - band.low).mean()))
    assert widths[0] > 1.5 * widths[1] > 2.25 * widths[2]


def test_a_band_needs_subjects_with_lesions() -> None:
    one = _subjects(1, np.random.default_rng(0))
    assert band_of([one], np.linspace(0, 1, 5)) is None
    two = _subjects(2, np.random.default_rng(0))
    assert band_of([two, one], np.linspace(0, 1, 5)) is None  # seeds on other subjects


def test_a_folder_that_is_a_file_is_told(
    call: Call, study: StudyStore, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()
    outcome = call("report", "--store", folder, "--figures", tmp_path / "taken")
    assert outcome.status == 2
    assert "cannot write figures to" in outcome.err.replace("\n", " ")


def test_a_study_without_results_has_no_figures(
    call: Call, local_study: StudyStore, material: Material, tmp_path: Path
) -> None:
    record = material.report.record.model_copy(update={"study": local_study.name})
    local_study.write_study(record)
    outcome = call("report", "--store", tmp_path / "store", "--figures", tmp_path / "out")
    assert outcome.status == 0
    assert "No figure can be drawn" in outcome.out
    assert not list((tmp_path / "out").iterdir())


def test_minus_signs_and_small_numbers_are_short() -> None:
    from study.report.figures.pictures import short_number

    assert [short_number(x) for x in (0.0, 1.44, -0.5, 3e-05)] == ["0", "1.4", "−0.5", "3e−5"]
    assert math.isclose(float(short_number(0.123)), 0.12)
