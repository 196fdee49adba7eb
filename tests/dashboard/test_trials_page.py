"""The page of trials: order, filters, what is compared, and how much goes to the browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlparse

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import leaderboard
from dashboard.data import rows_of
from dashboard.leaderboard import by_setting, by_trial, differing, narrowed, unique_names
from dashboard.reader import StudyReader, StudyView
from datasets.storage import Storage
from study.report.choice import mean_of
from study.report.table import METRICS, result_rows

Open = Callable[..., AppTest]

PLACE = {"cohort": "atlas", "modality": "T1w", "region": "brain"}


@pytest.fixture(scope="module")
def view(made_up_store: Path) -> StudyView:
    return StudyReader(Storage.open(str(made_up_store)), "synthetic").view()


@pytest.fixture(scope="module")
def rows(view: StudyView) -> pa.Table:
    return rows_of(view.results, **PLACE)


def _settings(view: StudyView) -> dict[tuple[str, str, str], list[dict[str, object]]]:
    """The result rows of the place, the seeds of a setting together, as the report has them."""
    assert view.record is not None
    found: dict[tuple[str, str, str], list[dict[str, object]]] = {}
    for row in result_rows(view.record, view.index):
        if all(row[name] == value for name, value in PLACE.items()):
            found.setdefault((row["model"], row["score"], row["setting_id"]), []).append(row)
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_settings_have_the_reports_means_and_the_spread_over_their_seeds(
    metric: str, view: StudyView, rows: pa.Table
) -> None:
    table = by_setting(rows, metric)
    settings = _settings(view)
    assert max(len(seeds) for seeds in settings.values()) > 1
    lines = table.to_pylist()
    assert len(lines) == len(settings)
    for line in lines:
        seeds = settings[line["model"], line["score"], line["setting_id"]]
        assert line[f"{metric}_mean"] == pytest.approx(mean_of(seeds, metric))
        assert line["n_seeds"] == len(seeds)
        assert line["trial_id_first"] == seeds[0]["trial_id"]
        spread = line[f"{metric}_stddev"]
        if len(seeds) == 1:
            assert spread is None
        else:
            values = [float(str(row[metric])) for row in seeds]
            assert spread == pytest.approx(np.std(values, ddof=1))
    means = [line[f"{metric}_mean"] for line in lines]
    assert means == sorted(means, reverse=True)


def test_trials_come_in_order_with_their_training_and_those_without_a_figure_last(
    view: StudyView, rows: pa.Table
) -> None:
    without = pa.array([None] + [False] * (rows.num_rows - 1), pa.bool_())
    aucs = pc.if_else(pc.is_null(without), pa.scalar(None, pa.float64()), rows["auc"])
    gap = rows.set_column(rows.column_names.index("auc"), "auc", aucs)
    table = by_trial(gap, view.fits, "auc")
    assert table.num_rows == rows.num_rows
    found = table["auc"].to_pylist()
    assert found[-1] is None
    assert found[:-1] == sorted(found[:-1], reverse=True)
    walls = dict(
        zip(view.fits["trial_id"].to_pylist(), view.fits["wall_s"].to_pylist(), strict=True)
    )
    for row in table.select(["trial_id", "fit_s"]).to_pylist():
        assert row["fit_s"] == walls[row["trial_id"]]
    with pytest.raises(ValueError, match="huge"):
        by_trial(rows, view.fits, "huge")


def test_filters_leave_what_has_all_that_is_asked_for(view: StudyView, rows: pa.Table) -> None:
    for table, column in (
        (by_trial(rows, view.fits, "auc"), "setting"),
        (by_setting(rows, "auc"), "setting_first"),
    ):
        some = narrowed(table, ["vae"], ["nll", "squared_error"], "8, 64").to_pylist()
        wanted = [
            row
            for row in table.to_pylist()
            if row["model"] == "vae"
            and row["score"] in ("nll", "squared_error")
            and "8, 64" in (row[column] or "")
        ]
        assert some == wanted
        assert some
        assert narrowed(table, [], [], " ").equals(table)
        assert not narrowed(table, ["vae"], [], "λ").num_rows


def test_only_settings_that_differ_are_told_and_missing_ones_have_a_dash() -> None:
    specs = [
        {"model": "vae", "seed": 0, "params": {"n_c": 8, "rate": 0.001, "betas": [0.9, 0.99]}},
        {"model": "vae", "seed": 1, "params": {"n_c": 16, "rate": 0.001, "betas": [0.9, 0.999]}},
        {"model": "gmm", "seed": 0, "params": {"gmm_lambda": 0.1}},
    ]
    found = dict(differing([json.dumps(spec) for spec in specs]))
    assert found == {
        "betas": ("[0.9, 0.99]", "[0.9, 0.999]", "–"),
        "gmm_lambda": ("–", "–", "0.1"),
        "model": ("vae", "vae", "gmm"),
        "n_c": ("8", "16", "–"),
        "rate": ("0.001", "0.001", "–"),
        "seed": ("0", "1", "0"),
    }
    assert differing([json.dumps(specs[0])] * 2) == []


def test_names_that_several_would_have_end_in_their_keys() -> None:
    names = unique_names([("a", "one"), ("b", "two"), ("c", "one")])
    assert names == {"a": "one", "b": "two", "c": "one · c"}


def test_page_has_the_first_rows_and_a_link_to_each(
    open_app: Open, made_up_store: Path, rows: pa.Table, view: StudyView
) -> None:
    app = open_app(made_up_store, "trials", cohort="atlas T1w", rows="by trial")
    assert not app.exception
    table = app.dataframe[0].value
    expected = by_trial(rows, view.fits, "auc")
    assert list(table["ROC-AUC"]) == expected["auc"].to_pylist()
    trials = [parse_qs(urlparse(link).query)["trial.trial"][0] for link in table["Trial"]]
    assert trials == expected["trial_id"].to_pylist()


def test_no_more_rows_than_some_hundred_go_to_the_browser(
    open_app: Open, made_up_store: Path, monkeypatch: pytest.MonkeyPatch, rows: pa.Table
) -> None:
    assert leaderboard.MOST_ROWS <= 1000
    assert rows.num_rows > 10
    monkeypatch.setattr(leaderboard, "MOST_ROWS", 10)
    app = open_app(made_up_store, "trials", cohort="atlas T1w", rows="by trial")
    assert len(app.dataframe[0].value) == 10
    told = [caption.value for caption in app.caption]
    assert f"The first 10 of {rows.num_rows:,} rows in order of ROC-AUC" in " ".join(told)


def test_some_are_compared_by_curves_settings_and_maps(
    open_app: Open, made_up_store: Path, rows: pa.Table, view: StudyView
) -> None:
    app = open_app(made_up_store, "trials", cohort="atlas T1w", rows="by trial")
    assert not app.get("plotly_chart")
    (box,) = (box for box in app.multiselect if box.label == "Compare")
    box.set_value(_keys(rows, view))
    app.run()
    assert not app.exception
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    names = [trace["name"] for trace in spec["data"]]
    assert names[0] == "chance"
    assert len(names) == 3
    apart = app.table[0].value
    assert {"n_z"} <= set(apart.iloc[:, 0].str.replace("\\", ""))
    assert len(app.get("plotly_chart")) == 2


def _keys(rows: pa.Table, view: StudyView) -> list[str]:
    """Two trials of the VAE with other N_z."""
    table = narrowed(by_trial(rows, view.fits, "auc"), ["vae"], ["normalized_error"], "")
    found: dict[str, str] = {}
    for row in table.to_pylist():
        found.setdefault(str(row["setting"]), f"{row['trial_id']}:{row['score']}")
    return [found[name] for name in sorted(found) if name.startswith("(8,")][:2]


def test_damaged_curves_and_maps_are_said_in_their_place(
    open_app: Open, synthetic: ModuleType, tmp_path: Path
) -> None:
    study = synthetic.write_store(tmp_path, "bad", synthetic.Wanted(trials=6, failed=0))
    for path in study.storage.files("trials"):
        if path.endswith(("roc.parquet", "heatmaps.parquet")):
            study.storage.put(path, b"damaged")
    app = open_app(tmp_path, "trials")
    (box,) = (box for box in app.multiselect if box.label == "Compare")
    box.select(box.options[0])
    app.run()
    assert not app.exception
    assert sum("damaged" in warning.value for warning in app.warning) == 2
