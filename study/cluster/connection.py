"""Starting Ray quietly: a cluster of this machine's own, or one that is there already."""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from study.cluster.bare import left_bare
from study.cluster.code import staged_code
from study.cluster.head import HeadWatch
from study.cluster.orphans import end_orphans
from study.cluster.processes import (
    RAYLET,
    command_line,
    descendants,
    is_running,
    kill,
    terminate,
)
from study.cluster.session import LOOPBACK, OWN_SETTINGS, Session, own_session
from study.cluster.signals import signals_held
from study.cluster.startup import why_not_started
from study.cluster.ulimits import check_limits

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    "TUNE_WARN_THRESHOLD_S": "60",
}
"""Telemetry, Tune's own files and interrupt handling off: the store and the driver do that. Workers
run at the driver's priority: Ray's own default of nice 15 starves a study on a busy machine. How
many trials wait at Ray is decided by study.trials.places."""

RAY_DIED = (
    "Ray's own process on this machine has died: killed, or out of memory; nothing that was "
    "recorded is lost, and the same command goes on from here"
)

_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

_REACH_S = 10.0
_LONGEST = 300
_START_TRIES = 4


def token_place() -> Path:
    """Where Ray keeps the token of the clusters of this user, who need not have a home."""
    return Path(os.path.expanduser("~/.ray/auth_token"))


def configure(*, verbose: bool, address: str | None = None) -> None:
    """Set what Ray reads from the environment; to be called before Ray is imported.

    Args:
        verbose: Whether Ray's own messages are wanted.
        address: Of a cluster that is to be reached, which may want to see this user's token.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if is_local(address):
        os.environ.update(OWN_SETTINGS)
    # os.path.isfile: a home that may not be looked into has no token for this user.
    elif os.path.isfile(token_place()) or any(os.environ.get(name) for name in _TOKENS):
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
    with ExitStack() as stack:
        session = stack.enter_context(own_session()) if target == "local" else None
        try:
            if session is not None:
                with _no_hangup():
                    _start_own(ray, session, verbose=verbose)
            else:
                with _code(target) as runtime_env:
                    _join(ray, target, runtime_env, verbose=verbose)
            yield ray
        finally:
            sys.stdout.flush()
            with signals_held():
                started = descendants(os.getpid()) if session is not None else []
                ray.shutdown()
                terminate(started)


def is_local(address: str | None) -> bool:
    """Whether trials run on a cluster of this process alone.

    Args:
        address: Of a running cluster, if the user gave one.
    """
    return (address or os.environ.get("RAY_ADDRESS") or "local") == "local"


@contextmanager
def watched(ray: Any) -> Iterator[Callable[[], None]]:
    """A function that finds out early what Ray takes a minute to see, and ends this process for.

    It raises a ConnectionError if Ray's central process on this machine has died, which this
    process has started, or if the head of another cluster does not answer any more.
    """
    for process in descendants(os.getpid()):
        if RAYLET in command_line(process):
            yield functools.partial(_check_raylet, process)
            return
    head = HeadWatch(str(ray.get_runtime_context().gcs_address))
    head.start()
    try:
        yield head.check
    finally:
        head.stop()


def _check_raylet(process: int) -> None:
    if not is_running(process):
        raise ConnectionError(RAY_DIED)


@contextmanager
def _code(target: str) -> Iterator[dict[str, Any] | None]:
    """This project's code for the nodes of a cluster, which need not have it installed.

    A job has brought it along already.
    """
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        yield None
        return
    with staged_code() as folder:
        yield {"working_dir": str(folder)}


@contextmanager
def _no_hangup() -> Iterator[None]:
    """Let processes that are started in here live when their terminal is closed.

    It would end Ray's before the driver, which ends them in order. A signal that comes meanwhile
    comes afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _join(ray: Any, target: str, runtime_env: dict[str, Any] | None, *, verbose: bool) -> None:
    """Connect to a cluster that is there."""
    try:
        with signals_held():
            ray.init(
                address=target,
                runtime_env=runtime_env,
                log_to_driver=verbose,
                logging_level=_level(verbose),
            )
    except ConnectionError as error:
        raise ConnectionError(
            f"there is no Ray cluster at {target!r}, or it refused this user, who then needs a "
            f"copy of its token in {token_place()}"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConnectionError(
            f"the Ray cluster at {target!r} cannot be used from here: "
            f"{reason[:_LONGEST].rstrip('.')}; run this on one of its machines, or submit "
            "the study with study.submit"
        ) from error


def _start_own(ray: Any, session: Session, *, verbose: bool) -> None:
    """Start a cluster of this process alone.

    Raises:
        ConnectionError: If Ray does not start, whatever it has to say about it.
    """
    with signals_held() as noted, left_bare(keep_output=verbose):
        for tries in range(1, _START_TRIES + 1):
            before = set(descendants(os.getpid()))
            try:
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=verbose,
                    logging_level=_level(verbose),
                    object_store_memory=session.objects_bytes,
                    _node_ip_address=LOOPBACK,
                    _plasma_directory=None if session.objects is None else str(session.objects),
                    _temp_dir=str(session.folder),
                )
            except Exception as error:
                started = set(descendants(os.getpid())) - before
                has_died = not any(RAYLET in command_line(process) for process in started)
                _stop(ray, before)
                # Ray gives its own processes 30 s, which a very busy machine can miss, and says so
                # with a bare Exception.
                is_late = "timed out during startup" in str(error)
                if not is_late or has_died or noted:
                    raise ConnectionError(why_not_started(error, session.folder)) from error
                if tries == _START_TRIES:
                    raise ConnectionError(
                        f"Ray did not start within 30 seconds, {tries} times; is this machine "
                        "overloaded?"
                    ) from error
            else:
                return


def _stop(ray: Any, before: set[int]) -> None:
    """End what Ray has started, of which it knows nothing if it has not come far.

    Args:
        ray: Ray.
        before: Processes that this one had before.
    """
    started = set(descendants(os.getpid())) - before
    ray.shutdown()
    kill(started)
    terminate(started)


def _level(verbose: bool) -> int:
    return logging.INFO if verbose else logging.CRITICAL


def _check_reachable(address: str) -> None:
    """Find out at once what Ray would try for minutes.

    Raises:
        ConnectionError: If nobody listens at that host and port.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # local, auto: no place to look at
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"there is no Ray cluster at {address!r}: {error}") from error
