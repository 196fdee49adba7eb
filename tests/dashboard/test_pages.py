"""Each page's logic, run by Streamlit without a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pyarrow.compute as pc
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.data import rows_of
from dashboard.reader import StudyReader, StudyView
from dashboard.text import curve_text, markdown_text
from datasets.storage import Storage
from study.records.halving import Stop
from study.records.index import load_index
from study.records.names import Names
from study.records.studies import Attempt, StudyStore
from study.report.best import top_rows
from study.report.postprocessed import winners
from study.report.report import make_report
from study.report.table_one import table_one
from trainables.description import Setting

PAGES = (
    *(
        "study",
        "best",
        "grid",
        "roc",
        "heatmaps",
        "data",
        "trials",
        "compare",
        "settings",
        "subjects",
    ),
    "trial",
)
EVIL = "<script>alert(1)</script>"
AE = "AE · squared error (SE)"

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def view(made_up_store: Path) -> StudyView:
    return StudyReader(Storage.open(str(made_up_store)), "synthetic").view()


def _texts(app: AppTest) -> str:
    """Everything a page says in words."""
    kinds = ("title", "header", "markdown", "caption", "text", "code", "warning", "error")
    return "\n".join(str(e.value) for kind in kinds for e in app.get(kind))


def _metrics(app: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in app.metric}


@pytest.mark.parametrize("page", PAGES)
def test_page_has_a_heading_figures_and_the_phantoms_mark(
    page: str, open_app: Open, made_up_store: Path
) -> None:
    app = open_app(made_up_store, page)
    assert not app.exception
    assert len(app.title) == 1
    assert "Synthetic phantom" in _texts(app)
    if page not in ("study", "data", "trials", "compare"):  # need slices, a choice, another
        assert app.get("plotly_chart")


def test_study_page_counts_trials_and_shows_the_traceback(
    open_app: Open, made_up_store: Path, view: StudyView
) -> None:
    failed = rows_of(view.index, status="failed")["trial_id"][0].as_py()
    app = open_app(made_up_store, opened=f"failure {failed} ")
    assert _metrics(app)["Trials done"] == f"{view.counts.done} of {view.counts.planned}"
    assert _metrics(app)["Failed"] == "1"
    assert any("NonFiniteLossError: nan" in code.value for code in app.code)
    best = app.table[0].value
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "auc")
    cells = table_one(rows, "brain", "auc").cells
    top = max(c.value or 0 for (_, (cohort, _)), c in cells.items() if cohort == "atlas")
    assert best["ROC-AUC"][0] == f"{top:.3f}"


def test_a_network_that_was_stopped_early_has_its_own_word_and_no_results(
    open_app: Open, made_up_store: Path, view: StudyView, tmp_path: Path
) -> None:
    shutil.copytree(made_up_store, tmp_path / "store")
    study = StudyStore.open(Storage.open(str(tmp_path / "store")), "synthetic")
    name = rows_of(view.fits, model="vae", status="done")["trial_id"][0].as_py()
    fit = study.trial(name).fit()
    assert fit is not None
    stop = Stop(epoch=1, validation_loss=0.5, threshold=0.4, n_compared=3)
    stopped = fit.model_copy(update={"status": "stopped", "stopped": stop, "parts": {}})
    study.trial(name).write_fit(stopped)
    app = open_app(tmp_path / "store")
    assert _metrics(app)["Stopped early"] == "1"
    assert _metrics(app)["Failed"] == "1"
    app = open_app(tmp_path / "store", "trial", trial=name)
    assert not app.exception
    assert _metrics(app)["Status"] == "stopped"
    assert f"Stopped after 1 of {fit.spec.epochs:,} epochs" in _texts(app)


def test_trial_page_has_the_traceback_of_its_failure(
    open_app: Open, made_up_store: Path, view: StudyView
) -> None:
    failed = rows_of(view.index, status="failed")["trial_id"][0].as_py()
    app = open_app(made_up_store, "trial", opened=f"failure {failed} ", trial=failed)
    assert any("NonFiniteLossError: nan" in code.value for code in app.code)
    assert any("NonFiniteLossError" in box.label for box in app.expander)


def test_metric_and_region_switch_the_table(
    open_app: Open, made_up_store: Path, view: StudyView
) -> None:
    app = open_app(made_up_store, "best", metric="Best Dice", region="Whole slice")
    table = app.table[0].value
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "best_dice")
    cells = table_one(rows, "slice", "best_dice").cells
    value = cells[("dae", "squared_error"), ("atlas", "T1w")].value
    assert any(f"{value:.3f}" in text for text in table["atlas T1w"])
    assert not any(column.startswith("paper") for column in table.columns)
    assert app.get("button_group")[0].value == "best_dice"


def test_figures_after_post_processing_stand_beneath_the_table(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    study = synthetic.write_store(tmp_path, "synthetic", synthetic.Wanted(trials=52, failed=0))
    assert len(open_app(tmp_path, "best").table) == 1
    record = study.study()
    for trial in winners(record, load_index(study)):
        store = study.trial(trial.trial_id)
        of_cohort = {name: store.evaluation(name) for name in store.storage.names("eval")}
        raw = {one.cohort: one for one in of_cohort.values()}
        for planned in trial.evals:  # as if nothing had changed
            one = raw[planned.cohort]
            attempt = Attempt(store.evaluation_storage(planned.eval_id))
            parts = attempt.put_all({name: store.read_part(one, name) for name in one.parts})
            change = {"eval_id": planned.eval_id, "postprocessing": planned.postprocessing}
            store.write_evaluation(one.model_copy(update={**change, "parts": parts}))
    st.cache_data.clear()
    st.cache_resource.clear()
    app = open_app(tmp_path, "best")
    cells = make_report(study, record).postprocessed
    table = app.table[1].value
    assert list(table["ROC-AUC"]) == [f"{c.raw.auc:.3f}" for c in cells for _ in range(3)]
    assert list(table["score maps"][:2]) == ["as they are", "median 5x5x5"]


def test_what_a_report_kept_at_thresholds_stands_beneath_the_table(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    study = synthetic.write_store(tmp_path, "synthetic", synthetic.Wanted(trials=52, failed=0))
    assert len(open_app(tmp_path, "best").table) == 1  # nothing is worked out while a page waits
    record = study.study()
    report = make_report(study, record)
    cell = report.table("brain").cells[("vae", "nll"), ("atlas", "T1w")]
    assert cell.operating is not None
    report.keep_statistics()
    st.cache_data.clear()
    app = open_app(tmp_path, "best", threshold=markdown_text("healthy:10%"))
    detail = app.table[1].value
    first = report.table("brain").cells[("vae", "nll"), ("atlas", "T1w")].over_other
    assert first is not None
    (told_of,) = detail[detail["Model and score"] == "VAE L"].to_dict("records")
    assert f"{first.difference:+.3f}" in told_of["Above highest other"].replace("\\", "")
    rows = app.table[2].value
    (row,) = rows[(rows["Score"] == "VAE L")].head(1).to_dict("records")
    point = cell.operating.points[2]
    assert row["Sensitivity"] == f"{point.sensitivity:.3f}"
    assert row["Lesions found"] == f"{point.lesions_half:.0%}"
    told = " ".join(caption.value for caption in app.caption)
    assert "uncertain below 10 subjects" in told
    assert open_app(tmp_path, "best", region="Whole slice").table[0].value is not None


def test_grid_shows_the_cohorts_of_the_address_side_by_side(
    open_app: Open, made_up_store: Path
) -> None:
    address = {"line": AE, "left": "brats T2w", "right": "atlas T1w"}
    app = open_app(made_up_store, "grid", **address)
    assert [s.value for s in app.header] == ["brats T2w", "atlas T1w"]
    assert len(app.get("plotly_chart")) == 2
    alone = open_app(made_up_store, "grid", **{**address, "right": "none"})
    assert len(alone.get("plotly_chart")) == 1


def test_model_without_a_grid_shows_its_one_figure(open_app: Open, made_up_store: Path) -> None:
    app = open_app(made_up_store, "grid", line="Intensity")
    assert "ROC-AUC" in _metrics(app)
    assert not app.get("plotly_chart")


def test_curves_of_the_address_are_drawn(
    open_app: Open, made_up_store: Path, view: StudyView
) -> None:
    rows = rows_of(view.results, model="dae", cohort="atlas", region="brain").sort_by("auc")
    assert view.record is not None
    worst = curve_text(Names(view.record.detectors), rows.slice(0, 1).to_pylist()[0])
    app = open_app(made_up_store, "roc", cohort="atlas T1w", curves=worst)
    assert app.multiselect[0].value == [f"{rows['trial_id'][0].as_py()}:squared_error"]
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert [t["name"].split(" ")[0] for t in spec["data"]] == ["chance", "DAE"]


def test_slice_of_the_address_is_shown_and_next_goes_on(
    open_app: Open, made_up_store: Path
) -> None:
    app = open_app(made_up_store, "heatmaps", subject="brats/phantom01", cohort="brats T1w")
    assert app.selectbox(key="heatmaps.slice").value == 67
    next(b for b in app.button if b.label == "Next").click().run()
    assert app.selectbox(key="heatmaps.subject").value == "brats/phantom02"
    assert app.selectbox(key="heatmaps.slice").value == 74


def test_trial_page_opens_the_trial_of_the_address(
    open_app: Open, made_up_store: Path, view: StudyView
) -> None:
    wanted = rows_of(view.fits, model="ae", setting="(16, 128)", modality="T2w", seed=0)
    trial_id = wanted["trial_id"][0].as_py()
    app = open_app(made_up_store, "trial", trial=trial_id)
    assert trial_id[:8] in app.selectbox[1].options[app.selectbox[1].index]
    assert _metrics(app)["Parameters"] == f"{wanted['n_parameters'][0].as_py():,}"


def test_data_page_says_what_to_do_without_slices(open_app: Open, made_up_store: Path) -> None:
    app = open_app(made_up_store, "data")
    assert "study.prepare" in _texts(app)
    assert app.table[0].value["Subjects"].tolist() == ["20", "20", "8", "8", "8"]


def test_empty_store_says_how_to_fill_it(open_app: Open, tmp_path: Path) -> None:
    app = open_app(tmp_path / "nothing")
    assert not app.exception
    assert "python -m study.run" in _texts(app)


def test_study_that_has_not_begun_is_shown_on_every_page(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    synthetic.write_store(tmp_path, "new", synthetic.Wanted(trials=4, unfinished=4, failed=0))
    for page in PAGES:
        app = open_app(tmp_path, page)
        assert not app.exception
        assert _texts(app)


@pytest.mark.parametrize("name", ["../../etc", EVIL, "study/../../x"])
def test_address_reaches_nothing_outside(name: str, open_app: Open, made_up_store: Path) -> None:
    app = open_app(made_up_store, "trial", study=name, trial=name, region=name, store=name)
    assert not app.exception
    assert app.selectbox(key="study").value == "synthetic"
    assert app.get("button_group")[0].value == "brain"
    assert sum("which is not here" in w.value for w in app.warning) == 4
    assert EVIL not in _texts(app)


def test_evil_names_in_a_store_are_text(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    wanted = synthetic.Wanted(trials=3, failed=0, cohort=EVIL)
    study = synthetic.write_store(tmp_path, "names", wanted)
    (tmp_path / "studies" / "<script>alert(1)<" / "script>").mkdir(parents=True)
    (tmp_path / "studies" / "..evil").mkdir()
    trial = study.storage.names("trials")[0]
    study.storage.put(f"trials/{trial}/manifest.json", EVIL.encode())
    for page in PAGES:
        app = open_app(tmp_path, page)
        assert not app.exception
        spoken = [e.value for kind in ("markdown", "caption", "warning") for e in app.get(kind)]
        assert not any(EVIL in str(text) for text in spoken)
        for chart in app.get("plotly_chart"):
            assert EVIL not in chart.proto.spec


def test_damaged_part_is_said_in_its_place(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    study = synthetic.write_store(tmp_path, "bad", synthetic.Wanted(trials=6, failed=0))
    for path in study.storage.files("trials"):
        if path.endswith(("roc.parquet", "heatmaps.parquet", "history.parquet")):
            study.storage.put(path, b"damaged")
    for page, word in (("roc", "damaged"), ("heatmaps", "damaged"), ("trial", "damaged")):
        app = open_app(tmp_path, page)
        assert not app.exception
        assert any(word in w.value for w in app.warning)


def test_damaged_trial_is_said_on_every_page_and_the_rest_is_shown(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    study = synthetic.write_store(tmp_path, "bad", synthetic.Wanted(trials=80, failed=0))
    trial = study.storage.names("trials")[0]
    study.storage.put(f"trials/{trial}/manifest.json", b'{"half": ')
    for page in PAGES:
        app = open_app(tmp_path, page)
        assert not app.exception
        assert any("1 problem in this store" in box.label for box in app.expander)
        assert trial in _texts(app)
    assert _metrics(open_app(tmp_path))["Trials done"] == "79 of 80"


def test_half_written_study_is_said_and_the_others_open(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    synthetic.write_store(tmp_path, "good", synthetic.Wanted(trials=3, failed=0, full=False))
    (tmp_path / "studies" / "half").mkdir()
    (tmp_path / "studies" / "half" / "study.json").write_text('{"study": "ha')
    (tmp_path / "studies" / "newer").mkdir()
    (tmp_path / "studies" / "newer" / "study.json").write_text('{"store_version": 99}')
    for name, word in (("half", "damaged"), ("newer", "newer version")):
        app = open_app(tmp_path, "study", study=name)
        assert not app.exception
        assert word in _texts(app)
    assert open_app(tmp_path, "study", study="good").metric


def test_dashboard_loads_no_torch_until_it_scores() -> None:
    modules = "navigation data slices scoring volumes viewer.scenes charts map_charts frame "
    modules += "failures reader tables warmup"
    names = [f"dashboard.{name}" for name in modules.split()]
    code = f"import sys, importlib; [importlib.import_module(n) for n in {names!r}]; "
    code += "print([n for n in ('torch', 'ray', 'optuna', 'nibabel') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_of_more_than_two_settings_two_are_chosen_as_axes(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    study = synthetic.write_store(tmp_path, "three", synthetic.Wanted(trials=80, failed=0))
    record = study.study()
    info = record.detectors["ae"]
    settings = (*info.settings, Setting("batch_size", "B", "slices a step"))
    detectors = {**record.detectors, "ae": replace(info, settings=settings)}
    study.write_study(record.model_copy(update={"detectors": detectors}))
    app = open_app(tmp_path, "grid", line=AE)
    assert not app.exception
    assert _axes(app) == ("N_c (channels)", "N_z (size of the latent vector)")
    app = open_app(
        tmp_path,
        "grid",
        line=AE,
        down=markdown_text("B (slices a step)"),
        across=markdown_text("N_c (channels)"),
    )
    assert not app.exception
    assert _axes(app) == ("B (slices a step)", "N_c (channels)")
    trial = load_index(study).filter(pc.field("model") == "ae")["trial_id"][0].as_py()
    app = open_app(tmp_path, "trial", trial=trial)  # settings of all trials are told anew
    assert re.search(r"AE T\dw \(\d+, \d+, 64\)", app.selectbox[1].options[app.selectbox[1].index])


def _axes(app: AppTest) -> tuple[str, str]:
    """What names the rows and the columns of the first figure."""
    layout = json.loads(app.get("plotly_chart")[0].proto.spec)["layout"]
    return layout["yaxis"]["title"]["text"], layout["xaxis"]["title"]["text"]
