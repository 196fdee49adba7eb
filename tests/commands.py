"""The project's commands in processes of their own, with everything they start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]

_MARK = "ANOMALY_STUDY_TEST_RUN"
_LOOK_S = 0.02
_PAUSES, _LONGEST_PAUSE_S = 4, 1.0


@dataclass
class Command:
    """A command of the project at work in a session of its own, with everything it starts."""

    process: subprocess.Popen[bytes]
    words: list[str]
    out_path: Path
    mark: str = field(repr=False)

    @property
    def out(self) -> str:
        return self.out_path.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        return self.out_path.with_suffix(".err").read_text(encoding="utf-8", errors="replace")

    @property
    def status(self) -> int | None:
        return self.process.poll()

    def wait(self, timeout_s: float = 900.0) -> int:
        return self.process.wait(timeout_s)

    def kill_group(self) -> None:
        """SIGKILL to the driver's process group, as a batch system or a terminal does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of it that lives."""
        for pid in self.left_over():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def left_over(self) -> list[int]:
        """Processes that this command has started, directly or not, and that still live."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:  # ended meanwhile, or of another user
                continue
            if f"{_MARK}={self.mark}".encode() in environment and lives(int(folder.name)):
                found.append(int(folder.name))
        return found

    def describe(self) -> str:
        head = f"{' '.join(self.words)}\nstatus {self.status}"
        return f"{head}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def begin(words: list[str], outputs: Path, cwd: Path | None = None, **environment: str) -> Command:
    """Start ``python WORDS...``; its output goes to files in a folder.

    Args:
        words: What follows the interpreter.
        outputs: The folder.
        cwd: Working directory; by default the project's root.
        environment: What its environment has besides this one's.
    """
    mark = uuid.uuid4().hex
    out_path = outputs / f"{mark}.out"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    clean |= {_MARK: mark, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    clean["RAY_worker_niceness"] = "0"  # somebody waits for these workers
    clean.setdefault("ANOMALY_STUDY_CACHE", str(outputs / "slices"))
    with out_path.open("wb") as out, out_path.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=clean | environment,
            cwd=cwd or ROOT,
            start_new_session=True,
        )
    return Command(process, words, out_path, mark)


def wait_until(holds: Callable[[], bool], most_s: float) -> bool:
    """Look again and again until something holds; False if it never does.

    Looks that take long are made less often: they cost those who are waited for their processor.
    """
    pause = threading.Event()
    end = time.monotonic() + most_s
    while (began := time.monotonic()) < end:
        if holds():
            return True
        pause.wait(min(max(_LOOK_S, _PAUSES * (time.monotonic() - began)), _LONGEST_PAUSE_S))
    return holds()
