"""Starting Ray quietly: a cluster of this machine's own, or one that is there already."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.cluster.orphans import end_orphans
from study.cluster.processes import RAYLET, command_line, descendants, is_running, terminate
from study.cluster.ulimits import check_limits
from trainables.arithmetic import Precision, fast_precision

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_WARN_THRESHOLD_S": "60",
}
"""Telemetry, Tune's own files and interrupt handling off: the store and the driver do that. Workers
run at the driver's priority: Ray's own default of nice 15 starves a study on a busy machine."""

RAY_DIED = (
    "Ray's own process on this machine has died: killed, or out of memory; nothing that was "
    "recorded is lost, and the same command goes on from here"
)

TOKEN = Path("~/.ray/auth_token").expanduser()
"""Where Ray keeps the token of the clusters of this user."""

_REACH_S = 10.0
_START_TRIES = 4


def configure(*, verbose: bool, address: str | None = None) -> None:
    """Set what Ray reads from the environment; to be called before Ray is imported.

    Args:
        verbose: Whether Ray's own messages are wanted.
        address: Of a cluster that is to be reached, which may want to see this user's token.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if (address or os.environ.get("RAY_ADDRESS")) and TOKEN.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if verbose:
        return
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"ray(\..*)?$")


@contextmanager
def connected(address: str | None, *, verbose: bool) -> Iterator[Any]:
    """Ray, started or connected to, as a context.

    Args:
        address: Of a running cluster, ``auto`` included; by default that of the job this process
            runs in, or else a cluster of this process alone, which ends with it.
        verbose: Whether workers' output and Ray's messages are shown.

    Raises:
        ConnectionError: If there is no cluster at that address, or none can be started.
    """
    import ray

    target = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(target)
    if ray.is_initialized():
        yield ray
        return
    if target == "local":
        check_limits(os.cpu_count() or 1)
        end_orphans()
    on_term = signal.getsignal(signal.SIGTERM)
    _start(ray, target, verbose=verbose)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_term)  # Ray has put one of its own there
    try:
        yield ray
    finally:
        sys.stdout.flush()
        started = descendants(os.getpid()) if target == "local" else []
        ray.shutdown()
        terminate(started)


def is_local(address: str | None) -> bool:
    """Whether trials run on a cluster of this process alone.

    Args:
        address: Of a running cluster, if the user gave one.
    """
    return (address or os.environ.get("RAY_ADDRESS") or "local") == "local"


def own_raylet() -> int | None:
    """Ray's central process on this machine, if this process has started it."""
    for process in descendants(os.getpid()):
        if RAYLET in command_line(process):
            return process
    return None


def check_raylet(process: int | None) -> None:
    """Find out at once what Ray takes half a minute to see, and then ends this process for.

    Args:
        process: From :func:`own_raylet`.

    Raises:
        ConnectionError: If it has died.
    """
    if process is not None and not is_running(process):
        raise ConnectionError(RAY_DIED)


def _start(ray: Any, target: str, *, verbose: bool) -> None:
    for tries in range(1, _START_TRIES + 1):
        try:
            ray.init(
                address=target,
                include_dashboard=False if target == "local" else None,
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.CRITICAL,
            )
        except ConnectionError as error:
            raise ConnectionError(
                f"there is no Ray cluster at {target!r}, or it refused this user, who then needs a "
                f"copy of its token in {TOKEN}"
            ) from error
        except Exception as error:
            # Ray gives its own processes 30 s, which a very busy machine can miss, and says so
            # with a bare Exception.
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if tries == _START_TRIES:
                raise ConnectionError(
                    f"Ray did not start within 30 seconds, {tries} times; is this machine "
                    "overloaded?"
                ) from error
        else:
            return


def _check_reachable(address: str) -> None:
    """Find out at once what Ray would try for minutes.

    Raises:
        ConnectionError: If nobody listens at that host and port.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # local, auto: no place to look at
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"there is no Ray cluster at {address!r}: {error}") from error


def core_count(ray: Any) -> int:
    """CPU cores that the cluster offers."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def fast_precisions(ray: Any) -> list[Precision]:
    """The faster arithmetic of each node that will train: those with a GPU, if there are any."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    name = "GPU" if any(node["Resources"].get("GPU") for node in nodes) else "CPU"
    training = [node for node in nodes if node["Resources"].get(name)]
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    needs = {"num_gpus": 0.01} if name == "GPU" else {}
    asked = [
        ray.remote(num_cpus=0, scheduling_strategy=strategy(node["NodeID"], soft=False), **needs)(
            fast_precision
        ).remote("cuda" if name == "GPU" else "cpu")
        for node in training
    ]
    found: list[Precision] = ray.get(asked)
    return found


def card_gib(ray: Any) -> float:
    """Memory in GiB of a GPU of the cluster, which must have one; waits until one is free."""
    task = ray.remote(num_gpus=1, num_cpus=0)(_this_card_gib)
    gib: float = ray.get(task.remote())
    return gib


def _this_card_gib() -> float:
    import torch

    total: int = torch.cuda.mem_get_info()[1]
    return total / 2**30
