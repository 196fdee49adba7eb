"""What data say never does anything: not to a terminal, a spreadsheet or LaTeX."""

from __future__ import annotations

import csv
import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Group
from rich.table import Table

from study import cli
from study.errors import EXIT_USAGE
from study.progress.live import View
from study.progress.tracker import Tracker
from study.records.heartbeats import Stage
from study.report.formats import inert, table_csv, table_latex, text_table
from study.report.paper import paper_mixture
from study.report.table_one import Cell, TableOne
from study.terminal import PlainConsole, complain, duration, echo, one_line, say_aside, shown

EVIL = "[/x] [red]\x1b[31m\x1b]0;title\x07\x9b31m\r\u202etxt\x00 :smile: [link=http://x]y[/link]"
SAFE = r"[/x] [red]\x1b[31m\x1b]0;title\x07\x9b31m\r\u202etxt\x00 :smile: [link=http://x]y[/link]"


@given(st.text())
def test_what_is_shown_can_be_printed_and_says_the_same(text: str) -> None:
    found = shown(text)
    assert all(sign.isprintable() or sign.isspace() for sign in found)
    assert not set(found) & {chr(n) for n in (*range(10), *range(11, 32), *range(127, 160))}
    found.encode("utf-8")
    if text.isprintable():
        assert found == text
    assert "\n" not in one_line(text)


def _printed(write: Callable[[PlainConsole], None], *, is_terminal: bool = False) -> str:
    sink = io.StringIO()
    write(PlainConsole(file=sink, width=300, force_terminal=is_terminal, color_system=None))
    return sink.getvalue()


def test_strings_titles_and_cells_are_shown_as_they_are() -> None:
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    for thing in (EVIL, table, Group(EVIL)):
        text = _printed(lambda console, thing=thing: console.print(thing))
        assert SAFE in text
        assert "\x1b" not in text
    assert _printed(lambda console: console.print(table)).count(SAFE) == 3


def test_errors_and_asides_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    complain(ValueError(f"no {EVIL}\nhere"))
    say_aside(EVIL)
    echo(EVIL, err=True)
    text = capsys.readouterr().err
    assert text == f"error: no {SAFE} here\n{SAFE}\n{SAFE}\n".replace(r"\r\u", r" \u", 1)


def test_the_view_of_a_run_shows_names_as_they_are() -> None:
    tracker = Tracker()
    view = View(tracker, PlainConsole(file=io.StringIO()))
    for stage in (Stage.PREPARE, Stage.TRIALS):
        tracker.begin(stage, 1, EVIL)
        tracker.best[EVIL] = (0.5, EVIL)
        text = _printed(lambda console: console.print(view.render()))
        assert SAFE in text
        assert "\x1b" not in text


@pytest.mark.parametrize("seconds", [float("inf"), float("-inf"), float("nan"), None])
def test_a_duration_that_is_none_is_a_dash(seconds: float | None) -> None:
    assert duration(seconds) == "—"


def test_a_clock_that_goes_back_makes_no_negative_duration() -> None:
    assert duration(-86_400.0) == "0 s"


def _table(name: str) -> TableOne:
    line, column = (name, name), (name, "T1w")
    cell = Cell(0.25, paper_mixture(0.1), (name,), paper=0.626, best=True)
    return TableOne((line,), (column,), {(line, column): cell}, "brain", "auc")


def test_a_table_of_evil_names_is_text() -> None:
    text = _printed(lambda console: console.print(text_table(_table(EVIL))))
    assert text.count(SAFE) >= 3
    assert "0.250" in text
    assert "[0.626" in text
    assert "\x1b" not in text


FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", " =1", "\n@x", "＝1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_a_csv_file_begins_a_formula(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(table_csv([_table(text)], synthetic=False)))
    for name in ("model", "score", "cohort", "trial_id", "trial_ids"):
        assert row[name][0] in "'\\"
    assert float(row["value"]) == 0.25
    assert float(row["gmm_lambda"]) == 0.1


@pytest.mark.parametrize("value", [-1, -0.5, None, "-0.5", "+1e-6", "1", "", "(8, 64)", "a=b"])
def test_numbers_and_plain_words_stay_what_they_are(value: object) -> None:
    assert inert(value) is value or inert(value) == value


LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "_": r"\_",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "\x1b": r"\textbackslash{}x1b",
    "\n\n": " ",
}


@pytest.mark.parametrize("sign", LATEX)
def test_every_sign_stands_for_itself_in_latex(sign: str) -> None:
    text = table_latex(_table(f"a{sign}b"), synthetic=False)
    assert text.count(f"a{LATEX[sign]}b") == 4
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_a_command_in_a_name_is_no_command_of_latex() -> None:
    text = table_latex(_table(r"\input{/etc/passwd}%"), synthetic=False)
    assert r"\textbackslash{}input\{/etc/passwd\}\%" in text
    assert r"\input" not in text


@pytest.fixture(scope="module")
def evil_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished made-up study whose test cohort has a name that a record can have."""
    made = importlib.import_module("benchmarks.synthetic_store")
    folder: Path = tmp_path_factory.mktemp("evil")
    made.write_store(folder, "evil", made.Wanted(trials=3, failed=1, full=False, cohort=EVIL))
    return folder


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    line = [sys.executable, "-m", *words]
    return subprocess.run(line, capture_output=True, env=clean | environment, timeout=600)


@pytest.mark.parametrize("form", ["text", "csv", "latex", "json"])
def test_a_report_of_evil_names_is_text(form: str, evil_store: Path) -> None:
    ended = _run("study.report", "--store", str(evil_store), "--format", form)
    assert ended.returncode == 0, ended.stderr.decode()
    out = ended.stdout.decode()
    assert "31m" in out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)


COMMANDS = {
    "report": ("--store",),
    "store check": (),
    "store gc": (),
    "store repair": (),
    "prepare": ("--cohorts", "no-file.toml", "--store"),
    "run": ("--grid", "no-such-grid", "--store"),
}


@pytest.mark.parametrize("store", ["[/x]", "[red]x", "\x1b[31m", ":smile:\x07"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_of_any_name_ends_in_a_sentence(
    command: str,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, *more = command.split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *more, *COMMANDS[command], store])
    with pytest.raises(SystemExit) as ended:
        cli.run(importlib.import_module(f"study.{name}.command").app)
    assert ended.value.code == EXIT_USAGE
    out = capsys.readouterr()
    assert out.err.startswith("error: ")
    assert "\x1b" not in out.out + out.err
    if name in ("report", "store"):
        assert shown(store) in out.err.replace("\\\\", "\\")


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX", "PYTHONIOENCODING": "cp1252"},
    ],
    ids=["ascii", "latin-1", "C", "cp1252"],
)
def test_signs_that_the_output_lacks_are_written_out(
    environment: dict[str, str], evil_store: Path
) -> None:
    ended = _run("study.report", "--store", str(evil_store), **environment)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "\u03bb 0.".encode("ascii", "backslashreplace") in ended.stdout


def test_help_is_printed_whatever_the_output_lacks() -> None:
    ended = _run("study.run", "--help", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0
    assert b"--grid" in ended.stdout
