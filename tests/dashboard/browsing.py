"""What the browser's tests share: a served store, and how to find things on its pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode, urlparse

from playwright.sync_api import Browser, Page

from benchmarks.serving import settled
from dashboard import state
from datasets.storage import Storage
from study.records.studies import StudyStore, utc_now

STUDY = "smoke-phantom"
PAGES = {
    "": "Study",
    "best": "Best per data set",
    "grid": "Grid",
    "roc": "ROC and precision-recall",
    "heatmaps": "Heatmaps",
    "viewer": "Viewer",
    "data": "Data",
    "trials": "Trials",
    "settings": "Settings",
    "compare": "Compare",
    "subjects": "Subjects",
    "trial": "Trial",
}


@dataclass(frozen=True)
class Served:
    """A store and where it is served."""

    url: str
    store: Path

    @property
    def study(self) -> StudyStore:
        return StudyStore.open(Storage.open(str(self.store)), STUDY)


class Driver(AbstractContextManager["Driver"]):
    """Beats for a made-up study as a driver does, however long the browser takes."""

    def __init__(self, study: StudyStore) -> None:
        progress = study.progress()
        assert progress is not None
        self._study, self._progress = study, progress
        self._over, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Driver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def say(self, **change: object) -> None:
        """Beat now, with something that has changed."""
        with self._lock:
            change = {"updated": utc_now(), **change}
            self._progress = self._progress.model_copy(update=change)
            self._study.write_progress(self._progress)

    def _run(self) -> None:
        while not self._over.wait(2.0):
            self.say()


def tree(store: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in sorted(store.rglob("*"))}


@contextmanager
def tab(
    browser: Browser,
    width_px: int = 1280,
    height_px: int = 1000,
    look: Literal["light", "dark"] = "light",
) -> Iterator[Page]:
    """A tab of a visitor who has never been here."""
    context = browser.new_context(
        viewport={"width": width_px, "height": height_px},
        color_scheme=look,
        reduced_motion="reduce",  # a tenth of all that is computed
    )
    context.set_default_timeout(60_000)  # the machine may be busy
    try:
        yield context.new_page()
    finally:
        context.close()


def forget(page: Page) -> None:
    """Make a tab that of a visitor who has never been here."""
    page.goto("about:blank")
    page.mouse.move(0, 0)
    storage = page.context.new_cdp_session(page)
    storage.send("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
    storage.detach()
    page.context.clear_cookies()


def open_page(page: Page, url: str, name: str = "", **choices: str) -> None:
    """Open a page with what its widgets show as choices in its address."""
    address = {state.key(choice, name or "study"): text for choice, text in choices.items()}
    page.goto(f"{url}/{name}?{urlencode(address)}")
    settled(page, PAGES[name])


def metric(page: Page, name: str) -> Any:
    box = page.get_by_test_id("stMetric").filter(has_text=name)
    return box.get_by_test_id("stMetricValue")


def badge(page: Page, text: str) -> Any:
    """One of the marks beside the study's name."""
    return page.locator(".stMarkdownBadge").filter(has_text=text)


def address_of(page: Page) -> dict[str, str]:
    return {k: v[0] for k, v in parse_qs(urlparse(page.url).query).items()}


SLIDER_IS_IN_THE_ADDRESS = """() => {
    const shown = Number(document.querySelector('[data-testid=stSlider] input').value);
    const choices = [...new URL(location).searchParams];
    const told = Number(choices.find(([name]) => name.startsWith('heatmaps.threshold-'))?.[1]);
    const step = Number(document.querySelector('[data-testid=stSlider] input').step) || 1e-6;
    return Math.abs(shown - told) <= 0.6 * step;
}"""
"""The browser snaps what it shows to whole steps; the address has the number that is used."""
