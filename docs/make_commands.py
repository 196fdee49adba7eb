"""Writes ``docs/commands.md`` from each command's ``--help``: ``python docs/make_commands.py``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

PAGE = Path(__file__).with_name("commands.md")
STUDY = PAGE.parents[1] / "study"
WIDTH = 100

_HEAD = """\
# Commands

Made from each command's `--help` by `python docs/make_commands.py`; a test fails when it differs.
Only the names of the grids are left out: they are those of the files in `study/grids/`.
Exit status: 0 done; 1 it broke, or what it looks at is damaged; 2 wrong use; 3 finished, and some
trials or scans failed, which is recorded; 130 interrupted.
"""


def page() -> str:
    """The whole page as it should be now."""
    texts = [_HEAD]
    names = [path.parent.name for path in STUDY.glob("*/__main__.py")]
    for name in sorted(names, key=lambda name: (name != "run", name)):
        app: typer.Typer = importlib.import_module(f"study.{name}.command").app
        for words, text in _helps(typer.main.get_command(app), f"python -m study.{name}"):
            texts.append(f"## `{words}`\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(texts)


def _helps(command: TyperCommand | TyperGroup, words: str) -> Iterator[tuple[str, str]]:
    """The help of a command and of those below it, without colour at a fixed width."""
    context = command.make_context(
        words, [], resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
    )
    grids = ", ".join(importlib.import_module("study.grids._grid").grid_names())
    for option in command.params:
        if isinstance(option, TyperOption) and option.help:
            option.help = option.help.replace(grids, "a name")
    yield words, context.get_help()
    if isinstance(command, TyperGroup):
        for name, part in command.commands.items():
            yield from _helps(part, f"{words} {name}")


if __name__ == "__main__":
    sys.path.insert(0, str(PAGE.parents[1]))
    PAGE.write_text(page(), encoding="utf-8")
