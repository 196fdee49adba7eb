"""What Ray of one process alone has on this machine: a folder, a token, memory, one address.

Left to itself, Ray takes what it finds: a folder that it shares with all users, a token in the
user's home, and the address by which others reach the machine. Any of these may be missing, full,
another user's or gone in an hour. So each session has a folder of its own, which only its user can
enter, and listens on the loopback interface alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LOOPBACK = "127.0.0.1"

OWN_SETTINGS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
"""Makes Ray take that for the machine's address, on every system, and ask for a token, whatever the
environment says about clusters; to be set before it is loaded."""

LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
"""Bytes of the path of a socket, which the system limits."""

_PREFIX = "as-"
_OURS = re.compile(rf"{_PREFIX}\w{{8}}")
_SOCKET = f"{_PREFIX}12345678/r/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store.99"
_PLAIN = re.compile(r"[A-Za-z0-9_./+-]+")  # Ray passes it through the words of commands
_OWNER = "owner"
_FREE_MIB = 64
_PORTS = 32
_SETTLED_S = 60.0

_MODE = "RAY_AUTH_MODE"
_OF_CLUSTERS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_GCS_SERVER_PORT", "RAY_REDIS_ADDRESS")
"""What the environment may say about a cluster, and does not hold for one of this process alone."""

_SHARED_MEMORY = Path("/dev/shm")
_SHARED_LEAST_MIB, _OBJECTS_LEAST_MIB, _OBJECTS_MIB = 256, 80, 512
_RAYS_SHARE = 0.3
"""How much of the free memory Ray reserves for objects, if shared memory has so much."""


@dataclass(frozen=True)
class Session:
    """Where Ray's own files are, for as long as it runs.

    Attributes:
        folder: Ray's folder.
        objects: Where it keeps objects; None leaves it to Ray, which takes shared memory.
        objects_bytes: How much of them at once; None leaves it to Ray.
    """

    folder: Path
    objects: Path | None = None
    objects_bytes: int | None = None


@contextmanager
def own_session() -> Iterator[Session]:
    """A folder for Ray with a token of its own, both gone at the end.

    Folders of processes that were killed are removed too.

    Raises:
        ConnectionError: If this machine has no place for it, or does not reach itself.
    """
    _check_loopback()
    folder = _make_folder()
    try:
        with _holding(folder), _token_of(folder / "token"):
            yield _session(folder / "r")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_loopback() -> None:
    """Find out at once what would keep Ray trying for minutes."""
    try:
        with ExitStack() as stack:
            server = stack.enter_context(socket.create_server((LOOPBACK, 0)))
            stack.enter_context(socket.create_connection(server.getsockname(), timeout=5.0))
            for _ in range(_PORTS):
                stack.enter_context(socket.create_server((LOOPBACK, 0)))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConnectionError(
                f"Ray cannot start: its processes listen at some {_PORTS} ports, and this machine "
                "has not so many free ones"
            ) from error
        raise ConnectionError(
            f"Ray cannot start: its processes cannot reach each other at {LOOPBACK} "
            f"({_reason(error)}); bring its loopback interface up with: ip link set lo up"
        ) from error


def _make_folder() -> Path:
    """A folder that only this user can enter, where Ray's sockets can be."""
    faults = []
    for base in _bases():
        _remove_left_over(base)
        try:
            return _try_folder(base)
        except OSError as error:
            faults.append(f"{base}: {_reason(error)}")
    raise ConnectionError(
        f"Ray cannot start: it needs a folder that can be written, with {_FREE_MIB} MiB free and "
        f"paths of sockets of at most {LONGEST_SOCKET} bytes ({'; '.join(faults)}); name one in "
        "TMPDIR"
    )


def _bases() -> list[str]:
    """Where the folder may be, the best first."""
    named = [os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR")]
    others = ["/tmp", "/var/tmp", os.environ.get("XDG_RUNTIME_DIR"), str(_SHARED_MEMORY)]
    return list(dict.fromkeys(os.path.abspath(base) for base in (*named, *others) if base))


def _try_folder(base: str) -> Path:
    if len(os.fsencode(os.path.join(base, _SOCKET))) > LONGEST_SOCKET:
        raise OSError("its path is too long")
    if not _PLAIN.fullmatch(base):
        raise OSError("its path has other signs than letters, digits and _./+-")
    free_mib = _free_mib(Path(base))
    if free_mib < _FREE_MIB:
        raise OSError(f"{free_mib} MiB are free")
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    try:
        (folder / "r").mkdir()
        with socket.socket(socket.AF_UNIX) as tried:
            tried.bind(str(folder / "r" / "s"))
        (folder / "r" / "s").unlink()
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _free_mib(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize // 2**20


@contextmanager
def _holding(folder: Path) -> Iterator[None]:
    """Hold a lock, which ends with this process however it ends."""
    with (folder / _OWNER).open("wb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        yield


def _remove_left_over(base: str) -> None:
    """Remove the folders of this user there that no process holds any more."""
    with suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_unless_held(Path(entry.path))


def _remove_unless_held(folder: Path) -> None:
    found = folder.lstat()
    is_settled = time.time() - found.st_mtime > _SETTLED_S  # a new one may not be held yet
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or not is_settled:
        return
    with (folder / _OWNER).open("rb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _token_of(path: Path) -> Iterator[None]:
    """A new token in a file that only this user can read, which Ray's processes are told of.

    Ray would keep one in the user's home for good, which others may be able to read.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(32))
    names = (*_OF_CLUSTERS, _MODE)
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
    os.environ[_MODE] = "token"
    _look_again()
    try:
        yield
    finally:
        del os.environ["RAY_AUTH_TOKEN_PATH"], os.environ[_MODE]
        os.environ.update(before)
        _look_again()


def _look_again() -> None:
    """Make Ray read the environment again, and the token, as it does when it is loaded.

    Whoever uses this as a library may have loaded it long before.
    """
    import ray

    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def _session(folder: Path) -> Session:
    """Where objects go: to shared memory as far as it goes, which containers have little of."""
    if not sys.platform.startswith("linux"):
        return Session(folder)
    try:
        shared_mib = _free_mib(_SHARED_MEMORY) if os.access(_SHARED_MEMORY, os.W_OK) else 0
    except OSError:  # there is none
        shared_mib = 0
    if shared_mib >= _SHARED_LEAST_MIB:
        is_enough = shared_mib * 2**20 > _RAYS_SHARE * psutil.virtual_memory().available
        return Session(folder, None, None if is_enough else int(0.8 * shared_mib) * 2**20)
    here_mib = min(_OBJECTS_MIB, max(_OBJECTS_LEAST_MIB, _free_mib(folder) // 2))
    return Session(folder, folder, here_mib * 2**20)
