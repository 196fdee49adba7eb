"""A Ray cluster of a head and two workers, each a machine of its own, and its users."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.cluster.bucket import KEYS, Bucket
from tests.cluster.namespaces import HUB_ADDRESS, Network
from tests.commands import ROOT, Command, wait_until
from tests.faults.cluster import STARTED

ADDRESSES = {"head": "10.77.0.10", "w1": "10.77.0.11", "w2": "10.77.0.12"}
"""Of each machine of the cluster."""

STRANGER = "10.77.0.13"
"""Of one that does not belong to it."""

WORKERS = ("w1", "w2")

GCS = f"{ADDRESSES['head']}:6379"
"""Where Ray is to be reached."""

JOB_SERVER = f"http://{ADDRESSES['head']}:8265"

_PATIENT = {
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_health_check_initial_delay_ms": "60000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "6",
    "RAY_health_check_timeout_ms": "10000",
}
"""Machines start slowly when three share two cores; a dead one is still noticed in a while."""

_TRIES = 4
"""Ray gives its own processes a fixed time, which a busy machine can miss: so often at most."""

_MOST_S = 240.0
_OBJECT_STORE_BYTES = 100_000_000


class Cluster:
    """Machines, an S3 bucket on the hub, and Ray with a token; all end with the context.

    Args:
        folder: What the machines and commands write goes there.

    Attributes:
        data: A folder that all machines share: :data:`~tests.cluster.namespaces.DATA`.
        token: That Ray wants to see.
        bucket: A bucket that the machines, the users and this process reach.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._network = Network(folder / "machines")
        self._nodes: dict[str, Command] = {}
        self._clients: list[Command] = []
        self.data = self._network.data
        self.token = secrets.token_hex(32)
        self.bucket = Bucket(self._network.name("hub"), HUB_ADDRESS)
        self._clone = _clone(folder / "clone")
        self._exits = ExitStack()

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:
            stack.callback(self._network.close)
            self._network.open()
            for name, address in ADDRESSES.items():
                self._network.add(name, address)
                write_token(self._network.home(name), self.token)
            self._network.add("stranger", STRANGER)
            stack.enter_context(self.bucket)
            stack.callback(self._end)
            self.start()
            self._exits = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    def start(self) -> None:
        """Start all machines, and all once more if the Ray of one of them gave up."""
        for _ in range(_TRIES):
            if self._start_all():
                return
            for name in list(self._nodes):
                self.kill(name)
        raise RuntimeError(f"the cluster did not start {_TRIES} times")

    def _start_all(self) -> bool:
        """Start all machines; returns whether they are all there."""
        self.start_head()
        for name in WORKERS:
            self.begin_worker(name)
        return all(self._has_started(name) for name in ("head", *WORKERS))

    def _has_started(self, name: str) -> bool:
        """Wait until a machine takes part; returns whether it does, and the head still lives."""
        node, head = self._nodes[name], self._nodes["head"]
        _until(
            lambda: STARTED in node.out or node.status is not None or head.status is not None,
            f"{name} has started",
            node,
        )
        return node.status is None and head.status is None

    def start_head(self) -> None:
        """Start the machine that trains nothing; returns once it takes workers, or has given up."""
        address = ADDRESSES["head"]
        places = (f"--node-ip-address={address}", "--port=6379", f"--dashboard-host={address}")
        self._start("head", "--head", *places, "--num-cpus=0")
        self._has_started("head")

    def begin_worker(self, name: str) -> Command:
        """Start a machine of one core; its command, which ends if the cluster does not take it."""
        address = ADDRESSES.get(name, STRANGER)
        place = f"--node-ip-address={address}"
        return self._start(name, f"--address={GCS}", place, "--num-cpus=1")

    def begin_stranger(self, token: str | None) -> Command:
        """Start one more machine, with another token or none."""
        if "stranger" in self._nodes:
            self.kill("stranger")
        home = self._network.home("stranger")
        if token is not None:
            write_token(home, token)
        return self.begin_worker("stranger")

    def kill(self, name: str) -> None:
        """Pull a machine's plug: SIGKILL for all of its processes at once."""
        node = self._nodes.pop(name)
        node.process.kill()
        node.wait()
        _until(lambda: not node.left_over(), f"nothing is left of {name}", node)

    def client(self, *words: str, token: str | None = "", **environment: str) -> Command:
        """Start a command of a user on the hub, in a copy of the project.

        Args:
            words: Of the command; ``python`` is this Python.
            token: What the user's file has, by default the cluster's; None for a user without one.
            environment: What its environment has besides.
        """
        home = self._folder / "homes" / str(len(self._clients))
        home.mkdir(parents=True)
        if token is not None:
            write_token(home, token or self.token)
        own = {"HOME": str(home), "PYTHONPATH": str(self._clone)} | KEYS
        full = [sys.executable if word == "python" else word for word in words]
        command = self._network.begin_on_hub(full, self._clone, **(own | environment))
        self._clients.append(command)
        return command

    def submit(self, *words: str, token: str | None = "") -> Command:
        """Start ``study.submit`` with these options."""
        to = ("--job-server", JOB_SERVER)
        return self.client("python", "-m", "study.submit", *to, *words, token=token)

    def ray_logs(self, name: str, pattern: str) -> str:
        """What Ray's processes on a machine have written into some of their logs."""
        found = sorted((self._network.tmp(name) / "ray").glob(f"session_2*/logs/{pattern}"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in found)

    def _start(self, name: str, *options: str) -> Command:
        if name in self._nodes:
            raise ValueError(f"{name} is on: kill it first")
        store = f"--object-store-memory={_OBJECT_STORE_BYTES}"
        words = ["ray", "start", "--block", "--disable-usage-stats", store, *options]
        environment = {"RAY_AUTH_MODE": "token"} | _PATIENT | KEYS
        self._nodes[name] = self._network.begin(name, words, **environment)
        return self._nodes[name]

    def _end(self) -> None:
        for command in [*self._clients, *self._nodes.values()]:
            if command.status is None:
                command.process.kill()
                command.wait()
        for command in [*self._clients, *self._nodes.values()]:
            _until(lambda c=command: not c.left_over(), "nothing is left of a machine", command)


def write_token(home: Path, token: str) -> None:
    """Put a token where Ray looks for the one of a user."""
    folder = home / ".ray"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "auth_token"
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(token)


def _clone(folder: Path) -> Path:
    """What a user has checked out: the packages, and the files beside them."""
    folder.mkdir(parents=True)
    for path in sorted(ROOT.iterdir()):
        if path.is_file():
            shutil.copy(path, folder)
    for name in ("datasets", "trainables", "study", "dashboard"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


def _until(holds: Callable[[], bool], what: str, command: Command) -> None:
    if not wait_until(holds, _MOST_S):
        raise TimeoutError(f"waited in vain until {what}\n{command.describe()}")
