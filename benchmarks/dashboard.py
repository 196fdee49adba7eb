"""Claim: the dashboard stays quick and small with ten thousand trials.

Measured in a browser against an empty Streamlit page on this machine, in turn: the first view of a
fresh server, then every later page by a click. ``DASHBOARD_STORE`` names a store of
``python -m benchmarks.synthetic_store`` to use instead of writing one, which takes minutes.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measurement import Measurement
from benchmarks.serving import APP, Server, chromium, read, serve, settled
from benchmarks.synthetic_store import Wanted, write_store

N_TRIALS = 10_000
ROUNDS = 3
FIRST_LIMIT_S, LATER_LIMIT_S, MEMORY_LIMIT_MB = 1.5, 0.5, 600.0

PAGES = {
    "Best": "Best per data set",
    "Grid": "Grid",
    "ROC": "ROC and precision-recall",
    "Heatmaps": "Heatmaps",
    "Viewer": "Viewer",
    "Subjects": "Subjects",
    "Settings": "Settings",
    "Trials": "Trials",
    "Compare": "Compare",
    "Trial": "Trial",
    "Data": "Data",
    "Study": "Study",
}
EMPTY_PAGES = {"Two": "Two", "One": "One"}

_EMPTY_APP = """
import streamlit as st
st.set_page_config(layout="wide")
st.navigation([st.Page("views/one.py", title="One"), st.Page("views/two.py", title="Two")],
              position="top").run()
"""


@dataclass(frozen=True)
class Timing:
    """One visit of an app: seconds until all of a page is drawn, and the server's memory.

    Attributes:
        start_s: From the command until the server answers.
        first_s: From the address being entered until the first page is drawn.
        later_s: From a click until its page is drawn, by page.
        memory_mb: The most the server has had.
    """

    start_s: float
    first_s: float
    later_s: dict[str, float]
    memory_mb: float


def measure() -> list[Measurement]:
    given = os.environ.get("DASHBOARD_STORE")
    if given:
        return measure_store(Path(given))
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder), "synthetic", Wanted(trials=N_TRIALS, full=False))
        return measure_store(Path(folder))


def measure_store(store: Path) -> list[Measurement]:
    """Visit an empty app and the dashboard in turn."""
    empty, ours = [], []
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            with _empty_app(Path(folder)) as server:
                start_s = time.perf_counter() - began
                empty.append(_visit(browser, server, start_s, "One", EMPTY_PAGES))
            began = time.perf_counter()
            with serve(["--store", str(store)], Path(folder) / "log", APP) as server:
                start_s = time.perf_counter() - began
                ours.append(_visit(browser, server, start_s, "Study", PAGES))
    first, empty_first = (statistics.median(t.first_s for t in x) for x in (ours, empty))
    later = {name: statistics.median(t.later_s[name] for t in ours) for name in PAGES}
    slowest = max(later, key=lambda name: later[name])
    empty_later = statistics.median(s for t in empty for s in t.later_s.values())
    memory = max(t.memory_mb for t in ours)
    claim = f"dashboard, {N_TRIALS:,} trials"
    start, empty_start = (statistics.median(t.start_s for t in x) for x in (ours, empty))
    clicks = [
        Measurement(
            f"{claim}: click on {name}", took, "s", "empty page", empty_later, empty_later / took
        )
        for name, took in later.items()
    ]
    return [
        _within(f"{claim}: first view after an empty page's", first - empty_first, FIRST_LIMIT_S),
        _within(
            f"{claim}: slowest click ({slowest}) after an empty page's",
            later[slowest] - empty_later,
            LATER_LIMIT_S,
        ),
        _within(f"{claim}: memory of the server", memory, MEMORY_LIMIT_MB, "MB"),
        Measurement(
            f"{claim}: first view", first, "s", "empty page", empty_first, empty_first / first
        ),
        *clicks,
        Measurement(
            f"{claim}: start", start, "s", "empty server", empty_start, empty_start / start
        ),
    ]


def _within(claim: str, figure: float, limit: float, unit: str = "s") -> Measurement:
    """A figure and its limit: within it, the ratio is 1 or more."""
    return Measurement(claim, figure, unit, "limit", limit, limit / max(figure, 1e-3), 1.0)


@contextmanager
def _empty_app(folder: Path) -> Iterator[Server]:
    views = folder / "views"
    views.mkdir(exist_ok=True)
    for name in ("one", "two"):
        code = f"import streamlit as st\nst.title({name.title()!r})\n"
        (views / f"{name}.py").write_text(code)
    app = folder / "app.py"
    app.write_text(_EMPTY_APP)
    options = APP.parent / ".streamlit"
    (folder / ".streamlit").mkdir(exist_ok=True)
    (folder / ".streamlit" / "config.toml").write_bytes((options / "config.toml").read_bytes())
    with serve([], folder / "log", app) as server:
        yield server


def _visit(
    browser: Any, server: Server, start_s: float, heading: str, pages: dict[str, str]
) -> Timing:
    """Open an app in a new tab, then click through its pages."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(120_000)
    page = context.new_page()
    began = time.perf_counter()
    page.goto(server.url)
    settled(page, heading)
    first = time.perf_counter() - began
    read(page)  # whoever clicks has done so
    later = {}
    for name, title in pages.items():
        link = page.get_by_role("link", name=name, exact=True)
        began = time.perf_counter()
        link.click()
        settled(page, title)
        later[name] = time.perf_counter() - began
    context.close()
    return Timing(start_s, first, later, _peak_mb(server.pid))


def _peak_mb(pid: int) -> float:
    """The largest resident memory a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"/proc/{pid}/status has no VmHWM")
