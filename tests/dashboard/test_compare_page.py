"""The page that sets studies beside each other."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.difference_charts import difference_figure
from datasets.storage import Storage
from study.records.names import Names
from study.records.studies import StudyStore
from study.records.types import StudyRecord
from study.report.comparisons import Comparison
from study.report.report import Report, make_report
from study.report.two_studies import Difference, made_differently, shared_cohorts

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def two(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two studies on the same test cohorts; the one called ``second`` moved last."""
    store: Path = tmp_path_factory.mktemp("two")
    synthetic.write_store(store, "first", synthetic.Wanted(trials=52, failed=0))
    synthetic.write_store(store, "second", synthetic.Wanted(trials=52, failed=0, seed=3))
    return store


@pytest.fixture(scope="module")
def small(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one study of six trials, called ``synthetic``."""
    store: Path = tmp_path_factory.mktemp("small")
    synthetic.write_store(store, "synthetic", synthetic.Wanted(trials=6, failed=0))
    return store


def _report(store: Path, name: str) -> Report:
    study = StudyStore.open(Storage.open(str(store)), name)
    record = study.study()
    assert record is not None
    return make_report(study, record)


def _texts(app: AppTest) -> str:
    kinds = ("title", "subheader", "markdown", "caption", "warning")
    return "\n".join(str(e.value) for kind in kinds for e in app.get(kind))


def test_two_studies_are_compared_at_once_as_the_report_compares_them(
    open_app: Open, two: Path
) -> None:
    app = open_app(two, "compare", study="second", cohort="brats T1w")
    assert not app.exception
    (box,) = (box for box in app.multiselect if box.label == "Beside it")
    assert box.value == ["first"]
    here = replace(_report(two, "second"), other=_report(two, "first"))
    wanted = [d for d in here.differences if (d.cohort, d.modality) == ("brats", "T1w")]
    table = app.dataframe[0].value
    assert len(table) == len(wanted) == 10
    for (_, row), d in zip(table.iterrows(), wanted, strict=True):
        assert d.comparison is not None
        assert row["Score"] == here.names.short_line(d.model, d.score)
        assert (row["Here"], row["There"]) == (d.here, d.other)
        tested = (row["Difference"], row["Low"], row["High"], row["p"])
        c = d.comparison
        assert tested == pytest.approx((c.difference, c.low, c.high, c.p))
        assert row["Holds"] == ("yes" if c.is_separated else "no")


def test_curves_of_both_are_on_one_plot_with_the_settings_that_differ(
    open_app: Open, two: Path
) -> None:
    address = {
        "study": "second",
        "cohort": "atlas T1w",
        "compare-line": "VAE · normalised error (E)",
    }
    app = open_app(two, "compare", **address)
    specs = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    (roc,) = (s for s in specs if s["data"][0].get("name") == "chance")
    assert [trace["name"].split(" ")[0] for trace in roc["data"]] == ["chance", "second", "first"]
    reports = {name: _report(two, name) for name in ("first", "second")}
    line, column = ("vae", "normalized_error"), ("atlas", "T1w")
    cells = {name: r.table("brain").cells[line, column] for name, r in reports.items()}
    for trace in roc["data"][1:]:
        name = trace["name"].split(" ")[0]
        assert cells[name].setting.table_text in trace["name"]


def test_alone_a_study_says_how_to_get_another(open_app: Open, small: Path) -> None:
    app = open_app(small, "compare")
    assert not app.exception
    assert "No other study here" in _texts(app)
    assert not app.get("plotly_chart")


def test_studies_of_another_store_are_found_and_named_with_it(
    open_app: Open, two: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app(two, "compare", study="second")
    stores = ["--store", str(two), "--store", str(small), "--store", str(two) + "/"]
    monkeypatch.setattr(sys, "argv", ["app.py", *stores])
    app.run()
    (box,) = (box for box in app.multiselect if box.label == "Beside it")
    assert box.options[0].startswith("first in ")
    assert "synthetic" in box.options
    assert f"second in {two}/" in box.options
    box.set_value(["synthetic"]).run()
    assert not app.exception
    assert "package" not in app.table[-1].value.iloc[:, 0].to_list()


def test_a_damaged_record_of_another_study_is_left_out(
    open_app: Open, small: Path, tmp_path: Path
) -> None:
    shutil.copytree(small / "studies" / "synthetic", tmp_path / "studies" / "synthetic")
    (tmp_path / "studies" / "other").mkdir()
    (tmp_path / "studies" / "other" / "study.json").write_bytes(b"damaged")
    st.cache_data.clear()
    app = open_app(tmp_path, "compare", study="synthetic")
    assert not app.exception
    assert "No other study here" in _texts(app)


def _records(two: Path) -> tuple[StudyRecord, StudyRecord]:
    return _report(two, "first").record, _report(two, "second").record


def test_what_was_done_differently_is_what_the_records_tell_differently(two: Path) -> None:
    first, second = _records(two)
    assert made_differently([first, second]) == []
    made = second.provenance.model_copy(
        update={"packages": {**second.provenance.packages, "torch": "9.9"}}
    )
    cohorts = (first.cohorts[0].model_copy(update={"key": "f" * 20}), *first.cohorts[1:])
    change = {"grid": "other", "provenance": made, "cohorts": cohorts}
    found = dict(made_differently([first, second.model_copy(update=change)]))
    info = first.cohorts[0]
    cohort = f"{info.role} {info.name} {info.modality}"
    assert set(found) == {"grid", "package torch", cohort}
    assert found["grid"] == (first.grid, "other")
    assert found["package torch"][1] == "9.9"
    assert "data key ffffffff" in found[cohort][1]


def test_test_cohorts_are_shared_by_name_and_known_to_be_the_same_by_key(two: Path) -> None:
    first, second = _records(two)
    same = shared_cohorts(first, second)
    assert set(same.values()) == {True}
    assert set(same) == {("atlas", "T1w"), ("brats", "T1w"), ("brats", "T2w")}
    cohorts = [
        c.model_copy(update={"key": "0" * 20}) if c.name == "atlas" else c for c in second.cohorts
    ]
    others = [c for c in cohorts if (c.name, c.modality) != ("brats", "T2w")]
    told = shared_cohorts(first, second.model_copy(update={"cohorts": tuple(others)}))
    assert told == {("atlas", "T1w"): False, ("brats", "T1w"): True}


def test_intervals_lie_about_the_difference_that_was_tested() -> None:
    tested = Comparison("other", "here", 0.05, 0.01, 0.08, 0.02)
    evil = "<script>alert(1)</script>"
    some = [
        Difference("vae", "nll", "a", "T1w", 0.7, 0.6, tested),
        Difference("ae", "squared_error", "a", "T1w", 0.7, 0.75, None),
        Difference("ae", "squared_error", "b", "T1w", 0.1, 0.9, None),
    ]
    figure = difference_figure({evil: some}, Names(), ("a", "T1w"))
    (trace,) = figure.data
    assert list(trace.x) == pytest.approx([0.05, -0.05])
    assert list(trace.error_x.array) == pytest.approx([0.03, 0])
    assert list(trace.error_x.arrayminus) == pytest.approx([0.04, 0])
    assert evil not in figure.to_json()


def test_it_says_of_which_study_subjects_cannot_be_read(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    for number, name in enumerate(("first", "second")):
        wanted = synthetic.Wanted(trials=6, failed=0, seed=number)
        synthetic.write_store(tmp_path / "whole", name, wanted)
    damaged = Path(shutil.copytree(tmp_path / "whole", tmp_path / "damaged"))
    for file in damaged.glob("studies/first/trials/*/eval/*/attempts/*/subjects.parquet"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    told = "parts of evaluations cannot be read"
    assert told not in _texts(open_app(tmp_path / "whole", "compare", study="second"))
    app = open_app(damaged, "compare", study="second")
    assert not app.exception
    texts = _texts(app).replace("\\", "")
    assert texts.count(told) == 1
    assert f"python -m study.store check {damaged}" in texts
