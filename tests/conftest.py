"""What all tests share: real commands in processes of their own, and one finished smoke study."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_MARK = "ANOMALY_STUDY_TEST_RUN"
_ROOT = Path(__file__).parents[1]

Until = Callable[[Callable[[], bool], str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--smoke-store",
        metavar="FOLDER",
        help="a finished store of the smoke grid to test against, instead of running it first",
    )


@pytest.fixture(autouse=True)
def _main_stays() -> Iterator[None]:
    """Streamlit's AppTest puts a page in ``__main__``, which spawned processes then import."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


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

    def left_over(self) -> list[int]:
        """Processes that this command has started, directly or not, and that still live."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:  # ended meanwhile, or of another user
                continue
            if f"{_MARK}={self.mark}".encode() in environment and state not in "ZX":
                found.append(int(folder.name))
        return found

    def describe(self) -> str:
        head = f"{' '.join(self.words)}\nstatus {self.status}"
        return f"{head}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


Start = Callable[..., Command]
Run = Callable[..., Command]


@pytest.fixture(scope="session")
def until() -> Until:
    """Waits until something holds, looking again and again; fails with a word if it never does."""

    def wait(holds: Callable[[], bool], what: str, most_s: float = 600.0) -> None:
        pause = threading.Event()
        for _ in range(int(most_s / 0.02)):
            if holds():
                return
            pause.wait(0.02)
        pytest.fail(f"waited in vain until {what}")

    return wait


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[Start]:
    """Starts ``python -m MODULE ARGS...``; at the end, no process of it may be left."""
    commands: list[Command] = []
    outputs = tmp_path_factory.mktemp("commands")

    def begin(*words: str | Path, cwd: Path | None = None) -> Command:
        mark = uuid.uuid4().hex
        out_path = outputs / f"{mark}.out"
        line = [sys.executable, *(str(w) for w in words)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        environment |= {_MARK: mark, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        environment["RAY_worker_niceness"] = "0"  # somebody waits for these workers
        with out_path.open("wb") as out, out_path.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                cwd=cwd or _ROOT,
                start_new_session=True,
            )
        commands.append(Command(process, line[1:], out_path, mark))
        return commands[-1]

    yield begin
    stray = {pid: c for c in commands for pid in c.left_over()}
    for pid in stray:
        os.kill(pid, signal.SIGKILL)
    assert not stray, (
        f"processes were left behind by {sorted({str(c.words) for c in stray.values()})}"
    )


@pytest.fixture(scope="session")
def run(start: Start, until: Until) -> Run:
    """Runs ``python -m MODULE ARGS...`` to its end and checks its exit status."""

    def run_to_end(*words: str | Path, status: int = 0, cwd: Path | None = None) -> Command:
        module, *arguments = words
        command = start("-m", module, *arguments, cwd=cwd)
        command.wait()
        if command.status != status:
            pytest.fail(f"expected exit status {status}\n{command.describe()}")
        until(lambda: not command.left_over(), f"nothing is left of {command.words}")
        return command

    return run_to_end


@pytest.fixture(scope="session")
def smoke_store(
    run: Run, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The store of a finished smoke study, ``smoke-phantom``; shared, so to be read only."""
    given = request.config.getoption("--smoke-store")
    if given is not None:
        return Path(given)
    store = tmp_path_factory.mktemp("smoke") / "runs"
    run("study.run", "--grid", "smoke", "--store", store)
    return store


@pytest.fixture
def prepared_store(smoke_store: Path, tmp_path: Path) -> Path:
    """A store of its own that has the smoke study's cohorts and shards, and no study."""
    store = tmp_path / "runs"
    for name in ("phantom", "shards"):
        shutil.copytree(smoke_store / name, store / name)
    return store
