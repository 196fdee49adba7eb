"""The dashboard in a real browser, on the store of a real smoke run."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect

from benchmarks.serving import read, settled
from dashboard.tables import REGION_LABELS
from datasets.manifest import read_manifest
from datasets.storage import Storage
from study.plan.plan import planned_trial
from study.records.heartbeats import Stage
from study.records.names import Names
from study.records.studies import StudyStore
from study.report.choice import best_rows
from study.report.formats import marked
from study.report.table import table_lines
from tests.dashboard.browsing import (
    PAGES,
    SLIDER_IS_IN_THE_ADDRESS,
    STUDY,
    Driver,
    Served,
    address_of,
    badge,
    metric,
    open_page,
    tab,
    tree,
)
from tests.grids import run_words

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_every_page_opens_without_error_or_stranger_and_writes_nothing(
    fresh_page: Page, smoke: Served
) -> None:
    page = fresh_page
    before = tree(smoke.store)
    errors: list[str] = []
    strange: list[str] = []
    code: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    def asked(request: Request) -> None:
        if urlparse(request.url).hostname not in ("127.0.0.1", None):
            strange.append(request.url)

    def answered(response: Response) -> None:
        size = int(response.headers.get("content-length", 0))
        if urlparse(response.url).path.endswith(".js") and size > 16_000:
            code.append(response.url)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", heard)
    page.on("request", asked)
    page.on("response", answered)
    open_page(page, smoke.url)
    read(page)  # meanwhile the browser fetches what other pages need
    code.clear()
    for name, heading in PAGES.items():
        link = "Study" if not name else "ROC" if name == "roc" else name.capitalize()
        page.get_by_role("link", name=link, exact=True).click()
        settled(page, heading)
        expect(badge(page, "synthetic phantom")).to_be_visible()
        expect(page.get_by_test_id("stException")).to_have_count(0)
        assert address_of(page)["study"] == STUDY
    assert errors == []
    assert strange == []
    assert code == []
    assert tree(smoke.store) == before


def test_table_equals_the_report(page: Page, smoke: Served, report: dict[str, Any]) -> None:
    names = Names(smoke.study.described().detectors)
    for region, label in REGION_LABELS.items():
        open_page(page, smoke.url, "best", region=label)
        rows = [row for row in best_rows(report["rows"], "auc") if row["region"] == region]
        table = page.locator(".st-key-table-1").get_by_test_id("stTable")
        expect(table.locator("tbody tr")).to_have_count(len(table_lines(rows, names)))
        heads = table.locator("thead th").all_inner_texts()
        lines = [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]
        shown = {}
        model = ""
        for line in lines:
            model = line[0].strip() or model
            for head, text in zip(heads[2:], line[2:], strict=True):
                shown[model, line[1].strip(), head.strip()] = text.split(" ")[0].strip()
        for row in rows:
            column = f"{row['cohort']} {row['modality']}"
            place = (names.model(row["model"]), names.score(row["model"], row["score"]))
            assert shown[(*place, column)] == marked(row["auc"], row["auc"] < 0.5)
            if row["paper_auc"] is not None:
                printed = marked(row["paper_auc"], row["paper_auc"] < 0.5)
                assert shown[(*place, f"paper {column}")] == printed


def test_downloads_have_the_figures_of_the_report(
    page: Page, smoke: Served, report: dict[str, Any]
) -> None:
    open_page(page, smoke.url, "best", metric="Best Dice", region="Whole slice")
    rows = [row for row in best_rows(report["rows"], "best_dice") if row["region"] == "slice"]
    with page.expect_download() as csv_file:
        page.get_by_role("button", name="CSV").click()
    text = csv_file.value.path().read_text(encoding="utf-8")
    lines = list(csv.DictReader(text.splitlines()))
    names = ("model", "score", "cohort", "modality")
    found = {tuple(x[n] for n in names): float(x["value"]) for x in lines if x["value"]}
    assert found == {tuple(row[n] for n in names): row["best_dice"] for row in rows}
    assert {line["synthetic"] for line in lines} == {"1"}
    with page.expect_download() as latex_file:
        page.get_by_role("button", name="LaTeX").click()
    text = latex_file.value.path().read_text(encoding="utf-8")
    assert text.startswith("% Synthetic phantom")
    assert all(f"{row['best_dice']:.3f}" in text for row in rows)


def test_counts_equal_the_report(page: Page, smoke: Served, report: dict[str, Any]) -> None:
    open_page(page, smoke.url)
    trials = report["trials"]
    expect(metric(page, "Trials done")).to_have_text(f"{trials['done']} of {trials['planned']}")
    expect(metric(page, "Failed")).to_have_text(str(trials["failed"]))


def test_cell_of_the_grid_opens_its_trial(
    page: Page, smoke: Served, report: dict[str, Any]
) -> None:
    open_page(
        page, smoke.url, "grid", line="AE · squared error (SE)", left="brats T2w", right="none"
    )
    # The smoke grid has one cell, in the middle of its square.
    page.locator(".js-plotly-plot .nsewdrag").first.click()
    expect(page.get_by_role("heading", name="Trial", exact=True)).to_be_visible()
    wanted = {"model": "ae", "cohort": "brats", "modality": "T2w"}
    rows = [r for r in report["rows"] if all(r[k] == v for k, v in wanted.items())]
    expect(page).to_have_url(re.compile(f"trial.trial=.*{rows[0]['trial_id'][:8]}"))
    settled(page)
    fit = smoke.study.trial(rows[0]["trial_id"]).fit()
    assert fit is not None
    expect(metric(page, "Steps")).to_have_text(f"{fit.steps:,}")


def test_lesion_shares_are_those_of_the_scans_records(page: Page, smoke: Served) -> None:
    record = smoke.study.study()
    assert record is not None
    expected = {}
    for cohort in (c for c in record.cohorts if c.role == "test"):
        manifest = read_manifest(Storage.open(str(smoke.store)), cohort.key)
        assert manifest is not None
        volumes = np.array([r.lesion_volume_ml for r in manifest.records], float)
        dropped = np.array([r.lesion_in_dropped_slices_share for r in manifest.records], float)
        lost = np.array([r.lesion_lost_by_resizing_share for r in manifest.records], float)
        seen = volumes * (1 - dropped)
        expected[f"{cohort.name} {cohort.modality}"] = (
            f"{100 * (lost * seen).sum() / seen.sum():.1f} %",
            f"{100 * (dropped * volumes).sum() / volumes.sum():.1f} %",
            f"{manifest.records[int(lost.argmax())].subject}: {100 * lost.max():.1f} %",
        )
    open_page(page, smoke.url, "data")
    table = page.get_by_test_id("stTable").filter(has_text="Lost by resizing")
    shown = {}
    for row in table.locator("tbody tr").all():
        name, _, *cells = row.locator("td").all_inner_texts()
        shown[name.strip()] = tuple(cell.strip() for cell in cells)
    assert shown == expected


def test_link_reproduces_the_view(page: Page, browser: Browser, smoke: Served) -> None:
    open_page(page, smoke.url, "heatmaps", cohort="brats T1w")
    page.get_by_role("radio", name="Whole slice").click()
    expect(page).to_have_url(re.compile("heatmaps.region=Whole.slice"))
    settled(page)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("2 of 3")).to_be_visible()
    thumb = page.get_by_test_id("stSlider").get_by_role("slider")
    thumb.press("ArrowRight")
    thumb.press("ArrowRight")
    page.wait_for_function(SLIDER_IS_IN_THE_ADDRESS)
    settled(page)
    with tab(browser) as other:
        other.goto(page.url)
        expect(other.get_by_text("2 of 3")).to_be_visible(timeout=60_000)
        settled(other)
        assert address_of(other) == address_of(page)
        for name in ("Dice, this slice", "Best possible here", "Best Dice, cohort"):
            expect(metric(page, name)).to_have_text(metric(other, name).inner_text())


def test_link_to_a_trial_shows_that_trial(
    page: Page, browser: Browser, smoke: Served, report: dict[str, Any]
) -> None:
    open_page(page, smoke.url, "trial", region="Whole slice")
    shown = page.get_by_test_id("stSelectbox").nth(1).get_by_role("combobox")
    shown.click()
    page.get_by_role("option").filter(has_text="DAE T1w").first.click()
    wanted = next(r for r in report["rows"] if (r["model"], r["modality"]) == ("dae", "T1w"))
    expect(page).to_have_url(re.compile(f"trial.trial=.*{wanted['trial_id'][:8]}"))
    settled(page)
    with tab(browser) as other:
        other.goto(page.url)
        settled(other, "Trial")
        assert address_of(other) == address_of(page)
        expect(metric(other, "Steps")).to_have_text(f"{wanted['steps']:,}")
        for one in (page, other):
            cells = one.get_by_test_id("stTable").locator("tbody tr").first.locator("td")
            found = [r for r in report["rows"] if r["trial_id"] == wanted["trial_id"]]
            figures = {f"{r['auc']:.3f}" for r in found if r["region"] == "slice"}
            assert cells.nth(2).inner_text() in figures


AT_WORK = '''
"""The baseline, and networks of enough epochs that nobody has to hurry to see them at work."""

from study.grids._grid import Grid, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        *(
            GridTrial(model, {"n_c": 8, "n_z": 16, "batch_size": 16}, epochs=6)
            for model in ("ae", "dae")
        ),
    ),
    searches=(),
    phantom_subjects={"ixi": 5, "atlas": 3, "brats": 3},
)
'''


def test_real_study_at_work_moves_forward_by_itself(
    page: Page,
    served: Callable[[Path], Any],
    prepared_store: Path,
    start: Callable[..., Any],
    until: Callable[..., None],
    tmp_path: Path,
) -> None:
    url = served(prepared_store).url
    words = run_words(tmp_path, "work", AT_WORK)
    command = start(*words, "--precision", "float32", "--store", prepared_store)
    study = StudyStore.open(Storage.open(str(prepared_store)), "s")
    until(lambda: study.storage.exists("study.json"), "the study is planned")
    open_page(page, url)
    done = metric(page, "Trials done")
    expect(done).to_have_text(re.compile("^(?!6 )[0-9]+ of 6$"))
    expect(page.get_by_text("At work", exact=True)).to_be_visible()
    expect(page.locator(".js-plotly-plot .legendtext").first).to_be_visible()  # loss curves
    expect(done).to_have_text("6 of 6", timeout=300_000)
    expect(badge(page, "complete")).to_be_visible()
    assert command.wait() == 0, command.describe()


def test_running_study_moves_forward_by_itself(
    page: Page, synthetic: ModuleType, served: Callable[[Path], Any], tmp_path: Path
) -> None:
    wanted = synthetic.Wanted(trials=12, unfinished=3, failed=0, full=False)
    study = synthetic.write_store(tmp_path, "live", wanted)
    record = study.study()
    assert record is not None
    with Driver(study) as driver:
        open_page(page, served(tmp_path).url)
        expect(metric(page, "Trials done")).to_have_text("9 of 12")
        expect(badge(page, "running")).not_to_contain_text("not")
        page.get_by_text("Logarithmic loss").click()
        expect(page).to_have_url(re.compile("study.logloss=true"))
        rng = np.random.default_rng(0)
        for done, trial in enumerate(record.trials[9:11], start=10):
            synthetic.write_fit(study, planned_trial(trial.spec, record.cohorts), rng)
            for evaluation in trial.evals:
                synthetic.write_evaluation(study, trial, evaluation, rng, None)
            driver.say(done=done)
            expect(metric(page, "Trials done")).to_have_text(f"{done} of 12")
        assert address_of(page)["study.logloss"] == "true"
        driver.say(stage=Stage.DONE)
        expect(badge(page, "not running")).to_be_visible()


def test_names_run_no_script(
    fresh_page: Page, synthetic: ModuleType, served: Callable[[Path], Any], tmp_path: Path
) -> None:
    page = fresh_page
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    synthetic.write_store(tmp_path, "names", synthetic.Wanted(trials=8, failed=0, cohort=evil))
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    url = served(tmp_path).url
    for name in ("", "best", "roc", "heatmaps"):
        open_page(page, url, name, study="<script>alert(3)</script>", trial="../../etc")
        expect(page.locator("img[src=x]")).to_have_count(0)
    assert said == []


def test_server_listens_on_this_machine_alone(smoke: Served) -> None:
    port = f"{urlparse(smoke.url).port:04X}"
    listening = [
        line.split()[1]
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port}")
    ]
    assert listening == [f"0100007F:{port}"]
