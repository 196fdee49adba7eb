"""Where and with what results were made: recorded beside them, no part of any identity."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import socket
import subprocess
from pathlib import Path

from study.records.types import Provenance

_PACKAGES = ("deepbet", "nibabel", "numpy", "optuna", "pyarrow", "ray", "scikit-learn", "torch")


@functools.cache
def provenance(device: str = "cpu") -> Provenance:
    """What this process runs on.

    Args:
        device: The device that does the numerical work.
    """
    return Provenance(
        git_revision=_git_revision(),
        host=socket.gethostname(),
        device=device,
        cpu=_cpu_name(),
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in _PACKAGES},
    )


def _git_revision() -> str | None:
    """The checked-out revision, with ``+`` if the tree has changes; None outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
