"""How a job server is reached: its URL, Ray's client of it, and the token that it wants."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from study.cluster.connection import token_place
from study.errors import UsageError

_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_LOGGERS = ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")


def check_url(url: str) -> None:
    """Refuse what cannot be the address of a job server.

    Raises:
        UsageError: If it is; the message says what would be right.
    """
    right = "it has to be such as http://head:8265"
    if "@" in url:
        raise UsageError(
            "the URL of --job-server has a user or a password, which the list of processes shows "
            f"to everyone: {right}"
        )
    if url.startswith("ray://"):
        raise UsageError(f"--job-server {url!r} is for Ray's client, no job server: {right}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--job-server {url!r} is no URL of a job server: {right}")
    if port is None and parts.scheme == "http":
        raise UsageError(f"--job-server {url!r} has no port: {right}")


def connect(url: str) -> Any:
    """Ray's own client of the job server there.

    Raises:
        ray.exceptions.AuthenticationError: If it refuses this user.
        Exception: Of many kinds, if nobody answers.
    """
    if any(os.environ.get(name) for name in _TOKENS):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # which Ray reads when it is loaded
    from ray.job_submission import JobSubmissionClient

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    with _without(_OVERRIDES):  # which Ray would believe more than what it is told
        return JobSubmissionClient(url)


def refusal(url: str, error: str) -> str:
    """Why a job server has refused this user, and where Ray looks for the token."""
    if "Authentication required" in error:
        what = "it wants a token, and none was sent"
    elif "Authentication failed" in error:
        what = f"the token{_source()} is not the cluster's"
    else:  # of Ray on this machine, such as a file that cannot be opened
        what = error.partition(". ")[0]
    is_off = os.environ.get("RAY_AUTH_MODE", "token").lower() != "token"
    mode = "set RAY_AUTH_MODE=token, and " if is_off else ""
    return (
        f"the Ray job server at {url!r} refused this user: {what}; {mode}put the cluster's token "
        f"in RAY_AUTH_TOKEN, name its file in RAY_AUTH_TOKEN_PATH, or copy that to {token_place()}"
    )


def _source() -> str:
    """Where Ray took the token from: the first of these that is there."""
    for name in _TOKENS:
        if os.environ.get(name):
            return f" of {name}"
    return f" in {token_place()}"


@contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
