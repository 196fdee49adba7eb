"""The dashboard's tests: made-up stores, the app without a browser, and a server with one."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.serving import Server, chromium, serve
from tests.apps import Open, opener
from tests.dashboard.browsing import Served, forget, tab, tree


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The generator of made-up stores that the benchmark uses too."""
    return importlib.import_module("benchmarks.synthetic_store")


@pytest.fixture(scope="session")
def made_up_store(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished made-up study called ``synthetic``; shared, so to be read only."""
    store: Path = tmp_path_factory.mktemp("made-up")
    synthetic.write_store(store, "synthetic", synthetic.Wanted(trials=140))
    return store


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Runs the app without a browser on a store, at a page and an address, with a part opened."""
    return opener(monkeypatch)


Serve = Callable[[Path], Server]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts ``streamlit run dashboard/app.py -- --store STORE``; once per store."""
    started: dict[Path, Server] = {}
    log = tmp_path_factory.mktemp("server") / "log"
    with ExitStack() as stack:

        def start(store: Path) -> Server:
            if store not in started:
                started[store] = stack.enter_context(serve(["--store", str(store)], log))
            return started[store]

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a screen."""
    expect.set_options(timeout=60_000)  # the machine may be busy
    with chromium() as found:
        yield found


@pytest.fixture
def fresh_page(browser: Browser) -> Iterator[Page]:
    """A tab of its own at the width of a small laptop."""
    with tab(browser) as page:
        yield page


@pytest.fixture(scope="module")
def _warm(browser: Browser) -> Iterator[Page]:
    """A tab whose process keeps the app's scripts, which a new one compiles for seconds."""
    with tab(browser) as page:
        yield page


@pytest.fixture
def page(_warm: Page) -> Iterator[Page]:
    """A tab as if it were new: what the test before has left in it is gone.

    What listens to it stays: a test that wants to hear what happens takes ``fresh_page``.
    """
    yield _warm
    forget(_warm)


@pytest.fixture(scope="session")
def report(smoke_store: Path) -> dict[str, Any]:
    """What the report's command says of the smoke study."""
    line = [sys.executable, "-m", "study.report", "--format", "json", "--store", str(smoke_store)]
    found = subprocess.run(line, capture_output=True, text=True, check=True)
    content: dict[str, Any] = json.loads(found.stdout)
    return content


@pytest.fixture(scope="module")
def smoke(smoke_store: Path, served: Callable[[Path], Any]) -> Iterator[Served]:
    """The smoke study's store, in which nothing may have changed when all tests are through."""
    before = tree(smoke_store)
    yield Served(served(smoke_store).url, smoke_store)
    assert tree(smoke_store) == before
