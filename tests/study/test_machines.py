"""Machines that are not ours: homes, folders, shared memory and networks as they may be."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from study.cluster import connection, session
from study.cluster.startup import why_not_started
from study.cluster.ulimits import check_limits
from study.errors import EXIT_BROKE
from tests.commands import Command

Start = Callable[..., Command]

CODE = """
import os, subprocess, sys
from pathlib import Path

import psutil

from study import cli
from study.cluster import connection

app = cli.new_app()


@app.command()
def main() -> None:
    connection.configure(verbose=False)
    with connection.connected(None, verbose=False) as ray:
        work = ray.remote(num_cpus=0)(lambda: "computed")
        ray.get(work.remote())
        if "AFTERWARDS" in os.environ:
            subprocess.run(os.environ["AFTERWARDS"].split(), check=True)
        print(ray.get(work.remote(), timeout=60))
        own = psutil.Process()
        found = set()
        for process in (own, *own.children(recursive=True)):
            listens = [c for c in process.net_connections("tcp") if c.status == "LISTEN"]
            found |= {c.laddr.ip.removeprefix("::ffff:") for c in listens}
        print("listens at", *sorted(found))
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        print("token", oct(token.stat().st_mode & 0o777), oct(token.parent.stat().st_mode & 0o777))
        files = [p for p in token.parent.rglob("*") if p.is_file() and p != token]
        kept = [p for p in files if token.read_bytes() in p.read_bytes()]
        shown = [p.pid for p in (own, *own.children(True)) if token.read_text() in str(p.cmdline())]
        print("token in", len(kept), "of", len(files) > 9, "files", len(shown), "command lines")
        print("folder", token.parent)


cli.run(app)
"""
"""Starts Ray as every command does, has it compute, and says where it listens and what it keeps."""

ENTER = """
set -eu
mount --make-rprivate /
mount --bind "$PWD" /mnt
mount --bind "$1" /media
cd /mnt
shift
eval "$1"
shift
exec "$@"
"""
"""Changes a machine made of namespaces; the project and its Python stay in sight, whatever of the
folders that they lie in is hidden."""

_RUN = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"

LO = "ip link set lo up; "
LAN = LO + (
    "ip link add lan type veth peer name other; ip link set other up; "
    "ip address add 10.66.0.2/24 dev lan; ip link set lan up; "
    "ip route add default via 10.66.0.1; "
)
LITTLE_SHM = "mount -t tmpfs -o size=64m tmpfs /dev/shm; "
NO_SHM = (
    "mount -t tmpfs tmpfs /var/tmp; d=$(mktemp -d /var/tmp/dev.XXXXXX); "
    "for n in null zero full random urandom tty; do "
    "touch $d/$n; mount --bind /dev/$n $d/$n; done; ln -s /proc/self/fd $d/fd; "
    "mount --rbind $d /dev; "
)
FIXED_TMP = "mount -t tmpfs -o ro tmpfs /tmp; "
NO_RIGHTS = (
    "setpriv --reuid=54321 --regid=54321 --clear-groups --inh-caps=+dac_read_search "
    "--ambient-caps=+dac_read_search"
)
"""A user that the system does not know, who may read everything and write what is everyone's."""


@pytest.fixture(scope="module")
def _may_unshare() -> None:
    for name in ("unshare", "ip", "setpriv"):
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name}, which machines are made with")
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "ip", "link"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"no namespaces can be made, which needs root: {tried.stderr.strip()}")


def _begin(start: Start, machine: str, words: list[str], *before: str, **more: str) -> Command:
    """A Python process on a machine that a line of a shell has made of this one."""
    python = f"/media/bin/{Path(sys.executable).name}"
    inside = ["sh", "-c", ENTER, "sh", sys.prefix, machine, *before, python, *words]
    return start("-c", _RUN, "unshare", "--net", "--mount", *inside, **more)


LONG = "l" * 70

MACHINES: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "unknown user, long TMPDIR, no home, little shared memory, no network": (
        LO + LITTLE_SHM,
        {"TMPDIR": f"{{folder}}/{LONG}", "HOME": "/proc"},
        NO_RIGHTS.split(),
    ),
    "fixed /tmp, no shared memory, an address that goes": (
        LAN + NO_SHM + FIXED_TMP,
        {"TMPDIR": "/no/such/folder", "AFTERWARDS": "ip link delete lan"},
        [],
    ),
}


@pytest.mark.slow
@pytest.mark.usefixtures("_may_unshare")
@pytest.mark.parametrize("name", MACHINES)
def test_ray_starts_and_listens_on_the_loopback_alone(
    name: str, start: Start, tmp_path: Path
) -> None:
    machine, environment, before = MACHINES[name]
    (tmp_path / LONG).mkdir()
    home = tmp_path / "home"
    home.mkdir()
    chosen = {"HOME": str(home)} | {
        key: value.format(folder=tmp_path) for key, value in environment.items()
    }
    command = _begin(start, machine, ["-c", CODE], *before, **chosen)
    assert command.wait() == 0, command.describe()
    *_, computed, listens, token, kept, folder = command.out.strip().splitlines()
    assert computed == "computed"
    assert listens == "listens at 127.0.0.1"
    assert token == "token 0o600 0o700"
    assert kept == "token in 0 of True files 0 command lines"
    assert not Path(folder.removeprefix("folder ")).exists()
    assert command.err == ""
    assert list(home.iterdir()) == []


NOTHING_WRITABLE = "for d in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o ro tmpfs $d; done; "

REFUSED = {
    "no loopback": ("", "bring its loopback interface up"),
    "no folder": (LO + NOTHING_WRITABLE, "Read-only file system"),
    "full folders": (
        LO + "for d in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o size=1m tmpfs $d; done; ",
        "1 MiB are free",
    ),
    "no port": (
        LO + "echo 60000 60003 >/proc/sys/net/ipv4/ip_local_port_range; ",
        "has not so many free ones",
    ),
}


@pytest.mark.slow
@pytest.mark.usefixtures("_may_unshare")
@pytest.mark.parametrize("name", REFUSED)
def test_where_ray_cannot_start_a_sentence_says_why(name: str, start: Start) -> None:
    machine, why = REFUSED[name]
    command = _begin(start, machine, ["-c", CODE])
    assert command.wait() == EXIT_BROKE, command.describe()
    (line,) = command.err.strip().splitlines()
    assert line.startswith("error: Ray cannot start")
    assert why in line
    assert command.out == ""


SAID = {
    Exception(
        "The current node timed out during startup. This could happen because some of the raylet "
        "failed to startup or the GCS has become overloaded."
    ): "The current node timed out during startup. This could happen",
    RuntimeError("Failed to start GCS.\nLast lines of the log:\n..."): "Failed to start GCS;",
    PermissionError(13, "Permission denied", "/r/logs"): "Permission denied: '/r/logs'",
    TimeoutError(): "TimeoutError",
}


@pytest.mark.parametrize("error", SAID, ids=lambda error: type(error).__name__)
def test_whatever_ray_raises_where_a_process_of_it_has_died_is_a_sentence(
    error: Exception, tmp_path: Path
) -> None:
    class Ray:
        @staticmethod
        def init(**options: object) -> None:
            logs = tmp_path / "session_latest/logs"
            logs.mkdir(parents=True)
            (logs / "agent.err").write_text("Traceback:\n  x\nOSError: [Errno 98] Address in use\n")
            raise error

        @staticmethod
        def shutdown() -> None:
            pass

    with pytest.raises(ConnectionError) as raised:
        connection._start_own(Ray, session.Session(tmp_path), verbose=False)
    (line,) = str(raised.value).splitlines()
    assert line.startswith("Ray cannot start on this machine: ")
    assert SAID[error] in line
    assert line.endswith("; its log says: OSError: [Errno 98] Address in use")


def test_ray_is_not_started_where_files_may_not_be_as_large_as_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = resource.getrlimit

    def limited(kind: int) -> tuple[int, int]:
        return (10**7, 10**7) if kind == resource.RLIMIT_FSIZE else real(kind)

    monkeypatch.setattr(resource, "getrlimit", limited)
    with pytest.raises(ConnectionError, match=r"Ray cannot start: .* ulimit -f unlimited"):
        check_limits(4)


LOGS = {
    "[2026-01-31 10:11:12,345 C 77 88] (raylet) main.cc:12: Check failed: a == b no port\nmore": (
        "a == b no port"
    ),
    "[2026-01-31 10:11:12,345 I 77 88] (raylet) main.cc:12: all is well": "",
    "Traceback (most recent call last):\n  x\nOSError: [Errno 98] Address in use": (
        "OSError: [Errno 98] Address in use"
    ),
    "": "",
}


@pytest.mark.parametrize("text", LOGS)
def test_what_ended_a_process_of_ray_is_found_in_its_log(text: str, tmp_path: Path) -> None:
    logs = tmp_path / "session_latest/logs"
    logs.mkdir(parents=True)
    (logs / "agent.log").write_text(text)
    (logs / "odd.log").write_bytes(b"\xff\0" * 9)
    words = why_not_started(RuntimeError("It timed out.\nAnd more"), tmp_path)
    logged = f"; its log says: {LOGS[text]}" if LOGS[text] else ""
    assert words == f"Ray cannot start on this machine: It timed out{logged}"


def test_folders_of_killed_processes_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Path(os.path.realpath("/tmp"))
    monkeypatch.setenv("TMPDIR", str(base))
    held, dead, new, other = (base / f"as-{word}00" for word in ("held00", "dead00", "new000", "o"))
    link = base / "as-linked00"
    for folder in (held, dead, new, other):
        folder.mkdir()
        (folder / "owner").touch()
        (folder / "log").touch()
    link.symlink_to(tmp_path)
    (tmp_path / "owner").touch()
    try:
        for folder in (held, dead, other):
            os.utime(folder, (1.0, 1.0))
        with session._holding(held), session.own_session() as found:
            assert found.folder.parent.parent == base
            assert [f.exists() for f in (held, dead, new, other)] == [True, False, True, True]
            assert (tmp_path / "owner").exists()
        assert not found.folder.exists()
    finally:
        link.unlink()
        for folder in (held, dead, new, other):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", [b"l" * 70, b"caf\xe9", b"with space"])
def test_a_folder_whose_path_ray_cannot_bear_is_not_used(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / os.fsdecode(name)
    named.mkdir()
    monkeypatch.setenv("TMPDIR", str(named))
    with session.own_session() as found:
        assert not found.folder.is_relative_to(tmp_path)
        assert stat.S_IMODE(found.folder.parent.stat().st_mode) == 0o700
    assert list(named.iterdir()) == []


def test_the_token_of_the_user_is_left_and_set_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the user")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    with session._token_of(tmp_path / "token"):
        assert "RAY_AUTH_TOKEN" not in os.environ
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")
        assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
        assert len((tmp_path / "token").read_text()) == 64
    assert os.environ["RAY_AUTH_TOKEN"] == "of the user"
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ
