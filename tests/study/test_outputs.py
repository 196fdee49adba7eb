"""Standard output that is closed, full or read by nobody, terminals that go, names of odd bytes."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study.cluster.processes import command_line
from study.errors import EXIT_BROKE, EXIT_INTERRUPTED, EXIT_USAGE
from tests.commands import ROOT, Command
from tests.grids import run_words
from tests.heads import write_cohorts

ODD = os.fsdecode(b"caf\xe9-\xff")

INTENSITY = """
from study.grids._grid import Grid, GridTrial

GRID = Grid(trials=(GridTrial("intensity"),), searches=(), phantom_subjects={})
"""

Start = Callable[..., Command]
Until = Callable[..., None]


@pytest.fixture(scope="module")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished made-up study."""
    made = importlib.import_module("benchmarks.synthetic_store")
    folder: Path = tmp_path_factory.mktemp("made")
    made.write_store(folder, "made", made.Wanted(trials=3, failed=1, full=False))
    return folder


@pytest.fixture
def _terminal() -> Iterator[None]:
    """What is started in here hears that its terminal is closed, even if these tests do not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def _shell(line: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A line of a shell in which ``study`` runs a command of the project with the words."""
    command = shlex.join([sys.executable, "-m", *map(str, words)])
    script = f"study() {{ {command} ; }}\n{line}"
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=600, check=False
    )


def _commands(store: Path) -> dict[str, tuple[str | Path, ...]]:
    return {
        "report": ("study.report", "--store", store),
        "json": ("study.report", "--store", store, "--format", "json"),
        "check": ("study.store", "check", store),
        "help": ("study.run", "--help"),
    }


@pytest.mark.parametrize("name", ["report", "help"])
def test_a_command_whose_reader_goes_ends_without_a_word(name: str, made_store: Path) -> None:
    ended = _shell("study | true; exit ${PIPESTATUS[0]}", *_commands(made_store)[name])
    assert (ended.returncode, ended.stdout, ended.stderr) == (EXIT_BROKE, "", "")


@pytest.mark.parametrize("name", ["json", "check"])
def test_a_full_disk_behind_the_output_is_a_sentence(name: str, made_store: Path) -> None:
    ended = _shell("study > /dev/full", *_commands(made_store)[name])
    assert ended.returncode == EXIT_BROKE
    assert ended.stderr == (
        "error: cannot write what this command prints: No space left on device\n"
    )


@pytest.mark.parametrize(("name", "closed"), [("report", "<&- >&- 2>&-"), ("json", ">&-")])
def test_closed_outputs_change_nothing(name: str, closed: str, made_store: Path) -> None:
    ended = _shell(f"study {closed}", *_commands(made_store)[name])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_no_file_takes_the_place_of_a_closed_output(tmp_path: Path) -> None:
    code = (
        "from study.outputs import open_outputs; open_outputs(); import os, subprocess, sys\n"
        f"record = open({str(tmp_path / 'record')!r}, 'w'); assert record.fileno() > 2\n"
        "print('words'); subprocess.run(['echo', 'words'], check=True); record.close()"
    )
    ended = subprocess.run(
        ["bash", "-c", f"{shlex.join([sys.executable, '-c', code])} >&- <&-"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "record").read_text() == ""


@pytest.mark.slow
def test_a_study_whose_reader_goes_comes_to_its_end_and_keeps_no_key(tmp_path: Path) -> None:
    keys = {
        "AWS_SECRET_ACCESS_KEY": "HIDDEN9f3c",
        "HF_TOKEN": "HIDDEN9f3c",
        "HTTPS_PROXY": "http://someone:HIDDEN9f3c@127.0.0.1:1",
    }
    cohorts = write_cohorts(tmp_path / "scans", 1, 1)
    words = run_words(tmp_path, "only_intensity", INTENSITY)
    line = shlex.join([sys.executable, *words, "--cohorts", str(cohorts), "--store", "store"])
    ended = subprocess.run(
        ["bash", "-c", f"{line} 2>&- | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | keys,
        timeout=600,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.splitlines()) == 1
    report = _shell("study", "study.report", "--store", tmp_path / "store")
    assert "1 of 1 trials done" in report.stdout
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "study.json" for path in written)
    assert [path for path in written if b"HIDDEN9f3c" in path.read_bytes()] == []


@pytest.mark.slow
@pytest.mark.usefixtures("_terminal")
def test_a_closed_terminal_ends_a_study_in_order(
    start: Start, until: Until, tmp_path: Path
) -> None:
    cohorts = write_cohorts(tmp_path / "scans", 1, 1)
    words = run_words(tmp_path, "only_intensity", INTENSITY)
    command = start(*words, "--cohorts", cohorts, "--store", tmp_path / "store")

    def works() -> bool:
        lines = [command_line(pid) for pid in command.left_over()]
        return any("ray::" in line and "IDLE" not in line and "Agent" not in line for line in lines)

    until(lambda: works() or command.status is not None, "a worker has a scan")
    for _ in range(2):  # the shell and the kernel both tell
        os.killpg(command.process.pid, signal.SIGHUP)
    assert command.wait() == EXIT_INTERRUPTED, command.describe()
    assert command.err == ""
    assert "Go on from here with:" in command.out
    assert command.left_over() == []


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("before", ["", "nohup "])
def test_a_closed_terminal_is_an_interrupt_unless_nohup_is_before(before: str) -> None:
    code = (
        "import os, signal; from study import cli; cli.end_in_order_on_signals()\n"
        "try: os.kill(os.getpid(), signal.SIGHUP); print('goes on')\n"
        "except KeyboardInterrupt: os.kill(os.getpid(), signal.SIGHUP); print('ends in order')"
    )
    ended = subprocess.run(
        ["bash", "-c", before + shlex.join([sys.executable, "-c", code])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == ("goes on\n" if before else "ends in order\n")


def _odd(folder: Path) -> Path:
    place = folder / ODD
    place.mkdir()
    return place


def _odd_store(folder: Path) -> list[str]:
    return ["--store", str(_odd(folder) / "store")]


def _odd_cohorts(folder: Path) -> list[str]:
    return ["--cohorts", str(write_cohorts(_odd(folder), 1, 1))]


def _odd_grid(folder: Path) -> list[str]:
    path = folder / f"{ODD}.py"
    path.write_text(INTENSITY)
    return ["--grid", str(path)]


def _odd_folder_of_the_grid(folder: Path) -> list[str]:
    path = _odd(folder) / "plain.py"
    path.write_text(INTENSITY)
    return ["--grid", str(path)]


def _odd_study(folder: Path) -> list[str]:
    return ["--study", ODD]


ODD_WORDS = [_odd_store, _odd_cohorts, _odd_grid, _odd_folder_of_the_grid, _odd_study]


@pytest.mark.parametrize("make", ODD_WORDS)
def test_a_name_that_no_record_can_hold_is_a_sentence(
    make: Callable[[Path], list[str]], call: Callable[..., Any], tmp_path: Path
) -> None:
    words = ["--grid", "smoke", "--store", str(tmp_path / "store"), *make(tmp_path)]
    outcome = call("run", "--dry-run", *words)
    assert outcome.status == EXIT_USAGE
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    assert r"\udcff" in outcome.err


def test_a_cohorts_file_and_its_data_may_have_any_names_below_a_plain_folder(
    call: Callable[..., Any], tmp_path: Path
) -> None:
    path = write_cohorts(tmp_path, 2, 1)
    odd = path.rename(tmp_path / f"{ODD}.toml")
    grid = tmp_path / "plain.py"
    grid.write_text(INTENSITY)
    words = ["--grid", str(grid), "--cohorts", str(odd), "--store", str(tmp_path / "store")]
    outcome = call("run", "--dry-run", *words)
    assert (outcome.status, outcome.err) == (0, "")
