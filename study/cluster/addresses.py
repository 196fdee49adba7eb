"""Addresses of Ray clusters as a user may give them, checked before Ray sees them."""

from __future__ import annotations

import os
import re

from datasets.uris import without_secrets
from study.errors import UsageError

_HOST_AND_PORT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]):(?P<port>\d{1,5})")

_MOST_PORT = 65_535


def check_address(address: str | None) -> None:
    """Refuse an address that no driver can connect to.

    Args:
        address: What ``--address`` says; None looks at RAY_ADDRESS in the environment.

    Raises:
        UsageError: If it is neither ``auto`` nor ``local`` nor a host with a port; the message says
            where it was written and what would be right.
    """
    where = "--address" if address is not None else "RAY_ADDRESS"
    given = address if address is not None else os.environ.get("RAY_ADDRESS", "")
    if given in ("auto", "local") or (not given and address is None):
        return
    if given.startswith("ray://"):
        raise UsageError(
            f"{where} {_shown(given)} is for Ray's client, which cannot run a study: use "
            "study.submit, or HOST:PORT on a machine of the cluster, such as head:6379"
        )
    if given.startswith(("http://", "https://")):
        raise UsageError(
            f"{where} {_shown(given)} is the place of a job server: give it to study.submit as "
            "--job-server, or name HOST:PORT of the cluster, such as head:6379"
        )
    found = _HOST_AND_PORT.fullmatch(given)
    if found is None or not 0 < int(found["port"]) <= _MOST_PORT:
        raise UsageError(
            f"{where} {_shown(given)} is no address of a Ray cluster: it has to be HOST:PORT, such "
            "as head:6379, or auto"
        )


def _shown(address: str) -> str:
    """An address as messages have it; what stands before an @ may be a password."""
    text = without_secrets(address)
    if "@" in text and "…@" not in text:
        text = f"…@{text.rpartition('@')[2]}"
    return repr(text if len(text) <= 100 else f"{text[:100]}…")
