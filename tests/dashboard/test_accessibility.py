"""Every page as axe-core sees it, and what a keyboard reaches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from benchmarks.serving import settled
from tests.dashboard.browsing import PAGES, Served, open_page, tab

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BAD = ("serious", "critical")

REACHED = """() => [...document.querySelectorAll(
    '[class*=st-key-wide], [data-testid=stTable], [data-testid=stTable] > div'
)].every(place => place.scrollWidth <= place.clientWidth + 1 || place.tabIndex === 0)"""
"""What is wider than the screen is marked a moment after it was drawn."""


LEVELS = """() => [...document.querySelectorAll('main :is(h1, h2, h3, h4)')].map(
    heading => Number(heading.tagName[1])
)"""

Look = Literal["light", "dark"]
LOOKS: dict[int, tuple[Look, Look]] = {1280: ("light", "dark"), 390: ("dark", "light")}
"""By the width of the screen, the look in which a page is opened, and the one that follows."""

TEXT_COLOUR = "() => getComputedStyle(document.querySelector('.stApp')).color"
HAS_CHANGED = """before => {
    const app = getComputedStyle(document.querySelector('.stApp'));
    const parts = [...document.querySelectorAll('.stApp, .stApp *')];
    return app.getPropertyValue('--page-ground') === app.backgroundColor
        && parts.every(part => getComputedStyle(part).color !== before);
}"""
"""No text has the colour of the look before; what stays in place has the page's ground soon."""

WIDTH_PX = "() => document.querySelector('[data-testid=stMain]').scrollWidth"


@dataclass(frozen=True)
class Seen:
    """What is to be said of a page.

    Attributes:
        levels: Of its headings, in order.
        over_px: By how much it is wider than the screen.
        bad: What axe-core calls serious, and where.
    """

    levels: list[int]
    over_px: int
    bad: list[tuple[str, list[str]]]


Pages = dict[tuple[str, str], Seen]


@pytest.fixture(scope="module", params=LOOKS)
def pages(request: pytest.FixtureRequest, browser: Browser, smoke: Served) -> Pages:
    """Every page at the width of a laptop and of a phone, in both looks, by its name and look."""
    width_px = request.param
    seen = {}
    with tab(browser, width_px, 900) as page:
        for name in PAGES:
            for look in LOOKS[width_px]:
                if look == LOOKS[width_px][0]:
                    page.emulate_media(color_scheme=look)
                    open_page(page, smoke.url, name)
                else:
                    before = page.evaluate(TEXT_COLOUR)
                    page.emulate_media(color_scheme=look)
                    page.wait_for_function(HAS_CHANGED, arg=before)
                    settled(page, PAGES[name])
                page.wait_for_function(REACHED)
                levels, wide_px = page.evaluate(LEVELS), page.evaluate(WIDTH_PX)
                violations = Axe().run(page).response["violations"]
                bad = [
                    (violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
                    for violation in violations
                    if violation["impact"] in BAD
                ]
                seen[name or "study", look] = Seen(levels, wide_px - width_px, bad)
    return seen


def test_axe_finds_nothing_serious(pages: Pages) -> None:
    assert {place: seen.bad for place, seen in pages.items() if seen.bad} == {}


def test_headings_go_down_step_by_step(pages: Pages) -> None:
    for seen in pages.values():
        assert seen.levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(seen.levels))


def test_no_page_needs_sideways_scrolling(pages: Pages) -> None:
    assert {place: seen.over_px for place, seen in pages.items() if seen.over_px > 0} == {}


def test_trial_of_a_cell_of_the_grid_is_reached_by_keyboard(page: Page, smoke: Served) -> None:
    open_page(page, smoke.url, "grid")
    page.get_by_role("combobox", name="Trial of a cell on").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Trial", exact=True)).to_be_visible()
    settled(page)
