"""Machines that share nothing but a network, made of the namespaces of one machine.

Each has a network, processes, a host name, ``/tmp``, ``/dev/shm`` and a home of its own. It sees
the system's files, Python and the installed packages, but no checkout of the project: a machine of
a cluster has what its job was sent.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.commands import ROOT, Command, begin

HUB_ADDRESS = "10.77.0.1"
"""Of the machine in the middle of the network, where users and servers are."""

PLACE = Path("/mnt")
"""Where a machine has its own folders: a home, a Python, the packages."""

DATA = PLACE / "data"
"""A folder that all machines share, as they see it."""

_NEEDED = ("ip", "unshare", "setpriv", "mount", "nsenter")

_RUN = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
"""Turns a Python process into a command."""

_ENTER = f"""
set -eu
name=$1 folder=$2 venv=$3 packages=$4 hidden=$5 data=$6
shift 6
hostname "$name"
mount -t tmpfs -o mode=755 tmpfs {PLACE}
mkdir {PLACE}/home {PLACE}/venv {PLACE}/packages {DATA}
mount --bind "$folder/home" {PLACE}/home
mount --bind "$venv" {PLACE}/venv
mount --bind "$packages" {PLACE}/packages
mount --bind "$data" {DATA}
mount -t tmpfs tmpfs "$hidden"
mount --bind "$folder/tmp" /tmp
mount -t tmpfs -o size=1g tmpfs /dev/shm
cd {PLACE}/home
exec "$@"
"""
"""Changes the file systems of a new mount namespace, and becomes the machine's first process.

The home, the Python and the packages are mounted before what hides the places they come from.
"""


def why_not() -> str:
    """Why no machine can be made here; empty if they can."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        return f"there is no {missing[0]} (iproute2, util-linux), which machines are made with"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        return f"no namespaces can be made, which needs root: {tried.stderr.strip()}"
    return ""


class Network:
    """A bridge in a namespace of its own, the hub, and machines that are connected to it.

    Args:
        folder: What the machines write goes there.

    Attributes:
        data: The folder that all machines share.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self._label = f"study-{os.getpid()}"
        self._namespaces: list[str] = []
        self._python = _python_without_project(folder / "python")

    def open(self) -> None:
        """Make the hub."""
        hub = self._namespace("hub")
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "address", "add", f"{HUB_ADDRESS}/24", "dev", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")

    def add(self, name: str, address: str) -> None:
        """Connect a machine, which is switched off."""
        own, hub = self._namespace(name), self.name("hub")
        end = ("type", "veth", "peer", "name", "eth0", "netns", own)
        _ip("link", "add", f"to-{name}", "netns", hub, *end)
        _ip("-n", hub, "link", "set", f"to-{name}", "master", "bridge", "up")
        _ip("-n", own, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", own, "link", "set", "eth0", "up")
        _ip("-n", own, "route", "add", "default", "via", HUB_ADDRESS)  # Ray looks where it leads
        for part in ("home", "tmp"):
            (self._folder / name / part).mkdir(parents=True, exist_ok=True)
        (self._folder / name / "tmp").chmod(0o1777)

    def home(self, name: str) -> Path:
        """The home of a machine's user, as this process sees it."""
        return self._folder / name / "home"

    def tmp(self, name: str) -> Path:
        """The ``/tmp`` of a machine, as this process sees it."""
        return self._folder / name / "tmp"

    def begin(self, name: str, words: list[str], **environment: str) -> Command:
        """Switch a machine on: the words are its first process, and it ends with them.

        To kill the command's own process is to pull the plug: all of the machine's processes end
        at once.
        """
        apart = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
        packages = sysconfig.get_path("purelib")
        places = (self._folder / name, self._python, packages, ROOT, self.data)
        enter = ("sh", "-c", _ENTER, "sh", name, *map(str, places))
        return self._begin(name, [*apart, *enter, *words], **_environment(environment))

    def begin_on_hub(self, words: list[str], cwd: Path, **environment: str) -> Command:
        """Start a command on the hub, with the files of this machine."""
        return self._begin("hub", words, cwd, **environment)

    def close(self) -> None:
        """Take the network away."""
        for name in reversed(self._namespaces):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        self._namespaces.clear()

    def _begin(
        self, name: str, words: list[str], cwd: Path | None = None, **environment: str
    ) -> Command:
        dies_with_us = ("setpriv", "--pdeathsig", "KILL")
        inside = ("ip", "netns", "exec", self.name(name))
        full = ["-c", _RUN, *dies_with_us, *inside, *words]
        return begin(full, self._folder, cwd, **environment)

    def name(self, name: str) -> str:
        """The network namespace of a machine, or of the hub."""
        return f"{self._label}-{name}"

    def _namespace(self, name: str) -> str:
        full = self.name(name)
        _ip("netns", "add", full)
        self._namespaces.append(full)
        _ip("-n", full, "link", "set", "lo", "up")
        return full


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _environment(more: dict[str, str]) -> dict[str, str]:
    path = f"{PLACE}/venv/bin:{os.environ['PATH']}"
    return {"HOME": f"{PLACE}/home", "PATH": path, "RAY_USAGE_STATS_ENABLED": "0"} | more


def _python_without_project(folder: Path) -> Path:
    """A Python that finds the packages of this one, as machines see them, and no project.

    A line of a ``.pth`` file is a folder of packages, whose own ``.pth`` files are not read: what
    is installed there as a checkout is not found.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    (packages / "packages.pth").write_text(f"{PLACE}/packages\n")
    ray = folder / "bin/ray"
    ray.write_text(f'#!/bin/sh\nexec {PLACE}/venv/bin/python -m ray.scripts.scripts "$@"\n')
    ray.chmod(0o755)
    return folder
