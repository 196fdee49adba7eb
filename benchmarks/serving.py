"""The dashboard as users start it, for a program: its server, and a browser to look at it.

Used by the screenshots, the benchmark and the browser tests; playwright is a development
dependency and is loaded when a browser is asked for.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

APP = Path(__file__).parents[1] / "dashboard" / "app.py"
SCRIPT = APP.with_name("main.py")
START_WITHIN_S = 120.0


class ServingError(RuntimeError):
    """A server or browser that does not start; the message says why."""


@dataclass(frozen=True)
class Server:
    """A running Streamlit server.

    Attributes:
        url: Its address on this machine.
        pid: Its process.
    """

    url: str
    pid: int


@contextmanager
def serve(arguments: Sequence[str], log: Path, app: Path = APP) -> Iterator[Server]:
    """Start ``streamlit run`` on a free port, and stop it in the end.

    Args:
        arguments: What follows the ``--``, such as ``--store URI``.
        log: File for what the server prints.
        app: The main script.

    Raises:
        ServingError: If the server does not answer; the message has what it printed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    line = [sys.executable, "-m", "streamlit", "run", str(app), "--server.port", str(port)]
    with log.open("ab") as out:
        process = subprocess.Popen([*line, "--", *arguments], stdout=out, stderr=out)
    try:
        server = Server(f"http://127.0.0.1:{port}", process.pid)
        _until_it_answers(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """Chromium from the PATH, without a screen.

    Args:
        *more: Further flags of its command line.

    Raises:
        ServingError: If there is none.
    """
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        raise ServingError(f"this needs a browser on the PATH; looked for: {', '.join(names)}")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*flags, *more])
        yield browser
        browser.close()


def settled(page: Page, heading: str | None = None) -> None:
    """Wait until the page's script has come to its end and its figures are drawn.

    Args:
        page: The tab.
        heading: The page's heading, which shows that the script has begun.
    """
    if heading is not None:
        page.get_by_role("heading", name=heading, exact=True).wait_for()
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    page.wait_for_function(_FIGURES_ARE_DRAWN)


_FIGURES_ARE_DRAWN = """() => {
    const all = name => [...document.querySelectorAll(`[data-testid=${name}]`)];
    const viewer = part => part.shadowRoot?.querySelector('.viewer');
    return !all('stSkeleton').length
        && all('stPlotlyChart').every(chart => chart.querySelector('.main-svg'))
        && all('stBidiComponentIsolated').every(part => viewer(part)?.dataset.at !== '');
}"""
"""Skeletons stand for elements whose code the browser still fetches."""


def read(page: Page) -> None:
    """Wait until the page is drawn and what later pages need is fetched, as a reader does."""
    settled(page)
    page.wait_for_function("() => window.hasFetchedAhead !== false")


def _until_it_answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_WITHIN_S
    while process.poll() is None and time.monotonic() < ends:
        try:
            with urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=1):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.05)
    raise ServingError(f"the dashboard did not start: {log.read_text(errors='replace')}")
