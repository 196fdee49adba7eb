"""What the viewer's tests share: what its page calls the lines of table 1, and what it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from dashboard.data import open_study
from dashboard.text import markdown_text
from study.records.names import Names
from study.report.best import top_rows
from tests.commands import wait_until
from tests.dashboard.browsing import STUDY, Served, open_page


def best_of(store: Path, cohort: str) -> dict[str, dict[str, Any]]:
    """The rows of table 1 on a test cohort, such as ``atlas T1w``, by model and score."""
    view = open_study(str(store), STUDY).view()
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "auc")
    place = {"region": "brain"}
    place["cohort"], place["modality"] = cohort.split()
    here = [row for row in rows if all(row[name] == value for name, value in place.items())]
    return {f"{row['model']}:{row['score']}": row for row in here}


def line_text(store: Path, cohort: str, key: str) -> str:
    """What people read for a line of table 1."""
    record = open_study(str(store), STUDY).view().record
    assert record is not None
    row = best_of(store, cohort)[key]
    names = Names(record.detectors)
    return f"{names.line(row['model'], row['score'])} {row['setting'] or ''}".strip()


def sides(store: Path, cohort: str, left: str, right: str = "none") -> dict[str, str]:
    """The choices of the page that show some lines, as its address has them."""
    texts = {
        "cohort": cohort,
        "left-line": markdown_text(line_text(store, cohort, left)),
        "right-line": right if right == "none" else markdown_text(line_text(store, cohort, right)),
    }
    return texts


LEFT, RIGHT = "vae:normalized_error", "gmm:outlier_sum"


def open_viewer(
    page: Page, smoke: Served, left: str = LEFT, right: str = RIGHT, **choices: str
) -> Locator:
    chosen = sides(smoke.store, "atlas T1w", left, right)
    open_page(page, smoke.url, "viewer", **chosen, **choices)
    return drawn(page)


def drawn(page: Page) -> Locator:
    viewer = page.locator(".viewer")
    expect(viewer).to_have_attribute("data-at", re.compile(r"\d"))
    return viewer


def crosshair_of(viewer: Locator) -> tuple[int, ...]:
    text = viewer.get_attribute("data-at")
    assert text
    return tuple(int(v) for v in text.split(","))


def plane_of(viewer: Locator, name: str, side: int = 0) -> Locator:
    return viewer.locator(f"canvas[data-plane={name}]").nth(side)


def pictures_of(viewer: Locator) -> list[str]:
    """What is drawn on every plane, once nothing is left to be drawn."""
    script = """async viewer => {
        for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
        return [...viewer.querySelectorAll('canvas')].map(canvas => canvas.toDataURL());
    }"""
    found: list[str] = viewer.evaluate(script)
    return found


def until_told(page: Page) -> None:
    """Wait until the address says what is looked at, which may still move by a key press."""

    def is_told() -> bool:
        viewer = page.locator(".viewer")
        x, y, _ = crosshair_of(viewer)
        z = plane_of(viewer, "axial").get_attribute("aria-valuenow")
        return bool(re.search(rf"view=at\*[0-9a-f]+\*{x}\*{y}\*{z}(?!\d)", page.url))

    assert wait_until(is_told, 60.0), page.url
