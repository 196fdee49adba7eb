"""The dashboard's app without a browser."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.serving import SCRIPT
from dashboard import navigation, state

Open = Callable[..., AppTest]


def opener(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Runs the app on a store, at a page with choices in its address, with a part opened."""
    # Streamlit forgets its own temporary folder when a test ends; that is not ours to warn about.
    monkeypatch.setattr(tempfile.TemporaryDirectory, "_cleanup", _clean_silently)

    def run(folder: Path, page: str = "study", opened: str = "", **address: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", "--store", str(folder)])
        monkeypatch.setattr(navigation, "FIRST", page)
        app = AppTest.from_file(SCRIPT, default_timeout=60)
        if opened:
            app.session_state[opened] = True
        for name, value in address.items():
            app.query_params[state.key(name, page)] = value
        return app.run()

    return run


@classmethod  # type: ignore[misc]
def _clean_silently(cls: Any, name: str, *_: Any, **__: Any) -> None:
    shutil.rmtree(name, ignore_errors=True)
