"""Results as rows and as table 1, the same in every format."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from datasets.storage import Storage
from study.index import load_index
from study.plan import build_plan, load_grid
from study.records import CohortInfo, FitRecord, StudyRecord
from study.report import Report, as_csv, as_json, as_latex, make_report, print_report
from study.store import StudyStore
from study.table import (
    PAPER_AUC,
    PAPER_COLUMNS,
    best_rows,
    chosen,
    count_trials,
    paper_auc,
    result_rows,
    table_columns,
    table_lines,
)
from trainables.detector import detector_class

Cohorts = tuple[CohortInfo, ...]
JSON_ROW = {
    "model",
    "score",
    "cohort",
    "modality",
    "region",
    "auc",
    "average_precision",
    "best_dice",
    "n_c",
    "n_z",
    "gmm_lambda",
    "seed",
    "trial_id",
    "paper_auc",
    "n_subjects",
    "n_pixels",
    "best",
}


@pytest.fixture(scope="module")
def record(paper_cohorts: Cohorts) -> StudyRecord:
    """The smoke grid over the paper's cohorts."""
    plan = build_plan(load_grid("smoke"), paper_cohorts, seeds=(0, 1), epochs=None)
    return StudyRecord(
        study="a-study",
        grid="smoke",
        synthetic=True,
        cohorts=paper_cohorts,
        trials=plan.trials,
        searches=plan.searches,
        created="2026",
        updated="2026",
    )


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, record: StudyRecord, put_trial: Callable[..., None]
) -> StudyStore:
    """The study with all records; AUCs differ by seed, model and score; the DAE's are undefined."""
    study = StudyStore.open(Storage.open(str(tmp_path_factory.mktemp("store"))), "a-study")
    for number, trial in enumerate(record.trials):
        scores = detector_class(trial.spec.model).SCORES
        auc = {s: 0.5 + 0.01 * number + 0.001 * i for i, s in enumerate(scores)}
        undefined = trial.spec.model == "dae"
        put_trial(study, trial, dict.fromkeys(scores) if undefined else auc)
    return study


@pytest.fixture(scope="module")
def report(finished: StudyStore, record: StudyRecord) -> Report:
    return make_report(finished, record)


def test_json_is_one_object_with_the_promised_fields(report: Report) -> None:
    content = json.loads(as_json(report))
    assert {"study", "grid", "synthetic", "trials", "rows"} <= set(content)
    assert (content["study"], content["grid"], content["synthetic"]) == ("a-study", "smoke", True)
    assert content["trials"] == {"planned": 24, "done": 24, "failed": 0, "running": 0}
    for row in content["rows"]:
        assert set(row) >= JSON_ROW
        assert isinstance(row["best"], bool)


def test_there_is_a_row_per_trial_score_cohort_and_region(
    report: Report, record: StudyRecord
) -> None:
    expected = {
        (trial.trial_id, score, evaluation.cohort, region)
        for trial in record.trials
        for score in detector_class(trial.spec.model).SCORES
        for evaluation in trial.evals
        for region in ("brain", "slice")
    }
    found = [(r["trial_id"], r["score"], r["cohort"], r["region"]) for r in report.rows]
    assert len(found) == len(expected)
    assert set(found) == expected


def test_table_is_made_of_the_best_of_all_rows(report: Report) -> None:
    assert report.best == best_rows(report.rows, "auc")
    assert len(report.best) == (2 + 2 + 1 + 4) * 3 * 2  # the DAE's figures are undefined
    assert "DAE" in _text(report)


def test_steps_are_those_of_the_fit(
    local_study: StudyStore,
    record: StudyRecord,
    put_trial: Callable[..., None],
    make_fit: Callable[..., FitRecord],
) -> None:
    first, second = (t for t in record.trials if t.spec.model == "ae" and t.spec.seed == 0)
    for trial in (first, second):
        put_trial(local_study, trial, {"squared_error": 0.6})
    local_study.trial(first.trial_id).write_fit(make_fit(first, steps=132))
    # A fit that has gone on since its evaluation has taken other steps than the figures show.
    longer = second.spec.model_copy(update={"epochs": second.spec.epochs + 1})
    local_study.trial(second.trial_id).write_fit(make_fit(second, steps=165, spec=longer))
    rows = json.loads(as_json(make_report(local_study, record)))["rows"]
    steps = {row["trial_id"]: row["steps"] for row in rows}
    assert steps == {first.trial_id: 132, second.trial_id: None}


def test_best_marks_the_highest_figure_of_each_cell_once(report: Report) -> None:
    cells: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for row in report.rows:
        key = tuple(row[f] for f in ("model", "score", "cohort", "modality", "region"))
        cells.setdefault(key, []).append(row)
    for key, rows in cells.items():
        best = [r for r in rows if r["best"]]
        if key[0] == "dae":
            assert best == []
        else:
            (winner,) = best
            assert winner["auc"] == max(r["auc"] for r in rows)


def test_of_equal_figures_the_first_in_table_order_is_best(report: Report) -> None:
    rows = [{**row, "auc": 0.5} for row in report.rows]
    for best in best_rows(rows, "auc"):
        cell = ("model", "score", "cohort", "modality", "region")
        same = [r for r in rows if all(r[f] == best[f] for f in cell)]
        assert best is same[0]
        assert best["seed"] == 0


def test_undefined_figures_are_null_and_never_nan(report: Report) -> None:
    rows = json.loads(as_json(report), parse_constant=lambda name: pytest.fail(name))["rows"]
    for row in rows:
        is_dae = row["model"] == "dae"
        for figure in ("auc", "average_precision", "best_dice"):
            assert (row[figure] is None) == is_dae
            assert is_dae or math.isfinite(row[figure])


def test_the_papers_figures_stand_in_their_cells_alone() -> None:
    assert len(PAPER_AUC) == 8
    assert paper_auc("vae", "normalized_error", "atlas", "T1w") == 0.672
    assert paper_auc("vae", "normalized_error", "brats", "T2w") == 0.788
    assert paper_auc("vae", "log_variance", "brats", "T1w") == 0.436
    assert paper_auc("gmm", "outlier_sum", "atlas", "T1w") is None
    assert paper_auc("vae", "nll", "own", "T1w") is None
    assert paper_auc("vae", "nll", "atlas", "T2w") is None


def test_within_the_paper_u_is_below_se_below_l_below_e() -> None:
    order = ("log_variance", "squared_error", "nll", "normalized_error")
    for column in range(3):
        figures = [PAPER_AUC["vae", score][column] for score in order]
        assert figures == sorted(figures)


def test_rows_of_another_plan_are_not_mixed_in(
    finished: StudyStore, record: StudyRecord, put_trial: Callable[..., None]
) -> None:
    before = result_rows(record, load_index(finished))
    cohorts = record.cohorts
    stranger = build_plan(load_grid("smoke"), cohorts, seeds=(7,), epochs=2).trials[0]
    put_trial(finished, stranger, {"intensity": 0.99})
    assert result_rows(record, load_index(finished)) == before


def test_lines_and_columns_are_in_the_papers_order(report: Report) -> None:
    assert table_columns(report.rows) == list(PAPER_COLUMNS)
    lines = table_lines(report.rows)
    assert [line for line in lines if line in PAPER_AUC] == list(PAPER_AUC)
    rows = [*report.rows, {**report.rows[0], "cohort": "own", "model": "mine", "score": "new"}]
    assert table_columns(rows) == [*PAPER_COLUMNS, ("own", report.rows[0]["modality"])]
    assert table_lines(rows)[-1] == ("mine", "new")


def test_a_setting_is_said_as_the_paper_says_it() -> None:
    base = {"n_c": None, "n_z": None, "gmm_lambda": None}
    assert chosen(base) == ""
    assert chosen(base | {"n_c": 16, "n_z": 256}) == "(16, 256)"
    assert chosen(base | {"gmm_lambda": 0.001}) == "λ 0.001"


def _text(report: Report) -> str:
    sink = io.StringIO()
    print_report(report, Console(file=sink, width=200, no_color=True))
    return sink.getvalue()


def test_all_formats_give_the_same_figures(report: Report) -> None:
    rows = json.loads(as_json(report))["rows"]
    table = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert len(table) == len(rows)
    for ours, theirs in zip(rows, table, strict=True):
        for name, value in ours.items():
            assert theirs[name] == ("" if value is None else str(value)), name
        assert theirs["synthetic"] == "True"
    cells = [r for r in rows if r["best"] and r["region"] == "brain"]
    figures = sorted(f"{row['auc']:.3f}" for row in cells)
    assert sorted(re.findall(r"\d\.\d{3}", as_latex(report))) == figures
    brain_table = _text(report).split("all pixels of the slice")[0]
    ours = re.sub(r"\[\d\.\d{3}\]|λ \S+", "", brain_table)
    assert sorted(re.findall(r"\d\.\d{3}", ours)) == figures
    paper = sorted(f"{r['paper_auc']:.3f}" for r in cells if r["paper_auc"] is not None)
    assert sorted(re.findall(r"\[(\d\.\d{3})\]", brain_table)) == paper


def test_synthetic_data_is_said_in_every_format(report: Report) -> None:
    assert "ynthetic" in _text(report)
    assert "% Synthetic" in as_latex(report)
    assert json.loads(as_json(report))["synthetic"] is True


def test_the_latex_table_is_whole(report: Report) -> None:
    text = as_latex(report)
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in lines} == {4}
    for special in ("&", "%", "_", "#"):
        assert not re.search(rf"(?<![\\ ]){special}", text.replace(" & ", " ").split("\n", 1)[1])
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert text.count(r"\textbf") == 3


def test_the_text_says_what_is_chosen_on_the_test_set(report: Report) -> None:
    text = " ".join(_text(report).split())
    assert "24 of 24 trials done, 0 failed" in text
    assert "chosen on the test set itself" in text
    assert "Optuna chose gmm_lambda for gmm T1w by the AUC of outlier_posterior on atlas" in text
    assert text.count("Optuna chose") == 2  # once a modality, whatever the number of seeds


def test_a_study_without_results_still_reports(
    local_study: StudyStore, record: StudyRecord
) -> None:
    report = make_report(local_study, record)
    assert json.loads(as_json(report))["rows"] == []
    assert as_csv(report).splitlines()[0].startswith("model,")
    assert "0 of 24 trials done" in _text(report)
    assert r"\bottomrule" in as_latex(report)


def test_trials_are_counted_by_what_their_records_say(
    local_study: StudyStore,
    record: StudyRecord,
    put_trial: Callable[..., None],
    make_fit: Callable[..., FitRecord],
) -> None:
    whole, half, broken, lame, *_ = record.trials
    put_trial(local_study, whole, {"x": 0.5})
    put_trial(local_study, half, {"x": 0.5}, cohorts=[half.evals[0].cohort])
    if len(half.evals) == 1:
        pytest.fail("this trial needs two evaluations to be half done")
    local_study.trial(broken.trial_id).write_fit(make_fit(broken, status="failed"))
    put_trial(local_study, lame, {"x": 0.5}, failed_evals=[lame.evals[0].cohort])
    counts = count_trials(record, load_index(local_study), running=2)
    assert (counts.planned, counts.done, counts.failed, counts.running) == (24, 1, 2, 2)
