"""Claim: the viewer opens a scan within three seconds, and a step through it takes a frame.

Measured in a browser on a finished study with slices: ``VIEWER_STORE`` names its store; without it
the grid ``smoke`` is run on the phantom first, which takes minutes. A step is timed from the key to
the drawn picture, in the browser; what the server computes for it is set beside a step of the page
Heatmaps, for which it scores a slice and draws every map.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measurement import Measurement
from benchmarks.serving import Server, chromium, serve, settled

ROUNDS = 3
STEPS = 60
HEATMAP_STEPS = 5
OPEN_LIMIT_S, STEP_LIMIT_MS = 3.0, 100.0

_STEPS_MS = """async n => {
    const parts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
    const viewer = parts.map(part => part.shadowRoot?.querySelector('.viewer')).find(Boolean);
    const plane = viewer.querySelector('canvas[data-plane=axial]');
    plane.focus();
    const times = [];
    for (let i = 0; i < n; i++) {
        const key = i < n / 2 ? 'PageUp' : 'PageDown';
        const drawn = new Promise(done => new MutationObserver((_, seen) => {
            seen.disconnect();
            done();
        }).observe(viewer, {attributeFilter: ['data-draws']}));
        const began = performance.now();
        plane.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
        await drawn;
        times.push(performance.now() - began);
    }
    return times;
}"""


@dataclass(frozen=True)
class Visit:
    """One visit of a fresh server.

    Attributes:
        open_s: From the click on the page's link until its scan is drawn; torch is loaded in it.
        model_s: From the choice of a VAE as the second model until both are drawn.
        scan_s: From the choice of another scan until it is drawn, scored by both.
        steps_ms: From a key to the drawn picture, of every step with two models.
        step_cpu_s: What the server computes for a step.
        heatmap_cpu_s: The same for a step of the page Heatmaps.
    """

    open_s: float
    model_s: float
    scan_s: float
    steps_ms: list[float]
    step_cpu_s: float
    heatmap_cpu_s: float


def measure() -> list[Measurement]:
    given = os.environ.get("VIEWER_STORE")
    if given:
        return _on(Path(given))
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "study.run", "--grid", "smoke", "--store", folder]
        subprocess.run(line, check=True, capture_output=True)
        return _on(Path(folder))


def _on(store: Path) -> list[Measurement]:
    visits = []
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        for _ in range(ROUNDS):
            with serve(["--store", str(store)], Path(folder) / "log") as server:
                visits.append(_visit(browser, server))
    steps = [ms for visit in visits for ms in visit.steps_ms]
    cpu, heatmap_cpu = (
        statistics.median(getattr(visit, name) for visit in visits)
        for name in ("step_cpu_s", "heatmap_cpu_s")
    )
    opened = {
        "first scan, by a click on the page": "open_s",
        "a VAE beside it": "model_s",
        "another scan, two models": "scan_s",
    }
    seconds = [
        _within(f"viewer: {what}", statistics.median(getattr(v, n) for v in visits), OPEN_LIMIT_S)
        for what, n in opened.items()
    ]
    return [
        *seconds,
        _within("viewer: a step, median", statistics.median(steps), STEP_LIMIT_MS, "ms"),
        _within("viewer: a step, slowest of 20", _slow(steps), STEP_LIMIT_MS, "ms"),
        Measurement(
            "viewer: what the server computes for a step",
            cpu,
            "CPU s",
            "Heatmaps, all slices",
            heatmap_cpu,
            heatmap_cpu / max(cpu, 1e-3),
        ),
    ]


def _within(claim: str, figure: float, limit: float, unit: str = "s") -> Measurement:
    """A figure and its limit: within it, the ratio is 1 or more."""
    return Measurement(claim, figure, unit, "limit", limit, limit / max(figure, 1e-3), 1.0)


def _slow(steps_ms: list[float]) -> float:
    return statistics.quantiles(steps_ms, n=20)[-1]


def _visit(browser: Any, server: Server) -> Visit:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto(server.url)
    settled(page, "Study")
    viewer = page.locator(".viewer")
    open_s = _seconds(
        page, lambda: page.get_by_test_id("stTopNavLink").filter(has_text="Viewer").click()
    )
    settled(page)
    right = page.get_by_test_id("stButtonGroup").filter(has_text="Right")
    model_s = _seconds(page, lambda: right.get_by_role("radio", name="VAE · normalised").click())
    settled(page)
    page.get_by_role("combobox", name="Subject").click()
    scans = page.get_by_role("option").filter(has_text="lesion")
    scan_s = _seconds(page, lambda: scans.nth(1).click())
    settled(page)
    assert viewer.locator("canvas").count() == 6
    before = _cpu_s(server.pid)
    steps_ms: list[float] = page.evaluate(_STEPS_MS, STEPS)
    step_cpu_s = (_cpu_s(server.pid) - before) / STEPS
    heatmap_cpu_s = _heatmap_cpu_s(page, server)
    context.close()
    return Visit(open_s, model_s, scan_s, steps_ms, step_cpu_s, heatmap_cpu_s)


def _seconds(page: Any, act: Callable[[], None]) -> float:
    """From a click until a scan that was not there before is drawn."""
    page.evaluate(_FORGET)
    began = time.perf_counter()
    act()
    page.wait_for_function(_IS_DRAWN)
    return time.perf_counter() - began


_FORGET = """() => {
    for (const part of document.querySelectorAll('[data-testid=stBidiComponentIsolated]'))
        part.shadowRoot?.querySelector('.sides')?.replaceChildren();
}"""

_IS_DRAWN = """() => {
    const parts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
    const planes = parts.flatMap(part => [...part.shadowRoot?.querySelectorAll('canvas') ?? []]);
    return planes.length > 0 && planes.every(plane => plane.hasAttribute('aria-valuenow'));
}"""


def _heatmap_cpu_s(page: Any, server: Server) -> float:
    page.get_by_test_id("stTopNavLink").filter(has_text="Heatmaps").click()
    settled(page, "Heatmaps")
    page.get_by_text("All slices").click()
    settled(page)
    step = page.get_by_role("button", name="Next")
    step.click()  # weights are loaded once
    settled(page)
    before = _cpu_s(server.pid)
    for _ in range(HEATMAP_STEPS):
        said = page.get_by_text(re.compile(r"^\d+ of \d+$")).inner_text()
        step.click()
        page.wait_for_function(_HAS_MOVED, arg=said)
        settled(page)
    return (_cpu_s(server.pid) - before) / HEATMAP_STEPS


_HAS_MOVED = """said => {
    const notes = [...document.querySelectorAll('[data-testid=stCaptionContainer]')];
    return !notes.some(note => note.innerText.trim() === said.trim());
}"""


def _cpu_s(pid: int) -> float:
    """CPU seconds that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
