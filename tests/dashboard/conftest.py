"""The dashboard's tests: made-up stores, the app without a browser, and a server with one."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from streamlit.testing.v1 import AppTest

_ROOT = Path(__file__).parents[2]
_APP = _ROOT / "dashboard" / "app.py"

Open = Callable[..., AppTest]


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The generator of made-up stores that the benchmark uses too."""
    path = _ROOT / "benchmarks" / "synthetic_store.py"
    spec = importlib.util.spec_from_file_location("synthetic_store", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["synthetic_store"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def made_up_store(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished made-up study called ``synthetic``; shared, so to be read only."""
    store: Path = tmp_path_factory.mktemp("made-up")
    synthetic.write_store(store, "synthetic", synthetic.Wanted(trials=140))
    return store


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Runs the app without a browser on a store, at a page and an address."""
    # Streamlit forgets its own temporary folder when a test ends; that is not ours to warn about.
    monkeypatch.setattr(tempfile.TemporaryDirectory, "_cleanup", _clean_silently)

    def run(folder: Path, page: str = "study", **address: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", "--store", str(folder)])
        app = AppTest.from_file(_APP, default_timeout=60)
        if page != "study":
            app.run()
            app.switch_page(f"pages/{page}.py")
        for name, value in address.items():
            app.query_params[name] = value
        return app.run()

    return run


@classmethod  # type: ignore[misc]
def _clean_silently(cls: Any, name: str, *_: Any, **__: Any) -> None:
    shutil.rmtree(name, ignore_errors=True)


@dataclass(frozen=True)
class Server:
    """The dashboard as users start it."""

    url: str
    process: subprocess.Popen[bytes]


Serve = Callable[[Path], Server]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts ``streamlit run dashboard/app.py -- --store STORE`` on a free port."""
    started: dict[Path, Server] = {}
    log = tmp_path_factory.mktemp("server") / "log"

    def start(store: Path) -> Server:
        if store in started:
            return started[store]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        line = [sys.executable, "-m", "streamlit", "run", str(_APP), "--server.port", str(port)]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*line, "--", "--store", str(store)], stdout=out, stderr=out, cwd=log.parent
            )
        started[store] = Server(f"http://127.0.0.1:{port}", process)
        _until_healthy(started[store], log)
        return started[store]

    yield start
    for server in started.values():
        server.process.terminate()
        server.process.wait(20)


def _until_healthy(server: Server, log: Path) -> None:
    for _ in range(3000):
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=1) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, TimeoutError):
            subprocess.run(["true"], check=True)  # gives way to the server
    pytest.fail(f"the dashboard did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a screen."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
    if path is None:
        pytest.fail("the browser's tests need Chromium on the PATH")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of its own at the width of a small laptop."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(60_000)
    tab = context.new_page()
    yield tab
    context.close()
