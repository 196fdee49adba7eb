"""The page of settings: lines with their bands, all settings at once, and states without any."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.data import rows_of
from dashboard.reader import StudyReader, StudyView
from dashboard.setting_charts import ModelLine, importance_figure, over_setting, parallel_figure
from dashboard.tables import GridLine, grid_line
from dashboard.text import markdown_text
from datasets.storage import Storage
from study.records.names import Names
from study.report.importances import Importance, Tried
from trainables.description import Setting

Open = Callable[..., AppTest]
ALL = "All at once"
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def view(made_up_store: Path) -> StudyView:
    return StudyReader(Storage.open(str(made_up_store)), "synthetic").view()


def _figures(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(figure.proto.spec) for figure in app.get("plotly_chart")]


def _texts(app: AppTest) -> str:
    return " ".join(str(e.value) for kind in ("caption", "markdown") for e in app.get(kind))


def test_each_setting_has_a_figure_with_the_lines_of_the_models_that_have_it(
    open_app: Open, made_up_store: Path, view: StudyView
) -> None:
    names = Names(view.record.detectors if view.record else {})
    for axis in names.detector("vae").axes:
        lines = _lines_over(open_app, made_up_store, axis)
        assert {line["name"].split(" ")[0] for line in lines} == {"AE", "DAE", "VAE"}
        (line,) = (line for line in lines if line["name"] == "VAE E")
        place = {"cohort": "atlas", "modality": "T1w", "region": "brain"}
        rows = rows_of(view.results, **place, model="vae", score="normalized_error")
        assert tuple(line["y"]) == pytest.approx(grid_line(rows, "auc", axis).values)
    (only,) = names.detector("gmm").axes
    assert all("GMM" in line["name"] for line in _lines_over(open_app, made_up_store, only))


def _lines_over(open_app: Open, store: Path, axis: Setting) -> list[dict[str, Any]]:
    """What the page draws over a setting."""
    app = open_app(store, "settings", cohort="atlas T1w", axis=markdown_text(axis.title))
    assert not app.exception
    (figure,) = _figures(app)
    assert figure["layout"]["xaxis"]["title"]["text"] == axis.title
    return [trace for trace in figure["data"] if trace.get("name")]


def test_all_settings_of_a_line_are_drawn_and_weighed(open_app: Open, made_up_store: Path) -> None:
    line = "DAE · squared error (SE)"
    app = open_app(made_up_store, "settings", cohort="brats T2w", show=ALL, line=line)
    figures = _figures(app)
    (parallel,) = (f for f in figures if len(f["layout"].get("annotations", ())) > 5)
    told = [note["text"] for note in parallel["layout"]["annotations"]]
    assert told[:3] == ["<b>N_c</b>", "<b>N_z</b>", "<b>ROC-AUC</b>"]
    assert told[3:] == ["8", "16", "32", "8", "16", "32", "64", "128", "256", "512"]
    assert sum(x is None for t in parallel["data"][:-1] for x in t["x"]) == 21
    (bars,) = (f for f in figures if f["data"][0]["type"] == "bar")
    assert set(bars["data"][0]["y"]) == {"N_c", "N_z"}
    assert 0 < sum(bars["data"][0]["x"]) <= 1 + 1e-9


def test_a_model_without_settings_and_one_with_one_say_so(
    open_app: Open, made_up_store: Path
) -> None:
    app = open_app(made_up_store, "settings", cohort="atlas T1w", show=ALL, line="Intensity")
    assert not app.exception
    assert "No setting of Intensity varies here" in _texts(app)
    gmm = "modified GMM · outlier sum"
    app = open_app(made_up_store, "settings", cohort="atlas T1w", show=ALL, line=gmm)
    assert not app.exception
    assert "One setting alone varies" in _texts(app)


def test_a_study_of_few_trials_has_no_traceback(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    synthetic.write_store(tmp_path, "few", synthetic.Wanted(trials=1, failed=0))
    app = open_app(tmp_path, "settings")
    assert not app.exception
    assert "No model has been evaluated here with two values of a setting" in _texts(app)


def test_a_band_goes_from_the_worst_to_the_best_seed_where_there_are_several() -> None:
    several = GridLine((8, 16), (0.6, 0.7), ("a", "b"), (0.5, 0.7), (0.65, 0.7))
    one = GridLine((8, 16), (0.4, 0.5), ("c", "d"), (0.4, 0.5), (0.4, 0.5))
    lines = [ModelLine(EVIL, several, "#112233", "dot"), ModelLine("AE", one, "red", "solid")]
    figure = over_setting(lines, "ROC-AUC", Setting("n_c", "N_c"))
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert [(tuple(b.x), tuple(b.y)) for b in bands] == [((8, 16, 16, 8), (0.65, 0.7, 0.7, 0.5))]
    assert bands[0].fillcolor == "rgba(17,34,51,0.14)"
    assert figure.layout.xaxis.type is None  # 16 is not four times 8
    assert EVIL not in figure.to_json()


def test_factors_are_on_a_logarithmic_axis_and_words_in_order() -> None:
    wide = GridLine((8, 512), (0.6, 0.7), ("a", "b"), (0.6, 0.7), (0.6, 0.7))
    figure = over_setting([ModelLine("A", wide, "red", "solid")], "AUC", Setting("n_z"))
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis.ticktext) == ["8", "512"]
    words = GridLine(("a", "b"), (0.6, 0.7), ("a", "b"), (0.6, 0.7), (0.6, 0.7))
    figure = over_setting([ModelLine("A", words, "red", "solid")], "AUC", Setting("kind"))
    assert figure.layout.xaxis.type == "category"


def test_names_of_settings_are_text_in_every_figure() -> None:
    some = [Tried({EVIL: value}, 0.1 * i, 0.1, 0.2, 1, "t") for i, value in enumerate((EVIL, "b"))]
    figure = parallel_figure(some, "ROC-AUC", lambda name: name)
    assert EVIL not in figure.to_json()
    heights = [y for trace in figure.data[:-1] for y in trace.y]
    assert heights == [0, 0, None, 1, 1, None]  # values from the bottom, then the figure
    assert EVIL not in importance_figure([Importance(EVIL, 0.5)], lambda name: name).to_json()
