"""A Ray cluster of two cores in processes of its own, for studies that nobody kills."""

from __future__ import annotations

import socket

from tests.commands import Command

STARTED = "Ray runtime started"
"""What it prints once it takes studies."""


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def start_words(port: int) -> list[str]:
    """The words after the interpreter that start it, to end when it is told to."""
    words = ["-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    options = ["--node-ip-address=127.0.0.1", "--num-cpus=2", "--include-dashboard=false"]
    return [*words, *options, "--disable-usage-stats"]


def has_started(cluster: Command) -> bool:
    """Whether it takes studies."""
    return STARTED in cluster.out
