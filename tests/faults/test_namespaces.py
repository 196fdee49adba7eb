"""Containers of one machine: the same host name, and processes that are counted on their own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from study.records.heartbeats import Progress
from study.records.studies import StudyStore
from tests.commands import Command
from tests.grids import run_words
from tests.heads import write_cohorts
from tests.stores import open_study

pytestmark = pytest.mark.slow

Until = Callable[..., None]

WAITS = """
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from study.prepare import listing
from study.progress import tracker


def wait(*arguments, look=listing.scan_checksums):
    gate = Path(os.environ["GATE"])
    gate.with_suffix(".reached").touch()
    while not gate.exists():
        threading.Event().wait(0.02)
    return look(*arguments)


def now():
    off = timedelta(hours=float(os.environ["CLOCK_IS_OFF_H"]))
    return (datetime.now(UTC) + off).isoformat(timespec="milliseconds")


listing.scan_checksums = wait
tracker.utc_now = now
"""
"""Makes a driver wait at a gate when it looks at its first scan; its heartbeat goes on."""

NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts")
"""Runs a command as the first process of a namespace, as containers do; the host name stays."""

PART = b"of an attempt that is not finished"


@pytest.fixture(scope="module")
def _may_unshare() -> None:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare (util-linux), which makes process namespaces")
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no process namespace can be made, which needs root: {tried.stderr.strip()}")


class Lab:
    """A store with a part that a driver is just about to name, and commands in namespaces."""

    def __init__(self, folder: Path, start: Callable[..., Command], until: Until) -> None:
        self._folder, self._start, self._until = folder, start, until
        self.store = folder / "store"
        cohorts = write_cohorts(folder / "scans", 2, 1)
        words = run_words(folder, "tiny", before=WAITS)
        self._words = [*words, "--cohorts", str(cohorts), "--store", str(self.store)]
        self.study: StudyStore = open_study(self.store, "s")
        self.part = self.study.trial("0" * 20).attempt().put("model.safetensors", PART).path

    def drive(self, name: str, *more: str, apart: bool, hours_off: float = 0.0) -> Command:
        """Start a driver; returns once it has ended, or waits at its gate."""
        gate = self._folder / name
        environment = {"GATE": str(gate), "CLOCK_IS_OFF_H": str(hours_off)}
        driver = self._begin([*self._words, *more], apart=apart, **environment)
        reached = gate.with_suffix(".reached")
        self._until(lambda: driver.status is not None or reached.exists(), f"{name} runs or ends")
        return driver

    def open(self, name: str) -> None:
        """Let a driver go on."""
        (self._folder / name).touch()

    def collect(self, *, apart: bool) -> Command:
        """Run ``gc``."""
        command = self._begin(["-m", "study.store", "gc", str(self.store)], apart=apart)
        command.wait()
        return command

    def kill(self, driver: Command) -> None:
        """End a driver without a word, with all that it has started."""
        driver.kill_group()
        self._until(lambda: not driver.left_over(), "nothing is left of a driver")

    def progress(self) -> Progress:
        """The heartbeat."""
        progress = self.study.progress()
        assert progress is not None
        return progress

    def has_part(self) -> bool:
        """Whether the part is there that no record names yet."""
        (path,) = self.store.rglob("model.safetensors") or (None,)
        return path is not None and path.read_bytes() == PART

    def _begin(self, words: list[str], *, apart: bool, **environment: str) -> Command:
        if apart:
            enter = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
            words = ["-c", enter, *NAMESPACE, sys.executable, *words]
        return self._start(*words, **environment)


@pytest.fixture
def lab(_may_unshare: None, start: Callable[..., Command], until: Until, tmp_path: Path) -> Lab:
    return Lab(tmp_path, start, until)


@pytest.mark.parametrize(("driver_apart", "hours_off"), [(True, 0.0), (False, 0.0), (True, -24.0)])
def test_whoever_comes_from_another_namespace_is_refused_while_a_driver_lives(
    lab: Lab, driver_apart: bool, hours_off: float
) -> None:
    first = lab.drive("first", apart=driver_apart, hours_off=hours_off)
    assert first.status is None, first.describe()
    progress = lab.progress()
    assert progress.host == socket.gethostname()
    assert (progress.pid == 1) == driver_apart
    for apart in (True, False) if driver_apart and not hours_off else (True,):
        others = [lab.collect(apart=apart)]
        if not hours_off:
            others.append(lab.drive(f"second-{apart}", apart=apart))
        for other in others:
            assert other.status == 2, other.describe()
            assert f"is being run by process {progress.pid} on {progress.host}" in other.err
            assert "Traceback" not in other.err
        assert lab.has_part()
        assert lab.progress().driver == progress.driver
    assert first.status is None, first.describe()
    lab.kill(first)


def test_a_driver_is_taken_over_from_another_namespace_when_that_is_asked_for(lab: Lab) -> None:
    first = lab.drive("first", apart=True)
    second = lab.drive("second", "--take-over", apart=True)
    assert second.status is None, second.describe()
    lab.open("first")
    assert first.wait() == 1, first.describe()
    assert "was taken over by process 1" in first.out
    assert "Traceback" not in first.out + first.err
    assert lab.has_part()
    assert second.status is None, second.describe()
    lab.kill(second)


def test_a_driver_that_has_died_in_another_namespace_holds_nobody_up(lab: Lab) -> None:
    first = lab.drive("first", apart=True)
    lab.kill(first)
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds")
    lab.study.write_progress(lab.progress().model_copy(update={"updated": an_hour_ago}))
    collected = lab.collect(apart=True)
    assert collected.status == 0, collected.describe()
    assert "1 files removed" in collected.out
    assert not list(lab.store.rglob("model.safetensors"))
