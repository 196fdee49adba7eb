"""With what status each command ends: done, broken, wrong use, some failed, interrupted."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study import cli
from study.cluster.processes import command_line
from study.errors import EXIT_BROKE, EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_USAGE
from study.records.studies import StudyStore
from tests.calls import Call, apps
from tests.commands import ROOT, Command
from tests.grids import run_words
from tests.heads import write_cohorts

INTENSITY = """
from study.grids._grid import Grid, GridTrial
GRID = Grid(trials=(GridTrial("intensity"),), searches=(), phantom_subjects={"ixi": 2, "brats": 2})
"""

_FIRST = {
    "run": ("study.run.command.make_request", ("--grid", "smoke")),
    "apply": ("study.cli.existing_study", ("--export", "model.zip")),
    "export": ("study.cli.existing_study", ("runs", "--to", "csv:out")),
    "prepare": ("study.cli.open_store", ()),
    "report": ("study.cli.open_store", ()),
    "store": ("study.cli.open_store", ("check",)),
    "submit": ("study.submit.command.make_submission", ("--grid", "smoke")),
}
"""What each command calls first, and the words it needs for that."""


def test_the_statuses_are_those_that_the_documents_name() -> None:
    statuses = (0, EXIT_BROKE, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_INTERRUPTED)
    for text in (
        cli.EXIT_STATUSES,
        (ROOT / "docs" / "commands.md").read_text(),
        " ".join((ROOT / "README.md").read_text().split()),
    ):
        (sentence,) = re.findall(r"Exit status: (0 done.*?interrupted)", text, re.DOTALL)[:1]
        assert tuple(int(number) for number in re.findall(r"\d+", sentence)) == statuses


@pytest.mark.parametrize("name", sorted(apps()))
def test_every_commands_help_names_the_statuses(call: Call, name: str) -> None:
    assert "Exit status: 0 done; 1 it broke" in " ".join(call(name, "--help").out.split())


@pytest.mark.parametrize("name", sorted(apps()))
def test_an_interrupt_at_any_moment_is_a_sentence_and_130(
    call: Call, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    place, words = _FIRST[name]
    monkeypatch.setattr(place, interrupt)
    outcome = call(name, *words)
    assert outcome.status == EXIT_INTERRUPTED
    assert outcome.err == "Interrupted.\n"


@pytest.mark.parametrize("name", sorted(apps()))
def test_an_interrupt_while_packages_are_loaded_is_a_sentence_and_130(name: str) -> None:
    code = (
        "import builtins, runpy\n"
        "load = builtins.__import__\n"
        "def loading(name, *more, **named):\n"
        "    if name == 'typer': raise KeyboardInterrupt\n"
        "    return load(name, *more, **named)\n"
        "builtins.__import__ = loading\n"
        f"runpy.run_module('study.{name}', run_name='__main__')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (EXIT_INTERRUPTED, "Interrupted.\n")


def test_failed_trials_are_part_of_a_report_and_no_fault_of_it(
    call: Call,
    finished_study: StudyStore,
    put_trial: Callable[..., None],
    make_trial: Callable[..., Any],
) -> None:
    store = Path(finished_study.storage.root).parents[1]
    trial = make_trial("intensity", "T1w", seed=1)
    put_trial(finished_study, trial, {"intensity": 0.7}, failed_evals=("brats",))
    assert call("report", "--store", store).status == 0
    manifest = next(Path(finished_study.storage.root).glob("trials/*/manifest.json"))
    manifest.write_bytes(b"{")
    assert call("report", "--store", store).status == EXIT_BROKE
    assert call("store", "check", store).status == EXIT_BROKE


@pytest.mark.slow
def test_a_study_with_a_scan_set_aside_ends_with_3_each_time(
    start: Callable[..., Command], tmp_path: Path
) -> None:
    write_cohorts(tmp_path / "scans", 2, 1)
    (scan, *_) = sorted((tmp_path / "scans" / "healthy").rglob("*.nii.gz"))
    scan.write_bytes(b"no gzip")
    cohorts = tmp_path / "scans" / "cohorts.toml"
    words = run_words(tmp_path, "only_intensity", INTENSITY)
    for _ in range(2):
        command = start(*words, "--cohorts", cohorts, "--store", tmp_path / "store")
        assert command.wait() == EXIT_SOME_FAILED, command.describe()
        assert "1 of 1 trials done, 0 failed" in command.out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "prepare"])
def test_an_interrupt_while_ray_starts_is_a_sentence_and_130(
    start: Callable[..., Command], until: Callable[..., None], tmp_path: Path, name: str
) -> None:
    (tmp_path / "only_intensity.py").write_text(INTENSITY)
    grid = ("--grid", tmp_path / "only_intensity.py")
    command = start("-m", f"study.{name}", *grid, "--store", tmp_path / "store")

    def is_starting() -> bool:
        return any("gcs_server" in command_line(pid) for pid in command.left_over())

    until(lambda: is_starting() or command.status is not None, "Ray starts")
    command.process.send_signal(signal.SIGINT)
    assert command.wait() == EXIT_INTERRUPTED, command.describe()
    assert "Interrupted" in command.out
    assert "Traceback" not in command.out + command.err
    until(lambda: not command.left_over(), "nothing is left of it")
