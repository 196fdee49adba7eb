"""How commands end whatever goes wrong: with a sentence and a status, waiting for nobody."""

from __future__ import annotations

import errno
import importlib
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from datasets.storage import Storage, StorageError
from study import cli
from study.cluster import ulimits
from study.errors import EXIT_BROKE
from tests.listings import unprivileged


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of this text in a process of its own."""
    line = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=600)


GIVEN_UP = """
    import atexit, threading
    from datasets.deadlines import within
    from datasets.storage import StorageError
    from study import cli
    atexit.register(lambda: print("waited for the server"))
    app = cli.new_app()
    @app.command()
    def main() -> None:
        print("asked the server")
        try: within(0.01, {work})
        except TimeoutError as error: raise StorageError(f"cannot read: {{error}}") from error
    cli.run(app)
"""


def test_a_server_that_was_given_up_is_not_waited_for_at_the_end() -> None:
    ended = run(GIVEN_UP.format(work="threading.Event().wait"))
    assert (ended.returncode, ended.stdout) == (1, "asked the server\n")
    assert ended.stderr == "error: cannot read: no answer within 0.01 s\n"


def _end_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> int:
    """The status with which a command ends that raises an error."""
    app = cli.new_app()

    @app.command()
    def main() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as ended:
        cli.run(app)
    return int(ended.value.code or 0)


LACKS = [
    MemoryError(),
    MemoryError("Unable to allocate 9 GiB"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ImportError("libx.so: cannot allocate memory in static TLS block"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
]


@pytest.mark.parametrize("error", LACKS, ids=repr)
def test_a_lack_of_memory_or_threads_is_a_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _end_with(error, monkeypatch) == EXIT_BROKE
    text = capsys.readouterr().err
    assert text.startswith("error: the memory and threads that this command may have are not")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    "error", [ImportError("no module"), RuntimeError("x"), OSError(errno.EBADF, "x"), KeyError(1)]
)
def test_a_bug_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)):
        _end_with(error, monkeypatch)


def _limited(kind: int, most: int, *words: str) -> subprocess.CompletedProcess[str]:
    """A command under a limit of the system."""
    code = (
        f"import resource, runpy, sys; resource.setrlimit({kind}, ({most}, {most}))\n"
        "sys.argv[0] = sys.argv[1]; del sys.argv[1]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__')"
    )
    return run(code, *words)


@pytest.mark.slow
def test_with_little_address_space_commands_end_in_a_sentence(tmp_path: Path) -> None:
    store = str(tmp_path / "runs")
    for words in (
        ("study.run", "--grid", "smoke", "--dry-run", "--store", store),
        ("study.prepare", "--grid", "smoke", "--store", store),
    ):
        ended = _limited(resource.RLIMIT_AS, 700_000 * 1024, *words)
        assert ended.returncode == EXIT_BROKE
        assert ended.stderr.startswith("error: ")
        assert "ulimit -v" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_ray_is_not_started_where_files_are_too_few(tmp_path: Path) -> None:
    words = ("study.prepare", "--grid", "smoke", "--store", str(tmp_path / "runs"))
    ended = _limited(resource.RLIMIT_NOFILE, 64, *words)
    assert ended.returncode == EXIT_BROKE
    assert "ulimit -n" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(("limit", "is_enough"), [(100, False), (100_000, True), (-1, True)])
def test_ray_is_not_started_where_threads_are_too_few(
    limit: int, is_enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = resource.getrlimit

    def limited(kind: int) -> tuple[int, int]:
        return (limit, limit) if kind == resource.RLIMIT_NPROC else real(kind)

    monkeypatch.setattr(resource, "getrlimit", limited)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if is_enough:
        ulimits.check_limits(4)
        return
    with pytest.raises(ConnectionError, match=r"may have 100 threads .* Ray has 350; .* ulimit -u"):
        ulimits.check_limits(4)


@pytest.mark.parametrize("command", ["prepare", "run"])
def test_a_command_ends_at_once_where_it_may_not_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    import torch.utils.benchmark  # noqa: F401 - which an unprivileged user may not be able to read

    app = importlib.import_module(f"study.{command}.command").app
    with unprivileged() as store:
        (store / "shards").mkdir(mode=0o500)
        monkeypatch.setattr(sys, "argv", [command, "--grid", "smoke", "--store", str(store)])
        with pytest.raises(SystemExit) as ended:
            cli.run(app)
        assert ended.value.code == EXIT_BROKE
        assert "no right to write files in 'shards'" in capsys.readouterr().err
        assert [path.name for path in store.iterdir()] == ["shards"], "no phantom was written"


def test_a_prepared_store_that_may_only_be_read_can_be_looked_at() -> None:
    from study.prepare.command import _check_access

    with unprivileged() as store:
        cohort = store / "shards" / ("a" * 20)
        cohort.mkdir(parents=True)
        for is_prepared in (False, True):
            (store / "shards").chmod(0o500)
            try:
                if is_prepared:
                    _check_access(Storage.open(str(store)))
                else:
                    with pytest.raises(StorageError, match="no right to write"):
                        _check_access(Storage.open(str(store)))
            finally:
                (store / "shards").chmod(0o700)
            (cohort / "manifest.json").touch()
