"""What may follow ``streamlit run dashboard/app.py --``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.hosts import host_name
from datasets.uris import check_no_secret, check_no_secret_in


@dataclass(frozen=True)
class DashboardOptions:
    """The command line of the dashboard.

    Attributes:
        stores: Stores that may be looked at. The address bar chooses among them by position, so no
            address leads anywhere else.
        study: The study to open first; None opens the one that moved last.
        hosts: Names and addresses under which the dashboard is reached, besides this machine's own.
    """

    stores: tuple[str, ...]
    study: str | None
    hosts: tuple[str, ...] = ()


def parse_options(arguments: Sequence[str]) -> DashboardOptions:
    """Read the dashboard's command line.

    Raises:
        SystemExit: On a wrong option, with a sentence on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="streamlit run dashboard/app.py --",
        description="A read-only view of a store of studies.",
    )
    parser.add_argument(
        "--store",
        action="append",
        type=_uri,
        metavar="URI",
        help="folder or URI of a store (default: runs); may be given several times",
    )
    parser.add_argument("--study", metavar="NAME", help="study to open first (default: the last)")
    parser.add_argument(
        "--host",
        action="append",
        type=_host,
        default=[],
        metavar="NAME",
        help="name or address under which browsers reach it from elsewhere; may be given several "
        "times (default: localhost and its addresses alone)",
    )
    try:
        check_no_secret_in(arguments)
    except OSError as error:
        parser.error(str(error))
    read = parser.parse_args(list(arguments))
    return DashboardOptions(
        stores=tuple(dict.fromkeys(read.store or ["runs"])),
        study=read.study,
        hosts=tuple(dict.fromkeys(read.host)),
    )


def _uri(text: str) -> str:
    """A store's URI, which the command line and the page would show to everyone."""
    try:
        check_no_secret(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _host(text: str) -> str:
    """A name or address, as the address bar would have it."""
    bare = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
    name = host_name(bare)
    if not name or name != bare.lower():
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name or address of a machine, such as study.example.org: leave out "
            "the scheme, the port and the path"
        )
    return name
