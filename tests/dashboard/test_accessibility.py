"""Every page as axe-core sees it, and what a keyboard reaches."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from benchmarks.serving import settled
from tests.dashboard.browsing import PAGES, Served, open_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BAD = ("serious", "critical")

REACHED = """() => [...document.querySelectorAll(
    '[class*=st-key-wide], [data-testid=stTable], [data-testid=stTable] > div'
)].every(place => place.scrollWidth <= place.clientWidth + 1 || place.tabIndex === 0)"""
"""What is wider than the screen is marked a moment after it was drawn."""


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("width_px", [1280, 390])
def test_axe_finds_nothing_serious(
    look: Any, width_px: int, browser: Browser, smoke: Served
) -> None:
    context = browser.new_context(
        reduced_motion="reduce", viewport={"width": width_px, "height": 900}, color_scheme=look
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    found = []
    for name in PAGES:
        open_page(page, smoke.url, name)
        page.wait_for_function(REACHED)
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in BAD:
                nodes = [node["html"][:200] for node in violation["nodes"][:3]]
                found.append((name or "study", violation["id"], nodes))
    context.close()
    assert found == []


def test_trial_of_a_cell_of_the_grid_is_reached_by_keyboard(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url, "grid")
    page.get_by_role("combobox", name="Trial of a cell on").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Trial", exact=True)).to_be_visible()
    settled(page)


def test_headings_go_down_step_by_step(page: Page, smoke: Served) -> None:
    for name in PAGES:
        open_page(page, smoke.url, name)
        levels = [
            int(heading.evaluate("e => e.tagName[1]"))
            for heading in page.locator("main :is(h1, h2, h3, h4)").all()
        ]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
