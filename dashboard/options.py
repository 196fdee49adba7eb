"""What may follow ``streamlit run dashboard/app.py --``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class DashboardOptions:
    """The command line of the dashboard.

    Attributes:
        stores: Stores that may be looked at. The address bar chooses among them by position, so no
            address leads anywhere else.
        study: The study to open first; None opens the one that moved last.
    """

    stores: tuple[str, ...]
    study: str | None


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
        metavar="URI",
        help="folder or URI of a store (default: runs); may be given several times",
    )
    parser.add_argument("--study", metavar="NAME", help="study to open first (default: the last)")
    read = parser.parse_args(list(arguments))
    return DashboardOptions(stores=tuple(dict.fromkeys(read.store or ["runs"])), study=read.study)
