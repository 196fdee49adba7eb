"""Detectors that only tests have, found by every process that a command starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from trainables import models

_SITE = """
import os

import trainables.models

trainables.models.__path__.append({folder!r})
if os.environ.get("FIRST_MODELS"):  # a model of ours takes the place of the project's
    trainables.models.__path__.insert(0, os.environ["FIRST_MODELS"])
"""

FAILING = '''
"""The intensity, with a way to fail: by memory or by the death of its process."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Literal

from trainables.detector import Params
from trainables.models import intensity


class FailingParams(Params):
    how: Literal["crowded", "crowded too", "starved", "dying", "dying once"]


class Model(intensity.Model):
    Params = FailingParams

    def __init__(self, params, *, seed, device="cpu"):
        super().__init__(params, seed=seed, device=device)
        self.how, self.seed, self.log = params.how, seed, Path(os.environ["FAILING_LOG"])

    def fit(self, train, validation, epochs, *, every_s=None):
        if self._epoch:
            return
        mine = json.dumps([self.how, self.seed])
        earlier = self.log.read_text().count(f"begin {mine}") if self.log.exists() else 0
        self._note(f"begin {mine}")
        if self.how == "starved" or (self.how.startswith("crowded") and not earlier):
            raise MemoryError("no room")
        if self.how == "dying" or (self.how == "dying once" and not earlier):
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait(0.3)  # long enough for another one to begin beside it
        yield from super().fit(train, validation, epochs)
        self._note(f"end {mine}")

    def _note(self, text):
        with self.log.open("a") as file:
            file.write(text + chr(10))
'''

GATED = '''
"""The mixture; from the third fit on, one that begins waits until a gate is opened."""

import os
import threading
from pathlib import Path

from trainables.models import gmm


class Model(gmm.Model):
    def fit(self, train, validation, epochs, *, every_s=None):
        folder = Path(os.environ["GATE"])
        number = len(list(folder.iterdir()))
        (folder / f"{number}-{os.getpid()}").touch()
        while number >= 2 and not (folder.parent / "open").exists():
            threading.Event().wait(0.02)
        yield from super().fit(train, validation, epochs)
'''


def install(folder: Path, **models: str) -> dict[str, str]:
    """Write detectors by name; returns what the environment of a command needs to find them."""
    places = {name: folder / name for name in ("site", "models")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    (places["site"] / "sitecustomize.py").write_text(_SITE.format(folder=str(places["models"])))
    for name, code in models.items():
        (places["models"] / f"{name}.py").write_text(code)
    paths = [str(places["site"]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def install_distribution(
    folder: Path, environment: dict[str, str], models: dict[str, str]
) -> dict[str, str]:
    """Install detectors as pip does: modules, and entry points in a ``dist-info`` folder.

    Args:
        folder: Where the distribution's site folder goes.
        environment: Of :func:`install`.
        models: The text of each module, by the name of the model.

    Returns:
        The environment with the folder on the path.
    """
    site = folder / "lab-site"
    info = site / "lab_models-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-models\nVersion: 1.0\n")
    points = ["[anomaly_study.models]", *(f"{name} = lab_models.{name}" for name in models)]
    (info / "entry_points.txt").write_text("\n".join([*points, ""]))
    (site / "lab_models").mkdir()
    (site / "lab_models" / "__init__.py").write_text("")
    for name, code in models.items():
        (site / "lab_models" / f"{name}.py").write_text(code)
    return {**environment, "PYTHONPATH": os.pathsep.join([str(site), environment["PYTHONPATH"]])}


def install_here(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the test's own process find what :func:`install` wrote to the same folder."""
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(folder / "models")])
    for file in (folder / "models").glob("*.py"):  # another test's may have had the same name
        name = f"{models.__name__}.{file.stem}"
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
