"""What readers take away from pages and how they get from one to the next, in a real browser."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
from playwright.sync_api import Page, expect

from benchmarks.serving import settled
from study.report.kit import README
from tests.dashboard.browsing import STUDY, Served, open_page, tree

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_paper_kit_and_figure_4_are_made_on_a_click(page: Page, smoke: Served) -> None:
    before = tree(smoke.store)
    open_page(page, smoke.url, "best")
    with page.expect_download() as kit:
        page.get_by_role("button", name="Paper kit").click()
    assert kit.value.suggested_filename == f"{STUDY}-paper-kit.zip"
    with zipfile.ZipFile(io.BytesIO(kit.value.path().read_bytes())) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    assert {README, "table1.csv", "figure3.svg", "references.bib"} <= names
    open_page(page, smoke.url, "heatmaps")
    with page.expect_download() as figure:
        page.get_by_role("button", name="Figure 4").click()
    assert figure.value.path().read_bytes().startswith(b"%PDF-")
    assert tree(smoke.store) == before


def test_a_figure_is_saved_as_svg_and_its_numbers_as_csv(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url, "subjects")
    with page.expect_download() as drawn:
        page.locator(".modebar-btn").first.click()
    assert drawn.value.suggested_filename.endswith(".svg")
    assert "<svg" in drawn.value.path().read_text(encoding="utf-8")
    with page.expect_download() as numbers:
        page.get_by_role("button", name="Data as CSV").last.click()
    lines = numbers.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("Subject,AUC,")
    points = page.locator(".stPlotlyChart .scatterlayer .points path")
    assert len(lines) - 1 == points.count() > 0


def test_a_click_on_a_subject_opens_it_in_the_viewer(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url, "subjects", cohort="brats T2w")
    point = page.locator(".stPlotlyChart .scatterlayer .points path").last
    box = point.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    settled(page, "Viewer")
    expect(page.get_by_role("radio", name=re.compile("brats T2w"))).to_be_checked()
    scan = page.get_by_test_id("stSelectbox").filter(has_text="Subject").locator("input")
    expect(scan).to_have_value(re.compile("^brats/"))
    page.go_back()
    settled(page, "Subjects")
