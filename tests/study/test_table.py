"""Results as rows and as table 1, the same in every format."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from datasets.storage import Storage
from study.grids._grid import load_grid
from study.plan.done import count_trials
from study.plan.plan import build_plan
from study.records.index import load_index
from study.records.studies import StudyStore
from study.records.types import CohortInfo, FitRecord, StudyRecord
from study.report.choice import CELL, best_rows
from study.report.formats import CSV_FIELDS, legends, table_csv, table_latex, text_table
from study.report.paper import (
    PAPER_AUC,
    PAPER_COLUMNS,
    paper_auc,
    paper_mixture,
    paper_networks,
)
from study.report.report import Report, as_csv, as_json, as_latex, make_report, print_report
from study.report.table import result_rows, table_columns, table_lines
from study.report.table_one import BELOW_CHANCE, Cell, TableOne, table_one
from trainables.detector import score_names
from trainables.registry import detector_class

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
    "setting_id",
    "n_gaussians",
    "setting",
    "settings",
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
        scores = score_names(detector_class(trial.spec.model))
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
        for score in score_names(detector_class(trial.spec.model))
        for evaluation in trial.evals
        if evaluation.role == "test"
        for region in ("brain", "slice")
    }
    found = [(r["trial_id"], r["score"], r["cohort"], r["region"]) for r in report.rows]
    assert len(found) == len(expected)
    assert set(found) == expected


def test_table_is_made_of_the_best_of_all_rows(report: Report) -> None:
    assert report.best == best_rows(result_rows(report.record, report.index), "auc")
    assert len(report.best) == (2 + 2 + 1 + 4) * 3 * 2 * 2  # two seeds; the DAE has no figures
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


def test_best_marks_all_seeds_of_the_setting_with_the_highest_mean(report: Report) -> None:
    cells: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in report.rows:
        cells.setdefault(tuple(row[name] for name in CELL), []).append(row)
    for key, rows in cells.items():
        best = [r for r in rows if r["best"]]
        if key[0] == "dae":
            assert best == []
            continue
        settings: dict[str, list[float]] = {}
        for row in rows:
            settings.setdefault(row["setting_id"], []).append(row["auc"])
        means = {name: sum(figures) / len(figures) for name, figures in settings.items()}
        assert {r["setting_id"] for r in best} == {max(means, key=lambda name: means[name])}
        assert sorted(r["seed"] for r in best) == [0, 1]


def test_the_luckiest_seed_does_not_choose_the_setting(report: Report) -> None:
    cell = [r for r in report.rows if r["model"] == "gmm" and r["score"] == "outlier_sum"]
    cell = [r for r in cell if (r["cohort"], r["region"]) == ("atlas", "brain")]
    luck = {(0.1, 0): 0.9, (0.1, 1): 0.4, (0.001, 0): 0.7, (0.001, 1): 0.7}
    rows = [{**r, "auc": luck[r["gmm_lambda"], r["seed"]]} for r in cell]
    assert [(r["gmm_lambda"], r["seed"]) for r in best_rows(rows, "auc")] == [
        (0.001, 0),
        (0.001, 1),
    ]


def test_of_equal_figures_the_first_in_table_order_is_best(report: Report) -> None:
    rows = [{**row, "auc": 0.5} for row in report.rows]
    first: dict[tuple[str, ...], str] = {}
    for row in rows:
        first.setdefault(tuple(row[name] for name in CELL), row["setting_id"])
    for best in best_rows(rows, "auc"):
        assert best["setting_id"] == first[tuple(best[name] for name in CELL)]


def test_undefined_figures_are_null_and_never_nan(report: Report) -> None:
    rows = json.loads(as_json(report), parse_constant=lambda name: pytest.fail(name))["rows"]
    for row in rows:
        is_dae = row["model"] == "dae"
        for figure in ("auc", "average_precision", "best_dice"):
            assert (row[figure] is None) == is_dae
            assert is_dae or math.isfinite(row[figure])


def test_the_papers_figures_stand_beside_the_brain_region_alone(report: Report) -> None:
    for row in report.rows:
        cell = (row["model"], row["score"], row["cohort"], row["modality"])
        assert row["paper_auc"] == (paper_auc(*cell) if row["region"] == "brain" else None)
    brain, whole = (report.table(region) for region in ("brain", "slice"))
    assert {c.paper for c in whole.cells.values()} == {None}
    assert sum(c.paper is not None for c in brain.cells.values()) == len(PAPER_AUC) * 3
    assert "[" not in _text(report).split("all pixels of the slice")[1]


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
    lines = table_lines(report.rows, report.names)
    assert [line for line in lines if line in PAPER_AUC] == list(PAPER_AUC)
    rows = [*report.rows, {**report.rows[0], "cohort": "own", "model": "mine", "score": "new"}]
    assert table_columns(rows) == [*PAPER_COLUMNS, ("own", report.rows[0]["modality"])]
    assert table_lines(rows, report.names)[-1] == ("mine", "new")


def _text(report: Report) -> str:
    sink = io.StringIO()
    print_report(report, Console(file=sink, width=200, no_color=True))
    return sink.getvalue()


def _one(**changes: Any) -> TableOne:
    """A table of one cell."""
    cell = Cell(**{"value": 0.612, "setting": paper_networks(16, 8), "trial_ids": ("t",)} | changes)
    line, column = ("vae", "normalized_error"), ("atlas", "T1w")
    return TableOne((line,), (column,), {(line, column): cell}, "brain", "auc")


def _formats(table: TableOne) -> tuple[str, str, dict[str, str]]:
    """A table as text, as LaTeX and as the row of its CSV."""
    sink = io.StringIO()
    Console(file=sink, width=200, no_color=True).print(text_table(table))
    (row,) = csv.DictReader(io.StringIO(table_csv([table], synthetic=False)))
    return sink.getvalue(), table_latex(table, synthetic=False), row


def test_all_formats_give_the_same_figures(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(report))))
    tables = [report.table(region) for region in ("brain", "slice")]
    assert len(lines) == sum(len(table.cells) for table in tables)
    known = {}
    for line in lines:
        assert set(line) == set(CSV_FIELDS)
        assert line["synthetic"] == "1"
        known[tuple(line[name] for name in CELL)] = line
    latex, text = as_latex(report), _text(report).split("all pixels of the slice")[0]
    best = [r for r in report.rows if r["best"]]
    for key in {tuple(r[name] for name in CELL) for r in best}:
        seeds = [r for r in best if tuple(r[name] for name in CELL) == key]
        mean = sum(r["auc"] for r in seeds) / 2
        assert float(known[key]["value"]) == pytest.approx(mean)
        assert known[key]["trial_ids"].split() == [r["trial_id"] for r in seeds]
        assert float(known[key]["lowest"]) == min(r["auc"] for r in seeds)
        if key[-1] == "brain":
            assert f"{mean:.3f}" in latex
            assert f"{mean:.3f}" in text
    for figures in PAPER_AUC.values():
        for figure in figures:
            assert f"{figure:.3f}" in latex
            assert f"[{figure:.3f}" in text


def test_every_format_has_our_setting_and_the_papers() -> None:
    text, latex, row = _formats(_one(paper=0.672, paper_setting=paper_networks(32, 8)))
    assert "0.612 (16, 8)" in text
    assert "[0.672 (32, 8)]" in text
    assert "0.612 (16, 8) & 0.672 (32, 8)" in latex
    assert (row["n_c"], row["n_z"], row["paper_n_c"], row["paper_n_z"]) == ("16", "8", "32", "8")
    mixture = paper_mixture(0.01, 4)
    text, latex, row = _formats(_one(setting=mixture))
    assert "0.612 λ 0.01, N_z 4" in text
    assert r"0.612 $\lambda$ 0.01, $N_z$ 4" in latex
    assert (row["gmm_lambda"], row["n_z"], row["n_c"]) == ("0.01", "4", "")


def test_a_figure_below_half_is_marked_in_every_format_and_the_mark_explained() -> None:
    low = _one(value=0.412, below_chance=True)
    text, latex, row = _formats(low)
    assert "0.412†" in text
    assert r"0.412$^\dagger$" in latex
    assert BELOW_CHANCE in latex
    assert row["below_half"] == "1"
    assert any(BELOW_CHANCE in sentence for sentence in legends(low))
    text, latex, row = _formats(_one())
    assert "†" not in text
    assert "dagger" not in latex
    assert row["below_half"] == "0"


def test_what_is_below_half_is_the_auc_and_the_papers_as_well(report: Report) -> None:
    row = {**report.best[0], "auc": 0.4, "best_dice": 0.4}
    place = (row["model"], row["score"]), (row["cohort"], row["modality"])
    assert table_one([row], row["region"], "auc").cells[place].below_chance
    assert not table_one([row], row["region"], "best_dice").cells[place].below_chance
    _, latex, row = _formats(_one(paper=0.404, paper_setting=paper_networks(32, 8)))
    assert r"0.404$^\dagger$ (32, 8)" in latex
    assert row["paper_below_half"] == "1"


def test_the_spread_and_number_of_seeds_are_said() -> None:
    several = {"trial_ids": ("t", "u"), "spread": (0.601, 0.623)}
    text, latex, row = _formats(_one(**several, n_planned=2))
    assert "0.601–0.623, 2 seeds" in text
    assert "0.601--0.623, 2 seeds" in latex
    assert (row["n_seeds"], row["lowest"], row["highest"]) == ("2", "0.601", "0.623")
    text, latex, row = _formats(_one(**several, n_planned=3))
    assert "2 of 3 seeds" in text
    assert "2 of 3 seeds" in latex
    assert row["n_seeds_planned"] == "3"
    assert "seed" not in _formats(_one(n_planned=1))[0]


def test_a_setting_without_all_its_seeds_is_averaged_over_those_there(
    local_study: StudyStore, record: StudyRecord, put_trial: Callable[..., None]
) -> None:
    first, second = (t for t in record.trials if t.spec.model == "ae" and t.spec.modality == "T1w")
    line, column = ("ae", "squared_error"), ("atlas", "T1w")
    put_trial(local_study, first, {"squared_error": 0.6})
    cell = make_report(local_study, record).table("brain").cells[line, column]
    assert (cell.value, cell.seeds, cell.trial_ids) == (0.6, "1 of 2 seeds", (first.trial_id,))
    put_trial(local_study, second, {"squared_error": 0.7})
    cell = make_report(local_study, record).table("brain").cells[line, column]
    assert cell.value == pytest.approx(0.65)
    assert (cell.spread, cell.seeds) == ((0.6, 0.7), "2 seeds")
    assert set(cell.trial_ids) == {first.trial_id, second.trial_id}


def test_synthetic_data_is_said_in_every_format(report: Report) -> None:
    assert "ynthetic" in _text(report)
    assert "% Synthetic" in as_latex(report)
    assert json.loads(as_json(report))["synthetic"] is True


def test_the_latex_table_is_whole(report: Report) -> None:
    text = as_latex(report)
    lines = [line for line in text.splitlines() if " & " in line]
    n_columns = {line.count(" & ") + line.count("multicolumn{2}") for line in lines}
    assert n_columns == {7}
    assert r"\begin{tabular}{llllllll}" in text
    told = [line for line in text.splitlines() if not line.startswith("%")]
    plain = re.sub(r"\$N_[zc]\$|\{%$", "", "\n".join(told), flags=re.M).replace(" & ", " ")
    for special in ("&", "%", "_", "#"):
        assert not re.search(rf"(?<![\\ ]){special}", plain)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert text.count(r"\textbf") == 3


def test_an_interval_stands_below_its_figure_in_latex() -> None:
    _, latex, _ = _formats(_one(interval=(0.51, 0.7)))
    assert r"\hbox{\strut 0.612 (16, 8)}\hbox{\strut\scriptsize [0.510, 0.700]}" in latex
    assert "In brackets: 95 \\% interval" in latex


def test_the_text_says_what_is_chosen_on_the_test_set(report: Report) -> None:
    text = " ".join(_text(report).split())
    assert "24 of 24 trials done, 0 failed" in text
    assert "chosen on the test set itself" in text
    assert "Optuna chose gmm_lambda for gmm T1w by the AUC of outlier_sum, for each test" in text
    assert "by its own: atlas, brats." in text
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
