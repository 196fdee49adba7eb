"""What a researcher comes for, in a browser, and how many clicks it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.serving import Server, serve, settled
from tests.apps import Open
from tests.dashboard.browsing import PAGES, Served, address_of, forget, open_page, tab
from tests.dashboard.viewing import line_text

pytestmark = [pytest.mark.browser, pytest.mark.slow]


DAE = "DAE · squared error (SE)"


class Clicks:
    """A visitor who counts."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.n = 0

    def go(self, name: str) -> None:
        """Click on a page in the navigation."""
        link = self._page.get_by_test_id("stTopNavLink").filter(has_text=name)
        self.on(link.and_(self._page.get_by_role("link", name=name, exact=True)))
        settled(self._page, name)

    def on(self, what: Locator) -> None:
        what.click()
        self.n += 1


def test_the_worst_subjects_of_the_best_model_with_their_maps(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url)
    visitor = Clicks(page)
    visitor.go("Subjects")
    expect(page.get_by_role("combobox", name="Order")).to_have_value("worst first")
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    expect(page.get_by_text("Median AUC of 3 subjects")).to_be_visible()
    assert visitor.n <= 3


def test_a_vae_against_the_mixture_through_a_volume(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url)
    visitor = Clicks(page)
    visitor.go("Viewer")
    sides = {"Left model": "vae:normalized_error", "Right model": "gmm:outlier_posterior"}
    for side, key in sides.items():
        name = line_text(smoke.store, "atlas T1w", key)
        group = page.get_by_role("radiogroup", name=side, exact=True)
        visitor.on(group.get_by_role("radio", name=name, exact=True))
        settled(page)
    viewer = page.locator(".viewer")
    expect(viewer.locator("canvas")).to_have_count(6)
    plane = viewer.get_by_role("slider", name="Axial").first
    before = viewer.get_attribute("data-at")
    viewer.locator("canvas").first.focus()
    page.keyboard.press("PageUp")
    expect(viewer).not_to_have_attribute("data-at", before or "")
    assert plane.count() == 1
    assert visitor.n <= 4


def test_figure_four_as_a_file_for_print(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url)
    visitor = Clicks(page)
    visitor.go("Heatmaps")
    with page.expect_download(timeout=120_000) as file:
        visitor.on(page.get_by_role("button", name="Figure 4 (PDF)"))
    assert file.value.path().read_bytes().startswith(b"%PDF")
    assert visitor.n <= 2


def test_the_versions_behind_a_number(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url, "best")
    visitor = Clicks(page)
    visitor.on(page.get_by_text("Provenance", exact=True))
    box = page.get_by_test_id("stExpander").filter(has_text="Provenance")
    expect(box.get_by_test_id("stDataFrame").first).to_be_visible()
    assert visitor.n <= 1


@pytest.fixture(scope="module")
def two_stores(
    synthetic: ModuleType, smoke_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server of two stores: the smoke study's, and one with two made-up studies."""
    store: Path = tmp_path_factory.mktemp("two") / "made-up"
    for seed, name in enumerate(("first", "second")):
        synthetic.write_store(store, name, synthetic.Wanted(trials=52, failed=0, seed=seed))
    words = ["--store", str(smoke_store), "--store", str(store)]
    with serve(words, tmp_path_factory.mktemp("server") / "log") as server:
        yield server


def test_two_studies_are_compared(page: Page, two_stores: Server) -> None:
    page.goto(f"{two_stores.url}/?store=made-up&study=second")
    settled(page, "Study")
    visitor = Clicks(page)
    visitor.go("Compare")
    expect(page.get_by_role("heading", name="Differences")).to_be_visible()
    expect(page.get_by_label("Selected values").get_by_text("first")).to_be_visible()
    assert visitor.n <= 3


@pytest.mark.parametrize("store", ["made-up", "the other"])
def test_a_link_of_any_page_and_store_shows_the_same_in_a_fresh_browser(
    store: str, page: Page, browser: Browser, two_stores: Server
) -> None:
    page.goto(two_stores.url)
    settled(page, "Study")
    if store == "made-up":
        page.get_by_role("combobox", name="Store").click()
        page.get_by_role("option", name="made-up").click()
        settled(page)
        expect(page.get_by_role("combobox", name="Study")).to_have_value("second")
    with tab(browser) as other:
        for name, heading in PAGES.items():
            link = page.get_by_test_id("stTopNavLink").nth([*PAGES].index(name))
            page.locator(f'a[data-testid="stTopNavLink"][href$="/{name}"]').first.click()
            settled(page, heading)
            assert link.count() == 1
            choices = page.get_by_role("radiogroup").get_by_role("radio", checked=False)
            if choices.count():
                choices.last.click()
                settled(page)
            other.goto(page.url)
            settled(other, heading)
            assert address_of(other).items() <= address_of(page).items()
            expect(other.get_by_role("radio", checked=True)).to_have_text(
                page.get_by_role("radio", checked=True).all_inner_texts()
            )
            shown = [box.input_value() for box in page.get_by_role("combobox").all()]
            assert [box.input_value() for box in other.get_by_role("combobox").all()] == shown
            forget(other)  # each link comes to a browser that has not been here


def test_back_leads_to_the_page_before_as_it_was(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url, "best")
    page.get_by_role("radio", name="Whole slice").click()
    page.get_by_role("radio", name="Best Dice").click()
    settled(page)
    left = address_of(page)
    assert left["best.region"] == "Whole slice"
    Clicks(page).go("Grid")
    expect(page.get_by_role("radio", name="Whole slice")).to_be_checked()  # remembered
    page.go_back()
    settled(page, "Best per data set")
    expect(page.get_by_role("radio", name="Best Dice")).to_be_checked()
    assert address_of(page) == left


def test_a_step_on_heatmaps_keeps_the_score_maps_that_are_chosen(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url, "heatmaps")
    figure = page.get_by_role("figure", name="The slice, its ground truth").locator(".main-svg")
    expect(figure.first).to_be_visible()
    page.get_by_role("button", name="Next").click()
    settled(page)
    page.get_by_role("button", name="Score maps").click()
    chosen = page.get_by_label("Selected values").locator("[data-tag]")
    expect(chosen.first).to_be_visible()
    drawn = page.locator(".st-key-wide-maps g.hm").count()
    assert chosen.count() == drawn - 2  # the image and the truth stand before them


def test_the_link_of_a_subject_opens_its_largest_lesion_in_the_viewer(
    page: Page, smoke: Served, open_app: Open
) -> None:
    app = open_app(smoke.store, "subjects", cohort="brats T1w", **{"line": DAE})
    worst = app.dataframe[0].value.iloc[0]
    page.goto(f"{smoke.url}/{worst['Viewer']}")
    settled(page, "Viewer")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    expect(page.locator(".viewer")).to_have_attribute(
        "aria-label", f"Scan brats/{worst['Subject']}"
    )
    expect(page.locator(".viewer").get_by_text("in the lesion")).to_be_visible()
    left = page.get_by_role("radiogroup", name="Left model", exact=True)
    expect(left.get_by_role("radio", checked=True)).to_have_text(re.compile("^DAE"))
