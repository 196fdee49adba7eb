"""The project's commands called within this process."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

import study
from study import cli


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


Call = Callable[..., Outcome]


def apps() -> dict[str, typer.Typer]:
    """Every module of the study that is a command."""
    names = [m.name for m in pkgutil.iter_modules(study.__path__) if m.ispkg]
    folders = [Path(path) for path in study.__path__]
    found = [n for n in names if any((f / n / "__main__.py").is_file() for f in folders)]
    return {name: importlib.import_module(f"study.{name}.command").app for name in found}


@contextmanager
def calling(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Runs a command within this process, as ``python -m study.NAME ARGS...`` would."""
    before = dict(os.environ)
    monkeypatch.setenv("COLUMNS", "160")

    def run(name: str, *arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", [f"study.{name}", *map(str, arguments)])
        status = 0
        try:
            cli.run(apps()[name])
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    yield run
    os.environ.clear()
    os.environ.update(before)
