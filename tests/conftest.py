"""What all tests share: real commands in processes of their own, and one finished smoke study."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.commands import Command, begin, wait_until
from tests.grids import SMOKE_WORDS

pytest.register_assert_rewrite("trainables.testing")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts tests in the background has them, and all that they start, ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

Until = Callable[[Callable[[], bool], str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--smoke-store",
        metavar="FOLDER",
        help="a finished store of the smoke grid to test against, instead of running it first",
    )


class _Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that share a cluster run in one process, one after another, and so do a file's."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        return "faults" if path.parent.name == "faults" else str(path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return _Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process has to wait for it at the end."""
    items.sort(key=lambda item: item.path.parent.name != "faults")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes by their number: packed data has the second of its making, so its text changes."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Bit-identity is promised for one thread, and many on few cores are slower."""
    import torch  # most tests need none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _main_stays() -> Iterator[None]:
    """Streamlit's AppTest puts a page in ``__main__``, which spawned processes then import."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test leaves copies of slices in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALY_STUDY_CACHE", str(tmp_path_factory.mktemp("slices")))
        yield


Start = Callable[..., Command]
Run = Callable[..., Command]


@pytest.fixture(scope="session")
def until() -> Until:
    """Waits until something holds, looking again and again; fails with a word if it never does."""

    def wait(holds: Callable[[], bool], what: str, most_s: float = 600.0) -> None:
        if not wait_until(holds, most_s):
            pytest.fail(f"waited in vain until {what}")

    return wait


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts ``python -m MODULE ARGS...``; at the end, no process of it may be left."""
    commands: list[Command] = []
    outputs = tmp_path_factory.mktemp("commands")

    def start_one(*words: str | Path, cwd: Path | None = None, **environment: str) -> Command:
        commands.append(begin([str(word) for word in words], outputs, cwd, **environment))
        return commands[-1]

    yield start_one
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
def made_once(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Callable[[str, Callable[[Path], object]], Path]:
    """Gives a folder that all processes of this run of the tests share; to be read only.

    The first process that asks for it makes what is in it, and the others wait.
    """
    own = tmp_path_factory.getbasetemp()
    common = (own if worker_id == "master" else own.parent) / "shared"
    common.mkdir(exist_ok=True)

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = common / name, common / f"{name}.done"
        with (common / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of one that has failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def smoke_run(run: Run, made_once: Callable[..., Path]) -> Path:
    """A folder with the store of a smoke study, ``runs``, and what the command printed, ``out``."""

    def make(folder: Path) -> None:
        # a relative path, as people type it
        command = run("study.run", *SMOKE_WORDS, "--store", "runs", cwd=folder)
        (folder / "out").write_text(command.out)

    return made_once("smoke", make)


@pytest.fixture(scope="session")
def smoke_store(request: pytest.FixtureRequest) -> Path:
    """The store of a finished smoke study, ``smoke-phantom``; shared, so to be read only."""
    given = request.config.getoption("--smoke-store")
    if given is not None:
        return Path(given)
    made: Path = request.getfixturevalue("smoke_run")
    return made / "runs"


@pytest.fixture
def prepared_store(smoke_store: Path, tmp_path: Path) -> Path:
    """A store of its own that has the smoke study's cohorts and shards, and no study."""
    store = tmp_path / "runs"
    for name in ("phantom", "shards"):
        shutil.copytree(smoke_store / name, store / name)
    return store
